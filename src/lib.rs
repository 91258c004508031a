//! Wait for any process to exit, child or not, with a timeout.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # let pid = 1;
//! match procwait::wait_pid(pid, Some(Duration::from_secs(5)))? {
//!     Some(exit) => println!("{exit}"), // "exited with code 3"
//!     None => println!("still running"),
//! }
//! # Ok::<(), procwait::Error>(())
//! ```
//!
//! The wait sleeps in the kernel until the process exits: on a pidfd on Linux, a kqueue on
//! macOS and the BSDs, a process handle on Windows, `/proc/PID/psinfo` on illumos and
//! Solaris. Where that is not available (an old kernel, a sandbox, no descriptors left), it
//! polls with exponential backoff, within the same deadline.
//!
//! # Which one do I want?
//!
//! | I have | and want to | so I use |
//! |---|---|---|
//! | a pid | wait for it once | [`wait_pid`] |
//! | a pid | hold on to the process: wait more than once, from several threads, [kill](Process::kill) it, [signal](Process#method.send_signal) it, [stop](Process#method.stop) it | [`Process`] |
//! | a [`Child`] | wait with a timeout | [`ChildExt::wait_timeout`] |
//! | a [`Child`] | wait with a timeout, and read its output meanwhile | [`ChildExt::output_timeout`] |
//! | a [`Command`] | run it, collect its output, kill it at a timeout | [`CommandExt::output_timeout`] |
//! | many pids | wait for one exit after the other | [`WaitSet`] |
//! | many pids | wait for the first of them to exit, or for all | [`wait_any`], [`wait_all`] |
//! | an async runtime | await a process | [`Process::wait_on_tokio`], [`Process::wait_on_async_io`] |
//!
//! The last two are behind the features `tokio` and `async-io`. async-io is the reactor of
//! smol and async-std, and works with any executor.
//!
//! # What counts as exited
//!
//! - A process has exited once all of its threads have ended. A zombie has exited: its
//!   parent need not have reaped it.
//! - A stopped, suspended or traced process has not exited. `execve` is not an exit.
//! - Waiting for your own process is allowed. It never returns, unless with a timeout.
//!
//! # Side effects
//!
//! None: no child is reaped, so that [`Child::wait`](std::process::Child::wait) still gets
//! its status; no signal handler or signal mask is touched; no thread is started. Only
//! [`ChildExt`] and [`CommandExt`], which have the `Child` itself, reap it. (On Windows, the
//! system's own thread pool waits for the processes of a [`WaitSet`] and for those that are
//! awaited.)
//!
//! # Pids
//!
//! A pid is a number, and once its process has been reaped, the OS gives it to another one.
//! Only the owner of a process knows whether the pid still means that process when
//! [`wait_pid`], [`Process::open`] or [`WaitSet::insert`] is called. From then on, what is
//! waited for stays the same process:
//!
//! - A pidfd, a kqueue, a process handle, or an open `/proc/PID/psinfo` holds it.
//! - Where a process is polled on Linux, an open `/proc/PID/stat` holds it.
//! - Where a process is polled without a descriptor, or on another system, it is identified
//!   by its pid and start time.
//! - Where not even the start time is known, the pid alone identifies it. If the pid is given
//!   to another process, the wait is for that one. A status that may be another process's is
//!   reported as unknown.
//!
//! # Limits
//!
//! Without `/proc` (or a descriptor to read it), a zombie that is not our child looks like a
//! running process. Where pidfds are not available either, it counts as running until it is
//! reaped.
//!
//! Timeouts are measured by [`Instant`](std::time::Instant). On Linux and macOS that clock
//! stops while the system is suspended, and so do the timeouts. Time during which our own
//! process is stopped counts. An exit in that time is reported as soon as we continue, even
//! if the deadline has passed.
//!
//! After `fork`, the child may use its copy of a [`Process`]. It should drop its copy of a
//! [`WaitSet`].
//!
//! [`Child`]: std::process::Child
//! [`Command`]: std::process::Command
#![cfg_attr(
    not(feature = "tokio"),
    doc = "[`Process::wait_on_tokio`]: https://docs.rs/procwait/latest/procwait/struct.Process.html#method.wait_on_tokio"
)]
#![cfg_attr(
    not(feature = "async-io"),
    doc = "[`Process::wait_on_async_io`]: https://docs.rs/procwait/latest/procwait/struct.Process.html#method.wait_on_async_io"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(unix, windows)))]
compile_error!("procwait waits for processes, and this target has none");

mod all;
#[cfg(any(feature = "tokio", feature = "async-io"))]
mod awaiting;
#[allow(unsafe_code)]
mod backend;
mod child;
mod command;
mod deadline;
mod error;
mod exit;
mod output;
mod pid;
#[allow(unsafe_code)]
mod probe;
mod process;
mod set;
mod signals;

// Last, so that the docs of `Process` do not begin with them.
#[cfg(feature = "async-io")]
mod on_async_io;
#[cfg(feature = "tokio")]
mod on_tokio;

pub use crate::{
    all::{WaitAll, wait_all, wait_any},
    backend::Backend,
    child::ChildExt,
    command::{CommandExt, TimedOutput},
    error::Error,
    exit::Exit,
    output::Captured,
    process::{Process, wait_pid},
    set::WaitSet,
};

#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_procfs(bytes: &[u8]) {
    probe::procfs::fuzz(bytes);
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
