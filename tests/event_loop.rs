//! Tests of processes and sets in an event loop of the program's own, as docs/recipes.md says.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{Helper, LONG, helper, skip};
use procwait::{Process, WaitSet};
use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, EventData, EventFlags},
};
use std::{
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    thread,
    time::Duration,
};

const PROCESS: u64 = 1;
const SET: u64 = 2;

/// An event loop that reports each event once (`EPOLLET`), as mio does.
struct EventLoop(OwnedFd);

impl EventLoop {
    fn new() -> EventLoop {
        EventLoop(epoll::create(CreateFlags::CLOEXEC).unwrap())
    }

    fn add(&self, event: BorrowedFd<'_>, data: u64) {
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&self.0, event, EventData::new_u64(data), flags).unwrap();
    }

    /// The data of the next event.
    fn wait(&self) -> u64 {
        let mut event = [const { MaybeUninit::uninit() }];
        let timeout = Timespec::try_from(LONG).unwrap();
        match epoll::wait(&self.0, &mut event, Some(&timeout)).unwrap() {
            ([event], _) => event.data.u64(),
            _ => panic!("no event in {LONG:?}"),
        }
    }
}

#[test]
fn event_loop_gets_each_exit_of_a_set_and_of_a_process() {
    const COUNT: usize = 200;
    const WAKES: usize = 50;

    let mut helpers: Vec<Helper> = (0..COUNT).map(|_| helper("wait 0")).collect();
    let mut alone = helper("wait 7");
    let process = Process::open(alone.id()).unwrap();
    let mut set = WaitSet::new();
    let waker = set.waker();
    for helper in &helpers {
        set.insert(helper.id()).unwrap();
    }
    let (Some(process_event), Some(set_event)) = (process.as_event_fd(), set.as_event_fd()) else {
        return skip(
            "event_loop_gets_each_exit_of_a_set_and_of_a_process",
            "events",
        );
    };
    let events = EventLoop::new();
    events.add(process_event, PROCESS);
    events.add(set_event, SET);

    let ended = thread::spawn(move || {
        for (index, helper) in helpers.iter_mut().enumerate() {
            drop(helper.stdin.take());
            if index % (COUNT / WAKES) == 0 {
                waker.wake();
            }
        }
        drop(alone.stdin.take());
        (helpers, alone)
    });
    let (mut exits, mut has_exited) = (0, false);
    while exits < COUNT || !has_exited {
        match events.wait() {
            PROCESS => has_exited = process.try_wait().unwrap().is_some(),
            _ => {
                while let Some((_, exit)) = set.wait(Some(Duration::ZERO)).unwrap() {
                    assert_eq!(exit.code(), Some(0));
                    exits += 1;
                }
            }
        }
    }
    assert_eq!(process.wait().unwrap().code(), Some(7));
    drop(ended.join().unwrap());
}
