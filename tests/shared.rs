//! One process, shared by threads: some wait for it, and another one kills it.

mod common;

use common::{LONG, SHORT, held, helper};
use procwait::{Exit, Process, WaitSet};
use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

#[test]
fn any_number_of_threads_wait_and_one_kills() {
    for index in 0..2 {
        let mut child = helper("ignore-stdin");
        let process = held(child.id()).swap_remove(index);
        let start = Barrier::new(16);
        let exits: Vec<Exit> = thread::scope(|scope| {
            let (process, start) = (&process, &start);
            let waiters: Vec<_> = (0..16)
                .map(|number| {
                    scope.spawn(move || {
                        start.wait();
                        match number % 3 {
                            0 => process.wait().unwrap(),
                            1 => process.wait_timeout(LONG).unwrap().unwrap(),
                            // Many that give up, one after the other.
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
            waiters.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let exit = process.wait().unwrap();
        assert!(exits.iter().all(|it| *it == exit), "{exits:?}");
        assert!(!exit.success());
        child.wait().unwrap();
    }
}

/// The news come to one of them, and its deadline may be now.
#[test]
fn a_waiter_that_gives_up_takes_no_news_with_it() {
    for round in 0..100_u64 {
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        thread::scope(|scope| {
            for number in 0..4 {
                let timeout = Duration::from_micros(100 * number + 10 * round);
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
fn a_look_does_not_wait_for_those_who_sleep() {
    let mut child = helper("wait 7");
    for process in &held(child.id()) {
        let timeout = Duration::from_millis(200);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| process.wait_timeout(timeout).unwrap());
            let mut looks = 0;
            while !sleeper.is_finished() {
                assert_eq!(process.try_wait().unwrap(), None);
                looks += 1;
            }
            assert!(looks > 10, "{looks} looks in {timeout:?}");
        });
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn kill_is_no_error_however_often_and_whatever_has_become_of_it() {
    let mut child = helper("ignore-stdin");
    let processes = held(child.id());
    for _ in 0..2 {
        for process in &processes {
            process.kill().unwrap();
        }
    }
    common::exit_of(child.id());
    let zombies = held(child.id());
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
    let processes = held(child.id());
    child.wait().unwrap();
    for process in &processes {
        process.kill().unwrap();
        assert!(process.try_wait().unwrap().is_some());
    }
}

#[test]
fn a_members_kill() {
    let mut helpers = [helper("ignore-stdin"), helper("wait 1"), helper("exit 2")];
    let [one, two, three] = [0, 1, 2].map(|index: usize| helpers[index].id());
    let mut set = WaitSet::new();
    for helper in &helpers {
        set.insert(helper.id()).unwrap();
        assert!(set.contains(helper.id()));
    }
    assert!(!set.contains(0));
    // By a shared reference, and by other threads.
    thread::scope(|scope| {
        let set = &set;
        scope.spawn(move || set.kill(one).unwrap());
    });
    common::exit_of(three);
    set.kill(three).unwrap();
    for _ in 0..2 {
        let deadline = Instant::now() + LONG;
        let (pid, exit) = set.wait_deadline(deadline).unwrap().unwrap();
        assert!(pid == three || !exit.success());
        assert!(!set.contains(pid));
        let error = set.kill(pid).unwrap_err();
        assert!(matches!(error, procwait::Error::NotFound { pid: named } if named == pid));
    }
    let deadline = Instant::now() + SHORT;
    assert_eq!(set.wait_deadline(deadline).unwrap(), None);
    assert!(Instant::now() >= deadline);
    // Whoever else has a pid is none of ours.
    for pid in [0, std::process::id(), one, u32::MAX] {
        let error = set.kill(pid).unwrap_err();
        assert!(matches!(error, procwait::Error::NotFound { pid: named } if named == pid));
    }
    set.kill(two).unwrap();
    assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, two);
    for helper in &mut helpers {
        helper.wait().unwrap();
    }
}
