//! Checks the members of a set that are polled, or whose event can be late or missing.

use super::{WaitSet, insert::watch, member::Member};
use crate::{
    Error, Exit,
    polling::{Polling, TakenOver},
    sys::{self, Handle, KeepFd, ProcessHandle as _, SetMember as _, SetPoller as _},
};
use std::time::Instant;

impl WaitSet {
    /// How the member exited, without waiting. `None` if it is still running.
    pub(crate) fn check(&self, member: &Member) -> Result<Option<Exit>, Error> {
        if member.exit.is_some() {
            return Ok(member.exit);
        }
        if let Some(checked) = member.poll() {
            return checked;
        }
        match (&member.watched, &self.poller) {
            (Some(watched), Some(poller)) => {
                let checked = poller.check(watched, member.token(), &self.ready);
                checked.map_err(|source| Error::os(Handle::WAIT_CALL, member.pid, source))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn record_exit(&mut self, pid: u32, exit: Exit) {
        self.polled.remove(&pid);
        let Some(member) = self.members.get_mut(&pid) else {
            return;
        };
        if member.exit.is_some() {
            return;
        }
        member.exit = Some(exit);
        self.ready.push(member.token());
        // Its event would come later, and make the set's descriptor readable.
        if let (Some(watched), Some(poller)) = (&member.watched, &mut self.poller) {
            poller.remove(watched, &self.ready);
        }
        self.update_event();
    }

    pub(super) fn must_poll(&self) -> bool {
        let polls_for_wake = self.poller.is_some() && self.has_unconnected_waker();
        self.poller_failed || !self.polled.is_empty() || polls_for_wake
    }

    /// Checks the members that are watched.
    pub(super) fn sweep(&mut self) {
        let start = Instant::now();
        let watched = self.members.iter();
        let watched = watched.filter(|(_, member)| member.polling.is_none());
        let check = |(&pid, member): (&u32, &Member)| Some((pid, self.check(member).ok()??));
        let exited: Vec<_> = watched.filter_map(check).collect();
        for (pid, exit) in exited {
            self.record_exit(pid, exit);
        }
        self.sweeps.record_since(start);
    }

    /// Checks the members that are polled. An error of one of them must not hide the exits of the
    /// others, so it fails only if all do. Otherwise the last error is kept.
    pub(super) fn check_polled(&mut self) -> Result<(), Error> {
        let start = Instant::now();
        let pids: Vec<u32> = if self.poller_failed {
            self.members.keys().copied().collect()
        } else {
            self.polled.iter().copied().collect()
        };
        let mut may_watch = !self.poller_failed;
        let (mut failures, mut last) = (0, None);
        self.failed = None;
        for pid in pids {
            if let Err(failure) = self.check_member(pid, &mut may_watch) {
                failures += 1;
                last = Some(failure);
                self.failed = Some(pid);
            }
        }
        self.connect_wake_event();
        self.backoff.record_since(start);
        match last {
            Some(failure) if failures == self.len() => Err(failure),
            last => {
                self.failure = last;
                Ok(())
            }
        }
    }

    pub(super) fn check_member(&mut self, pid: u32, may_watch: &mut bool) -> Result<(), Error> {
        let member = self.members.get(&pid);
        let Some(member) = member.filter(|member| member.exit.is_none()) else {
            return Ok(());
        };
        let exit = if member.is_polled() {
            let mut watched = None;
            if *may_watch && member.is_verified() {
                let opened = watch(&mut self.poller, &self.ready, member);
                *may_watch = !opened.as_ref().is_err_and(sys::is_fd_exhausted);
                watched = opened.ok();
            }
            // Only a check after `watch` has opened the pid shows whether it is still the pid
            // of the process that was polled.
            let checked = self.check(member);
            let is_verified = matches!(checked, Ok(None)) && member.is_verified();
            match (watched, &mut self.poller) {
                (Some(watched), _) if is_verified => {
                    self.set_watched(pid, watched);
                    return Ok(());
                }
                (Some(watched), Some(poller)) => poller.remove(&watched, &self.ready),
                _ => {}
            }
            checked?
        } else {
            match (self.check(member), &member.watched) {
                (Err(_), Some(watched)) if member.process.is_none() => {
                    let is_reaped = || watched.is_reaped();
                    match Polling::take_over(member.pid, KeepFd::UnlessReserved, is_reaped)? {
                        TakenOver::Polling(polling) => {
                            self.set_polled(pid, polling);
                            None
                        }
                        TakenOver::Exited(exit) => {
                            let exit = exit.or_else(|| {
                                let ready = member.token().into();
                                self.poller.as_mut()?.exit(watched, ready).ok()?
                            });
                            Some(exit.unwrap_or(Exit::UNKNOWN))
                        }
                    }
                }
                (checked, _) => checked?,
            }
        };
        if let Some(exit) = exit {
            self.record_exit(pid, exit);
        }
        Ok(())
    }

    fn set_watched(&mut self, pid: u32, watched: sys::Member) {
        self.polled.remove(&pid);
        if let Some(member) = self.members.get_mut(&pid) {
            (member.watched, member.polling) = (Some(watched), None);
        }
    }

    fn set_polled(&mut self, pid: u32, polling: Polling) {
        self.polled.insert(pid);
        if let Some(member) = self.members.get_mut(&pid) {
            member.polling = Some(polling.into());
        }
    }
}
