//! `kill(pid, 0)`: whether there is such a process.

use crate::pid::Pid;
use rustix::{io::Errno, process::test_kill_process};
use std::io;

/// Whether a process has this pid, alive or zombie.
pub(crate) fn exists(pid: Pid) -> io::Result<bool> {
    match test_kill_process(pid.raw()) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        // There is one, which we may not signal.
        Err(Errno::PERM) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
