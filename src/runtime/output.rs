//! Awaiting the output of a child.

use super::{Awaitable, Registrations};
use crate::{lock::lock, sys::Registration, transfer::Transfer};
use std::{io, process::ExitStatus, sync::Mutex, time::Duration};

/// In a mutex, as a future that moves to another runtime is made anew, and borrows the transfer
/// again.
impl Awaitable for Mutex<Transfer<'_>> {
    type Output = ExitStatus;
    type Error = io::Error;

    fn check(&self, _: bool) -> io::Result<Option<ExitStatus>> {
        lock(self).poll()
    }

    fn has_more(&self) -> bool {
        lock(self).has_more()
    }

    fn time_until_check(&self) -> Option<Duration> {
        lock(self).time_until_poll()
    }

    fn register<R: Registration>(&self) -> Option<Registrations<R>> {
        let transfer = lock(self);
        let registrations = transfer.events().map(|event| {
            let (event, interest) = event?;
            Some(R::new(event, interest))
        });
        let has_events = registrations.iter().any(Option::is_some);
        has_events.then_some(registrations)
    }
}
