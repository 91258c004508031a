//! Unix: a signal to whoever has the number.

use crate::pid::Pid;
use std::io;

/// Zero and negative numbers, which mean groups, are no `Pid`.
pub(crate) fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes numbers. (rustix has the call, but not for every signal.)
    match unsafe { libc::kill(pid.get() as libc::pid_t, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
