//! illumos, Solaris: `poll` on `/proc/PID/psinfo`, as pwait(1) does it.
//!
//! It hangs up (`POLLHUP`) when the process begins to exit, which is before a core dump,
//! and for good. Whether it has exited, it shows when it is read: from then on it is looked
//! at, with pauses, until no thread is left, and a child until it can be reaped. Nothing
//! but the hang-up is polled for: a stopped process would answer `POLLPRI` all the time,
//! and any process `POLLIN`.

use super::{poll_set::PollSet, probe::PsinfoFile};
use crate::{
    Backend, Exit,
    deadline::{Deadline, Pace, When},
    pid::Pid,
    sys::{Child, ExitEvent, Fired, Look, Token, fd as descriptors, unix::poll::revents},
};
use rustix::{event::PollFlags, fd::BorrowedFd, io::Errno};
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

#[derive(Debug)]
pub(crate) struct Psinfo {
    file: PsinfoFile,
    /// Of the looks once it has hung up.
    pace: Mutex<Pace>,
}

impl Psinfo {
    pub(crate) const BACKEND: Option<Backend> = Some(Backend::Psinfo);
    pub(crate) const OPEN: &str = "open";
    pub(crate) const WAIT: &str = "poll";

    pub(crate) fn open(pid: Pid) -> io::Result<Psinfo> {
        Ok(Psinfo {
            file: open(pid)?,
            pace: Mutex::default(),
        })
    }

    /// The system's own processes cannot be polled, nor what has another layout.
    pub(crate) fn is_unavailable(error: &io::Error) -> bool {
        Errno::from_io_error(error) == Some(Errno::NOTSUP)
    }

    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        let hangs_up = |longest| Ok(!revents(&self.file, PollFlags::empty(), longest)?.is_empty());
        if !deadline.sleep(hangs_up)? {
            return Ok(false);
        }
        let exit = deadline.poll_in_turn(|when| {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.turn(when, || exit(&self.file))
        });
        Ok(exit?.is_some())
    }

    pub(crate) fn wait_event(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        Ok(self.wait(deadline)?.then_some(ExitEvent::Exited))
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        exit(&self.file)
    }

    /// Nothing but the number can be sent one.
    pub(crate) fn send_signal(&self, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Only the pid could be asked about.
    pub(crate) fn child_state(&self) -> Option<Child> {
        None
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        is_reaped(&self.file)
    }

    /// It is readable all the time.
    pub(crate) fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

fn open(pid: Pid) -> io::Result<PsinfoFile> {
    let file = PsinfoFile::open(pid)?;
    // The system's own processes answer so if they are asked for this.
    let revents = revents(&file, PollFlags::PRI, Some(Duration::ZERO))?;
    match revents.contains(PollFlags::NVAL) {
        true => Err(Errno::NOTSUP.into()),
        false => Ok(file),
    }
}

/// `None`: it is still running.
fn exit(file: &PsinfoFile) -> io::Result<Option<Exit>> {
    file.look().map(Look::exit)
}

fn is_reaped(file: &PsinfoFile) -> Option<bool> {
    file.look().ok().map(|look| look == Look::Gone)
}

/// One `poll` for many processes.
#[derive(Debug)]
pub(crate) struct Reactor {
    files: PollSet<PsinfoFile>,
    fired: VecDeque<Fired>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            files: PollSet::new(),
            fired: VecDeque::new(),
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let file = Arc::new(open(pid)?);
        if !descriptors::leaves_enough(&*file) {
            return Err(Errno::MFILE.into());
        }
        self.files.insert(token, &file);
        Ok(Member(file))
    }

    /// Other failures are about that process.
    pub(crate) fn refuses_all(error: &io::Error) -> bool {
        matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE)
        )
    }

    /// What has hung up does so for good: it has to be looked at.
    pub(crate) fn renew(&mut self, _: &Member, _: Token) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn remove(&mut self, member: &Member) {
        self.files.remove(&member.0);
    }

    /// Sleeps until there is something for `next` (true) or the deadline.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| {
            let news = self.files.take(longest)?;
            let fired = news.into_iter().map(|token| Fired { token, told: None });
            self.fired.extend(fired);
            Ok(!self.fired.is_empty())
        })
    }

    /// Each exit has its event.
    pub(crate) fn ask<'a>(&mut self, _: impl Iterator<Item = (Token, &'a Member)>, _: When) {}

    pub(crate) fn has_exited(&self, member: &Member, _: Token) -> io::Result<bool> {
        Ok(member.look()?.is_some())
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }
}

#[derive(Debug)]
pub(crate) struct Member(Arc<PsinfoFile>);

impl Member {
    pub(crate) fn exit(&self, _: Option<i64>) -> io::Result<Option<Exit>> {
        exit(&self.0)
    }

    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        exit(&self.0)
    }

    pub(crate) fn send_signal(&self, _: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        is_reaped(&self.0)
    }

    pub(crate) fn zombie_is_reaped(&self) -> bool {
        is_reaped(&self.0) == Some(true)
    }
}
