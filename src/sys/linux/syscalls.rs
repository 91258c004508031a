//! System calls that rustix does not have, or not for all that we need.
//!
//! On Android, the seccomp filter of apps kills a process that makes a call which the filter does not
//! know. There, such calls fail without being made.

use crate::{pid::Pid, sys::unix::result};
use rustix::{
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{ffi::CStr, mem::MaybeUninit, ptr, sync::OnceLock};

#[cfg(not(target_os = "android"))]
pub(super) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    use rustix::process::{PidfdFlags, pidfd_open};
    pidfd_open(pid.raw(), PidfdFlags::empty())
}

/// rustix does not have it for Android.
#[cfg(target_os = "android")]
pub(super) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    use rustix::fd::FromRawFd as _;
    if !is_pidfd_open_allowed() {
        return Err(Errno::NOSYS);
    }
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.get() as libc::pid_t, 0) };
    let fd = result(fd)?;
    // SAFETY: the descriptor was just opened, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as _) })
}

/// Before Android 12 (API level 31), the sandbox of apps kills those who call `pidfd_open`.
#[cfg(target_os = "android")]
fn is_pidfd_open_allowed() -> bool {
    let mut level = [0_u8; libc::PROP_VALUE_MAX as usize];
    // SAFETY: the name ends with a NUL, and there is room for the longest value that a property
    // can have, with its NUL.
    let length = unsafe {
        libc::__system_property_get(c"ro.build.version.sdk".as_ptr(), level.as_mut_ptr().cast())
    };
    let level = level.get(..length as usize).unwrap_or_default();
    let level = std::str::from_utf8(level)
        .ok()
        .and_then(|level| level.parse().ok());
    level.is_some_and(|level: u32| level >= 31)
}

/// Sends a signal to the process of a pidfd, or of a directory in /proc. rustix does that only for
/// the signals that it names.
pub(super) fn pidfd_send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    pidfd_send_signal_with(process, signal, 0)
}

/// Sends a signal to the process group whose id is that process, even if it has been reaped or has
/// left the group. A later group with the same number is not reached: the call fails with ESRCH, as
/// if there is no such group (kernel/signal.c, kill_pgrp_info). ENOSYS if the kernel cannot do that.
pub(super) fn pidfd_signal_group(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    /// Linux 6.9 and later (include/uapi/linux/pidfd.h).
    const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2;
    match pidfd_send_signal_with(process, signal, PIDFD_SIGNAL_PROCESS_GROUP) {
        // An older kernel does not know the flag. But every kernel refuses a process outside our
        // pid namespace (kernel/signal.c, access_pidfd_pidns), in which another can have its number.
        Err(Errno::INVAL)
            if !is_kernel_at_least(6, 9) && pidfd_send_signal(process, 0) != Err(Errno::INVAL) =>
        {
            Err(Errno::NOSYS)
        }
        result => result,
    }
}

fn pidfd_send_signal_with(process: BorrowedFd<'_>, signal: i32, flags: u32) -> Result<(), Errno> {
    if cfg!(target_os = "android") {
        return Err(Errno::NOSYS);
    }
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: it takes integers and a pointer, which may be null.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            no_info,
            flags,
        )
    };
    result(returned).map(drop)
}

/// `struct pidfd_info` in its first version, of 64 bytes (include/uapi/linux/pidfd.h).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    other_ids: [u32; 10],
    /// A wait status.
    exit_code: i32,
}

impl PidfdInfo {
    /// Nothing that the kernel writes: a wait status has 16 bits.
    const NO_STATUS: i32 = -1;

    fn get(pidfd: BorrowedFd<'_>, mask: u64) -> Option<PidfdInfo> {
        use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
        const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xFF, 11);
        let mut info = PidfdInfo {
            mask,
            exit_code: PidfdInfo::NO_STATUS,
            ..PidfdInfo::default()
        };
        // SAFETY: the opcode says that the kernel reads and writes as many bytes as `PidfdInfo` has,
        // `info` is borrowed for the call, and any bytes are a valid `PidfdInfo`.
        unsafe { ioctl(pidfd, Updater::<PIDFD_GET_INFO, _>::new(&mut info)) }.ok()?;
        Some(info)
    }
}

/// The pid of a process in our pid namespace, since Linux 6.13. `None` if it has been reaped, or has
/// none there.
pub(super) fn pidfd_pid(pidfd: BorrowedFd<'_>) -> Option<Pid> {
    const PIDFD_INFO_PID: u64 = 1 << 0;
    let info = PidfdInfo::get(pidfd, PIDFD_INFO_PID)?;
    Pid::new(info.pid).ok()
}

/// The wait status of a reaped process, which Linux 6.15 and later keep for those who have a
/// pidfd of it. `None` if it is not reaped, or not kept.
pub(super) fn pidfd_exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    let info = PidfdInfo::get(pidfd, PIDFD_INFO_EXIT)?;
    // Without the bit, the process was not reaped, and the field means nothing. If the field is
    // unchanged, a sandbox has only feigned success.
    let is_set = info.mask & PIDFD_INFO_EXIT != 0 && info.exit_code != PidfdInfo::NO_STATUS;
    is_set.then_some(info.exit_code)
}

/// How many events are taken from an epoll at once.
pub(super) const BATCH: usize = 256;

/// rustix' `epoll::wait` has milliseconds.
pub(super) fn epoll_pwait2(
    epoll: BorrowedFd<'_>,
    events: &mut [MaybeUninit<rustix::event::epoll::Event>; BATCH],
    timeout: std::time::Duration,
) -> Result<usize, Errno> {
    /// `struct __kernel_timespec`, of 64 bits everywhere.
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    if cfg!(target_os = "android") {
        return Err(Errno::NOSYS);
    }
    let timeout = Timespec {
        seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: timeout.subsec_nanos().into(),
    };
    // SAFETY: the kernel writes at most `BATCH` events into the array, in rustix's layout, which
    // is the kernel's. It reads the timeout. Both are live. There is no signal mask.
    result(unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            events.as_mut_ptr(),
            BATCH as i32,
            &raw const timeout,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    })
}

/// The path to which a link leads, cut off if it does not fit.
pub(super) fn readlink<'a>(link: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let (start, size) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the path of the link ends with a NUL. The kernel writes `size` bytes at most to the
    // buffer, which is borrowed for the call.
    let length = result(unsafe { libc::readlinkat(libc::AT_FDCWD, link.as_ptr(), start, size) })?;
    Ok(&buffer[..length])
}

/// The flags that were given to `open`, as far as `fcntl` reports them (F_GETFL, fcntl(2)).
pub(super) fn status_flags(fd: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
    // SAFETY: it takes integers.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    result(flags).map(|_| flags)
}

/// `tgkill` with the null signal: only a process has a thread of the same id. The errors are
/// ESRCH, and EPERM if we may not signal it, or a sandbox denies the call.
pub(super) fn test_thread_group(pid: Pid) -> Result<(), Errno> {
    let raw = pid.get() as libc::pid_t;
    // SAFETY: it takes integers, and the null signal is only checked, not sent.
    result(unsafe { libc::syscall(libc::SYS_tgkill, raw, raw, 0) }).map(drop)
}

/// Whether the kernel is of this version, or later. The answer is kept, but not a refusal: the
/// sandbox can be that of one thread.
pub(super) fn is_kernel_at_least(major: u32, minor: u32) -> bool {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    let version = VERSION.get().copied().or_else(|| {
        let version = kernel_version()?;
        Some(*VERSION.get_or_init(|| version))
    });
    version >= Some((major, minor))
}

/// `None` if a sandbox denies the call, which rustix does not expect.
fn kernel_version() -> Option<(u32, u32)> {
    let mut uname = MaybeUninit::zeroed();
    // SAFETY: the kernel writes the answer to `uname`, which is live and large enough.
    if unsafe { libc::uname(uname.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: it consists of arrays of integers. They are zero if a sandbox has only feigned success.
    let uname: libc::utsname = unsafe { uname.assume_init() };
    // SAFETY: the string ends with a NUL, whether the kernel has written it or not.
    let release = unsafe { CStr::from_ptr(uname.release.as_ptr()) };
    let release = release.to_str().unwrap_or_default();
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    number().zip(number())
}
