//! Linux and Android.

pub(crate) mod handle;
#[cfg(not(kqueue_on_linux))]
pub(crate) mod poller;
pub(crate) mod probe;
pub(crate) mod procfs;
