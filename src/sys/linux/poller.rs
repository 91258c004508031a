//! Linux: one epoll over the pidfds of many processes.
//!
//! Each is registered for one event only (`EPOLLONESHOT`). After a `fork`, what is
//! closed here stays registered as long as the child has a copy of it; and if the
//! child went on with its copy of the set, its registrations would come to us.

use super::handle::{PidFd, is_readable_within};
use crate::{
    Exit,
    deadline::{Deadline, When},
    pid::Pid,
    sys::{
        Fired, Token,
        fd::{self as descriptors, Descriptor, above_standard_streams},
        unix::poll::punctual,
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
use std::{collections::VecDeque, io, mem::MaybeUninit, process, slice, time::Duration};

/// How many exits are taken from the kernel at once.
const BATCH: usize = 256;

const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Descriptor,
    /// Whose it is; a forked child has a copy.
    owner: u32,
    fired: VecDeque<Fired>,
    room: Room,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        let mut room = Room::default();
        let epoll = above_standard_streams(epoll::create(CreateFlags::CLOEXEC)?)?;
        room.check(epoll.as_fd())?;
        Ok(Reactor {
            epoll: epoll.into(),
            owner: process::id(),
            fired: VecDeque::new(),
            room,
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let pidfd = PidFd::open(pid)?;
        self.room.check(pidfd.as_fd())?;
        let data = EventData::new_u64(token.into());
        epoll::add(&self.epoll, pidfd.as_fd(), data, ONCE)?;
        Ok(Member(pidfd))
    }

    /// No failure to insert is about one process only.
    pub(crate) fn refuses_all(_: &io::Error) -> bool {
        true
    }

    /// After an event that was none.
    pub(crate) fn renew(&mut self, member: &Member, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.into());
        Ok(epoll::modify(&self.epoll, member.0.as_fd(), data, ONCE)?)
    }

    /// For one whose event was not told. Of the others there is nothing left.
    pub(crate) fn remove(&mut self, member: &Member) {
        if self.is_ours() {
            let _ = epoll::delete(&self.epoll, member.0.as_fd());
        }
    }

    /// Sleeps until there is something for `next` (true) or the deadline.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        // A forked child would take the events from its parent.
        if !self.is_ours() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        deadline.sleep(|longest| {
            let mut events = [const { MaybeUninit::uninit() }; BATCH];
            let events = self
                .epoll
                .ask(|epoll| wait(epoll.as_fd(), &mut events, longest))?;
            let fired = events.iter().map(|event| Fired {
                token: event.data.u64().into(),
                told: None,
            });
            self.fired.extend(fired);
            Ok(!self.fired.is_empty())
        })
    }

    /// Each exit has its event.
    pub(crate) fn ask<'a>(&mut self, _: impl Iterator<Item = (Token, &'a Member)>, _: When) {}

    pub(crate) fn has_exited(&self, member: &Member, _: Token) -> io::Result<bool> {
        member.0.has_exited()
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }

    fn is_ours(&self) -> bool {
        self.owner == process::id()
    }
}

/// `epoll_pwait` counts in milliseconds, and what counts in less is not to be had
/// before Linux 5.11 and in some sandboxes. There `ppoll` sleeps.
fn wait<'a>(
    epoll: BorrowedFd<'_>,
    events: &'a mut [MaybeUninit<Event>; BATCH],
    longest: Option<Duration>,
) -> Result<&'a [Event], Errno> {
    if let Some(longest) = longest.filter(|longest| !longest.is_zero()) {
        match sys::epoll_pwait2(epoll, events, punctual(longest)) {
            Ok(count) => {
                let events = events.as_ptr().cast();
                // SAFETY: the kernel has written so many of them.
                return Ok(unsafe { slice::from_raw_parts(events, count) });
            }
            Err(error @ (Errno::INTR | Errno::BADF)) => return Err(error),
            Err(_) => {}
        }
        if !is_readable_within(epoll, Some(longest))? {
            return Ok(&[]);
        }
    }
    let now = Timespec::default();
    let timeout = longest.and(Some(&now));
    match epoll::wait(epoll, &mut events[..], timeout) {
        Ok((events, _)) => Ok(events),
        // That is no epoll any more.
        Err(Errno::INVAL) => Err(Errno::BADF),
        Err(error) => Err(error),
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use super::{BATCH, Event};
    use rustix::{
        fd::{AsRawFd as _, BorrowedFd},
        io::Errno,
    };
    use std::{io, mem::MaybeUninit, ptr, time::Duration};

    /// What the kernel calls `struct __kernel_timespec`, everywhere.
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    pub(super) fn epoll_pwait2(
        epoll: BorrowedFd<'_>,
        events: &mut [MaybeUninit<Event>; BATCH],
        timeout: Duration,
    ) -> Result<usize, Errno> {
        let timeout = Timespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: timeout.subsec_nanos().into(),
        };
        // SAFETY: the kernel writes at most `BATCH` events into the array, in rustix's
        // layout, which is the kernel's; it reads the timeout; and both outlive the
        // call. There is no signal mask.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll.as_raw_fd(),
                events.as_mut_ptr(),
                BATCH as i32,
                &raw const timeout,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(count)
            .map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).expect("an OS error"))
    }
}

/// There the sandbox may kill those who ask.
#[cfg(target_os = "android")]
mod sys {
    use super::{BATCH, Event};
    use rustix::{fd::BorrowedFd, io::Errno};
    use std::{mem::MaybeUninit, time::Duration};

    pub(super) fn epoll_pwait2(
        _: BorrowedFd<'_>,
        _: &mut [MaybeUninit<Event>; BATCH],
        _: Duration,
    ) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }
}

/// What a set leaves to the rest of the program.
#[derive(Debug, Default)]
struct Room {
    /// Up to this number, the limit need not be asked for again.
    known: RawFd,
}

impl Room {
    const STEP: RawFd = 32;

    fn check(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let number = fd.as_raw_fd();
        if number >= self.known {
            let bound = descriptors::bound();
            if number >= bound {
                return Err(Errno::MFILE.into());
            }
            self.known = bound.min(number + Room::STEP);
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Member(PidFd);

impl Member {
    /// `None`: it is still running, whatever the event said.
    pub(crate) fn exit(&self, _: Option<i64>) -> io::Result<Option<Exit>> {
        self.0.exit()
    }

    /// How it has exited, if it has, without any event.
    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        if self.0.wait(Deadline::Now)? {
            self.0.exit()
        } else {
            Ok(None)
        }
    }

    pub(crate) fn send_signal(&self, signal: i32) -> io::Result<()> {
        self.0.send_signal(signal)
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        self.0.is_reaped()
    }

    pub(crate) fn zombie_is_reaped(&self) -> bool {
        self.0.zombie_is_reaped()
    }
}
