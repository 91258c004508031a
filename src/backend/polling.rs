//! The shared fallback: look, pause, look again.

use crate::{
    Exit,
    deadline::{Deadline, Pace},
    pid::Pid,
    probe::{Keep, Look, View},
};
use std::io;

/// A process that is looked at.
#[derive(Debug)]
pub(crate) struct Polling {
    view: View,
    pace: Pace,
}

impl Polling {
    /// `None`: there is no such process. With the exit, if it is a zombie.
    pub(crate) fn open(pid: Pid, keep: Keep) -> io::Result<Option<(Polling, Option<Exit>)>> {
        let opened = View::open(pid, keep)?;
        Ok(opened.map(|(view, look)| {
            let pace = Pace::default();
            (Polling { view, pace }, exit(look))
        }))
    }

    /// Takes over from an event backend whose wait has failed: it holds the process,
    /// and here there is only the pid. So take what bears the pid now, then make
    /// sure that it still was the same. `Err`: it has exited, and how, if that is seen.
    pub(crate) fn take_over(
        pid: Pid,
        keep: Keep,
        is_reaped: impl FnOnce() -> Option<bool>,
    ) -> io::Result<Result<Polling, Option<Exit>>> {
        let opened = Polling::open(pid, keep)?;
        Ok(match (opened, is_reaped()) {
            (Some((polling, None)), Some(false)) => Ok(polling),
            (Some((_, Some(exit))), Some(false)) => Err(Some(exit)),
            (Some((mut polling, None)), None) => {
                polling.view.doubt();
                Ok(polling)
            }
            _ => Err(None),
        })
    }

    /// Whether it is sure to be the process that was meant.
    pub(crate) fn is_certain(&self) -> bool {
        self.view.is_certain()
    }

    /// `None`: the deadline has passed.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<Option<Exit>> {
        deadline.poll(&mut self.pace, || Ok(exit(self.view.look()?)))
    }

    /// `None`: it is still running.
    pub(crate) fn look(&mut self) -> io::Result<Option<Exit>> {
        Ok(exit(self.view.look()?))
    }
}

fn exit(look: Look) -> Option<Exit> {
    match look {
        Look::Running => None,
        Look::Exited(exit) => Some(exit),
        Look::Gone => Some(Exit::UNKNOWN),
    }
}
