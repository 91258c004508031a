//! A kqueue with processes in it, and what the systems differ in.

#[cfg(kqueue_on_linux)]
use super::os::KqueueFd;
use super::{
    exists,
    os::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue},
    rules::{self, Interest},
    system,
};
use crate::{
    Exit,
    lock::lock,
    pid::Pid,
    sys::{
        KeepFd, Probe, ProcessProbe as _, State,
        unix::fd::{GuardedFd, above_standard_streams},
    },
};
#[cfg(not(kqueue_on_linux))]
use rustix::fd::OwnedFd as KqueueFd;
use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{
    io, mem::MaybeUninit, os::unix::net::UnixStream, process, ptr, sync::Mutex, time::Duration,
};

/// `NOTE_EXITSTATUS` (XNU, bsd/sys/event.h).
const EXIT_STATUS: u32 = 0x0400_0000;

#[derive(Debug)]
pub(super) struct Kqueue {
    fd: GuardedFd<KqueueFd>,
    /// The pid of its creator: a forked child does not inherit it (kqueue(2)), and may have
    /// another file under its number.
    owner: u32,
}

pub(super) struct Registered {
    pub(super) process: Process,
    /// Whether it is known to have exited by then, so that its event may never come.
    pub(super) is_gone: bool,
    /// Events that the registration took from the kernel, perhaps of other processes.
    pub(super) events: Vec<Event>,
}

impl Kqueue {
    pub(super) fn new() -> io::Result<Kqueue> {
        let fd = kqueue()?;
        #[cfg(not(kqueue_on_linux))]
        let fd = {
            use rustix::io::{FdFlags, fcntl_setfd};
            fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
            above_standard_streams(fd)?
        };
        Ok(Kqueue {
            fd: fd.into(),
            owner: process::id(),
        })
    }

    fn is_owner(&self) -> bool {
        self.owner == process::id()
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.is_owner().then(|| self.fd.as_fd())
    }

    pub(super) fn register(&self, pid: Pid, generation: u32) -> io::Result<Registered> {
        let mut events = Vec::new();
        let interest = rules::register(system(), |interest| {
            // A registration of an earlier process with this pid would stand for this one.
            let delete = change(filter(pid, interest), EventFlags::DELETE, 0);
            let flags = EventFlags::ADD | EventFlags::ONESHOT;
            let add = change(filter(pid, interest), flags, generation);
            events.append(&mut self.change(&[delete, add])?);
            Ok(())
        })?;
        let (mut probe, mut is_gone) = (None, false);
        if rules::reads_process_table(system()) {
            match Probe::open(pid, KeepFd::UnlessReserved) {
                Ok(Some((opened, state))) => {
                    is_gone = state != State::Running;
                    probe = Some(opened.into());
                }
                Ok(None) => is_gone = true,
                // Unknown, as in a sandbox: the registration must do.
                Err(_) => {}
            }
        } else {
            is_gone = exists(pid).is_ok_and(|exists| !exists);
        }
        Ok(Registered {
            process: Process {
                pid,
                interest,
                probe,
            },
            is_gone,
            events,
        })
    }

    /// Returns events that this took from the kernel, as `register` does.
    pub(super) fn add_readable(&self, fd: BorrowedFd<'_>) -> io::Result<Vec<Event>> {
        let filter = EventFilter::Read(fd.as_raw_fd());
        self.change(&[change(filter, EventFlags::ADD, 0)])
    }

    pub(super) fn delete(&self, process: &Process) -> io::Result<Vec<Event>> {
        let filter = filter(process.pid, process.interest);
        self.change(&[change(filter, EventFlags::DELETE, 0)])
    }

    /// The receipts fill the event list, so that no events are taken. Kernels without EV_RECEIPT
    /// (NetBSD before 10, <https://man.netbsd.org/NetBSD-9.3/kevent.2>) can return events instead,
    /// which will not be reported again. (With a shorter list, DragonFly writes its receipts past
    /// the end.)
    fn change(&self, changes: &[Event]) -> io::Result<Vec<Event>> {
        let mut events = [const { MaybeUninit::uninit() }; 2];
        let receipts = self.kevent(changes, &mut events[..changes.len()], Some(Duration::ZERO))?;
        let events = receipts.iter().map(|receipt| {
            let event = rules::receipt(raw(receipt))?;
            Ok(event.map(|_| *receipt))
        });
        events.filter_map(io::Result::transpose).collect()
    }

    pub(super) fn wait<'a>(
        &self,
        events: &'a mut [MaybeUninit<Event>],
        timeout: Option<Duration>,
    ) -> io::Result<&'a mut [Event]> {
        self.kevent(&[], events, timeout)
    }

    fn kevent<'a>(
        &self,
        changes: &[Event],
        events: &'a mut [MaybeUninit<Event>],
        timeout: Option<Duration>,
    ) -> io::Result<&'a mut [Event]> {
        if !self.is_owner() {
            return Err(Errno::BADF.into());
        }
        // SAFETY: nothing else is registered than processes, a user event, and one end of a stream,
        // which a `Handle` or a `Poller` closes after the kqueue.
        let result = self
            .fd
            .with(|fd| unsafe { kevent(fd, changes, events, timeout) });
        Ok(result?.0)
    }
}

impl Drop for Kqueue {
    fn drop(&mut self) {
        if !self.is_owner() {
            self.fd.disown();
        }
    }
}

/// A process that is registered with a kqueue.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    interest: Interest,
    /// For exits that the kernel may not report, and to recognize a process that reuses the pid.
    probe: Option<Mutex<Probe>>,
}

impl Process {
    pub(super) fn exit_from(&self, data: i64) -> Exit {
        rules::exit(system(), self.interest, data)
    }

    /// The exit, if the process table shows it.
    pub(super) fn recheck(&self) -> Option<Exit> {
        lock(self.probe.as_ref()?).check().ok()?.exit()
    }

    /// By the fingerprints.
    pub(super) fn is_same(&self, other: &Process) -> Option<bool> {
        let fingerprint = |process: &Process| lock(process.probe.as_ref()?).fingerprint();
        Some(fingerprint(self)? == fingerprint(other)?)
    }

    /// Of the process that has the pid, if no probe knows better.
    pub(super) fn start_time(&self) -> Option<u64> {
        match &self.probe {
            Some(probe) => lock(probe).start_time(),
            None => Probe::open(self.pid, KeepFd::UnlessReserved)
                .ok()??
                .0
                .start_time(),
        }
    }

    /// By the fingerprint, if there is a process table. Otherwise by the kernel, which refuses to
    /// register a process that is exiting or a zombie (NetBSD and OpenBSD, sys/kern/kern_event.c,
    /// filt_procattach): what it registers is another process. What it refuses has been reaped if
    /// no process has the pid.
    pub(super) fn zombie_is_reaped(&self) -> bool {
        if let Some(probe) = &self.probe {
            return lock(probe).zombie_is_reaped();
        }
        match Kqueue::new().and_then(|kqueue| kqueue.register(self.pid, 0)) {
            Ok(registered) => !registered.is_gone,
            // NetBSD refuses to watch a running process of another user.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => true,
            Err(_) => exists(self.pid).is_ok_and(|exists| !exists),
        }
    }
}

fn change(filter: EventFilter, flags: EventFlags, generation: u32) -> Event {
    let generation = ptr::without_provenance_mut(generation as usize);
    Event::new(filter, flags | EventFlags::RECEIPT, generation)
}

fn filter(pid: Pid, interest: Interest) -> EventFilter {
    let flags = match interest {
        Interest::Exit => ProcessEvents::EXIT,
        Interest::ExitStatus => ProcessEvents::EXIT | ProcessEvents::from_bits_retain(EXIT_STATUS),
    };
    let pid = pid.raw();
    EventFilter::Proc { pid, flags }
}

pub(super) fn raw(event: &Event) -> rules::RawEvent {
    let pid = match event.filter() {
        EventFilter::Proc { pid, .. } => Some(pid.as_raw_nonzero().get() as u32),
        _ => None,
    };
    rules::RawEvent {
        pid,
        is_error: event.flags().contains(EventFlags::ERROR),
        data: event.data(),
    }
}

/// Keeps the kqueue readable after its one-shot NOTE_EXIT was taken, for other threads that wait
/// and for those who poll its descriptor.
///
/// Where a program cannot trigger events, it is one end of a stream. That is opened beforehand, as
/// there may be no descriptors left when the process exits.
#[derive(Debug)]
pub(super) struct StickyEvent {
    closed_stream: Option<OwnedFd>,
}

impl StickyEvent {
    pub(super) fn new() -> io::Result<StickyEvent> {
        let closed_stream = if rules::has_user_events(system()) {
            None
        } else {
            Some(above_standard_streams(UnixStream::pair()?.0.into())?)
        };
        Ok(StickyEvent { closed_stream })
    }

    pub(super) fn add_to(&self, kqueue: &Kqueue) -> io::Result<()> {
        let add = |filter| change(filter, EventFlags::ADD, 0);
        match &self.closed_stream {
            Some(stream) => kqueue.add_readable(stream.as_fd()).map(drop),
            None => {
                // FreeBSD and NetBSD do not trigger it while they add it (filt_userattach).
                let trigger = change(user_event(), EventFlags::empty(), 0);
                kqueue.change(&[add(user_event()), trigger]).map(drop)
            }
        }
    }
}

#[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
fn user_event() -> EventFilter {
    use super::os::{UserDefinedFlags, UserFlags};
    EventFilter::User {
        ident: 0,
        flags: UserFlags::TRIGGER,
        user_flags: UserDefinedFlags::new(0),
    }
}

#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
fn user_event() -> EventFilter {
    unreachable!("there is a closed stream")
}
