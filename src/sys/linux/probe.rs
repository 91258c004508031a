//! Probes a process by an open `/proc/PID/stat`. Where that is hidden, or of another pid
//! namespace, by its pid.

use super::{
    procfs::{self, Stat, StatFile},
    syscalls::{
        is_kernel_at_least, pidfd_open, pidfd_send_signal, pidfd_signal_group, test_thread_group,
    },
};
use crate::{
    Exit,
    pid::Pid,
    sys::{
        ChildState, KeepFd, ProcessProbe, Scope, Signal, State,
        unix::{
            child::{self, peek_child},
            fd::may_keep,
            file::fstat,
            group::process_group,
            signal::reaped_elsewhere,
        },
    },
};
use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
    process::WaitId,
};
use std::{
    io,
    process::{self, Child, ExitStatus},
};

#[derive(Debug)]
pub(crate) struct Probe {
    pid: Pid,
    keep: KeepFd,
    file: Option<StatFile>,
    /// Distinguishes the process from a later one with its pid while no file is open. The first
    /// one that is seen is adopted.
    start: Option<StartTime>,
    /// Whether the start time, or else the pid, is known to be of the process that was meant. If
    /// not, no status is reported.
    is_certain: bool,
    /// Whether the last check saw the process itself, and not only its pid.
    saw_process: bool,
}

/// When a process started, in clock ticks, as seen from this time namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartTime {
    ticks: u64,
    namespace: Option<u64>,
}

impl ProcessProbe for Probe {
    type Fingerprint = StartTime;

    const CALL: &str = "pread";

    fn open(pid: Pid, keep: KeepFd) -> io::Result<Option<(Probe, State)>> {
        let mut probe = Probe {
            pid,
            keep,
            file: None,
            start: None,
            is_certain: true,
            saw_process: false,
        };
        Ok(match probe.check_by_pid(true) {
            State::Reaped => None,
            state => Some((probe, state)),
        })
    }

    fn check(&mut self) -> io::Result<State> {
        if let Some(file) = &self.file {
            match file.read() {
                Ok(stat) => {
                    self.saw_process = true;
                    return Ok(self.state(file, &stat));
                }
                Err(Errno::SRCH) => return Ok(State::Reaped),
                // The state is not final. In gVisor, this is also the answer for every reaped
                // process, so the pid decides.
                Err(Errno::AGAIN) => {}
                // It could be read before. If other code has closed it, its number can be that of
                // another file, which must not be closed.
                Err(_) => {
                    file.disown();
                    self.file = None;
                }
            }
        }
        Ok(self.check_by_pid(false))
    }

    fn is_verified(&self) -> bool {
        self.is_certain && self.saw_process
    }

    fn mark_unverified(&mut self) {
        self.is_certain = false;
    }

    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(self.directory()?.as_fd(), signal)?)
    }

    fn signal_group(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_signal_group(self.directory()?.as_fd(), signal)?)
    }

    /// The open file is read after the pid was asked about: if that succeeds, the process had not
    /// been reaped, and the pid was its own. Without the file, there is only the pid.
    fn child_state(&self) -> Option<ChildState> {
        let state = child::known_state(child::peek(WaitId::Pid(self.pid.raw())));
        let Some(file) = &self.file else {
            return state;
        };
        match file.read() {
            Ok(stat) => state.or_else(|| child_state_in_proc(&stat)),
            Err(Errno::SRCH) => Some(ChildState::NotAChild),
            Err(_) => None,
        }
    }

    fn zombie_is_reaped(&self) -> bool {
        match self.file.as_ref().map(StatFile::read) {
            Some(Ok(_)) => false,
            Some(Err(Errno::SRCH)) => true,
            // In gVisor, reading the file of a reaped process fails with EAGAIN.
            _ if exists(self.pid) == Some(false) => true,
            _ => {
                let now = StatFile::open(self.pid).and_then(|file| file.read());
                let start = self.start.filter(|start| start.is_comparable());
                start
                    .zip(now.ok())
                    .is_some_and(|(start, now)| start.ticks != now.start)
            }
        }
    }

    fn start_time(&mut self) -> Option<u64> {
        let is_there = matches!(self.check(), Ok(State::Running | State::Exited(_)));
        let start = self.start.filter(|start| start.is_comparable())?;
        let is_known =
            is_there && self.is_verified() && shows_our_pid(self.file.as_ref()?, self.pid);
        is_known.then_some(start.ticks)
    }

    fn fingerprint(&self) -> Option<StartTime> {
        self.start
    }
}

impl Probe {
    /// The process's directory in /proc: its `stat`, opened earlier, can still be read only if the
    /// pid was still this process's when the directory was opened.
    fn directory(&self) -> io::Result<OwnedFd> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let directory = procfs::open_directory(self.pid)?;
        if !is_in_same_proc(file, &directory)? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        file.read()?;
        Ok(directory)
    }

    fn check_by_pid(&mut self, is_first: bool) -> State {
        self.saw_process = false;
        let Ok(file) = StatFile::open(self.pid) else {
            return self.check_without_file();
        };
        let stat = match file.read() {
            Ok(stat) => stat,
            // The process that had the pid has been reaped since. Another may have it by now.
            Err(Errno::SRCH) => return State::Reaped,
            Err(_) => return self.check_without_file(),
        };
        match self.start {
            Some(start) if start.ticks == stat.start => {}
            _ if !procfs::shows_our_pid_namespace() => return self.check_without_file(),
            Some(start) if start.is_comparable() => return State::Reaped,
            _ if exists(self.pid) == Some(false) => return State::Reaped,
            _ => {
                self.start = Some(StartTime::new(stat.start));
                self.is_certain &= is_first;
            }
        }
        self.saw_process = true;
        let state = self.state(&file, &stat);
        self.file = may_keep(&file, self.keep).then_some(file);
        state
    }

    /// What an open file shows, with the exit if that can be known.
    fn state(&self, file: &StatFile, stat: &Stat) -> State {
        if !stat.has_exited() {
            return State::Running;
        }
        let is_still_zombie = || file.read().is_ok_and(|again| again.has_exited());
        let is_ours = || is_still_zombie() && shows_our_pid(file, self.pid);
        let exit =
            child_exit(self.pid, is_ours).or_else(|| zombie_exit(stat, self.pid, is_still_zombie));
        if let Some(exit) = exit.filter(|_| self.is_certain) {
            return State::Exited(exit);
        }
        // In gVisor, a process can look like a zombie for a moment during `execve`, so read again.
        match file.read() {
            Ok(again) if again.has_exited() => State::Exited(Exit::UNKNOWN),
            Err(Errno::SRCH) => State::Reaped,
            _ => State::Running,
        }
    }

    fn check_without_file(&self) -> State {
        if exists(self.pid) == Some(false) {
            return State::Reaped;
        }
        match peek_child(self.pid) {
            // Whether it is still the process with that start time cannot be seen now.
            ChildState::Exited(_) if self.start.is_some() || !self.is_certain => {
                State::Exited(Exit::UNKNOWN)
            }
            ChildState::Exited(exit) => State::Exited(exit),
            _ => State::Running,
        }
    }
}

/// Another /proc may have been mounted since the file was opened, of another pid namespace.
fn is_in_same_proc(file: &StatFile, directory: &OwnedFd) -> Result<bool, Errno> {
    Ok(fstat(file)?.st_dev == fstat(directory)?.st_dev)
}

/// Whether an open file shows the process that has this pid in our pid namespace. A forked child can
/// be in another one than that in which the file was opened.
fn shows_our_pid(file: &StatFile, pid: Pid) -> bool {
    let directory = procfs::open_directory(pid);
    directory.is_ok_and(|directory| is_in_same_proc(file, &directory) == Ok(true))
        && procfs::shows_our_pid_namespace()
}

impl StartTime {
    fn new(ticks: u64) -> StartTime {
        let namespace = procfs::time_namespace();
        StartTime { ticks, namespace }
    }

    /// In another time namespace, the same process has another start time
    /// (time_namespaces(7)).
    fn is_comparable(&self) -> bool {
        self.namespace.is_some() && self.namespace == procfs::time_namespace()
    }
}

/// `None` in another time namespace than the initial one: start times are shifted there
/// (time_namespaces(7)).
pub(crate) fn scope() -> Option<Scope> {
    /// include/uapi/linux/nsfs.h, TIME_NS_INIT_INO.
    const INITIAL_TIME_NAMESPACE: u64 = 0xEFFF_FFFA;
    let is_initial = matches!(procfs::time_namespace()?, 0 | INITIAL_TIME_NAMESPACE);
    Some(Scope {
        boot: procfs::boot_id().filter(|_| is_initial)?,
        pid_namespace: procfs::pid_namespace()?,
    })
}

/// std knows the status of a child that it has reaped itself. Otherwise it reaps by the pid,
/// which can be another child's by now.
pub(crate) fn try_wait_unless_reused(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    match Pid::new(child.id()).map(peek_child) {
        Ok(ChildState::NotAChild) | Err(_) => child.try_wait(),
        Ok(_) => Err(reaped_elsewhere()),
    }
}

/// What /proc shows of a process to its parent, where a sandbox denies `waitid`.
fn child_state_in_proc(stat: &Stat) -> Option<ChildState> {
    if !procfs::shows_our_pid_namespace() {
        return None;
    }
    Some(if stat.parent != process::id() {
        ChildState::NotAChild
    } else if stat.has_exited() {
        ChildState::Exited(Exit::UNKNOWN)
    } else {
        ChildState::Running
    })
}

/// What the kernel reports to the parent of the process `pid`, if the pidfd shows afterwards that
/// its process still had that pid.
pub(super) fn child_state_by_pid(pidfd: BorrowedFd<'_>, pid: Pid) -> Option<ChildState> {
    let state = child::known_state(child::peek(WaitId::Pid(pid.raw())));
    let stat = StatFile::open(pid).and_then(|file| file.read()).ok();
    if procfs::pidfd_is_reaped(pidfd.as_raw_fd())? {
        return Some(ChildState::NotAChild);
    }
    state.or_else(|| child_state_in_proc(&stat?))
}

/// How the process of a pidfd exited, if it is a zombie and /proc shows it.
pub(super) fn zombie_exit_of_pidfd(pidfd: BorrowedFd<'_>, pid: Option<Pid>) -> Option<Exit> {
    // This /proc may be of another pid namespace: so use the pid that it shows for the pidfd, and
    // check that it still shows the same one at the end.
    let fd = pidfd.as_raw_fd();
    let proc_pid = procfs::pid_of_pidfd(fd)?;
    let stat = StatFile::open(proc_pid).ok()?.read().ok()?;
    let is_still_zombie = || procfs::pid_of_pidfd(fd) == Some(proc_pid);
    let is_ours = || is_still_zombie() && procfs::shows_our_pid_namespace();
    let exit = stat.has_exited().then(|| {
        let of_child = pid.and_then(|pid| child_exit(pid, is_ours));
        of_child.or_else(|| zombie_exit(&stat, proc_pid, is_still_zombie))
    });
    exit?.filter(|_| is_still_zombie())
}

/// How the process exited if it is our child, and `is_ours` says afterwards that the pid is still its
/// own, and one of our pid namespace.
fn child_exit(pid: Pid, is_ours: impl Fn() -> bool) -> Option<Exit> {
    match peek_child(pid) {
        ChildState::Exited(exit) if is_ours() => Some(exit),
        _ => None,
    }
}

/// How a zombie exited, if /proc shows it. `proc_pid` is its pid there, which may be of another pid
/// namespace. What is asked by pid counts only if it `is_still_zombie` afterwards.
fn zombie_exit(stat: &Stat, proc_pid: Pid, is_still_zombie: impl Fn() -> bool) -> Option<Exit> {
    // Before Linux 5.17 it is the status of the first thread, which may have ended before the
    // others. To those who may not inspect the process it is always 0 (fs/proc/array.c,
    // do_task_stat).
    let status = stat.wait_status.filter(|_| is_kernel_at_least(5, 17))?;
    let is_shown = status != 0 || (procfs::may_read_exit_code(proc_pid, stat) && is_still_zombie());
    is_shown.then(|| Exit::from_raw(status))
}

/// Whether a process has this pid, alive or zombie; the id of another thread is not a pid.
/// `None` if that cannot be found out.
fn exists(pid: Pid) -> Option<bool> {
    match test_thread_group(pid) {
        Ok(()) => return Some(true),
        Err(Errno::SRCH) => return Some(false),
        // EPERM may be the kernel's, for a process that we may not signal, or a sandbox's, for
        // every pid. What follows needs no permission.
        Err(_) => {}
    }
    if process_group(pid) == Err(Errno::SRCH) {
        return Some(false);
    }
    if procfs::shows_our_pid_namespace() {
        if let Some(is_process) = procfs::is_process(pid) {
            return Some(is_process);
        }
    }
    match pidfd_open(pid) {
        Ok(_) => Some(true),
        Err(Errno::SRCH) => Some(false),
        // Other refusals say nothing about the process.
        Err(_) => None,
    }
}
