//! What Unix systems share.

// rustix does not have `waitid` on OpenBSD, nor its status on NetBSD.
#[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
pub(crate) mod child;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod group;
pub(crate) mod no_events;
mod pipes;
pub(crate) mod poll;
pub(crate) mod posix;
mod reader;
#[cfg(any(feature = "tokio", feature = "async-io"))]
mod runtime;
pub(crate) mod signal;
mod writer;

#[cfg(feature = "async-io")]
pub(crate) use runtime::AsyncIoRegistration;
#[cfg(feature = "tokio")]
pub(crate) use runtime::TokioRegistration;
use rustix::io::Errno;
use std::io;
pub(crate) use {
    fd::is_fd_exhausted,
    group::{leads_group, refuse_group, signal_group_of},
    signal::{
        CONT, KILL, Signal, TERM, is_no_such_process, is_pid_in_use, reaped_elsewhere, signal_pid,
    },
    std::os::fd::BorrowedFd as BorrowedEvent,
};

pub(super) use {pipes::Stream, writer::Input};

/// Fails with the errno if a call of libc's has returned -1, which does not convert.
pub(crate) fn result(returned: impl TryInto<usize>) -> Result<usize, Errno> {
    returned.try_into().map_err(|_| {
        let error = io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::NOSYS)
    })
}
