//! What the crate asks of an operating system.
//!
//! Each system has a folder with everything that the crate knows about it: how it reports exits,
//! reads its process table, and sends signals. `unix` is what Unix systems share; `pid_probe` is
//! shared by all that can only poll a process by its pid. To add a system, provide the items
//! below in a new folder, and choose it in the `cfg_if!`.
//!
//! - `Handle`: one process, watched by events. See [`ProcessHandle`].
//! - `Poller` and `Member`: many processes, watched together. See [`SetPoller`], [`SetMember`],
//!   [`WakeEvent`].
//! - `Probe`: one process, polled. See [`ProcessProbe`].
//! - `Input` and `Stream`: the input and one output of a child, see [`Streams`]; and
//!   `Streams::round(event, timeout)`, which waits until one is ready, or until the event, and
//!   transfers what it can. It returns whether the event has happened, or may have.
//!   `Streams::events`: what an async runtime can wait for instead. `Streams::time_until_retry`:
//!   when to try again what no event reports as ready.
//! - `TokioRegistration`, `AsyncIoRegistration`: an event in a runtime. See [`Registration`].
//! - `BorrowedEvent`: what a `Handle` or `Poller` lends to event loops, a borrowed descriptor or
//!   handle.
//! - `peek_child(pid)`: what the parent can learn about a child without reaping it. `NotAChild` also
//!   if the OS does not say.
//! - `try_wait(child)`: `Child::try_wait`, for which a stopped child has not exited.
//!   `try_wait_unless_reused(child)`: the same if no child was found under the pid. It reaps no
//!   other child that reuses the pid, as far as the OS can tell. Unless std has the status already,
//!   it returns `reaped_elsewhere()`.
//! - `is_pid_in_use(pid)`: whether a process has the pid, or may have it, where a child that is
//!   reaped loses it.
//! - `is_no_such_process(error)`, `is_fd_exhausted(error)`: what an error means.
//! - `Signal`, and `KILL`. `signal_pid(pid, signal, has_exited)` sends one to a process that the
//!   OS knows only by its pid, after the latest possible check (`false`: it has exited).
//! - `scope()`: where pids and start times mean the same as here. `None` if the OS does not show it.
//! - On Unix, process groups by number: `refuse_group(pid)`, an error for those that are never
//!   signaled; `leads_group(pid)`; and `signal_group_of(pid, signal, leads_group)`, which signals the
//!   group after the latest possible check (`false`: the process does not lead it, or it is empty).

mod buffer;
#[allow(dead_code)] // Not every poller needs it.
mod member_handle;
mod ready;
mod streams;
#[cfg(unix)]
pub(crate) use buffer::MAX_READ;
pub(crate) use buffer::{InputBuffer, OutputBuffer};
#[allow(unused_imports)] // On kqueue and without events, no member has a handle.
pub(crate) use member_handle::MemberHandle;
pub(crate) use member_handle::OwnsHandle;
pub(crate) use ready::{Ready, ReadyQueue, Token};
pub(crate) use streams::{Drained, Interest, Streams};

#[cfg(unix)]
#[allow(dead_code)] // No system needs all of it.
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        mod kqueue;
        #[allow(dead_code, unused_imports)] // Only the emulation uses it.
        mod linux;
        mod pid_probe;
        pub(crate) use {kqueue::*, pid_probe::Probe};
    } else if #[cfg(any(target_os = "linux", target_os = "android"))] {
        mod linux;
        pub(crate) use linux::*;
    } else if #[cfg(any(
        target_vendor = "apple",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
    ))] {
        mod kqueue;
        mod pid_probe;
        pub(crate) use {kqueue::*, pid_probe::Probe};
    } else if #[cfg(any(target_os = "illumos", target_os = "solaris"))] {
        mod illumos;
        mod pid_probe;
        pub(crate) use illumos::*;
    } else if #[cfg(windows)] {
        mod pid_probe;
        mod windows;
        pub(crate) use {pid_probe::Probe, windows::*};
    } else {
        mod pid_probe;
        pub(crate) use {
            pid_probe::Probe,
            unix::{child::{peek_child, try_wait}, no_events::*, posix::*},
        };
    }
}

// The tests of these run on every Linux.
#[cfg(all(test, target_os = "linux", not(kqueue_on_linux)))]
#[allow(dead_code)]
#[path = "kqueue/rules.rs"]
mod kqueue_rules;
#[cfg(all(test, target_os = "linux"))]
#[path = "illumos/psinfo.rs"]
mod psinfo;

// These systems can only be asked about a pid, so there is nothing to check before the call.
#[cfg(any(kqueue_on_linux, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) use self::try_wait as try_wait_unless_reused;

use crate::{Backend, Exit, deadline::Deadline, pid::Pid};
use std::{fmt::Debug, io, sync::Arc, time::Duration};

/// A process that is watched by events.
pub(crate) trait ProcessHandle: Debug + Sized {
    /// `None` if the system has no events for processes, and `open` always fails.
    const BACKEND: Option<Backend>;
    /// The system call of `open`, for errors.
    const OPEN_CALL: &str;
    /// The system call of `wait`, for errors.
    const WAIT_CALL: &str;
    /// The system call of `signal` and `signal_group`, for errors.
    const SIGNAL_CALL: &str = "kill";

    /// How often to check a process that is watched, where the OS can miss exits.
    fn recheck_interval() -> Option<Duration> {
        None
    }

    fn open(pid: Pid) -> io::Result<Self>;

    /// Whether `open` failed because this system, or this sandbox, has no such events at all.
    fn is_unsupported(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::Unsupported
    }

    /// Sleeps until the exit event, or until the deadline (`None`). The event can be spurious.
    fn wait(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>>;

    /// How the process exited, after an event. `None` if the event was spurious.
    fn exit(&self) -> io::Result<Option<Exit>>;

    /// An error of kind `Unsupported` if the OS can only signal a pid.
    fn signal(&self, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a signal to the process group whose leader is, or was, this process. An error of kind
    /// `Unsupported` if the OS can only signal a group by its number.
    #[cfg(unix)]
    fn signal_group(&self, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What the OS reports about this very process to its parent. `None` if the OS can only be
    /// asked about a pid, which another child may have by now.
    fn child_state(&self) -> Option<ChildState> {
        None
    }

    /// Whether the process has been reaped, so that another one can have its pid.
    fn is_reaped(&self) -> Option<bool> {
        None
    }

    /// Whether a process that is known to have exited has been reaped. False if that is unknown.
    fn zombie_is_reaped(&self) -> bool {
        self.is_reaped() == Some(true)
    }

    /// Whether this is the process of another handle with the same pid, even if it has been reaped.
    /// `None` if the OS does not say.
    fn is_same_process(&self, _: &Self) -> Option<bool> {
        None
    }

    /// When the process started, in a unit of the system, the same for everyone within a [`Scope`].
    /// `None` if the OS does not show it, or the process has been reaped.
    fn start_time(&self) -> Option<u64> {
        None
    }

    /// Becomes readable, or signaled, with the event, and stays so. `None` in a forked child
    /// that did not inherit it.
    fn as_event(&self) -> Option<BorrowedEvent<'_>>;
}

/// The event that a process has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitEvent {
    /// It has not been reaped yet, so it still has its pid.
    #[allow(dead_code)] // Only Linux reports that.
    Zombie,
    /// It may have been reaped.
    Exited,
}

/// Waits for many processes.
pub(crate) trait SetPoller: Debug + Sized {
    type Member: SetMember;

    /// Whether an exit event can be late. Then all members are also checked before a wait returns
    /// without an exit.
    const HAS_LATE_EVENTS: bool = false;

    /// How often to check all members, where an exit event can be late or missing.
    fn sweep_interval() -> Option<Duration> {
        Handle::recheck_interval()
    }

    fn new() -> io::Result<Self>;

    fn insert(&mut self, pid: Pid, token: Token, ready: &ReadyQueue) -> io::Result<Self::Member>;

    /// Watches a process that is open already. Some systems register a pid, so the caller must check
    /// afterwards that the process has not exited.
    fn insert_open(
        &mut self,
        process: Arc<dyn OwnsHandle>,
        token: Token,
        ready: &ReadyQueue,
    ) -> io::Result<Self::Member>;

    /// Forgets a member that has not been reported as ready.
    fn remove(&mut self, _: &Self::Member, _: &ReadyQueue) {}

    /// Sleeps until members are ready and adds them to `ready`, or until the wake event is signaled
    /// again, or until the deadline. Can return early.
    fn wait(&mut self, ready: &ReadyQueue, deadline: Deadline) -> io::Result<()>;

    /// Adds to `ready` all members that are ready now.
    fn take_events(&mut self, ready: &ReadyQueue) -> io::Result<()>;

    /// How a ready member exited. `None` if the event was spurious; then the next one will be
    /// reported, too. After an error, no further event of this member can be expected.
    fn exit(&mut self, member: &Self::Member, ready: Ready) -> io::Result<Option<Exit>>;

    /// Checks a member without waiting for its event.
    fn check(
        &self,
        member: &Self::Member,
        token: Token,
        ready: &ReadyQueue,
    ) -> io::Result<Option<Exit>>;

    /// The same at each call. An error if there are no descriptors.
    fn wake_event(&self, ready: &ReadyQueue) -> io::Result<Arc<dyn WakeEvent>>;

    /// Becomes readable, or signaled, when there is something to wait for: ready members or the wake
    /// event. It stays so until the next `wait`. `None` in a forked child.
    fn as_event(&self) -> Option<BorrowedEvent<'_>>;
}

/// Ends the wait of a `Poller` from another thread.
pub(crate) trait WakeEvent: Debug + Send + Sync {
    /// Ends the `wait` that is under way, or else the next one.
    fn signal(&self);

    /// Undoes a signal that no `wait` has found.
    fn reset(&self);
}

/// A process in a `Poller`.
pub(crate) trait SetMember: Debug {
    /// As for a `ProcessHandle`.
    fn signal(&self, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As for a `ProcessHandle`.
    fn is_reaped(&self) -> Option<bool> {
        None
    }

    /// As for a `ProcessHandle`.
    fn zombie_is_reaped(&self) -> bool {
        self.is_reaped() == Some(true)
    }

    /// As for a `ProcessHandle`.
    fn is_same_process(&self, _: &Handle) -> Option<bool> {
        None
    }
}

/// A process that is polled.
pub(crate) trait ProcessProbe: Debug + Sized {
    type Fingerprint: PartialEq;

    /// The system call of `check`, for errors.
    const CALL: &str;

    /// `None` if no process has this pid.
    fn open(pid: Pid, keep: KeepFd) -> io::Result<Option<(Self, State)>>;

    fn check(&mut self) -> io::Result<State>;

    /// Whether the last check saw the process that was meant, and not only its pid.
    fn is_verified(&self) -> bool;

    /// Makes it report no status from now on: another process may have had the pid when it was opened.
    fn mark_unverified(&mut self);

    /// As for a `ProcessHandle`.
    fn signal(&mut self, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As for a `ProcessHandle`, but fails with `ESRCH` for a process that has been reaped.
    #[cfg(unix)]
    fn signal_group(&self, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// As for a `ProcessHandle`.
    fn child_state(&self) -> Option<ChildState> {
        None
    }

    /// As for a `ProcessHandle`.
    fn zombie_is_reaped(&self) -> bool;

    /// As for a `ProcessHandle`.
    fn start_time(&mut self) -> Option<u64>;

    /// Distinguishes the process from a later one with its pid, also after it was reaped. `None` if
    /// the OS does not show it.
    fn fingerprint(&self) -> Option<Self::Fingerprint>;
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// All threads have ended, and the process is a zombie.
    Exited(Exit),
    Reaped,
}

impl State {
    /// `None` if it is still running.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            State::Running => None,
            State::Exited(exit) => Some(exit),
            State::Reaped => Some(Exit::UNKNOWN),
        }
    }
}

/// Where pids and start times can be compared. What a system does not have is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// Distinguishes this boot of the system from others.
    pub(crate) boot: u128,
    pub(crate) pid_namespace: u64,
}

/// Whether `Scope::boot` is the time of the boot, which moves when the clock is set.
pub(crate) const BOOT_IS_TIME: bool = cfg!(any(target_os = "openbsd", kqueue_on_linux));

impl Scope {
    /// Of a system whose start times are those of a clock, so that they differ after a boot.
    #[allow(dead_code)] // Some systems need more.
    pub(crate) const NOTHING_BUT_TIME: Scope = Scope {
        boot: 0,
        pid_namespace: 0,
    };
}

/// What the OS reports about a process to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // Not every system has all of them.
pub(crate) enum ChildState {
    NotAChild,
    Running,
    /// It is traced by this process, and stopped.
    Stopped,
    Exited(Exit),
}

/// Whether a probe may keep a descriptor open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepFd {
    Always,
    /// Unless it is one of those that are reserved for the rest of the program.
    UnlessReserved,
}

/// What a process table shows of a pid.
#[derive(Debug)]
#[allow(dead_code)] // Linux reads an open file instead.
pub(crate) struct Snapshot<Fingerprint> {
    /// What distinguishes the process from a later one with its pid: the time at which it
    /// started, or what stands in for that. `None` if the OS does not show it.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Whether it is known to be a child of ours.
    pub(crate) is_child: bool,
    /// How it exited, if it is a zombie.
    pub(crate) exit: Option<Exit>,
}

/// An event that is registered with an async runtime.
#[cfg(any(feature = "tokio", feature = "async-io"))]
pub(crate) trait Registration: Sized + Send + Sync {
    /// Whether an event that happened before the registration is reported as well.
    const REPORTS_PAST_EVENTS: bool;

    fn new(event: BorrowedEvent<'_>, interest: Interest) -> io::Result<Self>;

    /// Completes with the first event, which can be spurious. An error if the runtime is gone.
    fn ready(&self) -> impl std::future::Future<Output = io::Result<()>> + Send;
}
