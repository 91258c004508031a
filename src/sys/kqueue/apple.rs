//! macOS: `proc_pidinfo`, and the null signal.

use crate::{
    Exit,
    pid::Pid,
    sys::{Sight, exists},
};
use std::{io, mem, process};

pub(crate) const CALL: &str = "kill";

/// When the process started, in seconds and microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64, u64);

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    if let Some(info) = info::<libc::proc_bsdinfo>(pid, libc::PROC_PIDTBSDINFO) {
        let mark = Some(Mark(info.pbi_start_tvsec, info.pbi_start_tvusec));
        let is_zombie = info.pbi_status == libc::SZOMB;
        return Ok(Sight::Seen {
            mark,
            is_ours: info.pbi_ppid == process::id(),
            exit: is_zombie.then(|| Exit::from_raw((info.pbi_xstatus & 0xFFFF) as i32)),
        });
    }
    // Of another user's process only this much is shown.
    if let Some(info) = info::<libc::proc_bsdshortinfo>(pid, libc::PROC_PIDT_SHORTBSDINFO) {
        return Ok(Sight::Seen {
            mark: None,
            is_ours: false,
            exit: (info.pbsi_status == libc::SZOMB).then_some(Exit::UNKNOWN),
        });
    }
    Ok(match exists(pid)? {
        true => Sight::Seen {
            mark: None,
            is_ours: false,
            exit: None,
        },
        false => Sight::Gone,
    })
}

/// Whether a child of ours that has not exited for its parent is known to live: it might be
/// a zombie that somebody else traces.
pub(crate) fn is_sure_to_live(child: Pid) -> bool {
    matches!(sight(child), Ok(Sight::Seen { exit: None, .. }))
}

/// Structures that `proc_pidinfo` fills in.
///
/// # Safety
///
/// All bits zero, and what the kernel writes, are valid ones.
unsafe trait Info {}

// SAFETY: integers and arrays of them.
unsafe impl Info for libc::proc_bsdinfo {}

// SAFETY: as above.
unsafe impl Info for libc::proc_bsdshortinfo {}

fn info<I: Info>(pid: Pid, flavor: i32) -> Option<I> {
    const ZOMBIES_TOO: u64 = 1;
    let size = mem::size_of::<I>() as i32;
    // SAFETY: `Info` promises that all bits zero are a valid one.
    let mut info: I = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which is the structure's, and
    // `Info` promises that they are a valid one.
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
