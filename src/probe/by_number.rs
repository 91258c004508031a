//! Systems where nothing but its number stands for a process that is polled, together
//! with a mark if there is one.

use super::{Keep, Look, Mark, Sight, sight};
use crate::{Exit, pid::Pid};
use std::io;

/// One process, to be looked at again and again.
#[derive(Debug)]
pub(crate) struct View {
    pid: Pid,
    /// The first one that is seen is adopted.
    mark: Option<Mark>,
    /// Whether the mark, or else the number, is sure to be of the process that was
    /// meant. If not, its status is not told.
    is_certain: bool,
    /// Whether the last look has seen the mark, and not just the number.
    was_marked: bool,
}

impl View {
    /// `None`: no process has this number.
    pub(crate) fn open(pid: Pid, _: Keep) -> io::Result<Option<(View, Look)>> {
        let view = |mark: Option<Mark>| View {
            pid,
            mark,
            is_certain: true,
            was_marked: mark.is_some(),
        };
        Ok(match sight(pid)? {
            Sight::Gone => None,
            Sight::Running(mark) => Some((view(mark), Look::Running)),
            Sight::Exited { mark, exit, .. } => Some((view(mark), Look::Exited(exit))),
        })
    }

    #[cfg(windows)]
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Nothing but the number can be sent one.
    #[cfg(unix)]
    pub(crate) fn send_signal(&mut self, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The number may have come to mean another process before this was opened.
    pub(crate) fn doubt(&mut self) {
        self.is_certain = false;
    }

    /// Whether the last look was sure to be at the process that was meant.
    pub(crate) fn is_certain(&self) -> bool {
        self.is_certain && self.was_marked
    }

    pub(crate) fn look(&mut self) -> io::Result<Look> {
        Ok(match sight(self.pid)? {
            Sight::Running(mark) if self.is_same(mark) => Look::Running,
            Sight::Exited {
                mark,
                exit,
                is_ours,
            } if self.is_same(mark) => {
                // Without the mark it may be another's zombie that has the number now. (A
                // child of ours that never had one keeps its number until it is reaped.)
                let is_unmarked_child = is_ours && self.mark.is_none();
                let is_certain = self.is_certain && (self.was_marked || is_unmarked_child);
                Look::Exited(if is_certain { exit } else { Exit::UNKNOWN })
            }
            // Reaped, and perhaps its number is another's by now.
            _ => Look::Gone,
        })
    }

    fn is_same(&mut self, seen: Option<Mark>) -> bool {
        self.was_marked = seen.is_some();
        match (self.mark, seen) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, Some(_)) => {
                self.mark = seen;
                self.is_certain = false;
                true
            }
            // What cannot be told apart counts as the same: rather wait too
            // long than report the exit of a living process.
            (_, None) => true,
        }
    }
}
