//! Tests of `SetWaker`, which ends a wait of a set from another thread.

mod common;

use common::{Helper, LONG, SHORT, exit_of, helper};
use procwait::{Exit, Process, SetWaker, WaitSet};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// More than an epoll returns at once. Wine starts processes slowly.
const COUNT: usize = if cfg!(windows) { 70 } else { 300 };

/// Asserts that a wait takes its whole time, so that no wake is pending.
#[track_caller]
fn assert_not_woken(set: &mut WaitSet) {
    let start = Instant::now();
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    assert!(start.elapsed() >= SHORT);
}

/// Asserts that a wait returns `None`, because of a wake.
#[track_caller]
fn assert_woken(set: &mut WaitSet) {
    let start = Instant::now();
    assert_eq!(set.wait(Some(LONG)).unwrap(), None);
    assert!(start.elapsed() < LONG, "it timed out");
}

#[track_caller]
fn next_exit(set: &mut WaitSet) -> (u32, Exit) {
    set.wait(Some(LONG)).unwrap().expect("an exit, not a wake")
}

#[test]
fn waker_is_clone_debug_send_sync() {
    fn check<T: Clone + std::fmt::Debug + Send + Sync + 'static>() {}
    check::<SetWaker>();
}

#[test]
fn wake_ends_a_wait_under_way() {
    let child = helper("wait 0");
    for has_member in [true, false] {
        for round in 0..200 {
            let mut set = WaitSet::new();
            if has_member {
                set.insert(child.id()).unwrap();
            }
            let waker = set.waker();
            let waiter = thread::spawn(move || {
                assert_woken(&mut set);
                assert_eq!(set.len(), usize::from(has_member));
            });
            if round % 2 == 0 {
                thread::yield_now(); // It may be waiting now.
            }
            waker.wake();
            waiter.join().unwrap();
        }
    }
}

#[test]
fn wakes_before_a_wait_are_one() {
    let child = helper("wait 0");
    let mut set = WaitSet::new();
    let waker = set.waker();
    set.insert(child.id()).unwrap();
    assert_not_woken(&mut set);
    for _ in 0..3 {
        for wakes in [1, 2, 1_000] {
            for _ in 0..wakes {
                waker.clone().wake();
            }
            assert_woken(&mut set);
            assert_not_woken(&mut set);
        }
        waker.wake();
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
        waker.wake();
        assert_eq!(set.wait_deadline(Instant::now()).unwrap(), None);
        assert_not_woken(&mut set);
    }
}

#[test]
fn wakes_before_and_after_an_exit_are_one() {
    let mut helpers = [helper("wait 0"), helper("wait 1"), helper("wait 2")];
    let mut set = WaitSet::new();
    let waker = set.waker();
    for helper in &mut helpers[..2] {
        set.insert(helper.id()).unwrap();
        drop(helper.stdin.take());
        exit_of(helper.id());
    }
    set.insert(helpers[2].id()).unwrap();
    waker.wake();
    next_exit(&mut set);
    waker.wake();
    next_exit(&mut set);
    waker.wake();
    assert_woken(&mut set);
    assert_not_woken(&mut set);
}

#[test]
fn exits_before_a_wake_come_first() {
    let mut helpers: Vec<_> = (0..COUNT)
        .map(|code| helper(&format!("wait {}", code % 200)))
        .collect();
    let mut set = WaitSet::new();
    let waker = set.waker();
    let mut codes = HashMap::new();
    for (index, helper) in helpers.iter_mut().enumerate() {
        set.insert(helper.id()).unwrap();
        codes.insert(helper.id(), index as i32 % 200);
    }
    let running = helper("wait 0");
    set.insert(running.id()).unwrap();
    for helper in &mut helpers {
        drop(helper.stdin.take());
    }
    for helper in &helpers {
        exit_of(helper.id());
    }
    waker.wake();
    for _ in 0..COUNT {
        let (pid, exit) = next_exit(&mut set);
        assert_eq!(exit.code(), codes.remove(&pid));
    }
    assert_woken(&mut set);
    assert_not_woken(&mut set);
}

/// As for a supervisor that restarts whatever exits, while all that it starts fails at once.
#[test]
fn exits_without_end_do_not_delay_a_wake() {
    let mut set = WaitSet::new();
    let waker = set.waker();
    let mut children = HashMap::new();
    let mut start = |set: &mut WaitSet| {
        let mut child = helper("exit 1");
        exit_of(child.id());
        assert!(
            set.insert_process(&Process::open(child.id()).unwrap())
                .unwrap()
        );
        child.wait().unwrap();
        children.insert(child.id(), child);
    };
    for _ in 0..5 {
        start(&mut set);
    }
    for _ in 0..10 {
        waker.wake();
        for _ in 0..5 {
            next_exit(&mut set);
            start(&mut set);
        }
        assert_woken(&mut set);
        assert_eq!(set.len(), 5);
    }
}

#[test]
fn empty_set_waits_while_there_is_a_waker() {
    let mut set = WaitSet::new();
    let waker = set.waker();
    let clone = waker.clone();
    assert_not_woken(&mut set);
    waker.wake();
    assert_woken(&mut set);
    drop(waker);
    assert_not_woken(&mut set);

    // The drop of the last one wakes the set.
    let waiter = thread::spawn(move || {
        assert_eq!(set.wait(None).unwrap(), None);
        set
    });
    drop(clone);
    let mut set = waiter.join().unwrap();
    assert_eq!(set.wait(None).unwrap(), None, "there is no waker any more");

    let waker = set.waker();
    assert_not_woken(&mut set);
    waker.wake();
    drop(waker);
    assert_woken(&mut set);
    assert_eq!(set.wait(None).unwrap(), None);
}

#[test]
fn last_waker_is_dropped_while_the_set_waits() {
    for _ in 0..500 {
        let mut set = WaitSet::new();
        let wakers = [set.waker(), set.waker()];
        let threads = wakers.map(|waker| thread::spawn(|| drop(waker)));
        while set.wait(None).unwrap().is_some() {}
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn waker_outlives_the_set() {
    let mut set = WaitSet::new();
    let waker = set.waker();
    set.insert(std::process::id()).unwrap();
    drop(set);
    waker.wake();
    waker.clone().wake();
}

/// Four threads wake a set, each as soon as it has been heard, while its waits time out, or do not.
#[test]
fn no_wake_is_lost_between_timeouts() {
    const ROUNDS: u32 = 500;
    let child = helper("wait 0");
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    // The last request of each thread, and the last answer. Only the wakes order these accesses.
    let requests: Arc<[[AtomicU32; 2]; 4]> = Arc::default();
    let threads: Vec<_> = (0..4)
        .map(|index| {
            let (waker, requests) = (set.waker(), requests.clone());
            thread::spawn(move || {
                let [requested, answered] = &requests[index];
                for round in 1..=ROUNDS {
                    requested.store(round, Relaxed);
                    waker.wake();
                    while answered.load(Relaxed) < round {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let timeouts = [Duration::ZERO, LONG, Duration::from_micros(50), LONG];
    for timeout in timeouts.into_iter().cycle() {
        let start = Instant::now();
        assert_eq!(set.wait(Some(timeout)).unwrap(), None);
        assert!(start.elapsed() < LONG, "a wake was lost");
        for [requested, answered] in &*requests {
            answered.store(requested.load(Relaxed), Relaxed);
        }
        if requests
            .iter()
            .all(|[_, answered]| answered.load(Relaxed) == ROUNDS)
        {
            break;
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// One thread waits, and gets processes from another one.
#[test]
fn supervisor_thread_reports_each_process() {
    let mut set = WaitSet::new();
    let waker = set.waker();
    let (sender, receiver) = mpsc::channel::<Process>();
    let supervisor = thread::spawn(move || {
        let (mut exits, mut processes) = (HashMap::new(), HashMap::new());
        while exits.len() < COUNT {
            let start = Instant::now();
            if let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
                let process: Process = processes.remove(&pid).expect("it was inserted");
                assert_eq!(process.try_wait().unwrap(), Some(exit));
                assert_eq!(exits.insert(pid, exit.code()), None, "reported once");
            }
            assert!(start.elapsed() < LONG, "a wake was lost");
            for process in receiver.try_iter() {
                assert!(set.insert_process(&process).unwrap());
                processes.insert(process.pid(), process);
            }
        }
        assert!(set.is_empty());
        exits
    });
    let mut running: VecDeque<Helper> = VecDeque::new();
    let mut codes = HashMap::new();
    let mut zombies: Vec<Helper> = Vec::new();
    for index in 0..COUNT {
        let code = index as i32 % 200;
        let mut child = helper(&format!("wait {code}"));
        codes.insert(child.id(), Some(code));
        let process = Process::open(child.id()).unwrap();
        if index % 3 == 0 {
            drop(child.stdin.take()); // It may exit before the supervisor gets it.
        }
        running.push_back(child);
        sender.send(process).unwrap();
        waker.wake();
        if running.len() > 10 {
            zombies.extend(running.pop_front());
            drop(zombies.last_mut().unwrap().stdin.take());
        }
    }
    for child in &mut running {
        drop(child.stdin.take());
    }
    // Not reaped before that, so that no pid occurs twice.
    assert_eq!(supervisor.join().unwrap(), codes);
}
