//! Tests of `ChildExt::stop`, and of `ChildExt::process` for children that were reaped, on Unix.

#![cfg(unix)]

mod common;

use common::{
    Helper, LONG, SHORT, exit_of, helper, helper_command, ready_helper, spawn, wait_until_stopped,
};
use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use procwait::{ChildExt as _, Error, Process, wait_pid};
use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

fn nix_pid(child: &Helper) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// Stops the child with SIGSTOP, and waits until it has stopped.
fn suspend(child: &Helper) {
    kill(nix_pid(child), Signal::SIGSTOP).unwrap();
    wait_until_stopped(child);
}

#[track_caller]
fn assert_reaped(child: &mut Helper, status: ExitStatus) {
    assert_eq!(child.try_wait().unwrap(), Some(status));
    let found = wait_pid(child.id(), Some(Duration::ZERO));
    assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
}

#[test]
fn stop_with_sigterm_reaps() {
    for grace in [LONG, Duration::MAX] {
        let mut child = ready_helper("on-term 5", "ready");
        let status = child.stop(grace).unwrap();
        assert_eq!(status.code(), Some(5));
        assert_reaped(&mut child, status);
    }
}

#[test]
fn stop_kills_after_the_grace_and_not_earlier() {
    for grace in [Duration::ZERO, SHORT, Duration::from_millis(100)] {
        let mut child = ready_helper("on-term ignore", "ready");
        let start = Instant::now();
        let status = child.stop(grace).unwrap();
        assert!(start.elapsed() >= grace);
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert_reaped(&mut child, status);
    }
}

#[test]
fn stop_sends_sigterm_even_without_grace() {
    // SIGTERM is delivered before SIGKILL only by chance. But one of them ends the child.
    let mut child = ready_helper("on-term 5", "ready");
    let status = child.stop(Duration::ZERO).unwrap();
    assert!(status.code() == Some(5) || status.signal() == Some(libc::SIGKILL));
}

#[test]
fn stop_ends_a_stopped_child() {
    let mut child = ready_helper("on-term 5", "ready");
    suspend(&child);
    assert_eq!(child.stop(LONG).unwrap().code(), Some(5));

    let mut child = ready_helper("on-term ignore", "ready");
    suspend(&child);
    assert_eq!(child.stop(SHORT).unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn stop_closes_stdin() {
    let mut child = ready_helper("ignore-term wait 6", "ready");
    let start = Instant::now();
    assert_eq!(child.stop(LONG).unwrap().code(), Some(6));
    assert!(start.elapsed() < LONG);
    assert!(child.stdin.is_none());
}

/// Otherwise, a child that reads to the end would take the end for the reason to exit.
#[test]
fn stop_sends_sigterm_before_it_closes_stdin() {
    for _ in 0..50 {
        let mut child = ready_helper("on-term-wait 6", "ready");
        assert_eq!(child.stop(LONG).unwrap().code(), Some(5));
        assert!(child.stdin.is_none());
    }
}

#[test]
fn stop_of_a_child_without_pipes() {
    let mut command = helper_command("ignore-stdin");
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()));
    let status = child.stop(LONG).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

#[test]
fn stop_of_an_exited_child() {
    for grace in [Duration::ZERO, LONG] {
        let mut child = helper("exit 3");
        exit_of(child.id());
        let status = child.stop(grace).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_reaped(&mut child, status);
    }
}

#[test]
fn stop_of_a_reaped_child_returns_its_status_again() {
    let mut child = helper("wait 3");
    let status = child.wait().unwrap();
    for grace in [Duration::ZERO, LONG] {
        assert_eq!(child.stop(grace).unwrap(), status);
    }
    let mut child = helper("ignore-stdin");
    let status = child.stop(LONG).unwrap();
    assert_eq!(child.stop(LONG).unwrap(), status);
    assert_eq!(child.wait_timeout(Duration::ZERO).unwrap(), Some(status));
}

#[test]
fn stop_of_a_child_reaped_elsewhere() {
    let mut child = helper("exit 3");
    waitpid(nix_pid(&child), None).unwrap();
    for grace in [Duration::ZERO, LONG] {
        let error = child.stop(grace).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
    }
}

#[test]
fn child_reaped_elsewhere_while_it_is_stopped() {
    for _ in 0..20 {
        let mut child = ready_helper("on-term 5", "ready");
        let pid = nix_pid(&child);
        let process = Process::open(child.id()).unwrap();
        let reaper = thread::spawn(move || waitpid(pid, None));
        // The status is known to this thread if it reaps the child, or if the OS reports it.
        match child.stop(LONG) {
            Ok(status) => assert_eq!(status.code(), Some(5)),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
        }
        // If it was not stopped, this makes the test fail instead of hang.
        process.kill().unwrap();
        match reaper.join().unwrap() {
            Ok(status) => assert_eq!(status, WaitStatus::Exited(pid, 5)),
            Err(error) => assert_eq!(error, nix::Error::ECHILD),
        }
    }
}

/// The kernel reaps the children.
#[test]
#[allow(unsafe_code)]
fn stop_when_sigchld_is_ignored() {
    common::in_subprocess(|| {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        for (command, grace) in [("on-term 5", LONG), ("on-term ignore", SHORT)] {
            let mut child = ready_helper(command, "ready");
            match child.stop(grace) {
                Ok(status) if grace == LONG => assert_eq!(status.code(), Some(5)),
                Ok(status) => assert_eq!(status.signal(), Some(libc::SIGKILL)),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
            }
            // It has exited, and the kernel may still be reaping it.
            let found = loop {
                match wait_pid(child.id(), Some(Duration::ZERO)) {
                    Ok(Some(_)) => thread::yield_now(),
                    found => break found,
                }
            };
            assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
        }
    });
}

#[test]
fn process_of_a_reaped_child_is_an_error() {
    let mut child = helper("wait 3");
    child.wait().unwrap();
    child.process().unwrap_err();

    let mut child = helper("wait 3");
    child.wait_timeout(LONG).unwrap().unwrap();
    child.process().unwrap_err();

    let mut child = helper("exit 3");
    waitpid(nix_pid(&child), None).unwrap();
    let error = child.process().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
}

/// It reports the exit even if the child is reaped by its parent only later.
#[test]
fn process_outlives_the_reap() {
    let mut child = helper("wait 3");
    let process = child.process().unwrap();
    let status = child.wait().unwrap();
    let exit = process.wait().unwrap();
    assert!(
        exit.status().is_none_or(|known| known == status),
        "{exit:?}"
    );
    assert!(!process.send_signal(0).unwrap());
    process.kill().unwrap();
}

#[test]
fn process_of_a_stopped_child() {
    let mut child = ready_helper("on-term 5", "ready");
    suspend(&child);
    let process = child.process().unwrap();
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    assert_eq!(process.stop(LONG).unwrap().unwrap().code(), Some(5));
    assert_eq!(child.wait().unwrap().code(), Some(5));
}
