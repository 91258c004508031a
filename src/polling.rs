//! The fallback: check the process, sleep, check again.

use crate::{
    Error, Exit,
    backoff::{Attempt, Backoff},
    deadline::Deadline,
    lock::lock,
    pid::Pid,
    sys::{ChildState, KeepFd, Probe, ProcessProbe as _, Signal, is_no_such_process},
};
#[cfg(any(feature = "tokio", feature = "async-io"))]
use std::time::Duration;
use std::{
    io,
    sync::{Mutex, OnceLock},
};

/// A process that is polled, by any number of threads.
#[derive(Debug)]
pub(crate) struct Polling {
    pid: Pid,
    /// Locked during a check, and never while a thread sleeps.
    checker: Mutex<Checker>,
}

#[derive(Debug)]
struct Checker {
    probe: Probe,
    /// Shared by all waits, so that more of them do not make more checks.
    backoff: Backoff,
    /// The exit, once a check has found it. Later checks could mistake a process that reuses
    /// the pid for this one, as nothing may be left that distinguishes the two.
    exit: Option<Exit>,
}

/// A process whose event backend has failed.
pub(crate) enum TakenOver {
    Polling(Polling),
    /// With the exit if it is known.
    Exited(Option<Exit>),
}

impl Polling {
    /// Also returns the exit if the process is a zombie. `NotFound` if no process has this pid.
    pub(crate) fn open(pid: Pid, keep: KeepFd) -> Result<(Polling, Option<Exit>), Error> {
        let opened =
            Probe::open(pid, keep).map_err(|source| Error::os(Probe::CALL, pid, source))?;
        let (probe, state) = opened.ok_or(Error::NotFound { pid: pid.get() })?;
        let (backoff, exit) = (Backoff::default(), state.exit());
        let checker = Checker {
            probe,
            backoff,
            exit,
        };
        let checker = Mutex::new(checker);
        Ok((Polling { pid, checker }, exit))
    }

    /// Opens a polled process after its event backend failed. The event backend refers to the
    /// process itself, and polling only to its pid. So open the pid first, then check through the
    /// backend that the process had not been reaped by then: only then do both mean the same
    /// process.
    pub(crate) fn take_over(
        pid: Pid,
        keep: KeepFd,
        is_reaped: impl FnOnce() -> Option<bool>,
    ) -> Result<TakenOver, Error> {
        let (polling, exit) = match Polling::open(pid, keep) {
            Err(Error::NotFound { .. }) => return Ok(TakenOver::Exited(None)),
            opened => opened?,
        };
        Ok(match (exit, is_reaped()) {
            (None, Some(false)) => TakenOver::Polling(polling),
            (Some(exit), Some(false)) => TakenOver::Exited(Some(exit)),
            (None, None) => {
                lock(&polling.checker).probe.mark_unverified();
                TakenOver::Polling(polling)
            }
            // Reaped; or a zombie, but perhaps of a process that reuses the pid. Either way it has
            // exited.
            _ => TakenOver::Exited(None),
        })
    }

    /// Whether it is known to be the process that was meant.
    pub(crate) fn is_verified(&self) -> bool {
        lock(&self.checker).probe.is_verified()
    }

    /// Sleeps until a thread that waits has found the exit, or until the deadline.
    pub(crate) fn wait(&self, deadline: Deadline, found: &OnceLock<Exit>) -> Result<(), Error> {
        let attempt = |is_last| self.attempt(is_last, found);
        deadline.poll_attempts(attempt).map(drop)
    }

    /// Checks, if that is due or in any case, unless a thread that waits has found the exit.
    pub(crate) fn attempt(
        &self,
        in_any_case: bool,
        found: &OnceLock<Exit>,
    ) -> Result<Attempt<Exit>, Error> {
        let mut checker = lock(&self.checker);
        if let Some(&exit) = found.get() {
            return Ok(Attempt::Done(exit));
        }
        let Checker {
            probe,
            backoff,
            exit,
        } = &mut *checker;
        let attempt = backoff.attempt(in_any_case, || check(self.pid, probe, exit))?;
        if let Attempt::Done(exit) = attempt {
            // Before the lock is released: another thread's check might find less.
            let _ = found.set(exit);
        }
        Ok(attempt)
    }

    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn time_until_check(&self) -> Duration {
        lock(&self.checker).backoff.remaining()
    }

    /// Whether a check now, even if it is not due, keeps polling within its share of the time.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn is_within_budget(&self) -> bool {
        lock(&self.checker).backoff.is_within_budget()
    }

    /// `None` if it is still running.
    pub(crate) fn check(&self) -> Result<Option<Exit>, Error> {
        let Checker { probe, exit, .. } = &mut *lock(&self.checker);
        check(self.pid, probe, exit)
    }

    pub(crate) fn child_state(&self) -> Option<ChildState> {
        lock(&self.checker).probe.child_state()
    }

    pub(crate) fn zombie_is_reaped(&self) -> bool {
        lock(&self.checker).probe.zombie_is_reaped()
    }

    pub(crate) fn start_time(&self) -> Option<u64> {
        lock(&self.checker).probe.start_time()
    }

    /// Whether this is the process of another one with the same pid, even if it has been reaped.
    /// `None` if the OS does not say.
    pub(crate) fn is_same_process(&self, other: &Polling) -> Option<bool> {
        let fingerprint = |polling: &Polling| lock(&polling.checker).probe.fingerprint();
        Some(fingerprint(self)? == fingerprint(other)?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let Checker { probe, exit, .. } = &mut *lock(&self.checker);
        if exit.is_some() {
            // Only its pid is left, which another process may have.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let sent = probe.signal(signal);
        if sent.as_ref().is_err_and(is_no_such_process) {
            *exit = Some(Exit::UNKNOWN);
        }
        sent
    }

    #[cfg(unix)]
    pub(crate) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        lock(&self.checker).probe.signal_group(signal)
    }
}

/// Checks the process, unless its exit is known already, and records the exit.
fn check(pid: Pid, probe: &mut Probe, exit: &mut Option<Exit>) -> Result<Option<Exit>, Error> {
    if exit.is_none() {
        let state = probe.check();
        *exit = state
            .map_err(|source| Error::os(Probe::CALL, pid, source))?
            .exit();
    }
    Ok(*exit)
}
