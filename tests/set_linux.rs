//! Sets on Linux: many processes, few descriptors, sandboxes.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{Helper, LONG, SHORT, alone, helper};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pause},
};
use procwait::{Backend, Process, WaitSet, wait_all};
use std::{
    collections::HashSet,
    fs,
    io::{Read as _, Write as _},
    os::fd::{FromRawFd as _, OwnedFd},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

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
            let pid = fork_and_sleep().as_raw() as u32;
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
fn a_forked_copy_of_the_descriptors_does_no_harm() {
    alone(|| {
        let mut helpers = helpers(2);
        let mut set = WaitSet::new();
        set.insert(helpers[0].id()).unwrap();
        set.insert(helpers[1].id()).unwrap();
        // It has copies of the pidfds: closing ours takes nothing out of the epoll.
        let copy = sleeper();
        // The fork has copies of the pipes, too.
        helpers[0].kill().unwrap();
        helpers[1].kill().unwrap();
        procwait::wait_pid(helpers[1].id(), None).unwrap();
        assert!(set.remove(helpers[1].id()));
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, helpers[0].id());
        // Nothing of the two is left to be told.
        set.insert(std::process::id()).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        drop(copy);
    });
}

/// Forks, and lets the child do something with its copy of the set.
#[allow(unsafe_code)]
fn in_a_fork(set: &mut WaitSet, body: impl FnOnce(&mut WaitSet)) -> Pid {
    // SAFETY: the process has one thread that does anything, the test's.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            body(set);
            // Not the parent's helpers, which would be ended if this returned.
            std::process::exit(0)
        }
    }
}

fn ended(pid: Pid) {
    let code = WaitStatus::Exited(pid, 0);
    assert_eq!(waitpid(pid, None).unwrap(), code);
}

#[test]
fn a_forked_child_that_goes_on_with_its_copy_harms_only_itself() {
    alone(|| {
        let mut helpers = helpers(3);
        let mut other = helper("ignore-stdin");
        let pids: Vec<_> = helpers.iter().map(|helper| helper.id()).collect();
        let mut set = WaitSet::new();
        set.insert(pids[0]).unwrap();
        // Its registrations come to the parent, and do not make it spin.
        let stranger = other.id();
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let copy = in_a_fork(&mut set, |set| {
            assert!(set.insert(stranger).unwrap());
            theirs.write_all(b"!").unwrap();
            pause();
        });
        ours.read_exact(&mut [0]).unwrap();
        // Under the same token, as the copy had the same count.
        other.kill().unwrap();
        procwait::wait_pid(stranger, None).unwrap();
        set.insert(pids[1]).unwrap();
        let (start, timeout) = (Instant::now(), Duration::from_millis(300));
        assert_eq!(set.wait(Some(timeout)).unwrap(), None);
        assert!(start.elapsed() >= timeout);
        kill(copy, Signal::SIGKILL).unwrap();
        waitpid(copy, None).unwrap();

        // It waits and removes: what the parent waits for is told to the parent.
        set.insert(pids[2]).unwrap();
        helpers[0].kill().unwrap();
        procwait::wait_pid(pids[0], None).unwrap();
        let gone = pids[0];
        ended(in_a_fork(&mut set, move |set| {
            assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, gone);
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        }));
        let removed = pids[1];
        ended(in_a_fork(&mut set, move |set| assert!(set.remove(removed))));
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pids[0]);
        helpers[1].kill().unwrap();
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pids[1]);
        ended(in_a_fork(&mut set, |set| drop(std::mem::take(set))));
        helpers[2].kill().unwrap();
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pids[2]);
        assert_eq!(set.wait(None).unwrap(), None);
    });
}

/// A process that does nothing, and of which we hold no pipe. It has copies of what is
/// open here.
struct Sleeper(Pid);

fn sleeper() -> Sleeper {
    Sleeper(fork_and_sleep())
}

#[allow(unsafe_code)]
fn fork_and_sleep() -> Pid {
    // SAFETY: the child does nothing but sleep until it is killed.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => loop {
            pause();
        },
    }
}

impl Sleeper {
    fn id(&self) -> u32 {
        self.0.as_raw() as u32
    }

    fn kill(&self) {
        kill(self.0, Signal::SIGKILL).unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.kill();
        waitpid(self.0, None).unwrap();
    }
}

fn limit_descriptors(soft: nix::libc::rlim_t) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}

fn free_descriptors() -> usize {
    let files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    files.len()
}

#[test]
fn descriptors_are_left_to_the_program() {
    alone(|| {
        // At first, lowered in between, and lifted again.
        for (count, limits, left) in [
            (100, [64, 64], 8),
            (350, [300, 300], 32),
            (200, [600, 128], 16),
        ] {
            let sleepers: Vec<_> = (0..count).map(|_| sleeper()).collect();
            let mut set = WaitSet::new();
            for (index, sleeper) in sleepers.iter().enumerate() {
                limit_descriptors(limits[usize::from(index > 0)]);
                assert!(set.insert(sleeper.id()).unwrap());
            }
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
            assert!(free_descriptors() >= left, "{limits:?}");
            limit_descriptors(1_000);
            assert_eq!(set.wait(Some(Duration::from_millis(100))).unwrap(), None);
            for sleeper in &sleepers {
                sleeper.kill();
                let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
                assert_eq!((pid, exit.signal()), (sleeper.id(), Some(9)));
            }
        }
    });
}

#[test]
fn it_does_not_grow_with_each_insert_and_remove() {
    alone(|| {
        let (sleeper, zombie) = (sleeper(), helper("exit 0"));
        procwait::wait_pid(zombie.id(), None).unwrap();
        // All are polled.
        limit_descriptors(0);
        let mut set = WaitSet::new();
        let mut size = 0;
        for round in 0..2_000 {
            for pid in [sleeper.id(), zombie.id()] {
                assert!(set.insert(pid).unwrap());
                assert!(set.remove(pid));
            }
            if round == 10 {
                size = format!("{set:?}").len();
            }
        }
        let grown = format!("{set:?}").len();
        assert!(grown < size + 20, "from {size} to {grown}");
    });
}

#[test]
#[allow(unsafe_code)]
fn descriptors_closed_behind_its_back() {
    alone(|| {
        let sleepers = [sleeper(), sleeper(), sleeper()];
        let mut set = WaitSet::new();
        for sleeper in &sleepers {
            set.insert(sleeper.id()).unwrap();
        }
        let fds = fs::read_dir("/proc/self/fd").unwrap();
        let ours: Vec<_> = fds
            .map(|fd| fd.unwrap().path())
            .filter(|path| {
                let link = fs::read_link(path).unwrap_or_default();
                let link = link.to_string_lossy();
                ["eventpoll", "pidfd", "/stat"]
                    .iter()
                    .any(|it| link.contains(it))
            })
            .collect();
        assert!(ours.len() >= 3);
        for path in ours {
            let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: not in the least; it is the mistake that is tested.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        for sleeper in &sleepers {
            sleeper.kill();
            let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert_eq!(pid, sleeper.id());
            assert!(matches!(exit.signal(), Some(9) | None));
        }
    });
}
