//! Unix systems of which we know no more than POSIX: the null signal.
//!
//! It finds zombies as well, so that of a process that is not our child we learn
//! only when it has been reaped.

use super::{Child, Sight, exists, peek_child};
use crate::pid::Pid;
use std::io;

pub(crate) const CALL: &str = "kill";

/// Whether it is our child. No process turns from the one into the other, so if
/// that changes, it is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    ours: bool,
}

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    match peek_child(pid) {
        Child::Running | Child::Stopped => return Ok(Sight::Running(Some(Mark { ours: true }))),
        Child::Exited(exit) => {
            return Ok(Sight::Exited {
                mark: Some(Mark { ours: true }),
                exit,
                is_ours: true,
            });
        }
        Child::NotOurs => {}
    }
    Ok(match exists(pid)? {
        true => Sight::Running(Some(Mark { ours: false })),
        false => Sight::Gone,
    })
}

/// No zombie is known to be hidden from its parent.
pub(crate) fn is_sure_to_live(_: Pid) -> bool {
    true
}
