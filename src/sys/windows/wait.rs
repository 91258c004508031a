//! A wait of the system's thread pool for one handle (`RegisterWaitForSingleObject`).

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsHandle, AsRawHandle as _},
    ptr,
    sync::{Arc, OnceLock},
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
    handle: H,
    callback: Arc<Callback<C>>,
}

#[derive(Debug)]
struct Callback<C> {
    callback: C,
    /// The thread of the pool that called it.
    thread: OnceLock<ThreadId>,
}

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
        let thread = OnceLock::new();
        let mut registered = RegisteredWait {
            wait: ptr::null_mut(),
            handle,
            callback: Arc::new(Callback { callback, thread }),
        };
        // SAFETY: `registered.wait` is live. The handle stays open until `drop` has unregistered
        // the wait. So does the callback, which `drop` frees after that.
        let result = unsafe {
            RegisterWaitForSingleObject(
                &mut registered.wait,
                registered.handle.as_handle().as_raw_handle(),
                Some(call::<C>),
                Arc::as_ptr(&registered.callback).cast(),
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

unsafe extern "system" fn call<C: OnSignaled>(callback: *mut c_void, _timed_out: bool) {
    let callback = callback.cast_const().cast::<Callback<C>>();
    // SAFETY: it is the pointer of an `Arc`, which lives while the wait is registered. As the wait
    // may be dropped by what is called here, this holds another reference.
    let callback = unsafe {
        Arc::increment_strong_count(callback);
        Arc::from_raw(callback)
    };
    let _ = callback.thread.set(thread::current().id());
    callback.callback.on_signaled();
}

impl<H, C> Drop for RegisteredWait<H, C> {
    fn drop(&mut self) {
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
