//! Many processes, one wait.

mod events;
mod member;

use crate::{
    Error, Exit,
    deadline::{Deadline, Pace, When, sleep_until},
    pid::Pid,
    polling::Polling,
    sys::{self, Keep},
    sys::{Fired, Token},
};
use events::Events;
use member::{Entry, Means, Seen};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    mem,
    time::{Duration, Instant},
};

/// A set of processes to wait for together. Each wait returns the next exit.
///
/// The cost of an insertion or an exit does not depend on the size of the set (except on
/// illumos and Solaris). The processes need not be children, and are not reaped.
///
/// # Cost
///
/// - Linux: one epoll, and for each process a pidfd and about 100 bytes of memory.
/// - macOS, the BSDs: one kqueue.
/// - Windows: one handle for each process, and one thread of the system's pool for every 63.
///   A zero timeout checks every handle.
/// - illumos, Solaris: one descriptor for each process; each wait takes time proportional to
///   their number.
///
/// On Linux, illumos and Solaris, a set leaves 32 descriptors free for the rest of the
/// program (an eighth of the limit, if that is below 256). Processes that do not fit are
/// polled in the same wait, with backoff from 0.1 ms to 40 ms, or more if they are many:
/// polling takes at most 10 % of a core. They move to events when descriptors are free again.
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
    members: HashMap<u32, Entry>,
    generation: u32,
    events: Events,
    /// The members that have to be looked at, and when.
    polled: HashSet<u32>,
    pace: Pace,
    exited: Exited,
    /// The exits of members whose pid another member has now, to be reported first.
    former: VecDeque<(u32, Exit)>,
}

/// The members whose exits are known and not yet reported, in the order in which they
/// were found.
#[derive(Debug, Default)]
struct Exited {
    pids: BTreeMap<u64, u32>,
    next: u64,
}

impl WaitSet {
    /// Creates an empty set, without any OS resources until the first insertion.
    ///
    /// ```
    /// let mut set = procwait::WaitSet::new();
    /// assert_eq!(set.wait(None)?, None, "there is nothing to wait for");
    /// # Ok::<(), procwait::Error>(())
    /// ```
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
    ///
    /// ```
    /// # use procwait::{Error, WaitSet};
    /// let this = std::process::id();
    /// let mut set = WaitSet::new();
    /// assert!(set.insert(this)?);
    /// assert!(!set.insert(this)?, "it was in already");
    /// assert!(matches!(set.insert(0), Err(Error::InvalidPid { pid: 0 })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn insert(&mut self, pid: u32) -> Result<bool, Error> {
        let known = Pid::new(pid)?;
        let is_member = self.contains(pid);
        if is_member && !self.is_reaped(known) {
            return Ok(false);
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let means = match self.open(known, Token { pid, generation }) {
            // No other process has the pid.
            Err(Error::NotFound { .. }) if is_member => return Ok(false),
            opened => opened?,
        };
        let former = self.members.insert(pid, Entry { generation, means });
        if let Some(Means::Exited(exit, place, _)) = former.map(|former| former.means) {
            self.exited.pids.remove(&place);
            self.former.push_back((pid, exit));
        }
        Ok(true)
    }

    fn open(&mut self, pid: Pid, token: Token) -> Result<Means, Error> {
        if let Ok(member) = self.events.insert(pid, token) {
            return Ok(Means::Event(member));
        }
        // Among the causes is "no such process": the probe knows.
        let opened = Polling::open(pid, Keep::IfSpare);
        let opened = opened.map_err(Error::os(sys::CALL, pid.get()))?;
        let (polling, exit) = opened.ok_or(Error::NotFound { pid: pid.get() })?;
        let mut means = Means::Polling(polling.into(), None);
        if let Some(exit) = exit {
            means.record_exit(exit, self.exited.add(pid.get()));
        } else {
            self.polled.insert(pid.get());
            self.pace.restart();
        }
        Ok(means)
    }

    /// Whether the process of this member has exited and been reaped, so that another one can
    /// have its pid. If it has exited, that is recorded first: the new process can hide it.
    fn is_reaped(&mut self, pid: Pid) -> bool {
        let Some(entry) = self.members.get(&pid.get()) else {
            return false;
        };
        if !self.has_exited(pid, entry).unwrap_or(false) {
            return false;
        }
        match entry.exit() {
            Ok(Some(exit)) => self.record_exit(pid.get(), exit),
            // It is among the events.
            Ok(None) | Err(_) => self.record_events(),
        }
        let Some(entry) = self.members.get(&pid.get()) else {
            return false;
        };
        let is_reaped = entry.means.zombie_is_reaped();
        if is_reaped {
            // It is not among the events if a sandbox denies waiting for them.
            let exit = entry.exit_after_reap();
            self.record_exit(pid.get(), exit);
        }
        is_reaped
    }

    /// Removes the process `pid` without reporting it. Returns `false` if it was not in the
    /// set.
    ///
    /// ```
    /// # let this = std::process::id();
    /// # let mut set = procwait::WaitSet::new();
    /// set.insert(this)?;
    /// assert!(set.remove(this));
    /// assert!(!set.remove(this));
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn remove(&mut self, pid: u32) -> bool {
        let Some(entry) = self.members.remove(&pid) else {
            return false;
        };
        self.polled.remove(&pid);
        self.former.retain(|&(former, _)| former != pid);
        match entry.means {
            Means::Event(member) => self.events.remove(&member),
            Means::Polling(..) => {}
            Means::Exited(_, place, _) => {
                self.exited.pids.remove(&place);
            }
        }
        true
    }

    /// The number of processes in the set. A process leaves it when its exit is reported.
    ///
    /// ```
    /// # let this = std::process::id();
    /// # let mut set = procwait::WaitSet::new();
    /// set.insert(this)?;
    /// assert_eq!(set.len(), 1);
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.members.len() + self.former.len()
    }

    /// Whether the set is empty.
    ///
    /// ```
    /// assert!(procwait::WaitSet::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The pids in the set, in no particular order. A pid occurs twice if two processes in the
    /// set have had it.
    ///
    /// ```
    /// # let this = std::process::id();
    /// # let mut set = procwait::WaitSet::new();
    /// set.insert(this)?;
    /// assert_eq!(set.pids().collect::<Vec<_>>(), [this]);
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        let former = self.former.iter().map(|&(pid, _)| pid);
        self.members.keys().copied().chain(former)
    }

    /// Whether the process `pid` is in the set.
    ///
    /// ```
    /// # let this = std::process::id();
    /// # let mut set = procwait::WaitSet::new();
    /// set.insert(this)?;
    /// assert!(set.contains(this));
    /// # Ok::<(), procwait::Error>(())
    /// ```
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
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::WaitSet;
    /// use std::{process::Command, time::Duration};
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// let mut set = WaitSet::new();
    /// set.insert(child.id())?;
    /// if let Some((pid, exit)) = set.wait(Some(Duration::from_secs(60)))? {
    ///     println!("{pid} {exit}"); // "4321 exited with code 0"
    /// }
    /// # assert!(set.is_empty());
    /// # child.wait()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<(u32, Exit)>, Error> {
        self.wait_until(Deadline::from_timeout(timeout))
    }

    /// Waits for the next exit until `deadline`. A deadline in the past checks once.
    ///
    /// # Errors
    ///
    /// As for [`wait`](WaitSet::wait).
    ///
    /// ```
    /// # use procwait::WaitSet;
    /// use std::time::{Duration, Instant};
    ///
    /// # let mut set = WaitSet::new();
    /// # set.insert(std::process::id())?;
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// while let Some((pid, exit)) = set.wait_deadline(deadline)? {
    ///     println!("{pid} {exit}");
    /// }
    /// # assert!(Instant::now() >= deadline);
    /// # Ok::<(), procwait::Error>(())
    /// ```
    pub fn wait_deadline(&mut self, deadline: Instant) -> Result<Option<(u32, Exit)>, Error> {
        self.wait_until(Deadline::at(deadline))
    }

    pub(crate) fn member(&self, pid: u32) -> Result<(Pid, &Entry), Error> {
        match (Pid::new(pid), self.members.get(&pid)) {
            (Ok(known), Some(entry)) => Ok((known, entry)),
            _ => Err(Error::NotFound { pid }),
        }
    }

    pub(crate) fn has_exited(&self, pid: Pid, entry: &Entry) -> Result<bool, Error> {
        entry.has_exited(pid, &self.events)
    }

    pub(crate) fn wait_until(&mut self, deadline: Deadline) -> Result<Option<(u32, Exit)>, Error> {
        let mut is_due = deadline == Deadline::Now;
        let mut is_over = false;
        let mut failure = None;
        loop {
            if let Some(found) = self.next_exit() {
                return Ok(Some(found));
            }
            if self.is_empty() {
                return Ok(None);
            }
            if is_over {
                // What has come may have been old news, and others be late.
                self.ask(deadline.at_its_end());
                return match self.next_exit() {
                    Some(found) => Ok(Some(found)),
                    None => failure.map_or(Ok(None), Err),
                };
            }
            // Read the clock, look, enforce the deadline, in this order; and whatever the
            // kernel says, in every round.
            is_over = deadline.has_passed();
            if self.must_look() {
                let is_allowed = is_over && self.pace.allows_a_look();
                if is_due || is_allowed || self.pace.is_due() {
                    failure = self.look()?;
                }
            }
            is_due = !self.sleep(deadline);
            is_over &= !is_due;
        }
    }

    /// Looks for exits of which no event has told.
    fn ask(&mut self, when: When) {
        let members = self.members.iter().filter_map(|(&pid, entry)| {
            let Means::Event(member) = &entry.means else {
                return None;
            };
            Some((entry.token(pid), member))
        });
        self.events.ask(members, when);
    }

    /// The next exit that is known already. Its process leaves the set.
    fn next_exit(&mut self) -> Option<(u32, Exit)> {
        if let Some(former) = self.former.pop_front() {
            return Some(former);
        }
        if let Some((_, pid)) = self.exited.pids.pop_first() {
            if let Means::Exited(exit, ..) = self.members.remove(&pid)?.means {
                return Some((pid, exit));
            }
        }
        let (pid, exit) = self.next_event()?;
        self.members.remove(&pid);
        self.polled.remove(&pid);
        Some((pid, exit))
    }

    /// The next exit of which there is an event.
    fn next_event(&mut self) -> Option<(u32, Exit)> {
        while let Some(Fired { token, told: data }) = self.events.next() {
            // It may have been removed since, and perhaps inserted again.
            let entry = self.members.get(&token.pid);
            let Some(entry) = entry.filter(|entry| entry.generation == token.generation) else {
                continue;
            };
            let Means::Event(member) = &entry.means else {
                continue;
            };
            match member.exit(data) {
                Ok(Some(exit)) => return Some((token.pid, exit)),
                Ok(None) if self.events.renew(member, token).is_ok() => {}
                // No other event will come.
                Ok(None) | Err(_) => {
                    self.polled.insert(token.pid);
                    self.pace.restart();
                }
            }
        }
        None
    }

    /// Records all exits of which there are events.
    fn record_events(&mut self) {
        while let Some((pid, exit)) = self.next_event() {
            self.record_exit(pid, exit);
        }
    }

    fn record_exit(&mut self, pid: u32, exit: Exit) {
        self.polled.remove(&pid);
        if let Some(entry) = self.members.get_mut(&pid) {
            if !matches!(entry.means, Means::Exited(..)) {
                entry.means.record_exit(exit, self.exited.add(pid));
            }
        }
    }

    /// Whether there are processes to be looked at, of which no event will come.
    fn must_look(&self) -> bool {
        self.events.have_failed || !self.polled.is_empty()
    }

    /// Sleeps until there may be news, the next look is due or the deadline has passed.
    /// False: the events have just failed, and their processes have to be looked at.
    fn sleep(&mut self, deadline: Deadline) -> bool {
        let nap = match self.must_look() {
            true => deadline.within(self.pace.until_due()),
            false => deadline,
        };
        let nap = match self.exited.pids.is_empty() {
            true => nap,
            false => Deadline::Now,
        };
        match self.events.wait(nap) {
            Ok(have_come) => {
                self.events.have_failed = false;
                if !have_come {
                    self.ask(When::Due);
                }
                true
            }
            Err(_) => {
                let is_known = mem::replace(&mut self.events.have_failed, true);
                match is_known {
                    true => sleep_until(nap),
                    false => self.pace.restart(),
                }
                is_known
            }
        }
    }

    /// Looks at each process of which no event will come. The last failure, or it at once
    /// if nothing else is left to wait for.
    fn look(&mut self) -> Result<Option<Error>, Error> {
        let mut pace = mem::take(&mut self.pace);
        let mut tries_events = !self.events.have_failed;
        let (mut failures, mut last) = (0, None);
        pace.round(|| {
            let pids: Vec<u32> = match self.events.have_failed {
                true => self.pids().collect(),
                false => self.polled.iter().copied().collect(),
            };
            for pid in pids {
                if let Err(failure) = self.look_at(pid, &mut tries_events) {
                    failures += 1;
                    last = Some(failure);
                }
            }
        });
        self.pace = pace;
        match last {
            Some(failure) if failures == self.len() => Err(failure),
            last => Ok(last),
        }
    }

    fn look_at(&mut self, pid: u32, tries_events: &mut bool) -> Result<(), Error> {
        let Some(entry) = self.members.get_mut(&pid) else {
            return Ok(());
        };
        let seen = entry.look(Pid::new(pid)?, &mut self.events, tries_events)?;
        let means = match seen {
            Seen::AsBefore => return Ok(()),
            Seen::Running(means) => means,
            Seen::Exited(exit) => {
                self.record_exit(pid, exit);
                return Ok(());
            }
        };
        if matches!(means, Means::Polling(..)) {
            self.polled.insert(pid);
        } else {
            self.polled.remove(&pid);
        }
        let before = mem::replace(&mut entry.means, means);
        if let (Means::Polling(_, kept), Means::Event(member)) = (&mut entry.means, before) {
            *kept = Some(member);
        }
        Ok(())
    }
}

impl Exited {
    /// Returns its place.
    fn add(&mut self, pid: u32) -> u64 {
        let place = self.next;
        self.next += 1;
        self.pids.insert(place, pid);
        place
    }
}
