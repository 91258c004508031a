//! One process: open it, wait for it, fall back to polling. The one place where
//! backends are chosen.

use crate::{
    Backend, Error, Exit,
    deadline::Deadline,
    error::is_no_such_process,
    pid::Pid,
    polling::Polling,
    sys::{self, Child, Keep},
    sys::{Event, ExitEvent},
};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
#[cfg(windows)]
use std::os::windows::io::{AsHandle as _, BorrowedHandle};
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
    let known = Pid::new(pid)?;
    // A look at our own child costs a tenth of opening an event backend. Its
    // pid cannot mean another process before it is reaped.
    let child = sys::peek_child(known);
    match child {
        // On macOS up to 10.15, the status of a killed child is unknown here and in the process
        // table known.
        Child::Exited(exit) if exit != Exit::UNKNOWN => return Ok(Some(exit)),
        Child::Running if deadline == Deadline::Now && sys::is_sure_to_live(known) => {
            return Ok(None);
        }
        _ => {}
    }
    match Process::open(pid) {
        // Somebody has reaped the child since the look. (A thread that we trace is still
        // there, and no process.)
        Err(Error::NotFound { .. })
            if child != Child::NotOurs && sys::peek_child(known) == Child::NotOurs =>
        {
            Ok(Some(Exit::UNKNOWN))
        }
        opened => opened?.wait_until(deadline),
    }
}

/// An open process, which is not confused with a later one that gets its pid.
///
/// A pidfd, a kqueue, a process handle or an open `/proc` file holds it. Where it has to be
/// polled without one of these, [other marks](crate#pids) identify it.
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
    /// What it was opened with, kept after a fall to polling: it can still be sent signals.
    pub(crate) event: Option<Event>,
    /// Whether to fall back if events fail.
    or_polling: bool,
    polled: OnceLock<Polled>,
    exit: OnceLock<Exit>,
}

#[derive(Debug)]
struct Polled {
    polling: Polling,
    /// Why it has to be polled, if it was not asked for.
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
    ///
    /// ```
    /// use procwait::{Error, Process};
    ///
    /// let this = Process::open(std::process::id())?;
    /// assert_eq!(this.try_wait()?, None);
    /// assert!(matches!(Process::open(0), Err(Error::InvalidPid { pid: 0 })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn open(pid: u32) -> Result<Process, Error> {
        let pid = Pid::new(pid)?;
        match Event::open(pid) {
            Ok(event) => Ok(Process::new(pid, Some(event), true)),
            // Among the causes is "no such process": some kernels say so of
            // processes that are just exiting, or of zombies. The probe knows.
            Err(cause) => Process::polled(pid, Some(cause)),
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
    ///
    /// ```
    /// use procwait::{Backend, Process};
    ///
    /// let this = Process::open_with(std::process::id(), Backend::Polling)?;
    /// assert_eq!(this.backend(), Backend::Polling);
    /// assert!(this.fallback_cause().is_none(), "it was asked for");
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn open_with(pid: u32, backend: Backend) -> Result<Process, Error> {
        let known = Pid::new(pid)?;
        if backend == Backend::Polling {
            return Process::polled(known, None);
        }
        if Event::BACKEND != Some(backend) {
            return Err(Error::Unsupported { backend });
        }
        let cause = match Event::open(known) {
            Ok(event) => return Ok(Process::new(known, Some(event), false)),
            Err(cause) => cause,
        };
        if Event::is_unavailable(&cause) {
            return Err(Error::Unsupported { backend });
        }
        match Polling::open(known, Keep::Always).map_err(Error::os(sys::CALL, pid))? {
            None => Err(Error::NotFound { pid }),
            Some(_) => Err(Error::os(Event::OPEN, pid)(cause)),
        }
    }

    /// Opens the process of a child. If no process has its pid, nothing else is asked about it:
    /// the owner can wait for a child that is just exiting, and on OpenBSD, reading the process
    /// table ends a program that has pledged not to (pledge(2), "ps").
    pub(crate) fn open_child(pid: u32) -> Result<Process, Error> {
        let known = Pid::new(pid)?;
        match Event::open(known) {
            Ok(event) => Ok(Process::new(known, Some(event), true)),
            Err(cause) if is_no_such_process(&cause) => Err(Error::NotFound { pid }),
            Err(cause) => Process::polled(known, Some(cause)),
        }
    }

    fn new(pid: Pid, event: Option<Event>, or_polling: bool) -> Process {
        Process {
            pid,
            event,
            or_polling,
            polled: OnceLock::new(),
            exit: OnceLock::new(),
        }
    }

    fn polled(pid: Pid, cause: Option<io::Error>) -> Result<Process, Error> {
        let opened = Polling::open(pid, Keep::Always);
        let opened = opened.map_err(Error::os(sys::CALL, pid.get()))?;
        let (polling, exit) = opened.ok_or(Error::NotFound { pid: pid.get() })?;
        Ok(Process {
            polled: Polled { polling, cause }.into(),
            exit: exit.map(OnceLock::from).unwrap_or_default(),
            ..Process::new(pid, None, false)
        })
    }

    /// The pid it was opened with. Another process may have it once this one has been reaped.
    ///
    /// ```
    /// # use procwait::Process;
    /// let this = Process::open(std::process::id())?;
    /// assert_eq!(this.pid(), std::process::id());
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn pid(&self) -> u32 {
        self.pid.get()
    }

    /// The backend in use. It can change to [`Backend::Polling`] during a wait, and never
    /// changes back.
    ///
    /// ```
    /// # use procwait::Process;
    /// let this = Process::open(std::process::id())?;
    /// println!("waiting by {}", this.backend()); // "pidfd"
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn backend(&self) -> Backend {
        match self.events() {
            Some(_) => Event::BACKEND.unwrap_or(Backend::Polling),
            None => Backend::Polling,
        }
    }

    /// `None`: it is polled.
    pub(crate) fn events(&self) -> Option<&Event> {
        self.event.as_ref().filter(|_| self.polled.get().is_none())
    }

    /// Why the process is polled: the error from the event backend. `None` if it is not
    /// polled, or was opened with [`Backend::Polling`].
    ///
    /// ```
    /// # use procwait::Process;
    /// let this = Process::open(std::process::id())?;
    /// if let Some(cause) = this.fallback_cause() {
    ///     eprintln!("polling: {cause}");
    /// }
    /// # Ok::<(), procwait::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use procwait::Process;
    /// let this = Process::open(std::process::id())?;
    /// assert_eq!(this.try_wait()?, None);
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.wait_until(Deadline::Now)
    }

    /// Waits until the process has exited, however long that takes.
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::Process;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// let process = Process::open(child.id())?;
    /// assert!(process.wait()?.success());
    /// # child.wait()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            if let Some(exit) = self.wait_until(Deadline::Never)? {
                return Ok(exit);
            }
        }
    }

    /// Waits until the process has exited. Returns `Ok(None)` if `timeout` passes first,
    /// never early. A timeout that the clock cannot represent waits forever.
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// ```
    /// use procwait::Process;
    /// use std::time::Duration;
    ///
    /// let this = Process::open(std::process::id())?;
    /// assert_eq!(this.wait_timeout(Duration::from_millis(10))?, None);
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Exit>, Error> {
        self.wait_until(Deadline::after(timeout))
    }

    /// Waits until the process has exited. Returns `Ok(None)` if `deadline` passes first,
    /// never early. A deadline in the past checks once.
    ///
    /// # Errors
    ///
    /// As for [`try_wait`](Process::try_wait).
    ///
    /// ```
    /// use procwait::Process;
    /// use std::time::{Duration, Instant};
    ///
    /// let this = Process::open(std::process::id())?;
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// assert_eq!(this.wait_deadline(deadline)?, None);
    /// assert!(Instant::now() >= deadline);
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> Result<Option<Exit>, Error> {
        self.wait_until(Deadline::at(deadline))
    }

    /// A descriptor that becomes readable when the process exits, and stays so: for use with
    /// `poll`, epoll, kqueue or an async reactor. `None` if the process is polled, and on
    /// illumos and Solaris, where `/proc/PID/psinfo` is always readable.
    ///
    /// When it is readable, call [`try_wait`](Process::try_wait). Readiness can be spurious
    /// for a moment: if `try_wait` returns `None`, keep waiting.
    ///
    /// ```
    /// use procwait::Process;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(child.id())?;
    /// if let Some(fd) = process.as_event_fd() {
    ///     // Add `fd` to what your event loop waits for.
    /// #   let _ = fd;
    /// }
    /// # child.kill()?;
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.events()?.as_event_fd()
    }

    /// The process handle, which becomes signaled when the process exits, for use with
    /// `WaitForMultipleObjects` and the like. `None` if the process is polled.
    ///
    /// ```
    /// # use procwait::Process;
    /// let this = Process::open(std::process::id())?;
    /// assert!(this.as_event_handle().is_some());
    /// # Ok::<(), procwait::Error>(())
    /// ```
    #[cfg(windows)]
    pub fn as_event_handle(&self) -> Option<BorrowedHandle<'_>> {
        Some(self.events()?.as_handle())
    }

    /// How, if that is known already.
    pub(crate) fn exited(&self) -> Option<Exit> {
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
            // The event was none.
            if deadline.has_passed() {
                return Ok(None);
            }
        }
    }

    /// Sleeps until the process has exited, or the deadline has passed (`None`). The event can
    /// be spurious: [`exit`](Process::exit) distinguishes.
    pub(crate) fn wait_event(&self, deadline: Deadline) -> Result<Option<ExitEvent>, Error> {
        if self.exit.get().is_some() {
            return Ok(Some(ExitEvent::Exited));
        }
        if let Some(event) = self.events() {
            match event.wait_event(deadline) {
                Ok(waited) => return Ok(waited),
                Err(cause) => self.fall_back(event, cause)?,
            }
        }
        if let Some(polling) = self.polling() {
            let waited = polling.wait(deadline, &self.exit);
            waited.map_err(Error::os(sys::CALL, self.pid.get()))?;
        }
        Ok(self.exit.get().map(|_| ExitEvent::Exited))
    }

    /// How the process exited, after a [`wait_event`](Process::wait_event).
    /// `None` if it has not.
    pub(crate) fn exit(&self) -> Result<Option<Exit>, Error> {
        if let (Some(event), None) = (self.events(), self.exit.get()) {
            match event.exit() {
                Ok(exit) => self.has_exited(exit),
                Err(cause) => self.fall_back(event, cause)?,
            }
        }
        Ok(self.exited())
    }

    /// Looks, if it is time to, or says how long to pause: at the pace of all who poll this
    /// process, or at the given one where events ought to tell.
    #[cfg(any(feature = "tokio", feature = "async-io"))]
    pub(crate) fn turn(
        &self,
        when: crate::deadline::When,
        pace: &mut crate::deadline::Pace,
    ) -> Result<crate::deadline::Turn<Exit>, Error> {
        match self.polling() {
            Some(polling) => {
                let turn = polling.turn(when, &self.exit);
                turn.map_err(Error::os(sys::CALL, self.pid.get()))
            }
            None => pace.turn(when, || self.try_wait()),
        }
    }

    /// What the OS reports of this very process to its parent. `None` if it can only be asked
    /// about a pid.
    pub(crate) fn child_state(&self) -> Option<Child> {
        let by_event = self.event.as_ref().and_then(Event::child_state);
        by_event.or_else(|| self.polling()?.child_state())
    }

    /// Whoever is the first to know, all answer what he found.
    fn has_exited(&self, exit: Option<Exit>) {
        if let Some(exit) = exit {
            let _ = self.exit.set(exit);
        }
    }

    /// It has exited, as this look or else what it was opened with can tell.
    pub(crate) fn is_gone(&self, seen: Option<Exit>) {
        let exit = seen.or_else(|| self.event.as_ref()?.exit().ok()?);
        self.has_exited(Some(exit.unwrap_or(Exit::UNKNOWN)));
    }

    pub(crate) fn polling(&self) -> Option<&Polling> {
        self.polled.get().map(|polled| &polled.polling)
    }

    /// From events to polling, once they have failed. Of several who find out at the same
    /// time the first one's is the polling that all go over to.
    fn fall_back(&self, event: &Event, cause: io::Error) -> Result<(), Error> {
        if !self.or_polling {
            return Err(Error::os(Event::WAIT, self.pid.get())(cause));
        }
        if self.polled.get().is_some() {
            return Ok(());
        }
        let taken = Polling::take_over(self.pid, Keep::Always, || event.is_reaped());
        match taken.map_err(Error::os(sys::CALL, self.pid.get()))? {
            Ok(polling) => {
                let cause = Some(cause);
                let _ = self.polled.set(Polled { polling, cause });
            }
            Err(seen) => self.is_gone(seen),
        }
        Ok(())
    }
}
