//! The means of waiting: one file per mechanism, the event backends all with
//! the same small face.
//!
//! - `Event::BACKEND` names it, `Event::OPEN` and `Event::WAIT` its calls;
//! - `open(pid)` takes hold of a process, and `is_unavailable(error)` is whether
//!   its failure was not about this process;
//! - `wait(deadline)` sleeps until its exit (true) or the deadline (false);
//! - `exit()` is how it exited, once it has;
//! - `is_reaped()` is whether its pid may have come to mean another process;
//! - `as_fd()`, or `as_handle()`, is what a reactor can wait for.

use std::fmt;

mod polling;
pub(crate) use polling::Polling;

cfg_if::cfg_if! {
    if #[cfg(any(target_os = "linux", target_os = "android"))] {
        mod pidfd;
        pub(crate) use pidfd::PidFd as Event;
    } else if #[cfg(any(
        target_vendor = "apple",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
    ))] {
        mod kqueue;
        mod kqueue_rules;
        pub(crate) use kqueue::Kqueue as Event;
    } else if #[cfg(windows)] {
        mod handle;
        pub(crate) use handle::Handle as Event;
    } else {
        mod none;
        pub(crate) use none::NoEvent as Event;
    }
}

// Its tests run everywhere.
#[cfg(all(test, target_os = "linux"))]
mod kqueue_rules;

/// A means of waiting for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// A pidfd and `ppoll`: Linux 5.3 and later.
    PidFd,
    /// `kevent` with `EVFILT_PROC`: macOS and the BSDs.
    Kqueue,
    /// A process handle and `WaitForSingleObject`: Windows.
    Handle,
    /// Looking again and again, with pauses of 0.1 ms that double up to 40 ms:
    /// everywhere.
    Polling,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::PidFd => "pidfd",
            Backend::Kqueue => "kqueue",
            Backend::Handle => "process handle",
            Backend::Polling => "polling",
        })
    }
}
