//! Sets of processes, which tell of one exit after the other: bare epoll, and ours.

use super::{Contestant, bare, contestant};
use procwait::WaitSet;
use rustix::{
    buffer::spare_capacity,
    event::epoll,
    fd::{AsFd as _, OwnedFd},
    process::WaitId,
};
use std::collections::HashMap;

pub trait Set {
    fn insert(&mut self, pid: u32);

    /// The next one that has exited, let go of, and its exit code.
    fn next(&mut self) -> (u32, Option<i32>);
}

/// Makes an empty one.
pub type Way = fn() -> Box<dyn Set>;

pub const FLOOR: &str = "set-epoll";
pub const OURS: &str = "set-ours";

pub fn all() -> Vec<Contestant<Way>> {
    vec![
        contestant(FLOOR, "bare epoll", || Box::new(Epoll::new())),
        contestant(OURS, "**`procwait::WaitSet`**", || Box::new(WaitSet::new())),
    ]
}

impl Set for WaitSet {
    fn insert(&mut self, pid: u32) {
        self.insert(pid).unwrap();
    }
    fn next(&mut self) -> (u32, Option<i32>) {
        let (pid, exit) = self.wait(None).unwrap().unwrap();
        (pid, exit.code())
    }
}

pub struct Epoll {
    epoll: OwnedFd,
    held: HashMap<u64, OwnedFd>,
    events: Vec<epoll::Event>,
}

impl Epoll {
    pub fn new() -> Epoll {
        Epoll {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
            held: HashMap::new(),
            events: Vec::with_capacity(256),
        }
    }
}

impl Set for Epoll {
    fn insert(&mut self, pid: u32) {
        let pidfd = bare::open(pid);
        let data = epoll::EventData::new_u64(pid.into());
        epoll::add(&self.epoll, &pidfd, data, epoll::EventFlags::IN).unwrap();
        self.held.insert(pid.into(), pidfd);
    }
    fn next(&mut self) -> (u32, Option<i32>) {
        if self.events.is_empty() {
            epoll::wait(&self.epoll, spare_capacity(&mut self.events), None).unwrap();
        }
        let pid = self
            .events
            .pop()
            .expect("the wait is without end")
            .data
            .u64();
        let pidfd = self.held.remove(&pid).unwrap();
        let status = bare::peek(WaitId::PidFd(pidfd.as_fd())).unwrap();
        epoll::delete(&self.epoll, &pidfd).unwrap();
        (pid as u32, status.exit_status())
    }
}
