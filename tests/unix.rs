//! Tests that only Unix needs: deaths by signal, stopped processes, ignored children, interrupted
//! waits.

#![cfg(unix)]

mod common;

use common::{
    LONG, SHORT, handle_signal, helper, helper_command, in_subprocess, open_by_all, spawn,
};
use nix::{
    sys::pthread::{Pthread, pthread_kill, pthread_self},
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
    unistd::Pid,
};
use procwait::{Backend, Captured, ChildExt as _, Exit, Process, WaitSet, wait_pid};
use rustix::io::fcntl_dupfd_cloexec;
use std::{
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

fn nix_pid(pid: u32) -> Pid {
    Pid::from_raw(pid as i32)
}

#[test]
fn exit_by_signal() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGUSR1] {
        let mut child = helper("ignore-stdin");
        let processes = open_by_all(child.id());
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
fn core_dump_flag() {
    let directory = std::env::temp_dir().join(format!("procwait-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let mut child = spawn(helper_command("abort").current_dir(&directory));
    let processes = open_by_all(child.id());
    let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
    for process in &processes {
        assert_eq!(process.wait().unwrap(), exit);
    }
    let status = child.wait().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(exit.signal(), Some(Signal::SIGABRT as i32));
    assert_eq!(exit.status(), Some(status), "including the flag");
    if status.core_dumped() {
        assert_eq!(exit.to_string(), "killed by signal 6 (core dumped)");
    } else {
        common::skip("core_dump_flag", "a system that dumps core");
    }
}

#[test]
fn stopped_is_not_exited() {
    let mut child = helper("wait 3");
    let pid = nix_pid(child.id());
    let processes = open_by_all(child.id());
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
fn children_when_sigchld_is_ignored() {
    in_subprocess(|| {
        // SAFETY: ignoring a signal runs no handler.
        unsafe {
            let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
            sigaction(Signal::SIGCHLD, &ignore).unwrap();
        }
        for _ in 0..50 {
            let mut child = helper("wait 7");
            let processes = open_by_all(child.id());
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
                // The kernel reaped it before the wait opened it.
                Err(error) => assert!(matches!(error, procwait::Error::NotFound { .. })),
            }

            // The status is known if the OS reports it to non-parents. Otherwise the error is that
            // of `Child::wait`.
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

/// Sends a signal to the thread that created this, about every 100 µs until it is dropped. The
/// signals interrupt each system call that can be interrupted.
struct SignalFlood {
    ends: Arc<AtomicBool>,
    sender: Option<thread::JoinHandle<()>>,
}

impl SignalFlood {
    #[allow(unsafe_code)]
    fn new() -> SignalFlood {
        // SAFETY: the handler only adds to an atomic.
        unsafe { handle_signal(Signal::SIGALRM, count) };
        let ends = Arc::new(AtomicBool::new(false));
        // In musl, this is a pointer, which is not `Send`.
        let (target, has_ended) = (pthread_self() as usize, ends.clone());
        let sender = thread::spawn(move || {
            while !has_ended.load(Ordering::Relaxed) {
                pthread_kill(target as Pthread, Signal::SIGALRM).unwrap();
                thread::sleep(Duration::from_micros(50));
            }
        });
        let sender = Some(sender);
        SignalFlood { ends, sender }
    }
}

impl Drop for SignalFlood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.sender.take().unwrap().join().unwrap();
    }
}

/// Asserts that the wait times out, not too early, while signals interrupt it. (If each signal
/// restarted the timeout, the wait would never end.)
fn assert_times_out_under_signals<T: std::fmt::Debug + PartialEq>(
    timeout: Duration,
    mut wait: impl FnMut() -> Option<T>,
) {
    let first_start = Instant::now();
    loop {
        let before = SIGNALS.load(Ordering::Relaxed);
        let start = Instant::now();
        assert_eq!(wait(), None);
        let elapsed = start.elapsed();
        let signals = SIGNALS.load(Ordering::Relaxed) - before;
        assert!(elapsed >= timeout, "{elapsed:?}");
        if signals > 10 {
            return;
        }
        // A busy machine sends few. Try again, but not forever.
        let is_long = first_start.elapsed() > LONG;
        assert!(!is_long, "only {signals} signals in {elapsed:?}");
    }
}

/// A program may close a standard stream, and later put it back with `dup2`. That must not replace
/// a descriptor of a wait.
#[test]
#[allow(unsafe_code)]
fn standard_streams_can_be_closed_and_put_back() {
    type Wait = Box<dyn FnOnce() -> Exit>;
    let open: [fn(u32) -> Wait; 3] = [
        |pid| {
            let process = Process::open(pid).unwrap();
            Box::new(move || process.wait_timeout(LONG).unwrap().unwrap())
        },
        |pid| {
            let process = Process::open_with(pid, Backend::Polling).unwrap();
            Box::new(move || process.wait_timeout(LONG).unwrap().unwrap())
        },
        |pid| {
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            Box::new(move || set.wait(Some(LONG)).unwrap().unwrap().1)
        },
    ];
    in_subprocess(|| {
        let saved = fcntl_dupfd_cloexec(std::io::stdin(), 10).unwrap();
        for open in open {
            let mut child = helper("wait 7");
            // SAFETY: nothing uses standard input until it is put back.
            assert_eq!(unsafe { nix::libc::close(0) }, 0);
            let wait = open(child.id());
            // SAFETY: F_GETFD only reads the flags, and fails if the descriptor is closed.
            let flags = unsafe { nix::libc::fcntl(0, nix::libc::F_GETFD) };
            assert_eq!(flags, -1, "descriptor 0 is in use");
            // SAFETY: as above: nothing uses descriptor 0.
            assert_eq!(unsafe { nix::libc::dup2(saved.as_raw_fd(), 0) }, 0);
            drop(child.stdin.take());
            assert_eq!(wait().code(), Some(7));
            child.wait().unwrap();
        }
    });
}

/// The kernel may end a sleep later by the timer slack. If signals come more often than that, a
/// relative sleep that is resumed for the remaining time never ends.
#[test]
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn polling_ends_under_signals_faster_than_the_timer_slack() {
    in_subprocess(|| {
        let slack: nix::libc::c_ulong = 100_000_000; // in nanoseconds
        let _flood = SignalFlood::new();
        // The slack applies to this thread and those that it starts later, not to the sender of the
        // signals.
        // SAFETY: prctl takes numbers.
        if unsafe { nix::libc::prctl(nix::libc::PR_SET_TIMERSLACK, slack) } == -1 {
            return common::skip(
                "polling_ends_under_signals_faster_than_the_timer_slack",
                "timer slack, which gVisor lacks",
            );
        }
        let mut child = helper("ignore-stdin");
        let process = Process::open_with(child.id(), Backend::Polling).unwrap();
        // Many signals come in this time, even in an emulated machine.
        let timeout = Duration::from_secs(1);
        assert_times_out_under_signals(timeout, || process.wait_timeout(timeout).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn eintr_does_not_move_the_deadline() {
    in_subprocess(|| {
        let timeout = Duration::from_millis(300);
        let mut child = helper("ignore-stdin");
        let pid = child.id();
        let processes = open_by_all(pid);
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let _flood = SignalFlood::new();
        assert_times_out_under_signals(timeout, || wait_pid(pid, Some(timeout)).unwrap());
        for process in &processes {
            assert_times_out_under_signals(timeout, || process.wait_timeout(timeout).unwrap());
        }
        assert_times_out_under_signals(timeout, || set.wait(Some(timeout)).unwrap());
        assert_times_out_under_signals(timeout, || child.wait_timeout(timeout).unwrap());
        let captured = &mut Captured::default();
        assert_times_out_under_signals(timeout, || {
            child.output_timeout(captured, timeout).unwrap()
        });

        // A wait without a timeout ends when the process is killed.
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

#[cfg(not(target_os = "openbsd"))] // It has no `waitid` in rustix.
mod slow_signal_handler {
    use super::*;
    use common::has_events;
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::sync::{LazyLock, atomic::AtomicU64};

    /// The child that the handler of `SIGUSR1` kills.
    static VICTIM: AtomicU32 = AtomicU32::new(0);
    /// When that handler last started, in ns since `EPOCH`.
    static HANDLER_STARTED: AtomicU64 = AtomicU64::new(u64::MAX);
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

    const TIMEOUT: Duration = Duration::from_millis(100);

    extern "C" fn kill_and_outlast_the_timeout(_: i32) {
        let started = EPOCH.elapsed().as_nanos() as u64;
        HANDLER_STARTED.store(started, Ordering::Relaxed);
        let victim = nix_pid(VICTIM.load(Ordering::Relaxed));
        kill(victim, Signal::SIGKILL).unwrap();
        let victim = rustix::process::Pid::from_raw(victim.as_raw()).unwrap();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(victim), options).unwrap();
        thread::sleep(TIMEOUT);
    }

    #[test]
    #[allow(unsafe_code)]
    fn exit_while_a_signal_handler_outlasts_the_deadline() {
        in_subprocess(|| {
            LazyLock::force(&EPOCH);
            // SAFETY: the handler only uses atomics, the clock, and system calls.
            unsafe { handle_signal(Signal::SIGUSR1, kill_and_outlast_the_timeout) };
            type Wait = fn(&mut std::process::Child) -> bool;
            let waits: [Wait; 6] = [
                |child| wait_pid(child.id(), Some(TIMEOUT)).unwrap().is_some(),
                |child| {
                    let process = Process::open(child.id()).unwrap();
                    process.wait_timeout(TIMEOUT).unwrap().is_some()
                },
                |child| {
                    let process = Process::open_with(child.id(), Backend::Polling).unwrap();
                    process.wait_timeout(TIMEOUT).unwrap().is_some()
                },
                |child| {
                    let mut set = WaitSet::new();
                    set.insert(child.id()).unwrap();
                    set.wait(Some(TIMEOUT)).unwrap().is_some()
                },
                |child| child.wait_timeout(TIMEOUT).unwrap().is_some(),
                |child| {
                    let captured = &mut Captured::default();
                    child.output_timeout(captured, TIMEOUT).unwrap().is_some()
                },
            ];
            // An emulated process becomes a zombie, which `ChildExt` can reap, only some time after the
            // first check that finds its exit.
            let count = if cfg!(kqueue_on_linux) { 4 } else { 6 };
            for (index, wait) in waits.into_iter().take(count).enumerate() {
                // A polled set checks within its budget, which slow checks exhaust on a busy machine.
                let mut accepted_misses = if index == 3 && !has_events() { 5 } else { 0 };
                loop {
                    let mut child = helper("ignore-stdin");
                    VICTIM.store(child.id(), Ordering::Relaxed);
                    let target = pthread_self() as usize;
                    let sender = thread::spawn(move || {
                        // The signal should come during the sleep of the wait. It tests less before.
                        thread::sleep(TIMEOUT / 5);
                        pthread_kill(target as Pthread, Signal::SIGUSR1).unwrap();
                    });
                    let deadline = (EPOCH.elapsed() + TIMEOUT).as_nanos() as u64;
                    let is_found = wait(&mut child);
                    sender.join().unwrap();
                    child.wait().unwrap();
                    // On a busy machine, the signal can come after the deadline.
                    let is_in_time = HANDLER_STARTED.load(Ordering::Relaxed) < deadline;
                    if is_in_time && is_found {
                        break;
                    } else if is_in_time {
                        assert!(accepted_misses > 0, "wait {index}");
                        accepted_misses -= 1;
                    }
                }
            }
        });
    }
}
