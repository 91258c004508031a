//! Our own children: how they exited, without reaping them.

use crate::{Exit, pid::Pid, sys::ChildState};
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fd::BorrowedFd;
use rustix::{
    io::{Errno, Result},
    process::{WaitId, WaitIdOptions, waitid},
};
use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
};

/// `__WALL` includes children that `clone` made with another exit signal than SIGCHLD, or none.
#[cfg(any(target_os = "linux", target_os = "android"))]
const OF_ANY_KIND: WaitIdOptions = WaitIdOptions::from_bits_retain(libc::__WALL as u32);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const OF_ANY_KIND: WaitIdOptions = WaitIdOptions::empty();

/// What the kernel reports to the parent, without reaping. An error if it is not our child
/// (`ECHILD`), or the call is denied.
pub(crate) fn peek(id: WaitId<'_>) -> Result<ChildState> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(match waitid(id, options | OF_ANY_KIND)? {
        Some(status) => {
            let code = status.exit_status();
            let exit = exit_of_parts(code, status.terminating_signal(), status.dumped());
            exit.map_or(ChildState::Stopped, ChildState::Exited)
        }
        None => ChildState::Running,
    })
}

/// `None` if the result of [`peek`] says nothing about the process: the call is denied, or this
/// kind of id is not known.
pub(crate) fn known_state(result: Result<ChildState>) -> Option<ChildState> {
    match result {
        Ok(state) => Some(state),
        Err(Errno::CHILD) => Some(ChildState::NotAChild),
        Err(_) => None,
    }
}

/// `NotAChild` also if the call is denied.
pub(crate) fn peek_child(pid: Pid) -> ChildState {
    peek(WaitId::Pid(pid.raw())).unwrap_or(ChildState::NotAChild)
}

/// As [`peek`], by a pidfd. `None` before Linux 5.4, which has no `P_PIDFD`, where a sandbox denies
/// `waitid`, and on Android, for which rustix does not have it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peek_pidfd(pidfd: BorrowedFd<'_>) -> Result<Option<ChildState>> {
    #[cfg(target_os = "linux")]
    return match peek(WaitId::PidFd(pidfd)) {
        Err(Errno::BADF) => Err(Errno::BADF),
        result => Ok(known_state(result)),
    };
    #[cfg(target_os = "android")]
    {
        let _ = pidfd;
        Ok(None)
    }
}

/// `Child::try_wait` reports the stop of a child that we trace as an exit.
pub(crate) fn try_wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let peek = |child: &Child| Pid::new(child.id()).map(peek_child);
    if let Ok(ChildState::Stopped) = peek(child) {
        return Ok(None);
    }
    match child.try_wait()? {
        // It stopped after the peek. `child` holds that as its status from now on, and std never
        // reaps it.
        Some(status) if status.stopped_signal().is_some() => Ok(match peek(child) {
            Ok(ChildState::Exited(exit)) => exit.status(),
            _ => None,
        }),
        status => Ok(status),
    }
}

/// Makes a wait status of what `waitid` reports. `None` if the child has stopped: Linux reports
/// that to a tracer, and macOS to every parent.
///
/// gVisor reports a stop to the tracer as a death by the signal 127, which in a wait status
/// stands for a stop. macOS up to 10.15 reports 0 as the signal of each child that was killed
/// (XNU, bsd/kern/kern_exit.c, waitid): such a child has exited, and its signal is unknown.
fn exit_of_parts(code: Option<i32>, signal: Option<i32>, core_dumped: bool) -> Option<Exit> {
    let core_flag = if core_dumped { 0x80 } else { 0 };
    match (code, signal) {
        (Some(code), _) => Some(Exit::from_raw((code & 0xFF) << 8)),
        (None, Some(0)) => Some(Exit::UNKNOWN),
        (None, Some(signal @ 1..0x7F)) => Some(Exit::from_raw(signal | core_flag)),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waitid_parts_make_a_wait_status() {
        use exit_of_parts as exit;
        let status = |raw| Some(Exit::from_raw(raw));
        assert_eq!(exit(Some(3), None, false), status(3 << 8));
        assert_eq!(exit(None, Some(9), false), status(9));
        assert_eq!(exit(None, Some(6), true), status(0x86));
        assert_eq!(exit(None, Some(0), false), Some(Exit::UNKNOWN));
    }

    #[test]
    fn stops_are_not_exits() {
        assert_eq!(exit_of_parts(None, None, false), None);
        assert_eq!(exit_of_parts(None, Some(0x7F), false), None);
    }
}
