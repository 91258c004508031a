//! Probes a process by an open `/proc/PID/psinfo`, which belongs to the process and not to the pid.
//! Everyone may open it, also that of a zombie, and unlike other files there, a set-id `execve` does
//! not invalidate it (proc(5)). Where it cannot be opened, the null signal is used.

use super::psinfo::{LENGTH, Psinfo};
use crate::{
    pid::Pid,
    sys::{
        KeepFd, ProcessProbe, Scope, Snapshot, State, pid_probe,
        unix::{
            child::peek_child,
            fd::{GuardedFd, above_standard_streams, may_keep},
            file::{Stat, fstat, open},
            posix,
        },
    },
};
use rustix::{
    fd::{AsFd as _, BorrowedFd},
    io::{Errno, pread, retry_on_intr},
};
use std::{ffi::CString, io};

pub(crate) const SNAPSHOT_CALL: &str = posix::SNAPSHOT_CALL;

#[derive(Debug)]
pub(crate) enum Probe {
    File { file: PsinfoFile, is_certain: bool },
    Pid(pid_probe::Probe),
}

impl ProcessProbe for Probe {
    type Fingerprint = Fingerprint;

    const CALL: &str = SNAPSHOT_CALL;

    fn open(pid: Pid, keep: KeepFd) -> io::Result<Option<(Probe, State)>> {
        if let Ok(file) = PsinfoFile::open(pid) {
            if may_keep(&file.fd, keep) {
                let is_certain = true;
                match file.state() {
                    Ok(State::Reaped) => return Ok(None),
                    Ok(state) => return Ok(Some((Probe::File { file, is_certain }, state))),
                    Err(_) => {}
                }
            }
        }
        let opened = pid_probe::Probe::open(pid, keep)?;
        Ok(opened.map(|(probe, state)| (Probe::Pid(probe), state)))
    }

    fn check(&mut self) -> io::Result<State> {
        match self {
            Probe::File { file, is_certain } => match file.state() {
                Ok(State::Exited(_)) if !*is_certain => Ok(State::Exited(crate::Exit::UNKNOWN)),
                Ok(state) => Ok(state),
                // It could be read before, so other code has closed it. Its number can be that of
                // another file, which must not be closed.
                Err(_) => {
                    file.fd.disown();
                    let opened = pid_probe::Probe::open(file.pid, KeepFd::Always)?;
                    let Some((mut probe, _)) = opened else {
                        return Ok(State::Reaped);
                    };
                    probe.mark_unverified();
                    let state = probe.check();
                    *self = Probe::Pid(probe);
                    state
                }
            },
            Probe::Pid(probe) => probe.check(),
        }
    }

    fn is_verified(&self) -> bool {
        match self {
            Probe::File { is_certain, .. } => *is_certain,
            Probe::Pid(probe) => probe.is_verified(),
        }
    }

    fn mark_unverified(&mut self) {
        match self {
            Probe::File { is_certain, .. } => *is_certain = false,
            Probe::Pid(probe) => probe.mark_unverified(),
        }
    }

    fn zombie_is_reaped(&self) -> bool {
        match self {
            Probe::File { file, .. } => matches!(file.state(), Ok(State::Reaped)),
            Probe::Pid(probe) => probe.zombie_is_reaped(),
        }
    }

    fn start_time(&mut self) -> Option<u64> {
        match self {
            Probe::File { file, is_certain } => {
                let stat = file.fd.with(|fd| fstat(fd)).ok()?;
                let is_there = !matches!(file.state(), Ok(State::Reaped) | Err(_));
                let start_time = Fingerprint::new(&stat).start_time();
                start_time.filter(|_| is_there && *is_certain)
            }
            Probe::Pid(probe) => probe.start_time(),
        }
    }

    /// Its file shows nothing once the process has been reaped.
    fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Probe::File { .. } => None,
            Probe::Pid(probe) => probe.fingerprint(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct PsinfoFile {
    fd: GuardedFd,
    pid: Pid,
}

impl PsinfoFile {
    /// An error also if it has an unknown layout.
    fn open(pid: Pid) -> io::Result<PsinfoFile> {
        let path = CString::new(format!("/proc/{}/psinfo", pid.get()))?;
        let fd = open(&path, libc::O_RDONLY)?;
        read(fd.as_fd(), pid)?;
        let fd = above_standard_streams(fd)?.into();
        Ok(PsinfoFile { fd, pid })
    }

    fn state(&self) -> io::Result<State> {
        // In this order, see `Psinfo::state`.
        let child = peek_child(self.pid);
        match self.fd.with(|fd| read(fd.as_fd(), self.pid)) {
            Ok(psinfo) => Ok(psinfo.state(child)),
            Err(Errno::NOENT) => Ok(State::Reaped),
            Err(error) => Err(error.into()),
        }
    }
}

fn read(fd: BorrowedFd<'_>, pid: Pid) -> Result<Psinfo, Errno> {
    // One more byte shows that the structure is longer.
    let mut bytes = [0; LENGTH + 1];
    let length = retry_on_intr(|| pread(fd, &mut bytes, 0))?;
    Psinfo::parse(&bytes[..length])
        .filter(|psinfo| psinfo.pid == pid.get())
        .ok_or(Errno::NOTSUP)
}

/// When the process was forked, by the clock at that time, in seconds and nanoseconds
/// (uts/common/os/fork.c, getproc): the ctime of its psinfo, of a zombie's too (illumos,
/// uts/common/fs/proc/prvnops.c, prgetattr). `pr_start` is not set for zombies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(i64, i64);

impl Fingerprint {
    fn new(stat: &Stat) -> Fingerprint {
        Fingerprint(stat.st_ctime as _, stat.st_ctime_nsec as _)
    }

    /// In microseconds.
    pub(crate) fn start_time(self) -> Option<u64> {
        let microseconds = self.0.checked_mul(1_000_000)?.checked_add(self.1 / 1000)?;
        microseconds.try_into().ok()
    }
}

pub(crate) fn scope() -> Option<Scope> {
    Some(Scope::NOTHING_BUT_TIME)
}

/// For when no file can be kept open.
pub(crate) fn snapshot(pid: Pid) -> io::Result<Option<Snapshot<Fingerprint>>> {
    let opened = PsinfoFile::open(pid).and_then(|file| Ok((fstat(&file.fd)?, file.state()?)));
    Ok(match opened {
        Ok((_, State::Reaped)) => None,
        Ok((stat, state)) => Some(Snapshot {
            fingerprint: Some(Fingerprint::new(&stat)),
            is_child: false, // It is only needed without a fingerprint.
            exit: state.exit(),
        }),
        // There is no such process, or no /proc, or no descriptor.
        Err(_) => posix::snapshot(pid)?.map(|snapshot| Snapshot {
            fingerprint: None,
            is_child: snapshot.is_child,
            exit: snapshot.exit,
        }),
    })
}
