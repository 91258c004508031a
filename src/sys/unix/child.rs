//! Our own children: how they exited, without reaping them.

use crate::{Exit, pid::Pid, sys::Child};
use rustix::{
    io::{Errno, Result},
    process::{WaitId, WaitIdOptions, WaitIdStatus, waitid},
};
use std::{io, os::unix::process::ExitStatusExt as _, process};

/// Children made by `clone` with another exit signal than `SIGCHLD`, or none, are
/// children, too.
#[cfg(any(target_os = "linux", target_os = "android"))]
const OF_ANY_KIND: WaitIdOptions = WaitIdOptions::from_bits_retain(libc::__WALL as u32);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const OF_ANY_KIND: WaitIdOptions = WaitIdOptions::empty();

/// What the kernel tells the parent; nothing is reaped. An error says that it is
/// not our child (`ECHILD`) or that we may not ask.
pub(crate) fn peek(id: WaitId<'_>) -> Result<Child> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(match waitid(id, options | OF_ANY_KIND)? {
        Some(status) => exit(&status).map_or(Child::Stopped, Child::Exited),
        None => Child::Running,
    })
}

/// What an answer of [`peek`] says for sure. `None` if it says nothing: the call is denied, or
/// older than this kind of id.
#[allow(dead_code)] // Linux alone distinguishes the two.
pub(crate) fn known_state(answer: Result<Child>) -> Option<Child> {
    match answer {
        Ok(state) => Some(state),
        Err(Errno::CHILD) => Some(Child::NotOurs),
        Err(_) => None,
    }
}

pub(crate) fn peek_child(pid: Pid) -> Child {
    peek(WaitId::Pid(pid.raw())).unwrap_or(Child::NotOurs)
}

/// `Child::try_wait`, for which a process that we trace ourselves has exited when it
/// only stops.
pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
    let peek = |child: &process::Child| Pid::new(child.id()).map(peek_child);
    if let Ok(Child::Stopped) = peek(child) {
        return Ok(None);
    }
    match child.try_wait()? {
        // It stopped just then, and to `child` that was the end.
        Some(status) if status.stopped_signal().is_some() => Ok(match peek(child) {
            Ok(Child::Exited(exit)) => exit.status(),
            _ => None,
        }),
        answer => Ok(answer),
    }
}

/// `waitid` reports the parts of a wait status; this puts them together again. `None` if the
/// child has stopped: Linux reports that to a tracer, and macOS to every parent.
fn exit(status: &WaitIdStatus) -> Option<Exit> {
    let code = status.exit_status();
    exit_of_parts(code, status.terminating_signal(), status.dumped())
}

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
        assert_eq!(
            exit_of_parts(Some(3), None, false),
            Some(Exit::from_raw(3 << 8))
        );
        assert_eq!(exit_of_parts(None, Some(9), false), Some(Exit::from_raw(9)));
        assert_eq!(
            exit_of_parts(None, Some(6), true),
            Some(Exit::from_raw(0x86))
        );
    }

    #[test]
    fn killed_by_signal_0_is_an_exit_with_unknown_status() {
        assert_eq!(exit_of_parts(None, Some(0), false), Some(Exit::UNKNOWN));
    }

    #[test]
    fn stops_are_not_exits() {
        assert_eq!(exit_of_parts(None, None, false), None);
        assert_eq!(exit_of_parts(None, Some(0x7F), false), None);
    }
}
