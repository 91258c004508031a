//! The means of waiting: one file per mechanism, the event backends all with
//! the same small face.
//!
//! - `Event::BACKEND` names it, `Event::OPEN` and `Event::WAIT` its calls;
//! - `open(pid)` takes hold of a process, and `is_unavailable(error)` is whether
//!   its failure was not about this process;
//! - `wait_event(deadline)` sleeps until its exit, or the deadline (`None`);
//! - `exit()` is how it exited, once it has, or that it has not after all (`None`);
//! - `send_signal(signal)`, or `kill()`, is for the process that is held; it fails where
//!   nothing holds it any more, or nothing but its number can be sent one;
//! - `is_reaped()` is whether its pid may have come to mean another process, if that can
//!   be told;
//! - `child_state()` is what the OS reports of this very process to its parent, or `None` if
//!   it can only be asked about a pid, which may be another child's by now;
//! - `as_event_fd()`, or `as_handle()`, is what a reactor can wait for.
//!
//! And beside it for many processes at once, with the same code for each:
//!
//! - `Reactor::new()` has none yet; `insert(pid, token)` takes hold of one, and
//!   `refuses_all(error)` is whether it would fail for others as well;
//! - `remove(member)` lets go of one that has not been told of;
//! - `wait(deadline)` sleeps until there is an exit (true) or the deadline (false);
//! - `ask(members, when)` looks for exits of which no event has told, where that may be;
//! - `next()` is an exit, by its token and with what the event told;
//! - `Member::exit(told)` is how the process exited, or that it has not (`None`), and
//!   `renew(member, token)` then waits for it again;
//! - `has_exited(member, token)` is whether it has, as far as is known by now;
//! - `Member::look()` is how, without any event, or an error if only events tell;
//! - `Member::zombie_is_reaped()` is whether a member that has exited has been reaped, so that
//!   another process can have its pid, or false if that is not known.
//!
//! And for a task of an async runtime: see `awaited`.
//!
//! What the OS tells of a pid without being waited on: is it alive, and since
//! when? One file per family of systems, all with the same face:
//!
//! - `View::open(pid, keep)` is one process, to be looked at again and again, and what
//!   was seen at first; `View::look()` is what there is to see now, and `CALL` the
//!   call that it fails by; `View::doubt()` says that it may be another's;
//!   `View::child_state()` and `View::zombie_is_reaped()` are as for an event (`backend`);
//! - `peek_child(pid)` is what the OS tells the parent, without reaping, and
//!   `is_sure_to_live(pid)` whether a child that is running for its parent is no zombie;
//! - `try_wait(child)` reaps it, and `try_wait_unless_reused(child)` does not reap another
//!   child that has its pid by now, as far as that can be seen.
//!
//! Where a process can be asked for by its number only, `sight(pid)` is what there is
//! to see, and a `Mark` sets the process apart from a later one with the same number.

use crate::Exit;
use std::fmt;

#[cfg(any(feature = "tokio", feature = "async-io"))]
pub(crate) mod awaited;
mod sink;
#[cfg(unix)]
#[allow(dead_code)] // Not each system needs all of it.
mod unix;
pub(crate) use sink::Sink;
#[cfg(unix)]
pub(crate) use unix::{fd, kill::kill, pipes::Streams};

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        pub(crate) mod kqueue;
        #[allow(dead_code)]
        mod linux;
        mod pid_probe;
        pub(crate) use kqueue::{
            handle::{Kqueue as Event, Member},
            poller::Reactor,
            process_table::{CALL, Mark, child, exists, is_sure_to_live, sight},
        };
        pub(crate) use pid_probe::View;
    } else if #[cfg(any(target_os = "linux", target_os = "android"))] {
        mod linux;
        pub(crate) use linux::{
            handle::PidFd as Event,
            poller::{Member, Reactor},
            probe::{CALL, View, is_sure_to_live, try_wait_unless_reused},
        };
        use unix::child;
    } else if #[cfg(any(
        target_vendor = "apple",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
    ))] {
        mod kqueue;
        mod pid_probe;
        pub(crate) use kqueue::{
            handle::{Kqueue as Event, Member},
            poller::Reactor,
            table::{CALL, Mark, is_sure_to_live, sight},
        };
        use kqueue::child;
        pub(crate) use pid_probe::View;
        pub(crate) use unix::null_signal::exists;
    } else if #[cfg(any(target_os = "illumos", target_os = "solaris"))] {
        mod illumos;
        mod pid_probe;
        pub(crate) use illumos::{
            handle::{Member, Psinfo as Event, Reactor},
            probe::{CALL, Mark, sight},
        };
        pub(crate) use pid_probe::View;
        use unix::child;
        pub(crate) use unix::posix::is_sure_to_live;
    } else if #[cfg(windows)] {
        mod pid_probe;
        mod windows;
        pub(crate) use pid_probe::View;
        use windows::snapshot::child;
        pub(crate) use windows::{
            handle::{Handle as Event, kill_checked},
            pipes::Streams,
            poller::{Member, Reactor},
            snapshot::{CALL, Mark, is_sure_to_live, sight},
        };
    } else {
        mod pid_probe;
        pub(crate) use pid_probe::View;
        use unix::child;
        pub(crate) use unix::{
            posix::{CALL, Mark, is_sure_to_live, sight},
            unknown::{NoEvent as Event, NoMember as Member, NoReactor as Reactor},
        };
    }
}

// Their tests run everywhere.
#[cfg(all(test, target_os = "linux", not(kqueue_on_linux)))]
#[allow(dead_code)] // Some are tested by `.ci/kqueue` alone.
#[path = "kqueue/rules.rs"]
mod kqueue_rules;
#[cfg(all(test, target_os = "linux"))]
#[path = "illumos/poll_set.rs"]
mod poll_set;
#[cfg(all(test, target_os = "linux"))]
#[path = "illumos/psinfo.rs"]
mod psinfo;

// Elsewhere, nothing but the pid can be asked about anyway.
#[cfg(any(kqueue_on_linux, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) use child::try_wait as try_wait_unless_reused;
pub(crate) use child::{peek_child, try_wait};

/// Names a process in a set: its pid, and a generation, as the pid may be in the
/// set again for another process while news of the first are still on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) pid: u32,
    pub(crate) generation: u32,
}

impl From<u64> for Token {
    fn from(token: u64) -> Token {
        Token {
            pid: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

impl From<Token> for u64 {
    fn from(token: Token) -> u64 {
        (u64::from(token.generation) << 32) | u64::from(token.pid)
    }
}

/// The event that a process has exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitEvent {
    /// It has not been reaped yet, so its pid is its own.
    #[allow(dead_code)] // Linux alone reports that.
    Zombie,
    /// It may have been reaped.
    Exited,
}

/// News of an exit, with what the kernel told along with it, if it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fired {
    pub(crate) token: Token,
    pub(crate) told: Option<i64>,
}

/// A way to wait for a process.
///
/// ```
/// use procwait::{Backend, Process};
///
/// let this = Process::open(std::process::id())?;
/// if this.backend() == Backend::Polling {
///     println!("no events here: {:?}", this.fallback_cause());
/// }
/// # Ok::<(), procwait::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// A pidfd and `ppoll`: Linux 5.3 and later.
    PidFd,
    /// `kevent` with `EVFILT_PROC`: macOS and the BSDs.
    Kqueue,
    /// `/proc/PID/psinfo` and `poll`: illumos and Solaris.
    Psinfo,
    /// A process handle and `WaitForSingleObject`: Windows.
    Handle,
    /// Repeated checks with backoff from 0.1 ms to 40 ms, or more if a check is slow. Works
    /// everywhere.
    Polling,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::PidFd => "pidfd",
            Backend::Kqueue => "kqueue",
            Backend::Psinfo => "psinfo",
            Backend::Handle => "process handle",
            Backend::Polling => "polling",
        })
    }
}

/// What is seen of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It has been reaped.
    Gone,
    Running,
    /// All its threads have ended, and it is not yet reaped.
    Exited(Exit),
}

impl Look {
    /// `None`: it is still running.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Look::Running => None,
            Look::Exited(exit) => Some(exit),
            Look::Gone => Some(Exit::UNKNOWN),
        }
    }
}

/// Whether a view may keep a descriptor open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    Always,
    /// Only if enough are left to the rest of the program.
    IfSpare,
}

/// What is seen of a number.
#[derive(Debug)]
#[allow(dead_code)] // Linux asks in another way.
pub(crate) enum Sight<Mark> {
    /// No process has it. (A thread's id is no process's.)
    Gone,
    Seen {
        /// `None` where the OS shows none.
        mark: Option<Mark>,
        /// Whether it is a child of ours, as far as is told.
        is_ours: bool,
        /// Of a zombie: all its threads have ended, and it is not yet reaped.
        exit: Option<Exit>,
    },
}

/// The error that `Child::wait` returns for a child that was reaped elsewhere.
pub(crate) fn reaped_elsewhere() -> std::io::Error {
    cfg_if::cfg_if! {
        if #[cfg(unix)] {
            rustix::io::Errno::CHILD.into()
        } else {
            std::io::ErrorKind::NotFound.into()
        }
    }
}

/// What the OS tells of a pid to the process's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // As above.
pub(crate) enum Child {
    NotOurs,
    Running,
    /// It is traced by ourselves, and stopped.
    Stopped,
    Exited(Exit),
}
