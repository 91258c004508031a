//! Windows: a wait of the system's thread pool for one handle.

use std::{
    collections::BTreeMap,
    ffi::c_void,
    io,
    os::windows::io::{AsHandle, AsRawHandle as _},
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
};
use windows_sys::Win32::{
    Foundation::{HANDLE, INVALID_HANDLE_VALUE},
    System::Threading::{
        INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WORKER_THREAD_FLAGS,
        WT_EXECUTEONLYONCE,
    },
};

/// What the thread pool does, once, when the handle is signalled.
pub(super) trait Tell: Send + Sync {
    fn tell(&self);
}

/// Owns the handle, so that one that is forgotten leaves no wait for a closed one.
#[derive(Debug)]
pub(super) struct PoolWait<H, N> {
    wait: HANDLE,
    number: usize,
    handle: H,
    told: Arc<Told<N>>,
}

#[derive(Debug)]
struct Told<N> {
    news: N,
    by: OnceLock<ThreadId>,
}

impl<N: Tell> Tell for Told<N> {
    fn tell(&self) {
        let _ = self.by.set(thread::current().id());
        self.news.tell();
    }
}

/// Who is to be told, by the numbers that the thread pool is given. It is given no pointers:
/// Wine's comes with them, rarely, after the wait was unregistered.
static LISTENERS: Mutex<BTreeMap<usize, Arc<dyn Tell>>> = Mutex::new(BTreeMap::new());

fn listeners() -> MutexGuard<'static, BTreeMap<usize, Arc<dyn Tell>>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: the wait may be unregistered by any thread, and nothing else is done with it.
unsafe impl<H: Send, N: Send + Sync> Send for PoolWait<H, N> {}

// SAFETY: there is nothing to be done with a shared wait.
unsafe impl<H: Sync, N: Send + Sync> Sync for PoolWait<H, N> {}

impl<H: AsHandle, N: Tell + 'static> PoolWait<H, N> {
    /// `flags` say by which of the pool's threads it is told.
    pub(super) fn new(
        handle: H,
        news: N,
        flags: WORKER_THREAD_FLAGS,
    ) -> io::Result<PoolWait<H, N>> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let by = OnceLock::new();
        let mut pool_wait = PoolWait {
            wait: ptr::null_mut(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            handle,
            told: Arc::new(Told { news, by }),
        };
        listeners().insert(pool_wait.number, pool_wait.told.clone());
        // SAFETY: the wait's handle is written to a place that outlives the call. The
        // handle that is waited for stays open until `drop` has unregistered the wait, or
        // for ever. `tell` takes any number.
        let registered = unsafe {
            RegisterWaitForSingleObject(
                &mut pool_wait.wait,
                pool_wait.handle.as_handle().as_raw_handle(),
                Some(tell),
                ptr::without_provenance(pool_wait.number),
                INFINITE,
                WT_EXECUTEONLYONCE | flags,
            )
        };
        match registered {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(pool_wait),
        }
    }
}

impl<H, N> PoolWait<H, N> {
    pub(super) fn handle(&self) -> &H {
        &self.handle
    }

    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(super) fn news(&self) -> &N {
        &self.told.news
    }
}

unsafe extern "system" fn tell(number: *mut c_void, _timed_out: bool) {
    let listener = listeners().get(&number.addr()).cloned();
    if let Some(listener) = listener {
        listener.tell();
    }
}

impl<H, N> Drop for PoolWait<H, N> {
    fn drop(&mut self) {
        listeners().remove(&self.number);
        if self.wait.is_null() {
            return;
        }
        // With `INVALID_HANDLE_VALUE` for an event it returns once `tell` is not running,
        // and will not run any more. Who drops it while he is told cannot wait for that,
        // nor need he: that was the only time.
        let event = match self.told.by.get() == Some(&thread::current().id()) {
            true => ptr::null_mut(),
            false => INVALID_HANDLE_VALUE,
        };
        // SAFETY: the wait was registered, and is unregistered only here.
        unsafe { UnregisterWaitEx(self.wait, event) };
    }
}
