//! Signals by pid.

use super::posix::exists;
use crate::{Error, pid::Pid};
use rustix::io::Errno;
use std::io;

/// Any number that the OS takes for a signal, as rustix's `Signal` does not have all of them.
pub(crate) type Signal = i32;

pub(crate) const KILL: Signal = rustix::process::Signal::KILL.as_raw();
pub(crate) const TERM: Signal = rustix::process::Signal::TERM.as_raw();
pub(crate) const CONT: Signal = rustix::process::Signal::CONT.as_raw();

/// Whether a call on a process failed because there is no such process (any more).
pub(crate) fn is_no_such_process(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::SRCH)
}

/// Whether a process, alive or zombie, has this pid, or may have it.
pub(crate) fn is_pid_in_use(pid: Pid) -> bool {
    !matches!(exists(pid), Ok(false))
}

/// The error that `Child::wait` returns for a child that was reaped elsewhere.
pub(crate) fn reaped_elsewhere() -> io::Error {
    Errno::CHILD.into()
}

/// Sends a signal to a pid, after a check that is as late as possible. False if the process has
/// exited. (A `Pid` is never that of a process group.)
pub(crate) fn signal_pid(
    pid: Pid,
    signal: Signal,
    has_exited: impl Fn() -> Result<bool, Error>,
) -> Result<bool, Error> {
    if has_exited()? {
        return Ok(false);
    }
    // SAFETY: the call takes no pointers.
    if unsafe { libc::kill(pid.get() as libc::pid_t, signal) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if has_exited()? {
        Ok(false)
    } else {
        Err(Error::os("kill", pid, error))
    }
}
