//! What the OS tells of a pid without being waited on: is it alive, and since
//! when? One file per family of systems, all with the same face:
//!
//! - `look(pid)` is what there is to see now, `CALL` the call that it fails by;
//! - `peek_child(pid)` is what the OS tells the parent, without reaping;
//! - `block_on_child(pid)` waits for that;
//! - a `Mark` sets a process apart from a later one with the same pid.

use crate::Exit;

cfg_if::cfg_if! {
    if #[cfg(unix)] {
        pub(crate) mod child;
        pub(crate) use child::{block as block_on_child, peek_child};
    }
}

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        pub(crate) mod procfs;
        pub(crate) use linux::{CALL, Mark, look, zombie_exit};
    } else {
        mod unix;
        pub(crate) use unix::{CALL, Mark, look};
    }
}

/// What is seen of a pid. Without a mark where the OS shows none.
#[derive(Debug)]
pub(crate) enum Look {
    /// No process has it. (A thread's id is no process's.)
    Gone,
    Running(Option<Mark>),
    /// All its threads have ended, and it is not yet reaped.
    Exited(Option<Mark>, Exit),
}

/// What the OS tells of a pid to the process's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    NotOurs,
    Running,
    Exited(Exit),
}
