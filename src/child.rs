//! `ChildExt`: a timeout for `std::process::Child`.

use crate::{
    Error, Process,
    deadline::{Deadline, Pace},
    probe,
};
use std::{
    io,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

/// Waits with a timeout for [`std::process::Child`].
///
/// [`wait_timeout`](ChildExt::wait_timeout) has the name and the signature of
/// the one in the wait-timeout crate, and can take its place by a change of the
/// import.
///
/// Unlike the rest of this crate, these reap the child, as
/// [`Child::wait`] does. Like it, they first close the child's standard input,
/// if we hold it: a child that reads until its end would never exit otherwise.
/// Its output is not read: a child that fills a pipe which nobody drains does
/// not exit. A child that somebody else traces is still running for its parent, until
/// the tracer lets go of it.
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::ChildExt as _;
/// use std::{process::Command, time::Duration};
///
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// let status = match child.wait_timeout(Duration::from_millis(10))? {
///     Some(status) => status,
///     None => {
///         child.kill()?;
///         child.wait()?
///     }
/// };
/// assert!(!status.success());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ChildExt: sealed::Sealed {
    /// Waits until the child has exited or `timeout` has passed (`Ok(None)`,
    /// never early). [`Duration::ZERO`] only looks; a timeout too long for the
    /// clock, such as [`Duration::MAX`], waits for ever.
    ///
    /// # Errors
    ///
    /// As for [`Child::try_wait`]: on Unix `ECHILD` if somebody else has reaped
    /// the child. Where that happens during the wait, as it does if `SIGCHLD` is
    /// ignored, and the OS still tells the status, there is no error.
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>>;

    /// Waits until the child has exited or `deadline` has passed (`Ok(None)`,
    /// never early). One that has passed already only looks.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](ChildExt::wait_timeout).
    fn wait_deadline(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>>;
}

impl ChildExt for Child {
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        wait(self, Deadline::after(timeout))
    }

    fn wait_deadline(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        wait(self, Deadline::at(deadline))
    }
}

fn wait(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    drop(child.stdin.take());
    if let Some(status) = probe::try_wait(child)? {
        return Ok(Some(status));
    }
    if deadline == Deadline::Now {
        return Ok(None);
    }
    let mut pace = Pace::default();
    let process = match Process::open(child.id()) {
        // Somebody else has reaped it since the look: for `try_wait` to say.
        Err(Error::NotFound { .. }) => return deadline.poll(&mut pace, || probe::try_wait(child)),
        opened => opened?,
    };
    if !process.ended(deadline)? {
        return Ok(None);
    }
    // The news of an exit can come before the child can be reaped: by a moment
    // on macOS and FreeBSD, and on Linux until a debugger lets go of it. Do not
    // block in `wait` meanwhile, but ask again.
    match deadline.poll(&mut pace, || probe::try_wait(child)) {
        Err(error) => match process.exit()?.and_then(|exit| exit.status()) {
            Some(status) => Ok(Some(status)),
            None => Err(error),
        },
        answer => answer,
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Child {}
}
