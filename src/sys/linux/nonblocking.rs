//! Reads and writes pipes without blocking, although other processes share their flags and may read
//! and write as well.

use super::syscalls::is_kernel_at_least;
use crate::sys::unix::{
    fd::above_standard_streams,
    file::{fstat, open},
    result,
};
use rustix::{
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{ffi::CStr, io::Write as _, mem::MaybeUninit};

/// Whether the kernel has `RWF_NOWAIT` (preadv2(2)) for pipes. gVisor, which claims to be an older
/// Linux, ignores the flag.
pub(crate) fn has_flag_for_pipes() -> bool {
    is_kernel_at_least(6, 4)
}

/// At the file's own offset. (rustix asks for bytes that are initialized, and older C libraries
/// lack the function.)
pub(crate) fn preadv2(fd: BorrowedFd<'_>, into: &mut [MaybeUninit<u8>]) -> Result<usize, Errno> {
    let vector = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: the one vector lives until the call returns. It describes `into`, which is borrowed
    // for as long, and to which the kernel writes bytes.
    unsafe { transfer(libc::SYS_preadv2, fd, &vector, NOWAIT) }
}

/// At the file's own offset.
pub(crate) fn pwritev2(fd: BorrowedFd<'_>, from: &[u8]) -> Result<usize, Errno> {
    let vector = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let no_signal = if is_kernel_at_least(6, 18) {
        NOSIGNAL
    } else {
        0
    };
    // SAFETY: the one vector lives until the call returns. It describes `from`, which is borrowed
    // for as long, and from which the kernel only reads.
    unsafe { transfer(libc::SYS_pwritev2, fd, &vector, NOWAIT | no_signal) }
}

/// `RWF_NOWAIT`.
const NOWAIT: libc::c_long = 8;
/// `RWF_NOSIGNAL`: a broken pipe is an error only, and no SIGPIPE.
const NOSIGNAL: libc::c_long = 0x100;

/// # Safety
///
/// As for `call`, which is `preadv2` or `pwritev2`.
unsafe fn transfer(
    call: libc::c_long,
    fd: BorrowedFd<'_>,
    vector: &libc::iovec,
    flags: libc::c_long,
) -> Result<usize, Errno> {
    /// Each half of the offset that stands for the file's own.
    const CURRENT: libc::c_long = -1;
    let fd = libc::c_long::from(fd.as_raw_fd());
    let (vector, count): (*const _, libc::c_long) = (vector, 1);
    // SAFETY: the caller's contract.
    result(unsafe { libc::syscall(call, fd, vector, count, CURRENT, CURRENT, flags) })
}

/// Opens the pipe again. The new open file description has an `O_NONBLOCK` that no other
/// process shares. (A terminal must not be opened so: for a master that makes a new terminal.)
pub(crate) fn reopen(pipe: BorrowedFd<'_>, access: libc::c_int) -> Option<OwnedFd> {
    let mut path = [0; 40];
    // Threads can have descriptor tables of their own: CLONE_FILES, clone(2).
    write!(&mut path[..], "/proc/thread-self/fd/{}\0", pipe.as_raw_fd()).ok()?;
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    let flags = access | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = above_standard_streams(open(path, flags).ok()?).ok()?;
    // Another file system can be mounted at /proc.
    let (pipe, opened_pipe) = (fstat(pipe).ok()?, fstat(&opened).ok()?);
    let is_same = (pipe.st_dev, pipe.st_ino) == (opened_pipe.st_dev, opened_pipe.st_ino);
    is_same.then_some(opened)
}
