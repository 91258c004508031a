//! Windows.

pub(crate) mod handle;
pub(crate) mod pipes;
pub(crate) mod poller;
#[cfg(any(feature = "tokio", feature = "async-io"))]
pub(crate) mod runtime;
pub(crate) mod snapshot;
mod wait;
