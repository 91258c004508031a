//! What can go wrong.

use crate::{Backend, pid::Pid};
use std::io;

/// An error from waiting for a process, or from signaling it.
///
/// Every error except [`Unsupported`](Error::Unsupported) contains the pid; [`Os`](Error::Os)
/// also has the system call and its error. Each converts into an `io::Error` of kind
/// `InvalidInput`, `NotFound`, `Unsupported`, or that of the OS error, whose number is only in
/// [`Os`](Error::Os).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pid is 0 or, on Unix, above `i32::MAX`. System calls would take such a value for a
    /// process group, so it is never passed on. (A [`Process`](crate::Process::pid) whose pid is not
    /// known has 0, too.)
    #[error("{pid} cannot be a process id")]
    InvalidPid {
        /// The pid that was asked for.
        pid: u32,
    },

    /// No process has this pid (it may be a thread id), or it is not in the
    /// [`WaitSet`](crate::WaitSet).
    #[error("process {pid} not found")]
    NotFound {
        /// The pid that was asked for.
        pid: u32,
    },

    /// [`Process::open_with`](crate::Process::open_with) was asked for a backend that this OS,
    /// this version of it, or this sandbox does not have.
    #[error("waiting by {backend} is not available here")]
    Unsupported {
        /// The backend that was asked for.
        backend: Backend,
    },

    /// A system call failed, and no fallback worked.
    #[error("{call} failed{}: {source}", for_process(*.pid))]
    Os {
        /// The name of the call.
        call: &'static str,
        /// The pid that was asked for. 0 if that is [not known](crate::Process::pid).
        pid: u32,
        /// The OS's reason.
        source: io::Error,
    },
}

impl Error {
    /// `pid`: `None` if it is not known.
    pub(crate) fn os(call: &'static str, pid: impl Into<Option<Pid>>, source: io::Error) -> Error {
        let pid = pid.into().map_or(0, Pid::get);
        Error::Os { call, pid, source }
    }
}

fn for_process(pid: u32) -> String {
    if pid == 0 {
        String::new()
    } else {
        format!(" for process {pid}")
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::InvalidPid { .. } => io::ErrorKind::InvalidInput,
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            Error::Os { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_error_names_call_pid_and_reason() {
        let error = Error::Os {
            call: "pidfd_open",
            pid: 42,
            source: io::ErrorKind::PermissionDenied.into(),
        };
        assert_eq!(
            error.to_string(),
            "pidfd_open failed for process 42: permission denied"
        );
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("pidfd_open"));

        let error = Error::os("ppoll", None, io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.to_string(), "ppoll failed: permission denied");
    }
}
