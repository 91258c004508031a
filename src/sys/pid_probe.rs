//! Probes a process by its pid, and by its fingerprint if the process table shows one.
//!
//! A system that uses this provides a `Fingerprint`, `snapshot(pid)` (`None` if no process has
//! the pid; the id of a thread is not a pid), and its name for errors, `SNAPSHOT_CALL`.

use super::{Fingerprint, KeepFd, ProcessProbe, SNAPSHOT_CALL, State, snapshot};
use crate::{Exit, pid::Pid};
use std::io;

#[derive(Debug)]
pub(crate) struct Probe {
    pid: Pid,
    /// The first one that is seen is adopted.
    fingerprint: Option<Fingerprint>,
    /// Whether the fingerprint, or else the pid, is known to be of the process that was meant.
    /// If not, no status is reported.
    is_certain: bool,
    /// Whether it was a child of ours when it was opened.
    was_child: bool,
    /// Whether the last check saw the fingerprint, and not only the pid.
    saw_fingerprint: bool,
}

impl ProcessProbe for Probe {
    type Fingerprint = Fingerprint;

    const CALL: &str = SNAPSHOT_CALL;

    fn open(pid: Pid, _: KeepFd) -> io::Result<Option<(Probe, State)>> {
        Ok(snapshot(pid)?.map(|snapshot| {
            let probe = Probe {
                pid,
                saw_fingerprint: snapshot.fingerprint.is_some(),
                fingerprint: snapshot.fingerprint,
                was_child: snapshot.is_child,
                is_certain: true,
            };
            (probe, snapshot.exit.map_or(State::Running, State::Exited))
        }))
    }

    fn check(&mut self) -> io::Result<State> {
        let Some(current) = snapshot(self.pid)? else {
            return Ok(State::Reaped);
        };
        if !self.adopt_or_compare(current.fingerprint) {
            return Ok(State::Reaped);
        }
        // Without a fingerprint it may be the zombie of a process that reuses the pid. A child of
        // ours keeps its pid until it is reaped.
        let is_same = self.saw_fingerprint || (self.was_child && current.is_child);
        Ok(match current.exit {
            None => State::Running,
            Some(exit) if self.is_certain && is_same => State::Exited(exit),
            Some(_) => State::Exited(Exit::UNKNOWN),
        })
    }

    fn is_verified(&self) -> bool {
        self.is_certain && self.saw_fingerprint
    }

    fn mark_unverified(&mut self) {
        self.is_certain = false;
    }

    fn zombie_is_reaped(&self) -> bool {
        match snapshot(self.pid) {
            Ok(None) => true,
            Ok(Some(current)) => {
                (self.fingerprint.zip(current.fingerprint)).is_some_and(|(a, b)| a != b)
            }
            Err(_) => false,
        }
    }

    fn start_time(&mut self) -> Option<u64> {
        let is_there = matches!(self.check(), Ok(State::Running | State::Exited(_)));
        self.fingerprint
            .filter(|_| is_there && self.is_verified())?
            .start_time()
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }
}

impl Probe {
    /// Whether the fingerprint is that of the process. The first one that is seen becomes it.
    fn adopt_or_compare(&mut self, current: Option<Fingerprint>) -> bool {
        self.saw_fingerprint = current.is_some();
        match (self.fingerprint, current) {
            (Some(expected), Some(current)) => expected == current,
            (None, Some(_)) => {
                self.fingerprint = current;
                self.is_certain = false;
                true
            }
            // Processes that cannot be distinguished count as the same: a wait that takes too
            // long is better than an exit reported for a living process.
            (_, None) => true,
        }
    }
}
