//! `EVFILT_PROC` with `NOTE_EXIT`, on a kqueue for one process.

use super::{
    os::Event,
    queue::{Kqueue, Process, StickyEvent, raw},
    rules, system,
};
use crate::{
    Backend, Exit,
    backoff::Backoff,
    deadline::Deadline,
    lock::lock,
    pid::Pid,
    sys::{BorrowedEvent, ExitEvent, ProcessHandle},
};
use rustix::io::Errno;
use std::{
    io,
    mem::MaybeUninit,
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct Handle {
    /// Dropped before the sticky event, which is registered with it.
    kqueue: Kqueue,
    process: Process,
    sticky_event: StickyEvent,
    /// The kernel reports it once, to one of the threads that wait.
    exit: OnceLock<Exit>,
    /// When the process was rechecked. Not more often than needed: while another thread has taken the
    /// event and not recorded it, a recheck can find less.
    rechecks: Mutex<Backoff>,
}

impl ProcessHandle for Handle {
    const BACKEND: Option<Backend> = Some(Backend::Kqueue);
    const OPEN_CALL: &str = "kevent";
    const WAIT_CALL: &str = "kevent";

    fn recheck_interval() -> Option<Duration> {
        // Long, as it reads the process table; short in the tests.
        const INTERVAL: Duration = Duration::from_secs(if cfg!(kqueue_on_linux) { 2 } else { 60 });
        rules::can_miss_exits(system()).then_some(INTERVAL)
    }

    fn open(pid: Pid) -> io::Result<Handle> {
        let kqueue = Kqueue::new()?;
        let registered = kqueue.register(pid, 0)?;
        let handle = Handle {
            kqueue,
            process: registered.process,
            sticky_event: StickyEvent::new()?,
            exit: OnceLock::new(),
            rechecks: Mutex::default(),
        };
        // The registration has checked it.
        lock(&handle.rechecks).record_since(Instant::now());
        for event in &registered.events {
            handle.record(event)?;
        }
        if registered.is_gone && handle.wait(Deadline::Now)?.is_none() {
            // As if the registration had failed: the probe can find out more.
            return Err(Errno::SRCH.into());
        }
        Ok(handle)
    }

    fn wait(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        loop {
            let next_recheck = self.time_until_recheck();
            let until = next_recheck.map_or(deadline, |delay| deadline.capped(delay));
            let has_event = until.sleep(|timeout| self.poll_event(timeout))?;
            let is_over = deadline.has_passed();
            if has_event || self.recheck_if_due()? {
                return Ok(Some(ExitEvent::Exited));
            }
            if is_over {
                return Ok(None);
            }
        }
    }

    fn exit(&self) -> io::Result<Option<Exit>> {
        self.poll_event(Some(Duration::ZERO))?;
        Ok(self.exit.get().copied())
    }

    fn zombie_is_reaped(&self) -> bool {
        self.process.zombie_is_reaped()
    }

    fn is_same_process(&self, other: &Handle) -> Option<bool> {
        other.is_process(&self.process)
    }

    /// What the process table shows is of this process if that is still running afterwards, or if both
    /// have exited.
    fn start_time(&self) -> Option<u64> {
        let start_time = self.process.start_time()?;
        let has_exited = self.wait(Deadline::Now).ok()?.is_some();
        let is_same = !has_exited || self.process.recheck().is_some();
        is_same.then_some(start_time)
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        self.kqueue.as_fd()
    }
}

impl Handle {
    pub(super) fn pid(&self) -> Pid {
        self.process.pid
    }

    pub(super) fn is_process(&self, other: &Process) -> Option<bool> {
        self.process.is_same(other)
    }

    fn poll_event(&self, timeout: Option<Duration>) -> io::Result<bool> {
        if self.exit.get().is_none() {
            let mut events = [MaybeUninit::uninit()];
            if let [event] = self.kqueue.wait(&mut events, timeout)? {
                self.record(event)?;
            }
        }
        Ok(self.exit.get().is_some())
    }

    /// `None` if the kernel reports every exit.
    fn time_until_recheck(&self) -> Option<Duration> {
        let interval = Handle::recheck_interval()?;
        Some(lock(&self.rechecks).remaining_of(interval))
    }

    fn recheck_if_due(&self) -> io::Result<bool> {
        if self.time_until_recheck() != Some(Duration::ZERO) {
            return Ok(false);
        }
        lock(&self.rechecks).record_since(Instant::now());
        self.recheck()
    }

    /// For an exit that the kernel does not report.
    fn recheck(&self) -> io::Result<bool> {
        let Some(exit) = self.process.recheck() else {
            return Ok(false);
        };
        // The event may have come since, and says more.
        if !self.poll_event(Some(Duration::ZERO))? {
            self.record_exit(exit);
        }
        Ok(true)
    }

    fn record(&self, event: &Event) -> io::Result<()> {
        if let Some(data) = rules::exit_data(raw(event), self.process.pid.get())? {
            self.record_exit(self.process.exit_from(data));
        }
        Ok(())
    }

    /// Stores the exit before waking other threads.
    fn record_exit(&self, exit: Exit) {
        if self.exit.set(exit).is_ok() {
            // A kernel sleeps until there is memory for it. If other code has closed the kqueue, the
            // waits of other threads fail as well.
            let _ = self.sticky_event.add_to(&self.kqueue);
        }
    }
}
