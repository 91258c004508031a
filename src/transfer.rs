//! Writes the input of a child and reads its output until it has exited, and reaps it.

#[cfg(any(feature = "tokio", feature = "async-io"))]
use crate::sys::Interest;
use crate::{
    Captured, Progress,
    backoff::Backoff,
    captured::Reaped,
    child_process::{self, Opened},
    deadline::Deadline,
    open_process::OpenProcess,
    sys::{
        self, BorrowedEvent, Drained, Handle, ProcessHandle as _, Streams, reaped_elsewhere,
        try_wait_unless_reused,
    },
};
use std::{
    io, mem,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

/// Goes on in rounds, each of which waits for an event only if the caller wants that. So a thread
/// can run it, and an async runtime as well.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    streams: Streams<'a>,
    state: State,
    reaped: &'a mut Option<Reaped>,
    /// When to check for the exit where no event reports it.
    backoff: Backoff,
    /// How many bytes of output the vectors held at first.
    kept_before: usize,
    /// Whether the last round has transferred something, so that the next one need not wait.
    has_more: bool,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // There is only one. A box would allocate.
enum State {
    Open {
        process: OpenProcess,
        /// The exit event has happened, but the child cannot be reaped yet: see `try_reap`.
        has_exited: bool,
    },
    /// It is exiting, and cannot be opened any more.
    Exiting,
    /// It is only checked once, which does not need its process.
    Unopened,
    /// Its streams can still hold output.
    Reaped {
        status: io::Result<ExitStatus>,
        drained: Drained,
    },
}

impl From<Opened> for State {
    fn from(opened: Opened) -> State {
        match opened {
            Opened::Running(process) => State::Open {
                process,
                has_exited: false,
            },
            Opened::Exiting => State::Exiting,
            Opened::Reaped { status, .. } => State::reaped(status),
        }
    }
}

impl State {
    fn reaped(status: io::Result<ExitStatus>) -> State {
        let drained = Drained::No;
        State::Reaped { status, drained }
    }

    /// `None` if the exit is polled for, or is known.
    fn exit_event(&self) -> Option<BorrowedEvent<'_>> {
        match self {
            State::Open {
                process,
                has_exited: false,
            } => process.as_event(),
            _ => None,
        }
    }

    /// After an event of a child that cannot be reaped yet. If it has not exited, the event was
    /// spurious.
    fn record_event(&mut self) -> io::Result<()> {
        if let State::Open {
            process,
            has_exited,
        } = self
        {
            *has_exited = process.exit()?.is_some();
        }
        Ok(())
    }
}

/// What ends a call, before its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Exit,
    /// The exit, or new output.
    Output,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(
        child: &'a mut Child,
        captured: &'a mut Captured,
        deadline: Deadline,
    ) -> io::Result<Transfer<'a>> {
        let (mut streams, reaped) = captured.streams(child)?;
        let state = if deadline == Deadline::Now {
            State::Unopened
        } else {
            child_process::open(streams.child())?.into()
        };
        Ok(Transfer::in_state(state, streams, reaped))
    }

    /// Of a child that was opened before.
    pub(crate) fn of_opened(
        opened: Opened,
        child: &'a mut Child,
        captured: &'a mut Captured,
    ) -> io::Result<Transfer<'a>> {
        let (streams, reaped) = captured.streams(child)?;
        // It may be that of an earlier command.
        *reaped = None;
        Ok(Transfer::in_state(opened.into(), streams, reaped))
    }

    fn in_state(
        state: State,
        streams: Streams<'a>,
        reaped: &'a mut Option<Reaped>,
    ) -> Transfer<'a> {
        Transfer {
            kept_before: streams.kept(),
            streams,
            state,
            reaped,
            backoff: Backoff::default(),
            has_more: false,
        }
    }

    /// The process, unless it has been reaped.
    pub(crate) fn process(&self) -> Option<&OpenProcess> {
        match &self.state {
            State::Open { process, .. } => Some(process),
            _ => None,
        }
    }

    pub(crate) fn run(&mut self, until: Until, deadline: Deadline) -> io::Result<Progress> {
        let mut progress = Progress::TimedOut;
        deadline.sleep(|timeout| {
            let is_last = timeout == Some(Duration::ZERO);
            if let Some(status) = self.round(timeout, is_last)? {
                progress = Progress::Exited(status);
            } else if until == Until::Output && self.has_new_output() {
                progress = Progress::Read;
            }
            Ok(progress != Progress::TimedOut)
        })?;
        if progress == Progress::TimedOut && !matches!(self.state, State::Reaped { .. }) {
            self.streams.read_available()?;
            if until == Until::Output && self.has_new_output() {
                progress = Progress::Read;
            }
        }
        Ok(progress)
    }

    fn has_new_output(&self) -> bool {
        self.streams.kept() > self.kept_before
    }

    /// Reaps the child, whatever its streams hold.
    pub(crate) fn reap(mut self) -> io::Result<Option<ExitStatus>> {
        match &self.state {
            State::Open { process, .. } => {
                child_process::wait(self.streams.child(), process, Deadline::Never)
            }
            _ => child_process::wait_exiting(self.streams.child(), Deadline::Never),
        }
    }

    /// Waits for at most `timeout` until there is something to do, and does it. Returns the status
    /// once the child was reaped and its output was read. `is_last`: the deadline has passed.
    fn round(
        &mut self,
        timeout: Option<Duration>,
        is_last: bool,
    ) -> io::Result<Option<ExitStatus>> {
        if let State::Reaped {
            drained: Drained::No,
            ..
        } = self.state
        {
            return self.finish(is_last);
        }
        let wait = timeout.into_iter().chain(self.time_until_check()).min();
        let has_event = self.wait_and_transfer(wait)?;
        self.check(has_event, is_last)?;
        self.finish(is_last)
    }

    /// Waits for the event or a stream, and writes and reads. Returns whether the event has happened,
    /// or may have.
    fn wait_and_transfer(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let before = self.streams.transferred();
        let has_event = self.streams.round(self.state.exit_event(), timeout);
        self.has_more = self.streams.transferred() != before;
        has_event
    }

    /// When the next round is due, if nothing happens before that.
    fn time_until_check(&self) -> Option<Duration> {
        match &self.state {
            State::Reaped {
                drained: Drained::UnlessMoreArrives(quiet),
                ..
            } => Some(*quiet),
            state if state.exit_event().is_some() && self.streams.can_poll() => {
                Handle::recheck_interval().map(|interval| self.backoff.remaining_of(interval))
            }
            _ => Some(self.backoff.remaining()),
        }
    }

    /// Checks for the exit, after its event or if that is due, and reaps the child.
    fn check(&mut self, has_event: bool, is_last: bool) -> io::Result<()> {
        let is_due = || self.time_until_check() == Some(Duration::ZERO);
        let is_needed = has_event || is_last || is_due();
        if !is_needed || matches!(self.state, State::Reaped { .. }) {
            return Ok(());
        }
        let (state, child) = (&self.state, self.streams.child());
        let reaped = self.backoff.run_timed(|| match state {
            State::Open { process, .. } => child_process::try_reap(child, process),
            State::Exiting => try_wait_unless_reused(child),
            _ => sys::try_wait(child),
        });
        match reaped.transpose() {
            Some(Err(error)) if !is_reaped_elsewhere(&error) => return Err(error),
            Some(status) => self.state = State::reaped(status),
            None if has_event => self.state.record_event()?,
            None => {}
        }
        Ok(())
    }

    /// Reads what is left of the output of a child that has been reaped. Returns the status once
    /// that is all.
    fn finish(&mut self, is_last: bool) -> io::Result<Option<ExitStatus>> {
        let State::Reaped { status, drained } = &mut self.state else {
            return Ok(None);
        };
        let pid = self.streams.child().id();
        // std does not know the status of a child that was reaped elsewhere, but an earlier call may.
        let known = self.reaped.filter(|reaped| reaped.pid == pid);
        if let (Err(_), Some(reaped)) = (&status, known) {
            *status = Ok(reaped.status);
        }
        let exited_at = known.map_or_else(Instant::now, |reaped| reaped.at);
        if let Ok(status) = *status {
            *self.reaped = Some(Reaped {
                pid,
                status,
                at: exited_at,
            });
        }
        *drained = self.streams.drain(exited_at)?;
        self.has_more |= *drained == Drained::No;
        if *drained == Drained::No || *drained != Drained::Completely && !is_last {
            return Ok(None);
        }
        match status {
            Ok(status) => Ok(Some(*status)),
            Err(error) => Err(mem::replace(error, reaped_elsewhere())),
        }
    }
}

/// For an async runtime.
#[cfg(any(feature = "tokio", feature = "async-io"))]
impl Transfer<'_> {
    /// A round that does not wait.
    pub(crate) fn poll(&mut self) -> io::Result<Option<ExitStatus>> {
        match self.round(Some(Duration::ZERO), false) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.has_more = true;
                Ok(None)
            }
            result => result,
        }
    }

    /// Whether the last round has done something, so that there may be more to do at once.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// When to poll again, if there is no event before that.
    pub(crate) fn time_until_poll(&self) -> Option<Duration> {
        let retry = self.streams.time_until_retry();
        self.time_until_check().into_iter().chain(retry).min()
    }

    /// What to wait for until then.
    pub(crate) fn events(&self) -> [Option<(BorrowedEvent<'_>, Interest)>; 4] {
        self.streams.events(self.state.exit_event())
    }
}

fn is_reaped_elsewhere(error: &io::Error) -> bool {
    let expected = reaped_elsewhere();
    (error.kind(), error.raw_os_error()) == (expected.kind(), expected.raw_os_error())
}

/// Reads until both pipes are at their EOF (true), or until the deadline, whether the child has
/// exited or not.
pub(crate) fn read_to_end(
    child: &mut Child,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<bool> {
    let pid = child.id();
    let (mut streams, reaped) = captured.streams(child)?;
    let known = reaped.filter(|reaped| reaped.pid == pid);
    let mut exited_at = known.map(|reaped| reaped.at);
    let mut backoff = Backoff::default();
    let is_at_eof = deadline.sleep(|timeout| {
        let is_last = timeout == Some(Duration::ZERO);
        let check_after =
            (streams.awaits_exit() && exited_at.is_none()).then(|| backoff.remaining());
        // If there is nothing to read, the input is still written, but not waited for.
        let at_once = streams.are_at_eof().then_some(Duration::ZERO);
        let wait = timeout.into_iter().chain(check_after).chain(at_once).min();
        streams.round(None, wait)?;
        if check_after.is_some() && (is_last || backoff.is_due()) {
            let has_exited = backoff.run_timed(|| child_process::has_exited(streams.child()))?;
            exited_at = has_exited.then(Instant::now);
        }
        if let (true, Some(exited_at)) = (streams.awaits_exit(), exited_at) {
            streams.drain(exited_at)?;
        }
        Ok(streams.are_at_eof())
    })?;
    if !is_at_eof {
        streams.read_available()?;
    }
    Ok(streams.are_at_eof())
}
