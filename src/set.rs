//! Many processes, one wait.

use crate::{
    Error, Exit,
    backend::{Fired, Member, Polling, Reactor, Token},
    deadline::{Backoff, Deadline},
    pid::Pid,
    probe,
    process::os_error,
};
use std::{
    collections::{HashMap, VecDeque},
    io, thread,
    time::Duration,
};

/// Processes that are waited for together: the next exit, whosever it is.
///
/// Each exit costs the same however many processes are in the set, and so does
/// each insertion. The processes need not be our children, and nothing is taken
/// from their owners.
///
/// # Cost
///
/// For each process a pidfd on Linux and a handle on Windows, where the system
/// also has a thread for every 63 of them. macOS and the BSDs need no descriptor
/// for a process. The set itself needs one descriptor (epoll or kqueue), and some
/// 100 bytes of memory for each process.
///
/// When descriptors run out, the processes that got none are polled in the same
/// wait, with pauses of 0.1 ms that double up to 40 ms, which costs time for each
/// of them in each round; they go back to events when descriptors are free again.
/// To have more of them, raise the soft limit: `ulimit -Sn`, or `setrlimit` with
/// `RLIMIT_NOFILE`, up to the hard limit.
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
    /// Those that are polled, and perhaps some that are in the set no more.
    polled: Vec<Token>,
    /// Those found by polling to have exited.
    exited: VecDeque<(Token, Exit)>,
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    means: Means,
}

#[derive(Debug)]
enum Means {
    Event(Member),
    Polling(Polling),
    /// It had exited when it was inserted, or was found to have.
    Exited,
}

/// Made when the first process is inserted, so that `WaitSet::new` cannot fail.
#[derive(Debug, Default)]
enum Events {
    #[default]
    None,
    Some(Reactor),
    /// Its wait has failed; it is not tried again.
    Failed,
}

impl WaitSet {
    /// An empty set. It takes nothing from the OS before the first insertion.
    pub fn new() -> WaitSet {
        WaitSet::default()
    }

    /// Adds the process `pid`; false if it was in the set already.
    ///
    /// One that has exited but was not reaped, a zombie, can be added, and is
    /// among the next to be reported.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidPid`] for 0 and for what is no pid of this OS,
    /// [`Error::NotFound`] if no process has this pid, [`Error::Os`] only where
    /// even polling is impossible.
    pub fn insert(&mut self, pid: u32) -> Result<bool, Error> {
        let known = Pid::new(pid)?;
        if self.contains(pid) {
            return Ok(false);
        }
        self.generation = self.generation.wrapping_add(1);
        let token = Token {
            pid,
            generation: self.generation,
        };
        let means = match self.events.insert(known, token) {
            Ok(member) => Means::Event(member),
            // Among the causes is "no such process": the probe knows.
            Err(_) => self
                .polling(known, token)
                .map_err(os_error(probe::CALL, known))?
                .ok_or(Error::NotFound { pid })?,
        };
        let entry = Entry {
            generation: token.generation,
            means,
        };
        self.members.insert(pid, entry);
        Ok(true)
    }

    /// Takes the process `pid` out of the set, unreported; false if it was not in
    /// it.
    pub fn remove(&mut self, pid: u32) -> bool {
        match self.members.remove(&pid) {
            Some(entry) => {
                self.events.remove(&entry.means);
                true
            }
            None => false,
        }
    }

    /// How many are still waited for.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is waited for.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Those still waited for, in no particular order.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.keys().copied()
    }

    fn contains(&self, pid: u32) -> bool {
        self.members.contains_key(&pid)
    }

    /// Waits for the next exit. That process leaves the set.
    ///
    /// Answers `Ok(None)` if the timeout has passed, which is never early, or if
    /// the set is empty. A timeout of `None` waits for ever, as does one too long
    /// for the clock; [`Duration::ZERO`] only looks.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] only where polling fails as well. The set stays as it is.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<(u32, Exit)>, Error> {
        self.wait_until(Deadline::from_timeout(timeout))
    }

    fn wait_until(&mut self, deadline: Deadline) -> Result<Option<(u32, Exit)>, Error> {
        let mut backoff = Backoff::new();
        loop {
            if let Some(found) = self.next_exit() {
                return Ok(Some(found));
            }
            if self.is_empty() {
                return Ok(None);
            }
            // Read the clock, look, enforce the deadline, in this order.
            let is_over = deadline.has_passed();
            self.look_at_polled()?;
            if !self.exited.is_empty() {
                continue;
            }
            let nap = match self.polled.is_empty() {
                true => deadline,
                false => deadline.within(backoff.next_pause()),
            };
            if !self.sleep(nap) && (is_over || self.polled.is_empty()) {
                return Ok(None);
            }
        }
    }

    /// The next exit that is known already. Its process leaves the set.
    fn next_exit(&mut self) -> Option<(u32, Exit)> {
        while let Some((token, exit)) = self.exited.pop_front() {
            if self.take(token).is_some() {
                return Some((token.pid, exit));
            }
        }
        while let Some(Fired { token, data }) = self.events.next() {
            if let Some(Means::Event(member)) = self.take(token) {
                return Some((token.pid, member.exit(data)));
            }
        }
        None
    }

    /// `None`: it was removed since, and perhaps inserted again.
    fn take(&mut self, token: Token) -> Option<Means> {
        let entry = self.members.get(&token.pid)?;
        if entry.generation != token.generation {
            return None;
        }
        self.events.remove(&entry.means);
        self.members.remove(&token.pid).map(|entry| entry.means)
    }

    /// Sleeps until there may be news (true) or the deadline has passed.
    fn sleep(&mut self, deadline: Deadline) -> bool {
        match self.events.wait(deadline) {
            Ok(woken) => woken,
            Err(_) => {
                self.poll_all();
                true
            }
        }
    }

    /// A process that is not to be had by events. `None`: there is none.
    fn polling(&mut self, pid: Pid, token: Token) -> io::Result<Option<Means>> {
        Ok(Polling::open(pid)?.map(|(polling, exit)| match exit {
            None => {
                self.polled.push(token);
                Means::Polling(polling)
            }
            Some(exit) => {
                self.exited.push_back((token, exit));
                Means::Exited
            }
        }))
    }

    /// Looks once at each process that is polled, and tries to have events for it.
    fn look_at_polled(&mut self) -> Result<(), Error> {
        let mut failure = None;
        self.polled.retain(|&token| {
            let Some(entry) = self.members.get_mut(&token.pid) else {
                return false;
            };
            let Means::Polling(polling) = &entry.means else {
                return false;
            };
            if entry.generation != token.generation {
                return false;
            }
            let pid = polling.pid();
            // Only the look that follows shows that it is still the same process.
            let member = self.events.insert(pid, token).map(Means::Event);
            let seen = polling.look();
            if let Ok(member) = member {
                if matches!(seen, Ok(None)) {
                    entry.means = member;
                    return false;
                }
                self.events.remove(&member);
            }
            match seen {
                Ok(None) => true,
                Ok(Some(exit)) => {
                    self.exited.push_back((token, exit));
                    entry.means = Means::Exited;
                    false
                }
                Err(error) => {
                    failure = Some(os_error(probe::CALL, pid)(error));
                    true
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    /// From events to polling, once the wait for events has failed.
    fn poll_all(&mut self) {
        self.events = Events::Failed;
        for (&pid, entry) in &mut self.members {
            let (Means::Event(member), Ok(known)) = (&entry.means, Pid::new(pid)) else {
                continue;
            };
            let token = Token {
                pid,
                generation: entry.generation,
            };
            let taken = Polling::take_over(known, || member.is_reaped(), || member.exit(0));
            // What cannot be looked at now fails again when it is polled, and that is
            // then told.
            entry.means = match taken.unwrap_or_else(|_| Ok(Polling::unseen(known))) {
                Ok(polling) => {
                    self.polled.push(token);
                    Means::Polling(polling)
                }
                Err(exit) => {
                    self.exited.push_back((token, exit));
                    Means::Exited
                }
            };
        }
    }
}

impl Events {
    fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        if let Events::None = self {
            *self = Events::Some(Reactor::new()?);
        }
        match self {
            Events::Some(reactor) => reactor.insert(pid, token),
            Events::None | Events::Failed => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn remove(&mut self, means: &Means) {
        if let (Events::Some(reactor), Means::Event(member)) = (self, means) {
            reactor.remove(member);
        }
    }

    fn next(&mut self) -> Option<Fired> {
        match self {
            Events::Some(reactor) => reactor.next(),
            Events::None | Events::Failed => None,
        }
    }

    fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        match self {
            Events::Some(reactor) => reactor.wait(deadline),
            Events::None | Events::Failed => deadline.sleep(|longest| {
                thread::sleep(longest.unwrap_or(Backoff::LONGEST));
                Ok(false)
            }),
        }
    }
}

/// Waits for the first of these processes to exit.
///
/// Answers `Ok(None)` if the timeout has passed, or if there are no pids. For
/// exits one after the other, use a [`WaitSet`].
///
/// # Errors
///
/// As for [`WaitSet::insert`] and [`WaitSet::wait`]; in particular
/// [`Error::NotFound`] if there is no process with one of the pids.
///
/// ```
/// # #[cfg(unix)] {
/// use std::process::Command;
///
/// let mut slow = Command::new("sleep").arg("60").spawn()?;
/// let mut quick = Command::new("true").spawn()?;
/// let first = procwait::wait_any([slow.id(), quick.id()], None)?;
/// assert_eq!(first.map(|(pid, _)| pid), Some(quick.id()));
/// # quick.wait()?;
/// # slow.kill()?;
/// # slow.wait()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_any(
    pids: impl IntoIterator<Item = u32>,
    timeout: Option<Duration>,
) -> Result<Option<(u32, Exit)>, Error> {
    let deadline = Deadline::from_timeout(timeout);
    let mut set = WaitSet::new();
    for pid in pids {
        set.insert(pid)?;
    }
    set.wait_until(deadline)
}

/// Waits for all of these processes to exit, or until the timeout has passed.
///
/// A pid that no process has counts as exited, status unknown. A timeout of zero
/// sorts the pids at once into those that have exited and those that run.
///
/// # Errors
///
/// [`Error::InvalidPid`] for 0 and for what is no pid of this OS, [`Error::Os`]
/// only where polling fails as well.
///
/// ```
/// # #[cfg(unix)] {
/// use std::{process::Command, time::Duration};
///
/// let mut slow = Command::new("sleep").arg("60").spawn()?;
/// let mut quick = Command::new("true").spawn()?;
/// # procwait::wait_pid(quick.id(), None)?;
/// let pids = [slow.id(), quick.id()];
/// let sorted = procwait::wait_all(pids, Some(Duration::from_millis(10)))?;
/// assert_eq!(sorted.running, [slow.id()]);
/// assert_eq!(sorted.exited[0].0, quick.id());
/// # quick.wait()?;
/// # slow.kill()?;
/// # slow.wait()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_all(
    pids: impl IntoIterator<Item = u32>,
    timeout: Option<Duration>,
) -> Result<WaitAll, Error> {
    let deadline = Deadline::from_timeout(timeout);
    let mut set = WaitSet::new();
    let mut inserted = Vec::new();
    let mut exited = Vec::new();
    for pid in pids {
        match set.insert(pid) {
            Ok(true) => inserted.push(pid),
            Ok(false) => {}
            Err(Error::NotFound { pid }) => exited.push((pid, Exit::UNKNOWN)),
            Err(error) => return Err(error),
        }
    }
    while let Some(found) = set.wait_until(deadline)? {
        exited.push(found);
    }
    inserted.retain(|&pid| set.contains(pid));
    Ok(WaitAll {
        exited,
        running: inserted,
    })
}

/// What [`wait_all`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitAll {
    /// Those that have exited, in the order of their exits as far as that was
    /// seen. Those that no process had the pid of come first.
    pub exited: Vec<(u32, Exit)>,
    /// Those that were still running when the timeout passed, in the order given.
    pub running: Vec<u32>,
}
