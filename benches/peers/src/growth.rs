//! What one exit costs in a set of so many processes.

use crate::{
    child::{Children, Time},
    contestants::bare,
    stats::median,
    worker::{kill, reap, until_exited},
};
use procwait::WaitSet;
use rustix::{
    event::epoll,
    fd::{AsFd as _, OwnedFd},
    process::WaitId,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

pub const FLOOR: &str = "growth-epoll";
pub const OURS: &str = "growth-set";

/// At most.
const EXITS: usize = 200;

/// A set of processes.
trait Set {
    fn insert(&mut self, pid: u32);
    /// The one that has exited, let go of, and by which signal.
    fn next(&mut self) -> (u32, Option<i32>);
}

/// ns for each exit, the median.
pub fn measure(name: &str, children: &Children, count: usize) -> Vec<f64> {
    let mut set: Box<dyn Set> = match name {
        FLOOR => Box::new(BareEpoll::new()),
        OURS => Box::new(WaitSet::new()),
        _ => panic!("no contestant {name}"),
    };
    let until = Time::after(Duration::from_secs(600));
    let spawn = |_| children.command(until).unwrap().spawn().unwrap().id();
    let pids: Vec<u32> = (0..count).map(spawn).collect();
    for &pid in &pids {
        set.insert(pid);
    }
    let mut figures = Vec::new();
    for &pid in pids.iter().take(EXITS) {
        kill(pid);
        until_exited(pid);
        let start = Instant::now();
        let found = set.next();
        figures.push(start.elapsed().as_nanos() as f64);
        assert_eq!(found, (pid, Some(9)));
        reap(pid);
    }
    let rest = pids.get(EXITS..).unwrap_or_default();
    rest.iter().copied().for_each(kill);
    rest.iter().copied().for_each(reap);
    vec![median(&mut figures)]
}

impl Set for WaitSet {
    fn insert(&mut self, pid: u32) {
        self.insert(pid).unwrap();
    }
    fn next(&mut self) -> (u32, Option<i32>) {
        let (pid, exit) = self.wait(None).unwrap().unwrap();
        (pid, exit.signal())
    }
}

struct BareEpoll {
    epoll: OwnedFd,
    held: HashMap<u64, OwnedFd>,
}

impl BareEpoll {
    fn new() -> BareEpoll {
        BareEpoll {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
            held: HashMap::new(),
        }
    }
}

impl Set for BareEpoll {
    fn insert(&mut self, pid: u32) {
        let pidfd = bare::open(pid);
        let data = epoll::EventData::new_u64(pid.into());
        epoll::add(&self.epoll, &pidfd, data, epoll::EventFlags::IN).unwrap();
        self.held.insert(pid.into(), pidfd);
    }
    fn next(&mut self) -> (u32, Option<i32>) {
        let mut events = Vec::with_capacity(1);
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            None,
        )
        .unwrap();
        let pid = events[0].data.u64();
        let pidfd = self.held.remove(&pid).unwrap();
        let status = bare::peek(WaitId::PidFd(pidfd.as_fd())).unwrap();
        epoll::delete(&self.epoll, &pidfd).unwrap();
        (pid as u32, status.terminating_signal())
    }
}
