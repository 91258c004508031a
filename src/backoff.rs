//! Polling with exponential backoff.

use crate::deadline::{Deadline, sleep_until};
use std::time::{Duration, Instant};

/// When to check again. The delays are short at first, as most waits are for processes that are
/// about to exit, then double up to a bound that keeps an idle wait cheap. Checks take at most a
/// tenth of the time.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    delay: Duration,
    /// When the last check ended.
    last: Option<Instant>,
    /// How long the last check took.
    previous: Duration,
    /// How long a check takes: the shorter of the last two, as the other may have been
    /// interrupted.
    cost: Duration,
}

/// The result of an attempt that is made only if it is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt<T> {
    Done(T),
    RetryAfter(Duration),
}

impl Backoff {
    const MIN_DELAY: Duration = Duration::from_micros(100);
    pub(crate) const MAX_DELAY: Duration = Duration::from_millis(40);
    /// How many times longer than a check a delay is. 9 would make a tenth of the time. 14 leaves
    /// room for checks that take longer than `cost`.
    const IDLE_RATIO: u32 = 14;
    /// No check takes longer. If both of the last two seem to, the thread or the system was stopped.
    const MAX_COST: Duration = Duration::from_millis(250);

    /// Calls `check` if it is due, or in any case.
    pub(crate) fn attempt<T, E>(
        &mut self,
        in_any_case: bool,
        check: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Attempt<T>, E> {
        let found = if in_any_case || self.is_due() {
            self.run_timed(check)?
        } else {
            None
        };
        Ok(found.map_or_else(|| Attempt::RetryAfter(self.remaining()), Attempt::Done))
    }

    /// Runs a check, which increases the delay.
    pub(crate) fn run_timed<T>(&mut self, check: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = check();
        self.record_since(start);
        result
    }

    /// Records a check that began at `start`, and increases the delay.
    pub(crate) fn record_since(&mut self, start: Instant) {
        let end = Instant::now();
        self.record(end - start);
        self.last = Some(end);
    }

    fn record(&mut self, duration: Duration) {
        self.cost = duration.min(self.previous).min(Backoff::MAX_COST);
        self.previous = duration;
        self.delay = (self.delay * 2).clamp(Backoff::MIN_DELAY, Backoff::MAX_DELAY);
    }

    /// Starts again with short delays, for a new process.
    pub(crate) fn restart(&mut self) {
        self.delay = Duration::ZERO;
    }

    pub(crate) fn is_due(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The time until the next check is due.
    pub(crate) fn remaining(&self) -> Duration {
        self.remaining_of(self.delay.max(self.cost * Backoff::IDLE_RATIO))
    }

    /// Whether a check now would take at most a tenth of the time, even if it is not due.
    pub(crate) fn is_within_budget(&self) -> bool {
        self.remaining_of(self.cost * Backoff::IDLE_RATIO).is_zero()
    }

    /// The rest of `delay` since the last check.
    pub(crate) fn remaining_of(&self, delay: Duration) -> Duration {
        let elapsed = self.last.map_or(Duration::MAX, |last| last.elapsed());
        delay.saturating_sub(elapsed)
    }
}

impl Deadline {
    /// Calls `check`, with backoff, until it returns a value or the deadline has passed (`None`).
    pub(crate) fn poll<T, E>(
        self,
        backoff: &mut Backoff,
        mut check: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        self.poll_attempts(|is_last| backoff.attempt(is_last, &mut check))
    }

    /// The same if several threads share the backoff. `attempt` checks if it is the last one,
    /// and otherwise if a check is due.
    pub(crate) fn poll_attempts<T, E>(
        self,
        mut attempt: impl FnMut(bool) -> Result<Attempt<T>, E>,
    ) -> Result<Option<T>, E> {
        loop {
            // Read the clock, check, enforce the deadline, in this order: then what happened in
            // time is found even if this thread wakes up late.
            let is_last = self.has_passed();
            match attempt(is_last)? {
                Attempt::Done(value) => return Ok(Some(value)),
                Attempt::RetryAfter(_) if is_last => return Ok(None),
                Attempt::RetryAfter(delay) => sleep_until(self.capped(delay)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn deadline_is_followed_by_a_check() {
        let timeout = Duration::from_millis(10);
        let start = Instant::now();
        let mut last = start;
        let found = Deadline::after(timeout).poll(&mut Backoff::default(), || {
            last = Instant::now();
            Ok::<Option<()>, Infallible>(None)
        });
        assert_eq!(found, Ok(None));
        assert!(last - start >= timeout);
    }

    #[test]
    fn every_poll_checks_at_its_deadline() {
        let (mut backoff, mut checks) = (Backoff::default(), 0);
        for timeout in [Duration::ZERO, Duration::from_nanos(1)].repeat(100) {
            let before = checks;
            let found = Deadline::after(timeout).poll(&mut backoff, || {
                checks += 1;
                Ok::<Option<()>, Infallible>(None)
            });
            assert_eq!(found, Ok(None));
            assert!(checks > before);
        }
    }

    #[test]
    fn delays_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..11)
            .map(|_| {
                backoff.run_timed(|| ());
                backoff.delay.as_micros()
            })
            .collect();
        assert_eq!(
            delays,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 40000, 40000
            ]
        );
        backoff.restart();
        backoff.run_timed(|| ());
        assert_eq!(backoff.delay, Backoff::MIN_DELAY);
    }

    #[test]
    fn interrupted_check_does_not_delay_the_next_ones() {
        let mut backoff = Backoff::default();
        let [usual, interrupted] = [1, 1_000_000].map(Duration::from_micros);
        for duration in [usual, interrupted, usual] {
            backoff.record(duration);
            assert!(backoff.cost <= usual);
        }
        backoff.record(usual * 5);
        backoff.record(usual * 6);
        assert_eq!(backoff.cost, usual * 5);
    }
}
