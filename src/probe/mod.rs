//! What the OS tells of a pid without being waited on: is it alive, and since
//! when? One file per family of systems, all with the same face:
//!
//! - `look(pid)` is what there is to see now, `CALL` the call that it fails by;
//! - `peek_child(pid)` is what the OS tells the parent, without reaping;
//! - `block_on_child(pid)` waits for that;
//! - a `Mark` sets a process apart from a later one with the same pid.

use crate::Exit;

cfg_if::cfg_if! {
    if #[cfg(any(target_os = "linux", target_os = "android"))] {
        pub(crate) mod child;
        mod linux;
        pub(crate) mod procfs;
        pub(crate) use linux::{CALL, Mark, look, zombie_exit};
    } else if #[cfg(target_os = "macos")] {
        mod child;
        mod macos;
        mod null_signal;
        pub(crate) use macos::{CALL, Mark, look};
        pub(crate) use null_signal::exists;
    } else if #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))] {
        mod bsd;
        mod child;
        mod null_signal;
        pub(crate) use bsd::{CALL, Mark, look};
        pub(crate) use null_signal::exists;
    } else if #[cfg(any(target_os = "netbsd", target_os = "openbsd"))] {
        mod bsd;
        mod null_signal;
        pub(crate) use bsd::{CALL, Mark, look};
        use bsd::child;
        pub(crate) use null_signal::exists;
    } else if #[cfg(windows)] {
        mod windows;
        pub(crate) use windows::{CALL, Mark, look};
        use windows::child;
    } else {
        mod child;
        mod null_signal;
        mod unix;
        pub(crate) use null_signal::exists;
        pub(crate) use unix::{CALL, Mark, look};
    }
}

pub(crate) use child::{block as block_on_child, peek_child};

/// What is seen of a pid. Without a mark where the OS shows none.
#[derive(Debug)]
#[allow(dead_code)] // Some systems do not show all.
pub(crate) enum Look {
    /// No process has it. (A thread's id is no process's.)
    Gone,
    Running(Option<Mark>),
    /// All its threads have ended, and it is not yet reaped.
    Exited(Option<Mark>, Exit),
}

/// What the OS tells of a pid to the process's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // As above.
pub(crate) enum Child {
    NotOurs,
    Running,
    Exited(Exit),
}
