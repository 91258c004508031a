//! One kqueue for many processes.

use super::{
    os::Event,
    queue::{Kqueue, Process, raw},
    rules,
};
use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{Ready, ReadyQueue, SetMember, SetPoller, Token},
};
use rustix::io::Errno;
use std::{io, mem::MaybeUninit, time::Duration};

/// How many events are taken from the kernel at once.
const BATCH: usize = 64;

#[derive(Debug)]
pub(crate) struct Poller(Kqueue);

#[derive(Debug)]
pub(crate) struct Member(Process);

impl SetPoller for Poller {
    type Member = Member;

    fn new() -> io::Result<Poller> {
        Kqueue::new().map(Poller)
    }

    fn insert(&mut self, pid: Pid, token: Token, ready: &ReadyQueue) -> io::Result<Member> {
        let registered = self.0.register(pid, token.generation)?;
        add_events(&registered.events, ready)?;
        let member = Member(registered.process);
        if registered.is_gone {
            self.take_events(ready)?;
            if ready.find(token).is_none() {
                self.remove(&member, ready);
                return Err(Errno::SRCH.into());
            }
        }
        Ok(member)
    }

    fn remove(&mut self, member: &Member, ready: &ReadyQueue) {
        if let Ok(events) = self.0.delete(&member.0) {
            let _ = add_events(&events, ready);
        }
    }

    fn wait(&mut self, ready: &ReadyQueue, deadline: Deadline) -> io::Result<()> {
        let wait = |timeout| {
            self.wait_within(ready, timeout)?;
            Ok(!ready.is_empty())
        };
        deadline.sleep(wait).map(drop)
    }

    fn exit(&mut self, member: &Member, ready: Ready) -> io::Result<Option<Exit>> {
        Ok(ready.data.map(|data| member.0.exit_from(data)))
    }

    /// By its event, or else by the process table.
    fn check(&self, member: &Member, token: Token, ready: &ReadyQueue) -> io::Result<Option<Exit>> {
        let exit_from_event = || {
            self.take_events(ready)?;
            let data = ready.find(token).and_then(|ready| ready.data);
            Ok::<_, io::Error>(data.map(|data| member.0.exit_from(data)))
        };
        if let Some(exit) = exit_from_event()? {
            return Ok(Some(exit));
        }
        match member.0.recheck() {
            // The event may have come since, and says more.
            Some(exit) => Ok(exit_from_event()?.or(Some(exit))),
            None => Ok(None),
        }
    }
}

impl Poller {
    /// Takes all events from the kernel, without waiting.
    fn take_events(&self, ready: &ReadyQueue) -> io::Result<()> {
        while self.wait_within(ready, Some(Duration::ZERO))? == BATCH {}
        Ok(())
    }

    fn wait_within(&self, ready: &ReadyQueue, timeout: Option<Duration>) -> io::Result<usize> {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let events = self.0.wait(&mut events, timeout)?;
        add_events(events, ready)?;
        Ok(events.len())
    }
}

fn add_events(events: &[Event], ready: &ReadyQueue) -> io::Result<()> {
    for event in events {
        let raw = raw(event);
        let Some(pid) = raw.pid else { continue };
        if let Some(data) = rules::exit_data(raw, pid)? {
            let generation = event.udata().addr() as u32;
            let (token, data) = (Token { pid, generation }, Some(data));
            ready.push(Ready { token, data });
        }
    }
    Ok(())
}

impl SetMember for Member {
    fn zombie_is_reaped(&self) -> bool {
        self.0.zombie_is_reaped()
    }
}
