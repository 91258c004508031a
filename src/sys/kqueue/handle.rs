//! macOS, iOS, FreeBSD, NetBSD, OpenBSD, DragonFly: `EVFILT_PROC` on a kqueue.

use super::rules::{self, Asked, SecondLook};
use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{
        self, Child, ExitEvent, Keep, Look, View,
        fd::{Descriptor, above_standard_streams},
    },
};
use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{
    io,
    mem::MaybeUninit,
    os::unix::net::UnixStream,
    process, ptr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        pub(super) use super::emulation::Event;
        use super::emulation::{
            EventFilter, EventFlags, KqueueFd, ProcessEvents, UserDefinedFlags, UserFlags,
            kevent, kqueue, system,
        };
    } else {
        use super::rules::System;
        pub(super) use rustix::event::kqueue::Event;
        use rustix::{
            event::kqueue::{EventFilter, EventFlags, ProcessEvents, kevent, kqueue},
            fd::OwnedFd as KqueueFd,
            io::{FdFlags, fcntl_setfd},
        };
        #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
        use rustix::event::kqueue::{UserDefinedFlags, UserFlags};

        const fn system() -> System {
            if cfg!(target_vendor = "apple") {
                System::Apple
            } else if cfg!(target_os = "dragonfly") {
                System::DragonFly
            } else if cfg!(target_os = "freebsd") {
                System::FreeBsd
            } else if cfg!(target_os = "netbsd") {
                System::NetBsd
            } else {
                System::OpenBsd
            }
        }
    }
}

/// `NOTE_EXITSTATUS`.
const EXIT_STATUS: u32 = 0x0400_0000;

/// A kqueue with one process in it.
#[derive(Debug)]
pub(crate) struct Kqueue {
    queue: Queue,
    process: Member,
    recheck: Recheck,
    last_word: LastWord,
    /// The kernel tells it once, to one of those who wait.
    exit: OnceLock<Exit>,
}

impl Kqueue {
    pub(crate) const BACKEND: Option<Backend> = Some(Backend::Kqueue);
    pub(crate) const OPEN: &str = "kevent";
    pub(crate) const WAIT: &str = "kevent";

    pub(crate) fn open(pid: Pid) -> io::Result<Kqueue> {
        let queue = Queue::new()?;
        let registered = queue.register(pid, 0)?;
        let kqueue = Kqueue {
            queue,
            process: registered.member,
            recheck: Recheck::new(),
            last_word: LastWord::new()?,
            exit: OnceLock::new(),
        };
        for event in &registered.events {
            kqueue.take(event)?;
        }
        match rules::is_in_time(registered.was_running, || kqueue.wait(Deadline::Now))? {
            true => Ok(kqueue),
            // As if it had been refused in the first place: the probe knows.
            false => Err(Errno::SRCH.into()),
        }
    }

    /// What is refused is this process.
    pub(crate) fn is_unavailable(_: &io::Error) -> bool {
        false
    }

    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        loop {
            let until = self.recheck.comes_before(deadline);
            if until.sleep(|longest| self.take_within(longest))? {
                return Ok(true);
            }
            if self.recheck.is_due() {
                if let Some(exit) = self.process.look_again() {
                    // What the kernel tells counts more, and may have come since.
                    if !self.take_within(Some(Duration::ZERO))? {
                        self.has_exited(exit);
                    }
                    return Ok(true);
                }
            }
            if deadline.has_passed() {
                return Ok(false);
            }
        }
    }

    pub(crate) fn wait_event(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        Ok(self.wait(deadline)?.then_some(ExitEvent::Exited))
    }

    fn take_within(&self, longest: Option<Duration>) -> io::Result<bool> {
        if self.exit.get().is_none() {
            let mut events = [MaybeUninit::uninit()];
            if let [event] = self.queue.wait(&mut events, longest)? {
                self.take(event)?;
            }
        }
        Ok(self.exit.get().is_some())
    }

    fn take(&self, event: &Event) -> io::Result<()> {
        if let Some(data) = rules::exit_data(told(event), self.process.pid.get())? {
            self.has_exited(self.process.exit_told_by(data));
        }
        Ok(())
    }

    /// First there is the exit, then others wake up for it.
    fn has_exited(&self, exit: Exit) {
        if self.exit.set(exit).is_ok() {
            // To add it the kernels wait for memory, and nothing else can fail.
            let _ = self.last_word.say(&self.queue);
        }
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        Ok(self.exit.get().copied())
    }

    /// Nothing but the number can be sent one.
    pub(crate) fn send_signal(&self, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Only the pid could be asked about.
    pub(crate) fn child_state(&self) -> Option<Child> {
        None
    }

    /// The kernel does not tell by the registration whether the pid was reused.
    pub(crate) fn is_reaped(&self) -> Option<bool> {
        None
    }

    pub(crate) fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.is_ours().then(|| self.queue.fd.as_fd())
    }
}

/// A kqueue for the exits of processes.
#[derive(Debug)]
pub(super) struct Queue {
    fd: Descriptor<KqueueFd>,
    /// Whose it is: no child inherits it by fork, and the number may be another file's there.
    owner: u32,
}

impl Queue {
    pub(super) fn new() -> io::Result<Queue> {
        let fd = kqueue()?;
        #[cfg(not(kqueue_on_linux))]
        let fd = {
            fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
            above_standard_streams(fd)?
        };
        Ok(Queue {
            fd: fd.into(),
            owner: process::id(),
        })
    }

    fn is_ours(&self) -> bool {
        self.owner == process::id()
    }

    pub(super) fn register(&self, pid: Pid, generation: u32) -> io::Result<Registered> {
        let mut events = Vec::new();
        let asked = rules::register(system(), |asked| {
            // What was left of an earlier process with this number would stand for this one.
            let delete = change(filter(pid, asked), EventFlags::DELETE, 0);
            let flags = EventFlags::ADD | EventFlags::ONESHOT;
            let add = change(filter(pid, asked), flags, generation);
            events.append(&mut self.change(&[delete, add])?);
            Ok(())
        })?;
        let mut view = None;
        let was_running = match rules::second_look(system()) {
            SecondLook::NullSignal => sys::exists(pid).ok(),
            SecondLook::Table => match View::open(pid, Keep::IfSpare) {
                Ok(Some((opened, look))) => {
                    view = Some(opened.into());
                    Some(matches!(look, Look::Running))
                }
                Ok(None) => Some(false),
                Err(_) => None,
            },
        };
        Ok(Registered {
            member: Member { pid, asked, view },
            was_running,
            events,
        })
    }

    pub(super) fn delete(&self, member: &Member) -> io::Result<Vec<Event>> {
        let process = filter(member.pid, member.asked);
        self.change(&[change(process, EventFlags::DELETE, 0)])
    }

    /// The receipts take the room, so that no events are handed out. Where the kernel does
    /// not know receipts there may be some, which nobody else will get. (With less room
    /// DragonFly would write its receipts past the end.)
    fn change(&self, changes: &[Event]) -> io::Result<Vec<Event>> {
        let mut events = [const { MaybeUninit::uninit() }; 2];
        let answers = self.kevent(changes, &mut events[..changes.len()], Some(Duration::ZERO))?;
        let events = answers.iter().map(|answer| {
            let event = rules::receipt(told(answer))?;
            Ok(event.map(|_| *answer))
        });
        events.filter_map(io::Result::transpose).collect()
    }

    pub(super) fn wait<'a>(
        &self,
        events: &'a mut [MaybeUninit<Event>],
        longest: Option<Duration>,
    ) -> io::Result<&'a mut [Event]> {
        self.kevent(&[], events, longest)
    }

    fn kevent<'a>(
        &self,
        changes: &[Event],
        events: &'a mut [MaybeUninit<Event>],
        longest: Option<Duration>,
    ) -> io::Result<&'a mut [Event]> {
        if !self.is_ours() {
            return Err(Errno::BADF.into());
        }
        // SAFETY: all that is ever registered are processes, events of our own, and the end
        // of a stream that is closed after the queue.
        let answer = self
            .fd
            .ask(|fd| unsafe { kevent(fd, changes, events, longest) });
        Ok(answer?.0)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if !self.is_ours() {
            self.fd.lose();
        }
    }
}

pub(super) struct Registered {
    pub(super) member: Member,
    /// After it was registered, if anybody tells.
    pub(super) was_running: Option<bool>,
    /// Other processes' perhaps.
    pub(super) events: Vec<Event>,
}

fn change(filter: EventFilter, flags: EventFlags, generation: u32) -> Event {
    let generation = ptr::without_provenance_mut(generation as usize);
    Event::new(filter, flags | EventFlags::RECEIPT, generation)
}

fn filter(pid: Pid, asked: Asked) -> EventFilter {
    let notes = match asked {
        Asked::Exit => ProcessEvents::EXIT,
        Asked::ExitAndStatus => ProcessEvents::EXIT | ProcessEvents::from_bits_retain(EXIT_STATUS),
    };
    EventFilter::Proc {
        pid: pid.raw(),
        flags: notes,
    }
}

/// An event that is added to a queue once the exit was taken from it, and stays: to all
/// who wait for the queue, it is readable for good.
///
/// Where a program cannot make events it is the end of a stream, opened in time: when the
/// process exits there may be no descriptors left.
#[derive(Debug)]
struct LastWord {
    end: Option<OwnedFd>,
}

impl LastWord {
    fn new() -> io::Result<LastWord> {
        let end = if rules::has_user_events(system()) {
            None
        } else {
            Some(above_standard_streams(UnixStream::pair()?.0.into())?)
        };
        Ok(LastWord { end })
    }

    fn say(&self, queue: &Queue) -> io::Result<()> {
        let add = |filter| change(filter, EventFlags::ADD, 0);
        match &self.end {
            Some(end) => queue.change(&[add(EventFilter::Read(end.as_raw_fd()))])?,
            None => {
                // FreeBSD and NetBSD do not trigger it while they add it.
                let trigger = change(made_by_us(), EventFlags::empty(), 0);
                queue.change(&[add(made_by_us()), trigger])?
            }
        };
        Ok(())
    }
}

#[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
fn made_by_us() -> EventFilter {
    EventFilter::User {
        ident: 0,
        flags: UserFlags::TRIGGER,
        user_flags: UserDefinedFlags::new(0),
    }
}

#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
fn made_by_us() -> EventFilter {
    unreachable!("there is the end of a stream")
}

/// A process in a kqueue.
#[derive(Debug)]
pub(crate) struct Member {
    pub(super) pid: Pid,
    asked: Asked,
    /// For exits that the kernel may not report, and to recognize another process with the pid.
    view: Option<Mutex<View>>,
}

impl Member {
    /// How it exited, by the data of the event, or else by what it left behind.
    pub(crate) fn exit(&self, told: Option<i64>) -> io::Result<Option<Exit>> {
        Ok(match told {
            Some(data) => Some(self.exit_told_by(data)),
            None => self.look_again(),
        })
    }

    fn exit_told_by(&self, data: i64) -> Exit {
        rules::exit(system(), self.asked, data)
    }

    /// Without the kqueue there is only the number.
    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn send_signal(&self, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        None
    }

    /// For a process that has exited: whether it has been reaped, so that another one can have
    /// its pid. By the time at which it started, if there is a process table. Otherwise by the
    /// kernel, which refuses to register a process that is exiting or a zombie (NetBSD and
    /// OpenBSD, sys/kern/kern_event.c, filt_procattach): what it registers is another process.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        if let Some(view) = &self.view {
            return lock(view).zombie_is_reaped();
        }
        match Queue::new().and_then(|queue| queue.register(self.pid, 0)) {
            Ok(registered) => registered.was_running != Some(false),
            // NetBSD's refusal to observe another user's process, which is running.
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        }
    }

    /// `None`: it is not seen to have exited.
    pub(super) fn look_again(&self) -> Option<Exit> {
        lock(self.view.as_ref()?).look().ok()?.exit()
    }
}

/// When to look whether there was an exit that the kernel does not tell: each minute of
/// all waits together.
#[derive(Debug)]
pub(crate) struct Recheck {
    /// `None` where the kernel tells all.
    last: Option<Mutex<Instant>>,
}

impl Recheck {
    pub(crate) const INTERVAL: Duration =
        Duration::from_secs(if cfg!(kqueue_on_linux) { 2 } else { 60 });

    pub(super) fn new() -> Recheck {
        Recheck {
            last: rules::may_not_tell(system()).then(|| Instant::now().into()),
        }
    }

    pub(super) fn comes_before(&self, deadline: Deadline) -> Deadline {
        match &self.last {
            Some(last) => deadline.within(Recheck::INTERVAL.saturating_sub(lock(last).elapsed())),
            None => deadline,
        }
    }

    /// And is not for another while.
    pub(super) fn is_due(&self) -> bool {
        let Some(last) = &self.last else { return false };
        let mut last = lock(last);
        let is_due = last.elapsed() >= Recheck::INTERVAL;
        if is_due {
            *last = Instant::now();
        }
        is_due
    }
}

/// No code of ours panics while it holds one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn told(event: &Event) -> rules::Event {
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
