//! Notices whether processes have exited, children or not.

#![allow(unreachable_pub)]

use rustix::io::{FdFlags, fcntl_setfd};
use std::{
    io::{self, Read as _},
    os::unix::net::UnixStream,
    time::Duration,
};

/// A stream that ends once all processes that inherited its other end have exited. A test with this
/// runs in a subprocess, as a process that another test starts would inherit the stream, too.
pub struct Survivors(UnixStream);

impl Survivors {
    /// Of the processes that this function starts, and those that they start.
    pub fn of<T>(start: impl FnOnce() -> T) -> (T, Survivors) {
        let (our_end, inherited_end) = UnixStream::pair().unwrap();
        fcntl_setfd(&inherited_end, FdFlags::empty()).unwrap();
        (start(), Survivors(our_end))
    }

    /// Waits until all have exited. False if one is still running at the timeout.
    pub fn have_exited(&self, timeout: Duration) -> bool {
        self.0.set_read_timeout(Some(timeout)).unwrap();
        match (&self.0).read(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}
