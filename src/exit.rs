//! How a process exited.

#[cfg(unix)]
use std::os::unix::process::ExitStatusExt as _;
#[cfg(windows)]
use std::os::windows::process::ExitStatusExt as _;
use std::{fmt, process::ExitStatus};

/// What the OS calls an exit status: a wait status on Unix, an exit code on
/// Windows.
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
pub struct Exit(Known);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    Nothing,
    /// But not whether it dumped core.
    #[cfg(unix)]
    Signal(i32),
    Status(RawStatus),
}

impl Exit {
    pub(crate) const UNKNOWN: Exit = Exit(Known::Nothing);

    pub(crate) fn from_raw(status: RawStatus) -> Exit {
        Exit(Known::Status(status))
    }

    #[cfg(unix)]
    #[allow(dead_code)] // Linux alone leaves it at that.
    pub(crate) fn killed_by(signal: i32) -> Exit {
        Exit(Known::Signal(signal))
    }

    /// The exit status, or `None` if the process has exited but its status is unknown:
    ///
    /// - if the OS does not report it for a process that is not a child;
    /// - if a child was reaped elsewhere, or by the kernel because `SIGCHLD` is ignored
    ///   (Linux 6.15 and later may still report it);
    /// - if the pid may have been reused.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// let exit = procwait::wait_pid(child.id(), None)?.expect("waits until it exits");
    /// assert_eq!(exit.status(), Some(child.wait()?));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(&self) -> Option<ExitStatus> {
        match self.0 {
            Known::Status(status) => Some(ExitStatus::from_raw(status)),
            _ => None,
        }
    }

    /// Returns true if the process exited with code 0, and false for an unknown status.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::process::Command;
    ///
    /// let child = Command::new("true").spawn()?;
    /// let exit = procwait::wait_pid(child.id(), None)?.expect("waits until it exits");
    /// assert!(exit.success());
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn success(&self) -> bool {
        self.code() == Some(0)
    }

    /// The exit code, or `None` if a signal killed the process or its status is unknown.
    ///
    /// On Windows, codes above `i32::MAX` are negative, as they are in [`ExitStatus::code`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::process::Command;
    ///
    /// let child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// let exit = procwait::wait_pid(child.id(), None)?.expect("waits until it exits");
    /// assert_eq!(exit.code(), Some(3));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn code(&self) -> Option<i32> {
        self.status()?.code()
    }

    /// The signal that killed the process, or `None` if it exited by itself or its status is
    /// unknown.
    ///
    /// On Linux, the signal can be known even if [`status`](Exit::status) is `None`: after a
    /// process is reaped, the kernel does not reliably report whether it dumped core.
    ///
    /// ```
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// child.kill()?;
    /// let exit = procwait::wait_pid(child.id(), None)?.expect("waits until it exits");
    /// assert_eq!(exit.signal(), Some(9));
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn signal(&self) -> Option<i32> {
        match self.0 {
            Known::Signal(signal) => Some(signal),
            _ => self.status()?.signal(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(unix)]
        if let Some(signal) = self.signal() {
            write!(f, "killed by signal {signal}")?;
            return match self.status().is_some_and(|status| status.core_dumped()) {
                true => f.write_str(" (core dumped)"),
                false => Ok(()),
            };
        }
        let Some(status) = self.status() else {
            return f.write_str("exited, status unknown");
        };
        match status.code() {
            // Windows' own codes, the NTSTATUS values, are known by their hex form.
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
    fn a_code() {
        let exit = Exit::from_raw(3 << 8);
        assert_eq!((exit.code(), exit.signal()), (Some(3), None));
        assert_eq!(exit.to_string(), "exited with code 3");
    }

    #[test]
    fn only_a_known_zero_is_success() {
        assert!(Exit::from_raw(0).success());
        let others = [Exit::from_raw(1 << 8), Exit::from_raw(9), Exit::UNKNOWN];
        assert!(!others.iter().any(Exit::success));
    }

    #[test]
    fn a_signal() {
        let exit = Exit::from_raw(9);
        assert_eq!((exit.code(), exit.signal()), (None, Some(9)));
        assert_eq!(exit.to_string(), "killed by signal 9");
    }

    #[test]
    fn a_core_dump() {
        let exit = Exit::from_raw(0x80 | 6);
        assert_eq!(exit.signal(), Some(6));
        assert_eq!(exit.to_string(), "killed by signal 6 (core dumped)");
    }

    #[test]
    fn a_signal_without_a_status() {
        let exit = Exit::killed_by(11);
        assert_eq!((exit.code(), exit.signal()), (None, Some(11)));
        assert!(exit.status().is_none(), "139 perhaps");
        assert_eq!(exit.to_string(), "killed by signal 11");
        assert_ne!(exit, Exit::from_raw(11));
    }

    #[test]
    fn an_unknown_status_is_nothing_else() {
        let exit = Exit::UNKNOWN;
        assert_eq!((exit.code(), exit.signal()), (None, None));
        assert!(exit.status().is_none());
        assert_ne!(exit, Exit::from_raw(0));
        assert_eq!(format!("{exit:?}"), "Exit(exited, status unknown)");
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
    fn still_active_is_a_code_like_any_other() {
        assert_eq!(Exit::from_raw(259).to_string(), "exited with code 259");
    }
}
