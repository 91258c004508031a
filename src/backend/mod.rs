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

use std::fmt;

#[cfg(any(feature = "tokio", feature = "async-io"))]
pub(crate) mod awaited;
#[cfg(unix)]
mod by_number;
#[cfg(unix)]
pub(crate) use by_number::kill;
#[cfg(unix)]
mod pipes;
#[cfg(unix)]
pub(crate) use pipes::Streams;
#[cfg(unix)]
mod poll;
mod polling;
pub(crate) use polling::Polling;
#[cfg(unix)]
mod reader;
mod sink;
pub(crate) use sink::Sink;

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        mod kqueue;
        #[path = "../../tests/emulation/kqueue.rs"]
        mod kqueue_on_linux;
        mod kqueue_rules;
        mod kqueue_set;
        #[allow(dead_code)]
        mod pidfd;
        pub(crate) use kqueue::{Kqueue as Event, Member};
        pub(crate) use kqueue_set::Reactor;
    } else if #[cfg(any(target_os = "linux", target_os = "android"))] {
        mod epoll;
        mod pidfd;
        pub(crate) use epoll::{Member, Reactor};
        pub(crate) use pidfd::PidFd as Event;
    } else if #[cfg(any(
        target_vendor = "apple",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
    ))] {
        mod kqueue;
        mod kqueue_rules;
        mod kqueue_set;
        pub(crate) use kqueue::{Kqueue as Event, Member};
        pub(crate) use kqueue_set::Reactor;
    } else if #[cfg(any(target_os = "illumos", target_os = "solaris"))] {
        mod poll_set;
        mod psinfo;
        pub(crate) use psinfo::{Member, Psinfo as Event, Reactor};
    } else if #[cfg(windows)] {
        mod handle;
        mod overlapped;
        mod pool_wait;
        mod thread_pool;
        pub(crate) use handle::Handle as Event;
        pub(crate) use overlapped::Streams;
        pub(crate) use thread_pool::{Member, Reactor};
    } else {
        mod none;
        pub(crate) use none::{NoEvent as Event, NoMember as Member, NoReactor as Reactor};
    }
}

// Their tests run everywhere.
#[cfg(all(test, target_os = "linux", not(kqueue_on_linux)))]
#[allow(dead_code)] // Some are tested by `.ci/kqueue` alone.
mod kqueue_rules;
#[cfg(all(test, target_os = "linux"))]
mod poll_set;

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
