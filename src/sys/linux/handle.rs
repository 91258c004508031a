//! Linux 5.3 and later: a pidfd, which polls as readable once the process has
//! exited.

use super::{
    probe::{child_state_of_pidfd, is_at_least, send_signal, zombie_exit_of_pidfd},
    procfs,
};
use crate::{
    Backend, Exit,
    deadline::Deadline,
    error::is_no_such_process,
    pid::Pid,
    sys::{
        Child, ExitEvent,
        fd::{Descriptor, above_standard_streams},
        unix::poll::revents,
    },
};
use rustix::{
    event::PollFlags,
    fd::{AsFd, AsRawFd as _, BorrowedFd},
    io::Errno,
    ioctl::{Opcode, Updater, ioctl, opcode},
};
use std::{io, time::Duration};

#[derive(Debug)]
pub(crate) struct PidFd {
    fd: Descriptor,
    pid: Pid,
}

impl PidFd {
    pub(crate) const BACKEND: Option<Backend> = Some(Backend::PidFd);
    pub(crate) const OPEN: &str = "pidfd_open";
    pub(crate) const WAIT: &str = "ppoll";

    pub(crate) fn open(pid: Pid) -> io::Result<PidFd> {
        Ok(PidFd {
            fd: above_standard_streams(sys::open(pid)?)?.into(),
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

    /// Sleeps until the pidfd is readable. It can be for a moment while the process lives and
    /// another of its threads takes over the pid, in `execve`: `exit` distinguishes the two.
    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        Ok(self.wait_event(deadline)?.is_some())
    }

    /// The same, with what the event says of the process. Since Linux 6.9, `poll` also reports
    /// POLLHUP once it has been reaped (fs/pidfs.c, pidfd_poll). That is relied on since 6.15,
    /// which documents it (include/uapi/linux/pidfd.h, PIDFD_INFO_EXIT).
    pub(crate) fn wait_event(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        let mut revents = PollFlags::empty();
        deadline.sleep(|longest| {
            revents = (self.fd).ask(|fd| revents_within(fd.as_fd(), longest))?;
            Ok(!revents.is_empty())
        })?;
        Ok(if revents.is_empty() {
            None
        } else if !revents.contains(PollFlags::HUP) && is_at_least(6, 15) {
            Some(ExitEvent::Zombie)
        } else {
            Some(ExitEvent::Exited)
        })
    }

    /// How the process exited, from whoever knows: the child's wait status, what
    /// the kernel keeps of a reaped process, or what it shows of a zombie. `None`: it
    /// is still running.
    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        let known = (self.fd.ask(|fd| sys::child_exit(fd.as_fd()))?)
            .or_else(|| self.reaped_exit())
            .or_else(|| zombie_exit_of_pidfd(&self.fd, self.pid))
            // It may have been reaped while we looked for the zombie.
            .or_else(|| self.reaped_exit());
        match known {
            Some(exit) => Ok(Some(exit)),
            None => Ok((self.is_readable_within(Some(Duration::ZERO))?).then_some(Exit::UNKNOWN)),
        }
    }

    /// What the kernel reports of this very process to its parent. `None` if it cannot be asked.
    pub(crate) fn child_state(&self) -> Option<Child> {
        child_state_of_pidfd(sys::child_state(self.as_fd()), self.as_fd(), self.pid)
    }

    fn is_readable_within(&self, longest: Option<Duration>) -> Result<bool, Errno> {
        self.fd.ask(|fd| is_readable_within(fd.as_fd(), longest))
    }

    /// Linux 6.15 and later keep the status of a reaped process for those who
    /// had a pidfd of it, whoever they are. It is the first thread's: if another one
    /// dumped core, that is not in it.
    fn reaped_exit(&self) -> Option<Exit> {
        let mut info = PidfdInfo {
            mask: PIDFD_INFO_EXIT,
            exit_code: NO_STATUS,
            ..PidfdInfo::default()
        };
        // SAFETY: the opcode says that the kernel reads and writes as many bytes
        // as `PidfdInfo` has, `info` is borrowed for as long as the call takes,
        // and any bytes are a valid `PidfdInfo`.
        let answer = unsafe { ioctl(&self.fd, Updater::<PIDFD_GET_INFO, _>::new(&mut info)) };
        // Without the bit in the answer the process was not reaped yet, and the
        // field means nothing. Untouched, it is a sandbox that only feigned success.
        let is_told = info.mask & PIDFD_INFO_EXIT != 0 && info.exit_code != NO_STATUS;
        (answer.is_ok() && is_told).then(|| kept_exit(info.exit_code))
    }

    /// The number may be that of another process's pidfd by now, if somebody has closed ours.
    pub(crate) fn send_signal(&self, signal: i32) -> io::Result<()> {
        let shown = procfs::pid_of_pidfd(self.as_fd().as_raw_fd());
        if shown.is_some_and(|shown| shown != self.pid) && procfs::is_ours() {
            self.fd.lose();
        }
        match self.fd.is_lost() {
            true => Err(Errno::BADF.into()),
            false => send_signal(self.as_fd(), signal),
        }
    }

    /// By /proc, if it cannot be waited for.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        let look = match self.wait(Deadline::Now) {
            Ok(true) => self.exit().map(|exit| exit.is_some()),
            answer => answer,
        };
        look.or_else(|error| {
            let shown = procfs::pidfd_has_exited(self.as_fd().as_raw_fd());
            shown.filter(|_| !self.fd.is_lost()).ok_or(error)
        })
    }

    /// Whether the pid may have come to mean another process. `None`: nobody tells.
    pub(crate) fn is_reaped(&self) -> Option<bool> {
        procfs::pidfd_is_reaped(self.as_fd().as_raw_fd())
    }

    /// For a process that has exited: whether it has been reaped, so that another process can
    /// have its pid. False if that is not known.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        // Without /proc, by the null signal, which a zombie can be sent (kill(2)).
        self.is_reaped().unwrap_or_else(|| {
            send_signal(self.as_fd(), 0).is_err_and(|error| is_no_such_process(&error))
        })
    }

    pub(crate) fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the wait status tells that the kernel keeps of a reaped process.
fn kept_exit(status: i32) -> Exit {
    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT};
    use libc::{SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ};
    match status & 0xFF {
        // These dump core. Without the flag another thread may have done so.
        signal @ (SIGABRT | SIGBUS | SIGFPE | SIGILL | SIGQUIT | SIGSEGV | SIGSYS | SIGTRAP
        | SIGXCPU | SIGXFSZ) => Exit::killed_by(signal),
        _ => Exit::from_raw(status),
    }
}

/// To the nanosecond, which `epoll_pwait` cannot do.
pub(crate) fn is_readable_within(
    fd: BorrowedFd<'_>,
    longest: Option<Duration>,
) -> Result<bool, Errno> {
    Ok(!revents_within(fd, longest)?.is_empty())
}

/// What `poll` reports. An error if other code has closed the descriptor.
fn revents_within(fd: BorrowedFd<'_>, longest: Option<Duration>) -> Result<PollFlags, Errno> {
    let revents = revents(fd, PollFlags::IN, longest)?;
    if revents.is_empty() || revents.intersects(PollFlags::IN | PollFlags::HUP) {
        Ok(revents)
    } else {
        Err(Errno::BADF)
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

/// No wait status, as those have 16 bits.
const NO_STATUS: i32 = -1;

#[cfg(target_os = "linux")]
mod sys {
    use crate::{
        Exit,
        pid::Pid,
        sys::{Child, unix::child},
    };
    use rustix::{
        fd::{BorrowedFd, OwnedFd},
        io::{Errno, Result},
        process::{PidfdFlags, WaitId, pidfd_open},
    };

    pub(super) fn open(pid: Pid) -> Result<OwnedFd> {
        pidfd_open(pid.raw(), PidfdFlags::empty())
    }

    /// `None` before Linux 5.4, which has no `P_PIDFD`, and in sandboxes that deny `waitid`.
    pub(super) fn child_state(fd: BorrowedFd<'_>) -> Option<Child> {
        child::known_state(child::peek(WaitId::PidFd(fd)))
    }

    /// If it is our child, and not yet reaped.
    pub(super) fn child_exit(fd: BorrowedFd<'_>) -> Result<Option<Exit>> {
        match child::peek(WaitId::PidFd(fd)) {
            Ok(Child::Exited(exit)) => Ok(Some(exit)),
            // That is no pidfd any more.
            Err(Errno::BADF) => Err(Errno::BADF),
            // Among the errors, Linux before 5.4 and sandboxes: others know as well.
            _ => Ok(None),
        }
    }
}

/// What rustix has for Linux only.
#[cfg(target_os = "android")]
mod sys {
    use crate::{Exit, pid::Pid, sys::Child};
    use rustix::{
        fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        io::Errno,
    };
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

    pub(super) fn child_state(_: BorrowedFd<'_>) -> Option<Child> {
        None
    }

    /// The zombie's parent is asked for by its pid, once /proc has shown that the
    /// pid is still the same process's.
    pub(super) fn child_exit(_: BorrowedFd<'_>) -> Result<Option<Exit>, Errno> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_dump_that_is_not_told() {
        for signal in [libc::SIGSEGV, libc::SIGABRT] {
            assert_eq!(kept_exit(signal), Exit::killed_by(signal));
            let dumped = 0x80 | signal;
            assert_eq!(kept_exit(dumped), Exit::from_raw(dumped));
        }
        for sure in [libc::SIGKILL, libc::SIGTERM, 0, 3 << 8, libc::SIGSEGV << 8] {
            assert_eq!(kept_exit(sure), Exit::from_raw(sure));
        }
    }
}
