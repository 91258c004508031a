//! `Process` on every OS, held by events and by polling.

mod common;

use common::{LONG, SHORT, assert_code, exit_of, held, helper, unused_pid};
use procwait::{Backend, Error, Process};
use std::{
    thread,
    time::{Duration, Instant},
};

#[test]
fn it_runs_and_then_it_has_exited() {
    let mut child = helper("wait 3");
    let processes = held(child.id());
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
fn once_exited_it_always_answers_the_same() {
    let mut child = helper("exit 5");
    let pid = child.id();
    for process in &held(pid) {
        let exit = process.wait().unwrap();
        assert_code(process, exit, 5);
        assert_eq!(process.try_wait().unwrap(), Some(exit));
        assert_eq!(process.wait_timeout(Duration::MAX).unwrap(), Some(exit));
        assert_eq!(process.wait_deadline(Instant::now()).unwrap(), Some(exit));
        assert_eq!(process.wait().unwrap(), exit);
    }
    let processes = held(pid);
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
fn a_passed_deadline_only_looks() {
    let mut child = helper("wait 8");
    let processes = held(child.id());
    let passed = Instant::now();
    for process in &processes {
        assert_eq!(process.wait_deadline(passed).unwrap(), None);
    }
    drop(child.stdin.take());
    exit_of(child.id());
    for process in &processes {
        let exit = process.wait_deadline(passed).unwrap().unwrap();
        assert_code(process, exit, 8);
    }
    child.wait().unwrap();
}

#[test]
fn reaped_before_the_look() {
    let mut child = helper("wait 7");
    let processes = held(child.id());
    child.wait().unwrap();
    for process in &processes {
        let exit = process.try_wait().unwrap().expect("has exited");
        // Its status is known or not, but not another.
        assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
        assert_eq!(process.wait().unwrap(), exit);
    }
}

#[test]
fn it_moves_between_threads() {
    let mut child = helper("wait 2");
    let wait = |process: Process| {
        thread::spawn(move || {
            let exit = process.wait().unwrap();
            assert_code(&process, exit, 2);
        })
    };
    let waiters: Vec<_> = held(child.id()).into_iter().map(wait).collect();
    drop(child.stdin.take());
    for waiter in waiters {
        waiter.join().unwrap();
    }
    child.wait().unwrap();
}

#[test]
fn it_is_send_and_sync() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<Process>();
}

const EVENTS: [Backend; 4] = [
    Backend::PidFd,
    Backend::Kqueue,
    Backend::Psinfo,
    Backend::Handle,
];

#[test]
fn bad_pids() {
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
    for backend in EVENTS {
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
fn a_backend_is_that_backend_or_none() {
    let child = helper("wait 0");
    let mut available = 0;
    for backend in EVENTS.into_iter().chain([Backend::Polling]) {
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
    // Polling, and at most one of the others.
    assert!(matches!(available, 1 | 2));
}

#[test]
fn a_cause_is_told_when_it_had_to_fall_back() {
    let child = helper("wait 0");
    let process = Process::open(child.id()).unwrap();
    let event_based = EVENTS.contains(&process.backend());
    assert_eq!(process.fallback_cause().is_none(), event_based);
}
