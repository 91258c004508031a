//! Tests of `SetWaker` and of inserted processes on Linux: few descriptors, forks, sandboxes.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{
    Helper, LONG, SHORT, assert_success, has_pidfd, helper, in_a_fork, in_subprocess, skip,
    thread_cpu_time,
};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use procwait::{Process, SetWaker, WaitSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs, mem,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn limit_descriptors(soft: nix::libc::rlim_t) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
}

fn set_of(helpers: &[Helper]) -> WaitSet {
    let mut set = WaitSet::new();
    for helper in helpers {
        assert!(set.insert(helper.id()).unwrap());
    }
    set
}

#[track_caller]
fn assert_not_woken(set: &mut WaitSet) {
    let start = Instant::now();
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    assert!(start.elapsed() >= SHORT);
}

/// Another thread wakes the set before a wait or during it.
#[track_caller]
fn assert_wakes_are_noticed(set: &mut WaitSet, waker: &SetWaker) {
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || {
            for () in receiver {
                waker.wake();
            }
        });
        for _ in 0..15 {
            sender.send(()).unwrap();
            let start = Instant::now();
            assert_eq!(set.wait(Some(LONG)).unwrap(), None);
            assert!(start.elapsed() < LONG, "a wake was lost");
        }
    });
    assert_not_woken(set);
}

#[test]
fn idle_set_with_a_waker_sleeps() {
    if !has_pidfd() {
        return skip("idle_set_with_a_waker_sleeps", "pidfd");
    }
    let helpers: Vec<_> = (0..100).map(|_| helper("wait 0")).collect();
    let mut set = set_of(&helpers);
    let waker = set.waker();
    waker.wake();
    assert_eq!(set.wait(Some(LONG)).unwrap(), None);
    let switches = || {
        getrusage(UsageWho::RUSAGE_THREAD)
            .unwrap()
            .voluntary_context_switches()
    };
    let (before, cpu) = (switches(), thread_cpu_time());
    assert_eq!(set.wait(Some(Duration::from_secs(2))).unwrap(), None);
    let switches = switches() - before;
    assert!(switches <= 4, "{switches} context switches");
    assert!(thread_cpu_time() - cpu < Duration::from_secs(1), "it spins");
}

#[test]
fn waker_of_a_set_without_descriptors() {
    in_subprocess(|| {
        let mut helpers = [helper("wait 7"), helper("wait 8")];
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        limit_descriptors(0);
        let mut empty = WaitSet::new();
        let waker = empty.waker();
        assert_wakes_are_noticed(&mut empty, &waker);
        drop(waker);
        assert_eq!(empty.wait(None).unwrap(), None);
        assert_eq!(
            empty.wait(None).unwrap(),
            None,
            "there is no waker any more"
        );

        let mut set = set_of(&helpers);
        let waker = set.waker();
        assert!(set.as_event_fd().is_none());
        assert_wakes_are_noticed(&mut set, &waker);
        limit_descriptors(soft);
        assert_wakes_are_noticed(&mut set, &waker);
        for helper in &mut helpers {
            drop(helper.stdin.take());
            assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().0, helper.id());
        }
        assert_wakes_are_noticed(&mut set, &waker);
    });
}

/// The members are watched, but there is no descriptor that ends the wait for events.
#[test]
fn waker_without_a_descriptor_of_its_own() {
    in_subprocess(|| {
        if !has_pidfd() {
            return skip("waker_without_a_descriptor_of_its_own", "pidfd");
        }
        let [running, mut child] = [helper("ignore-stdin"), helper("wait 7")];
        let mut set = WaitSet::new();
        set.insert(running.id()).unwrap();
        set.insert(child.id()).unwrap();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        limit_descriptors(0);
        let waker = set.waker();
        assert!(set.as_event_fd().is_none());
        assert_wakes_are_noticed(&mut set, &waker);
        drop(child.stdin.take());
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        assert_eq!((pid, exit.code()), (child.id(), Some(7)));
        limit_descriptors(soft);
        assert_not_woken(&mut set);
        assert!(set.as_event_fd().is_some());
        assert_wakes_are_noticed(&mut set, &waker);
    });
}

/// Does not use `as_event_fd`, which puts right what another process has done to the descriptor.
#[allow(unsafe_code)]
fn is_readable(event: RawFd) -> bool {
    // SAFETY: the set keeps it open.
    let event = unsafe { BorrowedFd::borrow_raw(event) };
    let now = Timespec::default();
    poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&now)).unwrap() == 1
}

#[test]
fn forked_child_wakes_no_one() {
    in_subprocess(|| {
        let helpers = [helper("wait 7")];
        let mut set = set_of(&helpers);
        let wakers = [set.waker(), set.waker()];
        let event = set.as_event_fd().map(|event| event.as_raw_fd());
        let forked = in_a_fork(|| {
            wakers[0].wake();
            wakers[0].clone().wake();
            drop(unsafe_copy(&wakers));
        });
        assert_success(forked);
        assert!(!event.is_some_and(is_readable));
        assert_not_woken(&mut set);

        // The child's copy of the set takes no wake from the parent.
        wakers[1].wake();
        assert!(event.is_none_or(is_readable));
        let (copy, pid) = (&mut set, helpers[0].id());
        let forked = in_a_fork(move || {
            assert!(copy.as_event_fd().is_none());
            assert_eq!(copy.wait(Some(SHORT)).unwrap(), None);
            copy.remove(pid);
            assert_eq!(
                copy.wait(None).unwrap(),
                None,
                "empty, and no waker is of use"
            );
            drop(mem::take(copy));
        });
        assert_success(forked);
        assert!(event.is_none_or(is_readable));
        let start = Instant::now();
        assert_eq!(set.wait(Some(LONG)).unwrap(), None);
        assert!(start.elapsed() < LONG);
        assert_not_woken(&mut set);
    });
}

/// The wakers themselves, which the parent drops as well, in its own memory.
#[allow(unsafe_code)]
fn unsafe_copy(wakers: &[SetWaker; 2]) -> [SetWaker; 2] {
    // SAFETY: only in a forked child, which exits without dropping the original.
    unsafe { std::ptr::read(wakers) }
}

#[test]
fn inserted_process_needs_no_other_descriptor() {
    in_subprocess(|| {
        if !has_pidfd() {
            return skip("inserted_process_needs_no_other_descriptor", "pidfd");
        }
        let mut helpers: Vec<_> = (0..50)
            .map(|code| helper(&format!("wait {code}")))
            .collect();
        let processes: Vec<_> = helpers
            .iter()
            .map(|helper| Process::open(helper.id()).unwrap())
            .collect();
        let before = open_descriptors();
        let mut set = WaitSet::new();
        for process in &processes {
            assert!(set.insert_process(process).unwrap());
        }
        assert_eq!(open_descriptors(), before + 1, "an epoll");
        // The set keeps them open.
        drop(processes);
        assert_eq!(open_descriptors(), before + 1);
        for (code, helper) in (0..).zip(&mut helpers) {
            drop(helper.stdin.take());
            let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert_eq!((pid, exit.code()), (helper.id(), Some(code)));
        }
        assert_eq!(
            open_descriptors(),
            before + 1 - 50 - 50,
            "no pidfds, no pipes"
        );
    });
}

#[test]
fn set_does_not_grow_by_processes_and_wakes() {
    in_subprocess(|| {
        let (running, zombie) = (helper("wait 0"), helper("exit 0"));
        procwait::wait_pid(zombie.id(), None).unwrap();
        let processes = [running.id(), zombie.id()].map(|pid| Process::open(pid).unwrap());
        let mut set = WaitSet::new();
        let waker = set.waker();
        let _ = set.as_event_fd();
        let mut size = 0;
        for round in 0..1_000 {
            for process in &processes {
                assert!(set.insert_process(process).unwrap());
                waker.clone().wake();
                assert!(set.remove(process.pid()));
            }
            assert!(set.insert_process(&processes[1]).unwrap());
            assert!(set.wait(Some(LONG)).unwrap().is_some());
            assert_eq!(set.wait(Some(LONG)).unwrap(), None);
            if round == 10 {
                size = format!("{set:?}").len();
            }
        }
        let grown = format!("{set:?}").len();
        assert!(grown < size + 20, "from {size} to {grown}");
    });
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
#[path = "common/seccomp.rs"]
mod seccomp;

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod sandbox {
    use super::{seccomp::deny, *};
    use nix::libc::{
        ENOSYS, EPERM, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
        SYS_eventfd2, SYS_getpid, SYS_ppoll, SYS_read,
    };
    use procwait::{Backend, Error};

    #[test]
    fn wakes_are_noticed_whatever_is_denied() {
        for (denied, errno) in [
            (&[SYS_eventfd2][..], EPERM),
            (&[SYS_epoll_create1], ENOSYS),
            (&[SYS_epoll_ctl], EPERM),
            (&[SYS_epoll_pwait, SYS_epoll_pwait2], EPERM),
            (&[SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll], EPERM),
            (&[SYS_getpid], EPERM),
            (&[SYS_read], EPERM),
        ] {
            for has_member in [true, false] {
                thread::spawn(move || {
                    let helpers = [helper("wait 7")];
                    deny(denied, errno);
                    let mut set = set_of(&helpers[..usize::from(has_member)]);
                    let waker = set.waker();
                    assert_wakes_are_noticed(&mut set, &waker);
                    let (time, cpu) = (Duration::from_millis(300), thread_cpu_time());
                    assert_eq!(set.wait(Some(time)).unwrap(), None);
                    assert!(thread_cpu_time() - cpu < time / 2, "{denied:?}: it spins");
                    drop(waker);
                    assert_eq!(set.wait(Some(LONG)).unwrap(), None);
                })
                .join()
                .unwrap();
            }
        }
    }

    /// The check of one member fails, and that of another one does not.
    #[test]
    fn error_of_a_member_replaces_a_wake() {
        if !has_pidfd() {
            return skip("error_of_a_member_replaces_a_wake", "pidfd");
        }
        let helpers = [helper("wait 7"), helper("wait 8")];
        thread::spawn(move || {
            let mut set = WaitSet::new();
            let waker = set.waker();
            // It does not fall back to polling.
            let process = Process::open_with(helpers[0].id(), Backend::PidFd).unwrap();
            set.insert_process(&process).unwrap();
            set.insert(helpers[1].id()).unwrap();
            assert_not_woken(&mut set);
            deny(&[SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll], EPERM);
            for timeout in [Duration::ZERO, LONG, LONG] {
                waker.wake();
                let start = Instant::now();
                let error = set.wait(Some(timeout)).unwrap_err();
                assert!(matches!(error, Error::Os { .. }), "{error}");
                assert!(start.elapsed() < LONG);
                // The wake is over. Whether there is time for a check depends on the machine.
                let start = Instant::now();
                assert!(!matches!(set.wait(Some(SHORT)), Ok(Some(_))));
                assert!(start.elapsed() >= SHORT);
            }
            // Without that member, there is no error, nor one from before.
            waker.wake();
            set.wait(Some(LONG)).unwrap_err();
            set.remove(helpers[0].id());
            waker.wake();
            assert_eq!(set.wait(Some(LONG)).unwrap(), None);
        })
        .join()
        .unwrap();
    }
}
