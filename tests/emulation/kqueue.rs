//! Emulates `kqueue` and `kevent` on Linux, with the API of rustix, so that the tests can run
//! `src/sys/kqueue/` there. It is an epoll with pidfds in it.
//!
//! This is a model of the sources of five kernels. It has only what procwait uses: `EVFILT_PROC`
//! with `NOTE_EXIT`, `EVFILT_USER` and `EVFILT_READ`. Where it differs from a kernel, the kernel is
//! right. `PROCWAIT_KQUEUE` names the system to emulate. The systems differ in what happens when a
//! process is registered:
//!
//! | | exiting | zombie | another user's |
//! |---|---|---|---|
//! | Apple | `ESRCH` | `ESRCH` | `EACCES` with `NOTE_EXITSTATUS` |
//! | FreeBSD | fires at once | fires at once | registered |
//! | NetBSD | `ESRCH` | `ESRCH` | `EACCES` |
//! | OpenBSD | `ESRCH` | `ESRCH` | registered |
//! | DragonFly | fires later | fires at once | registered |
//!
//! Every event has the wait status, but Apple's only with `NOTE_EXITSTATUS`. Apple's kernel reports
//! the exit before the process is a zombie, and FreeBSD's does if the process was exiting when it
//! was registered. Apple's kernel reports the exit of a traced process only to the tracer until the
//! tracer has reaped it. NetBSD and OpenBSD have no `EVFILT_USER`; FreeBSD does not trigger the
//! event in the change that adds it.
//!
//! Quirks may follow the name, separated by commas:
//! - `receiptless`: the kernel is too old for `EV_RECEIPT`;
//! - `capsicum`: a FreeBSD sandbox denies the null signal and the process table;
//! - `pledged`: the program has pledged not to read the process table, so OpenBSD ends it if it
//!   does;
//! - `late`: the registration of a process waits until the process has exited;
//! - `in-flux`: FreeBSD's kernel loses the exit event if the process exits during the registration.

use super::{
    process_table::{emulates, fingerprint, is_exiting_for, is_other_users, make_zombie},
    rules::System,
};
use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{ProcessHandle as _, linux::handle::Handle as PidFd, unix::fd::above_standard_streams},
};
use rustix::{
    event::{
        EventfdFlags, Timespec,
        epoll::{self, CreateFlags},
        eventfd,
    },
    fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    io::{Errno, Result, write},
    process,
};
use std::{
    collections::{HashMap, HashSet},
    ffi::c_void,
    fmt, fs,
    mem::MaybeUninit,
    os::unix::process::ExitStatusExt as _,
    process::id,
    ptr, slice,
    sync::{LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

pub(crate) fn system() -> System {
    let systems = [
        ("apple", System::Apple),
        ("dragonfly", System::DragonFly),
        ("freebsd", System::FreeBsd),
        ("netbsd", System::NetBsd),
        ("openbsd", System::OpenBsd),
    ];
    let emulated = systems.into_iter().find(|(name, _)| emulates(name));
    emulated
        .expect("PROCWAIT_KQUEUE names one of the systems")
        .1
}

/// `NOTE_EXITSTATUS`.
const EXIT_STATUS: u32 = 0x0400_0000;

/// The pids whose exit event was lost, with the quirk `in-flux`. Each pid loses only its first one.
static LOST: LazyLock<Mutex<HashSet<process::Pid>>> = LazyLock::new(Mutex::default);

/// How long a process is exiting before it is a zombie.
const EXIT_DURATION: Duration = Duration::from_millis(3);

macro_rules! flags {
    ($($name:ident: $bits:ty { $($flag:ident = $value:literal)* })*) => {$(
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name($bits);

        #[allow(dead_code)]
        impl $name {
            $(pub(crate) const $flag: $name = $name($value);)*

            pub(crate) const fn empty() -> $name {
                $name(0)
            }

            pub(crate) fn from_bits_retain(bits: $bits) -> $name {
                $name(bits)
            }

            pub(crate) fn contains(self, flag: $name) -> bool {
                self.0 & flag.0 == flag.0
            }
        }

        impl std::ops::BitOr for $name {
            type Output = $name;

            fn bitor(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }
        }
    )*};
}

flags! {
    EventFlags: u16 { ADD = 1 DELETE = 2 ONESHOT = 0x10 RECEIPT = 0x40 ERROR = 0x4000 }
    ProcessEvents: u32 { EXIT = 0x8000_0000 }
    UserFlags: u32 { TRIGGER = 0x0100_0000 }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct UserDefinedFlags;

impl UserDefinedFlags {
    pub(crate) fn new(_: u32) -> UserDefinedFlags {
        UserDefinedFlags
    }
}

#[derive(Clone, Copy, Debug)]
#[allow(dead_code)]
pub(crate) enum EventFilter {
    Proc {
        pid: process::Pid,
        flags: ProcessEvents,
    },
    Read(RawFd),
    User {
        ident: isize,
        flags: UserFlags,
        user_flags: UserDefinedFlags,
    },
}

/// It does not implement `Debug`, because rustix's type does not either.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    filter: EventFilter,
    flags: EventFlags,
    data: i64,
    udata: usize,
}

impl Event {
    pub(crate) fn new(filter: EventFilter, flags: EventFlags, udata: *mut c_void) -> Event {
        let udata = udata.addr();
        let data = 0;
        Event {
            filter,
            flags,
            data,
            udata,
        }
    }

    pub(crate) fn filter(&self) -> EventFilter {
        self.filter
    }

    pub(crate) fn flags(&self) -> EventFlags {
        self.flags
    }

    pub(crate) fn data(&self) -> i64 {
        self.data
    }

    pub(crate) fn udata(&self) -> *mut c_void {
        ptr::without_provenance_mut(self.udata)
    }
}

pub(crate) struct KqueueFd {
    epoll: OwnedFd,
    owner: u32,
    knotes: Mutex<HashMap<u64, Knote>>,
}

struct Knote {
    event: Event,
    kind: Kind,
}

enum Kind {
    Process(PidFd),
    /// An eventfd, which is readable after the event was triggered.
    User(OwnedFd),
    Descriptor,
}

impl fmt::Debug for KqueueFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.epoll.fmt(f)
    }
}

impl AsFd for KqueueFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

pub(crate) fn kqueue() -> Result<KqueueFd> {
    Ok(KqueueFd {
        epoll: above_standard_streams(epoll::create(CreateFlags::CLOEXEC)?)?,
        owner: id(),
        knotes: Mutex::default(),
    })
}

/// # Safety
///
/// As for rustix's function: the descriptors in the changes must stay open while they are
/// registered.
#[allow(clippy::type_complexity)]
pub(crate) unsafe fn kevent<'a>(
    kqueue: &KqueueFd,
    changes: &[Event],
    events: &'a mut [MaybeUninit<Event>],
    timeout: Option<Duration>,
) -> Result<(&'a mut [Event], &'a mut [MaybeUninit<Event>])> {
    // A forked child does not inherit a kqueue.
    if kqueue.owner != id() {
        return Err(Errno::BADF);
    }
    // NetBSD and OpenBSD refuse timeouts from about here on, and FreeBSD still larger ones.
    if timeout.is_some_and(|timeout| timeout.as_secs() > 100_000_000) {
        return Err(Errno::INVAL);
    }
    let mut results = Vec::new();
    for change in changes {
        let errno = match kqueue.change(*change) {
            Ok(()) if !change.flags.contains(EventFlags::RECEIPT) || emulates("receiptless") => {
                continue;
            }
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        };
        assert!(
            results.len() < events.len(),
            "DragonFly writes receipts past the end of the list"
        );
        results.push(Event {
            flags: EventFlags::ERROR,
            data: errno.into(),
            ..*change
        });
    }
    // A call that returns errors or receipts returns at once, without events.
    if results.is_empty() && !events.is_empty() {
        results = kqueue.wait(events.len(), timeout)?;
    }
    let (full, rest) = events.split_at_mut(results.len());
    for (slot, event) in full.iter_mut().zip(results) {
        slot.write(event);
    }
    // SAFETY: the loop has initialized all of these events.
    let full = unsafe { slice::from_raw_parts_mut(full.as_mut_ptr().cast(), full.len()) };
    Ok((full, rest))
}

impl KqueueFd {
    fn change(&self, change: Event) -> Result<()> {
        let mut knotes = self.knotes.lock().unwrap();
        let key = key(change.filter);
        if change.flags.contains(EventFlags::DELETE) {
            let knote = knotes.remove(&key).ok_or(Errno::NOENT)?;
            self.forget(&knote);
            return Ok(());
        }
        if let Some(knote) = knotes.get_mut(&key) {
            knote.event = change;
            if let (Kind::User(fd), EventFilter::User { flags, .. }) = (&knote.kind, change.filter)
            {
                trigger(fd, flags)?;
            }
            return Ok(());
        }
        if !change.flags.contains(EventFlags::ADD) {
            return Err(Errno::NOENT);
        }
        let add = |fd: BorrowedFd<'_>| {
            let data = epoll::EventData::new_u64(key);
            epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)
        };
        let kind = match change.filter {
            EventFilter::Proc { pid, flags } => {
                let (pidfd, is_lost) = attach(pid, flags)?;
                if !is_lost {
                    add(pidfd.as_fd())?;
                }
                Kind::Process(pidfd)
            }
            EventFilter::Read(fd) => {
                // SAFETY: the caller of `kevent` guarantees that the descriptor stays open.
                add(unsafe { BorrowedFd::borrow_raw(fd) })?;
                Kind::Descriptor
            }
            EventFilter::User { .. } if matches!(system(), System::NetBsd | System::OpenBsd) => {
                return Err(Errno::INVAL);
            }
            EventFilter::User { flags, .. } => {
                let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
                add(fd.as_fd())?;
                if system() != System::FreeBsd {
                    trigger(&fd, flags)?;
                }
                Kind::User(fd)
            }
        };
        let event = change;
        knotes.insert(key, Knote { event, kind });
        Ok(())
    }

    /// Closing its pidfd is not enough while a child that is being started has a copy.
    fn forget(&self, knote: &Knote) {
        if let Kind::Process(pidfd) = &knote.kind {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
    }

    fn wait(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Event>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let remaining = deadline.map(|deadline| {
                let remaining = deadline.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: remaining.as_secs() as _,
                    tv_nsec: remaining.subsec_nanos() as _,
                }
            });
            let mut ready = [MaybeUninit::uninit(); 64];
            let max = max.min(ready.len());
            let (ready, _) = epoll::wait(&self.epoll, &mut ready[..max], remaining.as_ref())?;
            let mut knotes = self.knotes.lock().unwrap();
            let keys = ready.iter().map(|event| event.data.u64());
            let events: Vec<_> = keys.filter_map(|key| self.fire(&mut knotes, key)).collect();
            if !events.is_empty() || remaining == Some(Timespec::default()) {
                return Ok(events);
            }
            // The pidfd of a traced process is ready before the event fires: do not spin.
            drop(knotes);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns the event of a knote whose descriptor is ready, if the kernel reports it now.
    fn fire(&self, knotes: &mut HashMap<u64, Knote>, key: u64) -> Option<Event> {
        let knote = knotes.get(&key)?;
        let Kind::Process(pidfd) = &knote.kind else {
            // These events stay registered.
            return Some(knote.event);
        };
        let exit = pidfd.exit().ok()??;
        let mut event = knote.event;
        let EventFilter::Proc { pid, flags } = event.filter else {
            return None;
        };
        let pid = Pid::new(pid.as_raw_nonzero().get() as u32).expect("positive");
        if system() == System::Apple && is_traced(pid) {
            return None; // The kernel reports it after the tracer has reaped the process.
        }
        // The event is one-shot.
        knotes
            .remove(&key)
            .iter()
            .for_each(|knote| self.forget(knote));
        let has_status = match system() {
            System::Apple => flags.contains(ProcessEvents::from_bits_retain(EXIT_STATUS)),
            _ => true,
        };
        if has_status {
            event.data = wait_status(exit).into();
        }
        let is_early = system() == System::Apple;
        is_exiting_for(
            fingerprint(pid),
            if is_early {
                EXIT_DURATION
            } else {
                Duration::ZERO
            },
        );
        Some(event)
    }
}

fn trigger(fd: &OwnedFd, flags: UserFlags) -> Result<()> {
    if flags.contains(UserFlags::TRIGGER) {
        write(fd, &1_u64.to_ne_bytes())?;
    }
    Ok(())
}

/// The key of a knote, and the data of its epoll event.
fn key(filter: EventFilter) -> u64 {
    let (filter, ident) = match filter {
        EventFilter::Proc { pid, .. } => (1, pid.as_raw_nonzero().get() as u32),
        EventFilter::Read(fd) => (2, fd as u32),
        EventFilter::User { ident, .. } => (3, ident as u32),
    };
    (filter << 32) | u64::from(ident)
}

/// Opens the process. Also returns whether its exit event is lost.
fn attach(raw: process::Pid, flags: ProcessEvents) -> Result<(PidFd, bool)> {
    let pid = Pid::new(raw.as_raw_nonzero().get() as u32).expect("positive");
    let wants_status = flags.contains(ProcessEvents::from_bits_retain(EXIT_STATUS));
    // `open` also fails for the id of a thread that is not the main thread, as it should.
    let pidfd = PidFd::open(pid).map_err(|_| Errno::SRCH)?;
    if emulates("late") {
        let _ = pidfd.wait(Deadline::Never);
    }
    let has_exited = pidfd.wait(Deadline::Now).is_ok_and(|event| event.is_some());
    // FreeBSD's process table shows an exit whose event is lost at once. If it did not, no wait
    // could find the exit.
    let is_lost = has_exited && emulates("in-flux") && LOST.lock().unwrap().insert(raw);
    if is_lost {
        // An earlier registration may have recorded it as exiting.
        make_zombie(fingerprint(pid));
    }
    match system() {
        System::DragonFly => {}
        System::FreeBsd if has_exited && !is_lost => {
            is_exiting_for(fingerprint(pid), EXIT_DURATION);
        }
        System::FreeBsd => {}
        _ if has_exited => {
            is_exiting_for(fingerprint(pid), EXIT_DURATION);
            return Err(Errno::SRCH);
        }
        System::NetBsd if is_other_users(pid) => return Err(Errno::ACCESS),
        System::Apple if wants_status && is_other_users(pid) => return Err(Errno::ACCESS),
        _ => {}
    }
    Ok((pidfd, is_lost))
}

fn wait_status(exit: Exit) -> i32 {
    match (exit.status(), exit.signal()) {
        (Some(status), _) => status.into_raw(),
        (None, signal) => signal.expect("Linux reports the status to this process"),
    }
}

fn is_traced(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.get())).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
