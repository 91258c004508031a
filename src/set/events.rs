//! The events of a set, which needs none until the first insertion and may be refused them.

use crate::{
    deadline::{Deadline, When, sleep_until},
    pid::Pid,
    sys::{Fired, Member, Reactor, Token},
};
use std::io;

#[derive(Debug, Default)]
pub(super) struct Events {
    /// Made when the first process is inserted, so that `WaitSet::new` cannot fail.
    reactor: Option<Reactor>,
    /// Waiting for them has failed. Until that has passed, their processes are looked
    /// at.
    pub(super) have_failed: bool,
}

impl Events {
    pub(super) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let reactor = match &mut self.reactor {
            Some(reactor) => reactor,
            none => none.insert(Reactor::new()?),
        };
        reactor.insert(pid, token)
    }

    pub(super) fn renew(&mut self, member: &Member, token: Token) -> io::Result<()> {
        match &mut self.reactor {
            Some(reactor) => reactor.renew(member, token),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    pub(super) fn remove(&mut self, member: &Member) {
        if let Some(reactor) = &mut self.reactor {
            reactor.remove(member);
        }
    }

    pub(super) fn has_exited(&self, member: &Member, token: Token) -> io::Result<bool> {
        match &self.reactor {
            Some(reactor) => reactor.has_exited(member, token),
            None => Ok(false),
        }
    }

    pub(super) fn ask<'a>(
        &mut self,
        members: impl Iterator<Item = (Token, &'a Member)>,
        when: When,
    ) {
        if let Some(reactor) = &mut self.reactor {
            reactor.ask(members, when);
        }
    }

    pub(super) fn next(&mut self) -> Option<Fired> {
        self.reactor.as_mut()?.next()
    }

    pub(super) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        match &mut self.reactor {
            Some(reactor) => reactor.wait(deadline),
            None => {
                sleep_until(deadline);
                Ok(false)
            }
        }
    }
}
