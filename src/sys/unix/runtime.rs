//! An event in an async runtime: its reactor watches a duplicate of the event's descriptor.
//!
//! A duplicate, as a future can be leaked: a descriptor that stays open is better than a reactor
//! that goes on watching a number after it became another file's. And tokio accepts each number
//! only once, but two tasks can wait for one process.

use crate::sys::{BorrowedEvent, Interest, Registration};
use std::{io, os::fd::OwnedFd};

/// The reactors use an epoll here, which reports what is readable when it is registered
/// (fs/eventpoll.c, ep_insert and ep_modify).
const IS_EPOLL: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(kqueue_on_linux)
));

#[cfg(feature = "tokio")]
#[derive(Debug)]
pub(crate) struct TokioRegistration {
    fd: tokio::io::unix::AsyncFd<OwnedFd>,
    interest: Interest,
}

#[cfg(feature = "tokio")]
impl Registration for TokioRegistration {
    const REPORTS_PAST_EVENTS: bool = IS_EPOLL;

    fn new(event: BorrowedEvent<'_>, interest: Interest) -> io::Result<TokioRegistration> {
        use tokio::io::unix::AsyncFd;
        let fd = event.try_clone_to_owned()?;
        // Only one of the two: macOS refuses to watch a kqueue for more.
        let only = match interest {
            Interest::Readable => tokio::io::Interest::READABLE,
            Interest::Writable => tokio::io::Interest::WRITABLE,
        };
        // SAFETY: the descriptor is open, the same for as long as it is owned, and owned by
        // the `AsyncFd`, which deregisters it before it is closed.
        let fd = unsafe { AsyncFd::register_with_interest(fd, only) }?;
        Ok(TokioRegistration { fd, interest })
    }

    async fn ready(&self) -> io::Result<()> {
        match self.interest {
            Interest::Readable => self.fd.readable().await.map(drop),
            Interest::Writable => self.fd.writable().await.map(drop),
        }
    }
}

#[cfg(feature = "async-io")]
#[derive(Debug)]
pub(crate) struct AsyncIoRegistration {
    fd: async_io::Async<OwnedFd>,
    interest: Interest,
}

#[cfg(feature = "async-io")]
impl Registration for AsyncIoRegistration {
    const REPORTS_PAST_EVENTS: bool = IS_EPOLL;

    fn new(event: BorrowedEvent<'_>, interest: Interest) -> io::Result<AsyncIoRegistration> {
        // `Async::new` would set O_NONBLOCK, which duplicates share.
        let fd = async_io::Async::new_nonblocking(event.try_clone_to_owned()?)?;
        Ok(AsyncIoRegistration { fd, interest })
    }

    async fn ready(&self) -> io::Result<()> {
        match self.interest {
            Interest::Readable => self.fd.readable().await,
            Interest::Writable => self.fd.writable().await,
        }
    }
}

#[cfg(all(test, feature = "tokio", feature = "async-io"))]
mod tests {
    use super::*;
    use async_io::{Timer, block_on};
    use futures_lite::future::poll_once;
    use std::{
        io::{Read as _, Write as _},
        os::{fd::AsFd as _, unix::net::UnixStream},
        time::Duration,
    };

    async fn reports_each_event<R: Registration>() {
        let (mut watched, mut peer) = UnixStream::pair().unwrap();
        let is_ready = async |registration: &R| {
            Timer::after(Duration::from_millis(20)).await;
            poll_once(registration.ready()).await.is_some()
        };
        for _ in 0..3 {
            let registration = R::new(watched.as_fd(), Interest::Readable).unwrap();
            assert!(!is_ready(&registration).await);
            peer.write_all(b"x").unwrap();
            registration.ready().await.unwrap();
            drop(registration);
            if R::REPORTS_PAST_EVENTS {
                let registration = R::new(watched.as_fd(), Interest::Readable).unwrap();
                registration.ready().await.unwrap();
            }
            watched.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn events_are_reported_also_past_ones() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(reports_each_event::<TokioRegistration>());
        block_on(reports_each_event::<AsyncIoRegistration>());
    }
}
