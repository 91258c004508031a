//! Linux and Android.

pub(crate) mod handle;
pub(crate) mod nonblocking;
mod poller;
pub(crate) mod probe;
pub(crate) mod procfs;
mod syscalls;

#[cfg(fuzzing)]
pub(crate) use self::procfs::fuzz as fuzz_procfs;
pub(crate) use self::{
    handle::Handle,
    poller::{Member, Poller},
    probe::{Probe, try_wait_unless_reused},
};
pub(crate) use super::unix::child::{peek_child, try_wait};
