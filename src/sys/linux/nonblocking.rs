//! Reads a pipe without blocking, although other processes share its flags and may read from it.

use super::syscalls::result;
use crate::sys::unix::fd::above_standard_streams;
use rustix::{
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, fstat, open},
    io::Errno,
};
use std::{ffi::CStr, io::Write as _, mem::MaybeUninit};

/// `RWF_NOWAIT` of preadv2(2): for pipes since Linux 6.4.
pub(crate) const NOWAIT: libc::c_long = 8;
/// No kernel has this flag yet. One that checks the flags refuses it.
pub(crate) const NO_FLAG: libc::c_long = 1 << 30;

/// At the file's own offset. (rustix asks for bytes that are initialized, and older C libraries
/// lack the function.)
pub(crate) fn preadv2(
    fd: BorrowedFd<'_>,
    into: &mut [MaybeUninit<u8>],
    flag: libc::c_long,
) -> Result<usize, Errno> {
    /// Each half of the offset that stands for the file's own.
    const CURRENT: libc::c_long = -1;
    let fd = libc::c_long::from(fd.as_raw_fd());
    let vector = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let (vector, count): (_, libc::c_long) = (&raw const vector, 1);
    // SAFETY: the one vector lives until the call returns. It describes `into`, which is borrowed
    // for as long, and to which the kernel writes bytes.
    result(unsafe { libc::syscall(libc::SYS_preadv2, fd, vector, count, CURRENT, CURRENT, flag) })
}

pub(crate) const CAN_REOPEN: bool = true;

/// Opens the pipe again. The new open file description has an `O_NONBLOCK` that no other
/// process shares. (A terminal must not be opened so: for a master that makes a new terminal.)
pub(crate) fn reopen(pipe: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mut path = [0; 40];
    // Threads can have descriptor tables of their own: CLONE_FILES, clone(2).
    write!(&mut path[..], "/proc/thread-self/fd/{}\0", pipe.as_raw_fd()).ok()?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = above_standard_streams(open(path, flags, Mode::empty()).ok()?).ok()?;
    // Another file system can be mounted at /proc.
    let (pipe, opened_pipe) = (fstat(pipe).ok()?, fstat(&opened).ok()?);
    let is_same = (pipe.st_dev, pipe.st_ino) == (opened_pipe.st_dev, opened_pipe.st_ino);
    is_same.then_some(opened)
}
