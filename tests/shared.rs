//! Tests of a `Process` that threads share: some wait for it, and another one kills it.

mod common;

use common::{LONG, SHORT, helper, open_by_all};
use procwait::{Exit, Process, WaitSet};
use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

#[test]
fn many_threads_wait_and_one_kills() {
    for index in 0..2 {
        let mut child = helper("ignore-stdin");
        let process = open_by_all(child.id()).swap_remove(index);
        let start = Barrier::new(16);
        let exits: Vec<Exit> = thread::scope(|scope| {
            let (process, start) = (&process, &start);
            let waiters: Vec<_> = (0..16)
                .map(|index| {
                    scope.spawn(move || {
                        start.wait();
                        match index % 3 {
                            0 => process.wait().unwrap(),
                            1 => process.wait_timeout(LONG).unwrap().unwrap(),
                            // Many waits time out, one after the other.
                            _ => loop {
                                if let Some(exit) = process.wait_timeout(SHORT / 10).unwrap() {
                                    break exit;
                                }
                            },
                        }
                    })
                })
                .collect();
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            process.kill().unwrap();
            waiters
                .into_iter()
                .map(|waiter| waiter.join().unwrap())
                .collect()
        });
        let exit = process.wait().unwrap();
        assert!(exits.iter().all(|reported| *reported == exit), "{exits:?}");
        assert!(!exit.success());
        child.wait().unwrap();
    }
}

/// The event wakes one waiter, whose deadline may pass at the same time. The others must get it
/// too.
#[test]
fn timed_out_waiter_does_not_consume_event() {
    for round in 0..100_u64 {
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        thread::scope(|scope| {
            for index in 0..4 {
                let timeout = Duration::from_micros(100 * index + 10 * round);
                let process = &process;
                scope.spawn(move || process.wait_timeout(timeout).unwrap());
            }
            let untimed = scope.spawn(|| process.wait().unwrap());
            drop(child.stdin.take());
            assert_eq!(untimed.join().unwrap().code(), Some(7));
        });
        child.wait().unwrap();
    }
}

#[test]
fn try_wait_does_not_block_on_other_waiters() {
    let mut child = helper("wait 7");
    for process in &open_by_all(child.id()) {
        let timeout = Duration::from_millis(200);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| process.wait_timeout(timeout).unwrap());
            let mut checks = 0;
            while !sleeper.is_finished() {
                assert_eq!(process.try_wait().unwrap(), None);
                checks += 1;
            }
            assert!(checks > 10, "{checks} checks in {timeout:?}");
        });
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn kill_of_an_exited_process_is_ok() {
    let mut child = helper("ignore-stdin");
    let processes = open_by_all(child.id());
    for _ in 0..2 {
        for process in &processes {
            process.kill().unwrap();
        }
    }
    common::exit_of(child.id());
    let zombies = open_by_all(child.id());
    for process in processes.iter().chain(&zombies) {
        assert!(!process.wait().unwrap().success());
        process.kill().unwrap();
    }
    child.wait().unwrap();
    for process in processes.iter().chain(&zombies) {
        process.kill().unwrap();
    }
}

#[test]
fn reaped_before_it_is_killed() {
    let mut child = helper("exit 7");
    let processes = open_by_all(child.id());
    child.wait().unwrap();
    for process in &processes {
        process.kill().unwrap();
        assert!(process.try_wait().unwrap().is_some());
    }
}

#[test]
fn kill_by_the_set() {
    let mut helpers = [helper("ignore-stdin"), helper("wait 1"), helper("exit 2")];
    let [killed, killed_later, exited] = [0, 1, 2].map(|index: usize| helpers[index].id());
    let mut set = WaitSet::new();
    for helper in &helpers {
        set.insert(helper.id()).unwrap();
        assert!(set.contains(helper.id()));
    }
    assert!(!set.contains(0));
    // `kill` takes a shared reference, so other threads can call it.
    thread::scope(|scope| {
        let set = &set;
        scope.spawn(move || set.kill(killed).unwrap());
    });
    common::exit_of(exited);
    set.kill(exited).unwrap();
    for _ in 0..2 {
        let deadline = Instant::now() + LONG;
        let (pid, exit) = set.wait_deadline(deadline).unwrap().unwrap();
        assert!(pid == exited || !exit.success());
        assert!(!set.contains(pid));
        let error = set.kill(pid).unwrap_err();
        assert!(matches!(error, procwait::Error::NotFound { pid: named } if named == pid));
    }
    let deadline = Instant::now() + SHORT;
    assert_eq!(set.wait_deadline(deadline).unwrap(), None);
    assert!(Instant::now() >= deadline);
    // A set kills only its members.
    for pid in [0, std::process::id(), killed, u32::MAX] {
        let error = set.kill(pid).unwrap_err();
        assert!(matches!(error, procwait::Error::NotFound { pid: named } if named == pid));
    }
    set.kill(killed_later).unwrap();
    assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, killed_later);
    for helper in &mut helpers {
        helper.wait().unwrap();
    }
}
