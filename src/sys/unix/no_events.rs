//! For systems without events for the exit of any process. They poll.

use crate::{
    Backend, Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{
        BorrowedEvent, ExitEvent, OwnsHandle, ProcessHandle, Ready, ReadyQueue, SetMember,
        SetPoller, Token, WakeEvent,
    },
};
use std::{io, sync::Arc};

#[derive(Debug)]
pub(crate) enum Handle {}

impl ProcessHandle for Handle {
    const BACKEND: Option<Backend> = None;
    const OPEN_CALL: &str = "";
    const WAIT_CALL: &str = "";

    fn open(_: Pid) -> io::Result<Handle> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn wait(&self, _: Deadline) -> io::Result<Option<ExitEvent>> {
        match *self {}
    }

    fn exit(&self) -> io::Result<Option<Exit>> {
        match *self {}
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum Poller {}

#[derive(Debug)]
pub(crate) enum Member {}

impl SetMember for Member {}

impl SetPoller for Poller {
    type Member = Member;

    fn new() -> io::Result<Poller> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn insert(&mut self, _: Pid, _: Token, _: &ReadyQueue) -> io::Result<Member> {
        match *self {}
    }

    fn insert_open(
        &mut self,
        _: Arc<dyn OwnsHandle>,
        _: Token,
        _: &ReadyQueue,
    ) -> io::Result<Member> {
        match *self {}
    }

    fn wait(&mut self, _: &ReadyQueue, _: Deadline) -> io::Result<()> {
        match *self {}
    }

    fn take_events(&mut self, _: &ReadyQueue) -> io::Result<()> {
        match *self {}
    }

    fn exit(&mut self, _: &Member, _: Ready) -> io::Result<Option<Exit>> {
        match *self {}
    }

    fn check(&self, _: &Member, _: Token, _: &ReadyQueue) -> io::Result<Option<Exit>> {
        match *self {}
    }

    fn wake_event(&self, _: &ReadyQueue) -> io::Result<Arc<dyn WakeEvent>> {
        match *self {}
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        match *self {}
    }
}
