//! The shared fallback: look, pause, look again.

use crate::{
    Exit,
    deadline::{Deadline, Pace, Turn, When},
    pid::Pid,
    probe::{Keep, Look, View},
};
use std::{
    io,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

/// A process that is looked at, by any number of threads.
#[derive(Debug)]
pub(crate) struct Polling(Mutex<Watch>);

/// Locked for a look, and never while anybody sleeps.
#[derive(Debug)]
struct Watch {
    view: View,
    /// Of all who wait together: looks are not the more for it.
    pace: Pace,
}

impl Polling {
    /// `None`: there is no such process. With the exit, if it is a zombie.
    pub(crate) fn open(pid: Pid, keep: Keep) -> io::Result<Option<(Polling, Option<Exit>)>> {
        let opened = View::open(pid, keep)?;
        Ok(opened.map(|(view, look)| {
            let pace = Pace::default();
            (Polling(Watch { view, pace }.into()), look.exit())
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
            (Some((polling, None)), None) => {
                polling.lock().view.doubt();
                Ok(polling)
            }
            _ => Err(None),
        })
    }

    /// Whether it is sure to be the process that was meant.
    pub(crate) fn is_certain(&self) -> bool {
        self.lock().view.is_certain()
    }

    /// Until one of those who wait has found the exit or the deadline has passed.
    pub(crate) fn wait(&self, deadline: Deadline, found: &OnceLock<Exit>) -> io::Result<()> {
        let turn = |when| self.turn(when, found);
        deadline.poll_in_turn(turn).map(drop)
    }

    /// Looks, if it is time to, unless one of those who wait has found the exit.
    pub(crate) fn turn(&self, when: When, found: &OnceLock<Exit>) -> io::Result<Turn<Exit>> {
        let Watch { view, pace } = &mut *self.lock();
        if let Some(&known) = found.get() {
            return Ok(Turn::Found(known));
        }
        let turn = pace.turn(when, || view.look().map(Look::exit))?;
        if let Turn::Found(exit) = turn {
            // Before another looks, who may see less.
            let _ = found.set(exit);
        }
        Ok(turn)
    }

    /// `None`: it is still running.
    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        self.lock().view.look().map(Look::exit)
    }

    /// An error if there is nothing that holds the process, or it is refused.
    #[cfg(unix)]
    pub(crate) fn send_signal(&self, signal: i32) -> io::Result<()> {
        self.lock().view.send_signal(signal)
    }

    #[cfg(windows)]
    pub(crate) fn kill(&self) -> Result<(), crate::Error> {
        super::handle::kill_looked_at(&mut self.lock().view)
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
