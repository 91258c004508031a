//! Linux: an open `/proc/PID/stat`, which holds the process; and where that is not
//! to be had, hidden or another pid namespace's, what there is to ask by number.

use super::procfs::{self, Stat, StatFile};
use crate::{
    Exit,
    pid::Pid,
    sys::{
        Child, Keep, Look, fd as descriptors, reaped_elsewhere,
        unix::child::{self, peek_child},
    },
};
use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd},
    fs::fstat,
    io::Errno,
    process::WaitId,
};
use std::{ffi::CStr, io, mem::MaybeUninit, process, ptr, sync::OnceLock};

pub(crate) const CALL: &str = "pread";

/// One process, to be looked at again and again.
#[derive(Debug)]
pub(crate) struct View {
    pid: Pid,
    keep: Keep,
    file: Option<StatFile>,
    /// What sets it apart from a later process of the same number, while no file is
    /// open. The first one that is seen is adopted.
    mark: Option<Mark>,
    /// Whether the mark, or else the number, is sure to be of the process that was
    /// meant. If not, its status is not told.
    is_certain: bool,
    /// Whether the last look has seen the process itself, and not just its number.
    was_seen: bool,
}

/// When a process started, in clock ticks, as it is told in this time namespace.
#[derive(Clone, Copy, Debug)]
struct Mark {
    start: u64,
    namespace: Option<u64>,
}

impl View {
    /// `None`: no process has this number.
    pub(crate) fn open(pid: Pid, keep: Keep) -> io::Result<Option<(View, Look)>> {
        let mut view = View {
            pid,
            keep,
            file: None,
            mark: None,
            is_certain: true,
            was_seen: false,
        };
        Ok(match view.look_by_number(true) {
            Look::Gone => None,
            look => Some((view, look)),
        })
    }

    /// The number may have come to mean another process before this was opened.
    pub(crate) fn doubt(&mut self) {
        self.is_certain = false;
    }

    /// Whether the last look was sure to be at the process that was meant.
    pub(crate) fn is_certain(&self) -> bool {
        self.is_certain && self.was_seen
    }

    pub(crate) fn look(&mut self) -> io::Result<Look> {
        if let Some(file) = self.file.take() {
            match file.read() {
                Ok(stat) if stat.pid == self.pid.get() => {
                    self.was_seen = true;
                    let look = self.seen(&file, &stat);
                    self.file = Some(file);
                    return Ok(look);
                }
                // It is kept: without it, nothing but the pid would be left to ask by.
                Err(Errno::SRCH) => {
                    self.file = Some(file);
                    return Ok(Look::Gone);
                }
                // In gVisor, of all that were reaped.
                Err(Errno::AGAIN) => self.file = Some(file),
                // Somebody else has closed it, and perhaps has another file under its
                // number.
                Ok(_) | Err(_) => file.lose(),
            }
        }
        Ok(self.look_by_number(false))
    }

    /// By the directory of the process: its `stat`, held from before, can be read only if
    /// the number was still this process's when that was opened.
    pub(crate) fn send_signal(&mut self, signal: i32) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(Errno::BADF)?;
        let directory = procfs::open_directory(self.pid)?;
        // There may be another /proc by now, of another pid namespace.
        let is_same_proc = fstat(file)?.st_dev == fstat(&directory)?.st_dev;
        match file.read() {
            Ok(stat) if is_same_proc && stat.pid == self.pid.get() => {
                send_signal(directory.as_fd(), signal)
            }
            Ok(_) => Err(Errno::BADF.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the kernel reports of this very process to its parent. `None` if it cannot be asked.
    ///
    /// The open file is read after the pid was asked about: if that succeeds, the process had
    /// not been reaped, and its pid was its own. Without the file, there is only the pid.
    pub(crate) fn child_state(&self) -> Option<Child> {
        let state = child::peek(WaitId::Pid(self.pid.raw()));
        let Some(file) = &self.file else {
            return child::known_state(state);
        };
        match file.read() {
            Ok(stat) if stat.pid == self.pid.get() => {
                child::known_state(state).or_else(|| child_state_in_proc(&stat))
            }
            Err(Errno::SRCH) => Some(Child::NotOurs),
            _ => None,
        }
    }

    /// For a process that has exited: whether it has been reaped. False if that is not known.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        match self.file.as_ref().map(StatFile::read) {
            Some(Ok(_)) => false,
            Some(Err(Errno::SRCH)) => true,
            // In gVisor, reading the file of a reaped process fails with EAGAIN.
            _ if exists(self.pid) == Some(false) => true,
            _ => {
                let now = StatFile::open(self.pid).and_then(|file| file.read());
                let mark = self.mark.filter(|mark| mark.is_comparable());
                mark.zip(now.ok())
                    .is_some_and(|(mark, now)| mark.start != now.start)
            }
        }
    }

    fn look_by_number(&mut self, at_first: bool) -> Look {
        self.was_seen = false;
        let Ok(file) = StatFile::open(self.pid) else {
            return self.look_without_file();
        };
        let stat = match file.read() {
            Ok(stat) => stat,
            // The process that had the pid has been reaped since. Another may have it by now.
            Err(Errno::SRCH) => return Look::Gone,
            Err(_) => return self.look_without_file(),
        };
        match self.mark {
            Some(mark) if mark.start == stat.start => {}
            _ if !procfs::is_ours() => return self.look_without_file(),
            Some(mark) if mark.is_comparable() => return Look::Gone,
            _ if exists(self.pid) == Some(false) => return Look::Gone,
            _ => {
                self.mark = Some(Mark::new(stat.start));
                self.is_certain &= at_first;
            }
        }
        self.was_seen = true;
        let look = self.seen(&file, &stat);
        let keeps = match self.keep {
            Keep::Always => true,
            Keep::IfSpare => descriptors::leaves_enough(&file),
        };
        self.file = keeps.then_some(file);
        look
    }

    /// As long as the file is open, what it shows is one and the same process.
    fn seen(&self, file: &StatFile, stat: &Stat) -> Look {
        if !stat.has_exited() {
            return Look::Running;
        }
        let is_still_there = || file.read().is_ok_and(|again| again.has_exited());
        let exit = zombie_exit(stat, self.pid, self.pid, is_still_there);
        if let Some(exit) = exit.filter(|_| self.is_certain) {
            return Look::Exited(exit);
        }
        // In gVisor it may have been the moment of an `execve`.
        match file.read() {
            Ok(again) if again.has_exited() => Look::Exited(Exit::UNKNOWN),
            Err(Errno::SRCH) => Look::Gone,
            _ => Look::Running,
        }
    }

    fn look_without_file(&self) -> Look {
        if exists(self.pid) == Some(false) {
            return Look::Gone;
        }
        match peek_child(self.pid) {
            // Whether it is still the process with that mark cannot be seen now.
            Child::Exited(_) if self.mark.is_some() || !self.is_certain => {
                Look::Exited(Exit::UNKNOWN)
            }
            Child::Exited(exit) => Look::Exited(exit),
            _ => Look::Running,
        }
    }
}

impl Mark {
    fn new(start: u64) -> Mark {
        let namespace = procfs::time_namespace();
        Mark { start, namespace }
    }

    /// In another time namespace the same process has another start.
    fn is_comparable(&self) -> bool {
        self.namespace.is_some() && self.namespace == procfs::time_namespace()
    }
}

/// Reaps a child that was found to have been reaped elsewhere, as far as `child` knows its
/// status from before. If its pid is that of another child of ours by now, std would reap that.
pub(crate) fn try_wait_unless_reused(
    child: &mut process::Child,
) -> io::Result<Option<process::ExitStatus>> {
    match Pid::new(child.id()).map(peek_child) {
        Ok(Child::NotOurs) | Err(_) => child.try_wait(),
        Ok(_) => Err(reaped_elsewhere()),
    }
}

/// What /proc shows of a process to its parent, where a sandbox denies `waitid`.
fn child_state_in_proc(stat: &Stat) -> Option<Child> {
    if !procfs::is_ours() {
        return None;
    }
    Some(if stat.parent != process::id() {
        Child::NotOurs
    } else if stat.has_exited() {
        Child::Exited(Exit::UNKNOWN)
    } else {
        Child::Running
    })
}

/// What the kernel reports of the process of a pidfd to its parent. `None` if it cannot be
/// asked.
///
/// `known` is what it reports by the pidfd, if it can be asked by that. Otherwise it is asked by
/// the pid, and the pidfd afterwards whether the process still had that pid.
pub(crate) fn child_state_of_pidfd(
    known: Option<Child>,
    pidfd: BorrowedFd<'_>,
    pid: Pid,
) -> Option<Child> {
    if known.is_some() {
        return known;
    }
    let state = child::known_state(child::peek(WaitId::Pid(pid.raw())));
    let stat = StatFile::open(pid).and_then(|file| file.read()).ok();
    if procfs::pidfd_is_reaped(pidfd.as_raw_fd())? {
        return Some(Child::NotOurs);
    }
    state.or_else(|| child_state_in_proc(&stat?))
}

/// To the process of a pidfd, or of a directory in /proc.
#[cfg(target_os = "linux")]
pub(crate) fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let (no_info, no_flags) = (ptr::null::<libc::siginfo_t>(), 0);
    let process = process.as_raw_fd();
    // SAFETY: takes numbers, but for the pointer, which is null. (rustix has the call, but
    // not for every signal.)
    let answer = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process,
            signal,
            no_info,
            no_flags,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// There the sandbox may kill those who ask.
#[cfg(target_os = "android")]
pub(crate) fn send_signal(_: BorrowedFd<'_>, _: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How the process of a pidfd exited, if it is a zombie and /proc shows it.
pub(crate) fn zombie_exit_of_pidfd(pidfd: impl AsFd, pid: Pid) -> Option<Exit> {
    // That /proc may be of another pid namespace: look for it by the number
    // that it has there, and make sure that it had it until the end.
    let fd = pidfd.as_fd().as_raw_fd();
    let shown = procfs::pid_of_pidfd(fd)?;
    let stat = StatFile::open(shown).ok()?.read().ok()?;
    let is_still_there = || procfs::pid_of_pidfd(fd) == Some(shown);
    let exit = stat
        .has_exited()
        .then(|| zombie_exit(&stat, shown, pid, is_still_there));
    exit?.filter(|_| is_still_there())
}

/// How a zombie exited, if we are told. `shown` is its number in /proc, which may be
/// another pid namespace's. What is asked by number counts only if it `is_still_there`
/// afterwards.
fn zombie_exit(
    stat: &Stat,
    shown: Pid,
    pid: Pid,
    is_still_there: impl Fn() -> bool,
) -> Option<Exit> {
    if let Child::Exited(exit) = peek_child(pid) {
        if is_still_there() {
            return Some(exit);
        }
    }
    // Before Linux 5.17 it is the status of the process's first thread, which may
    // have ended before the others. To those who may not look at the process it is
    // always 0.
    let status = stat.wait_status.filter(|_| is_at_least(5, 17))?;
    let is_shown = status != 0 || (procfs::may_look(shown, stat) && is_still_there());
    is_shown.then(|| Exit::from_raw(status))
}

/// Whether the kernel is of this version, or later. It is asked once, unless it refuses: a
/// sandbox can be that of one thread.
pub(crate) fn is_at_least(major: u32, minor: u32) -> bool {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    let version = VERSION.get().copied().or_else(|| {
        let version = kernel_version()?;
        Some(*VERSION.get_or_init(|| version))
    });
    version >= Some((major, minor))
}

/// `None` if a sandbox denies the call, which rustix does not expect.
fn kernel_version() -> Option<(u32, u32)> {
    let mut uname = MaybeUninit::uninit();
    // SAFETY: the kernel writes the answer to `uname`, which is live and large enough.
    if unsafe { libc::uname(uname.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, and so has filled it in.
    let uname = unsafe { uname.assume_init() };
    // SAFETY: the kernel ends each string with a zero.
    let release = unsafe { CStr::from_ptr(uname.release.as_ptr()) };
    let release = release.to_str().unwrap_or_default();
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    number().zip(number())
}

/// Whether a child of ours that has not exited for its parent is known to live: it might be
/// a zombie that somebody else traces. False says nothing.
///
/// A thread has a list of robust futexes from the start of most programs on, until it
/// ends. So one cheap call spares most children the opening of a pidfd.
pub(crate) fn is_sure_to_live(child: Pid) -> bool {
    let mut list = ptr::null_mut::<libc::c_void>();
    let mut size = 0_usize;
    // SAFETY: both answers are written to places that outlive the call; we do not follow
    // the pointer, which is the other process's.
    let answer = unsafe {
        let pid = child.get() as libc::pid_t;
        libc::syscall(libc::SYS_get_robust_list, pid, &raw mut list, &raw mut size)
    };
    answer == 0 && !list.is_null()
}

/// Whether a process has this number, alive or zombie; a thread's id is no process's.
/// `None`: nobody tells.
fn exists(pid: Pid) -> Option<bool> {
    let raw = pid.get() as libc::pid_t;
    // SAFETY: all three arguments are integers, and the null signal is only
    // checked, not sent.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, raw, raw, 0) };
    if answer == 0 {
        return Some(true);
    }
    if io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Some(false);
    }
    // `EPERM` may be the kernel's, of a process that we may not signal, or a
    // sandbox's, of every number. Others who know need no permission.
    //
    // SAFETY: takes a number. (rustix does not expect the 0 of a group whose leader is
    // outside of our pid namespace.)
    let group = unsafe { libc::getpgid(raw) };
    if group == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Some(false);
    }
    let shown = procfs::is_ours().then(|| procfs::is_process(pid)).flatten();
    shown.or_else(|| pidfd_can_be_opened(pid))
}

/// Other refusals than `ESRCH` say nothing about the process.
#[cfg(target_os = "linux")]
fn pidfd_can_be_opened(pid: Pid) -> Option<bool> {
    use rustix::process::{PidfdFlags, pidfd_open};
    match pidfd_open(pid.raw(), PidfdFlags::empty()) {
        Ok(_) => Some(true),
        Err(Errno::SRCH) => Some(false),
        Err(_) => None,
    }
}

/// There the sandbox may kill those who ask.
#[cfg(target_os = "android")]
fn pidfd_can_be_opened(_: Pid) -> Option<bool> {
    None
}
