//! Systems without events for the exit of any process: AIX, Haiku and others. They
//! poll.

use crate::{
    Backend, Exit,
    deadline::{Deadline, When},
    pid::Pid,
    sys::{Child, ExitEvent, Fired, Token},
};
use std::{io, os::fd::BorrowedFd};

#[derive(Debug)]
pub(crate) enum NoEvent {}

impl NoEvent {
    pub(crate) const BACKEND: Option<Backend> = None;
    pub(crate) const OPEN: &str = "";
    pub(crate) const WAIT: &str = "";

    pub(crate) fn open(_: Pid) -> io::Result<NoEvent> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn is_unavailable(_: &io::Error) -> bool {
        true
    }

    pub(crate) fn wait_event(&self, _: Deadline) -> io::Result<Option<ExitEvent>> {
        match *self {}
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        match *self {}
    }

    pub(crate) fn send_signal(&self, _: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn child_state(&self) -> Option<Child> {
        match *self {}
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        match *self {}
    }

    pub(crate) fn as_event_fd(&self) -> Option<BorrowedFd<'_>> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum NoReactor {}

impl NoReactor {
    pub(crate) fn new() -> io::Result<NoReactor> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn insert(&mut self, _: Pid, _: Token) -> io::Result<NoMember> {
        match *self {}
    }

    pub(crate) fn refuses_all(_: &io::Error) -> bool {
        true
    }

    pub(crate) fn renew(&mut self, _: &NoMember, _: Token) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn remove(&mut self, _: &NoMember) {
        match *self {}
    }

    pub(crate) fn wait(&mut self, _: Deadline) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn ask<'a>(&mut self, _: impl Iterator<Item = (Token, &'a NoMember)>, _: When) {
        match *self {}
    }

    pub(crate) fn has_exited(&self, _: &NoMember, _: Token) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn next(&mut self) -> Option<Fired> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum NoMember {}

impl NoMember {
    pub(crate) fn exit(&self, _: Option<i64>) -> io::Result<Option<Exit>> {
        match *self {}
    }

    pub(crate) fn look(&self) -> io::Result<Option<Exit>> {
        match *self {}
    }

    pub(crate) fn send_signal(&self, _: i32) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn zombie_is_reaped(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        match *self {}
    }
}
