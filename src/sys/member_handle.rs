//! The handle of a process in a set.

use super::Handle;
use std::{fmt::Debug, ops::Deref, sync::Arc};

/// A process that is open outside of the set, and watched.
pub(crate) trait OwnsHandle: Debug + Send + Sync {
    fn handle(&self) -> &Handle;
}

#[derive(Debug)]
pub(crate) enum MemberHandle {
    Owned(Handle),
    /// Of a `Process` that was inserted, so that both have one descriptor.
    Shared(Arc<dyn OwnsHandle>),
}

impl Deref for MemberHandle {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        match self {
            MemberHandle::Owned(handle) => handle,
            MemberHandle::Shared(process) => process.handle(),
        }
    }
}
