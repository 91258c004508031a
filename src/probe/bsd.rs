//! FreeBSD, NetBSD, OpenBSD, DragonFly: the kernel's process table, by `sysctl`,
//! and the null signal.

use super::{Sight, exists};
use crate::{Exit, pid::Pid};
use std::{io, mem, ptr};

pub(crate) const CALL: &str = "kill";

/// When the process started, in seconds and microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(i64, i64);

/// What we need of a row of the table.
struct Row {
    pid: i32,
    mark: Option<Mark>,
    is_zombie: bool,
    wait_status: u16,
    #[cfg(target_os = "netbsd")]
    parent: i32,
}

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    match row(pid) {
        Some(row) if row.is_zombie => {
            let exit = Exit::from_raw(row.wait_status.into());
            return Ok(Sight::Exited(row.mark, exit));
        }
        Some(row) => return Ok(Sight::Running(row.mark)),
        // A jail may hide the process, or DragonFly the zombie.
        None => {}
    }
    if !exists(pid)? {
        return Ok(Sight::Gone);
    }
    Ok(match super::peek_child(pid) {
        super::Child::Exited(exit) => Sight::Exited(None, exit),
        _ => Sight::Running(None),
    })
}

cfg_if::cfg_if! {
    if #[cfg(target_os = "freebsd")] {
        type Info = libc::kinfo_proc;

        fn name(pid: i32) -> [i32; 4] {
            [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid]
        }

        fn read(info: &Info) -> Row {
            Row {
                pid: info.ki_pid,
                // The start time is told as the time since boot plus the time of
                // boot, and moves when the clock is set.
                mark: None,
                is_zombie: info.ki_stat == libc::SZOMB,
                wait_status: info.ki_xstat,
            }
        }
    } else if #[cfg(target_os = "dragonfly")] {
        type Info = libc::kinfo_proc;

        fn name(pid: i32) -> [i32; 4] {
            [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid]
        }

        fn read(info: &Info) -> Row {
            Row {
                pid: info.kp_pid,
                mark: Some(Mark(info.kp_start.tv_sec, info.kp_start.tv_usec)),
                is_zombie: info.kp_stat as u32 == libc::procstat::SZOMB as u32,
                wait_status: info.kp_exitstat,
            }
        }
    } else if #[cfg(target_os = "netbsd")] {
        type Info = libc::kinfo_proc2;

        fn name(pid: i32) -> [i32; 6] {
            let size = mem::size_of::<Info>() as i32;
            [libc::CTL_KERN, libc::KERN_PROC2, libc::KERN_PROC_PID, pid, size, 1]
        }

        fn read(info: &Info) -> Row {
            const SZOMB: u64 = 5;
            const SDEAD: u64 = 6;
            Row {
                pid: info.p_pid,
                // Zombies have none, and others not at every moment.
                mark: (info.p_uvalid != 0)
                    .then(|| Mark(info.p_ustart_sec.into(), info.p_ustart_usec.into())),
                is_zombie: matches!(info.p_realstat, SZOMB | SDEAD),
                wait_status: info.p_xstat,
                parent: info.p_ppid,
            }
        }
    } else if #[cfg(target_os = "openbsd")] {
        type Info = libc::kinfo_proc;

        fn name(pid: i32) -> [i32; 6] {
            let size = mem::size_of::<Info>() as i32;
            [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid, size, 1]
        }

        fn read(info: &Info) -> Row {
            const SDEAD: i8 = 6;
            Row {
                pid: info.p_pid,
                // As on FreeBSD.
                mark: None,
                is_zombie: info.p_stat == SDEAD,
                wait_status: info.p_xstat,
            }
        }
    }
}

fn row(pid: Pid) -> Option<Row> {
    let raw = pid.get() as i32;
    let name = name(raw);
    // SAFETY: the structure consists of integers, arrays of them and pointers that
    // we do not follow; all bits zero are a valid one.
    let mut info: Info = unsafe { mem::zeroed() };
    let mut size = mem::size_of::<Info>();
    // SAFETY: the name has as many elements as we say; the kernel writes at most
    // `size` bytes into the structure, and `size` itself, and both outlive the
    // call; there is no new value.
    let answer = unsafe {
        libc::sysctl(
            name.as_ptr(),
            name.len() as _,
            (&raw mut info).cast(),
            &mut size,
            ptr::null_mut(),
            0,
        )
    };
    // For a pid that nobody has, some answer with nothing instead of an error, and
    // FreeBSD takes a thread's id for its process's.
    (answer == 0 && size == mem::size_of::<Info>())
        .then(|| read(&info))
        .filter(|row| row.pid == raw)
}

/// NetBSD's `waitid` does not tell the status in a form that is known: the table
/// knows whose children are whose.
#[cfg(target_os = "netbsd")]
pub(crate) mod child {
    use super::row;
    use crate::{Exit, pid::Pid, probe::Child};
    use rustix::process::getpid;
    use std::{io, process};

    pub(crate) fn peek_child(pid: Pid) -> Child {
        match row(pid) {
            Some(row) if row.parent == getpid().as_raw_pid() => match row.is_zombie {
                true => Child::Exited(Exit::from_raw(row.wait_status.into())),
                false => Child::Running,
            },
            _ => Child::NotOurs,
        }
    }

    pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
        child.try_wait()
    }
}

/// OpenBSD's `waitid` is younger than some of what we run on, and its table is
/// closed to processes that have pledged not to use it: they would be killed.
/// So there is no look ahead of the kqueue.
#[cfg(target_os = "openbsd")]
pub(crate) mod child {
    use crate::{pid::Pid, probe::Child};
    use std::{io, process};

    pub(crate) fn peek_child(_: Pid) -> Child {
        Child::NotOurs
    }

    pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
        child.try_wait()
    }
}
