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
/// [`wait_timeout`](ChildExt::wait_timeout) is a drop-in for the method of the wait-timeout
/// crate: just change the import.
///
/// Unlike the rest of this crate, these methods reap the child, as [`Child::wait`] does. Like
/// it, they first close the parent's end of the child's standard input, so that a child that
/// reads to the end can exit.
///
/// # Caveats
///
/// A child blocks, and does not exit, when it fills a pipe that is not read. Read its output
/// with [`output_timeout`](ChildExt::output_timeout), or redirect it. A child that another
/// process traces counts as running until the tracer lets go of it.
///
/// # Examples
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
    /// Waits until the child has exited. Returns `Ok(None)` if `timeout` passes first, never
    /// early. [`Duration::ZERO`] checks once. A timeout that the clock cannot represent, such
    /// as [`Duration::MAX`], waits forever.
    ///
    /// # Errors
    ///
    /// As for [`Child::try_wait`]: on Unix, `ECHILD` if the child was reaped elsewhere. If
    /// that happens during the wait (for example because `SIGCHLD` is ignored), the status is
    /// returned if the OS still reports it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::ChildExt as _;
    /// use std::{process::Command, time::Duration};
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// let status = child.wait_timeout(Duration::from_secs(60))?;
    /// assert!(status.is_some_and(|status| status.success()));
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>>;

    /// Waits until the child has exited. Returns `Ok(None)` if `deadline` passes first, never
    /// early. A deadline in the past checks once.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](ChildExt::wait_timeout).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::ChildExt as _;
    /// use std::{process::Command, time::{Duration, Instant}};
    ///
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// for mut child in [Command::new("true").spawn()?, Command::new("true").spawn()?] {
    ///     assert!(child.wait_deadline(deadline)?.is_some());
    /// }
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn wait_deadline(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>>;

    /// Waits like [`wait_timeout`](ChildExt::wait_timeout), and reads the child's standard
    /// output and standard error into `captured`, if the `Child` holds their pipes.
    ///
    /// Returns `Some` once the child has exited and all that it wrote has been read. It does not
    /// wait for other processes that hold the pipes open, such as grandchildren. A pipe that was
    /// read to its end becomes `None` in the `Child`. One that others still hold stays `Some`;
    /// call again to read what they have written since.
    ///
    /// Returns `None` if the child is still running. What it has written so far is in
    /// `captured`. To continue, also after [`Child::kill`], call again with the same
    /// `captured`: nothing is lost or read twice. A timeout of zero reads what is available.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](ChildExt::wait_timeout), and errors from reading. `captured`
    /// keeps what was read before.
    ///
    /// # Caveats
    ///
    /// If another process reads from the same stream, each gets part of the data, and this call
    /// can overrun its deadline: the other reader may take the data that it was about to
    /// read. (Not from pipes on Linux with `/proc`, nor from std's pipes on Windows.) If `poll`
    /// is denied, or the descriptor limit is 0, the end of a pipe can go unseen.
    ///
    /// A stream can also be something else than a pipe:
    ///
    /// - A terminal (the master of a pty) or a file stays `Some` until the child has exited, as
    ///   the child can open the terminal again, and write more to the file.
    /// - A socket must be a stream socket. Over TCP, output can still be under way when the
    ///   child exits. If other processes hold the connection open, this call then waits until
    ///   nothing has arrived for 300 ms, for at most 3 seconds, and not beyond the deadline.
    /// - On Windows, a file must have been opened without `FILE_FLAG_OVERLAPPED`. What is neither
    ///   a file nor a pipe, such as a console or a socket, becomes `None`, with one error of the
    ///   kind [`InvalidInput`](io::ErrorKind::InvalidInput).
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

    /// Waits and reads like [`output_timeout`](ChildExt::output_timeout), until `deadline`. A
    /// deadline in the past reads what is available.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](ChildExt::output_timeout).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, ChildExt as _};
    /// use std::{process::{Command, Stdio}, time::{Duration, Instant}};
    ///
    /// let mut child = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn()?;
    /// let mut captured = Captured::default();
    /// let deadline = Instant::now() + Duration::from_secs(60);
    /// assert!(child.output_deadline(&mut captured, deadline)?.is_some());
    /// assert_eq!(captured.stdout, b"hi\n");
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        let has_exited = !matches!(status, Ok(None));
        let read = output::drain(child, captured, has_exited, deadline);
        return status.and_then(|status| read.map(|()| status));
    }
    match held(child)? {
        Some(process) => output_of(child, &process, captured, deadline),
        None => {
            output::drain(child, captured, true, deadline)?;
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
