//! Signals, to the process that is held and not to the next one that has its number.

use crate::Error;
#[cfg(unix)]
use crate::{backend, pid::Pid};
#[cfg(unix)]
use rustix::{io::Errno, process::Signal};
#[cfg(unix)]
use std::io;

#[cfg(unix)]
pub(crate) const KILL: i32 = Signal::KILL.as_raw();
#[cfg(unix)]
pub(crate) const TERM: i32 = Signal::TERM.as_raw();
#[cfg(unix)]
pub(crate) const CONT: i32 = Signal::CONT.as_raw();

/// `held` sends it to what holds the process, if there is something that can be sent one,
/// and `is_gone` is told if that knows of no such process any more.
///
/// A zombie can be sent signals, too: so it is looked at first, and false is that it has
/// exited. Where the signal is refused, the refusal may be a sandbox's: what `kill` says
/// counts. Between the look before it and the `kill` itself the process could be reaped
/// and its number given away, within microseconds; a child that we have not reaped keeps
/// it.
#[cfg(unix)]
pub(crate) fn send(
    pid: Pid,
    signal: i32,
    has_exited: impl Fn() -> Result<bool, Error>,
    held: impl FnOnce() -> io::Result<()>,
    is_gone: impl FnOnce(),
) -> Result<bool, Error> {
    // If the look fails, it may be sent all the same.
    if let Ok(true) = has_exited() {
        return Ok(false);
    }
    match held() {
        Ok(()) => return Ok(true),
        Err(refused) if Errno::from_io_error(&refused) == Some(Errno::SRCH) => {
            is_gone();
            return Ok(false);
        }
        Err(_) => {}
    }
    if has_exited()? {
        return Ok(false);
    }
    match backend::kill(pid, signal) {
        Ok(()) => Ok(true),
        Err(_) if has_exited()? => Ok(false),
        Err(refused) => Err(Error::os("kill", pid.get())(refused)),
    }
}

/// By other means, if it was refused and not known to be gone.
#[cfg(unix)]
pub(crate) fn or_else(
    sent: io::Result<()>,
    otherwise: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    sent.or_else(|refused| match Errno::from_io_error(&refused) {
        Some(Errno::SRCH) => Err(refused),
        _ => otherwise(),
    })
}

/// As for `std::process::Child::kill`, it is no error if it has exited.
#[cfg(windows)]
pub(crate) fn kill(
    has_exited: impl Fn() -> Result<bool, Error>,
    held: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    if has_exited()? {
        return Ok(());
    }
    match held() {
        Err(_) if has_exited()? => Ok(()),
        answer => answer,
    }
}
