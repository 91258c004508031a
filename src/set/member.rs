//! A member of a set: waited for by events, polled, or known to have exited.

use super::events::Events;
use crate::{
    Error, Exit,
    pid::Pid,
    polling::Polling,
    sys::{self, Keep},
    sys::{Event, Member, Reactor, Token},
};
use std::{io, mem};

#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) generation: u32,
    pub(super) means: Means,
}

#[derive(Debug)]
pub(super) enum Means {
    Event(Member),
    /// And what it was had by before, which can still be sent signals.
    Polling(Box<Polling>, Option<Member>),
    /// It had exited when it was inserted, or was found to have: with its place in
    /// `Exited`, and what it was before.
    Exited(Exit, u64, Option<Box<Means>>),
}

impl Means {
    pub(super) fn record_exit(&mut self, exit: Exit, place: u64) {
        let before = mem::replace(self, Means::Exited(exit, place, None));
        *self = Means::Exited(exit, place, Some(before.into()));
    }

    /// For a member that has exited: whether it has been reaped, so that another process can
    /// have its pid. False if that is not known.
    pub(super) fn zombie_is_reaped(&self) -> bool {
        match self {
            Means::Event(member) | Means::Polling(_, Some(member)) => member.zombie_is_reaped(),
            Means::Polling(polling, None) => polling.zombie_is_reaped(),
            Means::Exited(_, _, before) => {
                (before.as_ref()).is_some_and(|before| before.zombie_is_reaped())
            }
        }
    }
}

/// What has come of looking at a member.
pub(super) enum Seen {
    AsBefore,
    /// And from now on it is had by other means.
    Running(Means),
    Exited(Exit),
}

impl Entry {
    pub(super) fn token(&self, pid: u32) -> Token {
        let generation = self.generation;
        Token { pid, generation }
    }

    /// What can be sent signals, to be tried in this order.
    pub(crate) fn held(&self) -> (Option<&Member>, Option<&Polling>) {
        match &self.means {
            Means::Event(member) => (Some(member), None),
            Means::Polling(polling, before) => (before.as_ref(), Some(polling)),
            Means::Exited(..) => (None, None),
        }
    }

    /// How it has exited, if that is known without its event. An error if it is not.
    pub(super) fn exit(&self) -> io::Result<Option<Exit>> {
        match &self.means {
            Means::Event(member) => member.look(),
            Means::Polling(polling, _) => polling.look(),
            Means::Exited(exit, ..) => Ok(Some(*exit)),
        }
    }

    /// How it has exited, if its process has been reaped.
    pub(super) fn exit_after_reap(&self) -> Exit {
        let exit = match &self.means {
            Means::Event(member) => member.exit(None).ok().flatten(),
            Means::Polling(..) | Means::Exited(..) => self.exit().ok().flatten(),
        };
        exit.unwrap_or(Exit::UNKNOWN)
    }

    pub(super) fn has_exited(&self, pid: Pid, events: &Events) -> Result<bool, Error> {
        let (call, seen) = match &self.means {
            Means::Event(member) => (
                Event::WAIT,
                events.has_exited(member, self.token(pid.get())),
            ),
            Means::Polling(polling, _) => (sys::CALL, polling.look().map(|exit| exit.is_some())),
            Means::Exited(..) => return Ok(true),
        };
        seen.map_err(Error::os(call, pid.get()))
    }

    /// Tries to have events for it, if it is polled, until all are refused.
    pub(super) fn look(
        &self,
        pid: Pid,
        events: &mut Events,
        tries_events: &mut bool,
    ) -> Result<Seen, Error> {
        match &self.means {
            Means::Exited(..) => Ok(Seen::AsBefore),
            Means::Event(member) => look_at_member(pid, member),
            Means::Polling(polling, _) => {
                look_at_polled(pid, polling, self.token(pid.get()), events, tries_events)
            }
        }
    }
}

fn look_at_polled(
    pid: Pid,
    polling: &Polling,
    token: Token,
    events: &mut Events,
    tries_events: &mut bool,
) -> Result<Seen, Error> {
    let mut member = None;
    if *tries_events && polling.is_certain() {
        let inserted = events.insert(pid, token);
        *tries_events = !inserted.as_ref().is_err_and(Reactor::refuses_all);
        member = inserted.ok();
    }
    // Only the look that follows shows that it is still the same process.
    let seen = polling.look();
    let member = match (member, &seen) {
        (Some(member), Ok(None)) if polling.is_certain() => {
            return Ok(Seen::Running(Means::Event(member)));
        }
        (member, _) => member,
    };
    if let Some(member) = member {
        events.remove(&member);
    }
    let seen = seen.map_err(Error::os(sys::CALL, token.pid))?;
    Ok(seen.map_or(Seen::AsBefore, Seen::Exited))
}

/// By its own handle, or else from now on by polling.
fn look_at_member(pid: Pid, member: &Member) -> Result<Seen, Error> {
    if let Ok(seen) = member.look() {
        return Ok(seen.map_or(Seen::AsBefore, Seen::Exited));
    }
    let taken = Polling::take_over(pid, Keep::IfSpare, || member.is_reaped());
    Ok(match taken.map_err(Error::os(sys::CALL, pid.get()))? {
        Ok(polling) => Seen::Running(Means::Polling(polling.into(), None)),
        Err(seen) => {
            let exit = seen.or_else(|| member.exit(None).ok()?);
            Seen::Exited(exit.unwrap_or(Exit::UNKNOWN))
        }
    })
}
