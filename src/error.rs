//! What can go wrong.

use crate::Backend;
#[cfg(unix)]
use rustix::io::Errno;
use std::io;

/// An error from waiting for a process, or from signaling it.
///
/// Every error except [`Unsupported`](Error::Unsupported) contains the pid; [`Os`](Error::Os)
/// also has the system call and its error. It converts into an `io::Error` of kind
/// `InvalidInput`, `NotFound`, `Unsupported`, or that of the OS error.
///
/// ```
/// use procwait::Error;
/// use std::io;
///
/// let error = procwait::wait_pid(0, None).unwrap_err();
/// assert!(matches!(error, Error::InvalidPid { pid: 0 }));
/// assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pid is 0 or, on Unix, above `i32::MAX`. System calls would take such a value for a
    /// process group, so it is never passed on.
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
    #[error("{call} failed for process {pid}: {source}")]
    Os {
        /// The name of the call.
        call: &'static str,
        /// The pid that was asked for.
        pid: u32,
        /// The OS's reason.
        source: io::Error,
    },
}

impl Error {
    /// The failure of this call for this process.
    pub(crate) fn os(call: &'static str, pid: u32) -> impl Fn(io::Error) -> Error {
        move |source| Error::Os { call, pid, source }
    }
}

/// Whether a call on a process failed because there is no such process (any more).
pub(crate) fn is_no_such_process(error: &io::Error) -> bool {
    cfg_if::cfg_if! {
        if #[cfg(unix)] {
            Errno::from_io_error(error) == Some(Errno::SRCH)
        } else {
            let _ = error; // Windows has no error that says just that.
            false
        }
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
    fn an_os_error_names_call_pid_and_reason() {
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
    }

    #[test]
    fn kinds_are_those_a_user_would_match_on() {
        let kind = |error| io::Error::from(error).kind();
        assert_eq!(kind(Error::NotFound { pid: 1 }), io::ErrorKind::NotFound);
        let backend = Backend::Kqueue;
        assert_eq!(
            kind(Error::Unsupported { backend }),
            io::ErrorKind::Unsupported
        );
    }
}
