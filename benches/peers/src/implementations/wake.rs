//! Two threads that wake each other in turn. Each of them also waits for a process, except for those
//! that wait on a channel.

use super::{Implementation, REPEAT, implementation};
use crate::child;
use procwait::WaitSet;
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, epoll, eventfd},
    fd::OwnedFd,
    io::{read, write},
    process::{PidfdFlags, pidfd_open},
};
use std::{os::unix::process::parent_id, sync::mpsc, thread};

/// Takes how often each of the threads wakes the other.
pub type Method = fn(usize);

pub const BASELINE: &str = "wake-epoll";

pub fn all() -> Vec<Implementation<Method>> {
    vec![
        implementation(
            BASELINE,
            "bare epoll over an eventfd and a pidfd",
            bare_epoll,
        ),
        implementation("wake-epoll-repeat", REPEAT, bare_epoll),
        implementation("wake-set", "**`procwait::SetWaker`**", set_waker),
        implementation(
            "wake-channel",
            "`std::sync::mpsc`, waits for no process",
            channel,
        ),
    ]
}

fn bare_epoll(count: usize) {
    let pidfd = pidfd_open(child::pid(parent_id()), PidfdFlags::empty()).unwrap();
    in_turn(count, || {
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        for (fd, data) in [(&event, 0), (&pidfd, 1)] {
            let data = epoll::EventData::new_u64(data);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN).unwrap();
        }
        let waking_event = event.try_clone().unwrap();
        let wake = move || {
            write(&waking_event, &1_u64.to_ne_bytes()).unwrap();
        };
        (wake, move || wait_for_event(&epoll, &event))
    });
}

fn wait_for_event(epoll: &OwnedFd, event: &OwnedFd) {
    let mut events = Vec::with_capacity(2);
    epoll::wait(epoll, spare_capacity(&mut events), None).unwrap();
    assert_eq!(events[0].data.u64(), 0);
    read(event, &mut [0; 8]).unwrap();
}

fn set_waker(count: usize) {
    in_turn(count, || {
        let mut set = WaitSet::new();
        set.insert(parent_id()).unwrap();
        let waker = set.waker();
        let wake = move || waker.wake();
        (wake, move || assert_eq!(set.wait(None).unwrap(), None))
    });
}

fn channel(count: usize) {
    in_turn(count, || {
        let (sender, receiver) = mpsc::channel();
        let wake = move || sender.send(()).unwrap();
        (wake, move || receiver.recv().unwrap())
    });
}

/// `pair` makes two functions: one that wakes, and one that waits for that.
fn in_turn<W: Fn() + Send, R: FnMut() + Send>(count: usize, pair: impl Fn() -> (W, R)) {
    let (ping, mut wait_for_ping) = pair();
    let (pong, mut wait_for_pong) = pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..count {
                wait_for_ping();
                pong();
            }
        });
        for _ in 0..count {
            ping();
            wait_for_pong();
        }
    });
}
