//! Members of a set whose exit has been reported and not yet handed out.

use crate::lock::lock;
use std::{collections::VecDeque, sync::Mutex};

/// A member of a set. The generation distinguishes it from an earlier member with the same pid,
/// for which an event may still be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) pid: u32,
    pub(crate) generation: u32,
}

impl Token {
    /// No process has the pid 0.
    pub(crate) const WAKE: Token = Token {
        pid: 0,
        generation: 0,
    };
}

impl From<u64> for Token {
    fn from(token: u64) -> Token {
        Token {
            pid: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

impl From<Token> for u64 {
    fn from(token: Token) -> u64 {
        (u64::from(token.generation) << 32) | u64::from(token.pid)
    }
}

/// An exit event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    /// The status, as a kqueue reports it.
    #[allow(dead_code)] // Only on kqueue.
    pub(crate) data: Option<i64>,
}

impl From<Token> for Ready {
    fn from(token: Token) -> Ready {
        Ready { token, data: None }
    }
}

/// The events of a set, in the order in which they came. With a mutex, as a check through a shared
/// reference takes events from a kqueue.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue(Mutex<VecDeque<Ready>>);

impl ReadyQueue {
    pub(crate) fn push(&self, ready: impl Into<Ready>) {
        lock(&self.0).push_back(ready.into());
    }

    pub(crate) fn pop(&self) -> Option<Ready> {
        lock(&self.0).pop_front()
    }

    pub(crate) fn drop_first_while(&self, is_stale: impl Fn(Token) -> bool) {
        let mut queue = lock(&self.0);
        while queue.front().is_some_and(|ready| is_stale(ready.token)) {
            queue.pop_front();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    #[allow(dead_code)] // Only kqueue reports an exit once.
    pub(crate) fn find(&self, token: Token) -> Option<Ready> {
        let queue = lock(&self.0);
        queue.iter().copied().find(|ready| ready.token == token)
    }

    pub(crate) fn remove(&self, token: Token) {
        lock(&self.0).retain(|ready| ready.token != token);
    }
}
