//! FreeBSD, NetBSD, OpenBSD, DragonFly: the kernel's process table, by `sysctl`,
//! and the null signal.

use crate::{
    Exit,
    pid::Pid,
    sys::{Child, Sight, exists, peek_child},
};
use std::{io, mem, process, ptr};

pub(crate) const CALL: &str = "kill";

/// When the process started, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(i64);

impl PartialEq for Mark {
    /// As the time of boot that was taken from it may have been rounded, by up to one.
    fn eq(&self, other: &Mark) -> bool {
        self.0.abs_diff(other.0) <= 1
    }
}

/// What we need of a row of the table.
struct Row {
    pid: i32,
    parent: i32,
    mark: Option<Mark>,
    is_zombie: bool,
    wait_status: u16,
}

impl Row {
    fn is_ours(&self) -> bool {
        self.parent as u32 == process::id()
    }
}

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    let mut row = row(pid);
    if row.is_none() {
        // A jail may hide the process.
        if !exists(pid)? {
            return Ok(Sight::Gone);
        }
        row = hidden_zombie(pid);
    }
    Ok(match row {
        Some(row) => Sight::Seen {
            mark: row.mark,
            is_ours: row.is_ours(),
            exit: (row.is_zombie).then(|| Exit::from_raw(row.wait_status.into())),
        },
        None => {
            let child = peek_child(pid);
            Sight::Seen {
                mark: None,
                is_ours: child != Child::NotOurs,
                exit: match child {
                    Child::Exited(exit) => Some(exit),
                    _ => None,
                },
            }
        }
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
                parent: info.ki_ppid,
                mark: Some(mark(info.ki_start.tv_sec, info.ki_start.tv_usec)),
                is_zombie: info.ki_stat == libc::SZOMB,
                wait_status: info.ki_xstat,
            }
        }
    } else if #[cfg(target_os = "dragonfly")] {
        /// To the libc crate some of its fields are enums, of which not all bytes are
        /// valid ones.
        type Info = mem::MaybeUninit<libc::kinfo_proc>;

        fn name(pid: i32) -> [i32; 4] {
            [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid]
        }

        fn read(info: &Info) -> Row {
            let info = info.as_ptr();
            // SAFETY: all of it was zero, or the kernel has written it. These fields are
            // integers, and the state is as well, if it is read as one.
            unsafe {
                let start = (&raw const (*info).kp_start).read();
                Row {
                    pid: (&raw const (*info).kp_pid).read(),
                    parent: (&raw const (*info).kp_ppid).read(),
                    mark: Some(mark(start.tv_sec, start.tv_usec)),
                    is_zombie: (&raw const (*info).kp_stat).cast::<u32>().read()
                        == libc::procstat::SZOMB as u32,
                    wait_status: (&raw const (*info).kp_exitstat).read(),
                }
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
                parent: info.p_ppid,
                // Zombies have none, and others not at every moment.
                mark: (info.p_uvalid != 0)
                    .then(|| mark(info.p_ustart_sec, info.p_ustart_usec)),
                is_zombie: matches!(info.p_realstat, SZOMB | SDEAD),
                wait_status: info.p_xstat,
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
                parent: info.p_ppid,
                // Zombies have none.
                mark: (info.p_uvalid != 0)
                    .then(|| mark(info.p_ustart_sec as i64, info.p_ustart_usec)),
                is_zombie: info.p_stat == SDEAD,
                wait_status: info.p_xstat,
            }
        }
    }
}

fn mark(seconds: impl Into<i64>, microseconds: impl Into<i64>) -> Mark {
    Mark(seconds.into() * 1_000_000 + microseconds.into())
}

/// What the kernel adds to the start of each process: on FreeBSD and OpenBSD the time of
/// boot, which moves when the clock is set.
fn added() -> Option<Mark> {
    cfg_if::cfg_if! {
        if #[cfg(any(target_os = "freebsd", target_os = "openbsd"))] {
            let boot: libc::timeval = sysctl(&[libc::CTL_KERN, libc::KERN_BOOTTIME])?;
            Some(mark(boot.tv_sec, boot.tv_usec))
        } else {
            Some(Mark(0))
        }
    }
}

fn row(pid: Pid) -> Option<Row> {
    let raw = pid.get() as i32;
    let before = added();
    let mut row = read(&sysctl(&name(raw))?);
    // No mark, if it has moved just then.
    let added = added().filter(|&after| before == Some(after));
    let moved = row.mark.zip(added);
    row.mark = moved.map(|(start, added)| Mark(start.0 - added.0));
    // For a pid that nobody has, some answer with nothing instead of an error, and
    // FreeBSD takes a thread's id for its process's.
    Some(row).filter(|row| row.pid == raw)
}

/// Whether a child of ours that has not exited for its parent is known to live: it might be
/// a zombie that somebody else traces.
pub(crate) fn is_sure_to_live(child: Pid) -> bool {
    let row = sysctl(&name(child.get() as i32)).map(|info| read(&info));
    row.is_some_and(|row| row.pid == child.get() as i32 && !row.is_zombie)
}

/// DragonFly's kernel finds a zombie only among all processes.
#[cfg(target_os = "dragonfly")]
fn hidden_zombie(pid: Pid) -> Option<Row> {
    const ALL: [i32; 3] = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_ALL];
    let mut size = 0;
    // SAFETY: the name has as many elements as we say; the kernel writes nothing but the
    // size that it would take.
    let answer = unsafe {
        libc::sysctl(
            ALL.as_ptr(),
            3,
            ptr::null_mut(),
            &mut size,
            ptr::null_mut(),
            0,
        )
    };
    if answer != 0 {
        return None;
    }
    // There may be more of them by now.
    let mut rows: Vec<Info> = Vec::with_capacity(size / mem::size_of::<Info>() + 64);
    size = rows.capacity() * mem::size_of::<Info>();
    // SAFETY: as above, but that it writes at most `size` bytes into the vector's memory,
    // and how many it wrote.
    let answer = unsafe {
        let place = rows.as_mut_ptr().cast();
        libc::sysctl(ALL.as_ptr(), 3, place, &mut size, ptr::null_mut(), 0)
    };
    if answer != 0 {
        return None;
    }
    // SAFETY: it wrote so many rows.
    unsafe { rows.set_len(size / mem::size_of::<Info>()) };
    rows.iter()
        .map(read)
        .find(|row| row.pid == pid.get() as i32)
}

#[cfg(not(target_os = "dragonfly"))]
fn hidden_zombie(_: Pid) -> Option<Row> {
    None
}

/// What `sysctl` fills in.
///
/// # Safety
///
/// All bits zero, and what the kernel writes, are valid ones.
unsafe trait Told {}

// SAFETY: integers, arrays of them, and pointers that we do not follow; or any bytes.
unsafe impl Told for Info {}

// SAFETY: two integers.
#[cfg(any(target_os = "freebsd", target_os = "openbsd"))]
unsafe impl Told for libc::timeval {}

fn sysctl<T: Told>(name: &[i32]) -> Option<T> {
    // SAFETY: `Told` promises that all bits zero are a valid one.
    let mut told: T = unsafe { mem::zeroed() };
    let mut size = mem::size_of::<T>();
    // SAFETY: the name has as many elements as we say; the kernel writes at most
    // `size` bytes into the structure, and `size` itself, and both outlive the
    // call; there is no new value; and `Told` promises that what was written is valid.
    let answer = unsafe {
        libc::sysctl(
            name.as_ptr(),
            name.len() as _,
            (&raw mut told).cast(),
            &mut size,
            ptr::null_mut(),
            0,
        )
    };
    (answer == 0 && size == mem::size_of::<T>()).then_some(told)
}

/// NetBSD's `waitid` does not tell the status in a form that is known: the table
/// knows whose children are whose.
#[cfg(target_os = "netbsd")]
pub(crate) mod child {
    use super::row;
    use crate::{Exit, pid::Pid, sys::Child};
    use std::{io, process};

    pub(crate) fn peek_child(pid: Pid) -> Child {
        match row(pid) {
            Some(row) if row.is_ours() => match row.is_zombie {
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
    use crate::{pid::Pid, sys::Child};
    use std::{io, process};

    pub(crate) fn peek_child(_: Pid) -> Child {
        Child::NotOurs
    }

    pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
        child.try_wait()
    }
}
