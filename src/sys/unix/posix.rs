//! Unix systems of which we know no more than POSIX: the null signal.
//!
//! It finds zombies as well, so that of a process that is not our child we learn
//! only when it has been reaped.

use super::{child::peek_child, null_signal::exists};
use crate::{
    pid::Pid,
    sys::{Child, Sight},
};
use std::io;

pub(crate) const CALL: &str = "kill";

/// Whether it is our child. No process turns from the one into the other, so if
/// that changes, it is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    ours: bool,
}

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    let (is_ours, exit) = match peek_child(pid) {
        Child::Running | Child::Stopped => (true, None),
        Child::Exited(exit) => (true, Some(exit)),
        Child::NotOurs if exists(pid)? => (false, None),
        Child::NotOurs => return Ok(Sight::Gone),
    };
    Ok(Sight::Seen {
        mark: Some(Mark { ours: is_ours }),
        is_ours,
        exit,
    })
}

/// No zombie is known to be hidden from its parent.
pub(crate) fn is_sure_to_live(_: Pid) -> bool {
    true
}
