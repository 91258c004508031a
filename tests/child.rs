//! Tests of `ChildExt` on every OS.

mod common;

use common::{LONG, SHORT, exit_of, helper};
use procwait::ChildExt as _;
use std::time::{Duration, Instant};

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
