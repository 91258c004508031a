//! Systems where nothing but its number stands for a process that is polled, together
//! with a mark if there is one.

use super::{Child, Keep, Look, Mark, Sight, sight};
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
    /// Whether it was a child of ours at first.
    is_ours: bool,
    /// Whether the last look has seen the mark, and not just the number.
    was_marked: bool,
}

impl View {
    /// `None`: no process has this number.
    pub(crate) fn open(pid: Pid, _: Keep) -> io::Result<Option<(View, Look)>> {
        let Sight::Seen {
            mark,
            is_ours,
            exit,
        } = sight(pid)?
        else {
            return Ok(None);
        };
        let view = View {
            pid,
            was_marked: mark.is_some(),
            mark,
            is_ours,
            is_certain: true,
        };
        Ok(Some((view, exit.map_or(Look::Running, Look::Exited))))
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

    /// There is nothing but the pid to ask by.
    pub(crate) fn child_state(&self) -> Option<Child> {
        None
    }

    /// For a process that has exited: whether it has been reaped. False if that is not known.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        match sight(self.pid) {
            Ok(Sight::Gone) => true,
            Ok(Sight::Seen { mark, .. }) => (self.mark.zip(mark)).is_some_and(|(a, b)| a != b),
            Err(_) => false,
        }
    }

    pub(crate) fn look(&mut self) -> io::Result<Look> {
        let Sight::Seen {
            mark,
            is_ours,
            exit,
        } = sight(self.pid)?
        else {
            return Ok(Look::Gone);
        };
        if !self.is_same(mark) {
            // Reaped, and its number is another's by now.
            return Ok(Look::Gone);
        }
        // Without the mark it may be another's zombie that has the number now; a child of
        // ours keeps its number until it is reaped.
        let is_told = self.is_certain && (self.was_marked || (self.is_ours && is_ours));
        Ok(match exit {
            None => Look::Running,
            Some(exit) if is_told => Look::Exited(exit),
            Some(_) => Look::Exited(Exit::UNKNOWN),
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
