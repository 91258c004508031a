//! One epoll over the pidfds of many processes.
//!
//! Each is registered for one event (`EPOLLONESHOT`): after a `fork`, a closed pidfd stays registered
//! as long as the child has a copy of it (epoll(7)), and would be reported again and again.

use super::{
    handle::{Handle, readable},
    syscalls::{BATCH, epoll_pwait2},
    wake_event::EventFd,
};
use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{
        BorrowedEvent, MemberHandle, OwnsHandle, ProcessHandle as _, Ready, ReadyQueue, SetMember,
        SetPoller, Signal, Token, WakeEvent,
        unix::{
            fd::{GuardedFd, above_standard_streams, first_reserved_fd},
            poll::shorten_for_timer_slack,
        },
    },
};
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd},
    io::Errno,
};
use std::{
    io,
    mem::MaybeUninit,
    process, slice,
    sync::{Arc, OnceLock},
    time::Duration,
};

const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: GuardedFd,
    wake_event: OnceLock<Arc<EventFd>>,
    /// The process that made it.
    owner: u32,
    budget: FdBudget,
}

impl SetPoller for Poller {
    type Member = Member;

    fn new() -> io::Result<Poller> {
        let mut budget = FdBudget::default();
        let epoll = above_standard_streams(epoll::create(CreateFlags::CLOEXEC)?)?;
        budget.check(epoll.as_fd())?;
        Ok(Poller {
            epoll: epoll.into(),
            wake_event: OnceLock::new(),
            owner: process::id(),
            budget,
        })
    }

    fn insert(&mut self, pid: Pid, token: Token, _: &ReadyQueue) -> io::Result<Member> {
        self.refuse_copy()?;
        let handle = Handle::open(pid)?;
        self.budget.check(handle.as_fd())?;
        (self.epoll).with(|epoll| epoll::add(epoll, &handle, data(token), ONCE))?;
        Ok(Member(MemberHandle::Owned(handle)))
    }

    fn insert_open(
        &mut self,
        process: Arc<dyn OwnsHandle>,
        token: Token,
        _: &ReadyQueue,
    ) -> io::Result<Member> {
        self.refuse_copy()?;
        let handle = process.handle();
        (self.epoll).with(|epoll| epoll::add(epoll, handle, data(token), ONCE))?;
        Ok(Member(MemberHandle::Shared(process)))
    }

    fn remove(&mut self, member: &Member, _: &ReadyQueue) {
        if self.refuse_copy().is_ok() {
            let _ = epoll::delete(&self.epoll, &*member.0);
        }
    }

    fn wait(&mut self, ready: &ReadyQueue, deadline: Deadline) -> io::Result<()> {
        self.refuse_copy()?;
        deadline
            .sleep(|timeout| Ok(self.wait_within(ready, timeout)? > 0))
            .map(drop)
    }

    fn take_events(&mut self, ready: &ReadyQueue) -> io::Result<()> {
        self.refuse_copy()?;
        while self.wait_within(ready, Some(Duration::ZERO))? == BATCH {}
        Ok(())
    }

    fn exit(&mut self, member: &Member, ready: Ready) -> io::Result<Option<Exit>> {
        let exit = member.0.exit()?;
        if exit.is_none() {
            epoll::modify(&self.epoll, &*member.0, data(ready.token), ONCE)?;
        }
        Ok(exit)
    }

    fn check(&self, member: &Member, _: Token, _: &ReadyQueue) -> io::Result<Option<Exit>> {
        member.0.check()
    }

    fn wake_event(&self, _: &ReadyQueue) -> io::Result<Arc<dyn WakeEvent>> {
        self.refuse_copy()?;
        if let Some(event) = self.wake_event.get() {
            return Ok(event.clone());
        }
        let event = EventFd::new()?;
        // Edge-triggered, so that it need not be read to end the next wait. Each write is an edge
        // (fs/eventfd.c, eventfd_write).
        let flags = EventFlags::IN | EventFlags::ET;
        (self.epoll).with(|epoll| epoll::add(epoll, &event, data(Token::WAKE), flags))?;
        // If another thread was faster, this one is closed, which removes it from the epoll.
        Ok(self.wake_event.get_or_init(|| event.into()).clone() as _)
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        self.refuse_copy().ok()?;
        Some(self.epoll.as_fd())
    }
}

impl Poller {
    /// Returns how many events there were.
    fn wait_within(&self, ready: &ReadyQueue, timeout: Option<Duration>) -> io::Result<usize> {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let events = &mut events;
        let events = (self.epoll).with(|epoll| wait(epoll.as_fd(), events, timeout))?;
        for event in events {
            let token = Token::from(event.data.u64());
            if token != Token::WAKE {
                ready.push(token);
            }
        }
        Ok(events.len())
    }

    /// An error in a forked child, whose copy refers to the same epoll: it would take events from its
    /// parent, and register processes for it.
    fn refuse_copy(&self) -> io::Result<()> {
        if self.owner == process::id() {
            Ok(())
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

fn data(token: Token) -> EventData {
    EventData::new_u64(token.into())
}

/// `epoll_pwait` has a resolution of milliseconds. `epoll_pwait2` (Linux 5.11) has nanoseconds;
/// where it is missing, this sleeps in `ppoll` on the epoll.
fn wait<'a>(
    epoll: BorrowedFd<'_>,
    events: &'a mut [MaybeUninit<Event>; BATCH],
    timeout: Option<Duration>,
) -> Result<&'a [Event], Errno> {
    if let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) {
        match epoll_pwait2(epoll, events, shorten_for_timer_slack(timeout)) {
            Ok(count) => {
                let events = events.as_ptr().cast();
                // SAFETY: the kernel has initialized the first `count` events, at most `BATCH`.
                return Ok(unsafe { slice::from_raw_parts(events, count) });
            }
            // Other code has closed the epoll. With EINVAL, its number is another file's.
            Err(Errno::BADF | Errno::INVAL) => return Err(Errno::BADF),
            Err(Errno::INTR) => return Err(Errno::INTR),
            Err(_) => {}
        }
        if readable(epoll, Some(timeout))?.is_empty() {
            return Ok(&[]);
        }
    }
    let now = Timespec::default();
    let timeout = timeout.and(Some(&now));
    match epoll::wait(epoll, &mut events[..], timeout) {
        Ok((events, _)) => Ok(events),
        Err(Errno::INVAL) => Err(Errno::BADF),
        Err(error) => Err(error),
    }
}

/// Keeps a set from using the last descriptors of the program.
#[derive(Debug, Default)]
struct FdBudget {
    /// Below this number, the limit need not be read again.
    checked: RawFd,
}

impl FdBudget {
    const STEP: RawFd = 32;

    /// `EMFILE` if a descriptor that was just opened is in the reserve.
    fn check(&mut self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let number = fd.as_raw_fd();
        if number >= self.checked {
            let first_reserved = first_reserved_fd();
            if number >= first_reserved {
                return Err(Errno::MFILE);
            }
            self.checked = first_reserved.min(number + FdBudget::STEP);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Member(MemberHandle);

impl SetMember for Member {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.0.signal(signal)
    }

    fn is_reaped(&self) -> Option<bool> {
        self.0.is_reaped()
    }

    fn is_same_process(&self, other: &Handle) -> Option<bool> {
        self.0.is_same_process(other)
    }
}
