//! Unix, on an async runtime: its reactor waits for a duplicate of the exit's descriptor.
//!
//! A duplicate, as a future may be forgotten: it then keeps a descriptor open, which is
//! better than a reactor that goes on with a number after it became another file's. And
//! tokio takes each number only once, but two tasks may wait for one process.

use crate::sys::{Event, awaited::Watch};
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
        OnTokio::register(duplicate(event)?)
    }

    async fn ready(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(feature = "tokio")]
impl OnTokio {
    fn register(fd: OwnedFd) -> io::Result<OnTokio> {
        use tokio::io::{Interest, unix::AsyncFd};
        // Nothing else but readable: macOS refuses to ask more of a kqueue.
        //
        // SAFETY: the descriptor is open, the same for as long as it is owned, and owned by
        // the `AsyncFd`, which deregisters it before it is closed.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(OnTokio(registered?))
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

    /// Readiness that was none, as far as the process is concerned, is not told for ever.
    async fn is_told_each_time(watch: impl Watch, mut ours: UnixStream, mut theirs: UnixStream) {
        let is_told = async || {
            Timer::after(Duration::from_millis(20)).await;
            poll_once(watch.ready()).await.is_some()
        };
        for _ in 0..3 {
            assert!(!is_told().await);
            theirs.write_all(b"x").unwrap();
            watch.ready().await.unwrap();
            ours.read_exact(&mut [0]).unwrap();
        }
        assert!(!is_told().await);
    }

    #[test]
    fn spurious_readiness_is_forgotten() {
        let pair = || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (ours.try_clone().unwrap().into(), ours, theirs)
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let (fd, ours, theirs) = pair();
            is_told_each_time(OnTokio::register(fd).unwrap(), ours, theirs).await;
        });
        block_on(async {
            let (fd, ours, theirs) = pair();
            let watch = OnAsyncIo(Async::new_nonblocking(fd).unwrap());
            is_told_each_time(watch, ours, theirs).await;
        });
    }
}
