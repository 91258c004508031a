//! One kqueue for many processes.

use super::{
    handle::{Event, Member, Queue, Recheck, lock, told},
    rules,
};
use crate::{
    deadline::{Deadline, When},
    pid::Pid,
    sys::{Fired, Token},
};
use rustix::io::Errno;
use std::{collections::VecDeque, io, mem::MaybeUninit, sync::Mutex, time::Duration};

/// How many exits are taken from the kernel at once.
const BATCH: usize = 64;

#[derive(Debug)]
pub(crate) struct Reactor {
    queue: Queue,
    recheck: Recheck,
    /// Taken from the kernel, which tells it once.
    fired: Mutex<VecDeque<Fired>>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            queue: Queue::new()?,
            recheck: Recheck::new(),
            fired: Mutex::default(),
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let registered = self.queue.register(pid, token.generation)?;
        self.take(&registered.events)?;
        let in_time = rules::is_in_time(registered.was_running, || self.has_fired(token));
        match in_time? {
            true => Ok(registered.member),
            false => {
                self.remove(&registered.member);
                Err(Errno::SRCH.into())
            }
        }
    }

    /// Some refusals are about one process.
    pub(crate) fn refuses_all(_: &io::Error) -> bool {
        false
    }

    /// There are no events that are none.
    pub(crate) fn renew(&mut self, _: &Member, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// For one whose event was not told.
    pub(crate) fn remove(&mut self, member: &Member) {
        if let Ok(events) = self.queue.delete(member) {
            let _ = self.take(&events);
        }
        let pid = member.pid.get();
        lock(&self.fired).retain(|fired| fired.token.pid != pid);
    }

    /// Sleeps until there is something for `next` (true), or the deadline or the time to
    /// `ask` (false).
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        let until = self.recheck.comes_before(deadline);
        until.sleep(|longest| {
            if self.next_is_empty() {
                self.take_within(longest)?;
            }
            Ok(!self.next_is_empty())
        })
    }

    /// How many it has taken.
    fn take_within(&self, longest: Option<Duration>) -> io::Result<usize> {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let events = self.queue.wait(&mut events, longest)?;
        self.take(events)?;
        Ok(events.len())
    }

    fn take(&self, events: &[Event]) -> io::Result<()> {
        for event in events {
            let exit = told(event);
            let Some(pid) = exit.of else { continue };
            if let Some(data) = rules::exit_data(exit, pid)? {
                let generation = event.udata().addr() as u32;
                let token = Token { pid, generation };
                let told = Some(data);
                lock(&self.fired).push_back(Fired { token, told });
            }
        }
        Ok(())
    }

    /// Looks at all members, once in a while, for exits that the kernel does not tell.
    pub(crate) fn ask<'a>(&mut self, members: impl Iterator<Item = (Token, &'a Member)>, _: When) {
        if !self.recheck.is_due() {
            return;
        }
        let exited = members.filter_map(|(token, member)| member.look_again().and(Some(token)));
        let exited: Vec<Token> = exited.collect();
        for token in exited {
            // What the kernel tells counts more, and may have come since.
            if !self.has_fired(token).unwrap_or(false) {
                lock(&self.fired).push_back(Fired { token, told: None });
            }
        }
    }

    /// What the kernel has told up to now, or tells if it is asked.
    fn has_fired(&self, token: Token) -> io::Result<bool> {
        while self.take_within(Some(Duration::ZERO))? == BATCH {}
        Ok(lock(&self.fired).iter().any(|fired| fired.token == token))
    }

    fn next_is_empty(&self) -> bool {
        lock(&self.fired).is_empty()
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        lock(&self.fired).pop_front()
    }

    /// Only the queue knows.
    pub(crate) fn has_exited(&self, _: &Member, token: Token) -> io::Result<bool> {
        self.has_fired(token)
    }
}
