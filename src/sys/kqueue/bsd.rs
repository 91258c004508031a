//! The process table of FreeBSD, NetBSD, OpenBSD and DragonFly: `sysctl` (sysctl(3),
//! KERN_PROC), and the null signal.

use super::exists;
use crate::{
    Exit,
    pid::Pid,
    sys::{ChildState, Scope, Snapshot},
};
use std::{io, mem, process, ptr};

pub(crate) const SNAPSHOT_CALL: &str = "kill";

/// When the process started, in microseconds: on FreeBSD and OpenBSD since the system was booted, on
/// NetBSD and DragonFly by the clock at that time. NetBSD reads the clock of the last tick
/// (sys/kern/kern_fork.c, fork1: getmicrotime).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fingerprint(i64);

impl PartialEq for Fingerprint {
    /// OpenBSD adds the times in nanoseconds (sys/kern/kern_sysctl.c, fill_kproc), so the difference
    /// of the rounded ones can be another microsecond once the time of boot has moved.
    fn eq(&self, other: &Fingerprint) -> bool {
        self.0.abs_diff(other.0) <= 1
    }
}

impl Fingerprint {
    pub(crate) fn start_time(self) -> Option<u64> {
        self.0.try_into().ok()
    }
}

pub(crate) fn scope() -> Option<Scope> {
    cfg_if::cfg_if! {
        if #[cfg(target_os = "freebsd")] {
            let boot = boot_id()?;
        } else {
            let boot = boot_time()?.try_into().ok()?;
        }
    }
    Some(Scope {
        boot,
        pid_namespace: 0,
    })
}

/// Random bytes, since FreeBSD 13 (sys/kern/kern_mib.c, sysctl_bootid).
#[cfg(target_os = "freebsd")]
fn boot_id() -> Option<u128> {
    let mut id = [0; 16];
    let mut size = id.len();
    // SAFETY: the name ends with a zero. The kernel writes at most `size` bytes to `id`, and writes
    // `size`; both are live. There is no new value.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.boot_id".as_ptr(),
            id.as_mut_ptr().cast(),
            &mut size,
            ptr::null(),
            0,
        )
    };
    (result == 0 && size == id.len()).then(|| u128::from_be_bytes(id))
}

/// The fields of a row of the table that we need.
struct Row {
    pid: i32,
    parent: i32,
    /// In microseconds, as the kernel shows it.
    start: Option<i64>,
    is_zombie: bool,
    wait_status: u16,
}

impl Row {
    fn is_child(&self) -> bool {
        self.parent as u32 == process::id()
    }

    fn exit(&self) -> Option<Exit> {
        (self.is_zombie).then(|| Exit::from_raw(self.wait_status.into()))
    }
}

pub(crate) fn snapshot(pid: Pid) -> io::Result<Option<Snapshot<Fingerprint>>> {
    let before = boot_time();
    let mut row = row(pid);
    // Not if it has moved between the two reads: the start time would be wrong.
    let boot_time = boot_time().filter(|&after| before == Some(after));
    if row.is_none() {
        // A jail may hide the process.
        if !exists(pid)? {
            return Ok(None);
        }
        row = hidden_zombie(pid);
    }
    Ok(Some(match row {
        Some(row) => Snapshot {
            fingerprint: (row.start.zip(boot_time)).map(|(start, boot)| Fingerprint(start - boot)),
            is_child: row.is_child(),
            exit: row.exit(),
        },
        None => {
            let child = super::peek_child(pid);
            Snapshot {
                fingerprint: None,
                is_child: child != ChildState::NotAChild,
                exit: match child {
                    ChildState::Exited(exit) => Some(exit),
                    _ => None,
                },
            }
        }
    }))
}

fn row(pid: Pid) -> Option<Row> {
    let row = read(&sysctl(&name(pid.get() as i32))?);
    // For an unused pid, some kernels return an empty row instead of an error, and FreeBSD finds
    // the process of a thread by the thread's id.
    Some(row).filter(|row| row.pid == pid.get() as i32)
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
                start: Some(microseconds(info.ki_start.tv_sec, info.ki_start.tv_usec)),
                is_zombie: info.ki_stat == libc::SZOMB,
                wait_status: info.ki_xstat,
            }
        }
    } else if #[cfg(target_os = "dragonfly")] {
        /// In the libc crate, some of its fields are enums, for which not all bytes are valid.
        type Info = mem::MaybeUninit<libc::kinfo_proc>;

        fn name(pid: i32) -> [i32; 4] {
            [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid]
        }

        fn read(info: &Info) -> Row {
            let info = info.as_ptr();
            // SAFETY: all of it was zero, or the kernel has written it. These fields are
            // integers, and so is the state as the kernel has it.
            unsafe {
                let start = (&raw const (*info).kp_start).read();
                Row {
                    pid: (&raw const (*info).kp_pid).read(),
                    parent: (&raw const (*info).kp_ppid).read(),
                    start: Some(microseconds(start.tv_sec, start.tv_usec)),
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
                // Not set for zombies, and not at every moment for others.
                start: (info.p_uvalid != 0)
                    .then(|| microseconds(info.p_ustart_sec, info.p_ustart_usec)),
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
                // Not set for zombies.
                start: (info.p_uvalid != 0)
                    .then(|| microseconds(info.p_ustart_sec as i64, info.p_ustart_usec)),
                is_zombie: info.p_stat == SDEAD,
                wait_status: info.p_xstat,
            }
        }
    }
}

fn microseconds(seconds: impl Into<i64>, microseconds: impl Into<i64>) -> i64 {
    seconds.into() * 1_000_000 + microseconds.into()
}

/// FreeBSD (sys/kern/kern_proc.c, fill_kinfo_proc_only) and OpenBSD (sys/kern/kern_sysctl.c,
/// fill_kproc) add the time of boot to the start of each process. It moves when the clock is set,
/// though not when it is slewed (sys/kern/kern_tc.c, tc_setclock and tc_setrealtimeclock).
fn boot_time() -> Option<i64> {
    cfg_if::cfg_if! {
        if #[cfg(any(target_os = "freebsd", target_os = "openbsd"))] {
            let boot: libc::timeval = sysctl(&[libc::CTL_KERN, libc::KERN_BOOTTIME])?;
            Some(microseconds(boot.tv_sec, boot.tv_usec))
        } else {
            Some(0)
        }
    }
}

/// DragonFly's kernel finds a zombie only in the list of all processes (sys/kern/kern_proc.c).
#[cfg(target_os = "dragonfly")]
fn hidden_zombie(pid: Pid) -> Option<Row> {
    const ALL: [i32; 3] = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_ALL];
    let mut size = 0;
    // SAFETY: `ALL` has 3 elements; the kernel writes only the size that is needed.
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
    // There may be more processes by now.
    let mut rows: Vec<Info> = Vec::with_capacity(size / mem::size_of::<Info>() + 64);
    size = rows.capacity() * mem::size_of::<Info>();
    // SAFETY: as above, but it writes at most `size` bytes, which the vector has room for, and
    // then their number.
    let answer = unsafe {
        let buffer = rows.as_mut_ptr().cast();
        libc::sysctl(ALL.as_ptr(), 3, buffer, &mut size, ptr::null_mut(), 0)
    };
    if answer != 0 {
        return None;
    }
    // SAFETY: the kernel has written so many rows.
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
/// All bits zero, and what the kernel writes, are valid values.
unsafe trait SysctlValue {}

// SAFETY: integers, arrays of them, and pointers that we do not follow; or any bytes.
unsafe impl SysctlValue for Info {}

// SAFETY: two integers.
#[cfg(any(target_os = "freebsd", target_os = "openbsd"))]
unsafe impl SysctlValue for libc::timeval {}

fn sysctl<T: SysctlValue>(name: &[i32]) -> Option<T> {
    // SAFETY: `SysctlValue` promises that all bits zero are a valid value.
    let mut value: T = unsafe { mem::zeroed() };
    let mut size = mem::size_of::<T>();
    // SAFETY: `name` has as many elements as we say. The kernel writes at most `size` bytes to
    // `value`, and writes `size`; both are live. There is no new value. `SysctlValue` promises that
    // what was written is valid.
    let result = unsafe {
        libc::sysctl(
            name.as_ptr(),
            name.len() as _,
            (&raw mut value).cast(),
            &mut size,
            ptr::null_mut(),
            0,
        )
    };
    (result == 0 && size == mem::size_of::<T>()).then_some(value)
}

/// NetBSD's `waitid` does not report the status in a known form, so this reads the table.
#[cfg(target_os = "netbsd")]
pub(crate) fn peek_child(pid: Pid) -> ChildState {
    match row(pid) {
        Some(row) if row.is_child() => row.exit().map_or(ChildState::Running, ChildState::Exited),
        _ => ChildState::NotAChild,
    }
}

/// Not every OpenBSD that Rust supports has `waitid`, and a program that has pledged not to read the
/// process table would be killed. So a child cannot be checked without a kqueue.
#[cfg(target_os = "openbsd")]
pub(crate) fn peek_child(_: Pid) -> ChildState {
    ChildState::NotAChild
}

#[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
    child.try_wait()
}
