//! Tests of the kqueue backend, with systems that are emulated on Linux: see `.ci/kqueue`.

#![cfg(kqueue_on_linux)]
#![allow(unsafe_code)]

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;

use common::{
    Controller, Grandchild, LONG, SHORT, add_quirk, assert_success, controller_as_other_user,
    emulates, helper, helper_command, in_a_fork, in_subprocess, started_later,
    waiter_as_other_user,
};
use futures_lite::future::poll_once;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use procwait::{
    Backend, ChildExt as _, CommandExt as _, Error, Identity, Process, WaitSet, wait_pid,
};
use runtimes::AsyncRuntime;
use std::{
    env,
    fs::File,
    io::Read as _,
    mem,
    os::fd::{AsRawFd as _, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

#[test]
fn event_backend_is_kqueue() {
    let child = helper("wait 0");
    let process = Process::open(child.id()).unwrap();
    assert_eq!(process.backend(), Backend::Kqueue);
}

fn is_readable(fd: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, timeout).unwrap() == 1
}

#[test]
fn event_fd_stays_readable() {
    for waits_first in [true, false] {
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        let fd = process.as_event_fd().unwrap();
        assert!(!is_readable(fd, PollTimeout::ZERO));
        drop(child.stdin.take());
        if !waits_first {
            assert!(is_readable(fd, PollTimeout::NONE));
        }
        assert_eq!(process.wait().unwrap().code(), Some(7));
        for _ in 0..3 {
            let fd = process.as_event_fd().unwrap();
            assert!(is_readable(fd, PollTimeout::ZERO));
            assert_eq!(process.try_wait().unwrap().unwrap().code(), Some(7));
        }
    }
}

#[test]
fn event_fd_of_a_zombie_is_readable() {
    let mut grandchild = Grandchild::new("wait 7");
    grandchild.end();
    common::exit_of(grandchild.pid);
    let process = Process::open(grandchild.pid).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(7));
    // The other systems refuse to register a zombie, so it is polled.
    assert_eq!(
        process.as_event_fd().is_some(),
        emulates("freebsd") || emulates("dragonfly")
    );
    if let Some(fd) = process.as_event_fd() {
        assert!(is_readable(fd, PollTimeout::ZERO));
    }
}

#[test]
fn no_events_lost_without_ev_receipt() {
    in_subprocess(|| {
        add_quirk("receiptless");
        let mut helpers: Vec<_> = (0..4).map(|code| helper(&format!("wait {code}"))).collect();
        // Making the waker takes an event from the kernel, and so does the descriptor.
        for uses_waker in [true, false] {
            let mut child = helper("wait 7");
            let mut set = WaitSet::new();
            set.insert(child.id()).unwrap();
            drop(child.stdin.take());
            common::exit_of(child.id());
            let _waker = uses_waker.then(|| set.waker());
            let event = set.as_event_fd().unwrap();
            assert!(is_readable(event, PollTimeout::ZERO));
            let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert_eq!((pid, exit.code()), (child.id(), Some(7)));
        }

        let mut set = WaitSet::new();
        for helper in &helpers[..3] {
            set.insert(helper.id()).unwrap();
        }
        for helper in &mut helpers[..2] {
            drop(helper.stdin.take());
            common::exit_of(helper.id());
        }
        // The kernel returns one event from the call that inserts, and the other from the one that
        // removes.
        set.insert(helpers[3].id()).unwrap();
        assert!(set.remove(helpers[2].id()));
        for _ in 0..2 {
            let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            let code = helpers
                .iter()
                .position(|helper| helper.id() == pid)
                .unwrap();
            assert_eq!(exit.code(), Some(code as i32));
        }
        assert_eq!(set.pids().collect::<Vec<_>>(), [helpers[3].id()]);

        let process = Process::open(helpers[3].id()).unwrap();
        assert_eq!(process.backend(), Backend::Kqueue);
        drop(helpers[3].stdin.take());
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().1.code(), Some(3));
        assert_eq!(process.wait().unwrap().code(), Some(3));
        // The call that registers a zombie may return its event.
        let process = Process::open(helpers[3].id()).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(3));
    });
}

/// OpenBSD ends a program that reads the process table after it has pledged not to.
#[test]
fn child_is_waited_for_without_the_process_table() {
    if !emulates("openbsd") {
        return;
    }
    in_subprocess(|| {
        add_quirk("pledged");
        let mut child = helper("wait 7");
        assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
        let output = helper_command("write 1000 7").output_timeout(LONG).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(7), 1000));
        let output = helper_command("ignore-stdin")
            .output_timeout(SHORT)
            .unwrap();
        assert!(output.timed_out);
    });
}

#[test]
fn child_that_exits_before_registration_needs_no_process_table() {
    if !emulates("openbsd") {
        return;
    }
    in_subprocess(|| {
        add_quirk("pledged,late");
        let mut child = helper("wait 7");
        assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
        let output = helper_command("write 1000 7").output_timeout(LONG).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(7), 1000));
    });
}

#[test]
fn denied_null_signal() {
    in_subprocess(|| {
        add_quirk("capsicum");
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        assert_eq!(process.backend(), Backend::Kqueue);
        let mut set = WaitSet::new();
        set.insert(child.id()).unwrap();
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
        drop(child.stdin.take());
        assert_eq!(process.wait().unwrap().code(), Some(7));
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
    });
}

#[test]
fn exit_during_registration() {
    in_subprocess(|| {
        add_quirk("in-flux");
        if !emulates("freebsd") {
            return; // Only FreeBSD's kernel loses the event.
        }
        let mut grandchild = Grandchild::new("wait 7");
        grandchild.end();
        while wait_pid(grandchild.pid, Some(SHORT)).unwrap().is_none() {}
        let process = Process::open(grandchild.pid).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(7));
        let mut set = WaitSet::new();
        set.insert(grandchild.pid).unwrap();
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
    });
}

/// Apple's kernel does not report the exit until the tracer has reaped the process, so the wait has
/// to check from time to time. The time of short waits must add up for that.
#[test]
fn exit_of_a_traced_process_is_found() {
    let deadline = Instant::now() + LONG;
    let mut grandchild = Grandchild::new("wait 7");
    let pid = grandchild.pid;
    let process = Process::open(pid).unwrap();
    let untimed = Process::open(pid).unwrap();
    let (mut set, mut untimed_set) = (WaitSet::new(), WaitSet::new());
    set.insert(pid).unwrap();
    untimed_set.insert(pid).unwrap();
    let mut tracer = Controller::new(&format!("trace {pid}"));
    assert_eq!(tracer.answer(), "traced");
    grandchild.end();
    let short = Duration::from_millis(5);
    let exit = loop {
        if let Some(exit) = process.wait_timeout(short).unwrap() {
            break exit;
        }
        assert!(Instant::now() < deadline);
    };
    assert_eq!(exit.code(), Some(7));
    let (_, exit) = loop {
        if let Some(found) = set.wait(Some(short)).unwrap() {
            break found;
        }
        assert!(Instant::now() < deadline);
    };
    assert_eq!(exit.code(), Some(7));
    assert_eq!(untimed.wait().unwrap().code(), Some(7));
    assert_eq!(untimed_set.wait(None).unwrap().unwrap().1.code(), Some(7));
    tracer.end();
}

#[test]
fn exit_of_a_traced_process_is_awaited() {
    for runtime in [AsyncRuntime::TokioCurrentThread, AsyncRuntime::AsyncIo] {
        let mut grandchild = Grandchild::new("wait 7");
        let process = Process::open(grandchild.pid).unwrap();
        let mut tracer = Controller::new(&format!("trace {}", grandchild.pid));
        assert_eq!(tracer.answer(), "traced");
        let exit = runtime.block_on(async {
            let mut wait = runtime.wait(&process);
            assert!(poll_once(&mut wait).await.is_none());
            grandchild.end();
            wait.await.unwrap()
        });
        assert_eq!(exit.code(), Some(7));
        tracer.end();
    }
}

#[test]
fn exit_of_a_traced_process_that_was_reaped() {
    let mut grandchild = Grandchild::new("wait 7");
    let process = Process::open(grandchild.pid).unwrap();
    let mut tracer = Controller::new(&format!("trace {}", grandchild.pid));
    assert_eq!(tracer.answer(), "traced");
    grandchild.end();
    while wait_pid(grandchild.pid, Some(SHORT)).unwrap().is_none() {}
    // Apple's kernel reports the exit after the tracer has reaped the process.
    tracer.end();
    grandchild.reap();
    assert_eq!(process.wait().unwrap().code(), Some(7));
}

#[test]
fn exit_after_many_checks_has_its_status() {
    let mut child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    // Wait longer than the interval of the checks for exits that Apple's kernel does not report.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    }
    drop(child.stdin.take());
    assert_eq!(process.wait().unwrap().code(), Some(7));
    assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
}

#[test]
fn process_of_another_user() {
    let Some(mut waiter) = waiter_as_other_user("process_of_another_user") else {
        return;
    };
    let mut grandchild = Grandchild::new("wait 7");
    let backend = waiter.request(&format!("open {}", grandchild.pid));
    assert_eq!(
        backend,
        if emulates("netbsd") {
            "polling"
        } else {
            "kqueue"
        }
    );
    grandchild.end();
    // Linux, on which the emulation runs, does not show the exit code of another user's zombie.
    grandchild.reap();
    let answer = if emulates("apple") || emulates("netbsd") {
        "exited, status unknown"
    } else {
        "exited with code 7"
    };
    assert_eq!(waiter.request("wait"), answer);
}

#[test]
fn identity_of_another_users_process() {
    let test = "identity_of_another_users_process";
    let Some(mut other_user) = controller_as_other_user(test, "identities") else {
        return;
    };
    let mut grandchild = Grandchild::new("wait 7");
    let identity = Process::open(grandchild.pid).unwrap().identity().unwrap();
    let seen = other_user.request(&format!("of {}", grandchild.pid));
    if emulates("apple") {
        assert_eq!(seen, "none");
        let seen = other_user.request(&format!("open {identity}"));
        assert!(seen.starts_with("open_identity failed"), "{seen}");
    } else {
        assert_eq!(seen, identity.to_string());
        let seen = other_user.request(&format!("open {identity}"));
        assert_eq!(seen, grandchild.pid.to_string());
    }
    grandchild.end();
    wait_pid(grandchild.pid, None).unwrap().unwrap();
    grandchild.reap();
    let seen = other_user.request(&format!("open {identity}"));
    assert_eq!(seen, format!("process {} not found", grandchild.pid));
}

/// The model's boot is a time on each system, as OpenBSD's.
#[test]
fn identity_after_the_clock_was_set() {
    in_subprocess(|| {
        let set_boot_time = |microseconds: u64| {
            // SAFETY: no other thread accesses the environment: a subprocess runs only one test.
            unsafe { env::set_var("PROCWAIT_BOOT_TIME", microseconds.to_string()) };
        };
        set_boot_time(1_700_000_000_000_000);
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        let identity = process.identity().unwrap();
        let started_later = |microseconds| started_later(&identity, microseconds);
        let open = |identity: &Identity| Process::open_identity(identity).unwrap_err();
        // Only another boot time can have been rounded differently.
        assert!(Process::open_identity(&identity).is_ok());
        assert!(matches!(open(&started_later(1)), Error::NotFound { .. }));

        set_boot_time(1_700_000_000_000_001);
        assert_eq!(process.identity().as_ref(), Some(&identity));
        let identity_now = Process::open(child.id()).unwrap().identity().unwrap();
        assert_ne!(identity_now, identity);
        assert!(Process::open_identity(&identity_now).is_ok());
        assert!(matches!(open(&identity), Error::Os { .. }));
        assert!(matches!(open(&started_later(1)), Error::Os { .. }));
        assert!(matches!(open(&started_later(2)), Error::NotFound { .. }));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(matches!(open(&identity), Error::NotFound { .. }));
    });
}

/// A forked child does not inherit a kqueue: its descriptor is unused in the child, or refers to
/// another file.
#[test]
fn forked_child_polls() {
    in_subprocess(|| {
        let mut child = helper("wait 7");
        let pid = child.id();
        let mut opened = Some(Process::open(pid).unwrap());
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let raw_fd = opened.as_ref().unwrap().as_event_fd().unwrap().as_raw_fd();
        let forked = in_a_fork(|| {
            let process = opened.take().unwrap();
            // SAFETY: the emulated kqueue is inherited, and the crate does not close it in a
            // forked child.
            unsafe { nix::libc::close(raw_fd) };
            let file = File::open("/dev/null").unwrap();
            assert_eq!(file.as_raw_fd(), raw_fd);
            assert!(process.as_event_fd().is_none());
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
            assert_eq!(process.backend(), Backend::Polling);
            drop((process, mem::take(&mut set)));
            assert_eq!((&file).read(&mut [0]).unwrap(), 0, "the file was closed");
        });
        assert_success(forked);
        let process = opened.unwrap();
        drop(child.stdin.take());
        assert_eq!(process.wait().unwrap().code(), Some(7));
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
    });
}

/// Without a kqueue, all members are polled.
#[test]
fn set_without_a_kqueue_does_not_spin() {
    in_subprocess(|| {
        let mut child = helper("ignore-stdin");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let mut set = WaitSet::new();
        set.insert(child.id()).unwrap();
        let timeout = Duration::from_millis(500);
        for _ in 0..2 {
            let (start, cpu) = (Instant::now(), common::thread_cpu_time());
            assert_eq!(set.wait(Some(timeout)).unwrap(), None);
            let cpu = common::thread_cpu_time() - cpu;
            assert!(cpu < start.elapsed() / 2, "it spins: {cpu:?}");
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        child.kill().unwrap();
        let (_, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert!(matches!(exit.signal(), Some(9) | None));
    });
}

/// One thread takes the event from the kqueue. Another one, which finds the process reaped before
/// the first has recorded the event, must not record that its status is unknown.
#[test]
fn status_is_known_to_all_threads_if_the_process_is_reaped_at_once() {
    for _ in 0..200 {
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| while process.try_wait().unwrap().is_none() {});
            }
            scope.spawn(|| process.wait().unwrap());
            drop(child.stdin.take());
            child.wait().unwrap();
        });
        assert_eq!(process.wait().unwrap().code(), Some(7));
    }
}
