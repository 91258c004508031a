//! Wait for any process to exit, child or not, with a timeout.
//!
//! ```no_run
//! # use std::time::Duration;
//! # let pid = 1;
//! match procwait::wait_pid(pid, Some(Duration::from_secs(5)))? {
//!     Some(exit) => println!("{exit}"), // "exited with code 3"
//!     None => println!("still running"),
//! }
//! # Ok::<(), procwait::Error>(())
//! ```
//!
//! | To | use |
//! |---|---|
//! | wait for a pid, once | [`wait_pid`] |
//! | wait repeatedly, or from several threads | [`Process`] |
//! | kill, signal or stop it; signal its process group | [`kill`](Process::kill), [`send_signal`](Process#method.send_signal), [`stop`](Process#method.stop); [`send_signal_to_group`](Process#method.send_signal_to_group) |
//! | adopt a pidfd, or a process handle | [`Process::from_pidfd`](Process#method.from_pidfd), [`from_handle`](https://docs.rs/procwait/latest/x86_64-pc-windows-msvc/procwait/struct.Process.html#method.from_handle) |
//! | find the same process after a restart | [`Process::identity`], [`open_identity`](Process::open_identity) |
//! | wait for a [`Child`], stop it, share it | [`ChildExt::wait_timeout`], [`stop`](ChildExt#tymethod.stop), [`process`](ChildExt::process) |
//! | read its output, write its input | [`ChildExt::output_timeout`] |
//! | follow its output; read on after its exit | [`read_timeout`](ChildExt::read_timeout); [`read_to_end_timeout`](ChildExt::read_to_end_timeout) |
//! | run a [`Command`] with a timeout | [`CommandExt::output_timeout`] |
//! | … with input, or with a limit on its output | [`output_timeout_with`](CommandExt::output_timeout_with), [`Captured`] |
//! | wait for the next exit of many; interrupt that | [`WaitSet`]; [`waker`](WaitSet::waker) |
//! | wait for the first of a list, or for all | [`wait_any`], [`wait_all`] |
//! | await a process, the next exit of a set, output | [`Process::wait_on_tokio`], [`WaitSet`][`WaitSet::wait_on_tokio`], [`ChildExt`][`ChildExt::output_on_tokio`] |
//! | use your own event loop | [`Process::as_event_fd`](Process#method.as_event_fd), [`WaitSet::as_event_fd`](WaitSet#method.as_event_fd) |
//!
//! A wait sleeps in the kernel until the process exits: on a pidfd on Linux, a kqueue on
//! macOS and the BSDs, a process handle on Windows. Where that is not available (an old kernel,
//! a sandbox, no descriptors left, another Unix), it polls with exponential backoff, within the
//! same deadline.
//!
//! The methods that await need the feature `tokio` or `async-io` ([`Process::wait_on_async_io`] and so
//! on). async-io (used by smol and async-std) works with any executor.
//!
//! Recipes for a supervisor, a pid file, an init for a container and more are in `docs/recipes.md`.
//!
//! # What counts as exited
//!
//! - A process has exited once all of its threads have ended. A zombie has exited: its
//!   parent need not have reaped it.
//! - A stopped, suspended or traced process has not exited. `execve` is not an exit.
//! - You can wait for your own process, but only a timeout ends that wait.
//!
//! # Side effects
//!
//! None. No child is reaped, so [`Child::wait`](std::process::Child::wait) still gets its
//! status. No signal handler or mask is changed, and no thread is started. Exceptions:
//! [`ChildExt`] and [`CommandExt`] reap the child, as std does; on Windows, a [`WaitSet`]
//! and async waits use the system's thread pool; async-io can start the thread of its reactor;
//! and while tokio's clock is paused, a wait on tokio can start threads.
//!
//! # Pids
//!
//! Once a process has been reaped, the OS can give its pid to another one. So when you call
//! [`wait_pid`], [`Process::open`] or [`WaitSet::insert`], the pid must still be right. Only
//! the parent can make sure of that, by not reaping the process, and only if nothing else
//! reaps it either: `SIGCHLD` is not ignored, and no other thread calls `waitpid(-1)`. For a
//! [`Child`], use [`ChildExt`] and [`CommandExt`]: they verify that the process that they
//! have opened is a child of yours. A pidfd or a process handle that another program has opened
//! refers to its process, and so does an [`Identity`], which can be stored.
//!
//! Once it is open, the crate keeps to that process as well as the OS allows:
//!
//! - A pidfd, a kqueue or a process handle refers to this very process.
//! - So does the open `/proc/PID/stat` of a process that is polled on Linux, and
//!   `/proc/PID/psinfo` on illumos and Solaris.
//! - Otherwise, a polled process is identified by its pid and start time (on Windows by
//!   its pid, parent and program name).
//! - Where none of that is known, only the pid identifies it. If the pid is reused, the
//!   wait continues for the new process. A status that may belong to another process is
//!   reported as unknown.
//!
//! # Limits
//!
//! Without a pidfd and a readable `/proc`, and on systems without any process table, a
//! zombie that is not your child counts as running until it is reaped.
//!
//! Timeouts are measured by [`Instant`](std::time::Instant). On Linux and macOS that
//! clock stops while the system is suspended, and so do the timeouts. Time for which the
//! calling process is stopped (`SIGSTOP`) does count. An exit in that time is reported
//! when it continues, even after the deadline.
//!
//! A sandbox may refuse any system call, but must not kill the program for it: a filter that
//! does must allow what the crate tries first, on Linux `pidfd_open`, `epoll_pwait2`,
//! `preadv2`, `pwritev2` and `pidfd_send_signal`.
//!
//! After `fork`, the child can use its copy of a [`Process`] (see there), but should drop
//! its copy of a [`WaitSet`]. Its copy of a [`SetWaker`] does nothing.
//!
//! [`Child`]: std::process::Child
//! [`Command`]: std::process::Command
#![cfg_attr(
    not(feature = "tokio"),
    doc = "[`Process::wait_on_tokio`]: https://docs.rs/procwait/latest/procwait/struct.Process.html#method.wait_on_tokio\n[`WaitSet::wait_on_tokio`]: https://docs.rs/procwait/latest/procwait/struct.WaitSet.html#method.wait_on_tokio\n[`ChildExt::output_on_tokio`]: https://docs.rs/procwait/latest/procwait/trait.ChildExt.html#tymethod.output_on_tokio"
)]
#![cfg_attr(
    not(feature = "async-io"),
    doc = "[`Process::wait_on_async_io`]: https://docs.rs/procwait/latest/procwait/struct.Process.html#method.wait_on_async_io"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(any(unix, windows)))]
compile_error!("procwait waits for processes, and this target has none");

#[cfg(all(
    any(windows, target_os = "linux", target_os = "android"),
    not(kqueue_on_linux)
))]
mod adopt;
mod all;
mod backend;
mod backoff;
mod captured;
mod child;
mod child_process;
mod command;
mod deadline;
mod error;
mod exit;
mod identity;
mod lock;
mod open_process;
mod pid;
mod polling;
mod process;
mod set;
mod signal;
#[allow(unsafe_code)]
mod sys;
mod transfer;

// Last, so that the docs of `Process` do not begin with its methods.
#[cfg(any(feature = "tokio", feature = "async-io"))]
mod runtime;

pub use crate::{
    all::{WaitAll, wait_all, wait_any},
    backend::Backend,
    captured::Captured,
    child::{ChildExt, Progress},
    command::{CommandExt, TimedOutput, TimedStatus},
    error::Error,
    exit::Exit,
    identity::{Identity, ParseIdentityError},
    process::{Process, wait_pid},
    set::{SetWaker, WaitSet},
};

#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_procfs(bytes: &[u8]) {
    sys::fuzz_procfs(bytes);
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/recipes.md")]
struct Recipes;
