//! An eventfd that ends the wait of an epoll.

use crate::sys::{
    KeepFd, WakeEvent,
    unix::fd::{GuardedFd, above_standard_streams, may_keep},
};
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, BorrowedFd},
    io::{Errno, read, write},
};
use std::io;

/// Readable from `signal` until `reset`. The epoll reports each signal once.
#[derive(Debug)]
pub(super) struct EventFd(GuardedFd);

impl EventFd {
    pub(super) fn new() -> io::Result<EventFd> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fd = above_standard_streams(eventfd(0, flags)?)?;
        if may_keep(&fd, KeepFd::UnlessReserved) {
            Ok(EventFd(fd.into()))
        } else {
            Err(Errno::MFILE.into())
        }
    }
}

impl WakeEvent for EventFd {
    fn signal(&self) {
        // It fails only if the counter is at its maximum, and so readable.
        let _ = self.0.with(|fd| write(fd, &1_u64.to_ne_bytes()));
    }

    fn reset(&self) {
        // It fails if the counter is 0.
        let _ = self.0.with(|fd| read(fd, &mut [0; size_of::<u64>()]));
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
