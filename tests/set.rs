//! Tests of `WaitSet`, `wait_any` and `wait_all` on every OS.

mod common;

use common::{Grandchild, Helper, LONG, SHORT, exit_of, helper, open_by_all, unused_pid};
use procwait::{Error, Exit, Process, WaitSet, wait_all, wait_any};
use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

/// Helpers that exit with their index as exit code.
fn helpers(count: u32) -> Vec<Helper> {
    (0..count)
        .map(|code| helper(&format!("wait {code}")))
        .collect()
}

fn set_of(helpers: &[Helper]) -> WaitSet {
    let mut set = WaitSet::new();
    for helper in helpers {
        assert!(set.insert(helper.id()).unwrap());
    }
    set
}

#[test]
fn empty_set_returns_at_once() {
    let mut set = WaitSet::new();
    assert!(set.is_empty());
    assert_eq!(set.wait(None).unwrap(), None);
    assert_eq!(set.wait(Some(LONG)).unwrap(), None);
    assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
    assert_eq!(set.pids().count(), 0);
}

#[test]
fn each_exit_is_reported_once() {
    let mut helpers = helpers(20);
    let mut set = set_of(&helpers);
    assert_eq!(set.len(), 20);
    let mut codes: HashMap<_, _> = helpers.iter().map(|helper| helper.id()).zip(0..).collect();
    for helper in &mut helpers {
        drop(helper.stdin.take());
    }
    while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
        assert_eq!(
            exit.code(),
            codes.remove(&pid),
            "reported once, with its own code"
        );
        assert_eq!(set.len(), codes.len());
        assert!(set.pids().all(|pid| codes.contains_key(&pid)));
    }
    assert!(codes.is_empty() && set.is_empty());
    for (code, helper) in (0..).zip(&mut helpers) {
        assert_eq!(helper.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn timeout_is_never_early() {
    let helpers = helpers(3);
    let mut set = set_of(&helpers);
    for timeout in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_micros(1500),
        SHORT,
    ] {
        let start = Instant::now();
        assert_eq!(set.wait(Some(timeout)).unwrap(), None);
        assert!(start.elapsed() >= timeout, "{timeout:?}");
        assert_eq!(set.len(), 3);
    }
}

#[test]
fn zero_timeout_finds_an_exit() {
    let mut helpers = helpers(3);
    let mut set = set_of(&helpers);
    assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
    drop(helpers[1].stdin.take());
    exit_of(helpers[1].id());
    let (pid, exit) = set.wait(Some(Duration::ZERO)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (helpers[1].id(), Some(1)));
    assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
}

#[test]
fn zero_timeout_reports_every_exit() {
    for _ in 0..200 {
        // One helper exits before it is inserted, and one after that.
        let mut helpers = [helper("exit 1"), helper("wait 2"), helper("wait 3")];
        exit_of(helpers[0].id());
        let mut set = set_of(&helpers);
        drop(helpers[1].stdin.take());
        exit_of(helpers[1].id());
        let mut exited: Vec<_> = (0..2)
            .map(|_| set.wait(Some(Duration::ZERO)).unwrap().expect("exited"))
            .map(|(_, exit)| exit.code())
            .collect();
        exited.sort();
        assert_eq!(exited, [Some(1), Some(2)]);
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);

        let pids = helpers.iter().map(|helper| helper.id());
        let all = wait_all(pids, Some(Duration::ZERO)).unwrap();
        assert_eq!(all.running, [helpers[2].id()]);
    }
}

#[test]
fn insert_twice() {
    let mut helpers = helpers(1);
    let mut set = set_of(&helpers);
    assert!(!set.insert(helpers[0].id()).unwrap());
    assert_eq!(set.len(), 1);
    drop(helpers[0].stdin.take());
    assert!(set.wait(Some(LONG)).unwrap().is_some());
    assert_eq!(set.wait(Some(LONG)).unwrap(), None, "reported once");
}

#[test]
fn removed_is_not_reported() {
    let mut helpers = helpers(3);
    let mut set = set_of(&helpers);
    assert!(set.remove(helpers[0].id()));
    assert!(!set.remove(helpers[0].id()));
    // The event of this exit may be pending when the process is removed.
    drop(helpers[1].stdin.take());
    exit_of(helpers[1].id());
    assert!(set.remove(helpers[1].id()));
    assert_eq!(set.pids().collect::<Vec<_>>(), [helpers[2].id()]);
    drop(helpers[0].stdin.take());
    drop(helpers[2].stdin.take());
    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (helpers[2].id(), Some(2)));
    assert_eq!(set.wait(None).unwrap(), None);
}

#[test]
fn remove_keeps_other_pending_events() {
    let mut helpers = helpers(2);
    let mut set = set_of(&helpers);
    drop(helpers[0].stdin.take());
    exit_of(helpers[0].id());
    assert!(set.remove(helpers[1].id()));
    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (helpers[0].id(), Some(0)));
}

#[test]
fn removed_and_inserted_again() {
    let mut helpers = helpers(2);
    let mut set = set_of(&helpers);
    let pid = helpers[0].id();
    assert!(set.remove(pid));
    assert!(set.insert(pid).unwrap());
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    drop(helpers[0].stdin.take());
    assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pid);
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    // The process was reported, but not reaped, so it can be inserted again.
    assert!(set.insert(pid).unwrap());
    let (again, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!((again, exit.code()), (pid, Some(0)));
}

#[test]
fn exited_between_insert_and_wait() {
    let mut helpers = helpers(2);
    let mut set = set_of(&helpers);
    for (code, helper) in (0..).zip(&mut helpers) {
        let status = helper.wait().unwrap(); // closes stdin, and reaps
        assert_eq!(status.code(), Some(code));
    }
    let pids: Vec<_> = helpers.iter().map(|helper| helper.id()).collect();
    let mut remaining = pids.clone();
    while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
        let index = remaining.iter().position(|&remaining| remaining == pid);
        remaining.remove(index.expect("reported once"));
        let code = pids.iter().position(|&member| member == pid).unwrap();
        assert!(exit.status().is_none() || exit.code() == Some(code as i32));
    }
    assert!(remaining.is_empty());
}

#[test]
fn invalid_pids_in_a_set() {
    let mut set = WaitSet::new();
    let unused = unused_pid();
    assert!(matches!(set.insert(0), Err(Error::InvalidPid { pid: 0 })));
    let error = set.insert(unused).unwrap_err();
    assert!(matches!(error, Error::NotFound { pid } if pid == unused));
    assert!(set.is_empty());
}

#[test]
fn children_and_others_together() {
    let mut child = helper("wait 1");
    let mut grandchild = Grandchild::new("wait 2");
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    set.insert(grandchild.pid).unwrap();
    grandchild.end();
    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!(pid, grandchild.pid);
    assert!(exit.status().is_none() || exit.code() == Some(2));
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    drop(child.stdin.take());
    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (child.id(), Some(1)));
}

#[test]
fn more_processes_than_one_system_call_takes() {
    // WaitForMultipleObjects takes at most 64 handles.
    let mut helpers = helpers(200);
    let mut set = set_of(&helpers);
    for helper in &mut helpers {
        drop(helper.stdin.take());
    }
    let mut codes: HashMap<_, _> = helpers.iter().map(|helper| helper.id()).zip(0..).collect();
    while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
        assert_eq!(exit.code(), codes.remove(&pid));
    }
    assert!(codes.is_empty());
}

#[test]
fn set_is_send_and_sync() {
    fn check<T: Send + Sync + std::fmt::Debug>() {}
    check::<WaitSet>();
}

#[test]
fn set_moves_to_another_thread() {
    let mut helpers = helpers(4);
    let mut set = set_of(&helpers);
    drop(helpers[3].stdin.take());
    let waiter = thread::spawn(move || (set.wait(Some(LONG)), set));
    let (exit, set) = waiter.join().unwrap();
    assert_eq!(exit.unwrap().unwrap().0, helpers[3].id());
    drop(helpers[2].stdin.take());
    drop(set);
}

#[test]
fn wait_any_returns_the_first() {
    let mut helpers = helpers(3);
    let pids = || helpers.iter().map(|helper| helper.id());
    assert_eq!(wait_any(pids(), Some(SHORT)).unwrap(), None);
    let pids: Vec<_> = pids().collect();
    drop(helpers[1].stdin.take());
    let (pid, exit) = wait_any(pids, Some(LONG)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (helpers[1].id(), Some(1)));
    assert_eq!(wait_any([], None).unwrap(), None);
    assert!(matches!(
        wait_any([helpers[0].id(), unused_pid()], None),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn wait_all_ignores_duplicates() {
    let mut helpers = helpers(2);
    let unused = unused_pid();
    let [exited, running] = [helpers[0].id(), helpers[1].id()];
    drop(helpers[0].stdin.take());
    let exit = exit_of(exited);
    for timeout in [Duration::ZERO, SHORT] {
        let pids = [unused, exited, running, exited, unused, running];
        let all = wait_all(pids, Some(timeout)).unwrap();
        let exited_pids: Vec<_> = all.exited.iter().map(|&(pid, _)| pid).collect();
        assert_eq!(exited_pids, [unused, exited]);
        assert_eq!(all.exited[1].1, exit);
        assert_eq!(all.running, [running]);
    }
    let all = wait_all([unused, unused], Some(LONG)).unwrap();
    assert_eq!(all.exited.len(), 1);
}

#[test]
fn zero_timeout_finds_each_exit() {
    let mut helpers = helpers(50);
    let pids: Vec<_> = helpers.iter().map(|helper| helper.id()).collect();
    for (index, helper) in helpers.iter_mut().enumerate() {
        if index % 2 == 1 {
            drop(helper.stdin.take());
            exit_of(helper.id());
        }
    }
    let all = wait_all(pids.iter().copied(), Some(Duration::ZERO)).unwrap();
    let exits: HashMap<_, _> = all.exited.iter().copied().collect();
    for (index, &pid) in pids.iter().enumerate() {
        if index % 2 == 0 {
            assert!(all.running.contains(&pid));
        } else {
            assert_eq!(exits[&pid].code(), Some(index as i32));
        }
    }
    let (first, exit) = wait_any(pids.iter().copied(), Some(Duration::ZERO))
        .unwrap()
        .unwrap();
    assert_eq!((first, exit.code()), (pids[1], Some(1)));
}

#[test]
fn wait_all_with_timeout() {
    let mut helpers = helpers(4);
    let unused = unused_pid();
    let pids: Vec<_> = helpers.iter().map(|helper| helper.id()).collect();
    let with_unused = || pids.iter().copied().chain([unused, pids[0]]);

    let all = wait_all(with_unused(), Some(Duration::ZERO)).unwrap();
    assert_eq!(all.running, pids);
    let [(pid, exit)] = all.exited[..] else {
        panic!("{all:?}");
    };
    assert_eq!((pid, exit.status()), (unused, None));

    // These exit one after the other.
    let exited: Vec<(u32, Exit)> = [2, 0]
        .into_iter()
        .map(|index: usize| {
            drop(helpers[index].stdin.take());
            let exit = exit_of(pids[index]);
            assert_eq!(exit.code(), Some(index as i32));
            (pids[index], exit)
        })
        .collect();
    let start = Instant::now();
    let all = wait_all(with_unused(), Some(SHORT)).unwrap();
    assert!(start.elapsed() >= SHORT);
    assert_eq!(all.running, [pids[1], pids[3]]);
    assert_eq!(all.exited.len(), 3);
    assert!(exited.iter().all(|exit| all.exited.contains(exit)));

    for helper in &mut helpers {
        drop(helper.stdin.take());
    }
    let all = wait_all(pids.iter().copied(), Some(LONG)).unwrap();
    assert!(all.running.is_empty());
    assert_eq!(all.exited.len(), 4);
    assert_eq!(wait_all([], None).unwrap().exited, []);
}

#[test]
fn process_is_inserted_once() {
    let mut child = helper("wait 7");
    for process in open_by_all(child.id()) {
        for pid_first in [true, false] {
            let mut set = WaitSet::new();
            if pid_first {
                assert!(set.insert(child.id()).unwrap());
                assert!(!set.insert_process(&process).unwrap(), "{process:?}");
            } else {
                assert!(set.insert_process(&process).unwrap());
                assert!(!set.insert(child.id()).unwrap(), "{process:?}");
            }
            assert!(!set.insert_process(&process).unwrap());
            let another = Process::open(child.id()).unwrap();
            assert!(!set.insert_process(&another).unwrap(), "{process:?}");
            assert_eq!((set.len(), set.pids().count()), (1, 1));
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        }
    }
    // Of two sets, each reports it.
    let process = Process::open(child.id()).unwrap();
    let mut sets = [WaitSet::new(), WaitSet::new()];
    for set in &mut sets {
        assert!(set.insert_process(&process).unwrap());
    }
    drop(child.stdin.take());
    for mut set in sets {
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert_eq!((pid, exit.code()), (child.id(), Some(7)));
    }
}

#[test]
fn inserted_process_has_the_exit_that_the_set_reports() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = open_by_all(child.id()).swap_remove(index);
        let mut set = WaitSet::new();
        set.insert_process(&process).unwrap();
        // A set of it outlives the `Process`, and has no access to it.
        let mut other_set = WaitSet::new();
        other_set.insert_process(&process).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        let reaped = child.wait().unwrap(); // closes stdin
        assert_eq!(reaped.code(), Some(7));
        // Some systems report no status of a reaped process that was polled.
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert_eq!(pid, child.id());
        assert_eq!(process.wait().unwrap(), exit);
        drop(process);
        assert_eq!(other_set.wait(Some(LONG)).unwrap(), Some((pid, exit)));
    }
}

/// The set has been given the pid first. From then on, both have one exit.
#[test]
fn process_of_a_member_has_the_exit_that_the_set_reports() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = open_by_all(child.id()).swap_remove(index);
        let mut set = WaitSet::new();
        set.insert(child.id()).unwrap();
        assert!(!set.insert_process(&process).unwrap());
        let reaped = child.wait().unwrap(); // closes stdin
        assert_eq!(reaped.code(), Some(7));
        assert!(!set.insert_process(&process).unwrap(), "{process:?}");
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert_eq!((pid, exit), (child.id(), process.wait().unwrap()));
        assert!(set.is_empty());
    }
}

#[test]
fn inserted_process_has_exited() {
    let mut child = helper("wait 7");
    let processes = open_by_all(child.id());
    drop(child.stdin.take());
    exit_of(child.id());
    for is_reaped in [false, true] {
        if is_reaped {
            child.wait().unwrap();
        }
        for process in &processes {
            let mut set = WaitSet::new();
            // Reported ones can be inserted again.
            for _ in 0..2 {
                assert!(set.insert_process(process).unwrap());
                assert!(!set.insert_process(process).unwrap(), "{process:?}");
                let found = set.wait(Some(Duration::ZERO)).unwrap();
                assert_eq!(found, Some((child.id(), process.wait().unwrap())));
                assert!(set.is_empty());
            }
            assert!(set.insert_process(process).unwrap());
            assert!(set.remove(child.id()));
            assert_eq!(set.wait(None).unwrap(), None);
        }
    }
}

#[test]
fn inserted_process_is_removed_and_inserted_again() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = open_by_all(child.id()).swap_remove(index);
        let mut set = WaitSet::new();
        for _ in 0..3 {
            assert!(set.insert_process(&process).unwrap());
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
            assert!(set.remove(child.id()));
        }
        assert!(set.insert_process(&process).unwrap());
        set.kill(child.id()).unwrap();
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert_eq!((pid, exit), (child.id(), process.wait().unwrap()));
        assert!(exit.status().is_none() || !exit.success());
        child.wait().unwrap();
    }
}

#[cfg(unix)]
#[allow(unsafe_code)]
mod event_fd {
    use super::*;
    use crate::common::skip;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    /// Whether the set's descriptor is readable within `timeout`. `None` if it has none.
    fn is_readable_within(set: &WaitSet, timeout: Duration) -> Option<bool> {
        Some(polls_as_readable(set.as_event_fd()?, timeout))
    }

    fn polls_as_readable(event: BorrowedFd<'_>, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        let mut fds = [PollFd::new(&event, PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).unwrap() == 1
    }

    fn is_readable(set: &WaitSet) -> Option<bool> {
        is_readable_within(set, Duration::ZERO)
    }

    #[test]
    fn event_fd_is_readable_while_there_is_something_to_return() {
        let mut helpers = helpers(5);
        let mut set = WaitSet::new();
        assert!(set.as_event_fd().is_none());
        set.insert(helpers[0].id()).unwrap();
        let Some(readable) = is_readable(&set) else {
            return skip(
                "event_fd_is_readable_while_there_is_something_to_return",
                "events",
            );
        };
        assert!(!readable);
        for helper in &helpers[1..4] {
            set.insert(helper.id()).unwrap();
        }
        assert_eq!(is_readable_within(&set, SHORT), Some(false));
        for helper in &mut helpers[..3] {
            drop(helper.stdin.take());
            exit_of(helper.id());
        }
        assert_eq!(is_readable_within(&set, LONG), Some(true));
        // The first wait takes the events of all three from the kernel.
        for _ in 0..3 {
            assert_eq!(is_readable_within(&set, LONG), Some(true));
            assert!(set.wait(Some(LONG)).unwrap().is_some());
        }
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(is_readable(&set), Some(false));

        let waker = set.waker();
        assert_eq!(is_readable(&set), Some(false));
        for _ in 0..2 {
            waker.wake();
            assert_eq!(is_readable(&set), Some(true));
            assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
            assert_eq!(is_readable(&set), Some(false));
        }

        // An exit that is known when the process is inserted.
        drop(helpers[4].stdin.take());
        let process = Process::open(helpers[4].id()).unwrap();
        process.wait().unwrap();
        set.insert_process(&process).unwrap();
        assert_eq!(is_readable(&set), Some(true));
        // An exit, and then a wake.
        waker.wake();
        assert!(set.wait(Some(Duration::ZERO)).unwrap().is_some());
        assert_eq!(is_readable(&set), Some(true));
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(is_readable(&set), Some(false));

        set.insert_process(&process).unwrap();
        assert_eq!(is_readable(&set), Some(true));
        set.remove(process.pid());
        assert!(set.remove(helpers[3].id()));
        assert!(set.is_empty());
        assert_eq!(is_readable(&set), Some(false));
        drop(waker);
        assert_eq!(is_readable(&set), Some(true), "the last waker is gone");
        assert_eq!(set.wait(None).unwrap(), None);
        assert_eq!(is_readable(&set), Some(false));
    }

    /// An insertion checks a member, and so finds its exit before the event, or takes its event.
    #[test]
    fn event_fd_follows_what_insertions_find() {
        for is_removed in [false, true] {
            let mut helpers = helpers(3);
            let processes = [0, 1].map(|index: usize| Process::open(helpers[index].id()).unwrap());
            let mut set = WaitSet::new();
            for process in &processes {
                set.insert_process(process).unwrap();
            }
            set.insert(helpers[2].id()).unwrap();
            let Some(event) = set.as_event_fd() else {
                return skip("event_fd_follows_what_insertions_find", "events");
            };
            // SAFETY: the set keeps it open.
            let event = unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) };
            for helper in &mut helpers[..2] {
                drop(helper.stdin.take());
                exit_of(helper.id());
            }
            // On kqueue, this takes the events of the others.
            assert!(!set.insert(helpers[2].id()).unwrap());
            assert!(polls_as_readable(event, Duration::ZERO));
            assert!(!set.insert(helpers[0].id()).unwrap());
            let found = set.wait(Some(LONG)).unwrap().unwrap().0;
            let rest = if found == helpers[0].id() { 1 } else { 0 };
            assert!(!set.insert(helpers[rest].id()).unwrap());
            assert!(polls_as_readable(event, Duration::ZERO));
            if is_removed {
                assert!(set.remove(helpers[rest].id()));
            } else {
                assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, helpers[rest].id());
            }
            assert!(set.remove(helpers[2].id()));
            assert!(set.is_empty());
            assert_eq!(
                is_readable(&set),
                Some(false),
                "although the processes are open"
            );
        }
    }

    #[test]
    fn set_with_a_polled_member_has_no_event_fd() {
        let mut child = helper("wait 7");
        let mut set = WaitSet::new();
        let _waker = set.waker();
        let had_event = set.as_event_fd().is_some();
        let polled = Process::open_with(child.id(), procwait::Backend::Polling).unwrap();
        set.insert_process(&polled).unwrap();
        assert!(set.as_event_fd().is_none());
        drop(child.stdin.take());
        assert!(set.wait(Some(LONG)).unwrap().is_some());
        assert_eq!(set.as_event_fd().is_some(), had_event);
    }
}
