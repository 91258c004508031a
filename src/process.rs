//! `wait_pid` and `Process`: wait for one process.

use crate::{
    Backend, Error, Exit, Identity,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    sys::{ChildState, peek_child},
};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(windows)]
use std::os::windows::io::BorrowedHandle;
use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// Waits until the process `pid` has exited, or `timeout` has passed.
///
/// The process need not be a child. If it is one, it is not reaped, and
/// [`Child::wait`](std::process::Child::wait) still gets its status.
///
/// Returns `Ok(None)` if `timeout` passes first, never early. `None` waits forever, and so
/// does a timeout that the clock cannot represent, such as [`Duration::MAX`].
/// [`Duration::ZERO`] checks once, without waiting. To check repeatedly, open a [`Process`],
/// which is cheaper.
///
/// If something else may reap the process before this call opens it, another process can
/// [have its pid](crate#pids). For a [`Child`](std::process::Child), use
/// [`ChildExt::wait_timeout`](crate::ChildExt::wait_timeout), which verifies that.
///
/// # Errors
///
/// - [`Error::InvalidPid`] for 0, and on Unix for a pid above `i32::MAX`.
/// - [`Error::NotFound`] if no process has this pid (any more).
/// - [`Error::Os`] if events are not available and polling fails.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use std::{process::Command, time::Duration};
///
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// let pid = child.id(); // any pid would do
///
/// let timeout = Some(Duration::from_millis(10));
/// assert_eq!(procwait::wait_pid(pid, timeout)?, None);
///
/// child.kill()?;
/// let exit = procwait::wait_pid(pid, None)?.expect("waits until it exits");
/// assert_eq!(exit.status(), Some(child.wait()?));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_pid(pid: u32, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
    wait_pid_until(pid, Deadline::from_timeout(timeout))
}

pub(crate) fn wait_pid_until(pid: u32, deadline: Deadline) -> Result<Option<Exit>, Error> {
    let pid = Pid::new(pid)?;
    // A child that has exited keeps its pid until it is reaped, and one `waitid` is cheaper than
    // opening a pidfd.
    let child = peek_child(pid);
    if let ChildState::Exited(exit) = child {
        // On macOS up to 10.15, `waitid` does not report the status of a killed child, but the
        // process table does.
        if exit != Exit::UNKNOWN {
            return Ok(Some(exit));
        }
    }
    match OpenProcess::open(pid) {
        // The child was reaped in between. If `waitid` still finds it, `pid` is the id of a thread
        // that we trace, which is not a process.
        Err(Error::NotFound { .. })
            if child != ChildState::NotAChild && peek_child(pid) == ChildState::NotAChild =>
        {
            Ok(Some(Exit::UNKNOWN))
        }
        opened => opened?.wait_until(deadline),
    }
}

/// An open process, which is not confused with a later one that gets its pid.
///
/// It is identified by a pidfd, a kqueue, a process handle or an open `/proc` file. Where it has to
/// be polled without one of these, [its start time](crate#pids) or the like identifies it.
///
/// Any number of threads can wait for one `Process`, each with its own deadline, while
/// another kills it. Once it has exited, every call returns the same [`Exit`]. Dropping it
/// does nothing to the process.
///
/// After `fork`, the child can use its copy, unless another thread was using the `Process`
/// during the `fork`, or the child is in another pid namespace. On macOS and the BSDs, the child's
/// copy is polled, and its status may be unknown.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::Process;
/// use std::{process::Command, time::Duration};
///
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// let process = Process::open(child.id())?;
/// assert_eq!(process.try_wait()?, None);
/// assert_eq!(process.wait_timeout(Duration::from_millis(10))?, None);
///
/// child.kill()?;
/// let exit = process.wait()?;
/// assert_eq!(exit.signal(), Some(9));
/// child.wait()?;
/// assert_eq!(process.wait()?, exit);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Process {
    /// Shared with the sets that it is in.
    pub(crate) shared: Arc<OpenProcess>,
    /// Of two processes that have had one pid, the older one was opened first.
    pub(crate) opened_at: Instant,
    /// Once it was asked for.
    pub(crate) identity: OnceLock<Identity>,
}

impl Process {
    /// Opens the process `pid` with the best available backend.
    ///
    /// If events are not available, it is polled; [`fallback_cause`](Process::fallback_cause)
    /// says why.
    ///
    /// # Errors
    ///
    /// As for [`wait_pid`].
    pub fn open(pid: u32) -> Result<Process, Error> {
        OpenProcess::open(Pid::new(pid)?).map(Process::from)
    }

    /// Opens the process `pid` with this backend, without fallback. This is for tests and
    /// comparisons; otherwise, use [`open`](Process::open).
    ///
    /// # Errors
    ///
    /// As for [`open`](Process::open), and [`Error::Unsupported`] if this OS, this version of
    /// it, or this sandbox does not have the backend. Other failures, such as a lack of
    /// descriptors, are [`Error::Os`], here and in later waits.
    pub fn open_with(pid: u32, backend: Backend) -> Result<Process, Error> {
        OpenProcess::open_with(Pid::new(pid)?, backend).map(Process::from)
    }

    /// The pid it was opened with. Another process may have it once this one has been reaped.
    ///
    /// 0 if it was adopted (by `from_pidfd` or `from_handle`) and its pid is not known. No system call
    /// gets that number: such a process is waited for and signaled through its descriptor or handle.
    pub fn pid(&self) -> u32 {
        self.shared.pid.map_or(0, Pid::get)
    }

    /// The backend in use. It can change to [`Backend::Polling`] during a wait, and never
    /// changes back.
    pub fn backend(&self) -> Backend {
        self.shared.backend()
    }

    /// Why the process is polled: the error from the event backend. `None` if it is not
    /// polled, or was opened with [`Backend::Polling`].
    pub fn fallback_cause(&self) -> Option<&io::Error> {
        self.shared.fallback_cause()
    }

    /// Checks whether the process has exited, without waiting. Returns `Ok(None)` if it is
    /// still running.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if events fail, and polling fails too or was excluded by
    /// [`open_with`](Process::open_with).
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.shared.wait_until(Deadline::Now)
    }

    /// Waits until the process has exited, however long that takes.
    /// Fails as [`try_wait`](Process::try_wait) does.
    pub fn wait(&self) -> Result<Exit, Error> {
        let exit = self.shared.wait_until(Deadline::Never)?;
        Ok(exit.expect("there is no deadline"))
    }

    /// Waits until the process has exited. Returns `Ok(None)` if `timeout` passes first,
    /// never early. A timeout that the clock cannot represent waits forever.
    /// Fails as [`try_wait`](Process::try_wait) does.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Exit>, Error> {
        self.shared.wait_until(Deadline::after(timeout))
    }

    /// Waits until the process has exited. Returns `Ok(None)` if `deadline` passes first,
    /// never early. A deadline in the past checks once.
    /// Fails as [`try_wait`](Process::try_wait) does.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<Exit>, Error> {
        self.shared.wait_until(Deadline::at(deadline))
    }

    /// A descriptor that becomes readable when the process exits, and stays so: for use with
    /// `poll`, epoll, kqueue or an async reactor. `None` if the process is polled.
    ///
    /// When it is readable, call [`try_wait`](Process::try_wait). Readiness can be spurious
    /// for a moment: if `try_wait` returns `None`, keep waiting.
    #[cfg(unix)]
    pub fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.shared.as_event()
    }

    /// The process handle, which becomes signaled when the process exits, for use with
    /// `WaitForMultipleObjects` and the like. `None` if the process is polled.
    #[cfg(windows)]
    pub fn as_event_handle(&self) -> Option<BorrowedHandle<'_>> {
        self.shared.as_event()
    }
}

impl From<OpenProcess> for Process {
    fn from(open: OpenProcess) -> Process {
        Process {
            shared: Arc::new(open),
            opened_at: Instant::now(),
            identity: OnceLock::new(),
        }
    }
}
