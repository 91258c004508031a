//! Tests with unusual threads: with their own descriptor table, in a process whose main thread has
//! exited, and in one where another thread calls `execve`.

#![cfg(target_os = "linux")]

mod common;

use common::{Controller, Grandchild, LONG, helper, in_subprocess, proc_shows_exit_codes, skip};
use nix::sched::{CloneFlags, unshare};
use procwait::{Backend, Process, wait_pid};
use std::{
    os::fd::AsRawFd as _,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

#[test]
fn thread_with_own_descriptor_table() {
    in_subprocess(|| {
        let test = "thread_with_own_descriptor_table";
        let code = proc_shows_exit_codes(test).then_some(7);
        let (mut unshared, mut shared) = (Grandchild::new("wait 7"), Grandchild::new("wait 9"));
        let (send, opened) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let pid = unshared.pid;
        let raw_fd = |process: &Process| process.as_event_fd().map(|fd| fd.as_raw_fd());
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_FILES).unwrap();
            let process = Process::open(pid).unwrap();
            send.send(raw_fd(&process)).unwrap();
            let _ = ended.recv();
            process.wait().unwrap()
        });
        // The same descriptor number is the pidfd of another process in each of the two threads.
        let opened = opened.recv().unwrap();
        let process = Process::open(shared.pid).unwrap();
        assert_eq!(raw_fd(&process), opened);
        if opened.is_none() {
            skip(test, "pidfd");
        }
        for grandchild in [&mut unshared, &mut shared] {
            grandchild.end();
            wait_pid(grandchild.pid, Some(LONG)).unwrap().unwrap();
        }
        drop(end);
        assert_eq!(thread.join().unwrap().code(), code);
    });
}

#[test]
fn waiting_without_a_main_thread() {
    let expected = if proc_shows_exit_codes("waiting_without_a_main_thread") {
        "exited with code 7"
    } else {
        "exited, status unknown"
    };
    let mut grandchild = Grandchild::new("wait 7");
    let mut waiter = Controller::new(&format!("waiter-without-main-thread {}", grandchild.pid));
    waiter.answer();
    grandchild.end();
    assert_eq!(waiter.answer(), expected);
}

#[test]
fn execve_in_other_thread_is_not_an_exit() {
    let child = helper("exec-in-thread");
    let mut processes = common::open_by_all(child.id());
    processes.push(Process::open_with(child.id(), Backend::Polling).unwrap());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        for process in &processes {
            assert_eq!(process.try_wait().unwrap(), None, "{process:?}");
        }
    }
}
