//! Windows.

mod file_type;
mod handle;
mod overlapped;
mod pipes;
mod poller;
#[cfg(any(feature = "tokio", feature = "async-io"))]
mod runtime;
mod snapshot;
mod wait;
mod wake_event;
mod writer;

#[cfg(feature = "async-io")]
pub(crate) use self::runtime::HandleRegistration as AsyncIoRegistration;
#[cfg(feature = "tokio")]
pub(crate) use self::runtime::HandleRegistration as TokioRegistration;
pub(crate) use self::{
    handle::{Handle, KILL, Signal, scope, signal_pid},
    overlapped::PendingWrite,
    poller::{Member, Poller},
    snapshot::{Fingerprint, SNAPSHOT_CALL, snapshot},
};
pub(super) use self::{pipes::Stream, writer::Input};
pub(crate) use std::os::windows::io::BorrowedHandle as BorrowedEvent;

use super::ChildState;
use crate::pid::Pid;
use std::{
    io,
    process::{Child, ExitStatus},
};

/// Windows reports no more to parents than to others.
pub(crate) fn peek_child(_: Pid) -> ChildState {
    ChildState::NotAChild
}

pub(crate) fn try_wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    child.try_wait()
}

/// The handle of a `Child` keeps its pid, so no other process has it.
pub(crate) fn is_pid_in_use(_: Pid) -> bool {
    false
}

/// A `Child` has a handle, so this does not happen.
pub(crate) fn reaped_elsewhere() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// Windows has no error that says just that.
pub(crate) fn is_no_such_process(_: &io::Error) -> bool {
    false
}

/// The number of handles has no limit of its own.
pub(crate) fn is_fd_exhausted(_: &io::Error) -> bool {
    false
}
