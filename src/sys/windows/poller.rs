//! The system's thread pool waits for the handles of many processes, 63 on each of its threads,
//! and so without the limit of `WaitForMultipleObjects`. Its callbacks can come late. The handles
//! themselves are signaled at once, so they are checked before a wait returns without an exit.

use super::{
    handle::{self, Handle},
    wait::{OnSignaled, RegisteredWait},
    wake_event::Event,
};
use crate::{
    Exit,
    deadline::Deadline,
    lock::lock,
    pid::Pid,
    sys::{
        BorrowedEvent, MemberHandle, OwnsHandle, ProcessHandle as _, Ready, ReadyQueue, SetMember,
        SetPoller, Signal, Token, WakeEvent,
    },
};
use std::{
    io, mem,
    os::windows::io::{AsHandle, BorrowedHandle},
    sync::{Arc, Mutex},
    time::Duration,
};
use windows_sys::Win32::System::Threading::WT_EXECUTEINWAITTHREAD;

#[derive(Debug)]
pub(crate) struct Poller {
    /// Shared with the callbacks.
    exited: Arc<Mutex<Vec<Token>>>,
    /// Signaled after each change of `exited`.
    wake_event: Arc<Event>,
}

impl SetPoller for Poller {
    type Member = Member;

    const HAS_LATE_EVENTS: bool = true;

    fn sweep_interval() -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    fn new() -> io::Result<Poller> {
        Ok(Poller {
            exited: Arc::default(),
            wake_event: Event::new()?.into(),
        })
    }

    fn insert(&mut self, pid: Pid, token: Token, _: &ReadyQueue) -> io::Result<Member> {
        self.register(MemberHandle::Owned(Handle::open(pid)?), token)
    }

    fn insert_open(
        &mut self,
        process: Arc<dyn OwnsHandle>,
        token: Token,
        _: &ReadyQueue,
    ) -> io::Result<Member> {
        self.register(MemberHandle::Shared(process), token)
    }

    fn wait(&mut self, ready: &ReadyQueue, deadline: Deadline) -> io::Result<()> {
        self.take_events(ready)?;
        if !ready.is_empty() {
            return Ok(());
        }
        if deadline.sleep(|timeout| handle::wait(self.wake_event.as_handle(), timeout))? {
            // In this order: what is signaled after the reset ends the next wait.
            self.wake_event.reset();
            self.take_events(ready)?;
        }
        Ok(())
    }

    fn take_events(&mut self, ready: &ReadyQueue) -> io::Result<()> {
        for token in mem::take(&mut *lock(&self.exited)) {
            ready.push(token);
        }
        Ok(())
    }

    fn exit(&mut self, member: &Member, _: Ready) -> io::Result<Option<Exit>> {
        member.handle().exit()
    }

    fn check(&self, member: &Member, _: Token, _: &ReadyQueue) -> io::Result<Option<Exit>> {
        member.handle().check()
    }

    fn wake_event(&self, _: &ReadyQueue) -> io::Result<Arc<dyn WakeEvent>> {
        Ok(self.wake_event.clone())
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        Some(self.wake_event.as_handle())
    }
}

impl Poller {
    fn register(&self, handle: MemberHandle, token: Token) -> io::Result<Member> {
        let callback = Callback {
            token,
            exited: self.exited.clone(),
            wake_event: self.wake_event.clone(),
        };
        // It is quick, so it can run on the thread that waits.
        RegisteredWait::new(handle, callback, WT_EXECUTEINWAITTHREAD).map(Member)
    }
}

#[derive(Debug)]
pub(crate) struct Member(RegisteredWait<MemberHandle, Callback>);

impl Member {
    fn handle(&self) -> &Handle {
        self.0.handle()
    }
}

impl AsHandle for MemberHandle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        (**self).as_handle()
    }
}

impl SetMember for Member {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.handle().signal(signal)
    }

    /// The open handle keeps the pid from being reused.
    fn is_reaped(&self) -> Option<bool> {
        Some(false)
    }

    fn is_same_process(&self, other: &Handle) -> Option<bool> {
        self.handle().is_same_process(other)
    }
}

#[derive(Debug)]
struct Callback {
    token: Token,
    exited: Arc<Mutex<Vec<Token>>>,
    wake_event: Arc<Event>,
}

impl OnSignaled for Callback {
    fn on_signaled(&self) {
        lock(&self.exited).push(self.token);
        self.wake_event.signal();
    }
}
