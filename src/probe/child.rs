//! Our own children: how they exited, without reaping them.

use super::Child;
use crate::{Exit, pid::Pid};
use rustix::{
    io::Result,
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

/// `waitid` tells the parts of a wait status; put it together again. `None`: what it
/// tells its tracer is a stop. (gVisor tells it as a death by the signal 127, which is a
/// wait status's mark of a stop.)
fn exit(status: &WaitIdStatus) -> Option<Exit> {
    let core_dumped = if status.dumped() { 0x80 } else { 0 };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::from_raw((code & 0xFF) << 8)),
        (None, Some(signal @ 1..0x7F)) => Some(Exit::from_raw(signal | core_dumped)),
        (None, _) => None,
    }
}
