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

#[cfg(unix)]
#[allow(dead_code)] // Not each system needs all of it.
pub(crate) mod descriptors;

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        mod by_number;
        #[allow(dead_code)]
        mod linux;
        #[path = "child.rs"]
        mod linux_child;
        #[path = "../../tests/emulation/process_table.rs"]
        pub(crate) mod process_table;
        pub(crate) mod procfs;
        pub(crate) use by_number::View;
        pub(crate) use linux::{
            child_state_of_pidfd, is_at_least, send_signal, zombie_exit_of_pidfd,
        };
        pub(crate) use process_table::{CALL, Mark, child, exists, is_sure_to_live, sight};
    } else if #[cfg(any(target_os = "linux", target_os = "android"))] {
        pub(crate) mod child;
        mod linux;
        pub(crate) mod procfs;
        pub(crate) use linux::{
            CALL, View, child_state_of_pidfd, is_at_least, is_sure_to_live, send_signal,
            try_wait_unless_reused, zombie_exit_of_pidfd,
        };
    } else if #[cfg(target_os = "macos")] {
        mod by_number;
        mod child;
        mod macos;
        mod null_signal;
        pub(crate) use by_number::View;
        pub(crate) use macos::{CALL, Mark, is_sure_to_live, sight};
        pub(crate) use null_signal::exists;
    } else if #[cfg(any(target_os = "freebsd", target_os = "dragonfly"))] {
        mod bsd;
        mod by_number;
        mod child;
        mod null_signal;
        pub(crate) use bsd::{CALL, Mark, is_sure_to_live, sight};
        pub(crate) use by_number::View;
        pub(crate) use null_signal::exists;
    } else if #[cfg(any(target_os = "netbsd", target_os = "openbsd"))] {
        mod bsd;
        mod by_number;
        mod null_signal;
        pub(crate) use bsd::{CALL, Mark, is_sure_to_live, sight};
        use bsd::child;
        pub(crate) use by_number::View;
        pub(crate) use null_signal::exists;
    } else if #[cfg(any(target_os = "illumos", target_os = "solaris"))] {
        mod by_number;
        mod child;
        mod null_signal;
        mod psinfo_rules;
        mod solaris;
        mod unix;
        pub(crate) use by_number::View;
        pub(crate) use null_signal::exists;
        pub(crate) use solaris::{CALL, Mark, PsinfoFile, sight};
        pub(crate) use unix::is_sure_to_live;
    } else if #[cfg(windows)] {
        mod by_number;
        mod windows;
        pub(crate) use by_number::View;
        pub(crate) use windows::{CALL, Mark, is_sure_to_live, sight};
        use windows::child;
    } else {
        mod by_number;
        mod child;
        mod null_signal;
        mod unix;
        pub(crate) use by_number::View;
        pub(crate) use null_signal::exists;
        pub(crate) use unix::{CALL, Mark, is_sure_to_live, sight};
    }
}

// Its tests run everywhere.
#[cfg(all(test, target_os = "linux"))]
mod psinfo_rules;

// Elsewhere, nothing but the pid can be asked about anyway.
#[cfg(any(kqueue_on_linux, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) use child::try_wait as try_wait_unless_reused;
pub(crate) use child::{peek_child, try_wait};

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
