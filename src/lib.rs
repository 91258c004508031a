//! Waits for the exit of any process, on any operating system.
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
//! The process need not be a child of ours. The wait is asleep in the kernel
//! until the exit happens: by pidfd on Linux, by kqueue on macOS and the BSDs, by a
//! process handle on Windows, by `/proc/PID/psinfo` on illumos and Solaris. Where that
//! fails, because the kernel is too old, a sandbox forbids it or descriptors have run
//! out, it polls instead, with growing pauses, within the same deadline.
//!
//! - [`wait_pid`] is for most.
//! - [`Process`] holds a process over several waits, so that its pid cannot come to
//!   mean another one in between. It can be [killed](Process::kill), sent signals and
//!   asked to stop, while other threads wait for it.
//! - On tokio and on async-io it can be awaited, with the features of these names.
//! - [`ChildExt`] gives [`std::process::Child`] a wait with a timeout, which reads its output
//!   meanwhile if you like; [`CommandExt`] is for a whole command.
//! - [`WaitSet`] waits for many at once, [`wait_any`] for the first of them and
//!   [`wait_all`] for all.
//!
//! # What it means to have exited
//!
//! - A process has exited when all its threads have ended. A zombie has exited:
//!   its parent need not reap it first.
//! - A stopped, traced or suspended process has not exited. `execve` is no exit.
//! - Waiting reaps no child, so that its owner's
//!   [`Child::wait`](std::process::Child::wait) still gets its status; it touches no
//!   signal handler or mask, and starts no thread. Only [`ChildExt`] and [`CommandExt`], which
//!   have the `Child` itself, reap it. (On Windows the system's own thread pool waits for
//!   what is in a [`WaitSet`] or awaited.)
//! - Waiting for oneself is allowed, and never returns.
//!
//! # What stands for a process
//!
//! A pid is a number that the OS gives away again once its process has been reaped.
//! Whether it still means the right process when [`wait_pid`], [`Process::open`] or
//! [`WaitSet::insert`] is called, only the process's owner knows. From then on
//!
//! - a pidfd, a kqueue, a process handle or an open `/proc/PID/psinfo` holds the process,
//!   whoever has its pid later;
//! - where a process is polled on Linux, an open `/proc/PID/stat` holds it likewise;
//! - where there is no descriptor to be had, or a [`WaitSet`] leaves the last ones to the
//!   program, and on other systems, a polled process is known by its pid and the time at
//!   which it started, if the OS tells that;
//! - with no descriptor and no time either, the pid alone stands for the process. If that
//!   is given to another, the wait is for the other. What we know to be doubtful we do
//!   not tell: the status is unknown then.
//!
//! # What cannot be seen
//!
//! Without `/proc`, or a descriptor to read it by, nothing tells a zombie that is
//! somebody else's child from a living process. Where pidfds are not to be had either, it
//! counts as running until it is reaped.
//!
//! # Time
//!
//! Timeouts are measured by [`Instant`](std::time::Instant). On Linux and macOS that
//! clock stands still while the system is suspended, and so do they. Time in which we
//! ourselves are stopped counts; a process that exited meanwhile is reported when we go
//! on, even if the deadline has passed.
//!
//! # Fork
//!
//! A forked child may use its copy of a [`Process`]. A [`WaitSet`] is its parent's: see
//! there.

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
#[cfg(feature = "async-io")]
mod on_async_io;
#[cfg(feature = "tokio")]
mod on_tokio;
mod output;
mod pid;
#[allow(unsafe_code)]
mod probe;
mod process;
mod set;
mod signals;

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
