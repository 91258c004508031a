//! A member of a set.

use crate::{
    Error, Exit,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    polling::Polling,
    sys::{self, SetMember as _, Token},
};
use std::{sync::Arc, time::Instant};

/// A process in a set: watched, polled, or known to have exited.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pid: Pid,
    /// See [`Token`].
    pub(super) generation: u32,
    /// Of two processes that have had one pid, the older one was opened first.
    pub(super) opened_at: Instant,
    /// The process that was inserted, instead of its pid. It is then polled through this.
    pub(crate) process: Option<Arc<OpenProcess>>,
    /// Kept when the process is polled later, as signals can still be sent through it.
    pub(crate) watched: Option<sys::Member>,
    /// While it is polled.
    pub(crate) polling: Option<Box<Polling>>,
    /// Once it is known. The member is then in the ready queue.
    pub(super) exit: Option<Exit>,
}

impl Member {
    pub(super) fn new(pid: Pid, generation: u32) -> Member {
        Member {
            pid,
            generation,
            opened_at: Instant::now(),
            process: None,
            watched: None,
            polling: None,
            exit: None,
        }
    }

    pub(super) fn token(&self) -> Token {
        Token {
            pid: self.pid.get(),
            generation: self.generation,
        }
    }

    /// Whether it could be watched instead.
    pub(super) fn is_polled(&self) -> bool {
        self.polling.is_some() || self.watched.is_none()
    }

    /// Whether it is known to be the process that was meant.
    pub(super) fn is_verified(&self) -> bool {
        let polling = self.polling.as_ref();
        polling.is_none_or(|polling| polling.is_verified())
    }

    /// Checks it without its event. `None` if that is the only way.
    pub(super) fn poll(&self) -> Option<Result<Option<Exit>, Error>> {
        match (&self.process, &self.polling) {
            (Some(process), _) => Some(process.wait_until(Deadline::Now)),
            (None, Some(polling)) => Some(polling.check()),
            (None, None) => None,
        }
    }

    /// The exit that the set and the `Process` report: the first one that either has found.
    pub(super) fn first_exit(&self, found: Exit) -> Exit {
        self.process.as_ref().map_or(found, |process| {
            process.record_exit(found);
            process.known_exit().unwrap_or(found)
        })
    }

    /// For a member that has exited: whether it has been reaped, so that another process can have
    /// its pid. False if that is not known.
    pub(super) fn zombie_is_reaped(&self) -> bool {
        match (&self.process, &self.watched, &self.polling) {
            (Some(process), ..) => process.zombie_is_reaped(),
            (None, Some(watched), _) => watched.zombie_is_reaped(),
            (None, None, Some(polling)) => polling.zombie_is_reaped(),
            (None, None, None) => false,
        }
    }

    /// Whether it is a process with the same pid, even if that has been reaped. `None` if the OS
    /// does not say.
    pub(super) fn is_same_process(&self, process: &Arc<OpenProcess>) -> Option<bool> {
        match (&self.process, &self.watched, &process.handle) {
            (Some(own), ..) if Arc::ptr_eq(own, process) => Some(true),
            (Some(own), ..) => own.is_same_process(process),
            (None, Some(watched), Some(handle)) => watched.is_same_process(handle),
            _ => None,
        }
    }

    /// The same by what polling knows, which can be the same for two processes: on Linux, if both
    /// have started within 10 ms.
    pub(super) fn has_fingerprint_of(&self, process: &OpenProcess) -> bool {
        let own = self.process.as_ref().map(|process| process.polling());
        let own = own.unwrap_or(self.polling.as_deref());
        let both = own.zip(process.polling());
        both.and_then(|(own, other)| own.is_same_process(other)) == Some(true)
    }
}
