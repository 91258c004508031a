//! An event object (`CreateEventW`), on which the owner of a set sleeps.

use crate::sys::WakeEvent;
use std::{
    io,
    os::windows::io::{
        AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle,
    },
    ptr,
};
use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, SetEvent};

/// Signaled from `signal` until `reset`: also after a wait, as a future that was leaked may still
/// be registered for it.
#[derive(Debug)]
pub(super) struct Event(OwnedHandle);

impl Event {
    pub(super) fn new() -> io::Result<Event> {
        const MANUAL_RESET: i32 = 1;
        const NOT_SIGNALED: i32 = 0;
        // SAFETY: the attributes and the name may be null.
        let handle = unsafe { CreateEventW(ptr::null(), MANUAL_RESET, NOT_SIGNALED, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle was just created, nothing else owns it, and `CloseHandle` closes it.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }
}

impl WakeEvent for Event {
    fn signal(&self) {
        // SAFETY: the handle is open.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    fn reset(&self) {
        // SAFETY: the handle is open.
        unsafe { ResetEvent(self.0.as_raw_handle()) };
    }
}

impl AsHandle for Event {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}
