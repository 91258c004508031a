//! Linux: one epoll over the pidfds of many processes.

use super::{
    Fired, Token,
    pidfd::{PidFd, is_readable_within},
};
use crate::{Exit, deadline::Deadline, pid::Pid};
use rustix::{
    event::{Timespec, epoll},
    fd::{AsFd, OwnedFd},
};
use std::{collections::VecDeque, io, mem::MaybeUninit, time::Duration};

/// How many exits are taken from the kernel at once.
const BATCH: usize = 256;

#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    fired: VecDeque<Fired>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            fired: VecDeque::new(),
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let pidfd = PidFd::open(pid)?;
        let data = epoll::EventData::new_u64(token.into());
        epoll::add(&self.epoll, pidfd.as_fd(), data, epoll::EventFlags::IN)?;
        Ok(Member(pidfd))
    }

    /// Closing the pidfd is not enough: while a forked child has a copy of it,
    /// it stays in the epoll, and its event returns for ever.
    pub(crate) fn remove(&mut self, member: &Member) {
        let _ = epoll::delete(&self.epoll, member.0.as_fd());
    }

    /// Sleeps until there is something for `next` (true) or the deadline.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| {
            // epoll counts in milliseconds where it knows no better.
            if longest.is_some_and(|longest| longest > Duration::ZERO)
                && !is_readable_within(self.epoll.as_fd(), longest)?
            {
                return Ok(false);
            }
            let mut events = [const { MaybeUninit::uninit() }; BATCH];
            let now = Timespec::default();
            let timeout = longest.and(Some(&now));
            let (events, _) = epoll::wait(&self.epoll, &mut events[..], timeout)?;
            let fired = events.iter().map(|event| Fired {
                token: event.data.u64().into(),
                data: 0,
            });
            self.fired.extend(fired);
            Ok(!self.fired.is_empty())
        })
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }
}

#[derive(Debug)]
pub(crate) struct Member(PidFd);

impl Member {
    pub(crate) fn exit(&self, _: i64) -> Exit {
        self.0.exit()
    }

    pub(crate) fn is_reaped(&self) -> bool {
        self.0.is_reaped()
    }
}
