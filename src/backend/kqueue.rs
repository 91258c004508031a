//! macOS, iOS, FreeBSD, NetBSD, OpenBSD, DragonFly: `EVFILT_PROC` on a kqueue.

use super::kqueue_rules::{self as rules, Asked, System};
use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    probe::{self, Look},
};
use rustix::{
    event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::{Errno, FdFlags, fcntl_setfd},
};
use std::{io, mem::MaybeUninit, ptr, time::Duration};

cfg_if::cfg_if! {
    if #[cfg(target_vendor = "apple")] {
        const SYSTEM: System = System::Apple;
    } else if #[cfg(target_os = "dragonfly")] {
        const SYSTEM: System = System::DragonFly;
    } else if #[cfg(target_os = "freebsd")] {
        const SYSTEM: System = System::FreeBsd;
    } else if #[cfg(target_os = "netbsd")] {
        const SYSTEM: System = System::NetBsd;
    } else if #[cfg(target_os = "openbsd")] {
        const SYSTEM: System = System::OpenBsd;
    }
}

/// `NOTE_EXITSTATUS`.
const EXIT_STATUS: u32 = 0x0400_0000;

/// How often a wait makes sure that the process is still there. XNU keeps the
/// exit of a traced process from all but its tracer, and may never tell it to
/// others if the parent is gone when the tracer reaps it.
const RECHECK: Duration = Duration::from_secs(60);

/// A kqueue with one process in it.
#[derive(Debug)]
pub(crate) struct Kqueue {
    queue: Queue,
    process: Registered,
    /// The kernel tells it once.
    exit: Option<Exit>,
}

impl Kqueue {
    pub(crate) const BACKEND: Option<Backend> = Some(Backend::Kqueue);
    pub(crate) const OPEN: &str = "kevent";
    pub(crate) const WAIT: &str = "kevent";

    pub(crate) fn open(pid: Pid) -> io::Result<Kqueue> {
        let queue = Queue::new()?;
        let (process, event) = queue.register(pid)?;
        let mut kqueue = Kqueue {
            queue,
            process,
            exit: None,
        };
        if let Some(event) = event {
            kqueue.take(event)?;
        }
        let now = Deadline::after(Duration::ZERO);
        match rules::is_in_time(probe::exists(pid)?, || kqueue.wait(now))? {
            true => Ok(kqueue),
            // As if it had been refused in the first place: the probe knows.
            false => Err(Errno::SRCH.into()),
        }
    }

    /// What is refused is this process.
    pub(crate) fn is_unavailable(_: &io::Error) -> bool {
        false
    }

    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| {
            if self.exit.is_some() {
                return Ok(true);
            }
            let slice = longest.map_or(RECHECK, |longest| longest.min(RECHECK));
            let mut events = [MaybeUninit::uninit()];
            match self.queue.wait(&mut events, slice)? {
                [event] => {
                    let event = told(event);
                    self.take(event)?;
                }
                _ if slice == RECHECK => self.exit = self.process.left_behind()?,
                _ => {}
            }
            Ok(self.exit.is_some())
        })
    }

    fn take(&mut self, event: rules::Event) -> io::Result<()> {
        if let Some(data) = rules::exit_data(event, self.process.pid.get())? {
            self.exit = Some(self.process.exit(data));
        }
        Ok(())
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::UNKNOWN)
    }

    /// The kernel does not tell by the registration whether the pid was reused.
    pub(crate) fn is_reaped(&self) -> bool {
        false
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.0.as_fd()
    }
}

/// A kqueue for the exits of processes.
#[derive(Debug)]
struct Queue(OwnedFd);

impl Queue {
    fn new() -> io::Result<Queue> {
        let queue = kqueue()?;
        // No child inherits it by fork; this is for those who look.
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        Ok(Queue(queue))
    }

    /// A process that exits already may come with an event at once.
    fn register(&self, pid: Pid) -> io::Result<(Registered, Option<rules::Event>)> {
        let mut event = None;
        let asked = rules::register(SYSTEM, |asked| {
            event = self.add(pid, asked)?;
            Ok(())
        })?;
        Ok((Registered { pid, asked }, event))
    }

    fn add(&self, pid: Pid, asked: Asked) -> io::Result<Option<rules::Event>> {
        let flags = match asked {
            Asked::Exit => ProcessEvents::EXIT,
            Asked::ExitAndStatus => {
                ProcessEvents::EXIT | ProcessEvents::from_bits_retain(EXIT_STATUS)
            }
        };
        let filter = EventFilter::Proc {
            pid: pid.raw(),
            flags,
        };
        // The receipt takes the room for the one event, so that none is handed
        // out. Where the kernel does not know receipts there may be one.
        let flags = EventFlags::ADD | EventFlags::ONESHOT | EventFlags::RECEIPT;
        let change = Event::new(filter, flags, ptr::null_mut());
        let mut events = [MaybeUninit::uninit()];
        // SAFETY: the change is about a process, and refers to no descriptor that
        // would have to stay open.
        let (events, _) =
            unsafe { kevent(&self.0, &[change], &mut events[..], Some(Duration::ZERO)) }?;
        match events {
            [event] => rules::receipt(told(event)),
            _ => Ok(None),
        }
    }

    fn wait<'a>(
        &self,
        events: &'a mut [MaybeUninit<Event>],
        longest: Duration,
    ) -> io::Result<&'a mut [Event]> {
        // SAFETY: there are no changes; so far only processes were registered,
        // which refer to no descriptor that would have to stay open.
        let (events, _) = unsafe { kevent(&self.0, &[], events, Some(longest)) }?;
        Ok(events)
    }
}

/// A process in a kqueue.
#[derive(Debug)]
struct Registered {
    pid: Pid,
    asked: Asked,
}

impl Registered {
    /// How it exited, by the data of the event, or else by what it left behind.
    fn exit(&self, data: i64) -> Exit {
        rules::exit(SYSTEM, self.asked, data)
            .or_else(|| self.left_behind().ok()?)
            .unwrap_or(Exit::UNKNOWN)
    }

    /// `None`: it is still running.
    fn left_behind(&self) -> io::Result<Option<Exit>> {
        Ok(match probe::look(self.pid)? {
            Look::Running(_) => None,
            Look::Exited(_, exit) => Some(exit),
            Look::Gone => Some(Exit::UNKNOWN),
        })
    }
}

fn told(event: &Event) -> rules::Event {
    let of = match event.filter() {
        EventFilter::Proc { pid, .. } => Some(pid.as_raw_nonzero().get() as u32),
        _ => None,
    };
    rules::Event {
        of,
        is_error: event.flags().contains(EventFlags::ERROR),
        data: event.data(),
    }
}
