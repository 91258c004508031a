//! Tests of `Process` on every OS, by events and by polling.

mod common;

use common::{LONG, SHORT, assert_code, exit_of, helper, open_by_all, unused_pid};
use procwait::{Backend, Error, Process};
use std::{
    thread,
    time::{Duration, Instant},
};

#[test]
fn try_wait_before_and_after_the_exit() {
    let mut child = helper("wait 3");
    let processes = open_by_all(child.id());
    for process in &processes {
        assert_eq!(process.pid(), child.id());
        assert_eq!(process.try_wait().unwrap(), None);
        let start = Instant::now();
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert!(start.elapsed() >= SHORT);
        let deadline = Instant::now() + SHORT;
        assert_eq!(process.wait_deadline(deadline).unwrap(), None);
        assert!(Instant::now() >= deadline);
    }
    drop(child.stdin.take());
    for process in &processes {
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert_code(process, exit, 3);
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn every_wait_returns_the_same_exit() {
    let mut child = helper("exit 5");
    let pid = child.id();
    for process in &open_by_all(pid) {
        let exit = process.wait().unwrap();
        assert_code(process, exit, 5);
        assert_eq!(process.try_wait().unwrap(), Some(exit));
        assert_eq!(process.wait_timeout(Duration::MAX).unwrap(), Some(exit));
        assert_eq!(process.wait_deadline(Instant::now()).unwrap(), Some(exit));
        assert_eq!(process.wait().unwrap(), exit);
    }
    let processes = open_by_all(pid);
    for process in &processes {
        process.wait().unwrap();
    }
    child.wait().unwrap();
    for process in &processes {
        let exit = process.wait().unwrap();
        assert_code(process, exit, 5);
        assert_eq!(process.pid(), pid);
    }
}

#[test]
fn past_deadline_checks_once() {
    let mut child = helper("wait 8");
    let processes = open_by_all(child.id());
    let past = Instant::now();
    for process in &processes {
        assert_eq!(process.wait_deadline(past).unwrap(), None);
    }
    drop(child.stdin.take());
    exit_of(child.id());
    for process in &processes {
        let exit = process.wait_deadline(past).unwrap().unwrap();
        assert_code(process, exit, 8);
    }
    child.wait().unwrap();
}

#[test]
fn reaped_before_check() {
    let mut child = helper("wait 7");
    let processes = open_by_all(child.id());
    child.wait().unwrap();
    for process in &processes {
        let exit = process.try_wait().unwrap().expect("has exited");
        // The status may be unknown, but never wrong.
        assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
        assert_eq!(process.wait().unwrap(), exit);
    }
}

#[test]
fn process_moves_between_threads() {
    let mut child = helper("wait 2");
    let wait = |process: Process| {
        thread::spawn(move || {
            let exit = process.wait().unwrap();
            assert_code(&process, exit, 2);
        })
    };
    let waiters: Vec<_> = open_by_all(child.id()).into_iter().map(wait).collect();
    drop(child.stdin.take());
    for waiter in waiters {
        waiter.join().unwrap();
    }
    child.wait().unwrap();
}

#[test]
fn process_is_send_and_sync() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<Process>();
}

const EVENT_BACKENDS: [Backend; 3] = [Backend::PidFd, Backend::Kqueue, Backend::Handle];

#[test]
fn invalid_and_unused_pids() {
    let unused = unused_pid();
    let open = |pid| {
        [
            Process::open(pid),
            Process::open_with(pid, Backend::Polling),
        ]
    };
    for opened in open(0) {
        assert!(matches!(opened, Err(Error::InvalidPid { pid: 0 })));
    }
    for opened in open(unused) {
        assert!(matches!(opened, Err(Error::NotFound { pid }) if pid == unused));
    }
    for backend in EVENT_BACKENDS {
        let opened = Process::open_with(unused, backend);
        assert!(
            matches!(
                opened,
                Err(Error::NotFound { .. } | Error::Unsupported { .. })
            ),
            "{opened:?}"
        );
    }
}

#[test]
fn open_with_does_not_fall_back() {
    let child = helper("wait 0");
    let mut available = 0;
    for backend in EVENT_BACKENDS.into_iter().chain([Backend::Polling]) {
        match Process::open_with(child.id(), backend) {
            Ok(process) => {
                assert_eq!(process.backend(), backend);
                assert!(process.fallback_cause().is_none());
                available += 1;
            }
            Err(Error::Unsupported { backend: named }) => assert_eq!(named, backend),
            Err(error) => panic!("{error}"),
        }
    }
    // Polling, and on most systems one event backend.
    assert!(matches!(available, 1 | 2));
}

#[test]
fn fallback_cause_is_kept() {
    let child = helper("wait 0");
    let process = Process::open(child.id()).unwrap();
    let event_based = EVENT_BACKENDS.contains(&process.backend());
    assert_eq!(process.fallback_cause().is_none(), event_based);
}
