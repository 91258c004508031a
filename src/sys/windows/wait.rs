//! A wait of the system's thread pool for one handle (`RegisterWaitForSingleObject`).

use crate::lock::lock;
use std::{
    collections::BTreeMap,
    ffi::c_void,
    io,
    os::windows::io::{AsHandle, AsRawHandle as _},
    ptr,
    sync::{
        Arc, Mutex, OnceLock,
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

/// What the thread pool does when the handle is signaled, once.
pub(super) trait OnSignaled: Send + Sync {
    fn on_signaled(&self);
}

/// Owns the handle, so that the wait of a leaked one is not for a closed handle.
#[derive(Debug)]
pub(super) struct RegisteredWait<H, C> {
    wait: HANDLE,
    key: usize,
    handle: H,
    callback: Arc<Callback<C>>,
}

#[derive(Debug)]
struct Callback<C: ?Sized> {
    /// The thread of the pool that called it.
    thread: OnceLock<ThreadId>,
    callback: C,
}

/// The pool is given a key of this map, not a pointer: Wine before 9 can call back after
/// `UnregisterWaitEx` has returned (dlls/ntdll/threadpool.c, `waitqueue_thread_proc`, which did not
/// compare `update_serial` yet).
static CALLBACKS: Mutex<BTreeMap<usize, Arc<Callback<dyn OnSignaled>>>> =
    Mutex::new(BTreeMap::new());

// SAFETY: any thread may unregister the wait (UnregisterWaitEx), and nothing else is done with it.
unsafe impl<H: Send, C: Send + Sync> Send for RegisteredWait<H, C> {}

// SAFETY: a shared reference does not give access to the wait.
unsafe impl<H: Sync, C: Send + Sync> Sync for RegisteredWait<H, C> {}

impl<H: AsHandle, C: OnSignaled + 'static> RegisteredWait<H, C> {
    /// `flags` choose the pool's thread that calls back.
    pub(super) fn new(
        handle: H,
        callback: C,
        flags: WORKER_THREAD_FLAGS,
    ) -> io::Result<RegisteredWait<H, C>> {
        static NEXT_KEY: AtomicUsize = AtomicUsize::new(0);
        let thread = OnceLock::new();
        let mut registered = RegisteredWait {
            wait: ptr::null_mut(),
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            handle,
            callback: Arc::new(Callback { thread, callback }),
        };
        lock(&CALLBACKS).insert(registered.key, registered.callback.clone());
        // SAFETY: `registered.wait` is live. The handle stays open until `drop` has unregistered
        // the wait. `call` may be given any number.
        let result = unsafe {
            RegisterWaitForSingleObject(
                &mut registered.wait,
                registered.handle.as_handle().as_raw_handle(),
                Some(call),
                ptr::without_provenance(registered.key),
                INFINITE,
                WT_EXECUTEONLYONCE | flags,
            )
        };
        match result {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(registered),
        }
    }
}

impl<H, C> RegisteredWait<H, C> {
    pub(super) fn handle(&self) -> &H {
        &self.handle
    }

    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(super) fn callback(&self) -> &C {
        &self.callback.callback
    }
}

unsafe extern "system" fn call(key: *mut c_void, _timed_out: bool) {
    let callback = lock(&CALLBACKS).get(&key.addr()).cloned();
    if let Some(callback) = callback {
        let _ = callback.thread.set(thread::current().id());
        callback.callback.on_signaled();
    }
}

impl<H, C> Drop for RegisteredWait<H, C> {
    fn drop(&mut self) {
        lock(&CALLBACKS).remove(&self.key);
        if self.wait.is_null() {
            return;
        }
        // With INVALID_HANDLE_VALUE, UnregisterWaitEx returns once the callback is not running and
        // will not run any more. A drop from inside the callback must not wait for that; it cannot
        // run again, as it is called only once.
        let is_in_callback = self.callback.thread.get() == Some(&thread::current().id());
        let event = if is_in_callback {
            ptr::null_mut()
        } else {
            INVALID_HANDLE_VALUE
        };
        // SAFETY: the wait was registered, and is unregistered only here.
        unsafe { UnregisterWaitEx(self.wait, event) };
    }
}
