//! `WaitSet`: waits for many processes at once.

mod member;

use crate::{
    Error, Exit,
    backoff::Backoff,
    deadline::{Deadline, sleep_until},
    pid::Pid,
    polling::{Polling, TakenOver},
    sys::{
        self, Handle, KeepFd, Poller, ProcessHandle as _, ReadyQueue, SetMember as _,
        SetPoller as _,
    },
};
use member::Member;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    io, mem,
    time::{Duration, Instant},
};

/// A set of processes to wait for together. Each wait returns the next exit.
///
/// The cost of an insertion or an exit does not depend on the size of the set. The
/// processes need not be children, and are not reaped.
///
/// # Cost
///
/// - Linux: one epoll, and for each process a pidfd and about 100 bytes of memory.
/// - macOS, the BSDs: one kqueue.
/// - Windows: one handle for each process, and one thread of the system's pool for every 63.
///   A zero timeout checks every handle.
/// - illumos, Solaris, others: no descriptors; all processes are polled.
///
/// On Linux, a set leaves 32 descriptors free for the rest of the program, or an eighth of the
/// limit if the limit is below 256. Processes that do not fit are polled in the same wait, with
/// backoff from 0.1 ms to 40 ms, or more if they are many: polling takes at most 10 % of a core.
/// They are watched by events again when descriptors are free.
/// To raise the soft limit: `ulimit -Sn`, or `setrlimit` with `RLIMIT_NOFILE`.
///
/// # Fork
///
/// A set belongs to the process that made it. A forked child should drop its copy. Using the
/// copy does not affect the parent, but what the child inserts is polled.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::WaitSet;
/// use std::process::Command;
///
/// let mut slow = Command::new("sleep").arg("60").spawn()?;
/// let mut quick = Command::new("true").spawn()?;
///
/// let mut set = WaitSet::new();
/// set.insert(slow.id())?;
/// set.insert(quick.id())?;
///
/// let (pid, exit) = set.wait(None)?.expect("waits until one exits");
/// assert_eq!((pid, exit.code()), (quick.id(), Some(0)));
/// assert_eq!(set.pids().collect::<Vec<_>>(), [slow.id()]);
/// # quick.wait()?;
/// # slow.kill()?;
/// # slow.wait()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct WaitSet {
    members: HashMap<u32, Member>,
    generation: u32,
    /// Made at the first insertion, so that `new` cannot fail.
    poller: Option<Poller>,
    /// Whether the last wait for events failed. Until one succeeds, all members are polled.
    poller_failed: bool,
    ready: ReadyQueue,
    /// The members that are polled, and watched ones whose event has failed.
    polled: HashSet<u32>,
    /// When they are checked.
    backoff: Backoff,
    /// When all members were checked, see [`SetPoller`](sys::SetPoller::sweep_interval).
    sweeps: Backoff,
    /// The exits of members whose pid another member has now. They are reported first.
    replaced: VecDeque<(u32, Exit)>,
}

impl WaitSet {
    /// Creates an empty set, without any OS resources until the first insertion.
    pub fn new() -> WaitSet {
        WaitSet::default()
    }

    /// Adds the process `pid`. Returns `Ok(false)` if it is already in the set.
    ///
    /// A zombie can be added, and is reported by one of the next waits.
    ///
    /// If a process in the set has exited and been reaped, and another one has its pid, that one
    /// is added too: the exits of both are reported, the older one first.
    ///
    /// # Errors
    ///
    /// As for [`wait_pid`](crate::wait_pid).
    pub fn insert(&mut self, pid: u32) -> Result<bool, Error> {
        let pid = Pid::new(pid)?;
        let is_member = self.contains(pid.get());
        if is_member && !self.check_whether_reaped(pid.get()) {
            return Ok(false);
        }
        self.generation = self.generation.wrapping_add(1);
        let mut member = Member::new(pid, self.generation);
        match self.open(&mut member) {
            // No other process has the pid.
            Err(Error::NotFound { .. }) if is_member => return Ok(false),
            opened => opened?,
        }
        let replaced = self.members.insert(pid.get(), member);
        if let Some(exit) = replaced.and_then(|member| member.exit) {
            self.replaced.push_back((pid.get(), exit));
        }
        Ok(true)
    }

    fn open(&mut self, member: &mut Member) -> Result<(), Error> {
        member.watched = watch(&mut self.poller, &self.ready, member).ok();
        if member.watched.is_some() {
            return Ok(());
        }
        // If that failed with ESRCH, there may be such a process all the same: the probe finds out.
        let (polling, exit) = Polling::open(member.pid, KeepFd::UnlessReserved)?;
        member.polling = Some(polling.into());
        member.exit = exit;
        if exit.is_some() {
            self.ready.push(member.token());
        } else {
            self.polled.insert(member.pid.get());
            self.backoff.restart();
        }
        Ok(())
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

    /// Removes the process `pid` without reporting it. Returns `false` if it was not in the
    /// set.
    pub fn remove(&mut self, pid: u32) -> bool {
        let Some(member) = self.members.remove(&pid) else {
            return false;
        };
        self.polled.remove(&pid);
        self.replaced.retain(|&(replaced, _)| replaced != pid);
        if member.exit.is_some() {
            self.ready.remove(member.token());
        } else if let (None, Some(watched), Some(poller)) =
            (&member.polling, &member.watched, &mut self.poller)
        {
            poller.remove(watched, &self.ready);
        }
        true
    }

    /// The number of processes in the set. A process leaves it when its exit is reported.
    pub fn len(&self) -> usize {
        self.members.len() + self.replaced.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The pids in the set, in no particular order. A pid occurs twice if two processes in the
    /// set have had it.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        let replaced = self.replaced.iter().map(|&(pid, _)| pid);
        self.members.keys().copied().chain(replaced)
    }

    /// Whether the process `pid` is in the set.
    pub fn contains(&self, pid: u32) -> bool {
        self.members.contains_key(&pid)
    }

    /// Waits for the next exit, and removes that process from the set.
    ///
    /// Returns `Ok(None)` if the set is empty, or if `timeout` passes first, never early.
    /// `None` waits forever, and so does a timeout that the clock cannot represent.
    /// [`Duration::ZERO`] checks once.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if a process can be neither waited for nor polled. It stays in the set.
    /// The others are still waited for: the error replaces `Ok(None)`, or is returned at once
    /// if there are no others.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<(u32, Exit)>, Error> {
        self.wait_until(Deadline::from_timeout(timeout))
    }

    /// Waits for the next exit until `deadline`. A deadline in the past checks once.
    /// Fails as [`wait`](WaitSet::wait) does.
    pub fn wait_deadline(&mut self, deadline: Instant) -> Result<Option<(u32, Exit)>, Error> {
        self.wait_until(Deadline::at(deadline))
    }

    pub(crate) fn member(&self, pid: u32) -> Result<&Member, Error> {
        self.members.get(&pid).ok_or(Error::NotFound { pid })
    }

    /// How the member exited, without waiting. `None` if it is still running.
    pub(crate) fn check(&self, member: &Member) -> Result<Option<Exit>, Error> {
        if member.exit.is_some() {
            return Ok(member.exit);
        }
        match (&member.polling, &member.watched, &self.poller) {
            (Some(polling), ..) => polling.check(),
            (None, Some(watched), Some(poller)) => {
                let checked = poller.check(watched, member.token(), &self.ready);
                checked.map_err(|source| Error::os(Handle::WAIT_CALL, member.pid, source))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn wait_until(&mut self, deadline: Deadline) -> Result<Option<(u32, Exit)>, Error> {
        let mut check_now = deadline == Deadline::Now;
        let mut is_over = false;
        // Why a member could not be checked, in the last check of the polled members.
        let mut failure = None;
        loop {
            if let Some(found) = self.next_exit() {
                return Ok(Some(found));
            }
            if self.is_empty() {
                return Ok(None);
            }
            if is_over {
                self.sweep_at(deadline);
                return match self.next_exit() {
                    Some(found) => Ok(Some(found)),
                    None => failure.map_or(Ok(None), Err),
                };
            }
            // Read the clock, check, enforce the deadline, in this order: then what happened in
            // time is found even if this thread wakes up late.
            is_over = deadline.has_passed();
            if self.must_poll() {
                let is_affordable = is_over && self.backoff.is_within_budget();
                if check_now || is_affordable || self.backoff.is_due() {
                    failure = self.check_polled()?;
                }
            }
            // Takes events also if a check has found an exit. Otherwise the exits of polled members
            // could keep those of watched ones from being reported.
            check_now = self.wait_for_events(deadline);
            is_over &= !check_now;
        }
    }

    fn next_exit(&mut self) -> Option<(u32, Exit)> {
        if let Some(replaced) = self.replaced.pop_front() {
            return Some(replaced);
        }
        while let Some(ready) = self.ready.pop() {
            let pid = ready.token.pid;
            // It may have been removed since, and perhaps inserted again.
            let member = self.members.get(&pid);
            let is_same = |member: &&Member| member.generation == ready.token.generation;
            let Some(member) = member.filter(is_same) else {
                continue;
            };
            let exit = match (&member.polling, &member.watched, &mut self.poller) {
                _ if member.exit.is_some() => Ok(member.exit),
                (None, Some(watched), Some(poller)) => poller.exit(watched, ready),
                _ => continue,
            };
            match exit {
                Ok(Some(exit)) => {
                    self.members.remove(&pid);
                    self.polled.remove(&pid);
                    return Some((pid, exit));
                }
                Ok(None) => {}
                // There will be no other event.
                Err(_) => {
                    self.polled.insert(pid);
                    self.backoff.restart();
                }
            }
        }
        None
    }

    fn record_exit(&mut self, pid: u32, exit: Exit) {
        self.polled.remove(&pid);
        if let Some(member) = self.members.get_mut(&pid) {
            if member.exit.is_none() {
                member.exit = Some(exit);
                self.ready.push(member.token());
            }
        }
    }

    fn must_poll(&self) -> bool {
        self.poller_failed || !self.polled.is_empty()
    }

    /// Sleeps until an event, the next check, or the deadline. True if all members must be checked
    /// now, as the wait for events has just failed.
    fn wait_for_events(&mut self, deadline: Deadline) -> bool {
        let mut wake_at = deadline;
        if self.must_poll() {
            wake_at = wake_at.capped(self.backoff.remaining());
        }
        // Without a poller, or while it fails, all members are polled.
        let has_events = self.poller.is_some() && !self.poller_failed;
        let sweep_interval = Poller::sweep_interval().filter(|_| has_events);
        if let Some(interval) = sweep_interval {
            wake_at = wake_at.capped(self.sweeps.remaining_of(interval));
        }
        if !self.ready.is_empty() {
            wake_at = Deadline::Now;
        }
        let Some(poller) = &mut self.poller else {
            sleep_until(wake_at);
            return false;
        };
        if poller.wait(&self.ready, wake_at).is_ok() {
            self.poller_failed = false;
            let is_due = |interval| self.sweeps.remaining_of(interval).is_zero();
            if self.ready.is_empty() && Poller::sweep_interval().is_some_and(is_due) {
                self.sweep();
            }
            return false;
        }
        if mem::replace(&mut self.poller_failed, true) {
            sleep_until(wake_at);
            return false;
        }
        self.backoff.restart();
        true
    }

    /// The sweep before a wait returns without an exit, where events can be late.
    fn sweep_at(&mut self, deadline: Deadline) {
        let is_affordable = deadline == Deadline::Now || self.sweeps.is_within_budget();
        if Poller::HAS_LATE_EVENTS && is_affordable {
            self.sweep();
        }
    }

    /// Checks the members that are watched.
    fn sweep(&mut self) {
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
    /// others, so it fails only if all do. Otherwise returns the last error.
    fn check_polled(&mut self) -> Result<Option<Error>, Error> {
        let start = Instant::now();
        let pids: Vec<u32> = if self.poller_failed {
            self.members.keys().copied().collect()
        } else {
            self.polled.iter().copied().collect()
        };
        let mut may_watch = !self.poller_failed;
        let (mut failures, mut last) = (0, None);
        for pid in pids {
            if let Err(failure) = self.check_member(pid, &mut may_watch) {
                failures += 1;
                last = Some(failure);
            }
        }
        self.backoff.record_since(start);
        match last {
            Some(failure) if failures == self.len() => Err(failure),
            last => Ok(last),
        }
    }

    fn check_member(&mut self, pid: u32, may_watch: &mut bool) -> Result<(), Error> {
        let member = self.members.get(&pid);
        let Some(member) = member.filter(|member| member.exit.is_none()) else {
            return Ok(());
        };
        let exit = match (&member.polling, &member.watched) {
            (Some(polling), _) => {
                let mut watched = None;
                if *may_watch && polling.is_verified() {
                    let opened = watch(&mut self.poller, &self.ready, member);
                    *may_watch = !opened.as_ref().is_err_and(sys::is_fd_exhausted);
                    watched = opened.ok();
                }
                // Only a check after `watch` has opened the pid shows whether it is still the pid
                // of the process that was polled.
                let checked = polling.check();
                let is_verified = matches!(checked, Ok(None)) && polling.is_verified();
                match (watched, &mut self.poller) {
                    (Some(watched), _) if is_verified => {
                        self.set_watched(pid, watched);
                        return Ok(());
                    }
                    (Some(watched), Some(poller)) => poller.remove(&watched, &self.ready),
                    _ => {}
                }
                checked?
            }
            (None, Some(watched)) => match self.check(member) {
                Ok(exit) => exit,
                Err(_) => {
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
            },
            (None, None) => None,
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

fn watch(
    poller: &mut Option<Poller>,
    ready: &ReadyQueue,
    member: &Member,
) -> io::Result<sys::Member> {
    let poller = match poller {
        Some(poller) => poller,
        none => none.insert(Poller::new()?),
    };
    poller.insert(member.pid, member.token(), ready)
}
