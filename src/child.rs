//! `ChildExt`: waits for `std::process::Child` with a timeout, and can read its output meanwhile.

use crate::{
    Captured, Error,
    backoff::Backoff,
    captured,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    sys::{self, ChildState, ExitEvent, reaped_elsewhere, try_wait_unless_reused},
};
use std::{
    io, mem,
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
/// process traces counts as running until the tracer detaches from it or reaps it.
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
    fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>>;

    /// Waits until the child has exited. Returns `Ok(None)` if `deadline` passes first, never
    /// early. A deadline in the past checks once.
    /// Fails as [`wait_timeout`](ChildExt::wait_timeout) does.
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
    ///   nothing has arrived for 300 ms, for at most 3 seconds each, and not beyond the deadline.
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
    /// deadline in the past reads what is available. Fails as
    /// [`output_timeout`](ChildExt::output_timeout) does.
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
    let process = match begin(child, deadline) {
        Ok(process) => process,
        Err(result) => return result,
    };
    match process.wait_event(deadline)? {
        Some(event) => reap(child, &process, event, deadline),
        None => Ok(None),
    }
}

pub(crate) fn output(
    child: &mut Child,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    let status = match begin(child, deadline) {
        Ok(process) => return output_of(child, &process, captured, deadline),
        Err(result) => result,
    };
    // Its output can be read even if its status cannot.
    let has_exited = !matches!(status, Ok(None));
    let read = captured.streams(child).drain(has_exited, deadline);
    status.and_then(|status| read.map(|()| status))
}

/// Opens the process of a child that is still running. `Err` is the result of the call if there is
/// nothing to wait for.
#[allow(clippy::result_large_err)] // As for `Opened`.
fn begin(
    child: &mut Child,
    deadline: Deadline,
) -> Result<OpenProcess, io::Result<Option<ExitStatus>>> {
    drop(child.stdin.take());
    if deadline == Deadline::Now {
        return Err(sys::try_wait(child));
    }
    match open(child) {
        Ok(Opened::Running(process)) => Ok(process),
        Ok(Opened::Exiting) => Err(wait_exiting(child, deadline)),
        Ok(Opened::Reaped(status)) => Err(status.map(Some)),
        Err(error) => Err(Err(error)),
    }
}

/// Reads until the child has exited, and reaps it, or until the deadline (`None`).
pub(crate) fn output_of(
    child: &mut Child,
    process: &OpenProcess,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    if captured::read_until_exit(child, process, captured, deadline)? {
        reap(child, process, ExitEvent::Exited, deadline)
    } else {
        Ok(None)
    }
}

/// The result of opening the process of a child.
#[allow(clippy::large_enum_variant)] // It is taken apart at once. A box would allocate.
pub(crate) enum Opened {
    /// After it was opened, it was verified to be a child of ours that has not been reaped.
    Running(OpenProcess),
    /// It is exiting, and can neither be opened any more nor reaped yet.
    Exiting,
    /// It has been reaped, by this call or before. An error if it was reaped elsewhere.
    Reaped(io::Result<ExitStatus>),
}

/// Opens the process of a child.
///
/// The pid may be another process's by now: another thread may have reaped the child, or the
/// kernel, if `SIGCHLD` is ignored. So open first, and then verify that what was opened is a
/// child of ours.
pub(crate) fn open(child: &mut Child) -> io::Result<Opened> {
    let opened = Pid::new(child.id()).and_then(OpenProcess::open_child);
    let process = match opened {
        Ok(process) => process,
        Err(Error::NotFound { .. }) => {
            return Ok(match try_wait_unless_reused(child).transpose() {
                Some(status) => Opened::Reaped(status),
                None => Opened::Exiting,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let status = match process.child_state() {
        // Reaps it if it has exited: a child keeps its pid until it is reaped, so this is the one.
        // `child` can also have a status from an earlier wait. Then the process is another child of
        // ours with the same pid, which std does not reap. If std fails, the process can still be
        // waited for, and killed.
        Some(ChildState::Running | ChildState::Exited(_)) => Ok(child.try_wait().unwrap_or(None)),
        // `try_wait` would consume the stop, which the tracer has to handle: this program.
        Some(ChildState::Stopped) => Ok(None),
        Some(ChildState::NotAChild) => match try_wait_unless_reused(child) {
            Ok(None) => Err(reaped_elsewhere()),
            status => status,
        },
        None => sys::try_wait(child),
    };
    Ok(match status.transpose() {
        Some(status) => Opened::Reaped(status),
        None => Opened::Running(process),
    })
}

/// macOS, OpenBSD and NetBSD return ESRCH for a child that is exiting and not a zombie yet.
fn wait_exiting(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    deadline.poll(&mut Backoff::default(), || try_wait_unless_reused(child))
}

/// Reaps the child after its exit event, or returns the status if it was reaped elsewhere and
/// the OS still reports it.
///
/// The event can precede the zombie: briefly on macOS and FreeBSD, and on Linux until a tracer
/// has reaped it. So this retries with backoff: a blocking wait could outlast the deadline.
pub(crate) fn reap(
    child: &mut Child,
    process: &OpenProcess,
    event: ExitEvent,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    // The event proves that the pid is still this child's, but only for the first attempt.
    let mut is_zombie = event == ExitEvent::Zombie;
    let reaped = deadline.poll(&mut Backoff::default(), || {
        if mem::take(&mut is_zombie) {
            child.try_wait()
        } else {
            try_wait(child, process)
        }
    });
    reaped.or_else(|error| {
        let exit = process.exit().ok().flatten();
        exit.and_then(|exit| exit.status()).map(Some).ok_or(error)
    })
}

/// `Child::try_wait`, which goes by the pid, but only while that is this process's: if the child
/// was reaped elsewhere, the pid can be that of another child, which it would reap.
fn try_wait(child: &mut Child, process: &OpenProcess) -> io::Result<Option<ExitStatus>> {
    match process.child_state() {
        Some(ChildState::Exited(_)) => child.try_wait(),
        Some(ChildState::Running | ChildState::Stopped) => Ok(None),
        Some(ChildState::NotAChild) => Err(reaped_elsewhere()),
        None => sys::try_wait(child),
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Child {}
}
