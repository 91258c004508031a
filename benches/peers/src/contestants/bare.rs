//! The system calls with nothing around them: the floor.

use crate::child::pid;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{BorrowedFd, OwnedFd},
    process::{
        PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, WaitStatus, pidfd_open,
        waitid, waitpid,
    },
};
use std::time::Duration;

pub fn open(child: u32) -> OwnedFd {
    pidfd_open(pid(child), PidfdFlags::empty()).unwrap()
}

pub fn is_readable_within(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// Leaves it to be reaped.
pub fn peek(id: WaitId<'_>) -> Option<WaitIdStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(id, options).unwrap()
}

pub fn try_reap(child: u32) -> Option<WaitStatus> {
    let reaped = waitpid(Some(pid(child)), WaitOptions::NOHANG).unwrap();
    reaped.map(|(_, status)| status)
}
