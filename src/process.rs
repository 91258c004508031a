//! One process: open it, wait for it, fall back to polling.

use crate::{
    Backend, Error, Exit,
    deadline::Deadline,
    pid::Pid,
    polling::{Polling, TakenOver},
    sys::{
        BorrowedEvent, ChildState, ExitEvent, Handle, KeepFd, ProcessHandle as _,
        is_no_such_process, peek_child,
    },
};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(windows)]
use std::os::windows::io::BorrowedHandle;
use std::{
    io,
    sync::OnceLock,
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
    match Process::open(pid.get()) {
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
/// during the `fork`. On macOS and the BSDs, the child's copy is polled, and its status may be
/// unknown.
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
    pub(crate) pid: Pid,
    /// Kept after a fallback to polling, as signals can still be sent through it.
    pub(crate) handle: Option<Handle>,
    /// Whether to poll if events fail.
    allow_fallback: bool,
    polled: OnceLock<Polled>,
    pub(crate) exit: OnceLock<Exit>,
}

#[derive(Debug)]
struct Polled {
    polling: Polling,
    /// Why it is polled. `None` if that was asked for.
    cause: Option<io::Error>,
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
        let pid = Pid::new(pid)?;
        match Handle::open(pid) {
            Ok(handle) => Ok(Process::new(pid, Some(handle), true)),
            // If the cause is ESRCH, there may be such a process all the same: some kernels say
            // so for processes that are just exiting, or for zombies. The probe finds out.
            Err(cause) => Process::open_polled(pid, Some(cause)),
        }
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
        let pid = Pid::new(pid)?;
        if backend == Backend::Polling {
            return Process::open_polled(pid, None);
        }
        if Handle::BACKEND != Some(backend) {
            return Err(Error::Unsupported { backend });
        }
        match Handle::open(pid) {
            Ok(handle) => Ok(Process::new(pid, Some(handle), false)),
            Err(cause) if Handle::is_unsupported(&cause) => Err(Error::Unsupported { backend }),
            Err(cause) => match Process::open_polled(pid, None) {
                Ok(_) => Err(Error::os(Handle::OPEN_CALL, pid, cause)),
                Err(error) => Err(error),
            },
        }
    }

    /// Opens the process of a child. If the OS reports that no process has its pid, this does not
    /// probe: the caller can wait for a child that is just exiting, and on OpenBSD, reading the
    /// process table ends a program that has pledged not to (pledge(2), "ps").
    pub(crate) fn open_child(pid: u32) -> Result<Process, Error> {
        let pid = Pid::new(pid)?;
        match Handle::open(pid) {
            Ok(handle) => Ok(Process::new(pid, Some(handle), true)),
            Err(cause) if is_no_such_process(&cause) => Err(Error::NotFound { pid: pid.get() }),
            Err(cause) => Process::open_polled(pid, Some(cause)),
        }
    }

    fn new(pid: Pid, handle: Option<Handle>, allow_fallback: bool) -> Process {
        Process {
            pid,
            handle,
            allow_fallback,
            polled: OnceLock::new(),
            exit: OnceLock::new(),
        }
    }

    fn open_polled(pid: Pid, cause: Option<io::Error>) -> Result<Process, Error> {
        let (polling, exit) = Polling::open(pid, KeepFd::Always)?;
        Ok(Process {
            polled: Polled { polling, cause }.into(),
            exit: exit.map(OnceLock::from).unwrap_or_default(),
            ..Process::new(pid, None, false)
        })
    }

    /// The pid it was opened with. Another process may have it once this one has been reaped.
    pub fn pid(&self) -> u32 {
        self.pid.get()
    }

    /// The backend in use. It can change to [`Backend::Polling`] during a wait, and never
    /// changes back.
    pub fn backend(&self) -> Backend {
        let watched_by = self.active_handle().and(Handle::BACKEND);
        watched_by.unwrap_or(Backend::Polling)
    }

    /// `None` if it is polled.
    pub(crate) fn active_handle(&self) -> Option<&Handle> {
        self.handle.as_ref().filter(|_| self.polled.get().is_none())
    }

    /// Why the process is polled: the error from the event backend. `None` if it is not
    /// polled, or was opened with [`Backend::Polling`].
    pub fn fallback_cause(&self) -> Option<&io::Error> {
        self.polled.get()?.cause.as_ref()
    }

    /// Checks whether the process has exited, without waiting. Returns `Ok(None)` if it is
    /// still running.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if events fail, and polling fails too or was excluded by
    /// [`open_with`](Process::open_with).
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.wait_until(Deadline::Now)
    }

    /// Waits until the process has exited, however long that takes.
    /// Fails as [`try_wait`](Process::try_wait) does.
    pub fn wait(&self) -> Result<Exit, Error> {
        let exit = self.wait_until(Deadline::Never)?;
        Ok(exit.expect("there is no deadline"))
    }

    /// Waits until the process has exited. Returns `Ok(None)` if `timeout` passes first,
    /// never early. A timeout that the clock cannot represent waits forever.
    /// Fails as [`try_wait`](Process::try_wait) does.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Exit>, Error> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until the process has exited. Returns `Ok(None)` if `deadline` passes first,
    /// never early. A deadline in the past checks once.
    /// Fails as [`try_wait`](Process::try_wait) does.
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<Exit>, Error> {
        self.wait_until(Deadline::at(deadline))
    }

    /// A descriptor that becomes readable when the process exits, and stays so: for use with
    /// `poll`, epoll, kqueue or an async reactor. `None` if the process is polled.
    ///
    /// When it is readable, call [`try_wait`](Process::try_wait). Readiness can be spurious
    /// for a moment: if `try_wait` returns `None`, keep waiting.
    #[cfg(unix)]
    pub fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.as_event()
    }

    /// The process handle, which becomes signaled when the process exits, for use with
    /// `WaitForMultipleObjects` and the like. `None` if the process is polled.
    #[cfg(windows)]
    pub fn as_event_handle(&self) -> Option<BorrowedHandle<'_>> {
        self.as_event()
    }

    pub(crate) fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        self.active_handle()?.as_event()
    }

    /// The exit, if it is known already.
    pub(crate) fn known_exit(&self) -> Option<Exit> {
        self.exit.get().copied()
    }

    pub(crate) fn wait_until(&self, deadline: Deadline) -> Result<Option<Exit>, Error> {
        loop {
            if self.wait_event(deadline)?.is_none() {
                return Ok(None);
            }
            if let Some(exit) = self.exit()? {
                return Ok(Some(exit));
            }
            // The event was spurious.
            if deadline.has_passed() {
                return Ok(None);
            }
        }
    }

    /// Sleeps until the process has exited, or until the deadline (`None`). The event can be
    /// spurious, so [`exit`](Process::exit) must be called next.
    pub(crate) fn wait_event(&self, deadline: Deadline) -> Result<Option<ExitEvent>, Error> {
        if self.exit.get().is_some() {
            return Ok(Some(ExitEvent::Exited));
        }
        if let Some(handle) = self.active_handle() {
            match handle.wait(deadline) {
                Ok(event) => return Ok(event),
                Err(cause) => self.fall_back(handle, cause)?,
            }
        }
        if let Some(polling) = self.polling() {
            polling.wait(deadline, &self.exit)?;
        }
        Ok(self.exit.get().map(|_| ExitEvent::Exited))
    }

    /// How the process exited, after a [`wait_event`](Process::wait_event). `None` if it has not.
    pub(crate) fn exit(&self) -> Result<Option<Exit>, Error> {
        if let (Some(handle), None) = (self.active_handle(), self.exit.get()) {
            match handle.exit() {
                Ok(Some(exit)) => self.record_exit(exit),
                Ok(None) => {}
                Err(cause) => self.fall_back(handle, cause)?,
            }
        }
        Ok(self.known_exit())
    }

    /// What the OS reports about this very process to its parent. `None` if the OS can only be
    /// asked about a pid.
    pub(crate) fn child_state(&self) -> Option<ChildState> {
        let state = self.handle.as_ref().and_then(Handle::child_state);
        state.or_else(|| self.polling()?.child_state())
    }

    /// Records the exit, unless one is recorded already: every call returns the first one.
    fn record_exit(&self, exit: Exit) {
        let _ = self.exit.set(exit);
    }

    /// Records that the process has been reaped, with the exit if the OS still reports it.
    pub(crate) fn record_reaped(&self, known: Option<Exit>) {
        let exit = known.or_else(|| self.handle.as_ref()?.exit().ok()?);
        self.record_exit(exit.unwrap_or(Exit::UNKNOWN));
    }

    pub(crate) fn polling(&self) -> Option<&Polling> {
        self.polled.get().map(|polled| &polled.polling)
    }

    /// Switches from events to polling. If several threads fall back at once, all use the first
    /// one's `Polling`.
    fn fall_back(&self, handle: &Handle, cause: io::Error) -> Result<(), Error> {
        if !self.allow_fallback {
            return Err(Error::os(Handle::WAIT_CALL, self.pid, cause));
        }
        if self.polled.get().is_some() {
            return Ok(());
        }
        match Polling::take_over(self.pid, KeepFd::Always, || handle.is_reaped())? {
            TakenOver::Polling(polling) => {
                let cause = Some(cause);
                let _ = self.polled.set(Polled { polling, cause });
            }
            TakenOver::Exited(exit) => self.record_reaped(exit),
        }
        Ok(())
    }
}
