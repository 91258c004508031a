//! illumos and Solaris.

pub(crate) mod handle;
mod poll_set;
pub(crate) mod probe;
mod psinfo;
