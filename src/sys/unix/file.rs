//! `open`, `fstat` and `lseek`. rustix has them, but the feature that they need, `fs`, takes longer to
//! compile than the rest of rustix, in every program that uses this crate.

use super::result;
use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    io::Errno,
};
use std::{ffi::CStr, mem::MaybeUninit};

cfg_if::cfg_if! {
    // The functions without "64" fail for large files on 32-bit processors. musl has no others.
    if #[cfg(any(all(target_os = "linux", not(target_env = "musl")), target_os = "android"))] {
        use libc::{fstat64 as libc_fstat, lseek64 as lseek, open64 as libc_open};
        pub(crate) use libc::stat64 as Stat;
    } else {
        use libc::{fstat as libc_fstat, lseek, open as libc_open};
        pub(crate) use libc::stat as Stat;
    }
}

/// The flags are those of open(2), with `O_CLOEXEC`.
pub(crate) fn open(path: &CStr, flags: libc::c_int) -> Result<OwnedFd, Errno> {
    const MODE: libc::c_uint = 0; // of a new file
    // SAFETY: the path ends with a NUL, and there is a mode if the flags ask for one.
    let fd = result(unsafe { libc_open(path.as_ptr(), flags | libc::O_CLOEXEC, MODE) })?;
    // SAFETY: the descriptor was just opened, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub(crate) fn fstat(fd: impl AsFd) -> Result<Stat, Errno> {
    let mut stat = MaybeUninit::zeroed();
    // SAFETY: the kernel writes to `stat`, which is live and large enough.
    result(unsafe { libc_fstat(fd.as_fd().as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: it consists of integers. They are zero if a sandbox has only feigned success.
    Ok(unsafe { stat.assume_init() })
}

/// One of libc's `S_IFIFO`, `S_IFREG` and so on.
pub(crate) fn file_type(stat: &Stat) -> libc::mode_t {
    stat.st_mode as libc::mode_t & libc::S_IFMT
}

/// Where the next read begins.
pub(crate) fn offset(fd: BorrowedFd<'_>) -> Option<u64> {
    // SAFETY: it takes integers.
    let offset = unsafe { lseek(fd.as_raw_fd(), 0, libc::SEEK_CUR) };
    offset.try_into().ok() // -1 is an error
}
