//! An open process: waits for its exit by events, falls back to polling, and records the exit.

use crate::{
    Backend, Error, Exit,
    deadline::Deadline,
    pid::Pid,
    polling::{Polling, TakenOver},
    sys::{
        BorrowedEvent, ChildState, ExitEvent, Handle, KeepFd, OwnsHandle, ProcessHandle as _,
        is_no_such_process,
    },
};
use std::{io, sync::OnceLock};

/// What a [`Process`](crate::Process) shares with the sets that it is in. `wait_pid` uses one
/// without allocating.
#[derive(Debug)]
pub(crate) struct OpenProcess {
    /// `None` if it was adopted, and the OS does not show its pid: it can only be reached through its
    /// handle.
    pub(crate) pid: Option<Pid>,
    /// Kept after a fallback to polling, as signals can still be sent through it.
    pub(crate) handle: Option<Handle>,
    /// Whether to poll if events fail.
    allow_fallback: bool,
    polled: OnceLock<Polled>,
    /// The first one that was found, which every call returns.
    pub(crate) exit: OnceLock<Exit>,
}

impl OwnsHandle for OpenProcess {
    fn handle(&self) -> &Handle {
        let handle = self.handle.as_ref();
        handle.expect("a set watches only processes that have one")
    }
}

#[derive(Debug)]
struct Polled {
    polling: Polling,
    /// Why it is polled. `None` if that was asked for.
    cause: Option<io::Error>,
}

impl OpenProcess {
    pub(crate) fn open(pid: Pid) -> Result<OpenProcess, Error> {
        match Handle::open(pid) {
            Ok(handle) => Ok(OpenProcess::new(pid, Some(handle), true)),
            // If the cause is ESRCH, there may be such a process all the same: some kernels say
            // so for processes that are just exiting, or for zombies. The probe finds out.
            Err(cause) => OpenProcess::open_polled(pid, Some(cause)),
        }
    }

    pub(crate) fn open_with(pid: Pid, backend: Backend) -> Result<OpenProcess, Error> {
        if backend == Backend::Polling {
            return OpenProcess::open_polled(pid, None);
        }
        if Handle::BACKEND != Some(backend) {
            return Err(Error::Unsupported { backend });
        }
        match Handle::open(pid) {
            Ok(handle) => Ok(OpenProcess::new(pid, Some(handle), false)),
            Err(cause) if Handle::is_unsupported(&cause) => Err(Error::Unsupported { backend }),
            Err(cause) => match OpenProcess::open_polled(pid, None) {
                Ok(_) => Err(Error::os(Handle::OPEN_CALL, pid, cause)),
                Err(error) => Err(error),
            },
        }
    }

    /// Opens the process of a child. If the OS reports that no process has its pid, this does not
    /// probe: the caller can wait for a child that is just exiting, and on OpenBSD, reading the
    /// process table ends a program that has pledged not to (pledge(2), "ps").
    pub(crate) fn open_child(pid: Pid) -> Result<OpenProcess, Error> {
        match Handle::open(pid) {
            Ok(handle) => Ok(OpenProcess::new(pid, Some(handle), true)),
            Err(cause) if is_no_such_process(&cause) => Err(Error::NotFound { pid: pid.get() }),
            Err(cause) => OpenProcess::open_polled(pid, Some(cause)),
        }
    }

    pub(crate) fn new(
        pid: impl Into<Option<Pid>>,
        handle: Option<Handle>,
        allow_fallback: bool,
    ) -> OpenProcess {
        OpenProcess {
            pid: pid.into(),
            handle,
            allow_fallback,
            polled: OnceLock::new(),
            exit: OnceLock::new(),
        }
    }

    fn open_polled(pid: Pid, cause: Option<io::Error>) -> Result<OpenProcess, Error> {
        let (polling, exit) = Polling::open(pid, KeepFd::Always)?;
        Ok(OpenProcess {
            polled: Polled { polling, cause }.into(),
            exit: exit.map(OnceLock::from).unwrap_or_default(),
            ..OpenProcess::new(pid, None, false)
        })
    }

    /// A process that has exited and been reaped.
    pub(crate) fn exited(pid: Pid, exit: Exit) -> OpenProcess {
        OpenProcess {
            exit: exit.into(),
            ..OpenProcess::new(pid, None, false)
        }
    }

    pub(crate) fn known_pid(&self) -> Result<Pid, Error> {
        self.pid.ok_or(Error::InvalidPid { pid: 0 })
    }

    pub(crate) fn backend(&self) -> Backend {
        let watched_by = self.active_handle().and(Handle::BACKEND);
        watched_by.unwrap_or(Backend::Polling)
    }

    /// `None` if it is polled.
    pub(crate) fn active_handle(&self) -> Option<&Handle> {
        self.handle.as_ref().filter(|_| self.polled.get().is_none())
    }

    pub(crate) fn fallback_cause(&self) -> Option<&io::Error> {
        self.polled.get()?.cause.as_ref()
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
    /// spurious, so [`exit`](OpenProcess::exit) must be called next.
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

    /// How the process exited, after a [`wait_event`](OpenProcess::wait_event). `None` if it has not.
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

    /// Whether it has been reaped, so that another process can have its pid. `None` if that is not
    /// known.
    #[cfg(unix)]
    pub(crate) fn is_reaped(&self) -> Option<bool> {
        if let Ok(None) = self.wait_until(Deadline::Now) {
            return Some(false);
        }
        let is_reaped = self.handle.as_ref().and_then(Handle::is_reaped);
        is_reaped.or_else(|| match self.child_state()? {
            // It may have been a child, and reaped.
            ChildState::NotAChild => None,
            ChildState::Running | ChildState::Stopped | ChildState::Exited(_) => Some(false),
        })
    }

    /// For a process that has exited: whether it has been reaped, so that another one can have its
    /// pid. False if that is not known.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        match (&self.handle, self.polling()) {
            (Some(handle), _) => handle.zombie_is_reaped(),
            (None, polling) => polling.is_some_and(Polling::zombie_is_reaped),
        }
    }

    /// See [`ProcessHandle`](crate::sys::ProcessHandle::start_time).
    pub(crate) fn start_time(&self) -> Option<u64> {
        let start_time = self.handle.as_ref().and_then(Handle::start_time);
        start_time.or_else(|| self.polling()?.start_time())
    }

    /// Whether this is another one with the same pid, even if it has been reaped. `None` if the OS
    /// does not say.
    pub(crate) fn is_same_process(&self, other: &OpenProcess) -> Option<bool> {
        let (ours, others) = (self.handle.as_ref()?, other.handle.as_ref()?);
        ours.is_same_process(others)
    }

    /// Records the exit, unless one is recorded already: every call returns the first one.
    pub(crate) fn record_exit(&self, exit: Exit) {
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
        let Some(pid) = self.pid.filter(|_| self.allow_fallback) else {
            return Err(Error::os(Handle::WAIT_CALL, self.pid, cause));
        };
        if self.polled.get().is_some() {
            return Ok(());
        }
        match Polling::take_over(pid, KeepFd::Always, || handle.is_reaped())? {
            TakenOver::Polling(polling) => {
                let cause = Some(cause);
                let _ = self.polled.set(Polled { polling, cause });
            }
            TakenOver::Exited(exit) => self.record_reaped(exit),
        }
        Ok(())
    }
}
