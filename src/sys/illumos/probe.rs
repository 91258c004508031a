//! illumos, Solaris: an open `/proc/PID/psinfo`, which anybody may open, of zombies as
//! well. It stays the process's, whoever has its pid later, and a set-id `execve` does
//! not invalidate it, as it does other files there. Where there is none to be had: the
//! null signal.

use super::psinfo::{LENGTH, Psinfo};
use crate::{
    pid::Pid,
    sys::{
        Look, Sight,
        fd::{Descriptor, above_standard_streams},
        peek_child,
        unix::posix as unix,
    },
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{Mode, OFlags, fstat, open},
    io::{Errno, pread, retry_on_intr},
};
use std::io;

pub(crate) use unix::CALL;

/// When the process was forked, in seconds and nanoseconds. `pr_start` tells the same, but
/// not of zombies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(i64, i64);

/// An open `/proc/PID/psinfo`.
#[derive(Debug)]
pub(crate) struct PsinfoFile {
    fd: Descriptor,
    pid: Pid,
}

impl PsinfoFile {
    /// Fails if it cannot be read as well, or has a layout that we do not know.
    pub(crate) fn open(pid: Pid) -> io::Result<PsinfoFile> {
        let path = format!("/proc/{}/psinfo", pid.get());
        let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        read(fd.as_fd(), pid)?;
        let fd = above_standard_streams(fd)?.into();
        Ok(PsinfoFile { fd, pid })
    }

    pub(crate) fn look(&self) -> io::Result<Look> {
        // First the parent's view, then whether the pid was this process's all the time.
        let child = peek_child(self.pid);
        let seen = self.fd.ask(|fd| match read(fd.as_fd(), self.pid) {
            // When it was opened it could be read. Its number is another file's now.
            Err(Errno::NOTSUP) => Err(Errno::BADF),
            answer => answer,
        });
        match seen {
            Ok(psinfo) => Ok(psinfo.look(child)),
            Err(Errno::NOENT) => Ok(Look::Gone),
            Err(error) => Err(error.into()),
        }
    }

    fn mark(&self) -> io::Result<Mark> {
        let stat = fstat(&self.fd)?;
        Ok(Mark(stat.st_ctime as _, stat.st_ctime_nsec as _))
    }
}

impl AsFd for PsinfoFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn read(fd: BorrowedFd<'_>, pid: Pid) -> Result<Psinfo, Errno> {
    // One more, by which a longer one is noticed.
    let mut bytes = [0; LENGTH + 1];
    let length = retry_on_intr(|| pread(fd, &mut bytes, 0))?;
    Psinfo::parse(&bytes[..length])
        .filter(|psinfo| psinfo.pid == pid.get())
        .ok_or(Errno::NOTSUP)
}

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    let seen = PsinfoFile::open(pid).and_then(|file| Ok((file.mark()?, file.look()?)));
    Ok(match seen {
        Ok((_, Look::Gone)) => Sight::Gone,
        Ok((mark, look)) => Sight::Seen {
            mark: Some(mark),
            is_ours: false, // Nor does it matter.
            exit: match look {
                Look::Exited(exit) => Some(exit),
                _ => None,
            },
        },
        // There is no such process, or no `/proc`, or no descriptor.
        Err(_) => match unix::sight(pid)? {
            Sight::Gone => Sight::Gone,
            Sight::Seen { is_ours, exit, .. } => Sight::Seen {
                mark: None,
                is_ours,
                exit,
            },
        },
    })
}
