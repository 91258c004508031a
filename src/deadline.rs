//! Deadlines and backoff: all arithmetic on time.

use std::{
    io, thread,
    time::{Duration, Instant},
};

/// The longest sleep asked of the OS at once; longer waits are made of several.
/// NetBSD, OpenBSD and FreeBSD refuse huge timeouts, and Windows counts in 32
/// bits of milliseconds.
#[allow(dead_code)] // As is `sleep`, on systems that only poll.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// The moment a wait gives up. Computed once per wait, so that neither a signal
/// nor a fall from one backend to another starts the timeout again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Only look. To know that, the clock need not be read.
    Now,
    At(Instant),
    Never,
}

impl Deadline {
    /// A timeout too long for the clock to express is no timeout.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        if timeout.is_zero() {
            return Deadline::Now;
        }
        Instant::now()
            .checked_add(timeout)
            .map_or(Deadline::Never, Deadline::At)
    }

    pub(crate) fn from_timeout(timeout: Option<Duration>) -> Deadline {
        timeout.map_or(Deadline::Never, Deadline::after)
    }

    /// This deadline, or the one that comes first.
    pub(crate) fn within(self, timeout: Duration) -> Deadline {
        match (self, Deadline::after(timeout)) {
            (Deadline::At(this), Deadline::At(that)) => Deadline::At(this.min(that)),
            (Deadline::Now, _) | (_, Deadline::Now) => Deadline::Now,
            (Deadline::Never, other) | (other, Deadline::Never) => other,
        }
    }

    /// The time left, zero once the deadline has passed; `None` is for ever.
    fn left(self) -> Option<Duration> {
        match self {
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(instant) => Some(instant.saturating_duration_since(Instant::now())),
            Deadline::Never => None,
        }
    }

    pub(crate) fn has_passed(self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    /// Sleeps by means of `sleep` until it answers true or the deadline passes
    /// (false).
    ///
    /// `sleep` gets the longest it may take (`None`: any time), looks once more
    /// when that is over, and may be interrupted.
    #[allow(dead_code)]
    pub(crate) fn sleep(
        self,
        mut sleep: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        loop {
            let left = self.left();
            let slice = left.map(|left| left.min(LONGEST_SLEEP));
            match sleep(slice) {
                Ok(true) => return Ok(true),
                // Only a sleep that was to last until the deadline has looked
                // after it; and only the clock says that it was not cut short.
                Ok(false) if slice == left && self.has_passed() => {
                    return Ok(false);
                }
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks `look` until it answers or the deadline passes (`None`), with
    /// growing pauses in between.
    pub(crate) fn poll<T, E>(
        self,
        mut look: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let mut backoff = Backoff::new();
        loop {
            // Read the clock, look, enforce the deadline, in this order: what
            // happened in time is then found even if we wake up late.
            let left = self.left();
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let pause = backoff.next_pause();
            thread::sleep(left.map_or(pause, |left| left.min(pause)));
        }
    }
}

/// The pauses between two looks: short at first, as most waits are for
/// processes about to exit, then doubling up to a bound that keeps an idle wait
/// cheap.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const SHORTEST: Duration = Duration::from_micros(100);
    pub(crate) const LONGEST: Duration = Duration::from_millis(40);

    pub(crate) fn new() -> Backoff {
        Backoff {
            next: Backoff::SHORTEST,
        }
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Backoff::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn a_timeout_beyond_the_clock_is_for_ever() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::Never);
        assert_eq!(Deadline::from_timeout(None), Deadline::Never);
    }

    #[test]
    fn long_sleeps_come_in_slices() {
        let mut slices = Vec::new();
        let woken = Deadline::after(LONGEST_SLEEP * 3).sleep(|slice| {
            slices.push(slice);
            Ok(slices.len() == 5)
        });
        assert!(woken.unwrap());
        assert_eq!(slices, [Some(LONGEST_SLEEP); 5]);
    }

    #[test]
    fn an_endless_sleep_is_one_sleep() {
        assert!(Deadline::Never.sleep(|slice| Ok(slice.is_none())).unwrap());
    }

    #[test]
    fn an_interrupted_sleep_goes_on_until_the_deadline() {
        let timeout = Duration::from_millis(20);
        let start = Instant::now();
        let mut calls = 0;
        let woken = Deadline::after(timeout).sleep(|slice| {
            calls += 1;
            if calls % 2 == 1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Wakes up early, as no sleep should.
            thread::sleep(slice.unwrap() / 2);
            Ok(false)
        });
        assert!(!woken.unwrap());
        assert!(start.elapsed() >= timeout);
        assert!(calls > 1, "the interruption ended it");
    }

    #[test]
    fn other_errors_of_a_sleep_are_passed_on() {
        let denied = Deadline::Never.sleep(|_| Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_passed_deadline_still_allows_one_look() {
        let passed = Deadline::after(Duration::ZERO);
        assert_eq!(passed.poll(|| Ok::<_, Infallible>(Some(1))), Ok(Some(1)));
        assert!(passed.sleep(|_| Ok(true)).unwrap());
    }

    #[test]
    fn polling_never_gives_up_early() {
        let timeout = Duration::from_millis(10);
        let start = Instant::now();
        let mut last = start;
        let answer = Deadline::after(timeout).poll(|| {
            last = Instant::now();
            Ok::<Option<()>, Infallible>(None)
        });
        assert_eq!(answer, Ok(None));
        assert!(last - start >= timeout, "no look after the deadline");
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..11).map(|_| backoff.next_pause().as_micros()).collect();
        assert_eq!(
            pauses,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 40000, 40000
            ]
        );
    }
}
