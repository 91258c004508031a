//! Tests of `wait_pid` on every OS.

mod common;

use common::{LONG, SHORT, helper, unused_pid};
use procwait::{Error, wait_pid};
use std::{
    io, thread,
    time::{Duration, Instant},
};

#[test]
fn exit_codes() {
    for code in [0, 1, 3, 127, 255] {
        let mut child = helper(&format!("exit {code}"));
        let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
        assert_eq!(exit.code(), Some(code));
        assert_eq!(exit.to_string(), format!("exited with code {code}"));
        assert_eq!(exit.status(), Some(child.wait().unwrap()));
    }
}

#[test]
fn timeout_is_never_early() {
    let child = helper("wait 0");
    for timeout in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_micros(1500),
        SHORT,
        Duration::from_nanos(20_000_001),
    ] {
        let start = Instant::now();
        assert_eq!(wait_pid(child.id(), Some(timeout)).unwrap(), None);
        assert!(start.elapsed() >= timeout, "{timeout:?}");
    }
}

#[test]
fn duration_max_never_times_out() {
    for timeout in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(60 * 24 * 60 * 60), // more milliseconds than fit into 32 bits
    ] {
        let mut child = helper("wait 4");
        let pid = child.id();
        let waiter = thread::spawn(move || wait_pid(pid, Some(timeout)));
        drop(child.stdin.take());
        let exit = waiter.join().unwrap().unwrap().unwrap();
        assert_eq!(exit.code(), Some(4));
        child.wait().unwrap();
    }
}

#[test]
fn wait_does_not_reap() {
    let mut child = helper("exit 9");
    for timeout in [Some(LONG), None, Some(Duration::ZERO)] {
        let exit = wait_pid(child.id(), timeout).unwrap().unwrap();
        assert_eq!(exit.code(), Some(9));
    }
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn killed_then_waited_for() {
    let mut child = helper("ignore-stdin");
    assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
    child.kill().unwrap();
    let exit = wait_pid(child.id(), None).unwrap().unwrap();
    assert_eq!(exit.status(), Some(child.wait().unwrap()));
}

#[test]
fn waiting_for_self_times_out() {
    assert_eq!(wait_pid(std::process::id(), Some(SHORT)).unwrap(), None);
}

#[test]
fn invalid_pids() {
    let mut invalid = vec![0];
    if cfg!(unix) {
        invalid.extend([i32::MAX as u32 + 1, u32::MAX, -5_i32 as u32]);
    }
    for pid in invalid {
        let error = wait_pid(pid, None).unwrap_err();
        assert!(matches!(error, Error::InvalidPid { pid: named } if named == pid));
        assert!(error.to_string().contains(&pid.to_string()));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn unused_pids_are_not_found() {
    for pid in [unused_pid(), i32::MAX as u32] {
        for timeout in [None, Some(Duration::ZERO)] {
            let error = wait_pid(pid, timeout).unwrap_err();
            assert!(matches!(error, Error::NotFound { pid: named } if named == pid));
            assert!(error.to_string().contains(&pid.to_string()));
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
        }
    }
}

#[test]
fn many_threads_wait_for_one_process() {
    let mut child = helper("wait 6");
    let pid = child.id();
    let waiters: Vec<_> = (0..32)
        .map(|_| thread::spawn(move || wait_pid(pid, Some(LONG))))
        .collect();
    drop(child.stdin.take());
    for waiter in waiters {
        let exit = waiter.join().unwrap().unwrap().unwrap();
        assert_eq!(exit.code(), Some(6));
    }
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn many_threads_with_a_process_each() {
    let waiters: Vec<_> = (0..32)
        .map(|code| {
            thread::spawn(move || {
                let mut child = helper(&format!("wait {code}"));
                drop(child.stdin.take());
                let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
                assert_eq!(exit.code(), Some(code));
                child.wait().unwrap();
            })
        })
        .collect();
    for waiter in waiters {
        waiter.join().unwrap();
    }
}
