//! What POSIX shows of a pid.
//!
//! The null signal finds zombies as well, so the exit of a process that is not a child is only
//! noticed once it has been reaped.

use crate::{
    pid::Pid,
    sys::{ChildState, Scope, Snapshot, peek_child},
};
use rustix::{io::Errno, process::test_kill_process};
use std::io;

pub(crate) const SNAPSHOT_CALL: &str = "kill";

/// POSIX has nothing that distinguishes a process from a later one with its pid. (A process can
/// become our child and stop being it: orphans are adopted, and XNU reparents to a debugger.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fingerprint {}

impl Fingerprint {
    pub(crate) fn start_time(self) -> Option<u64> {
        match self {}
    }
}

pub(crate) fn scope() -> Option<Scope> {
    None
}

pub(crate) fn snapshot(pid: Pid) -> io::Result<Option<Snapshot<Fingerprint>>> {
    let (is_child, exit) = match peek_child(pid) {
        ChildState::Running | ChildState::Stopped => (true, None),
        ChildState::Exited(exit) => (true, Some(exit)),
        ChildState::NotAChild if exists(pid)? => (false, None),
        ChildState::NotAChild => return Ok(None),
    };
    Ok(Some(Snapshot {
        fingerprint: None,
        is_child,
        exit,
    }))
}

/// Whether a process has this pid, alive or zombie.
pub(crate) fn exists(pid: Pid) -> io::Result<bool> {
    match test_kill_process(pid.raw()) {
        // EPERM: there is one that we may not signal.
        Ok(()) | Err(Errno::PERM) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
