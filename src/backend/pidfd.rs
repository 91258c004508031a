//! Linux 5.3 and later: a pidfd, which polls as readable once the process has
//! exited.

use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    probe::{self, procfs},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ioctl::{Opcode, Updater, ioctl, opcode},
};
use std::{io, time::Duration};

#[derive(Debug)]
pub(crate) struct PidFd {
    fd: OwnedFd,
    pid: Pid,
}

impl PidFd {
    pub(crate) const BACKEND: Option<Backend> = Some(Backend::PidFd);
    pub(crate) const OPEN: &str = "pidfd_open";
    pub(crate) const WAIT: &str = "ppoll";

    pub(crate) fn open(pid: Pid) -> io::Result<PidFd> {
        Ok(PidFd {
            fd: sys::open(pid)?,
            pid,
        })
    }

    /// No permission is needed: what is refused is the call, by a kernel that
    /// does not know it or by a sandbox.
    pub(crate) fn is_unavailable(error: &io::Error) -> bool {
        matches!(
            error.kind(),
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
        )
    }

    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| is_readable_within(self.as_fd(), longest))
    }

    /// How the process exited, from whoever knows: the child's wait status, what
    /// the kernel keeps of a reaped process, or what it shows of a zombie.
    pub(crate) fn exit(&self) -> Exit {
        sys::child_exit(&self.fd)
            .or_else(|| self.reaped_exit())
            .or_else(|| self.zombie_exit())
            // It may have been reaped while we looked for the zombie.
            .or_else(|| self.reaped_exit())
            .unwrap_or(Exit::UNKNOWN)
    }

    /// Linux 6.15 and later keep the status of a reaped process for those who
    /// had a pidfd of it, whoever they are.
    fn reaped_exit(&self) -> Option<Exit> {
        let mut info = PidfdInfo {
            mask: PIDFD_INFO_EXIT,
            ..PidfdInfo::default()
        };
        // SAFETY: the opcode says that the kernel reads and writes as many bytes
        // as `PidfdInfo` has, `info` is borrowed for as long as the call takes,
        // and any bytes are a valid `PidfdInfo`.
        let answer = unsafe { ioctl(&self.fd, Updater::<PIDFD_GET_INFO, _>::new(&mut info)) };
        // Without the bit in the answer the process was not reaped yet, and the
        // field means nothing.
        (answer.is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then(|| Exit::from_raw(info.exit_code))
    }

    /// As long as a process is a zombie, /proc shows its status.
    fn zombie_exit(&self) -> Option<Exit> {
        // That /proc may be of another pid namespace: look for it by the number
        // that it has there, and make sure that it had it until the end.
        let fd = self.fd.as_raw_fd();
        let shown = procfs::pid_of_pidfd(fd)?;
        let exit = probe::zombie_exit(shown, self.pid)?;
        (procfs::pid_of_pidfd(fd) == Some(shown)).then_some(exit)
    }

    /// Whether the pid may have come to mean another process.
    pub(crate) fn is_reaped(&self) -> bool {
        procfs::pidfd_is_reaped(self.fd.as_raw_fd())
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// To the nanosecond, which epoll has only since Linux 5.11.
pub(crate) fn is_readable_within(
    fd: BorrowedFd<'_>,
    longest: Option<Duration>,
) -> io::Result<bool> {
    let longest = longest.map(|longest| Timespec {
        tv_sec: longest.as_secs() as _,
        tv_nsec: longest.subsec_nanos() as _,
    });
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    Ok(poll(&mut fds, longest.as_ref())? > 0)
}

/// `struct pidfd_info` of the kernel's `linux/pidfd.h`, in its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    ids: [u32; 11],
    /// A wait status.
    exit_code: i32,
}

const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xFF, 11);
const PIDFD_INFO_EXIT: u64 = 1 << 3;

#[cfg(target_os = "linux")]
mod sys {
    use crate::{Exit, pid::Pid, probe::child};
    use rustix::{
        fd::{AsFd, OwnedFd},
        io::Result,
        process::{PidfdFlags, WaitId, pidfd_open},
    };

    pub(super) fn open(pid: Pid) -> Result<OwnedFd> {
        pidfd_open(pid.raw(), PidfdFlags::empty())
    }

    /// If it is our child, and not yet reaped.
    pub(super) fn child_exit(fd: &OwnedFd) -> Option<Exit> {
        child::peek(WaitId::PidFd(fd.as_fd())).ok()?
    }
}

/// What rustix has for Linux only.
#[cfg(target_os = "android")]
mod sys {
    use crate::{Exit, pid::Pid};
    use rustix::fd::{FromRawFd, OwnedFd, RawFd};
    use std::io;

    pub(super) fn open(pid: Pid) -> io::Result<OwnedFd> {
        if !is_allowed() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.get() as libc::pid_t, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    /// Before Android 12 (API level 31) the sandbox of apps kills those who call
    /// `pidfd_open`.
    fn is_allowed() -> bool {
        let mut level = [0_u8; libc::PROP_VALUE_MAX as usize];
        // SAFETY: the name ends with a zero, and there is room for the longest
        // value that a property can have and its final zero.
        let length = unsafe {
            libc::__system_property_get(c"ro.build.version.sdk".as_ptr(), level.as_mut_ptr().cast())
        };
        let level = level.get(..length as usize).unwrap_or_default();
        let level = std::str::from_utf8(level)
            .ok()
            .and_then(|it| it.parse().ok());
        level.is_some_and(|level: u32| level >= 31)
    }

    /// The zombie's parent is asked for by its pid, once /proc has shown that the
    /// pid is still the same process's.
    pub(super) fn child_exit(_: &OwnedFd) -> Option<Exit> {
        None
    }
}
