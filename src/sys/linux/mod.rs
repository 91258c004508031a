//! Linux and Android.

pub(crate) mod handle;
pub(crate) mod nonblocking;
#[cfg(not(kqueue_on_linux))]
mod poller;
pub(crate) mod probe;
pub(crate) mod procfs;
mod syscalls;
#[cfg(not(kqueue_on_linux))]
mod wake_event;

#[cfg(not(kqueue_on_linux))]
pub(crate) use self::poller::{Member, Poller};
#[cfg(fuzzing)]
pub(crate) use self::procfs::fuzz as fuzz_procfs;
pub(crate) use self::{
    handle::Handle,
    probe::{Probe, scope, try_wait_unless_reused},
};
pub(crate) use super::unix::child::{peek_child, try_wait};
