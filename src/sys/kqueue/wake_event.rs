//! A pair of sockets that ends the wait of a kqueue. (OpenBSD, and NetBSD before 10, have no
//! EVFILT_USER, and one way for all systems is tested on each.)

use crate::sys::{
    KeepFd, WakeEvent,
    unix::fd::{GuardedFd, above_standard_streams, may_keep},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::{Errno, ioctl_fionbio, read, write},
};
use std::{io, os::unix::net::UnixStream};

/// Readable from `signal` until `reset`.
#[derive(Debug)]
pub(super) struct SocketPair {
    reader: GuardedFd,
    writer: GuardedFd,
}

impl SocketPair {
    pub(super) fn new() -> io::Result<SocketPair> {
        let (reader, writer) = UnixStream::pair()?;
        let prepare = |stream: UnixStream| {
            let fd = above_standard_streams(OwnedFd::from(stream))?;
            ioctl_fionbio(&fd, true)?;
            if may_keep(&fd, KeepFd::UnlessReserved) {
                Ok(fd.into())
            } else {
                Err(Errno::MFILE)
            }
        };
        Ok(SocketPair {
            reader: prepare(reader)?,
            writer: prepare(writer)?,
        })
    }
}

impl WakeEvent for SocketPair {
    fn signal(&self) {
        // If the buffer is full, it is readable.
        let _ = self.writer.with(|fd| write(fd, &[0]));
    }

    fn reset(&self) {
        let mut buffer = [0; 512];
        while let Ok(1..) = self.reader.with(|fd| read(fd, &mut buffer)) {}
    }
}

impl AsFd for SocketPair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
