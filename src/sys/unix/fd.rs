//! Descriptors, in a table that is shared with the rest of the program.

use crate::sys::KeepFd;
use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    io::{Errno, fcntl_dupfd_cloexec},
};
use std::{
    io, mem,
    sync::atomic::{AtomicBool, Ordering},
};

/// A descriptor that is closed when it is dropped, unless a call has failed with EBADF: then
/// other code has closed it, and its number may be another file's by now.
#[derive(Debug)]
pub(crate) struct GuardedFd<F = OwnedFd> {
    /// An `Option`, so that `drop` can take it without unsafe code.
    fd: Option<F>,
    is_disowned: AtomicBool,
}

impl<F> GuardedFd<F> {
    /// Runs a system call on the descriptor, and records EBADF. After that, it fails without a call.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&F) -> Result<T, Errno>) -> Result<T, Errno> {
        if self.is_disowned() {
            return Err(Errno::BADF);
        }
        let result = call(self.get());
        if matches!(result, Err(Errno::BADF)) {
            self.disown();
        }
        result
    }

    /// From now on it is not ours: it is not closed when this is dropped.
    pub(crate) fn disown(&self) {
        self.is_disowned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_disowned(&self) -> bool {
        self.is_disowned.load(Ordering::Relaxed)
    }

    fn get(&self) -> &F {
        self.fd.as_ref().expect("there until it is dropped")
    }
}

impl<F> From<F> for GuardedFd<F> {
    fn from(fd: F) -> GuardedFd<F> {
        GuardedFd {
            fd: Some(fd),
            is_disowned: AtomicBool::new(false),
        }
    }
}

impl<F: AsFd> AsFd for GuardedFd<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

impl<F> Drop for GuardedFd<F> {
    fn drop(&mut self) {
        if *self.is_disowned.get_mut() {
            mem::forget(self.fd.take());
        }
    }
}

/// Gives a descriptor that is to be kept another number, if it has that of a standard stream. A
/// program that has closed one may put it back with `dup2`, which would silently replace ours.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    const LOWEST: RawFd = 3;
    if fd.as_raw_fd() < LOWEST {
        fcntl_dupfd_cloexec(fd, LOWEST)
    } else {
        Ok(fd)
    }
}

/// A set leaves descriptors to the rest of the program: 32, or an eighth of a limit below 256.
/// The kernel gives the lowest number that is free, so a descriptor that was just opened shows
/// how many there are.
pub(crate) fn first_reserved_fd() -> RawFd {
    let limit = limit().unwrap_or(u64::MAX);
    let reserved = limit - (limit / 8).min(32);
    RawFd::try_from(reserved).unwrap_or(RawFd::MAX)
}

/// Whether a probe may keep a descriptor that was just opened.
pub(crate) fn may_keep(fd: impl AsFd, keep: KeepFd) -> bool {
    keep == KeepFd::Always || fd.as_fd().as_raw_fd() < first_reserved_fd()
}

/// `None` if a sandbox denies the call, which rustix does not expect.
fn limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes to `limit`, which is live.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (result == 0).then_some(limit.rlim_cur as _)
}

/// Whether a call failed because the process, or the system, has no descriptors left.
pub(crate) fn is_fd_exhausted(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
