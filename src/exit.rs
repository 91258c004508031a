//! How a process exited.

#[cfg(unix)]
use std::os::unix::process::ExitStatusExt as _;
#[cfg(windows)]
use std::os::windows::process::ExitStatusExt as _;
use std::{fmt, process::ExitStatus};

/// A wait status on Unix, an exit code on Windows.
#[cfg(unix)]
type RawStatus = i32;
#[cfg(windows)]
type RawStatus = u32;

/// How a process exited, if the OS reports it.
///
/// It displays as "exited with code 3", "killed by signal 9" or "exited, status unknown".
///
/// ```
/// # #[cfg(unix)] {
/// use std::process::Command;
///
/// let child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// let exit = procwait::wait_pid(child.id(), None)?.expect("waits until it exits");
/// assert_eq!(exit.code(), Some(3));
/// assert_eq!(exit.to_string(), "exited with code 3");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exit(Status);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Unknown,
    /// Whether it dumped core is unknown.
    #[cfg(unix)]
    Signal(i32),
    Known(RawStatus),
}

impl Exit {
    pub(crate) const UNKNOWN: Exit = Exit(Status::Unknown);

    pub(crate) fn from_raw(status: RawStatus) -> Exit {
        Exit(Status::Known(status))
    }

    pub(crate) fn from_status(status: ExitStatus) -> Exit {
        #[cfg(unix)]
        let status = status.into_raw();
        #[cfg(windows)]
        let status = status.code().map_or(0, |code| code as u32);
        Exit::from_raw(status)
    }

    #[cfg(unix)]
    #[allow(dead_code)] // Only Linux reports that.
    pub(crate) fn killed_by(signal: i32) -> Exit {
        Exit(Status::Signal(signal))
    }

    /// The exit status, or `None` if the process has exited but its status is unknown:
    ///
    /// - if the OS does not report it for a process that is not a child;
    /// - if a child was reaped elsewhere, or by the kernel because `SIGCHLD` is ignored
    ///   (Linux 6.15 and later may still report it);
    /// - if the pid may have been reused.
    pub fn status(&self) -> Option<ExitStatus> {
        match self.0 {
            Status::Known(status) => Some(ExitStatus::from_raw(status)),
            _ => None,
        }
    }

    /// Returns true if the process exited with code 0, and false for an unknown status.
    pub fn success(&self) -> bool {
        self.code() == Some(0)
    }

    /// The exit code, or `None` if a signal killed the process or its status is unknown.
    ///
    /// On Windows, codes above `i32::MAX` are negative, as they are in [`ExitStatus::code`].
    pub fn code(&self) -> Option<i32> {
        self.status()?.code()
    }

    /// The signal that killed the process, or `None` if it exited by itself or its status is
    /// unknown.
    ///
    /// On Linux, the signal can be known even if [`status`](Exit::status) is `None`: after a
    /// process is reaped, the kernel does not reliably report whether it dumped core.
    #[cfg(unix)]
    pub fn signal(&self) -> Option<i32> {
        match self.0 {
            Status::Signal(signal) => Some(signal),
            _ => self.status()?.signal(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(unix)]
        if let Some(signal) = self.signal() {
            write!(f, "killed by signal {signal}")?;
            return if self.status().is_some_and(|status| status.core_dumped()) {
                f.write_str(" (core dumped)")
            } else {
                Ok(())
            };
        }
        let Some(status) = self.status() else {
            return f.write_str("exited, status unknown");
        };
        match status.code() {
            // NTSTATUS values are usually written in hexadecimal.
            Some(code) if code < 0 => write!(f, "exited with code {code:#x}"),
            Some(code) => write!(f, "exited with code {code}"),
            None => write!(f, "exited with {status}"),
        }
    }
}

impl fmt::Debug for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exit({self})")
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn code_signal_and_text() {
        for (exit, code, signal, text) in [
            (Exit::from_raw(0), Some(0), None, "exited with code 0"),
            (Exit::from_raw(3 << 8), Some(3), None, "exited with code 3"),
            (Exit::from_raw(9), None, Some(9), "killed by signal 9"),
            (
                Exit::from_raw(0x80 | 6),
                None,
                Some(6),
                "killed by signal 6 (core dumped)",
            ),
            (Exit::killed_by(11), None, Some(11), "killed by signal 11"),
            (Exit::UNKNOWN, None, None, "exited, status unknown"),
        ] {
            assert_eq!((exit.code(), exit.signal()), (code, signal));
            assert_eq!(exit.to_string(), text);
            assert_eq!(exit.success(), code == Some(0));
        }
        assert!(Exit::killed_by(11).status().is_none() && Exit::UNKNOWN.status().is_none());
        assert_ne!(Exit::killed_by(11), Exit::from_raw(11));
    }
}

#[cfg(all(test, windows))]
mod tests {
    use super::*;

    #[test]
    fn codes_are_u32() {
        let exit = Exit::from_raw(0xC000_0005);
        assert_eq!(exit.code(), Some(0xC000_0005_u32 as i32));
        assert_eq!(exit.to_string(), "exited with code 0xc0000005");
    }

    #[test]
    fn still_active_is_an_exit_code() {
        assert_eq!(Exit::from_raw(259).to_string(), "exited with code 259");
    }
}
