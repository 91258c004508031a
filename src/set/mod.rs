//! `WaitSet`: waits for many processes at once.

#[cfg(any(feature = "tokio", feature = "async-io"))]
mod awaiting;
mod check;
mod insert;
mod member;
mod wait;
mod waker;

pub use waker::SetWaker;

use crate::{
    Error, Exit, Process,
    backoff::Backoff,
    deadline::Deadline,
    pid::Pid,
    sys::{Poller, ReadyQueue, SetPoller as _},
};
use member::Member;
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};
use waker::WakeState;

/// A set of processes to wait for together. Each wait returns the next exit.
///
/// The cost of an insertion or an exit does not depend on the size of the set. The
/// processes need not be children, and are not reaped.
///
/// # Cost
///
/// - Linux: one epoll, and for each process about 100 bytes of memory and a pidfd, or that of the
///   [`Process`] that was inserted.
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
    /// Made at the first insertion or waker, so that `new` cannot fail.
    poller: Option<Poller>,
    /// Whether the last wait for events failed. Until one succeeds, all members are polled.
    poller_failed: bool,
    ready: ReadyQueue,
    /// The members that are polled, and watched ones whose event has failed.
    polled: HashSet<u32>,
    /// When they are checked.
    backoff: Backoff,
    /// When all members were checked, see [`SetPoller`](crate::sys::SetPoller::sweep_interval).
    sweeps: Backoff,
    /// Members that have exited, and whose pid another member has had since. They are reported
    /// first.
    replaced: VecDeque<Member>,
    /// Why a member could not be checked, in the last check of the polled members of this wait.
    failure: Option<Error>,
    /// A member that could not be checked, in the last check of the polled members.
    failed: Option<u32>,
    /// Shared with the wakers.
    wake: OnceLock<Arc<WakeState>>,
    /// Whether a wake is in the ready queue, behind the exits that happened before it.
    wake_is_queued: bool,
    /// Whether `as_event_fd` has been called: from then on, the wake event is signaled while there
    /// is something to return.
    lends_event: AtomicBool,
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
        let inserted = self.insert_pid(Pid::new(pid)?);
        self.update_event();
        inserted
    }

    /// Adds this very process, even if its pid has been reused since. Returns `Ok(false)` if it
    /// is already in the set. The set does not borrow it.
    ///
    /// If another process in the set has its pid, or had it, the exits of both are reported, the
    /// older one first; [`remove`](WaitSet::remove) removes both, and a signal is sent to the one
    /// that is running. The set and the `Process` report the same [`Exit`].
    ///
    /// (Before Linux 6.9, on NetBSD and OpenBSD, and if only one of them is polled, two processes of one
    /// pid that have both been reaped count as different ones. What was inserted with
    /// `insert_process` is recognized all the same.)
    ///
    /// # Errors
    ///
    /// As for [`Process::try_wait`], and [`Error::InvalidPid`] if its [pid](Process::pid) is not known.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Process, WaitSet};
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// let process = Process::open(child.id())?;
    /// child.wait()?; // From here on, another process can have its pid.
    ///
    /// let mut set = WaitSet::new();
    /// assert!(set.insert_process(&process)?);
    /// assert!(!set.insert_process(&process)?, "it is in the set");
    /// assert_eq!(set.wait(None)?, Some((process.pid(), process.wait()?)));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_process(&mut self, process: &Process) -> Result<bool, Error> {
        let inserted = self.insert_shared(&process.shared, process.opened_at);
        self.update_event();
        inserted
    }

    /// Removes the process `pid` without reporting it. Returns `false` if it was not in the
    /// set.
    pub fn remove(&mut self, pid: u32) -> bool {
        let Some(member) = self.members.remove(&pid) else {
            return false;
        };
        self.polled.remove(&pid);
        self.replaced.retain(|replaced| replaced.pid.get() != pid);
        if member.exit.is_none() && member.polling.is_none() {
            self.unwatch(&member);
        }
        self.ready.remove(member.token());
        if self.failed == Some(pid) {
            (self.failed, self.failure) = (None, None);
        }
        self.update_event();
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
        let replaced = self.replaced.iter().map(|member| member.pid.get());
        self.members.keys().copied().chain(replaced)
    }

    /// Whether the process `pid` is in the set.
    pub fn contains(&self, pid: u32) -> bool {
        self.members.contains_key(&pid)
    }

    /// Waits for the next exit, and removes that process from the set.
    ///
    /// Returns `Ok(None)` if the set is empty and has no [waker](WaitSet::waker), if a waker ends
    /// the wait, or if `timeout` passes first, never early. `None` waits forever, and so does a
    /// timeout that the clock cannot represent. [`Duration::ZERO`] checks once.
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

    /// Something that ends a wait of this set from another thread, for example when that thread has
    /// a process to insert, or a command for the thread that waits.
    ///
    /// [`SetWaker::wake`] makes the wait that is under way, or else the next one, return `Ok(None)`
    /// at once. That is also true of the awaiting methods.
    ///
    /// While there is a waker, an empty set waits, too, for a wake or the timeout. When the last one
    /// is dropped, that wakes the set, so a wait after that can return `Ok(None)` for no other
    /// reason.
    ///
    /// This never fails. It uses one descriptor on Linux, and two on macOS and the BSDs. Without
    /// one, the set notices a wake when it polls: after at most 40 ms, or more if many members are
    /// polled.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Process, WaitSet};
    /// use std::{process::Command, sync::mpsc, thread};
    ///
    /// let mut set = WaitSet::new();
    /// let waker = set.waker();
    /// let (sender, receiver) = mpsc::channel::<Process>();
    ///
    /// let supervisor = thread::spawn(move || {
    ///     loop {
    ///         if let Some((pid, exit)) = set.wait(None)? {
    ///             return Ok::<_, procwait::Error>((pid, exit));
    ///         }
    ///         for process in receiver.try_iter() {
    ///             set.insert_process(&process)?;
    ///         }
    ///     }
    /// });
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// sender.send(Process::open(child.id())?)?;
    /// waker.wake();
    /// let (pid, exit) = supervisor.join().expect("no panic")?;
    /// assert_eq!((pid, exit.code()), (child.id(), Some(0)));
    /// # child.wait()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn waker(&mut self) -> SetWaker {
        if self.poller.is_none() {
            self.poller = Poller::new().ok();
        }
        let waker = SetWaker::new(self.wake.get_or_init(Arc::default));
        self.connect_wake_event();
        waker
    }

    /// A descriptor that is readable as long as a wait would return an exit or a wake at once: for
    /// use with `poll`, epoll, kqueue or an async reactor.
    ///
    /// Each insertion and each wait can change it, so ask again after them. It can be readable for a
    /// moment without a reason.
    ///
    /// `None` while a member is polled, before the first member or waker, in a forked child, and
    /// where the system has no such descriptor (illumos, Solaris).
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use procwait::WaitSet;
    /// use rustix::event::{PollFd, PollFlags, poll};
    /// use std::{process::Command, time::Duration};
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// let mut set = WaitSet::new();
    /// set.insert(child.id())?;
    ///
    /// let Some(event) = set.as_event_fd() else {
    ///     return Ok(()); // It is polled: use `wait`.
    /// };
    /// // Together with other descriptors:
    /// poll(&mut [PollFd::new(&event, PollFlags::IN)], None)?;
    /// assert!(set.wait(Some(Duration::ZERO))?.is_some());
    /// # child.wait()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.lend_event()?;
        self.poller
            .as_ref()
            .filter(|_| !self.must_poll())?
            .as_event()
    }

    pub(crate) fn member(&self, pid: u32) -> Result<&Member, Error> {
        self.members.get(&pid).ok_or(Error::NotFound { pid })
    }
}
