//! Process groups by number: the pid of the process that created the group, its leader. No other
//! process and no later group can get this number until the leader has been reaped and the group is
//! empty.

use super::result;
use crate::{Error, pid::Pid, sys::Signal};
use rustix::io::Errno;
use std::io;

/// An error for the groups that are never signaled: that of process 1, as -1 means every process
/// (kill(2)), and the caller's own.
pub(crate) fn refuse_group(pid: Pid) -> Result<(), Error> {
    let reason = if pid.get() == 1 {
        "-1 would mean every process"
    } else if own_group().map_err(|error| Error::os("getpgid", pid, error.into()))? == pid.get() {
        "it leads the process group of the caller"
    } else {
        return Ok(());
    };
    let refusal = io::Error::new(io::ErrorKind::InvalidInput, reason);
    Err(Error::os("kill", pid, refusal))
}

/// Whether the process with this pid leads a process group. False for zombies where `getpgid` does
/// not find them: on FreeBSD (sys/kern/kern_prot.c, sys_getpgid) and macOS (XNU,
/// bsd/kern/kern_prot.c, getpgid).
pub(crate) fn leads_group(pid: Pid) -> Result<bool, Error> {
    match process_group(pid) {
        Ok(group) => Ok(group == pid.get()),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(Error::os("getpgid", pid, error.into())),
    }
}

/// The process group of the process with this pid.
pub(crate) fn process_group(pid: Pid) -> Result<u32, Errno> {
    getpgid(pid.get() as libc::pid_t)
}

fn own_group() -> Result<u32, Errno> {
    getpgid(0)
}

/// 0 for a group whose leader is outside our pid namespace, which rustix does not expect.
fn getpgid(pid: libc::pid_t) -> Result<u32, Errno> {
    // SAFETY: it takes an integer.
    let group = result(unsafe { libc::getpgid(pid) })?;
    Ok(group as u32)
}

/// Sends a signal to the process group with this number, after a check that is as late as possible
/// (`leads_group`). False if the process no longer leads it, or no one is left in it.
pub(crate) fn signal_group_of(
    pid: Pid,
    signal: Signal,
    leads_group: impl Fn() -> Result<bool, Error>,
) -> Result<bool, Error> {
    if !leads_group()? {
        return Ok(false);
    }
    // SAFETY: the call takes no pointers.
    if unsafe { libc::kill(-(pid.get() as libc::pid_t), signal) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    // The error can be about a later group, or on macOS (EPERM) about a group of zombies.
    if Errno::from_io_error(&error) == Some(Errno::SRCH) || !leads_group()? {
        Ok(false)
    } else {
        Err(Error::os("kill", pid, error))
    }
}
