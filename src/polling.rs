//! The shared fallback: look, pause, look again.

#[cfg(unix)]
use crate::error::is_no_such_process;
use crate::{
    Exit,
    deadline::{Deadline, Pace, Turn, When},
    pid::Pid,
    sys::{Child, Keep, View},
};
#[cfg(unix)]
use rustix::io::Errno;
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
    /// The exit, once a check has found it. Later checks could mistake a process that reuses
    /// the pid for this one, as nothing may be left that distinguishes the two.
    exit: Option<Exit>,
}

/// Checks the process, unless its exit is known already, and records the exit.
fn check(view: &mut View, exit: &mut Option<Exit>) -> io::Result<Option<Exit>> {
    if exit.is_none() {
        *exit = view.look()?.exit();
    }
    Ok(*exit)
}

impl Polling {
    /// `None`: there is no such process. With the exit, if it is a zombie.
    pub(crate) fn open(pid: Pid, keep: Keep) -> io::Result<Option<(Polling, Option<Exit>)>> {
        let opened = View::open(pid, keep)?;
        Ok(opened.map(|(view, look)| {
            let (pace, exit) = (Pace::default(), look.exit());
            (Polling(Watch { view, pace, exit }.into()), exit)
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
        let Watch { view, pace, exit } = &mut *self.lock();
        if let Some(&known) = found.get() {
            return Ok(Turn::Found(known));
        }
        let turn = pace.turn(when, || check(view, exit))?;
        if let Turn::Found(exit) = turn {
            // Before another looks, who may see less.
            let _ = found.set(exit);
        }
        Ok(turn)
    }

    /// `None`: it is still running.
    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        let Watch { view, exit, .. } = &mut *self.lock();
        check(view, exit)
    }

    /// What the OS reports of this very process to its parent, see [`Event`](super::Event).
    pub(crate) fn child_state(&self) -> Option<Child> {
        self.lock().view.child_state()
    }

    /// For a process that has exited: whether it has been reaped, so that another process can
    /// have its pid. False if that is not known.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        self.lock().view.zombie_is_reaped()
    }

    /// An error if there is nothing that holds the process, or it is refused.
    #[cfg(unix)]
    pub(crate) fn send_signal(&self, signal: i32) -> io::Result<()> {
        let Watch { view, exit, .. } = &mut *self.lock();
        if exit.is_some() {
            return Err(Errno::SRCH.into());
        }
        let sent = view.send_signal(signal);
        if sent.as_ref().is_err_and(is_no_such_process) {
            *exit = Some(Exit::UNKNOWN);
        }
        sent
    }

    #[cfg(windows)]
    pub(crate) fn kill(&self) -> Result<(), crate::Error> {
        let Watch { view, exit, .. } = &mut *self.lock();
        crate::sys::kill_checked(view.pid(), || check(view, exit))
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
