//! The system's thread pool waits for the handles of many processes, 63 on each of its threads,
//! and so without the limit of `WaitForMultipleObjects`. Its callbacks can come late. The handles
//! themselves are signaled at once, so they are checked before a wait returns without an exit.

use super::{
    handle::Handle,
    wait::{OnSignaled, RegisteredWait},
};
use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{ProcessHandle as _, Ready, ReadyQueue, SetMember, SetPoller, Signal, Token},
};
use std::{
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};
use windows_sys::Win32::System::Threading::WT_EXECUTEINWAITTHREAD;

#[derive(Debug)]
pub(crate) struct Poller {
    /// Cloned for each member. This one keeps the channel open.
    sender: Sender<Token>,
    /// Never locked: only the owner of the set waits. The mutex makes the set `Sync`.
    receiver: Mutex<Receiver<Token>>,
}

impl SetPoller for Poller {
    type Member = Member;

    const HAS_LATE_EVENTS: bool = true;

    fn sweep_interval() -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    fn new() -> io::Result<Poller> {
        let (sender, receiver) = mpsc::channel();
        Ok(Poller {
            sender,
            receiver: receiver.into(),
        })
    }

    fn insert(&mut self, pid: Pid, token: Token, _: &ReadyQueue) -> io::Result<Member> {
        let handle = Handle::open(pid)?;
        let sender = self.sender.clone();
        let callback = TokenSender { sender, token };
        // It is quick, so it can run on the thread that waits.
        RegisteredWait::new(handle, callback, WT_EXECUTEINWAITTHREAD).map(Member)
    }

    fn wait(&mut self, ready: &ReadyQueue, deadline: Deadline) -> io::Result<()> {
        let receiver = (self.receiver.get_mut()).unwrap_or_else(PoisonError::into_inner);
        let wait = |timeout| {
            let first = match timeout {
                Some(timeout) => receiver.recv_timeout(timeout),
                None => receiver.recv().map_err(RecvTimeoutError::from),
            };
            for token in first.into_iter().chain(receiver.try_iter()) {
                ready.push(token);
            }
            Ok(!ready.is_empty())
        };
        deadline.sleep(wait).map(drop)
    }

    fn exit(&mut self, member: &Member, _: Ready) -> io::Result<Option<Exit>> {
        member.0.handle().exit()
    }

    fn check(&self, member: &Member, _: Token, _: &ReadyQueue) -> io::Result<Option<Exit>> {
        member.0.handle().check()
    }
}

#[derive(Debug)]
pub(crate) struct Member(RegisteredWait<Handle, TokenSender>);

impl SetMember for Member {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.0.handle().signal(signal)
    }

    /// The open handle keeps the pid from being reused.
    fn is_reaped(&self) -> Option<bool> {
        Some(false)
    }
}

#[derive(Debug)]
struct TokenSender {
    sender: Sender<Token>,
    token: Token,
}

impl OnSignaled for TokenSender {
    fn on_signaled(&self) {
        // An error if the set is gone.
        let _ = self.sender.send(self.token);
    }
}
