//! What an async runtime needs of a set.

use super::{WaitSet, wait::Found};
use crate::{
    Error, Exit,
    backoff::Backoff,
    deadline::Deadline,
    sys::{BorrowedEvent, SetPoller as _},
};
use std::time::Duration;

impl WaitSet {
    /// Checks, within the budget of polling, and does not wait. `None` if there is something to
    /// wait for.
    pub(crate) fn poll(&mut self) -> Result<Option<Option<(u32, Exit)>>, Error> {
        match self.wait_for(Deadline::Now, false)? {
            Found::TimedOut => Ok(None),
            found => self.result_of(found).map(Some),
        }
    }

    /// When to check the next time, if there is no event before that.
    pub(crate) fn time_until_check(&self) -> Option<Duration> {
        let polling = if self.must_poll() {
            Some(self.backoff.remaining())
        } else {
            self.has_unconnected_waker().then_some(Backoff::MAX_DELAY)
        };
        polling.into_iter().chain(self.time_until_sweep()).min()
    }

    /// What becomes readable, or signaled, when there is something to return. `None` if all members
    /// are polled.
    pub(crate) fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        self.poller
            .as_ref()
            .filter(|_| !self.poller_failed)?
            .as_event()
    }
}
