//! macOS, iOS, FreeBSD, NetBSD, OpenBSD, DragonFly: `EVFILT_PROC` on a kqueue.

use super::{
    Fired, Token,
    kqueue_rules::{self as rules, Asked, System},
};
use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    probe::{self, Sight},
};
use rustix::{
    event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::{Errno, FdFlags, fcntl_setfd},
};
use std::{collections::VecDeque, io, mem::MaybeUninit, ptr, time::Duration};

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

/// How many exits are taken from the kernel at once.
const BATCH: usize = 64;

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
        let (process, event) = queue.register(pid, 0)?;
        let mut kqueue = Kqueue {
            queue,
            process,
            exit: None,
        };
        if let Some(event) = event {
            kqueue.take(&event)?;
        }
        match rules::is_in_time(probe::exists(pid)?, || kqueue.wait(Deadline::Now))? {
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
            match self.queue.wait(&mut events, Some(slice))? {
                [event] => self.take(event)?,
                _ if slice == RECHECK => self.exit = self.process.left_behind()?,
                _ => {}
            }
            Ok(self.exit.is_some())
        })
    }

    fn take(&mut self, event: &Event) -> io::Result<()> {
        if let Some(data) = rules::exit_data(told(event), self.process.pid.get())? {
            self.exit = Some(self.process.exit_told_by(data));
        }
        Ok(())
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        Ok(self.exit)
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        self.process.is_reaped()
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
    fn register(&self, pid: Pid, generation: u32) -> io::Result<(Registered, Option<Event>)> {
        let mut event = None;
        let asked = rules::register(SYSTEM, |asked| {
            event = self.add(pid, asked, generation)?;
            Ok(())
        })?;
        Ok((Registered { pid, asked }, event))
    }

    fn add(&self, pid: Pid, asked: Asked, generation: u32) -> io::Result<Option<Event>> {
        // The receipt takes the room for the one event, so that none is handed
        // out. Where the kernel does not know receipts there may be one.
        let flags = EventFlags::ADD | EventFlags::ONESHOT | EventFlags::RECEIPT;
        let mut events = [MaybeUninit::uninit()];
        let events = self.change(pid, asked, flags, generation, &mut events)?;
        match events {
            [event] => Ok(rules::receipt(told(event))?.map(|_| *event)),
            _ => Ok(None),
        }
    }

    fn delete(&self, process: &Registered) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit()];
        let flags = EventFlags::DELETE | EventFlags::RECEIPT;
        self.change(process.pid, process.asked, flags, 0, &mut events)?;
        Ok(())
    }

    fn change<'a>(
        &self,
        pid: Pid,
        asked: Asked,
        flags: EventFlags,
        generation: u32,
        events: &'a mut [MaybeUninit<Event>],
    ) -> io::Result<&'a mut [Event]> {
        let notes = match asked {
            Asked::Exit => ProcessEvents::EXIT,
            Asked::ExitAndStatus => {
                ProcessEvents::EXIT | ProcessEvents::from_bits_retain(EXIT_STATUS)
            }
        };
        let filter = EventFilter::Proc {
            pid: pid.raw(),
            flags: notes,
        };
        let generation = ptr::without_provenance_mut(generation as usize);
        let change = Event::new(filter, flags, generation);
        // SAFETY: the change is about a process, and refers to no descriptor that
        // would have to stay open.
        let (events, _) = unsafe { kevent(&self.0, &[change], events, Some(Duration::ZERO)) }?;
        Ok(events)
    }

    fn wait<'a>(
        &self,
        events: &'a mut [MaybeUninit<Event>],
        longest: Option<Duration>,
    ) -> io::Result<&'a mut [Event]> {
        // SAFETY: there are no changes; so far only processes were registered,
        // which refer to no descriptor that would have to stay open.
        let (events, _) = unsafe { kevent(&self.0, &[], events, longest) }?;
        Ok(events)
    }
}

/// A kqueue with many processes in it.
#[derive(Debug)]
pub(crate) struct Reactor {
    queue: Queue,
    fired: VecDeque<Fired>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            queue: Queue::new()?,
            fired: VecDeque::new(),
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Registered> {
        let (process, event) = self.queue.register(pid, token.generation)?;
        self.take(event.as_slice());
        let in_time = rules::is_in_time(probe::exists(pid)?, || {
            self.wait(Deadline::Now)?;
            Ok(self.fired.iter().any(|fired| fired.token == token))
        });
        match in_time? {
            true => Ok(process),
            false => Err(Errno::SRCH.into()),
        }
    }

    /// Some refusals are about one process.
    pub(crate) fn refuses_all(_: &io::Error) -> bool {
        false
    }

    /// There are no events that are none.
    pub(crate) fn renew(&mut self, _: &Registered, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// For one whose event was not told. Of the others there is nothing left.
    pub(crate) fn remove(&mut self, process: &Registered) {
        let _ = self.queue.delete(process);
        let pid = process.pid.get();
        self.fired.retain(|fired| fired.token.pid != pid);
    }

    /// Sleeps until there is something for `next` (true) or the deadline.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| {
            let mut events = [const { MaybeUninit::uninit() }; BATCH];
            let events = self.queue.wait(&mut events, longest)?;
            self.take(events);
            Ok(!self.fired.is_empty())
        })
    }

    fn take(&mut self, events: &[Event]) {
        let fired = events.iter().filter_map(|event| {
            let pid = told(event).of?;
            let data = rules::exit_data(told(event), pid).ok()??;
            let generation = event.udata().addr() as u32;
            let token = Token { pid, generation };
            Some(Fired { token, data })
        });
        self.fired.extend(fired);
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }
}

/// A process in a kqueue.
#[derive(Debug)]
pub(crate) struct Registered {
    pid: Pid,
    asked: Asked,
}

impl Registered {
    /// How it exited, by the data of the event, or else by what it left behind.
    pub(crate) fn exit(&self, data: i64) -> io::Result<Option<Exit>> {
        Ok(Some(self.exit_told_by(data)))
    }

    fn exit_told_by(&self, data: i64) -> Exit {
        rules::exit(SYSTEM, self.asked, data)
            .or_else(|| self.left_behind().ok()?)
            .unwrap_or(Exit::UNKNOWN)
    }

    /// Without the kqueue there is only the number.
    pub(crate) fn look(&mut self) -> io::Result<Option<Exit>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The kernel does not tell by the registration whether the pid was reused.
    pub(crate) fn is_reaped(&self) -> Option<bool> {
        None
    }

    /// `None`: it is still running.
    fn left_behind(&self) -> io::Result<Option<Exit>> {
        Ok(match probe::sight(self.pid)? {
            Sight::Running(_) => None,
            Sight::Exited(_, exit) => Some(exit),
            Sight::Gone => Some(Exit::UNKNOWN),
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
