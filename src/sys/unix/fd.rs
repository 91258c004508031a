//! Descriptors, in a table that is not ours alone: the rest of the program needs some of
//! them, and may close ours by mistake.

use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    io::{Errno, fcntl_dupfd_cloexec},
};
use std::{
    mem,
    sync::atomic::{AtomicBool, Ordering},
};

/// A descriptor that closes itself, unless it was seen that somebody else has: its number may
/// be another file's by then, and is not ours to close.
#[derive(Debug)]
pub(crate) struct Descriptor<F = OwnedFd> {
    /// `None` only while it is dropped.
    fd: Option<F>,
    is_lost: AtomicBool,
}

impl<F> Descriptor<F> {
    /// Asks something of it, and notes whether it is still there.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&F) -> Result<T, Errno>) -> Result<T, Errno> {
        let answer = question(self.get());
        if matches!(answer, Err(Errno::BADF)) {
            self.lose();
        }
        answer
    }

    /// Notes that it is another file's.
    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    fn get(&self) -> &F {
        self.fd.as_ref().expect("there until it is dropped")
    }
}

impl<F> From<F> for Descriptor<F> {
    fn from(fd: F) -> Descriptor<F> {
        Descriptor {
            fd: Some(fd),
            is_lost: AtomicBool::new(false),
        }
    }
}

impl<F: AsFd> AsFd for Descriptor<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get().as_fd()
    }
}

impl<F> Drop for Descriptor<F> {
    fn drop(&mut self) {
        if *self.is_lost.get_mut() {
            mem::forget(self.fd.take());
        }
    }
}

/// Takes a descriptor that is kept, which gets another number if it has that of a standard
/// stream. A program that has closed one may put it back with `dup2`, which would silently
/// replace ours.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    const LOWEST: RawFd = 3;
    if fd.as_raw_fd() < LOWEST {
        fcntl_dupfd_cloexec(fd, LOWEST)
    } else {
        Ok(fd)
    }
}

/// Whether a set leaves enough to the rest of the program if it keeps this one, which was
/// just opened. The kernel gives the lowest number that is free: all below it are taken.
pub(crate) fn leaves_enough(fd: impl AsFd) -> bool {
    fd.as_fd().as_raw_fd() < bound()
}

/// Numbers from this one on are not for sets: 32, or an eighth of a limit below 256.
pub(crate) fn bound() -> RawFd {
    let limit = limit().unwrap_or(u64::MAX);
    let bound = limit - (limit / 8).min(32);
    RawFd::try_from(bound).unwrap_or(RawFd::MAX)
}

/// `None`: a sandbox denies the question, which rustix does not expect.
fn limit() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the answer is written to a place that outlives the call.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (answer == 0).then_some(limit.rlim_cur as _)
}
