//! `poll` with a `Duration`.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
    io::Errno,
};
use std::time::Duration;

pub(crate) fn poll_within(
    fds: &mut [PollFd<'_>],
    timeout: Option<Duration>,
) -> Result<usize, Errno> {
    let timeout = timeout.map(shorten_for_timer_slack);
    let timeout = timeout.map(Timespec::try_from).transpose();
    poll(fds, timeout.map_err(|_| Errno::INVAL)?.as_ref())
}

/// The same for one descriptor.
pub(crate) fn revents(
    fd: impl AsFd,
    events: PollFlags,
    timeout: Option<Duration>,
) -> Result<PollFlags, Errno> {
    let mut fds = [PollFd::new(&fd, events)];
    poll_within(&mut fds, timeout)?;
    Ok(fds[0].revents())
}

/// Linux may oversleep by 0.1 %, or by 0.5 % if the process is niced (fs/select.c,
/// select_estimate_accuracy). So a long sleep ends a little early, and is followed by the rest.
pub(crate) fn shorten_for_timer_slack(sleep: Duration) -> Duration {
    const LONG: Duration = Duration::from_millis(100);
    if sleep > LONG {
        sleep - sleep / 200
    } else {
        sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sleeps_are_shortened() {
        let short = Duration::from_millis(100);
        assert_eq!(shorten_for_timer_slack(short), short);
        let ten = Duration::from_secs(10);
        let shortened = Duration::from_millis(9_950);
        assert_eq!(shorten_for_timer_slack(ten), shortened);
    }
}
