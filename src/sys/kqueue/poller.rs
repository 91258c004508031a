//! One kqueue for many processes.

use super::{
    os::Event,
    queue::{Kqueue, Process, raw},
    rules,
    wake_event::SocketPair,
};
use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{
        BorrowedEvent, Handle, OwnsHandle, Ready, ReadyQueue, SetMember, SetPoller, Token,
        WakeEvent,
    },
};
use rustix::{fd::AsFd as _, io::Errno};
use std::{
    io,
    mem::MaybeUninit,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How many events are taken from the kernel at once.
const BATCH: usize = 64;

#[derive(Debug)]
pub(crate) struct Poller {
    /// Dropped before the wake event, which is registered with it.
    kqueue: Kqueue,
    wake_event: OnceLock<Arc<SocketPair>>,
}

#[derive(Debug)]
pub(crate) struct Member(Process);

impl SetPoller for Poller {
    type Member = Member;

    fn new() -> io::Result<Poller> {
        Ok(Poller {
            kqueue: Kqueue::new()?,
            wake_event: OnceLock::new(),
        })
    }

    fn insert(&mut self, pid: Pid, token: Token, ready: &ReadyQueue) -> io::Result<Member> {
        let registered = self.kqueue.register(pid, token.generation)?;
        add_events(&registered.events, ready)?;
        let member = Member(registered.process);
        if registered.is_gone {
            self.take_all(ready)?;
            if ready.find(token).is_none() {
                self.remove(&member, ready);
                return Err(Errno::SRCH.into());
            }
        }
        Ok(member)
    }

    fn insert_open(
        &mut self,
        process: Arc<dyn OwnsHandle>,
        token: Token,
        ready: &ReadyQueue,
    ) -> io::Result<Member> {
        self.insert(process.handle().pid(), token, ready)
    }

    fn remove(&mut self, member: &Member, ready: &ReadyQueue) {
        if let Ok(events) = self.kqueue.delete(&member.0) {
            let _ = add_events(&events, ready);
        }
    }

    fn wait(&mut self, ready: &ReadyQueue, deadline: Deadline) -> io::Result<()> {
        deadline
            .sleep(|timeout| Ok(self.wait_within(ready, timeout)? > 0))
            .map(drop)
    }

    fn take_events(&mut self, ready: &ReadyQueue) -> io::Result<()> {
        self.take_all(ready)
    }

    fn exit(&mut self, member: &Member, ready: Ready) -> io::Result<Option<Exit>> {
        Ok(ready.data.map(|data| member.0.exit_from(data)))
    }

    /// By its event, or else by the process table.
    fn check(&self, member: &Member, token: Token, ready: &ReadyQueue) -> io::Result<Option<Exit>> {
        let exit_from_event = || {
            self.take_all(ready)?;
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

    fn wake_event(&self, ready: &ReadyQueue) -> io::Result<Arc<dyn WakeEvent>> {
        if let Some(event) = self.wake_event.get() {
            return Ok(event.clone());
        }
        let event = SocketPair::new()?;
        add_events(&self.kqueue.add_readable(event.as_fd())?, ready)?;
        // If another thread was faster, this one is closed, which removes it from the kqueue.
        Ok(self.wake_event.get_or_init(|| event.into()).clone() as _)
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        self.kqueue.as_fd()
    }
}

impl Poller {
    fn take_all(&self, ready: &ReadyQueue) -> io::Result<()> {
        while self.wait_within(ready, Some(Duration::ZERO))? == BATCH {}
        Ok(())
    }

    fn wait_within(&self, ready: &ReadyQueue, timeout: Option<Duration>) -> io::Result<usize> {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let events = self.kqueue.wait(&mut events, timeout)?;
        add_events(events, ready)?;
        // It is the only thing that is registered beside processes.
        if events.iter().any(|event| raw(event).pid.is_none()) {
            if let Some(event) = self.wake_event.get() {
                event.reset();
            }
        }
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

    fn is_same_process(&self, other: &Handle) -> Option<bool> {
        other.is_process(&self.0)
    }
}
