//! illumos and Solaris.

mod probe;
mod psinfo;

pub(crate) use self::probe::{Fingerprint, Probe, SNAPSHOT_CALL, scope, snapshot};
pub(crate) use super::unix::{
    child::{peek_child, try_wait},
    no_events::{Handle, Member, Poller},
};
