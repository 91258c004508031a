//! Sets on Linux: many processes, few descriptors, sandboxes.

#![cfg(target_os = "linux")]

mod common;

use common::{Helper, LONG, SHORT, alone, helper};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, pause},
};
use procwait::{Backend, Process, WaitSet, wait_all};
use std::{collections::HashSet, fs, time::Duration};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Takes all descriptors but so many, for as long as the answer is kept.
fn all_descriptors_but(free: usize) -> Vec<fs::File> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(256), hard).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

/// All end, one after the other, and each is reported with its code.
fn assert_all_are_reported(set: &mut WaitSet, mut helpers: Vec<Helper>) {
    for (code, helper) in (0..).zip(&mut helpers) {
        assert_eq!(set.wait(Some(SHORT / 4)).unwrap(), None);
        drop(helper.stdin.take());
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert_eq!((pid, exit.code()), (helper.id(), Some(code)));
    }
    assert_eq!(set.wait(None).unwrap(), None);
}

fn helpers(count: u32) -> Vec<Helper> {
    (0..count)
        .map(|code| helper(&format!("wait {code}")))
        .collect()
}

#[test]
fn out_of_descriptors_in_the_middle() {
    alone(|| {
        let helpers = helpers(12);
        let mut set = WaitSet::new();
        let _taken = all_descriptors_but(5);
        for helper in &helpers {
            assert!(set.insert(helper.id()).unwrap());
        }
        assert_eq!(set.len(), 12);
        assert_all_are_reported(&mut set, helpers);
    });
}

#[test]
fn without_any_descriptor() {
    alone(|| {
        let helpers = helpers(4);
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let mut set = WaitSet::new();
        for helper in &helpers {
            assert!(set.insert(helper.id()).unwrap());
        }
        assert_all_are_reported(&mut set, helpers);
    });
}

#[test]
fn back_to_events_when_descriptors_are_free() {
    alone(|| {
        let helpers = helpers(8);
        let before = open_descriptors();
        let mut set = WaitSet::new();
        let taken = all_descriptors_but(4);
        for helper in &helpers {
            assert!(set.insert(helper.id()).unwrap());
        }
        drop(taken);
        assert!(open_descriptors() <= before + 4);
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        let process = procwait::Process::open(helpers[0].id()).unwrap();
        if process.as_event_fd().is_some() {
            drop(process);
            // An epoll, and a pidfd for each.
            assert_eq!(open_descriptors(), before + 9);
        }
        assert_all_are_reported(&mut set, helpers);
        drop(set);
        assert!(open_descriptors() <= before);
    });
}

#[test]
#[allow(unsafe_code)]
fn five_thousand_killed_at_once() {
    alone(|| {
        let count = match Process::open(std::process::id()).unwrap().backend() {
            // gVisor, which has no other means, breaks down under 5,000 processes.
            Backend::Polling => {
                common::skip("five_thousand_killed_at_once", "pidfd: it is 500, polled");
                500
            }
            _ => 5_000,
        };
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let before = open_descriptors();
        let mut set = WaitSet::new();
        let mut left = HashSet::new();
        for _ in 0..count {
            // SAFETY: the child does nothing but sleep until it is killed.
            let pid = match unsafe { fork() }.unwrap() {
                ForkResult::Parent { child } => child.as_raw() as u32,
                ForkResult::Child => loop {
                    pause();
                },
            };
            left.insert(pid);
            assert!(set.insert(pid).unwrap());
        }
        assert_eq!(set.len(), count);
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        for &pid in &left {
            kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        }
        let pids = left.clone();
        while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
            assert!(left.remove(&pid), "{pid} twice");
            assert_eq!(exit.signal(), Some(9));
        }
        assert!(left.is_empty() && set.is_empty());
        drop(set);
        assert_eq!(open_descriptors(), before);

        // Zombies all, and so sorted at once.
        let all = wait_all(pids.iter().copied(), Some(Duration::ZERO)).unwrap();
        assert_eq!((all.exited.len(), all.running.len()), (count, 0));
        for pid in pids {
            waitpid(Pid::from_raw(pid as i32), None).unwrap();
        }
    });
}

#[test]
#[allow(unsafe_code)]
fn a_forked_copy_of_the_descriptors_does_no_harm() {
    alone(|| {
        let mut helpers = helpers(2);
        let mut set = WaitSet::new();
        set.insert(helpers[0].id()).unwrap();
        set.insert(helpers[1].id()).unwrap();
        // It has copies of the pidfds: closing ours takes nothing out of the epoll.
        // SAFETY: the child does nothing but sleep until it is killed.
        let copy = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => loop {
                pause();
            },
        };
        // The fork has copies of the pipes, too.
        helpers[0].kill().unwrap();
        helpers[1].kill().unwrap();
        procwait::wait_pid(helpers[1].id(), None).unwrap();
        assert!(set.remove(helpers[1].id()));
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, helpers[0].id());
        // Nothing of the two is left to be told.
        set.insert(std::process::id()).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        kill(copy, Signal::SIGKILL).unwrap();
        waitpid(copy, None).unwrap();
    });
}
