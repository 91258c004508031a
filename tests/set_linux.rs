//! Tests of sets on Linux: many processes, few descriptors, forked copies.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{Helper, LONG, SHORT, assert_success, has_events, helper, in_a_fork, in_subprocess};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork, pause},
};
use procwait::{WaitSet, wait_all};
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

/// Opens files until only `free` more descriptors can be opened.
fn use_all_descriptors_but(free: usize) -> Vec<fs::File> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(256), hard).unwrap();
    let mut files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - free);
    files
}

/// Ends the helpers one after the other. Asserts that each one is reported with its exit code.
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
fn descriptors_run_out_during_inserts() {
    in_subprocess(|| {
        let helpers = helpers(12);
        let mut set = WaitSet::new();
        let _files = use_all_descriptors_but(5);
        for helper in &helpers {
            assert!(set.insert(helper.id()).unwrap());
        }
        assert_eq!(set.len(), 12);
        assert_all_are_reported(&mut set, helpers);
    });
}

#[test]
fn without_any_descriptor() {
    in_subprocess(|| {
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
    in_subprocess(|| {
        let helpers = helpers(8);
        let before = open_descriptors();
        let mut set = WaitSet::new();
        let files = use_all_descriptors_but(4);
        for helper in &helpers {
            assert!(set.insert(helper.id()).unwrap());
        }
        drop(files);
        assert!(open_descriptors() <= before + 4);
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        let process = procwait::Process::open(helpers[0].id()).unwrap();
        if process.as_event_fd().is_some() {
            drop(process);
            // The set has an epoll and eight pidfds.
            assert_eq!(open_descriptors(), before + 9);
        }
        assert_all_are_reported(&mut set, helpers);
        drop(set);
        assert!(open_descriptors() <= before);
    });
}

#[test]
fn five_thousand_killed_at_once() {
    in_subprocess(|| {
        let count = if has_events() {
            5_000
        } else {
            // gVisor has no pidfds, and fails under 5,000 processes.
            common::skip(
                "five_thousand_killed_at_once",
                "pidfd: it runs with 500 polled processes",
            );
            500
        };
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let before = open_descriptors();
        let mut set = WaitSet::new();
        let mut remaining = HashSet::new();
        for _ in 0..count {
            let pid = fork_and_sleep().as_raw() as u32;
            remaining.insert(pid);
            assert!(set.insert(pid).unwrap());
        }
        assert_eq!(set.len(), count);
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        for &pid in &remaining {
            kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        }
        let pids = remaining.clone();
        while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
            assert!(remaining.remove(&pid), "{pid} is reported once");
            assert_eq!(exit.signal(), Some(9));
        }
        assert!(remaining.is_empty() && set.is_empty());
        drop(set);
        assert_eq!(open_descriptors(), before);

        // All of them are zombies, which a check with a zero timeout reports.
        let all = wait_all(pids.iter().copied(), Some(Duration::ZERO)).unwrap();
        assert_eq!((all.exited.len(), all.running.len()), (count, 0));
        for pid in pids {
            waitpid(Pid::from_raw(pid as i32), None).unwrap();
        }
    });
}

#[test]
fn closed_pidfds_of_a_forked_copy_are_not_reported() {
    in_subprocess(|| {
        let mut helpers = helpers(2);
        let mut set = WaitSet::new();
        set.insert(helpers[0].id()).unwrap();
        set.insert(helpers[1].id()).unwrap();
        // The forked child has copies of the pidfds, so closing them in this process does not
        // remove them from the epoll.
        let forked = sleeper();
        // It also has copies of the helpers' pipes: kill the helpers instead of closing the pipes.
        helpers[0].kill().unwrap();
        helpers[1].kill().unwrap();
        procwait::wait_pid(helpers[1].id(), None).unwrap();
        assert!(set.remove(helpers[1].id()));
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, helpers[0].id());
        // No event of the two helpers is pending.
        set.insert(std::process::id()).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        drop(forked);
    });
}

#[test]
fn forked_copy_of_a_set_does_not_affect_the_parent() {
    in_subprocess(|| {
        let mut helpers = helpers(3);
        let mut other = helper("ignore-stdin");
        let pids: Vec<_> = helpers.iter().map(|helper| helper.id()).collect();
        let mut set = WaitSet::new();
        set.insert(pids[0]).unwrap();
        // The parent gets events for what the child registers, which must not make it spin.
        let other_pid = other.id();
        let (mut parent_end, mut child_end) = UnixStream::pair().unwrap();
        let forked = in_a_fork(|| {
            assert!(set.insert(other_pid).unwrap());
            child_end.write_all(b"!").unwrap();
            pause();
        });
        parent_end.read_exact(&mut [0]).unwrap();
        // Both sets use the same token for their next process, because they count on from the same
        // number.
        other.kill().unwrap();
        procwait::wait_pid(other.id(), None).unwrap();
        set.insert(pids[1]).unwrap();
        let (start, timeout) = (Instant::now(), Duration::from_millis(300));
        assert_eq!(set.wait(Some(timeout)).unwrap(), None);
        assert!(start.elapsed() >= timeout);
        kill(forked, Signal::SIGKILL).unwrap();
        waitpid(forked, None).unwrap();

        // The child waits and removes. The parent still gets its own events.
        set.insert(pids[2]).unwrap();
        helpers[0].kill().unwrap();
        procwait::wait_pid(pids[0], None).unwrap();
        let exited = pids[0];
        assert_success(in_a_fork(|| {
            assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, exited);
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        }));
        let removed = pids[1];
        assert_success(in_a_fork(|| assert!(set.remove(removed))));
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pids[0]);
        helpers[1].kill().unwrap();
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pids[1]);
        assert_success(in_a_fork(|| drop(std::mem::take(&mut set))));
        helpers[2].kill().unwrap();
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, pids[2]);
        assert_eq!(set.wait(None).unwrap(), None);
    });
}

/// A forked child that sleeps until it is killed. It needs no pipe, but has copies of the
/// descriptors that were open at the fork.
struct Sleeper(Pid);

fn sleeper() -> Sleeper {
    Sleeper(fork_and_sleep())
}

#[allow(unsafe_code)]
fn fork_and_sleep() -> Pid {
    // SAFETY: the child only calls `pause`, which is async-signal-safe.
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

fn count_free_descriptors() -> usize {
    let files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    files.len()
}

#[test]
fn descriptors_are_left_to_the_program() {
    in_subprocess(|| {
        // How many processes, the limit at the first insert, the one for the others, and how many
        // descriptors must stay free.
        for (count, limits, reserve) in [
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
            assert!(count_free_descriptors() >= reserve, "{limits:?}");
            limit_descriptors(1_000);
            assert_eq!(set.wait(Some(Duration::from_millis(100))).unwrap(), None);
            // A few at a time, as each exit takes long where hundreds are polled.
            for killed in sleepers.chunks(10) {
                killed.iter().for_each(Sleeper::kill);
                let mut pids: Vec<_> = killed.iter().map(Sleeper::id).collect();
                for _ in killed {
                    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
                    assert_eq!(exit.signal(), Some(9));
                    pids.retain(|&killed| killed != pid);
                }
                assert!(pids.is_empty(), "not reported: {pids:?}");
            }
        }
    });
}

#[test]
fn set_does_not_grow_by_insert_and_remove() {
    in_subprocess(|| {
        let (sleeper, zombie) = (sleeper(), helper("exit 0"));
        procwait::wait_pid(zombie.id(), None).unwrap();
        // All members are polled.
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
fn descriptors_closed_by_other_code() {
    in_subprocess(|| {
        let sleepers = [sleeper(), sleeper(), sleeper()];
        let mut set = WaitSet::new();
        for sleeper in &sleepers {
            set.insert(sleeper.id()).unwrap();
        }
        let fds = fs::read_dir("/proc/self/fd").unwrap();
        let opened_by_set: Vec<_> = fds
            .map(|fd| fd.unwrap().path())
            .filter(|path| {
                let link = fs::read_link(path).unwrap_or_default();
                let link = link.to_string_lossy();
                ["eventpoll", "pidfd", "/stat"]
                    .iter()
                    .any(|kind| link.contains(kind))
            })
            .collect();
        assert!(opened_by_set.len() >= 3);
        for path in opened_by_set {
            let raw_fd = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: this is unsound. The test is about this mistake.
            drop(unsafe { OwnedFd::from_raw_fd(raw_fd) });
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
