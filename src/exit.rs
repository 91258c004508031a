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

/// That a process has exited, and how, as far as the OS tells.
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
pub struct Exit {
    status: Option<RawStatus>,
}

impl Exit {
    pub(crate) const UNKNOWN: Exit = Exit { status: None };

    pub(crate) fn from_raw(status: RawStatus) -> Exit {
        Exit {
            status: Some(status),
        }
    }

    /// The exit status. `None`: the process has exited, but the OS does not
    /// tell us its status. That happens with processes that are not our
    /// children; it is never a guess.
    pub fn status(&self) -> Option<ExitStatus> {
        self.status.map(ExitStatus::from_raw)
    }

    /// The exit code. `None`: a signal ended the process, or its status is
    /// unknown.
    ///
    /// On Windows, codes above `i32::MAX` come out negative, as they do from
    /// [`ExitStatus::code`].
    pub fn code(&self) -> Option<i32> {
        self.status()?.code()
    }

    /// The signal that ended the process. `None`: it exited by itself, or its
    /// status is unknown.
    #[cfg(unix)]
    pub fn signal(&self) -> Option<i32> {
        self.status()?.signal()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(status) = self.status() else {
            return f.write_str("exited, status unknown");
        };
        #[cfg(unix)]
        if let Some(signal) = status.signal() {
            write!(f, "killed by signal {signal}")?;
            return match status.core_dumped() {
                true => f.write_str(" (core dumped)"),
                false => Ok(()),
            };
        }
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
