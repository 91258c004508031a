//! Linux: `/proc`, and where that is missing, hidden or another pid namespace's,
//! the null signal.

use super::{
    Child, Look, peek_child,
    procfs::{self, Stat},
};
use crate::{Exit, pid::Pid};
use rustix::system::uname;
use std::io;

pub(crate) const CALL: &str = "tgkill";

/// When the process started, in clock ticks since the system did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

pub(crate) fn look(pid: Pid) -> io::Result<Look> {
    let stat = procfs::is_ours().then(|| Stat::read(pid)).flatten();
    if !exists(pid)? {
        return Ok(Look::Gone);
    }
    let Some(stat) = stat else {
        return Ok(match peek_child(pid) {
            Child::Exited(exit) => Look::Exited(None, exit),
            Child::Running | Child::NotOurs => Look::Running(None),
        });
    };
    let mark = Some(Mark(stat.start));
    if !stat.has_exited() {
        return Ok(Look::Running(mark));
    }
    // Read it again, so that the exit belongs to the process that was seen.
    let exit = zombie_exit(pid, pid)
        .filter(|_| Stat::read(pid).is_some_and(|again| again.start == stat.start));
    Ok(Look::Exited(mark, exit.unwrap_or(Exit::UNKNOWN)))
}

/// How a zombie exited, if we are told. `shown` is its pid in /proc, which may
/// be another pid namespace's.
///
/// The caller makes sure that the pid meant the same process before and after.
pub(crate) fn zombie_exit(shown: Pid, pid: Pid) -> Option<Exit> {
    let stat = Stat::read(shown).filter(Stat::has_exited)?;
    if let Child::Exited(exit) = peek_child(pid) {
        return Some(exit);
    }
    // Before Linux 5.17 it is the status of the process's first thread, which may
    // have ended before the others. To those who may not look at the process it is
    // always 0.
    let status = stat.wait_status.filter(|_| is_at_least(5, 17))?;
    (status != 0 || procfs::may_look(shown)).then(|| Exit::from_raw(status))
}

fn is_at_least(major: u32, minor: u32) -> bool {
    let uname = uname();
    let release = uname.release().to_str().unwrap_or_default();
    let mut numbers = release.split(|it: char| !it.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    number().zip(number()) >= Some((major, minor))
}

/// Whether a process has this pid, alive or zombie. Other than `kill`, `tgkill`
/// does not take a thread's id for one.
fn exists(pid: Pid) -> io::Result<bool> {
    let raw = pid.get() as libc::pid_t;
    // SAFETY: all three arguments are integers, and the null signal is only
    // checked, not sent.
    let answer = unsafe { libc::syscall(libc::SYS_tgkill, raw, raw, 0) };
    if answer == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) => Ok(false),
        // There is one, which we may not signal.
        Some(libc::EPERM | libc::EACCES) => Ok(true),
        _ => Err(error),
    }
}
