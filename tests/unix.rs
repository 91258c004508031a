//! What only Unix has: signals, stopped processes, ignored children.

#![cfg(unix)]

mod common;

use common::{LONG, SHORT, alone, held, helper, helper_command, spawn};
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

/// Sends a signal to the thread that made it, every 100 µs or so, which interrupts every system
/// call that can be interrupted. Until it is dropped.
struct SignalFlood {
    ends: Arc<AtomicBool>,
    sender: Option<thread::JoinHandle<()>>,
}

impl SignalFlood {
    #[allow(unsafe_code)]
    fn new() -> SignalFlood {
        let action = SigAction::new(
            SigHandler::Handler(count),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing but add to an atomic number. There is no SA_RESTART.
        unsafe { sigaction(Signal::SIGALRM, &action) }.unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        // A pointer in musl, which does not go to another thread.
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

/// Neither too short nor without end, were the timeout to start again with each
/// signal; and there were signals.
fn under_signals<T: std::fmt::Debug + PartialEq>(
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

/// A program may close a standard stream, and put it back later: that must not replace what a
/// wait depends on.
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
    alone(|| {
        let saved = fcntl_dupfd_cloexec(std::io::stdin(), 10).unwrap();
        for open in open {
            let mut child = helper("wait 7");
            // SAFETY: nothing uses standard input meanwhile.
            assert_eq!(unsafe { nix::libc::close(0) }, 0);
            let wait = open(child.id());
            // SAFETY: asks about a number.
            let flags = unsafe { nix::libc::fcntl(0, nix::libc::F_GETFD) };
            assert_eq!(flags, -1, "descriptor 0 is in use");
            // SAFETY: as above.
            assert_eq!(unsafe { nix::libc::dup2(saved.as_raw_fd(), 0) }, 0);
            drop(child.stdin.take());
            assert_eq!(wait().code(), Some(7));
            child.wait().unwrap();
        }
    });
}

/// The kernel cannot wake a sleep more precisely than the timer slack, so with signals that
/// come faster, a relative sleep that is resumed for the remaining time never ends.
#[test]
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn polling_ends_under_signals_faster_than_the_timer_slack() {
    alone(|| {
        let slack: nix::libc::c_ulong = 100_000_000; // in nanoseconds
        let _flood = SignalFlood::new();
        // SAFETY: takes numbers. It is for this thread, and those that it starts from
        // now on: the sender of the signals is there already.
        if unsafe { nix::libc::prctl(nix::libc::PR_SET_TIMERSLACK, slack) } == -1 {
            return common::skip(
                "polling_ends_under_signals_faster_than_the_timer_slack",
                "timer slack (gVisor has none)",
            );
        }
        let mut child = helper("ignore-stdin");
        let process = Process::open_with(child.id(), Backend::Polling).unwrap();
        // Long enough for many signals in an emulated machine, too.
        let timeout = Duration::from_secs(1);
        under_signals(timeout, || process.wait_timeout(timeout).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn eintr_does_not_move_the_deadline() {
    alone(|| {
        let timeout = Duration::from_millis(300);
        let mut child = helper("ignore-stdin");
        let pid = child.id();
        let processes = held(pid);
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let _flood = SignalFlood::new();
        under_signals(timeout, || wait_pid(pid, Some(timeout)).unwrap());
        for process in &processes {
            under_signals(timeout, || process.wait_timeout(timeout).unwrap());
        }
        under_signals(timeout, || set.wait(Some(timeout)).unwrap());
        under_signals(timeout, || child.wait_timeout(timeout).unwrap());
        let captured = &mut Captured::default();
        under_signals(timeout, || child.output_timeout(captured, timeout).unwrap());

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
