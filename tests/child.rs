//! Tests of `ChildExt` on every OS.

mod common;

use common::{LONG, SHORT, exit_of, helper};
use procwait::{ChildExt as _, WaitSet};
use std::{
    thread,
    time::{Duration, Instant},
};

#[test]
fn wait_timeout_closes_stdin_and_reaps() {
    // The helper would never exit if its standard input stayed open.
    let mut child = helper("wait 3");
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(child.stdin.is_none());
    assert_eq!(child.try_wait().unwrap(), Some(status));
    #[cfg(unix)]
    assert!(matches!(
        procwait::wait_pid(child.id(), Some(Duration::ZERO)),
        Err(procwait::Error::NotFound { .. })
    ));
}

#[test]
fn second_wait_returns_the_same() {
    let mut child = helper("exit 4");
    let status = child.wait_timeout(Duration::MAX).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), Some(status));
    assert_eq!(child.wait_deadline(Instant::now()).unwrap(), Some(status));
    assert_eq!(child.wait().unwrap(), status);
}

#[test]
fn timeout_is_never_early() {
    let mut child = helper("ignore-stdin");
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        let start = Instant::now();
        assert_eq!(child.wait_timeout(timeout).unwrap(), None);
        assert!(start.elapsed() >= timeout);
    }
    let deadline = Instant::now() + SHORT;
    assert_eq!(child.wait_deadline(deadline).unwrap(), None);
    assert!(Instant::now() >= deadline);
    child.kill().unwrap();
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert!(!status.success());
}

#[test]
fn zero_timeout_finds_an_exit() {
    let mut child = helper("exit 6");
    exit_of(child.id());
    let status = child.wait_timeout(Duration::ZERO).unwrap().unwrap();
    assert_eq!(status.code(), Some(6));
}

#[test]
fn process_is_waited_for_and_killed_from_other_threads() {
    let mut child = helper("ignore-stdin");
    let process = child.process().unwrap();
    assert_eq!(process.pid(), child.id());
    assert!(child.stdin.is_some(), "it is left open");
    let exits = thread::scope(|scope| {
        let waiters = [(); 2].map(|()| scope.spawn(|| process.wait().unwrap()));
        scope.spawn(|| process.kill().unwrap());
        waiters.map(|waiter| waiter.join().unwrap())
    });
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert!(!status.success());
    for exit in exits {
        assert_eq!(exit.status(), Some(status));
    }
}

#[test]
fn process_is_killed_while_the_child_is_waited_for() {
    let mut child = helper("ignore-stdin");
    let process = child.process().unwrap();
    let killer = thread::spawn(move || process.kill().unwrap());
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert!(!status.success());
    killer.join().unwrap();
}

#[test]
fn process_of_an_exited_child_has_its_exit() {
    for timeout in [Duration::ZERO, LONG] {
        let mut child = helper("exit 6");
        exit_of(child.id());
        let process = child.process().unwrap();
        let exit = process.wait_timeout(timeout).unwrap().unwrap();
        assert_eq!(exit.code(), Some(6));
        process.kill().unwrap();
        // Whether or not this has reaped the child, its status is not lost.
        let status = child.wait_timeout(timeout).unwrap().unwrap();
        assert_eq!(status.code(), Some(6));
        assert_eq!(process.wait().unwrap(), exit);
    }
}

#[test]
fn processes_of_one_child_are_the_same() {
    let mut child = helper("wait 7");
    let processes = [child.process().unwrap(), child.process().unwrap()];
    let mut set = WaitSet::new();
    assert!(set.insert_process(&processes[0]).unwrap());
    assert!(!set.insert_process(&processes[1]).unwrap());
    drop(child.stdin.take());
    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (child.id(), Some(7)));
    for process in &processes {
        assert_eq!(process.wait().unwrap(), exit);
    }
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
