//! Windows: the system's thread pool waits for the handles of many processes, 63
//! to a thread of its own, and has no limit to their number as
//! `WaitForMultipleObjects` has.

use super::{Fired, Token, handle::Handle};
use crate::{Exit, deadline::Deadline, pid::Pid};
use std::{
    collections::VecDeque,
    ffi::c_void,
    io,
    os::windows::io::AsRawHandle,
    ptr,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
};
use windows_sys::Win32::{
    Foundation::{HANDLE, INVALID_HANDLE_VALUE},
    System::Threading::{
        INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
        WT_EXECUTEONLYONCE,
    },
};

#[derive(Debug)]
pub(crate) struct Reactor {
    /// Copied for each process; the one here keeps the channel open.
    sender: Sender<Token>,
    receiver: Receiver<Token>,
    fired: VecDeque<Fired>,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        let (sender, receiver) = mpsc::channel();
        Ok(Reactor {
            sender,
            receiver,
            fired: VecDeque::new(),
        })
    }

    pub(crate) fn insert(&mut self, pid: Pid, token: Token) -> io::Result<Member> {
        let handle = Handle::open(pid)?;
        let news = News {
            sender: self.sender.clone(),
            token,
        };
        Ok(Member {
            _registration: Registration::new(&handle, news)?,
            handle,
        })
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
        deadline.sleep(|longest| {
            let first = match longest {
                Some(longest) => self.receiver.recv_timeout(longest),
                None => self.receiver.recv().map_err(RecvTimeoutError::from),
            };
            let fired = first.into_iter().chain(self.receiver.try_iter());
            self.fired
                .extend(fired.map(|token| Fired { token, data: 0 }));
            Ok(!self.fired.is_empty())
        })
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        self.fired.pop_front()
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    // Dropped first: the handle must stay open as long as it is waited for.
    _registration: Registration,
    handle: Handle,
}

impl Member {
    pub(crate) fn exit(&self, _: i64) -> io::Result<Option<Exit>> {
        self.handle.exit()
    }

    pub(crate) fn look(&mut self) -> io::Result<Option<Exit>> {
        match self.handle.wait(Deadline::Now)? {
            true => self.handle.exit(),
            false => Ok(None),
        }
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        self.handle.is_reaped()
    }
}

/// What the thread pool needs to tell of an exit.
#[derive(Debug)]
struct News {
    sender: Sender<Token>,
    token: Token,
}

unsafe extern "system" fn tell(news: *mut c_void, _timed_out: bool) {
    // SAFETY: `Registration` passes its `News`, and keeps it until the thread pool
    // is through with it.
    let news = unsafe { &*news.cast::<News>() };
    // The set may be gone.
    let _ = news.sender.send(news.token);
}

/// A wait of the thread pool's.
#[derive(Debug)]
struct Registration {
    wait: HANDLE,
    /// From a box, which is ours again once the wait was unregistered.
    news: *mut News,
}

// SAFETY: the wait may be unregistered by any thread but the pool's, which does not
// have it, and what it refers to may be sent and be shared between threads.
unsafe impl Send for Registration where News: Send + Sync {}

impl Registration {
    fn new(handle: &Handle, news: News) -> io::Result<Registration> {
        let mut registration = Registration {
            wait: ptr::null_mut(),
            news: Box::into_raw(Box::new(news)),
        };
        // SAFETY: the wait's handle is written to a place that outlives the call;
        // the process's handle stays open, as `Member` drops it last; the news
        // stay, as `drop` frees them after the last call of `tell`.
        let registered = unsafe {
            RegisterWaitForSingleObject(
                &mut registration.wait,
                handle.as_handle().as_raw_handle(),
                Some(tell),
                registration.news.cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        match registered {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(registration),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if !self.wait.is_null() {
            // With this for an event it returns once `tell` is not running, and
            // will not run any more.
            //
            // SAFETY: the wait was registered, and is unregistered only here.
            unsafe { UnregisterWaitEx(self.wait, INVALID_HANDLE_VALUE) };
        }
        // SAFETY: it came from a box, and nobody else uses it any more.
        drop(unsafe { Box::from_raw(self.news) });
    }
}
