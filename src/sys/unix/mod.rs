//! What Unix systems share.

pub(crate) mod child;
pub(crate) mod fd;
pub(crate) mod kill;
pub(crate) mod null_signal;
pub(crate) mod pipes;
pub(crate) mod poll;
pub(crate) mod posix;
mod reader;
#[cfg(any(feature = "tokio", feature = "async-io"))]
pub(crate) mod runtime;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_vendor = "apple",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos",
    target_os = "solaris",
)))]
pub(crate) mod unknown;
