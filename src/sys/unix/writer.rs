//! Writes to the standard input of a child without blocking, and without changing its flags.

use super::{
    file::{file_type, fstat},
    reader::{is_refusal, nonblocking},
    result,
};
use crate::sys::InputBuffer;
use rustix::{
    event::PollFlags,
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    io::{Errno, write},
};
use std::io;

/// `poll` reports room in a pipe if there is room for so many bytes: 4 KiB on Linux (pipe(7)), and at
/// least 512 everywhere (POSIX, limits.h, _POSIX_PIPE_BUF).
const PIPE_BUF: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    4 * 1024
} else {
    512
};

#[derive(Debug)]
pub(in crate::sys) struct Input<'a> {
    /// `None` once everything was written, or the child no longer reads.
    fd: Option<OwnedFd>,
    buffer: &'a mut InputBuffer,
    method: Method,
    /// It is a terminal that has hung up and has no room. `poll` reports that at once, as long as the
    /// child does not open the terminal again, so it is polled again with backoff instead.
    is_suspended: bool,
}

/// How to write without blocking.
#[derive(Debug, Default)]
enum Method {
    #[default]
    Unknown,
    /// By `RWF_NOWAIT` (pwritev2(2)).
    Flag,
    /// By `O_NONBLOCK`, on an open file description of our own.
    Reopened(OwnedFd),
    /// By `MSG_DONTWAIT`.
    Socket,
    /// It is a file, which has no reader to wait for.
    File,
    /// So many bytes at once, right after `poll` has reported that there is room.
    AfterPoll(usize),
}

impl<'a> Input<'a> {
    /// Closes it if there is nothing to write.
    pub(in crate::sys) fn new(fd: Option<OwnedFd>, buffer: &'a mut InputBuffer) -> Input<'a> {
        Input {
            fd: fd.filter(|_| !buffer.unwritten().is_empty()),
            buffer,
            method: Method::default(),
            is_suspended: false,
        }
    }

    pub(super) fn fd_to_poll(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.fd.as_ref().filter(|_| !self.is_suspended);
        fd.map(OwnedFd::as_fd)
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Lets the next round poll it.
    pub(super) fn resume(&mut self) {
        self.is_suspended = false;
    }

    pub(in crate::sys) fn written(&self) -> u64 {
        self.buffer.written() as u64
    }

    /// Gives it back, unless it is closed.
    pub(in crate::sys) fn close(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }

    /// Writes once, and closes it after the last byte. `revents` is what `poll` has just reported.
    /// Returns whether anything was written.
    pub(super) fn write(&mut self, revents: PollFlags) -> io::Result<bool> {
        let Some(fd) = &self.fd else {
            return Ok(false);
        };
        let bytes = self.buffer.unwritten();
        match self.method.write(fd.as_fd(), bytes, revents) {
            Ok(written) => {
                self.buffer.advance(written);
                if self.buffer.unwritten().is_empty() {
                    self.end();
                }
                Ok(written > 0)
            }
            Err(Errno::AGAIN) => {
                self.is_suspended = revents == PollFlags::HUP;
                Ok(false)
            }
            Err(Errno::INTR) => Ok(false),
            // The child does not want the rest. (A socket whose peer was closed with data that it
            // has not read says ECONNRESET.)
            Err(Errno::PIPE | Errno::CONNRESET) => {
                self.end();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn end(&mut self) {
        self.fd = None;
        self.is_suspended = false;
        self.method = Method::default(); // It can own another descriptor of the pipe.
    }
}

impl Method {
    /// What `poll` reports room for (drivers/tty/n_tty.c, n_tty_poll).
    const TERMINAL_ROOM: usize = 1;

    fn write(
        &mut self,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
        revents: PollFlags,
    ) -> Result<usize, Errno> {
        /// As much as a pipe holds (pipe(7), pipe-max-size), unless root has made it larger.
        const MAX_WRITE: usize = 1024 * 1024;
        let bytes = &bytes[..bytes.len().min(MAX_WRITE)];
        if let Method::Unknown = self {
            *self = if nonblocking::has_flag_for_pipes() {
                Method::Flag
            } else {
                Method::without_flag(fd)
            };
        }
        if let Method::Flag = self {
            match nonblocking::pwritev2(fd, bytes) {
                // A sandbox can feign success, with 0.
                Ok(0) => *self = Method::without_flag(fd),
                Err(error) if is_refusal(error) => *self = Method::without_flag(fd),
                result => return result,
            }
        }
        match self {
            Method::Reopened(own) => write(own, bytes),
            Method::Socket => send(fd, bytes),
            Method::AfterPoll(_) if revents.is_empty() => Err(Errno::OPNOTSUPP),
            // Without POLLOUT, there is no room: a write would wait until the child opens the terminal
            // again and reads (drivers/tty/n_tty.c, n_tty_write).
            Method::AfterPoll(Method::TERMINAL_ROOM) if revents == PollFlags::HUP => {
                Err(Errno::AGAIN)
            }
            Method::AfterPoll(max) => write(fd, &bytes[..bytes.len().min(*max)]),
            _ => write(fd, bytes),
        }
    }

    fn without_flag(fd: BorrowedFd<'_>) -> Method {
        match fstat(fd).map(|stat| file_type(&stat)) {
            Ok(libc::S_IFIFO) => match nonblocking::reopen(fd, libc::O_WRONLY) {
                Some(own) => Method::Reopened(own),
                None => Method::AfterPoll(PIPE_BUF),
            },
            Ok(libc::S_IFSOCK) => Method::Socket,
            Ok(libc::S_IFREG) => Method::File,
            _ => Method::AfterPoll(Method::TERMINAL_ROOM),
        }
    }
}

/// As `write` to a socket, but never blocks, and never raises SIGPIPE where the system has a flag for
/// that.
fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    #[cfg(not(target_vendor = "apple"))]
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    const FLAGS: libc::c_int = libc::MSG_DONTWAIT;
    // SAFETY: the pointer and the length are those of `bytes`, which the kernel only reads.
    result(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), FLAGS) })
}
