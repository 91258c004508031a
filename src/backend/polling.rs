//! The shared fallback: look, pause, look again.

use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    probe::{self, Look, Mark},
};
use std::io;

/// A process known by its pid and, where the OS tells one, by a mark that a
/// later bearer of the pid does not have.
#[derive(Debug)]
pub(crate) struct Polling {
    pid: Pid,
    mark: Option<Mark>,
}

impl Polling {
    /// `None`: there is no such process. With the exit, if it is a zombie.
    pub(crate) fn open(pid: Pid) -> io::Result<Option<(Polling, Option<Exit>)>> {
        Ok(match probe::look(pid)? {
            Look::Gone => None,
            Look::Running(mark) => Some((Polling { pid, mark }, None)),
            Look::Exited(mark, exit) => Some((Polling { pid, mark }, Some(exit))),
        })
    }

    /// To be known by its pid alone.
    pub(crate) fn unseen(pid: Pid) -> Polling {
        Polling { pid, mark: None }
    }

    /// Takes over from an event backend whose wait has failed: it holds the process,
    /// and here there is only the pid. So take what bears the pid now, then make
    /// sure that it still was the same. `Err`: it has exited, as `exit` tells.
    pub(crate) fn take_over(
        pid: Pid,
        is_reaped: impl FnOnce() -> bool,
        exit: impl FnOnce() -> Exit,
    ) -> io::Result<Result<Polling, Exit>> {
        let opened = Polling::open(pid)?;
        Ok(match opened.filter(|_| !is_reaped()) {
            Some((polling, None)) => Ok(polling),
            Some((_, Some(exit))) => Err(exit),
            None => Err(exit()),
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// `None`: the deadline has passed.
    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<Option<Exit>> {
        if deadline == Deadline::Never {
            if let Some(exit) = self.look()? {
                return Ok(Some(exit));
            }
            // Nothing to enforce: let the kernel wait for a child.
            if let Some(exit) = probe::block_on_child(self.pid) {
                return Ok(Some(exit));
            }
        }
        deadline.poll(|| self.look())
    }

    /// `None`: it is still running.
    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        Ok(match probe::look(self.pid)? {
            Look::Running(mark) if self.is_ours(mark) => None,
            Look::Exited(mark, exit) if self.is_ours(mark) => Some(exit),
            // Reaped, and perhaps its pid is another's by now.
            _ => Some(Exit::UNKNOWN),
        })
    }

    fn is_ours(&self, mark: Option<Mark>) -> bool {
        match (self.mark, mark) {
            (Some(ours), Some(theirs)) => ours == theirs,
            // What cannot be told apart counts as the same: rather wait too
            // long than report the exit of a living process.
            _ => true,
        }
    }
}
