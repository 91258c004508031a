//! What only kqueue has, on the systems that are played on Linux: see `.ci/kqueue`.

#![cfg(kqueue_on_linux)]
#![allow(unsafe_code)]

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;

use common::{
    Grandchild, LONG, SHORT, Told, alone, helper, helper_command, plays, stranger, with_habit,
};
use futures_lite::future::poll_once;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::waitpid,
    unistd::{ForkResult, fork},
};
use procwait::{Backend, ChildExt as _, CommandExt as _, Process, WaitSet, wait_pid};
use runtimes::On;
use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsRawFd as _, BorrowedFd},
    time::{Duration, Instant},
};

#[test]
fn it_waits_by_kqueue() {
    let child = helper("wait 0");
    let process = Process::open(child.id()).unwrap();
    assert_eq!(process.backend(), Backend::Kqueue);
}

fn is_readable(fd: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, timeout).unwrap() == 1
}

#[test]
fn once_readable_it_stays_readable_whoever_waits() {
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
fn readable_if_it_had_exited_when_it_was_opened() {
    let mut grandchild = Grandchild::new("wait 7");
    grandchild.end();
    common::exit_of(grandchild.pid);
    let process = Process::open(grandchild.pid).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(7));
    // Others have to look at it.
    assert_eq!(
        process.as_event_fd().is_some(),
        plays("freebsd") || plays("dragonfly")
    );
    if let Some(fd) = process.as_event_fd() {
        assert!(is_readable(fd, PollTimeout::ZERO));
    }
}

#[test]
fn the_news_of_others_are_not_lost_where_there_are_no_receipts() {
    alone(|| {
        with_habit("receiptless");
        let mut helpers: Vec<_> = (0..4).map(|code| helper(&format!("wait {code}"))).collect();
        let mut set = WaitSet::new();
        for helper in &helpers[..3] {
            set.insert(helper.id()).unwrap();
        }
        for helper in &mut helpers[..2] {
            drop(helper.stdin.take());
            common::exit_of(helper.id());
        }
        // One is handed out by the insertion, the other one by the removal.
        set.insert(helpers[3].id()).unwrap();
        assert!(set.remove(helpers[2].id()));
        for _ in 0..2 {
            let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            let code = helpers.iter().position(|it| it.id() == pid).unwrap();
            assert_eq!(exit.code(), Some(code as i32));
        }
        assert_eq!(set.pids().collect::<Vec<_>>(), [helpers[3].id()]);

        let process = Process::open(helpers[3].id()).unwrap();
        assert_eq!(process.backend(), Backend::Kqueue);
        drop(helpers[3].stdin.take());
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().1.code(), Some(3));
        assert_eq!(process.wait().unwrap().code(), Some(3));
        // A zombie's event may be handed out while it is registered.
        let process = Process::open(helpers[3].id()).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(3));
    });
}

/// On OpenBSD, a program that has pledged not to read the process table is ended when it does.
#[test]
fn child_is_waited_for_without_the_process_table() {
    if !plays("openbsd") {
        return;
    }
    alone(|| {
        with_habit("pledged");
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
fn child_that_exits_before_it_is_registered_needs_no_process_table() {
    if !plays("openbsd") {
        return;
    }
    alone(|| {
        with_habit("pledged,late");
        let mut child = helper("wait 7");
        assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
        let output = helper_command("write 1000 7").output_timeout(LONG).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(7), 1000));
    });
}

#[test]
fn a_sandbox_that_denies_the_null_signal_is_no_failure() {
    alone(|| {
        with_habit("capsicum");
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
fn an_exit_that_falls_into_the_registration() {
    alone(|| {
        with_habit("in-flux");
        if !plays("freebsd") {
            return; // Only that kernel loses it.
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

/// By Apple's kernel not at all, while the tracer has not reaped it. Many short waits
/// count as a long one.
#[test]
fn the_exit_of_a_traced_process_is_found() {
    let end_of_all = Instant::now() + LONG;
    let mut grandchild = Grandchild::new("wait 7");
    let pid = grandchild.pid;
    let process = Process::open(pid).unwrap();
    let untimed = Process::open(pid).unwrap();
    let (mut set, mut untimed_set) = (WaitSet::new(), WaitSet::new());
    set.insert(pid).unwrap();
    untimed_set.insert(pid).unwrap();
    let mut tracer = Told::new(&format!("trace {pid}"));
    assert_eq!(tracer.answer(), "traced");
    grandchild.end();
    let short = Duration::from_millis(5);
    let exit = loop {
        if let Some(exit) = process.wait_timeout(short).unwrap() {
            break exit;
        }
        assert!(Instant::now() < end_of_all);
    };
    assert_eq!(exit.code(), Some(7));
    let (_, exit) = loop {
        if let Some(found) = set.wait(Some(short)).unwrap() {
            break found;
        }
        assert!(Instant::now() < end_of_all);
    };
    assert_eq!(exit.code(), Some(7));
    assert_eq!(untimed.wait().unwrap().code(), Some(7));
    assert_eq!(untimed_set.wait(None).unwrap().unwrap().1.code(), Some(7));
    tracer.end();
}

#[test]
fn the_exit_of_a_traced_process_is_awaited() {
    for on in [On::TokioOfOneThread, On::AsyncIo] {
        let mut grandchild = Grandchild::new("wait 7");
        let process = Process::open(grandchild.pid).unwrap();
        let mut tracer = Told::new(&format!("trace {}", grandchild.pid));
        assert_eq!(tracer.answer(), "traced");
        let exit = on.block_on(async {
            let mut wait = on.wait(&process);
            assert!(poll_once(&mut wait).await.is_none());
            grandchild.end();
            wait.await.unwrap()
        });
        assert_eq!(exit.code(), Some(7));
        tracer.end();
    }
}

#[test]
fn the_exit_of_a_traced_process_that_has_been_reaped() {
    let mut grandchild = Grandchild::new("wait 7");
    let process = Process::open(grandchild.pid).unwrap();
    let mut tracer = Told::new(&format!("trace {}", grandchild.pid));
    assert_eq!(tracer.answer(), "traced");
    grandchild.end();
    while wait_pid(grandchild.pid, Some(SHORT)).unwrap().is_none() {}
    // Now it is withheld, and told when the tracer lets go.
    assert!(!plays("apple") || process.try_wait().unwrap().is_none());
    tracer.end();
    grandchild.reap();
    assert_eq!(process.wait().unwrap().code(), Some(7));
}

#[test]
fn an_exit_after_many_looks_has_its_status() {
    let mut child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    // Beyond the time after which Apple's kernel is not trusted.
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
fn a_strangers_process() {
    let Some(mut waiter) = stranger("a_strangers_process") else {
        return;
    };
    let mut grandchild = Grandchild::new("wait 7");
    let backend = waiter.ask(&format!("open {}", grandchild.pid));
    assert_eq!(backend, if plays("netbsd") { "polling" } else { "kqueue" });
    grandchild.end();
    // Or Linux shows its code to nobody.
    grandchild.reap();
    let told = match plays("apple") || plays("netbsd") {
        true => "exited, status unknown",
        false => "exited with code 7",
    };
    assert_eq!(waiter.ask("wait"), told);
}

/// No kqueue is inherited: its number is free in the child, or another file's.
#[test]
fn a_forked_child_polls() {
    alone(|| {
        let mut child = helper("wait 7");
        let pid = child.id();
        let process = Process::open(pid).unwrap();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let number = process.as_event_fd().unwrap().as_raw_fd();
        // SAFETY: there is no other thread.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => {
                let status = waitpid(child, None).unwrap();
                assert!(
                    matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)),
                    "{status:?}"
                );
            }
            ForkResult::Child => {
                // SAFETY: in this model the number is still open, and nobody else closes it.
                unsafe { nix::libc::close(number) };
                let file = File::open("/dev/null").unwrap();
                assert_eq!(file.as_raw_fd(), number);
                assert!(process.as_event_fd().is_none());
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
                assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
                assert_eq!(process.backend(), Backend::Polling);
                drop((process, set));
                assert_eq!((&file).read(&mut [0]).unwrap(), 0, "closed");
                std::process::exit(0);
            }
        }
        drop(child.stdin.take());
        assert_eq!(process.wait().unwrap().code(), Some(7));
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
    });
}
