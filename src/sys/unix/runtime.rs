//! A handle in an async runtime: its reactor watches a duplicate of the event's descriptor.
//!
//! A duplicate, as a future can be leaked: a descriptor that stays open is better than a reactor
//! that goes on watching a number after it became another file's. And tokio accepts each number
//! only once, but two tasks can wait for one process.

use crate::sys::{Handle, ProcessHandle as _, Registration};
use std::{io, os::fd::OwnedFd};

fn duplicate(handle: &Handle) -> io::Result<OwnedFd> {
    let fd = handle.as_event().ok_or(io::ErrorKind::Unsupported)?;
    fd.try_clone_to_owned()
}

#[cfg(feature = "tokio")]
#[derive(Debug)]
pub(crate) struct TokioRegistration(tokio::io::unix::AsyncFd<OwnedFd>);

#[cfg(feature = "tokio")]
impl Registration for TokioRegistration {
    fn new(handle: &Handle) -> io::Result<TokioRegistration> {
        TokioRegistration::of_fd(duplicate(handle)?)
    }

    async fn ready(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(feature = "tokio")]
impl TokioRegistration {
    fn of_fd(fd: OwnedFd) -> io::Result<TokioRegistration> {
        use tokio::io::{Interest, unix::AsyncFd};
        // Only readable: macOS refuses to watch a kqueue for more.
        //
        // SAFETY: the descriptor is open, the same for as long as it is owned, and owned by
        // the `AsyncFd`, which deregisters it before it is closed.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(TokioRegistration(registered?))
    }
}

#[cfg(feature = "async-io")]
#[derive(Debug)]
pub(crate) struct AsyncIoRegistration(async_io::Async<OwnedFd>);

#[cfg(feature = "async-io")]
impl Registration for AsyncIoRegistration {
    fn new(handle: &Handle) -> io::Result<AsyncIoRegistration> {
        // `Async::new` would set O_NONBLOCK, which duplicates share.
        async_io::Async::new_nonblocking(duplicate(handle)?).map(AsyncIoRegistration)
    }

    async fn ready(&self) -> io::Result<()> {
        self.0.readable().await
    }
}

#[cfg(all(test, feature = "tokio", feature = "async-io"))]
mod tests {
    use super::*;
    use async_io::{Async, Timer, block_on};
    use futures_lite::future::poll_once;
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        time::Duration,
    };

    async fn becomes_ready_once_per_event(
        registration: impl Registration,
        mut watched: UnixStream,
        mut peer: UnixStream,
    ) {
        let is_ready = async || {
            Timer::after(Duration::from_millis(20)).await;
            poll_once(registration.ready()).await.is_some()
        };
        for _ in 0..3 {
            assert!(!is_ready().await);
            peer.write_all(b"x").unwrap();
            registration.ready().await.unwrap();
            watched.read_exact(&mut [0]).unwrap();
        }
        assert!(!is_ready().await);
    }

    #[test]
    fn spurious_readiness_is_cleared() {
        let pair = || {
            let (watched, peer) = UnixStream::pair().unwrap();
            (watched.try_clone().unwrap().into(), watched, peer)
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let (fd, watched, peer) = pair();
            let registration = TokioRegistration::of_fd(fd).unwrap();
            becomes_ready_once_per_event(registration, watched, peer).await;
        });
        block_on(async {
            let (fd, watched, peer) = pair();
            let registration = AsyncIoRegistration(Async::new_nonblocking(fd).unwrap());
            becomes_ready_once_per_event(registration, watched, peer).await;
        });
    }
}
