//! `ChildExt`: waits for `std::process::Child` with a timeout, feeds it, and reads its output.

#[cfg(any(feature = "tokio", feature = "async-io"))]
use crate::runtime;
use crate::{
    Captured, Process,
    child_process::{self, Opened},
    deadline::Deadline,
    sys,
    transfer::{self, Transfer, Until},
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
/// reads to the end can exit; unless there is [input](Captured::input) to write.
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
///
/// # Recipes
///
/// ## Standard error merged into standard output
///
/// One pipe for both streams keeps the order in which the child wrote. [`std::io::pipe`] needs Rust
/// 1.87.
///
/// ```ignore
/// // Ignored, as this crate supports Rust 1.85.
/// use procwait::{Captured, ChildExt as _};
/// use std::{io, os::fd::OwnedFd, process::Command, time::Duration};
///
/// let (reader, writer) = io::pipe()?;
/// let mut child = Command::new("sh")
///     .args(["-c", "echo 1; echo 2 >&2; echo 3"])
///     .stdout(writer.try_clone()?)
///     .stderr(writer)
///     .spawn()?; // Drops the `Command`, and with it this process's copies of the writer.
/// child.stdout = Some(OwnedFd::from(reader).into());
/// let mut captured = Captured::default();
/// child.output_timeout(&mut captured, Duration::from_secs(5))?;
/// assert_eq!(captured.stdout, b"1\n2\n3\n");
/// # Ok::<(), io::Error>(())
/// ```
///
/// ## A limit on silence
///
/// Each call of `read_timeout` has a timeout of its own, so that it passes only if the child has
/// written nothing for that long. Bytes that [`Captured::with_limit`] makes it discard count as
/// silence.
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::{Captured, ChildExt as _, Progress};
/// use std::{process::{Command, Stdio}, time::Duration};
///
/// let mut child = Command::new("sh")
///     .args(["-c", "echo started; exec sleep 60"])
///     .stdout(Stdio::piped())
///     .spawn()?;
/// let mut captured = Captured::default();
/// # let soon = Duration::from_millis(500);
/// # let thirty_seconds = soon;
/// let status = loop {
///     match child.read_timeout(&mut captured, thirty_seconds)? {
///         Progress::Exited(status) => break status,
///         Progress::TimedOut => child.kill()?,
///         _ => {} // It has written something.
///     }
/// };
/// assert!(!status.success());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ## SIGTERM first, and no output lost
///
/// `stop` does not read, so a child that writes before it exits could block on a full pipe. Here, what
/// it writes after SIGTERM is captured as well.
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::{Captured, ChildExt as _};
/// use std::{process::{Command, Stdio}, time::Duration};
///
/// let mut child = Command::new("sh")
///     .args(["-c", "trap 'echo stopped; exit' TERM; echo started; while :; do sleep 0.1; done"])
///     .stdout(Stdio::piped())
///     .spawn()?;
/// let process = child.process()?;
/// let mut captured = Captured::default();
/// # let (two_seconds, five_seconds) = (Duration::from_millis(10), Duration::from_secs(60));
/// # while captured.stdout.is_empty() {
/// #     child.read_timeout(&mut captured, Duration::MAX)?;
/// # }
/// let mut status = child.output_timeout(&mut captured, two_seconds)?;
/// if status.is_none() {
///     process.send_signal(libc::SIGTERM)?;
///     status = child.output_timeout(&mut captured, five_seconds)?;
/// }
/// if status.is_none() {
///     process.kill()?;
///     status = child.output_timeout(&mut captured, Duration::MAX)?;
/// }
/// assert_eq!(captured.stdout, b"started\nstopped\n");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ## Only the end of a long output
///
/// `Captured::with_limit` keeps the beginning. To keep the end, remove the rest between calls.
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::{Captured, ChildExt as _, Progress};
/// use std::{process::{Command, Stdio}, time::Duration};
///
/// const KEPT: usize = 12;
///
/// let mut child = Command::new("seq").arg("100000").stdout(Stdio::piped()).spawn()?;
/// let mut captured = Captured::default();
/// loop {
///     let progress = child.read_timeout(&mut captured, Duration::MAX)?;
///     let excess = captured.stdout.len().saturating_sub(KEPT);
///     captured.stdout.drain(..excess);
///     if let Progress::Exited(_) = progress {
///         break;
///     }
/// }
/// assert_eq!(captured.stdout, b"9999\n100000\n");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ## Resource usage
///
/// `wait_pid` leaves the child to its owner, who can reap it by `wait4`, which also reports its CPU
/// time and memory. Do not use the `Child` after that: its pid may be another process's.
///
/// ```
/// # #[cfg(unix)] {
/// use std::{mem, process::Command, time::Duration};
///
/// let mut child = Command::new("true").spawn()?;
/// if procwait::wait_pid(child.id(), Some(Duration::from_secs(60)))?.is_none() {
///     child.kill()?;
/// }
/// let mut status = 0;
/// // SAFETY: `rusage` consists of integers, which can all be 0.
/// let mut usage: libc::rusage = unsafe { mem::zeroed() };
/// let pid = child.id() as libc::pid_t;
/// // SAFETY: both pointers are to variables that live long enough, and may be written to.
/// let reaped = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
/// assert_eq!(reaped, pid);
/// println!("{} kB at most", usage.ru_maxrss); // bytes on macOS
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
    /// output and standard error into `captured`, if the `Child` holds their pipes. Meanwhile it
    /// writes the [input](Captured::input), if there is any, and then closes standard input.
    ///
    /// Returns `Some` once the child has exited and all that it wrote has been read. It does not
    /// wait for other processes that hold the pipes open, such as grandchildren. A pipe that was
    /// read to its end becomes `None` in the `Child`. One that others still hold stays `Some`;
    /// call again to read what they have written since.
    ///
    /// Returns `None` if the child is still running. What it has written so far is in
    /// `captured`. To continue, also after [`Child::kill`], call again with the same
    /// `captured`: nothing is lost, read or written twice. A timeout of zero reads and writes what
    /// is possible at once.
    ///
    /// A child that exits, or closes its standard input, before it has read all of the input, is no
    /// error. In the second case, standard input becomes `None`.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](ChildExt::wait_timeout), and errors from reading and writing.
    /// `captured` keeps what was read before. The kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if there is input, and the `Child` has no pipe to
    /// write it to.
    ///
    /// # Caveats
    ///
    /// Input is written without blocking, and without changing flags that other processes share. On
    /// other Unix systems than Linux, that takes a call for each 512 bytes. On Windows, the input must
    /// go to a pipe that std has made, or to a disk file. A program that does not ignore `SIGPIPE`
    /// (Rust's do) is killed by it if the child closes its standard input, unless that is a socket or,
    /// on Linux 6.18 and later, a pipe that std has made.
    ///
    /// If another process reads from the same stream, each gets part of the data, and this call
    /// can overrun its deadline: the other reader may take the data that it was about to
    /// read. (Not from pipes on Linux with `/proc`, nor from std's pipes on Windows.) If `poll`
    /// is denied, or the descriptor limit is 0, the end of a pipe can go unseen.
    ///
    /// A stream can also be something else than a pipe:
    ///
    /// - A terminal (the master of a pty) or a file stays `Some` until the child has exited, as
    ///   the child can open the terminal again, and write more to the file. (A named FIFO does not:
    ///   its end is final.)
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

    /// Waits and reads like [`output_timeout`](ChildExt::output_timeout), but returns as soon as there
    /// is new output: to follow the output of a child while it runs. You can take the bytes out of
    /// `captured` between calls.
    ///
    /// Returns [`Progress::Read`] if something was read, [`Progress::Exited`] once the child has exited
    /// and all that it wrote has been read, and [`Progress::TimedOut`] if `timeout` passes first. After
    /// the exit, each further call returns [`Progress::Exited`].
    ///
    /// Bytes that are only discarded, beyond the [limit](Captured::with_limit), are no new output. A
    /// child that writes without a pause may never let this time out: to limit its time, check the
    /// clock as well.
    ///
    /// To talk to a child that waits for its input, take `child.stdin` out before the first call, and
    /// write to it yourself: without [input](Captured::input), each call closes it.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](ChildExt::output_timeout).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, ChildExt as _, Progress};
    /// use std::{io::{Write as _, stdout}, mem, process::{Command, Stdio}, time::Duration};
    ///
    /// let mut child = Command::new("sh")
    ///     .args(["-c", "echo one; echo two"])
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let mut captured = Captured::default();
    /// let status = loop {
    ///     let progress = child.read_timeout(&mut captured, Duration::from_secs(60))?;
    ///     stdout().write_all(&mem::take(&mut captured.stdout))?;
    ///     match progress {
    ///         Progress::Exited(status) => break status,
    ///         Progress::TimedOut => child.kill()?, // It was silent for a minute.
    ///         _ => {}
    ///     }
    /// };
    /// assert!(status.success());
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_timeout(&mut self, captured: &mut Captured, timeout: Duration) -> io::Result<Progress>;

    /// Waits and reads like [`read_timeout`](ChildExt::read_timeout), until `deadline`. A deadline in the
    /// past reads what is available. Fails as [`output_timeout`](ChildExt::output_timeout) does.
    fn read_deadline(&mut self, captured: &mut Captured, deadline: Instant)
    -> io::Result<Progress>;

    /// Reads until both streams are at their end (`true`), or until `timeout` passes (`false`), whether
    /// the child has exited or not. So it also reads what others write that hold the pipes, such as
    /// background processes that the child has left behind, for as long as you want to wait for them.
    ///
    /// Meanwhile it writes the [input](Captured::input), or closes standard input if there is none. It
    /// does not reap the child: call [`wait_timeout`](ChildExt::wait_timeout) next.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](ChildExt::output_timeout), except those from waiting.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, ChildExt as _};
    /// use std::{process::{Command, Stdio}, time::Duration};
    ///
    /// let mut child = Command::new("sh")
    ///     .args(["-c", "(sleep 0.1; echo done) & echo started"])
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let mut captured = Captured::default();
    /// child.output_timeout(&mut captured, Duration::MAX)?; // Returns when the shell has exited.
    /// assert!(child.read_to_end_timeout(&mut captured, Duration::from_secs(60))?);
    /// assert_eq!(captured.stdout, b"started\ndone\n");
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn read_to_end_timeout(
        &mut self,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<bool>;

    /// Asks the child to exit, and kills it if it does not: sends `SIGTERM` and `SIGCONT` (so that a
    /// stopped child can react), closes its standard input, waits up to `grace`, then sends `SIGKILL`.
    /// Reaps the child.
    ///
    /// This does not read the child's output: a child that fills a pipe before it exits is killed. To
    /// read it meanwhile, send the signal through [`process`](ChildExt::process).
    ///
    /// After `SIGKILL`, this waits for the exit, which is immediate unless the child is traced, in
    /// uninterruptible sleep, or in a frozen cgroup.
    ///
    /// # Errors
    ///
    /// As for [`wait_timeout`](ChildExt::wait_timeout); and the kind
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if you may not signal the child, which then
    /// keeps running.
    ///
    /// ```
    /// use procwait::ChildExt as _;
    /// use std::{os::unix::process::ExitStatusExt as _, process::Command, time::Duration};
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let status = child.stop(Duration::from_secs(10))?;
    /// assert_eq!(status.signal(), Some(15));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(unix)]
    fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus>;

    /// The child as a [`Process`]: to wait for it, signal it or kill it from elsewhere, such as another
    /// thread. It is verified to be this child, and no later process with the same pid.
    ///
    /// If the child has exited, this can reap it; the `Process` then knows how it exited, and no
    /// longer reaches its process group.
    ///
    /// # Errors
    ///
    /// An error if the child was reaped before: `ECHILD` on Unix. Otherwise as for [`Process::open`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::ChildExt as _;
    /// use std::{process::Command, thread, time::Duration};
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = child.process()?;
    /// let killer = thread::spawn(move || process.kill());
    /// assert!(!child.wait()?.success());
    /// killer.join().unwrap()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn process(&mut self) -> io::Result<Process>;

    /// Writes the input and reads the output like [`output_timeout`](ChildExt::output_timeout), without
    /// blocking the thread, until the child has exited and all that it wrote has been read. Does not wait
    /// for other processes that hold the pipes open.
    ///
    /// For a timeout, use [`tokio::time::timeout`](https://docs.rs/tokio/latest/tokio/time/fn.timeout.html).
    /// If the future is dropped, nothing is lost: what was read is in `captured`, and you can call this
    /// again to go on. (A future that is leaked, as by [`mem::forget`](std::mem::forget), keeps the
    /// streams.)
    ///
    /// All else is as for [`Process::wait_on_tokio`]. It uses up to four more descriptors while it waits.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](ChildExt::output_timeout).
    ///
    /// # Panics
    ///
    /// As for [`Process::wait_on_tokio`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use procwait::{Captured, ChildExt as _};
    /// use std::{process::{Command, Stdio}, time::Duration};
    ///
    /// let mut child = Command::new("sh")
    ///     .args(["-c", "echo so far; exec sleep 60"])
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let mut captured = Captured::default();
    /// # let five_seconds = Duration::from_millis(500);
    /// let output = child.output_on_tokio(&mut captured);
    /// let status = match tokio::time::timeout(five_seconds, output).await {
    ///     Ok(status) => status?,
    ///     Err(_) => {
    ///         child.kill()?;
    ///         child.output_on_tokio(&mut captured).await?
    ///     }
    /// };
    /// assert!(!status.success());
    /// println!("{}", String::from_utf8_lossy(&captured.stdout)); // "so far"
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "tokio")]
    fn output_on_tokio<'a>(
        &'a mut self,
        captured: &'a mut Captured,
    ) -> impl Future<Output = io::Result<ExitStatus>> + Send + 'a;

    /// Writes the input and reads the output like [`output_timeout`](ChildExt::output_timeout), without
    /// blocking the thread, until the child has exited and all that it wrote has been read. Does not wait
    /// for other processes that hold the pipes open.
    ///
    /// For a timeout, race it with a [`Timer`](https://docs.rs/async-io/latest/async_io/struct.Timer.html).
    /// If the future is dropped, nothing is lost: what was read is in `captured`, and you can call this
    /// again to go on. (A future that is leaked, as by [`mem::forget`](std::mem::forget), keeps the
    /// streams.)
    ///
    /// All else is as for [`Process::wait_on_async_io`]. It uses up to four more descriptors while it
    /// waits.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](ChildExt::output_timeout).
    ///
    /// # Panics
    ///
    /// As for [`Process::wait_on_async_io`].
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// # async_io::block_on(async {
    /// use procwait::{Captured, ChildExt as _};
    /// use std::process::{Command, Stdio};
    ///
    /// let mut child = Command::new("tr")
    ///     .args(["a-z", "A-Z"])
    ///     .stdin(Stdio::piped())
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let mut captured = Captured::default().input("hello");
    /// let status = child.output_on_async_io(&mut captured).await?;
    /// assert!(status.success());
    /// assert_eq!(captured.stdout, b"HELLO");
    /// # Ok::<(), std::io::Error>(())
    /// # })?;
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "async-io")]
    fn output_on_async_io<'a>(
        &'a mut self,
        captured: &'a mut Captured,
    ) -> impl Future<Output = io::Result<ExitStatus>> + Send + 'a;
}

/// What a call of [`ChildExt::read_timeout`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// There is new output in the [`Captured`].
    Read,
    /// The child has exited, and all that it wrote is in the [`Captured`], some of it perhaps new.
    Exited(ExitStatus),
    /// The timeout has passed. There is nothing new in the [`Captured`].
    TimedOut,
}

impl Progress {
    pub(crate) fn status(self) -> Option<ExitStatus> {
        match self {
            Progress::Exited(status) => Some(status),
            Progress::Read | Progress::TimedOut => None,
        }
    }
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
        output(self, captured, Until::Exit, Deadline::after(timeout)).map(Progress::status)
    }

    fn output_deadline(
        &mut self,
        captured: &mut Captured,
        deadline: Instant,
    ) -> io::Result<Option<ExitStatus>> {
        output(self, captured, Until::Exit, Deadline::at(deadline)).map(Progress::status)
    }

    fn read_timeout(&mut self, captured: &mut Captured, timeout: Duration) -> io::Result<Progress> {
        output(self, captured, Until::Output, Deadline::after(timeout))
    }

    fn read_deadline(
        &mut self,
        captured: &mut Captured,
        deadline: Instant,
    ) -> io::Result<Progress> {
        output(self, captured, Until::Output, Deadline::at(deadline))
    }

    fn read_to_end_timeout(
        &mut self,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<bool> {
        transfer::read_to_end(self, captured, Deadline::after(timeout))
    }

    #[cfg(unix)]
    fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        stop(self, grace)
    }

    fn process(&mut self) -> io::Result<Process> {
        child_process::open_unreaped(self).map(Process::from)
    }

    #[cfg(feature = "tokio")]
    fn output_on_tokio<'a>(
        &'a mut self,
        captured: &'a mut Captured,
    ) -> impl Future<Output = io::Result<ExitStatus>> + Send + 'a {
        runtime::output_on_tokio(self, captured)
    }

    #[cfg(feature = "async-io")]
    fn output_on_async_io<'a>(
        &'a mut self,
        captured: &'a mut Captured,
    ) -> impl Future<Output = io::Result<ExitStatus>> + Send + 'a {
        runtime::output_on_async_io(self, captured)
    }
}

fn wait(child: &mut Child, deadline: Deadline) -> io::Result<Option<ExitStatus>> {
    drop(child.stdin.take());
    if deadline == Deadline::Now {
        return sys::try_wait(child);
    }
    match child_process::open(child)? {
        Opened::Running(process) => child_process::wait(child, &process, deadline),
        Opened::Exiting => child_process::wait_exiting(child, deadline),
        Opened::Reaped { status, .. } => status.map(Some),
    }
}

fn output(
    child: &mut Child,
    captured: &mut Captured,
    until: Until,
    deadline: Deadline,
) -> io::Result<Progress> {
    Transfer::new(child, captured, deadline)?.run(until, deadline)
}

#[cfg(unix)]
fn stop(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    use crate::sys::{CONT, KILL, TERM};
    let deadline = Deadline::after(grace);
    let status = match child_process::open(child)? {
        Opened::Running(process) => {
            if process.signal(TERM)? {
                process.signal(CONT)?;
            }
            drop(child.stdin.take());
            let mut status = child_process::wait(child, &process, deadline)?;
            if status.is_none() {
                process.signal(KILL)?;
                status = child_process::wait(child, &process, Deadline::Never)?;
            }
            status
        }
        Opened::Exiting => child_process::wait_exiting(child, Deadline::Never)?,
        Opened::Reaped { status, .. } => Some(status?),
    };
    Ok(status.expect("there is no deadline"))
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Child {}
}
