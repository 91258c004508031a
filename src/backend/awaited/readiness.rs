//! Unix, on an async runtime: its reactor waits for a duplicate of the exit's descriptor.
//!
//! A duplicate, as a future may be forgotten: it then keeps a descriptor open, which is
//! better than a reactor that goes on with a number after it became another file's. And
//! tokio takes each number only once, but two tasks may wait for one process.

use super::Watch;
use crate::backend::Event;
use std::{io, os::fd::OwnedFd};

fn duplicate(event: &Event) -> io::Result<OwnedFd> {
    let fd = event.as_event_fd().ok_or(io::ErrorKind::Unsupported)?;
    fd.try_clone_to_owned()
}

#[cfg(feature = "tokio")]
#[derive(Debug)]
pub(crate) struct OnTokio(tokio::io::unix::AsyncFd<OwnedFd>);

#[cfg(feature = "tokio")]
impl Watch for OnTokio {
    fn new(event: &Event) -> io::Result<OnTokio> {
        use tokio::io::{Interest, unix::AsyncFd};
        let fd = duplicate(event)?;
        // Nothing else but readable: macOS refuses to ask more of a kqueue.
        //
        // SAFETY: the descriptor is open, the same for as long as it is owned, and owned by
        // the `AsyncFd`, which deregisters it before it is closed.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(OnTokio(registered?))
    }

    async fn ready(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(feature = "async-io")]
#[derive(Debug)]
pub(crate) struct OnAsyncIo(async_io::Async<OwnedFd>);

#[cfg(feature = "async-io")]
impl Watch for OnAsyncIo {
    fn new(event: &Event) -> io::Result<OnAsyncIo> {
        // `Async::new` would set O_NONBLOCK, which duplicates share.
        async_io::Async::new_nonblocking(duplicate(event)?).map(OnAsyncIo)
    }

    async fn ready(&self) -> io::Result<()> {
        self.0.readable().await
    }
}
