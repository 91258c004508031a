//! The ways to wait.

use std::fmt;

/// A way to wait for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// A pidfd and `ppoll`: Linux 5.3 and later.
    PidFd,
    /// `kevent` with `EVFILT_PROC`: macOS and the BSDs.
    Kqueue,
    /// A process handle and `WaitForSingleObject`: Windows.
    Handle,
    /// Repeated checks with backoff from 0.1 ms to 40 ms, or more if a check is slow. Works
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
