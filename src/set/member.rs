//! A member of a set.

use crate::{
    Exit,
    pid::Pid,
    polling::Polling,
    sys::{self, SetMember as _, Token},
};

/// A process in a set: watched, polled, or known to have exited.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pid: Pid,
    /// See [`Token`].
    pub(super) generation: u32,
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

    /// For a member that has exited: whether it has been reaped, so that another process can have
    /// its pid. False if that is not known.
    pub(super) fn zombie_is_reaped(&self) -> bool {
        match (&self.watched, &self.polling) {
            (Some(watched), _) => watched.zombie_is_reaped(),
            (None, Some(polling)) => polling.zombie_is_reaped(),
            (None, None) => false,
        }
    }
}
