//! Linux 5.3 and later: a pidfd, which polls as readable once the process has exited.

use super::{
    probe::{child_state_by_pid, zombie_exit_of_pidfd},
    procfs::{self, StatFile},
    syscalls::{
        is_kernel_at_least, pidfd_exit_status, pidfd_open, pidfd_pid, pidfd_send_signal,
        pidfd_signal_group, status_flags,
    },
};
use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{
        BorrowedEvent, ChildState, ExitEvent, ProcessHandle, Signal,
        unix::{
            child,
            fd::{GuardedFd, above_standard_streams},
            file::fstat,
            poll::revents,
        },
    },
};
use rustix::{
    event::PollFlags,
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    io::{Errno, FdFlags, fcntl_setfd},
};
use std::{io, time::Duration};

#[derive(Debug)]
pub(crate) struct Handle {
    pidfd: GuardedFd,
    /// In our pid namespace. `None` if it was adopted, and the kernel does not report its pid.
    pid: Option<Pid>,
}

impl ProcessHandle for Handle {
    const BACKEND: Option<Backend> = Some(Backend::PidFd);
    const OPEN_CALL: &str = "pidfd_open";
    const WAIT_CALL: &str = "ppoll";
    const SIGNAL_CALL: &str = "pidfd_send_signal";

    fn open(pid: Pid) -> io::Result<Handle> {
        let pidfd = above_standard_streams(pidfd_open(pid)?)?.into();
        let pid = Some(pid);
        Ok(Handle { pidfd, pid })
    }

    /// Everyone may open any process (pidfd_open(2)), so it is a sandbox that refuses.
    fn is_unsupported(error: &io::Error) -> bool {
        matches!(
            error.kind(),
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
        )
    }

    /// The pidfd can be readable for a moment while the process lives and another of its threads
    /// takes over the pid, in `execve` (fs/exec.c, de_thread).
    ///
    /// Since Linux 6.9, `poll` also reports POLLHUP once the process has been reaped (fs/pidfs.c,
    /// pidfd_poll). This relies on that only since 6.15, which documents it
    /// (include/uapi/linux/pidfd.h, PIDFD_INFO_EXIT).
    fn wait(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        let mut revents = PollFlags::empty();
        deadline.sleep(|timeout| {
            revents = self.revents(timeout)?;
            Ok(!revents.is_empty())
        })?;
        Ok(if revents.is_empty() {
            None
        } else if !revents.contains(PollFlags::HUP) && is_kernel_at_least(6, 15) {
            Some(ExitEvent::Zombie)
        } else {
            Some(ExitEvent::Exited)
        })
    }

    fn exit(&self) -> io::Result<Option<Exit>> {
        if let Some(exit) = self.read_exit()? {
            return Ok(Some(exit));
        }
        let is_readable = !self.revents(Some(Duration::ZERO))?.is_empty();
        Ok(is_readable.then_some(Exit::UNKNOWN))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok((self.pidfd).with(|pidfd| pidfd_send_signal(pidfd.as_fd(), signal))?)
    }

    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        Ok((self.pidfd).with(|pidfd| pidfd_signal_group(pidfd.as_fd(), signal))?)
    }

    /// By the pidfd; or by the pid where that is not possible: before Linux 5.4, and in sandboxes
    /// that deny `waitid`.
    fn child_state(&self) -> Option<ChildState> {
        let state = (self.pidfd).with(|pidfd| child::peek_pidfd(pidfd.as_fd()));
        let state = state.ok()?;
        state.or_else(|| child_state_by_pid(self.as_fd(), self.pid?))
    }

    /// By the null signal, which a zombie can be sent (kill(2)). By /proc where that is refused.
    fn is_reaped(&self) -> Option<bool> {
        match (self.pidfd).with(|pidfd| pidfd_send_signal(pidfd.as_fd(), 0)) {
            Ok(()) => Some(false),
            Err(Errno::SRCH) => Some(true),
            Err(Errno::BADF) => None,
            Err(_) => procfs::pidfd_is_reaped(self.as_fd().as_raw_fd()),
        }
    }

    /// By the inode, which only that process's pidfds have (fs/pidfs.c, since Linux 6.9).
    fn is_same_process(&self, other: &Handle) -> Option<bool> {
        if !is_kernel_at_least(6, 9) {
            return None;
        }
        let inode = |handle: &Handle| handle.pidfd.with(|pidfd| Ok(fstat(pidfd)?.st_ino));
        Some(inode(self).ok()? == inode(other).ok()?)
    }

    /// The file is of this very process if that still has its pid when the file has been read. A
    /// forked child can be in another pid namespace, where it has not.
    fn start_time(&self) -> Option<u64> {
        let stat = StatFile::open(self.pid?).ok()?.read().ok()?;
        let has_pid = procfs::pid_of_pidfd(self.as_fd().as_raw_fd()) == self.pid;
        (has_pid && procfs::shows_our_pid_namespace()).then_some(stat.start)
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        Some(self.as_fd())
    }
}

impl Handle {
    /// The process of a pidfd that another program has opened.
    pub(crate) fn adopt(pidfd: OwnedFd) -> io::Result<Handle> {
        require_pidfd(pidfd.as_fd())?;
        // PIDFD_THREAD is O_EXCL (include/uapi/linux/pidfd.h). Such a pidfd polls as readable once
        // that one thread has ended.
        if status_flags(pidfd.as_fd())? & libc::O_EXCL != 0 {
            return Err(refusal("it is the pidfd of a thread (PIDFD_THREAD)"));
        }
        fcntl_setfd(&pidfd, FdFlags::CLOEXEC)?;
        let pidfd = above_standard_streams(pidfd)?;
        let pid = pidfd_pid(pidfd.as_fd()).or_else(|| {
            let pid = procfs::pid_of_pidfd(pidfd.as_raw_fd())?;
            procfs::shows_our_pid_namespace().then_some(pid)
        });
        let pidfd = pidfd.into();
        Ok(Handle { pidfd, pid })
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Does not wait. Where a sandbox denies `poll`, /proc shows whether it has exited.
    pub(super) fn check(&self) -> io::Result<Option<Exit>> {
        match self.wait(Deadline::Now) {
            Ok(Some(_)) => self.exit(),
            Ok(None) => Ok(None),
            Err(error) if self.pidfd.is_disowned() => Err(error),
            Err(error) => match procfs::pidfd_has_exited(self.as_fd().as_raw_fd()) {
                Some(true) => Ok(self.read_exit()?.or(Some(Exit::UNKNOWN))),
                Some(false) => Ok(None),
                None => Err(error),
            },
        }
    }

    /// How the process exited: the wait status of a child, what the kernel keeps of a reaped
    /// process, or what /proc shows of a zombie. `None` if it has not exited, or that is unknown.
    fn read_exit(&self) -> Result<Option<Exit>, Errno> {
        let state = (self.pidfd).with(|pidfd| child::peek_pidfd(pidfd.as_fd()))?;
        if let Some(ChildState::Exited(exit)) = state {
            return Ok(Some(exit));
        }
        Ok((self.reaped_exit())
            .or_else(|| zombie_exit_of_pidfd(self.as_fd(), self.pid))
            // It may have been reaped since.
            .or_else(|| self.reaped_exit()))
    }

    fn reaped_exit(&self) -> Option<Exit> {
        pidfd_exit_status(self.as_fd()).map(exit_of_reaped)
    }

    fn revents(&self, timeout: Option<Duration>) -> Result<PollFlags, Errno> {
        self.pidfd.with(|pidfd| readable(pidfd.as_fd(), timeout))
    }
}

/// By `waitid`, or by /proc where that is denied.
fn require_pidfd(fd: BorrowedFd<'_>) -> io::Result<()> {
    let is_pidfd = match child::peek_pidfd(fd) {
        Ok(Some(_)) => true,
        Ok(None) => procfs::is_pidfd(fd.as_raw_fd()),
        Err(_) => false,
    };
    if is_pidfd {
        Ok(())
    } else {
        Err(refusal("the descriptor is not a pidfd"))
    }
}

fn refusal(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The kernel keeps the status of the first thread (fs/pidfs.c, pidfs_exit). If another thread dumped
/// core, the flag for that is missing.
fn exit_of_reaped(status: i32) -> Exit {
    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT};
    use libc::{SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ};
    match status & 0xFF {
        // The signals that dump core (signal(7)), without the flag.
        signal @ (SIGABRT | SIGBUS | SIGFPE | SIGILL | SIGQUIT | SIGSEGV | SIGSYS | SIGTRAP
        | SIGXCPU | SIGXFSZ) => Exit::killed_by(signal),
        _ => Exit::from_raw(status),
    }
}

/// Polls for POLLIN. EBADF if other code has closed the descriptor.
pub(super) fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<PollFlags, Errno> {
    let revents = revents(fd, PollFlags::IN, timeout)?;
    if revents.is_empty() || revents.intersects(PollFlags::IN | PollFlags::HUP) {
        Ok(revents)
    } else {
        Err(Errno::BADF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_core_flag_is_unknown() {
        for signal in [libc::SIGSEGV, libc::SIGABRT] {
            assert_eq!(exit_of_reaped(signal), Exit::killed_by(signal));
            let dumped = 0x80 | signal;
            assert_eq!(exit_of_reaped(dumped), Exit::from_raw(dumped));
        }
        for status in [libc::SIGKILL, libc::SIGTERM, 0, 3 << 8, libc::SIGSEGV << 8] {
            assert_eq!(exit_of_reaped(status), Exit::from_raw(status));
        }
    }
}
