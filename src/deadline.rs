//! Deadlines, and sleeping until them.

use crate::lock::lock;
use std::{
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The longest single sleep; a longer wait consists of several. NetBSD, OpenBSD and FreeBSD refuse
/// huge timeouts (kevent(2), EINVAL), and Windows counts milliseconds in 32 bits.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The moment a wait gives up. It is computed once per wait, so that neither a signal nor a
/// fallback to another backend starts the timeout again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Check once. This does not need the clock.
    Now,
    At(Instant),
    Never,
}

impl Deadline {
    /// A timeout that the clock cannot represent never passes.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        if timeout.is_zero() {
            return Deadline::Now;
        }
        Instant::now()
            .checked_add(timeout)
            .map_or(Deadline::Never, Deadline::At)
    }

    pub(crate) fn at(instant: Instant) -> Deadline {
        if instant <= Instant::now() {
            Deadline::Now
        } else {
            Deadline::At(instant)
        }
    }

    pub(crate) fn from_timeout(timeout: Option<Duration>) -> Deadline {
        timeout.map_or(Deadline::Never, Deadline::after)
    }

    /// The earlier of this deadline and the end of `timeout`, which starts now.
    pub(crate) fn capped(self, timeout: Duration) -> Deadline {
        match (self, Deadline::after(timeout)) {
            (Deadline::At(deadline), Deadline::At(cap)) => Deadline::At(deadline.min(cap)),
            (Deadline::Now, _) | (_, Deadline::Now) => Deadline::Now,
            (Deadline::Never, other) | (other, Deadline::Never) => other,
        }
    }

    /// Zero once the deadline has passed, `None` if it never does.
    fn remaining(self) -> Option<Duration> {
        match self {
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Deadline::Never => None,
        }
    }

    pub(crate) fn has_passed(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// Calls `sleep` until it returns true, or the deadline has passed (false).
    ///
    /// `sleep` gets its longest duration (`None`: no limit). It may return early or be interrupted,
    /// and must check for its event at the end.
    #[allow(dead_code)] // Not used by systems that only poll.
    pub(crate) fn sleep(
        self,
        mut sleep: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        loop {
            // Read the clock, check, enforce the deadline, in this order: then what happened in
            // time is found even if this thread was stopped, or a signal handler took long.
            let remaining = self.remaining();
            match sleep(remaining.map(|remaining| remaining.min(MAX_SLEEP))) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if remaining == Some(Duration::ZERO) {
                return Ok(false);
            }
        }
    }
}

/// Sleeps until the deadline has passed. Every blocking sleep that is not a wait for an event is made
/// here.
///
/// `thread::sleep` panics if a sandbox denies `clock_nanosleep`. It also sleeps for a relative
/// time: under signals that arrive faster than the timer slack (`PR_SET_TIMERSLACK(2const)`),
/// the time that remains never shrinks, and it does not return. A condition variable has
/// neither fault: on Linux it sleeps in `futex(2)` until an absolute time.
pub(crate) fn sleep_until(deadline: Deadline) {
    let (mutex, never_notified) = (Mutex::new(()), Condvar::new());
    drop(sleep_on(&never_notified, lock(&mutex), deadline, || false));
}

/// The same until `is_woken`, which changes before the condition variable is notified.
pub(crate) fn sleep_on<'a, T>(
    condvar: &Condvar,
    mut guard: MutexGuard<'a, T>,
    deadline: Deadline,
    is_woken: impl Fn() -> bool,
) -> MutexGuard<'a, T> {
    loop {
        let remaining = deadline.remaining().unwrap_or(MAX_SLEEP);
        if remaining.is_zero() || is_woken() {
            return guard;
        }
        let waited = condvar.wait_timeout(guard, remaining.min(MAX_SLEEP));
        let (again, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if !result.timed_out() {
            // A wake-up, perhaps a spurious one, or a sandbox denies this call as well.
            thread::yield_now();
        }
        guard = again;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_beyond_the_clock_never_passes() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::Never);
        assert_eq!(Deadline::from_timeout(None), Deadline::Never);
    }

    #[test]
    fn long_sleeps_are_split() {
        let mut sleeps = Vec::new();
        let woken = Deadline::after(MAX_SLEEP * 3).sleep(|timeout| {
            sleeps.push(timeout);
            Ok(sleeps.len() == 5)
        });
        assert!(woken.unwrap());
        assert_eq!(sleeps, [Some(MAX_SLEEP); 5]);
    }

    #[test]
    fn interrupted_and_early_sleeps_go_on_until_the_deadline() {
        let timeout = Duration::from_millis(20);
        let start = Instant::now();
        let (mut calls, mut is_late) = (0, false);
        let woken = Deadline::after(timeout).sleep(|remaining| {
            calls += 1;
            // On a busy machine, even the first call can come after the deadline.
            is_late |= calls == 1 && remaining == Some(Duration::ZERO);
            if calls % 2 == 1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            thread::sleep(remaining.unwrap() / 2);
            Ok(false)
        });
        assert!(!woken.unwrap());
        assert!(start.elapsed() >= timeout);
        assert!(calls > 1 || is_late, "the interruption ended it");
    }

    #[test]
    fn event_before_the_deadline_is_found_after_a_late_wake_up() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let early = || Ok(false);
        let wake_ups: [&dyn Fn() -> io::Result<bool>; 2] = [&interrupted, &early];
        for wake_up in wake_ups {
            let timeout = Duration::from_millis(5);
            let mut is_in_time = false; // as above
            while !is_in_time {
                let mut has_event = false;
                let woken = Deadline::after(timeout).sleep(|remaining| {
                    if has_event {
                        return Ok(true);
                    }
                    has_event = true;
                    is_in_time = remaining != Some(Duration::ZERO);
                    thread::sleep(timeout * 2); // A signal handler, or the program is stopped.
                    wake_up()
                });
                assert!(woken.unwrap() || !is_in_time);
            }
        }
    }

    #[test]
    fn other_errors_end_a_sleep() {
        let denied = Deadline::Never.sleep(|_| Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn sleep_until_is_never_early() {
        for timeout in [
            Duration::ZERO,
            Duration::from_micros(1),
            Duration::from_millis(20),
        ] {
            let start = Instant::now();
            sleep_until(Deadline::after(timeout));
            assert!(start.elapsed() >= timeout);
        }
    }
}
