//! `ChildExt`: waits for `std::process::Child` with a timeout, which may read its output.

use crate::{
    Captured, Error, Process,
    deadline::{Deadline, Pace},
    output, probe,
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
/// [`wait_timeout`](ChildExt::wait_timeout) does not read its output, and a child that fills a
/// pipe which nobody drains does not exit; [`output_timeout`](ChildExt::output_timeout)
/// reads it. A child that somebody else traces is still running for its parent, until
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

    /// Waits as [`wait_timeout`](ChildExt::wait_timeout) does, and meanwhile reads the child's
    /// standard output and standard error into `captured`, as far as they are pipes that the
    /// `Child` holds.
    ///
    /// `Some`: it has exited, and all that it wrote has been read. Nobody waits for others
    /// that hold the pipes open, such as processes that it left behind. A pipe that was read
    /// to its end becomes `None` in the `Child`; one that others still hold stays, and another
    /// call reads what has come since.
    ///
    /// `None`: it is still running. What has come so far is in `captured`; call again to go on,
    /// after a [`Child::kill`] too. Nothing is lost, nor read twice. A timeout of zero reads
    /// what is there.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](ChildExt::wait_timeout), and those of reading. What was read
    /// before is in `captured`.
    ///
    /// # Caveats
    ///
    /// If others read from the same pipe, each gets a part. A read may then wait for what
    /// another has taken, and so overrun the deadline, except from pipes on Linux 6.4 and later
    /// and from overlapped pipes on Windows. Where `poll` is denied, or the limit of
    /// descriptors is 0, the end of a pipe may not be seen.
    ///
    /// In place of a pipe there may be another stream; of sockets, only those for streams.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, ChildExt as _};
    /// use std::{process::{Command, Stdio}, time::Duration};
    ///
    /// let mut child = Command::new("sh")
    ///     .args(["-c", "echo so far; exec sleep 60"])
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let mut captured = Captured::with_limit(1024 * 1024);
    /// # let soon = Duration::from_millis(500);
    /// # let five_seconds = soon;
    /// if child.output_timeout(&mut captured, five_seconds)?.is_none() {
    ///     child.kill()?;
    ///     child.output_timeout(&mut captured, Duration::MAX)?;
    /// }
    /// println!("{}", String::from_utf8_lossy(&captured.stdout)); // "so far"
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn output_timeout(
        &mut self,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<Option<ExitStatus>>;

    /// The same until `deadline`. One that has passed already reads what is there.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](ChildExt::output_timeout).
    fn output_deadline(
        &mut self,
        captured: &mut Captured,
        deadline: Instant,
    ) -> io::Result<Option<ExitStatus>>;
}

impl ChildExt for Child {
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        wait(self, Deadline::after(timeout))
    }

    fn wait_deadline(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        wait(self, Deadline::at(deadline))
    }

    fn output_timeout(
        &mut self,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<Option<ExitStatus>> {
        output(self, captured, Deadline::after(timeout))
    }

    fn output_deadline(
        &mut self,
        captured: &mut Captured,
        deadline: Instant,
    ) -> io::Result<Option<ExitStatus>> {
        output(self, captured, Deadline::at(deadline))
    }
}

fn wait(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    drop(child.stdin.take());
    let status = probe::try_wait(child)?;
    if status.is_some() || deadline == Deadline::Now {
        return Ok(status);
    }
    match held(child)? {
        Some(process) if process.ended(deadline)? => reap(child, &process, deadline),
        Some(_) => Ok(None),
        None => reaped_by_another(child, deadline),
    }
}

fn output(
    child: &mut Child,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    drop(child.stdin.take());
    let status = probe::try_wait(child);
    if !matches!(status, Ok(None)) || deadline == Deadline::Now {
        let read = output::drain(child, captured);
        return status.and_then(|status| read.map(|()| status));
    }
    match held(child)? {
        Some(process) => output_of(child, &process, captured, deadline),
        None => {
            output::drain(child, captured)?;
            reaped_by_another(child, deadline)
        }
    }
}

pub(crate) fn output_of(
    child: &mut Child,
    process: &Process,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    match output::read_until_exit(child, process, captured, deadline)? {
        true => reap(child, process, deadline),
        false => Ok(None),
    }
}

/// `None`: somebody else has reaped it.
pub(crate) fn held(child: &Child) -> Result<Option<Process>, Error> {
    match Process::open(child.id()) {
        Err(Error::NotFound { .. }) => Ok(None),
        opened => opened.map(Some),
    }
}

/// That is for `try_wait` to say.
fn reaped_by_another(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    deadline.poll(&mut Pace::default(), || probe::try_wait(child))
}

/// The news of an exit can come before the child can be reaped: by a moment on macOS and
/// FreeBSD, and on Linux until a debugger lets go of it. Does not block in `wait` meanwhile,
/// but asks again.
fn reap(
    child: &mut Child,
    process: &Process,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    match deadline.poll(&mut Pace::default(), || probe::try_wait(child)) {
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
