//! Windows: the system's thread pool waits for the handles of many processes, 63
//! to a thread of its own, and has no limit to their number as
//! `WaitForMultipleObjects` has. Its news come late: the handles themselves know at once,
//! and are asked before anybody is told that none has exited.

use super::{
    handle::Handle,
    wait::{PoolWait, Tell},
};
use crate::{
    Error, Exit,
    deadline::{Deadline, Pace, When},
    pid::Pid,
    sys::{Fired, Token},
};
use std::{
    collections::VecDeque,
    io,
    os::windows::io::{AsHandle as _, BorrowedHandle},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
};
use windows_sys::Win32::{
    Foundation::{WAIT_FAILED, WAIT_OBJECT_0},
    System::Threading::{WT_EXECUTEINWAITTHREAD, WaitForMultipleObjects},
};

/// `MAXIMUM_WAIT_OBJECTS`.
const MOST_HANDLES: usize = 64;

#[derive(Debug)]
pub(crate) struct Reactor {
    /// Copied for each process; the one here keeps the channel open.
    sender: Sender<Token>,
    /// Never locked, as only the set's owner waits: so that others may share the set.
    receiver: Mutex<Receiver<Token>>,
    fired: VecDeque<Fired>,
    /// Of asking the handles.
    pace: Pace,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        let (sender, receiver) = mpsc::channel();
        Ok(Reactor {
            sender,
            receiver: receiver.into(),
            fired: VecDeque::new(),
            pace: Pace::default(),
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let handle = Handle::open(pid)?;
        let news = News {
            sender: self.sender.clone(),
            token,
        };
        // It takes no time.
        PoolWait::new(handle, news, WT_EXECUTEINWAITTHREAD).map(Member)
    }

    pub(crate) fn refuses_all(_: &io::Error) -> bool {
        false
    }

    /// There are no events that are none.
    pub(crate) fn renew(&mut self, _: &Member, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// Dropping the member is all there is to do.
    pub(crate) fn remove(&mut self, _: &Member) {}

    /// Sleeps until there is something for `next` (true) or the deadline.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> io::Result<bool> {
        let receiver = (self.receiver.get_mut()).unwrap_or_else(PoisonError::into_inner);
        deadline.sleep(|longest| {
            let first = match longest {
                Some(longest) => receiver.recv_timeout(longest),
                None => receiver.recv().map_err(RecvTimeoutError::from),
            };
            let tokens = first.into_iter().chain(receiver.try_iter());
            self.fired
                .extend(tokens.map(|token| Fired { token, told: None }));
            Ok(!self.fired.is_empty())
        })
    }

    /// Asks the handles, as many at once as the system takes. (What the pool tells of the
    /// same exits later is of no member any more.)
    pub(crate) fn ask<'a>(
        &mut self,
        members: impl Iterator<Item = (Token, &'a Member)>,
        when: When,
    ) {
        let is_asked = match when {
            When::Now => true,
            When::Affordable => self.pace.allows_a_look(),
            When::Due => false,
        };
        if is_asked {
            let exited = self.pace.round(|| exited(&members.collect::<Vec<_>>()));
            let fired = exited.into_iter().map(|token| Fired { token, told: None });
            self.fired.extend(fired);
        }
    }

    pub(crate) fn has_exited(&self, member: &Member, _: Token) -> io::Result<bool> {
        Ok(member.look()?.is_some())
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }
}

#[derive(Debug)]
pub(crate) struct Member(PoolWait<Handle, News>);

impl Member {
    fn handle(&self) -> &Handle {
        self.0.handle()
    }

    pub(crate) fn exit(&self, _: Option<i64>) -> io::Result<Option<Exit>> {
        self.handle().exit()
    }

    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        match self.handle().wait(Deadline::Now)? {
            true => self.handle().exit(),
            false => Ok(None),
        }
    }

    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.handle().kill()
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        self.handle().is_reaped()
    }

    /// The open handle keeps the pid.
    pub(crate) fn zombie_is_reaped(&self) -> bool {
        false
    }
}

fn exited(members: &[(Token, &Member)]) -> Vec<Token> {
    let mut exited = Vec::new();
    for mut chunk in members.chunks(MOST_HANDLES) {
        while let Some(index) = first_signalled(chunk) {
            exited.push(chunk[index].0);
            chunk = &chunk[index + 1..];
        }
    }
    exited
}

/// Without waiting.
fn first_signalled(members: &[(Token, &Member)]) -> Option<usize> {
    const ANY: i32 = 0;
    if members.is_empty() {
        return None;
    }
    let handles = members
        .iter()
        .map(|(_, member)| member.handle().as_handle());
    let handles: Vec<BorrowedHandle<'_>> = handles.collect();
    // SAFETY: a borrowed handle is a handle and nothing else, and open; there are as many
    // as we say, at most as many as the system takes.
    let answer =
        unsafe { WaitForMultipleObjects(handles.len() as u32, handles.as_ptr().cast(), ANY, 0) };
    if answer == WAIT_FAILED {
        // One cannot be asked. The others can, one by one.
        let has_exited = |member: &Member| member.handle().wait(Deadline::Now).unwrap_or(false);
        return members.iter().position(|(_, member)| has_exited(member));
    }
    let index = answer.wrapping_sub(WAIT_OBJECT_0) as usize;
    (index < members.len()).then_some(index)
}

/// What is told of an exit.
#[derive(Debug)]
struct News {
    sender: Sender<Token>,
    token: Token,
}

impl Tell for News {
    fn tell(&self) {
        // The set may be gone.
        let _ = self.sender.send(self.token);
    }
}
