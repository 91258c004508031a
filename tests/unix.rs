//! What only Unix has: signals, stopped processes, ignored children.

#![cfg(unix)]

mod common;

use common::{LONG, SHORT, alone, held, helper, helper_command, spawn};
use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};
use procwait::{ChildExt as _, wait_pid};
use std::{
    os::unix::process::ExitStatusExt as _,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

fn nix_pid(pid: u32) -> Pid {
    Pid::from_raw(pid as i32)
}

#[test]
fn signals() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGHUP] {
        let mut child = helper("ignore-stdin");
        let mut processes = held(child.id());
        kill(nix_pid(child.id()), signal).unwrap();
        let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
        assert_eq!(exit.signal(), Some(signal as i32));
        assert_eq!(exit.code(), None);
        assert_eq!(
            exit.to_string(),
            format!("killed by signal {}", signal as i32)
        );
        for process in &mut processes {
            assert_eq!(process.wait().unwrap(), exit);
        }
        assert_eq!(exit.status(), Some(child.wait().unwrap()));
    }
}

#[test]
fn the_core_dump_flag() {
    let directory = std::env::temp_dir().join(format!("procwait-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let mut child = spawn(helper_command("abort").current_dir(&directory));
    let mut processes = held(child.id());
    let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
    for process in &mut processes {
        assert_eq!(process.wait().unwrap(), exit);
    }
    let status = child.wait().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(exit.signal(), Some(Signal::SIGABRT as i32));
    assert_eq!(exit.status(), Some(status), "the flag included");
    if status.core_dumped() {
        assert_eq!(exit.to_string(), "killed by signal 6 (core dumped)");
    } else {
        common::skip("the_core_dump_flag", "this system dumps no core to set it");
    }
}

#[test]
fn stopped_is_not_exited() {
    let mut child = helper("wait 3");
    let pid = nix_pid(child.id());
    let mut processes = held(child.id());
    let mut assert_alive = |state| {
        assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None, "{state}");
        for process in &mut processes {
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{state}");
        }
    };
    kill(pid, Signal::SIGSTOP).unwrap();
    assert_alive("stopping");
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    assert_alive("stopped");
    kill(pid, Signal::SIGCONT).unwrap();
    assert_alive("continued");
    drop(child.stdin.take());
    for process in &mut processes {
        assert_eq!(process.wait().unwrap().code(), Some(3));
    }
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
#[allow(unsafe_code)]
fn ignored_children_reap_themselves() {
    alone(|| {
        // SAFETY: ignoring a signal runs no handler.
        unsafe {
            let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
            sigaction(Signal::SIGCHLD, &ignore).unwrap();
        }
        for _ in 0..50 {
            let mut child = helper("wait 7");
            let mut processes = held(child.id());
            drop(child.stdin.take());
            for process in &mut processes {
                let exit = process.wait_timeout(LONG).unwrap().unwrap();
                assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
            }

            let mut child = helper("wait 7");
            let pid = child.id();
            let waiter = thread::spawn(move || wait_pid(pid, Some(LONG)));
            drop(child.stdin.take());
            match waiter.join().unwrap() {
                Ok(exit) => assert!(matches!(exit.unwrap().code(), Some(7) | None)),
                // It was gone before the look.
                Err(error) => assert!(matches!(error, procwait::Error::NotFound { .. })),
            }

            // The status, if the OS tells it to others than the parent, or the
            // error that `Child::wait` has.
            let mut child = helper("wait 7");
            match child.wait_timeout(LONG) {
                Ok(status) => assert_eq!(status.unwrap().code(), Some(7)),
                Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::ECHILD)),
            }
        }
    });
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
#[allow(unsafe_code)]
fn signals_neither_cut_a_wait_short_nor_stretch_it() {
    alone(|| {
        // SAFETY: the handler does nothing but add to an atomic number. Without
        // SA_RESTART every call that can be interrupted is.
        unsafe {
            let handler = SigHandler::Handler(count);
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            sigaction(Signal::SIGUSR1, &action).unwrap();
        }
        let mut child = helper("wait 3");
        let us = nix::sys::pthread::pthread_self();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    nix::sys::pthread::pthread_kill(us, Signal::SIGUSR1).unwrap();
                    thread::sleep(Duration::from_micros(200));
                }
            });
            let timeout = Duration::from_millis(300);
            for process in &mut held(child.id()) {
                let before = SIGNALS.load(Ordering::Relaxed);
                let start = Instant::now();
                assert_eq!(process.wait_timeout(timeout).unwrap(), None);
                let waited = start.elapsed();
                let signals = SIGNALS.load(Ordering::Relaxed) - before;
                assert!(waited >= timeout, "{waited:?}");
                // Were the timeout to start again with each signal, the wait
                // would last until the signals end, which is never.
                assert!(signals > 10, "only {signals} signals in {waited:?}");
            }
            let start = Instant::now();
            assert_eq!(wait_pid(child.id(), Some(timeout)).unwrap(), None);
            assert!(start.elapsed() >= timeout);
            stop.store(true, Ordering::Relaxed);
        });
        child.kill().unwrap();
        child.wait().unwrap();
    });
}
