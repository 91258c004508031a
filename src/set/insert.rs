//! Opens the members of a set.

use super::{WaitSet, member::Member};
use crate::{
    Error,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    polling::Polling,
    sys::{self, KeepFd, Poller, ReadyQueue, SetPoller as _, Token},
};
use std::{io, sync::Arc, time::Instant};

impl WaitSet {
    pub(super) fn insert_pid(&mut self, pid: Pid) -> Result<bool, Error> {
        let is_member = self.contains(pid.get());
        if is_member && !self.check_whether_reaped(pid.get()) {
            return Ok(false);
        }
        let mut member = Member::new(pid, self.next_generation());
        match self.open(&mut member) {
            // No other process has the pid.
            Err(Error::NotFound { .. }) if is_member => return Ok(false),
            opened => opened?,
        }
        member.opened_at = Instant::now();
        self.add(member);
        Ok(true)
    }

    pub(super) fn insert_shared(
        &mut self,
        process: &Arc<OpenProcess>,
        opened_at: Instant,
    ) -> Result<bool, Error> {
        let pid = process.known_pid()?;
        if let Some(token) = self.find(process, pid.get())? {
            self.share(token, process);
            return Ok(false);
        }
        // If there is another member with the pid, it has been reaped, unless this process has.
        self.check_whether_reaped(pid.get());
        let mut member = Member::new(pid, self.next_generation());
        member.opened_at = opened_at;
        member.process = Some(process.clone());
        self.open_shared(&mut member, process)?;
        self.add(member);
        Ok(true)
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    fn open(&mut self, member: &mut Member) -> Result<(), Error> {
        member.watched = watch(&mut self.poller, &self.ready, member).ok();
        if member.watched.is_none() {
            // If that failed with ESRCH, there may be such a process all the same: the probe finds
            // out.
            let (polling, exit) = Polling::open(member.pid, KeepFd::UnlessReserved)?;
            member.polling = Some(polling.into());
            member.exit = exit;
        }
        Ok(())
    }

    fn open_shared(&mut self, member: &mut Member, process: &OpenProcess) -> Result<(), Error> {
        // A registration by pid would replace that of another member.
        if self.contains(member.pid.get()) {
            member.exit = process.wait_until(Deadline::Now)?;
        }
        if member.exit.is_some() {
            return Ok(());
        }
        member.watched = watch(&mut self.poller, &self.ready, member).ok();
        // It is registered by its pid on some systems. If it has not exited, it still has that.
        let checked = process.wait_until(Deadline::Now);
        if !matches!(checked, Ok(None)) {
            self.unwatch(member);
            member.watched = None;
        }
        member.exit = checked?;
        Ok(())
    }

    pub(super) fn unwatch(&mut self, member: &Member) {
        if let (Some(watched), Some(poller)) = (&member.watched, &mut self.poller) {
            poller.remove(watched, &self.ready);
        }
    }

    /// Adds a member that is open. If there is another one with its pid, only one of them can be
    /// running, and it is the younger one.
    fn add(&mut self, member: Member) {
        let pid = member.pid.get();
        if let Some(other) = self.members.get(&pid) {
            let is_older = other.exit.is_none() || member.opened_at < other.opened_at;
            if member.exit.is_some() && is_older {
                return self.add_replaced(member);
            }
        }
        if member.exit.is_some() {
            self.ready.push(member.token());
        } else if member.watched.is_none() {
            self.polled.insert(pid);
            self.backoff.restart();
        }
        if let Some(replaced) = self.members.insert(pid, member) {
            self.ready.remove(replaced.token());
            self.add_replaced(replaced);
        }
    }

    /// Before younger ones that have had the same pid.
    fn add_replaced(&mut self, member: Member) {
        let is_younger =
            |other: &Member| other.pid == member.pid && other.opened_at > member.opened_at;
        let index = self.replaced.iter().position(is_younger);
        let index = index.unwrap_or(self.replaced.len());
        self.replaced.insert(index, member);
    }

    /// The member that is this process, which has had this pid.
    fn find(&mut self, process: &Arc<OpenProcess>, pid: u32) -> Result<Option<Token>, Error> {
        let mut is_unknown = false;
        for member in self.members_with(pid) {
            match member.is_same_process(process) {
                Some(true) => return Ok(Some(member.token())),
                Some(false) => {}
                None => is_unknown = true,
            }
        }
        if !is_unknown {
            return Ok(None);
        }
        // Two processes that both have the pid are the same.
        let member_was_reaped = self.check_whether_reaped(pid);
        let has_exited = process.wait_until(Deadline::Now)?.is_some();
        if !(has_exited && process.zombie_is_reaped()) {
            let member = self.members.get(&pid).filter(|_| !member_was_reaped);
            return Ok(member.map(Member::token));
        }
        // Again, as both can have been reaped meanwhile.
        let is_reaped = self.check_whether_reaped(pid);
        let mut members = self.members_with(pid).filter(|_| is_reaped);
        let member = members.find(|member| member.has_fingerprint_of(process));
        Ok(member.map(Member::token))
    }

    /// From now on, the member and the process have the same exit: the first one that either finds.
    fn share(&mut self, token: Token, process: &Arc<OpenProcess>) {
        let members = self.members.get_mut(&token.pid).into_iter();
        let mut members = members.chain(&mut self.replaced);
        let member = members.find(|member| member.token() == token);
        if let Some(member) = member.filter(|member| member.process.is_none()) {
            member.process = Some(process.clone());
            member.polling = None;
            member.exit = member.exit.map(|exit| member.first_exit(exit));
        }
    }

    /// Also those whose pid another member has now.
    fn members_with(&self, pid: u32) -> impl Iterator<Item = &Member> {
        let replaced = self
            .replaced
            .iter()
            .filter(move |member| member.pid.get() == pid);
        replaced.chain(self.members.get(&pid))
    }

    /// Checks a member, and records its exit. True if it is known to have been reaped, so that
    /// another process can have its pid.
    fn check_whether_reaped(&mut self, pid: u32) -> bool {
        let Some(member) = self.members.get(&pid) else {
            return false;
        };
        let Ok(Some(exit)) = self.check(member) else {
            return false;
        };
        let is_reaped = member.zombie_is_reaped();
        self.record_exit(pid, exit);
        is_reaped
    }
}

pub(super) fn watch(
    poller: &mut Option<Poller>,
    ready: &ReadyQueue,
    member: &Member,
) -> io::Result<sys::Member> {
    let process = member.process.as_ref();
    if process.is_some_and(|process| process.active_handle().is_none()) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let poller = match poller {
        Some(poller) => poller,
        none => none.insert(Poller::new()?),
    };
    match process {
        Some(process) => poller.insert_open(process.clone(), member.token(), ready),
        None => poller.insert(member.pid, member.token(), ready),
    }
}
