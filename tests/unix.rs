//! What only Unix has: signals, stopped processes, ignored children.

#![cfg(unix)]

mod common;

use common::{LONG, SHORT, alone, held, helper, helper_command, spawn};
use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};
use procwait::{Captured, ChildExt as _, WaitSet, wait_pid};
use std::{
    os::unix::process::ExitStatusExt as _,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

fn nix_pid(pid: u32) -> Pid {
    Pid::from_raw(pid as i32)
}

#[test]
fn signals() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGUSR1] {
        let mut child = helper("ignore-stdin");
        let processes = held(child.id());
        kill(nix_pid(child.id()), signal).unwrap();
        let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
        assert_eq!(exit.signal(), Some(signal as i32));
        assert_eq!(exit.code(), None);
        assert_eq!(
            exit.to_string(),
            format!("killed by signal {}", signal as i32)
        );
        for process in &processes {
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
    let processes = held(child.id());
    let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
    for process in &processes {
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
    let processes = held(child.id());
    let assert_alive = |state| {
        assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None, "{state}");
        for process in &processes {
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
    for process in &processes {
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
            let processes = held(child.id());
            drop(child.stdin.take());
            for process in &processes {
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

#[cfg(not(any(target_os = "illumos", target_os = "solaris")))]
use nix::libc::setitimer;
// The libc crate does not have it there.
#[cfg(any(target_os = "illumos", target_os = "solaris"))]
#[allow(unsafe_code)]
unsafe extern "C" {
    fn setitimer(
        which: i32,
        new: *const nix::libc::itimerval,
        old: *mut nix::libc::itimerval,
    ) -> i32;
}

/// From now on there is a signal every 100 µs, which interrupts what can be
/// interrupted.
#[allow(unsafe_code)]
fn storm() {
    // SAFETY: the handler does nothing but add to an atomic number, and the timer
    // is read from a place that outlives the call. There is no SA_RESTART.
    unsafe {
        let handler = SigHandler::Handler(count);
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        sigaction(Signal::SIGALRM, &action).unwrap();
        let interval = nix::libc::timeval {
            tv_sec: 0,
            tv_usec: 100,
        };
        let timer = nix::libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        // ITIMER_REAL, which the libc crate does not have for Android.
        let set = setitimer(0, &timer, std::ptr::null_mut());
        assert_eq!(set, 0);
    }
}

/// Neither too short nor without end, were the timeout to start again with each
/// signal; and there were signals.
fn in_the_storm<T: std::fmt::Debug + PartialEq>(
    timeout: Duration,
    wait: impl FnOnce() -> Option<T>,
) {
    let before = SIGNALS.load(Ordering::Relaxed);
    let start = Instant::now();
    assert_eq!(wait(), None);
    let waited = start.elapsed();
    let signals = SIGNALS.load(Ordering::Relaxed) - before;
    assert!(waited >= timeout, "{waited:?}");
    assert!(signals > 10, "only {signals} signals in {waited:?}");
}

#[test]
fn a_storm_of_signals_neither_cuts_a_wait_short_nor_stretches_it() {
    alone(|| {
        let timeout = Duration::from_millis(300);
        let mut child = helper("ignore-stdin");
        let pid = child.id();
        let processes = held(pid);
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        storm();
        in_the_storm(timeout, || wait_pid(pid, Some(timeout)).unwrap());
        for process in &processes {
            in_the_storm(timeout, || process.wait_timeout(timeout).unwrap());
        }
        in_the_storm(timeout, || set.wait(Some(timeout)).unwrap());
        in_the_storm(timeout, || child.wait_timeout(timeout).unwrap());
        let captured = &mut Captured::default();
        in_the_storm(timeout, || child.output_timeout(captured, timeout).unwrap());

        // Without a timeout, until it is killed.
        let killer = thread::spawn(move || {
            let before = SIGNALS.load(Ordering::Relaxed);
            while SIGNALS.load(Ordering::Relaxed) - before < 1000 {
                thread::yield_now();
            }
            kill(nix_pid(pid), Signal::SIGKILL).unwrap();
        });
        for process in &processes {
            assert_eq!(process.wait().unwrap().signal(), Some(9));
        }
        assert_eq!(wait_pid(pid, None).unwrap().unwrap().signal(), Some(9));
        assert_eq!(set.wait(None).unwrap().unwrap().1.signal(), Some(9));
        let status = child.wait_timeout(Duration::MAX).unwrap().unwrap();
        assert_eq!(status.signal(), Some(9));
        killer.join().unwrap();
    });
}
