//! Linux 5.3 and later: a pidfd, which polls as readable once the process has
//! exited.

use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    probe::{self, child, procfs},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ioctl::{Opcode, Updater, ioctl, opcode},
    process::{PidfdFlags, WaitId, pidfd_open},
};
use std::io;

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
        let fd = pidfd_open(pid.raw(), PidfdFlags::empty())?;
        Ok(PidFd { fd, pid })
    }

    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| {
            let longest = longest.map(|longest| Timespec {
                tv_sec: longest.as_secs() as _,
                tv_nsec: longest.subsec_nanos() as _,
            });
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            Ok(poll(&mut fds, longest.as_ref())? > 0)
        })
    }

    /// How the process exited, from whoever knows: the child's wait status, what
    /// the kernel keeps of a reaped process, or what it shows of a zombie.
    pub(crate) fn exit(&self) -> Exit {
        child::peek(WaitId::PidFd(self.fd.as_fd()))
            .unwrap_or(None)
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
