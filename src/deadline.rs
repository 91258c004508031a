//! Deadlines and backoff: all arithmetic on time.

use std::{
    io,
    sync::{Condvar, Mutex, PoisonError},
    thread,
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

    pub(crate) fn at(instant: Instant) -> Deadline {
        match instant <= Instant::now() {
            true => Deadline::Now,
            false => Deadline::At(instant),
        }
    }

    pub(crate) fn from_timeout(timeout: Option<Duration>) -> Deadline {
        timeout.map_or(Deadline::Never, Deadline::after)
    }

    /// This deadline, or so much later, whichever comes first.
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

    /// How a wait looks once more when it is over.
    pub(crate) fn at_its_end(self) -> When {
        match self {
            Deadline::Now => When::Now,
            Deadline::At(_) | Deadline::Never => When::Affordable,
        }
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
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if self.has_passed() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks `look` at this pace until it answers or the deadline passes (`None`).
    pub(crate) fn poll<T, E>(
        self,
        pace: &mut Pace,
        mut look: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        self.poll_in_turn(|when| pace.turn(when, &mut look))
    }

    /// The same, when others look at the same pace: each turn looks or says how long to
    /// pause.
    pub(crate) fn poll_in_turn<T, E>(
        self,
        mut turn: impl FnMut(When) -> Result<Turn<T>, E>,
    ) -> Result<Option<T>, E> {
        loop {
            // Read the clock, look, enforce the deadline, in this order: what
            // happened in time is then found even if we wake up late.
            let is_over = self.has_passed();
            let when = match is_over {
                true => self.at_its_end(),
                false => When::Due,
            };
            match turn(when)? {
                Turn::Found(found) => return Ok(Some(found)),
                Turn::Pause(_) if is_over => return Ok(None),
                Turn::Pause(pause) => sleep_until(self.within(pause)),
            }
        }
    }
}

/// Sleeps until the deadline has passed. Every pause of the crate is made here.
///
/// `thread::sleep` panics if a sandbox denies `clock_nanosleep`. It also sleeps for a relative
/// time: under signals that arrive faster than the timer slack (`PR_SET_TIMERSLACK(2const)`),
/// the time that remains never shrinks, and it does not return. A condition variable has
/// neither fault: on Linux it sleeps in `futex(2)` until an absolute time.
pub(crate) fn sleep_until(deadline: Deadline) {
    let (mutex, never_notified) = (Mutex::new(()), Condvar::new());
    let mut guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let remaining = deadline.left().unwrap_or(LONGEST_SLEEP);
        if remaining.is_zero() {
            return;
        }
        let waited = never_notified.wait_timeout(guard, remaining.min(LONGEST_SLEEP));
        let (again, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if !result.timed_out() {
            // A spurious wake-up, or a sandbox denies this call as well.
            thread::yield_now();
        }
        guard = again;
    }
}

/// When a turn is to look: at once, if it costs no more than a tenth of the time, or if its
/// pause has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    Affordable,
    Due,
}

/// What has come of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn<T> {
    Found(T),
    Pause(Duration),
}

/// When to look again. The pauses are short at first, as most waits are for
/// processes about to exit, then double up to a bound that keeps an idle wait cheap;
/// and looking never takes more than a tenth of the time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pause: Duration,
    last: Option<Instant>,
    last_took: Duration,
    /// What a round takes: of the last two, the one that was not interrupted.
    costs: Duration,
}

impl Pace {
    const SHORTEST: Duration = Duration::from_micros(100);
    const LONGEST: Duration = Duration::from_millis(40);
    /// How much longer than looking a pause is. Nine times would be a tenth, were it not
    /// that of two rounds the cheaper one counts.
    const REST: u32 = 14;
    /// What takes longer was interrupted, twice in a row.
    const DEAREST: Duration = Duration::from_millis(250);

    pub(crate) fn turn<T, E>(
        &mut self,
        when: When,
        look: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Turn<T>, E> {
        let looks = match when {
            When::Now => true,
            When::Affordable => self.is_due() || self.allows_a_look(),
            When::Due => self.is_due(),
        };
        let found = if looks { self.round(look)? } else { None };
        Ok(found.map_or_else(|| Turn::Pause(self.until_due()), Turn::Found))
    }

    /// Looks.
    pub(crate) fn round<T>(&mut self, look: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let seen = look();
        let end = Instant::now();
        self.took(end - start);
        self.last = Some(end);
        seen
    }

    fn took(&mut self, took: Duration) {
        self.costs = took.min(self.last_took).min(Pace::DEAREST);
        self.last_took = took;
        self.pause = (self.pause * 2).clamp(Pace::SHORTEST, Pace::LONGEST);
    }

    /// Short pauses again, for a process that has come anew.
    pub(crate) fn restart(&mut self) {
        self.pause = Duration::ZERO;
    }

    pub(crate) fn is_due(&self) -> bool {
        self.until_due().is_zero()
    }

    pub(crate) fn until_due(&self) -> Duration {
        self.until(self.pause.max(self.costs * Pace::REST))
    }

    /// Whether a look is affordable, even if it is not due.
    pub(crate) fn allows_a_look(&self) -> bool {
        self.until(self.costs * Pace::REST).is_zero()
    }

    fn until(&self, pause: Duration) -> Duration {
        let since = self.last.map_or(Duration::MAX, |last| last.elapsed());
        pause.saturating_sub(since)
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

    #[test]
    fn other_errors_of_a_sleep_are_passed_on() {
        let denied = Deadline::Never.sleep(|_| Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_passed_deadline_still_allows_one_look() {
        let passed = Deadline::after(Duration::ZERO);
        let mut pace = Pace::default();
        assert_eq!(
            passed.poll(&mut pace, || Ok::<_, Infallible>(Some(1))),
            Ok(Some(1))
        );
        assert!(passed.sleep(|_| Ok(true)).unwrap());
    }

    #[test]
    fn polling_never_gives_up_early() {
        let timeout = Duration::from_millis(10);
        let start = Instant::now();
        let mut last = start;
        let answer = Deadline::after(timeout).poll(&mut Pace::default(), || {
            last = Instant::now();
            Ok::<Option<()>, Infallible>(None)
        });
        assert_eq!(answer, Ok(None));
        assert!(last - start >= timeout, "no look after the deadline");
    }

    #[test]
    fn a_passed_deadline_looks_however_often_it_is_asked() {
        let (mut pace, mut looks) = (Pace::default(), 0);
        let passed = Instant::now();
        for _ in 0..100 {
            for deadline in [Deadline::after(Duration::ZERO), Deadline::at(passed)] {
                let look = || {
                    Ok::<Option<()>, Infallible>({
                        looks += 1;
                        None
                    })
                };
                assert_eq!(deadline.poll(&mut pace, look), Ok(None));
            }
        }
        assert_eq!(looks, 200);
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..11)
            .map(|_| {
                pace.round(|| ());
                pace.pause.as_micros()
            })
            .collect();
        assert_eq!(
            pauses,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 40000, 40000
            ]
        );
        pace.restart();
        pace.round(|| ());
        assert_eq!(pace.pause, Pace::SHORTEST);
    }

    #[test]
    fn looking_takes_a_tenth_of_the_time_however_short_the_timeouts() {
        let cost = Duration::from_millis(1);
        let (mut pace, mut looks) = (Pace::default(), 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            let look = || {
                looks += 1;
                thread::sleep(cost);
                Ok::<Option<()>, Infallible>(None)
            };
            let answer = Deadline::after(Duration::from_micros(10)).poll(&mut pace, look);
            assert_eq!(answer, Ok(None));
        }
        // And the first two, whose cost is not known yet.
        let most = start.elapsed().as_nanos() / (10 * cost.as_nanos()) + 3;
        assert!(looks <= most, "{looks} looks, not {most}");
    }

    #[test]
    fn an_interrupted_round_does_not_slow_down_those_that_follow() {
        let mut pace = Pace::default();
        let [usual, frozen] = [1, 1_000_000].map(Duration::from_micros);
        for (took, costs) in [(usual, usual), (frozen, usual), (usual, usual)] {
            pace.took(took);
            assert!(pace.costs <= costs);
        }
        pace.took(usual * 5);
        pace.took(usual * 6);
        assert_eq!(pace.costs, usual * 5);
    }
}
