//! Tests of sending signals and of `stop`, on Unix.

#![cfg(unix)]

mod common;

use common::{LONG, SHORT, helper, open_by_all, ready_helper};
use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use procwait::{Error, Process, WaitSet};
use std::time::{Duration, Instant};

#[test]
fn send_signal_reports_exited() {
    let mut child = helper("ignore-stdin");
    let processes = open_by_all(child.id());
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    for process in &processes {
        assert!(process.send_signal(0).unwrap(), "it is running");
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    }
    assert!(set.send_signal(child.id(), 0).unwrap());
    assert!(processes[0].send_signal(libc::SIGUSR1).unwrap());
    common::exit_of(child.id());
    // A zombie has exited, which is reported even if the signal is invalid.
    for signal in [0, libc::SIGTERM, 1_000] {
        for process in processes.iter().chain(&open_by_all(child.id())) {
            assert!(!process.send_signal(signal).unwrap());
        }
        assert!(!set.send_signal(child.id(), signal).unwrap());
    }
    let reaped = open_by_all(child.id());
    child.wait().unwrap();
    for process in processes.iter().chain(&reaped) {
        assert!(!process.send_signal(libc::SIGTERM).unwrap());
    }
    for process in &processes {
        assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGUSR1));
    }
    assert!(!set.send_signal(child.id(), libc::SIGTERM).unwrap());
    set.wait(None).unwrap().unwrap();
    let error = set.send_signal(child.id(), 0).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
}

#[test]
fn invalid_signal_is_einval() {
    let child = helper("wait 0");
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    let check = |error: Error, signal| match error {
        Error::Os { call, pid, source } => {
            assert!(["kill", "pidfd_send_signal"].contains(&call), "{call}");
            assert_eq!(pid, child.id());
            assert_eq!(source.raw_os_error(), Some(libc::EINVAL), "{signal}");
        }
        error => panic!("{error}"),
    };
    for signal in [-1, 1_000, i32::MIN, i32::MAX] {
        for process in &open_by_all(child.id()) {
            check(process.send_signal(signal).unwrap_err(), signal);
            assert_eq!(process.try_wait().unwrap(), None);
        }
        check(set.send_signal(child.id(), signal).unwrap_err(), signal);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn real_time_signal() {
    for index in 0..2 {
        let mut child = helper("ignore-stdin");
        let process = open_by_all(child.id()).swap_remove(index);
        let signal = libc::SIGRTMIN() + 1;
        assert!(process.send_signal(signal).unwrap());
        assert_eq!(process.wait().unwrap().signal(), Some(signal));
        child.wait().unwrap();
    }
}

#[test]
fn stop_with_sigterm() {
    for index in 0..2 {
        let mut child = ready_helper("on-term 5", "ready");
        let process = open_by_all(child.id()).swap_remove(index);
        let exit = process.stop(LONG).unwrap().unwrap();
        assert_eq!(exit.code(), Some(5));
        assert_eq!(process.stop(Duration::ZERO).unwrap(), Some(exit));
        child.wait().unwrap();
    }
}

#[test]
fn stop_continues_a_stopped_process() {
    for index in 0..2 {
        let mut child = ready_helper("on-term 5", "ready");
        let process = open_by_all(child.id()).swap_remove(index);
        kill(Pid::from_raw(child.id() as i32), Signal::SIGSTOP).unwrap();
        assert_eq!(process.stop(LONG).unwrap().unwrap().code(), Some(5));
        child.wait().unwrap();
    }
}

#[test]
fn stop_escalates_to_sigkill() {
    for grace in [Duration::ZERO, SHORT, Duration::from_millis(100)] {
        for index in 0..2 {
            let mut child = ready_helper("on-term ignore", "ready");
            let process = open_by_all(child.id()).swap_remove(index);
            let start = Instant::now();
            assert_eq!(process.stop(grace).unwrap(), None);
            assert!(start.elapsed() >= grace);
            assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL));
            child.wait().unwrap();
        }
    }
}

#[test]
fn stop_of_an_exited_process() {
    let mut child = helper("exit 3");
    let processes = open_by_all(child.id());
    common::exit_of(child.id());
    for process in &processes {
        let exit = process.stop(Duration::ZERO).unwrap().unwrap();
        assert_eq!(exit.code(), Some(3));
    }
    let processes = open_by_all(child.id());
    child.wait().unwrap();
    for process in &processes {
        assert!(process.stop(LONG).unwrap().is_some());
    }
}

#[test]
fn stop_from_many_threads() {
    let mut child = ready_helper("on-term 5", "ready");
    let process = Process::open(child.id()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| process.wait().unwrap());
        let stoppers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| process.stop(LONG).unwrap()))
            .collect();
        let exit = waiter.join().unwrap();
        assert_eq!(exit.code(), Some(5));
        for stopper in stoppers {
            assert_eq!(stopper.join().unwrap(), Some(exit));
        }
    });
    child.wait().unwrap();
}

/// The process sleeps in `vfork`, and may not die of SIGKILL before its child has exited.
#[test]
#[cfg(target_os = "linux")]
fn process_in_uninterruptible_sleep() {
    use std::io::BufReader;
    let mut child = helper("vfork");
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let grandchild: u32 = common::read_line(&mut stdout).parse().unwrap();
    let process = Process::open(child.id()).unwrap();
    let start = Instant::now();
    let stopped = process.stop(SHORT).unwrap();
    assert!(start.elapsed() < LONG);
    assert_eq!(stopped, None, "it ignores SIGTERM");
    drop(child.stdin.take());
    let grandchild = Process::open(grandchild);
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL));
    if let Ok(grandchild) = grandchild {
        grandchild.wait().unwrap();
    }
    child.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn process_of_another_user() {
    let Some(mut waiter) = common::waiter_as_other_user("process_of_another_user") else {
        return;
    };
    let mut child = helper("wait 7");
    waiter.request(&format!("open {}", child.id()));
    let denied = format!("kill failed for process {}: ", child.id());
    for signal in [0, libc::SIGTERM, libc::SIGKILL] {
        let answer = waiter.request(&format!("signal {signal}"));
        assert!(answer.starts_with(&denied), "{answer}");
        assert!(answer.contains("(os error 1)"), "EPERM: {answer}");
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(waiter.request("signal 15"), "false");
}
