//! macOS' process table: `proc_pidinfo` (sys/proc_info.h), and the null signal.

use super::exists;
use crate::{
    Exit,
    pid::Pid,
    sys::{Scope, Snapshot},
};
use std::{io, mem, process};

pub(crate) const SNAPSHOT_CALL: &str = "kill";

/// When the process started, by the clock at that time, in seconds and microseconds (XNU,
/// bsd/kern/kern_fork.c, forkproc).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64, u64);

impl Fingerprint {
    /// In microseconds.
    pub(crate) fn start_time(self) -> Option<u64> {
        self.0.checked_mul(1_000_000)?.checked_add(self.1)
    }
}

pub(crate) fn scope() -> Option<Scope> {
    Some(Scope::NOTHING_BUT_TIME)
}

pub(crate) fn snapshot(pid: Pid) -> io::Result<Option<Snapshot<Fingerprint>>> {
    if let Some(info) = info::<libc::proc_bsdinfo>(pid, libc::PROC_PIDTBSDINFO) {
        let is_zombie = info.pbi_status == libc::SZOMB;
        return Ok(Some(Snapshot {
            fingerprint: Some(Fingerprint(info.pbi_start_tvsec, info.pbi_start_tvusec)),
            is_child: info.pbi_ppid == process::id(),
            exit: is_zombie.then(|| Exit::from_raw((info.pbi_xstatus & 0xFFFF) as i32)),
        }));
    }
    // Of another user's process, only this is shown (XNU, bsd/kern/proc_info.c, proc_pidinfo).
    let info = info::<libc::proc_bsdshortinfo>(pid, libc::PROC_PIDT_SHORTBSDINFO);
    let is_zombie = info.as_ref().is_some_and(|info| info.pbsi_status == libc::SZOMB);
    Ok((info.is_some() || exists(pid)?).then_some(Snapshot {
        fingerprint: None,
        is_child: false,
        exit: is_zombie.then_some(Exit::UNKNOWN),
    }))
}

/// Structures that `proc_pidinfo` fills in.
///
/// # Safety
///
/// All bits zero, and what the kernel writes, are valid values.
unsafe trait Info {}

// SAFETY: integers and arrays of them.
unsafe impl Info for libc::proc_bsdinfo {}

// SAFETY: as above.
unsafe impl Info for libc::proc_bsdshortinfo {}

fn info<I: Info>(pid: Pid, flavor: i32) -> Option<I> {
    const ZOMBIES_TOO: u64 = 1;
    let size = mem::size_of::<I>() as i32;
    // SAFETY: `Info` promises that all bits zero are a valid value.
    let mut info: I = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which `info` has, and `Info` promises that
    // they are a valid value.
    let written = unsafe {
        libc::proc_pidinfo(
            pid.get() as i32,
            flavor,
            ZOMBIES_TOO,
            (&raw mut info).cast(),
            size,
        )
    };
    (written == size).then_some(info)
}
