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
//! process handle on Windows. Where that fails, because the kernel is too old, a
//! sandbox forbids it or descriptors have run out, it polls instead, with growing
//! pauses, within the same deadline.
//!
//! - [`wait_pid`] is for most.
//! - [`Process`] holds a process over several waits, so that its pid cannot come to
//!   mean another one in between.
//! - [`ChildExt`] gives [`std::process::Child`] a wait with a timeout.
//! - [`WaitSet`] waits for many at once, [`wait_any`] for the first of them and
//!   [`wait_all`] for all.
//!
//! # What it means to have exited
//!
//! - A process has exited when all its threads have ended. A zombie has exited:
//!   its parent need not reap it first.
//! - A stopped, traced or suspended process has not exited. `execve` is no exit.
//! - Waiting takes nothing from anyone. No child is reaped, so that its owner's
//!   [`Child::wait`](std::process::Child::wait) still gets its status; no signal
//!   handler or mask is touched, no thread started. Only [`ChildExt`], which has
//!   the `Child` itself, reaps it.
//! - One may wait for oneself, and waits in vain.
//!
//! # Caveats
//!
//! - A pid is a number that the OS gives away again once its process has been
//!   reaped. From [`Process::open`] on we hold the process and not the number,
//!   but whether the number still meant the right process then, only its owner
//!   knows.
//! - A child that was forked by hand stays a zombie until its owner reaps it,
//!   waited for or not.

#[cfg(not(any(unix, windows)))]
compile_error!("procwait waits for processes, and this target has none");

#[allow(unsafe_code)]
mod backend;
mod child;
mod deadline;
mod error;
mod exit;
mod pid;
#[allow(unsafe_code)]
mod probe;
mod process;
mod set;

pub use crate::{
    backend::Backend,
    child::ChildExt,
    error::Error,
    exit::Exit,
    process::{Process, wait_pid},
    set::{WaitAll, WaitSet, wait_all, wait_any},
};

#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_procfs(bytes: &[u8]) {
    probe::procfs::fuzz(bytes);
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
