//! Sandboxes: system calls that are denied for real, by seccomp.

#![cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]

mod common;

use common::{Grandchild, Helper, LONG, SHORT, codes_are_shown, helper, skip};
use nix::libc;
use procwait::{Backend, ChildExt as _, Error, Exit, Process, WaitSet, wait_all, wait_pid};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::{thread, time::Duration};

fn has_pidfd() -> bool {
    let process = Process::open(std::process::id()).unwrap();
    process.backend() == Backend::PidFd
}

/// From now on these calls fail in this thread, as in a sandbox.
fn deny(calls: &[i64], errno: i32) {
    let filter = SeccompFilter::new(
        calls.iter().map(|&call| (call, vec![])).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

fn in_a_sandbox(calls: &'static [i64], errno: i32, test: impl FnOnce(i32) + Send + 'static) {
    thread::spawn(move || {
        deny(calls, errno);
        test(errno);
    })
    .join()
    .unwrap();
}

#[test]
fn without_pidfd_open_it_polls() {
    let code = codes_are_shown("without_pidfd_open_it_polls").then_some(7);
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        in_a_sandbox(&[libc::SYS_pidfd_open], errno, move |errno| {
            let mut child = helper("wait 7");
            assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
            let mut process = Process::open(child.id()).unwrap();
            assert_eq!(process.backend(), Backend::Polling);
            let cause = process.fallback_cause().unwrap();
            assert_eq!(cause.raw_os_error(), Some(errno));
            assert!(matches!(
                Process::open_with(child.id(), Backend::PidFd),
                Err(Error::Unsupported { .. })
            ));
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            drop(child.stdin.take());
            assert_eq!(process.wait().unwrap().code(), Some(7));
            child.wait().unwrap();

            let mut grandchild = Grandchild::new("wait 7");
            assert_eq!(wait_pid(grandchild.pid, Some(SHORT)).unwrap(), None);
            grandchild.end();
            let exit = wait_pid(grandchild.pid, Some(LONG)).unwrap().unwrap();
            assert_eq!(exit.code(), code);
        });
    }
    // It was the thread's sandbox: nothing of it is remembered.
    let process = Process::open(std::process::id()).unwrap();
    if let Some(cause) = process.fallback_cause() {
        assert_ne!(cause.kind(), std::io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn without_poll_it_falls_back_in_mid_wait() {
    if !has_pidfd() {
        return skip("without_poll_it_falls_back_in_mid_wait", "pidfd");
    }
    let code = codes_are_shown("without_poll_it_falls_back_in_mid_wait").then_some(7);
    in_a_sandbox(&[libc::SYS_ppoll], libc::EPERM, move |errno| {
        let mut grandchild = Grandchild::new("wait 7");
        let mut process = Process::open(grandchild.pid).unwrap();
        assert_eq!(process.backend(), Backend::PidFd);
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(process.backend(), Backend::Polling);
        let cause = process.fallback_cause().unwrap();
        assert_eq!(cause.raw_os_error(), Some(errno));
        grandchild.end();
        assert_eq!(process.wait().unwrap().code(), code);

        // One that was opened before its exit, and reaped before the fall.
        let mut strict = Process::open_with(std::process::id(), Backend::PidFd).unwrap();
        match strict.try_wait().unwrap_err() {
            Error::Os { call, .. } => assert_eq!(call, "ppoll"),
            error => panic!("{error}"),
        }
        let mut grandchild = Grandchild::new("wait 7");
        let mut process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        grandchild.reap();
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
    });
}

/// What the crate asks of the kernel for its waits.
const CALLS: [(&str, i64); 6] = [
    ("pidfd_open", libc::SYS_pidfd_open),
    ("ppoll", libc::SYS_ppoll),
    ("waitid", libc::SYS_waitid),
    ("epoll_create1", libc::SYS_epoll_create1),
    ("epoll_pwait", libc::SYS_epoll_pwait),
    ("ioctl", libc::SYS_ioctl),
];

const ANSWERS: [(&str, i32); 5] = [
    ("EPERM", libc::EPERM),
    ("EACCES", libc::EACCES),
    ("ENOSYS", libc::ENOSYS),
    ("EINVAL", libc::EINVAL),
    ("EMFILE", libc::EMFILE),
];

/// Each call denied with each answer: every wait finds the exit by another way,
/// with the right status or none, and times out when it should.
#[test]
fn every_denied_call_has_a_way_around() {
    let shown = codes_are_shown("every_denied_call_has_a_way_around");
    for (call, number) in CALLS {
        for (answer, errno) in ANSWERS {
            let tests = thread::spawn(move || {
                let child = helper("wait 7");
                let reaped = helper("wait 7");
                let zombie = Grandchild::new("wait 7");
                deny(&[number], errno);
                waits(child, reaped, zombie, shown);
            });
            assert!(tests.join().is_ok(), "{call} denied with {answer}");
        }
    }
}

fn waits(mut child: Helper, mut reaped: Helper, mut zombie: Grandchild, shown: bool) {
    let known = |exit: Exit| exit.code() == Some(7) || (!shown && exit.status().is_none());
    let pids = [child.id(), reaped.id(), zombie.pid];
    for pid in pids {
        assert_eq!(wait_pid(pid, Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(wait_pid(pid, Some(SHORT)).unwrap(), None);
    }
    assert_eq!(wait_all(pids, Some(SHORT)).unwrap().running, pids);
    let mut set = WaitSet::new();
    for pid in pids {
        assert!(set.insert(pid).unwrap());
    }
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    let mut held = pids.map(common::held);
    for process in held.iter_mut().flatten() {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    }

    zombie.end();
    assert!(known(wait_pid(zombie.pid, Some(LONG)).unwrap().unwrap()));
    drop(reaped.stdin.take());
    // The look at a child asks for its status first, and gets it unless just that
    // is denied; then it shows in /proc.
    assert!(known(wait_pid(reaped.id(), Some(LONG)).unwrap().unwrap()));
    reaped.wait().unwrap();
    drop(child.stdin.take());
    assert!(known(wait_pid(child.id(), None).unwrap().unwrap()));

    let [of_child, of_reaped, of_zombie] = &mut held;
    for process in of_child.iter_mut().chain(of_zombie) {
        assert!(
            known(process.wait_timeout(LONG).unwrap().unwrap()),
            "{process:?}"
        );
    }
    for process in of_reaped {
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert!(known(exit) || exit.status().is_none(), "{process:?}");
    }
    let mut left = pids.to_vec();
    while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
        left.retain(|&it| it != pid);
        assert!(known(exit) || (pid == reaped.id() && exit.status().is_none()));
    }
    assert!(left.is_empty());
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
}
