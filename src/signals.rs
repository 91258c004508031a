//! Signals, to the process that is held and not to the next one that has its number.

use crate::Error;
#[cfg(unix)]
use crate::{backend, pid::Pid};
#[cfg(unix)]
use rustix::process::Signal;
#[cfg(unix)]
use std::io;

#[cfg(unix)]
pub(crate) const KILL: i32 = Signal::KILL.as_raw();
#[cfg(unix)]
pub(crate) const TERM: i32 = Signal::TERM.as_raw();
#[cfg(unix)]
pub(crate) const CONT: i32 = Signal::CONT.as_raw();

/// `held` sends it to what holds the process, if there is something that can be sent one.
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
) -> Result<bool, Error> {
    if has_exited()? {
        return Ok(false);
    }
    if held().is_ok() {
        return Ok(true);
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
