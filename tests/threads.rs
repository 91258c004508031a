//! Threads that are not like the others: with descriptors of their own, in a process
//! whose first thread has ended, or that call `execve`.

#![cfg(target_os = "linux")]

mod common;

use common::{Grandchild, LONG, Told, alone, codes_are_shown, helper, skip};
use nix::sched::{CloneFlags, unshare};
use procwait::{Backend, Process, wait_pid};
use std::{
    os::fd::AsRawFd as _,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

#[test]
fn a_thread_with_descriptors_of_its_own() {
    alone(|| {
        let test = "a_thread_with_descriptors_of_its_own";
        let code = codes_are_shown(test).then_some(7);
        let (mut there, mut here) = (Grandchild::new("wait 7"), Grandchild::new("wait 9"));
        let (send, opened) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let pid = there.pid;
        let number = |process: &Process| process.as_event_fd().map(|fd| fd.as_raw_fd());
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_FILES).unwrap();
            let process = Process::open(pid).unwrap();
            send.send(number(&process)).unwrap();
            let _ = ended.recv();
            process.wait().unwrap()
        });
        // The same number is one process's pidfd there, and another's here.
        let opened = opened.recv().unwrap();
        let process = Process::open(here.pid).unwrap();
        assert_eq!(number(&process), opened);
        if opened.is_none() {
            skip(test, "pidfd");
        }
        for grandchild in [&mut there, &mut here] {
            grandchild.end();
            wait_pid(grandchild.pid, Some(LONG)).unwrap().unwrap();
        }
        drop(end);
        assert_eq!(thread.join().unwrap().code(), code);
    });
}

#[test]
fn a_waiter_whose_first_thread_has_ended() {
    let told = match codes_are_shown("a_waiter_whose_first_thread_has_ended") {
        true => "exited with code 7",
        false => "exited, status unknown",
    };
    let mut grandchild = Grandchild::new("wait 7");
    let mut waiter = Told::new(&format!("dead-leader-waiter {}", grandchild.pid));
    waiter.answer();
    grandchild.end();
    assert_eq!(waiter.answer(), told);
}

#[test]
fn execve_by_another_thread_is_no_exit() {
    let child = helper("exec-again");
    let mut processes = common::held(child.id());
    processes.push(Process::open_with(child.id(), Backend::Polling).unwrap());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        for process in &processes {
            assert_eq!(process.try_wait().unwrap(), None, "{process:?}");
        }
    }
}
