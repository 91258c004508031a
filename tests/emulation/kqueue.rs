//! `kqueue` and `kevent` on Linux, so that `backend/kqueue.rs` can be run there: an epoll
//! over pidfds, with rustix's face.
//!
//! This is a model of what the sources of five kernels say, and no more than `EVFILT_PROC`
//! with `NOTE_EXIT`, `EVFILT_USER` and `EVFILT_READ`. Where it differs from a kernel, the
//! kernel is right. `PROCWAIT_KQUEUE` names the system that it plays, with its habits:
//!
//! | to register | a process that is exiting | a zombie | a stranger's process |
//! |---|---|---|---|
//! | Apple | `ESRCH` | `ESRCH` | `EACCES` if asked for the status |
//! | FreeBSD | fires at once | fires at once | as one's own |
//! | NetBSD | `ESRCH` | `ESRCH` | `EACCES` |
//! | OpenBSD | `ESRCH` | `ESRCH` | as one's own |
//! | DragonFly | fires later | fires at once | as one's own |
//!
//! All tell the wait status, Apple only if asked for it. Apple tells of the exit before there
//! is a zombie to be reaped, and FreeBSD does if the process was exiting when it was
//! registered. Apple tells nobody but the tracer of a traced process's exit, until that lets go of
//! it. NetBSD and OpenBSD have no `EVFILT_USER`; FreeBSD does not trigger it while it is added.
//!
//! Further habits may follow the name:
//! - `receiptless`: the kernel is too old for `EV_RECEIPT`;
//! - `capsicum`: FreeBSD's sandbox, which denies the null signal and the process table;
//! - `pledged`: OpenBSD's promise not to read the process table, which ends who breaks it;
//! - `late`: a process is registered only once it has exited;
//! - `in-flux`: FreeBSD's kernel loses an exit that falls into the registration.

use super::{
    process_table::{is_exiting_for, is_strangers, is_zombie, mark, plays},
    rules::System,
};
use crate::{
    Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{fd::above_standard_streams, linux::handle::PidFd},
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
    let played = systems.into_iter().find(|(name, _)| plays(name));
    played.expect("one of the systems").1
}

const EXIT_STATUS: u32 = 0x0400_0000;

/// Of those that play `in-flux`: each number's first exit.
static LOST: LazyLock<Mutex<HashSet<process::Pid>>> = LazyLock::new(Mutex::default);

/// Between the exit and the zombie.
const A_WHILE: Duration = Duration::from_millis(3);

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

/// Not `Debug`, as rustix's is not.
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
    /// An eventfd that is readable once it was triggered.
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
/// As for rustix's: what the changes refer to stays open.
#[allow(clippy::type_complexity)]
pub(crate) unsafe fn kevent<'a>(
    kqueue: &KqueueFd,
    changes: &[Event],
    events: &'a mut [MaybeUninit<Event>],
    timeout: Option<Duration>,
) -> Result<(&'a mut [Event], &'a mut [MaybeUninit<Event>])> {
    // No kqueue is inherited by fork.
    if kqueue.owner != id() {
        return Err(Errno::BADF);
    }
    // NetBSD and OpenBSD refuse huge ones, FreeBSD some that are larger.
    if timeout.is_some_and(|timeout| timeout.as_secs() > 100_000_000) {
        return Err(Errno::INVAL);
    }
    let mut handed_out = Vec::new();
    for change in changes {
        let errno = match kqueue.change(*change) {
            Ok(()) if !change.flags.contains(EventFlags::RECEIPT) || plays("receiptless") => {
                continue;
            }
            Ok(()) => 0,
            Err(errno) => errno.raw_os_error(),
        };
        assert!(
            handed_out.len() < events.len(),
            "DragonFly writes past the end"
        );
        handed_out.push(Event {
            flags: EventFlags::ERROR,
            data: errno.into(),
            ..*change
        });
    }
    // Errors and receipts are told at once, and nothing with them.
    if handed_out.is_empty() && !events.is_empty() {
        handed_out = kqueue.wait(events.len(), timeout)?;
    }
    let (full, rest) = events.split_at_mut(handed_out.len());
    for (place, event) in full.iter_mut().zip(handed_out) {
        place.write(event);
    }
    // SAFETY: all of these were written just now.
    let full = unsafe { slice::from_raw_parts_mut(full.as_mut_ptr().cast(), full.len()) };
    Ok((full, rest))
}

impl KqueueFd {
    fn change(&self, change: Event) -> Result<()> {
        let mut knotes = self.knotes.lock().unwrap();
        let key = key(change.filter);
        if change.flags.contains(EventFlags::DELETE) {
            // What it waits for is closed, but for a descriptor of the program's.
            return knotes.remove(&key).map(drop).ok_or(Errno::NOENT);
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
                // SAFETY: the caller promises that it stays open.
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

    fn wait(&self, room: usize, timeout: Option<Duration>) -> Result<Vec<Event>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| {
                let left = until.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: left.as_secs() as _,
                    tv_nsec: left.subsec_nanos() as _,
                }
            });
            let mut ready = [MaybeUninit::uninit(); 64];
            let room = room.min(ready.len());
            let (ready, _) = epoll::wait(&self.epoll, &mut ready[..room], left.as_ref())?;
            let mut knotes = self.knotes.lock().unwrap();
            let fired = ready.iter().map(|it| it.data.u64());
            let fired: Vec<_> = fired.filter_map(|key| fire(&mut knotes, key)).collect();
            if !fired.is_empty() || left.is_some_and(|left| left == Timespec::default()) {
                return Ok(fired);
            }
            drop(knotes);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn trigger(fd: &OwnedFd, flags: UserFlags) -> Result<()> {
    if flags.contains(UserFlags::TRIGGER) {
        write(fd, &1_u64.to_ne_bytes())?;
    }
    Ok(())
}

fn key(filter: EventFilter) -> u64 {
    let (filter, ident) = match filter {
        EventFilter::Proc { pid, .. } => (1, pid.as_raw_nonzero().get() as u32),
        EventFilter::Read(fd) => (2, fd as u32),
        EventFilter::User { ident, .. } => (3, ident as u32),
    };
    (filter << 32) | u64::from(ident)
}

/// The process, and whether its exit is lost.
fn attach(raw: process::Pid, flags: ProcessEvents) -> Result<(PidFd, bool)> {
    let pid = Pid::new(raw.as_raw_nonzero().get() as u32).expect("positive");
    let asks_for_status = flags.contains(ProcessEvents::from_bits_retain(EXIT_STATUS));
    // A thread's id is none, either.
    let pidfd = PidFd::open(pid).map_err(|_| Errno::SRCH)?;
    if plays("late") {
        let _ = pidfd.wait(Deadline::Never);
    }
    let has_exited = pidfd.wait(Deadline::Now).is_ok_and(|exited| exited);
    // An exit that is lost is one that the process table shows at once: were it hidden as well,
    // no wait could end, and FreeBSD's kernel hides none that it loses.
    let is_lost = has_exited && plays("in-flux") && LOST.lock().unwrap().insert(raw);
    if is_lost {
        is_zombie(mark(pid)); // It may have been shown as exiting since an earlier registration.
    }
    match system() {
        System::DragonFly => {}
        System::FreeBsd if has_exited && !is_lost => {
            is_exiting_for(mark(pid), A_WHILE);
        }
        System::FreeBsd => {}
        _ if has_exited => {
            is_exiting_for(mark(pid), A_WHILE);
            return Err(Errno::SRCH);
        }
        System::NetBsd if is_strangers(pid) => return Err(Errno::ACCESS),
        System::Apple if asks_for_status && is_strangers(pid) => return Err(Errno::ACCESS),
        _ => {}
    }
    Ok((pidfd, is_lost))
}

/// The event that is handed out, if there is one.
fn fire(knotes: &mut HashMap<u64, Knote>, key: u64) -> Option<Event> {
    let knote = knotes.get(&key)?;
    let Kind::Process(pidfd) = &knote.kind else {
        // Those stay.
        return Some(knote.event);
    };
    let exit = pidfd.exit().ok()??;
    let mut event = knote.event;
    let EventFilter::Proc { pid, flags } = event.filter else {
        return None;
    };
    let pid = Pid::new(pid.as_raw_nonzero().get() as u32).expect("positive");
    if system() == System::Apple && is_traced(pid) {
        return None; // for now
    }
    // It comes once, and then there is nothing left of it.
    knotes.remove(&key);
    let is_told = match system() {
        System::Apple => flags.contains(ProcessEvents::from_bits_retain(EXIT_STATUS)),
        _ => true,
    };
    if is_told {
        event.data = wait_status(exit).into();
    }
    let is_early = system() == System::Apple;
    is_exiting_for(mark(pid), if is_early { A_WHILE } else { Duration::ZERO });
    Some(event)
}

fn wait_status(exit: Exit) -> i32 {
    match (exit.status(), exit.signal()) {
        (Some(status), _) => status.into_raw(),
        (None, signal) => signal.expect("a process that Linux shows us"),
    }
}

fn is_traced(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.get())).unwrap_or_default();
    let tracer = status.lines().find_map(|it| it.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
