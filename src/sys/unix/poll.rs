//! `poll`, by a `Duration`.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
    io::Errno,
};
use std::time::Duration;

/// What there is of these by then, or an error, for an interruption too.
pub(crate) fn poll_within(
    fds: &mut [PollFd<'_>],
    longest: Option<Duration>,
) -> Result<usize, Errno> {
    let timeout = longest.map(punctual).map(Timespec::try_from).transpose();
    poll(fds, timeout.map_err(|_| Errno::INVAL)?.as_ref())
}

/// The same of one.
pub(crate) fn revents(
    fd: impl AsFd,
    events: PollFlags,
    longest: Option<Duration>,
) -> Result<PollFlags, Errno> {
    let mut fds = [PollFd::new(&fd, events)];
    poll_within(&mut fds, longest)?;
    Ok(fds[0].revents())
}

/// The kernel lets a sleep run over by a thousandth, or by five of a process that is
/// `nice`. So a long one ends a little early, and the rest is slept after that.
pub(crate) fn punctual(sleep: Duration) -> Duration {
    const LONG: Duration = Duration::from_millis(100);
    match sleep > LONG {
        true => sleep - sleep / 200,
        false => sleep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sleeps_end_a_little_early() {
        let short = Duration::from_millis(100);
        assert_eq!(punctual(short), short);
        // What is left after that runs over by half a hundredth at most.
        let ten = Duration::from_secs(10);
        assert_eq!(punctual(ten), Duration::from_millis(9_950));
        assert_eq!(punctual(ten - punctual(ten)), Duration::from_millis(50));
    }
}
