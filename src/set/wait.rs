//! Waits for the next exit of a set, or for a wake.

use super::WaitSet;
use crate::{
    Error, Exit,
    deadline::{Deadline, sleep_until},
    sys::{Poller, SetPoller as _, Token},
};
use std::{mem, time::Duration};

/// What a wait has found.
pub(super) enum Found {
    Exit(u32, Exit),
    Wake,
    /// There is nothing to wait for.
    Empty,
    TimedOut,
}

impl WaitSet {
    pub(crate) fn wait_until(&mut self, deadline: Deadline) -> Result<Option<(u32, Exit)>, Error> {
        let found = self.wait_for(deadline, deadline == Deadline::Now)?;
        self.result_of(found)
    }

    pub(super) fn result_of(&mut self, found: Found) -> Result<Option<(u32, Exit)>, Error> {
        match found {
            Found::Exit(pid, exit) => Ok(Some((pid, exit))),
            Found::Empty => Ok(None),
            Found::Wake | Found::TimedOut => self.failure.take().map_or(Ok(None), Err),
        }
    }

    /// Waits for an exit or a wake. `check_all`: checks all members that are polled at least once,
    /// even if that takes more than their share of the time.
    pub(super) fn wait_for(&mut self, deadline: Deadline, check_all: bool) -> Result<Found, Error> {
        let found = self.next_found(deadline, check_all);
        self.update_event();
        found
    }

    fn next_found(&mut self, deadline: Deadline, check_all: bool) -> Result<Found, Error> {
        if !self.wake_is_queued {
            self.failure = None;
        }
        let mut check_now = check_all;
        let mut is_over = false;
        loop {
            if self.has_new_wake() {
                self.queue_wake();
            }
            if let Some(found) = self.next_ready() {
                return Ok(found);
            }
            if self.is_empty() && !self.has_wakers() {
                return Ok(Found::Empty);
            }
            if is_over {
                // An event can be late.
                if Poller::HAS_LATE_EVENTS && (check_all || self.sweeps.is_within_budget()) {
                    self.sweep();
                }
                return Ok(self.next_ready().unwrap_or(Found::TimedOut));
            }
            // Read the clock, check, enforce the deadline, in this order: then what happened in
            // time is found even if this thread wakes up late.
            is_over = deadline.has_passed();
            if self.must_poll() {
                let is_affordable = is_over && self.backoff.is_within_budget();
                if check_now || is_affordable || self.backoff.is_due() {
                    self.check_polled()?;
                }
            }
            // Takes events also if a check has found an exit. Otherwise the exits of polled members
            // could keep those of watched ones from being reported.
            check_now = self.wait_for_events(deadline);
            is_over &= !check_now;
        }
    }

    fn next_ready(&mut self) -> Option<Found> {
        if let Some(replaced) = self.replaced.pop_front() {
            let exit = replaced.exit.unwrap_or(Exit::UNKNOWN);
            return Some(Found::Exit(replaced.pid.get(), exit));
        }
        while let Some(ready) = self.ready.pop() {
            if ready.token == Token::WAKE {
                self.wake_is_queued = false;
                if let Some(wake) = self.wake.get() {
                    wake.take();
                }
                return Some(Found::Wake);
            }
            let pid = ready.token.pid;
            let Some(member) = self.members.get(&pid) else {
                continue;
            };
            if !self.is_member(ready.token) {
                continue;
            }
            let exit = match (&member.polling, &member.watched, &mut self.poller) {
                _ if member.exit.is_some() => Ok(member.exit),
                (None, Some(watched), Some(poller)) => poller.exit(watched, ready),
                _ => continue,
            };
            match exit {
                Ok(Some(exit)) => {
                    let exit = member.first_exit(exit);
                    self.members.remove(&pid);
                    self.polled.remove(&pid);
                    return Some(Found::Exit(pid, exit));
                }
                Ok(None) => {}
                // There will be no other event.
                Err(_) => {
                    self.polled.insert(pid);
                    self.backoff.restart();
                }
            }
        }
        None
    }

    /// False if the member has been removed since, or is no longer the one with its pid.
    pub(super) fn is_member(&self, token: Token) -> bool {
        let member = self.members.get(&token.pid);
        member.is_some_and(|member| member.token() == token)
    }

    /// Sleeps until an event, the next check, or the deadline. True if all members must be checked
    /// now, as the wait for events has just failed.
    fn wait_for_events(&mut self, deadline: Deadline) -> bool {
        let mut wake_at = deadline;
        if self.must_poll() {
            wake_at = wake_at.capped(self.backoff.remaining());
        }
        if let Some(delay) = self.time_until_sweep() {
            wake_at = wake_at.capped(delay);
        }
        if !self.ready.is_empty() || self.has_new_wake() {
            wake_at = Deadline::Now;
        }
        let Some(poller) = &mut self.poller else {
            self.sleep_until(wake_at);
            return false;
        };
        if poller.wait(&self.ready, wake_at).is_ok() {
            self.poller_failed = false;
            let is_due = |interval| self.sweeps.remaining_of(interval).is_zero();
            if self.ready.is_empty() && Poller::sweep_interval().is_some_and(is_due) {
                self.sweep();
            }
            return false;
        }
        if mem::replace(&mut self.poller_failed, true) {
            self.sleep_until(wake_at);
            return false;
        }
        self.backoff.restart();
        true
    }

    /// Sleeps without a poller.
    fn sleep_until(&self, deadline: Deadline) {
        match self.wake.get() {
            Some(wake) => wake.sleep_until(deadline),
            None => sleep_until(deadline),
        }
    }

    /// `None` without a poller, or while it fails, as all members are polled then.
    pub(super) fn time_until_sweep(&self) -> Option<Duration> {
        let has_events = self.poller.is_some() && !self.poller_failed;
        let interval = Poller::sweep_interval().filter(|_| has_events)?;
        Some(self.sweeps.remaining_of(interval))
    }
}
