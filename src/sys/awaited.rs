//! News of an exit for a task of an async runtime. `OnTokio` and `OnAsyncIo` are whatever
//! brings them there.

use crate::sys::Event;
use std::{future::Future, io, time::Duration};

cfg_if::cfg_if! {
    if #[cfg(windows)] {
        #[cfg(feature = "async-io")]
        pub(crate) use crate::sys::windows::runtime::Alarm as OnAsyncIo;
        #[cfg(feature = "tokio")]
        pub(crate) use crate::sys::windows::runtime::Alarm as OnTokio;
    } else {
        #[cfg(feature = "async-io")]
        pub(crate) use crate::sys::unix::runtime::OnAsyncIo;
        #[cfg(feature = "tokio")]
        pub(crate) use crate::sys::unix::runtime::OnTokio;
    }
}

pub(crate) trait Watch: Sized + Send + Sync {
    fn new(event: &Event) -> io::Result<Self>;

    /// Until there may be an exit, which `Event::exit` knows. An error: the runtime is gone.
    fn ready(&self) -> impl Future<Output = io::Result<()>> + Send;
}

cfg_if::cfg_if! {
    if #[cfg(any(kqueue_on_linux, target_vendor = "apple"))] {
        /// How often to look, as the kernel may not tell of an exit.
        pub(crate) const RECHECK: Option<Duration> = Some(crate::sys::kqueue::handle::Recheck::INTERVAL);
    } else {
        /// The kernel tells of every exit.
        pub(crate) const RECHECK: Option<Duration> = None;
    }
}
