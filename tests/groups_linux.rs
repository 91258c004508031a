//! Tests of signals to process groups on Linux: in a sandbox, without permission, and in another pid
//! namespace.

#![cfg(all(
    target_os = "linux",
    not(kqueue_on_linux),
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]

mod common;
#[path = "common/own_pids.rs"]
mod own_pids;
#[path = "common/seccomp.rs"]
mod seccomp;

use common::{
    Helper, OTHER_USER, assert_success, exit_of, has_pidfd, helper_command, in_a_fork,
    in_subprocess, kernel_version, open_by_all, skip, spawn, waiter_as_other_user,
};
use nix::{
    libc,
    sched::{CloneFlags, unshare},
};
use own_pids::{in_own_pid_namespace, set_next_pid};
use procwait::{Error, Process};
use seccomp::deny;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    thread,
};

const SEND: i64 = libc::SYS_pidfd_send_signal;
const OPEN: i64 = libc::SYS_pidfd_open;
const KILL: i64 = libc::SYS_kill;
const GETPGID: i64 = libc::SYS_getpgid;

const EPERM: i32 = libc::EPERM;
const EACCES: i32 = libc::EACCES;
const ENOSYS: i32 = libc::ENOSYS;

/// A helper that leads a process group, and another one in the group.
struct Group {
    leader: Helper,
    member: Helper,
}

impl Group {
    fn new() -> Group {
        let leader = spawn(helper_command("wait 7").process_group(0));
        let member = spawn(helper_command("wait 7").process_group(leader.id() as i32));
        Group { leader, member }
    }

    fn id(&self) -> u32 {
        self.leader.id()
    }

    /// Ends the leader, which stays a zombie.
    fn end_leader(&mut self) {
        drop(self.leader.stdin.take());
        exit_of(self.id());
    }

    /// The signal that has killed the member, or `None` if it has not been signaled.
    fn signal_of_member(&mut self) -> Option<i32> {
        drop(self.member.stdin.take());
        exit_of(self.member.id()).signal()
    }
}

/// Whether the kernel can send a signal to the group of a pidfd.
fn has_group_flag() -> bool {
    has_pidfd() && kernel_version() >= (6, 9)
}

/// What `send_signal_to_group` returned: `Ok`, or the call that was refused with this errno.
type Sent = Result<bool, (&'static str, Option<i32>)>;

fn send(process: &Process, signal: i32) -> Sent {
    process
        .send_signal_to_group(signal)
        .map_err(|error| match error {
            Error::Os { call, source, .. } => (call, source.raw_os_error()),
            error => panic!("{process:?}: {error}"),
        })
}

/// Runs the test in a thread in which these calls fail. An errno of 0 feigns a result of 0.
fn in_sandbox(calls: &'static [i64], errno: i32, test: impl FnOnce() + Send + 'static) {
    let test = move || {
        deny(calls, errno);
        test();
    };
    thread::spawn(test).join().unwrap();
}

/// Sends a signal to a group whose leader is running, is a zombie, or has been reaped, while these
/// calls are denied.
fn assert_sent(calls: &'static [i64], errno: i32, [running, zombie, reaped]: [Sent; 3]) {
    in_sandbox(calls, errno, move || {
        for (state, expected) in [("running", running), ("zombie", zombie), ("reaped", reaped)] {
            let mut group = Group::new();
            let process = Process::open(group.id()).unwrap();
            if state != "running" {
                group.end_leader();
            }
            if state == "reaped" {
                group.leader.wait().unwrap();
            }
            let context = format!("{calls:?}, {errno}, {state}, {process:?}");
            assert_eq!(send(&process, 0), expected, "{context}");
            assert_eq!(send(&process, libc::SIGUSR1), expected, "{context}");
            let signal = (expected == Ok(true)).then_some(libc::SIGUSR1);
            assert_eq!(group.signal_of_member(), signal, "{context}");
        }
    });
}

#[test]
fn without_kill_the_pidfd_is_enough() {
    if !has_group_flag() {
        return skip("without_kill_the_pidfd_is_enough", "Linux 6.9");
    }
    for errno in [EPERM, EACCES, ENOSYS] {
        assert_sent(&[KILL], errno, [Ok(true); 3]);
    }
}

#[test]
fn without_pidfd_send_signal_it_is_sent_by_number() {
    for errno in [EPERM, EACCES, ENOSYS] {
        // After the reap, the number is not safe. ENOSYS is what an old kernel would say.
        let reaped = match errno {
            ENOSYS => Ok(false),
            _ if has_pidfd() => Err(("pidfd_send_signal", Some(errno))),
            _ => Ok(false),
        };
        assert_sent(&[SEND], errno, [Ok(true), Ok(true), reaped]);
        assert_sent(&[OPEN, SEND], errno, [Ok(true), Ok(true), Ok(false)]);
        let refused = Err(("kill", Some(errno)));
        assert_sent(&[SEND, KILL], errno, [refused, refused, reaped]);
    }
}

#[test]
fn without_pidfd_open_it_is_sent_through_proc() {
    for errno in [EPERM, EACCES, ENOSYS] {
        assert_sent(&[OPEN], errno, [Ok(true), Ok(true), Ok(false)]);
        if has_group_flag() {
            assert_sent(&[OPEN, KILL], errno, [Ok(true), Ok(true), Ok(false)]);
        } else {
            skip("without_pidfd_open_it_is_sent_through_proc", "Linux 6.9");
        }
    }
}

/// The group could be the caller's own, or one that the process has left.
#[test]
fn without_getpgid_nothing_is_sent() {
    for errno in [EPERM, EACCES, ENOSYS] {
        assert_sent(&[GETPGID], errno, [Err(("getpgid", Some(errno))); 3]);
    }
    // 0 is the group of a process whose leader is outside the pid namespace.
    in_sandbox(&[GETPGID], 0, || {
        let mut group = Group::new();
        for process in &open_by_all(group.id()) {
            assert_eq!(send(process, libc::SIGUSR1), Ok(false));
        }
        assert_eq!(group.signal_of_member(), None);
    });
}

/// EINVAL could also mean that the process is in another pid namespace, where the number is
/// another group's.
#[test]
fn einval_of_pidfd_send_signal_is_final() {
    if !has_pidfd() {
        return skip("einval_of_pidfd_send_signal_is_final", "pidfd");
    }
    let refused = Err(("pidfd_send_signal", Some(libc::EINVAL)));
    assert_sent(&[SEND], libc::EINVAL, [refused; 3]);
}

/// Without permission to signal any member, it is an error. One that may be signaled is enough.
#[test]
fn group_of_another_user() {
    let test = "group_of_another_user";
    if !has_pidfd() {
        return skip(test, "pidfd");
    }
    let Some(mut waiter) = waiter_as_other_user(test) else {
        return;
    };
    let mut group = Group::new();
    waiter.request(&format!("open {}", group.id()));
    let mut assert_denied = |state| {
        for signal in [0, libc::SIGKILL] {
            let answer = waiter.request(&format!("signal-group {signal}"));
            assert!(answer.contains("(os error 1)"), "{state}: {answer}");
        }
    };
    assert_denied("running");
    group.end_leader();
    assert_denied("zombie");
    let mut own = Command::new("sleep");
    own.arg("60").stdin(Stdio::null());
    own.uid(OTHER_USER).process_group(group.id() as i32);
    let mut own = own.spawn().unwrap();
    assert_eq!(waiter.request("signal-group 9"), "true");
    assert_eq!(exit_of(own.id()).signal(), Some(libc::SIGKILL));
    own.wait().unwrap();
    group.leader.wait().unwrap();
    let answer = waiter.request("signal-group 9");
    if has_group_flag() {
        assert!(answer.contains("(os error 1)"), "reaped: {answer}");
    } else {
        assert_eq!(answer, "false");
    }
    assert_eq!(group.signal_of_member(), None);
    group.member.wait().unwrap();
    assert_eq!(waiter.request("signal-group 9"), "false");
}

/// A forked child can be in another pid namespace, in which the same number is that of another
/// group.
#[test]
fn forked_copy_in_another_pid_namespace() {
    in_own_pid_namespace(|| {
        if !has_pidfd() {
            return skip("forked_copy_in_another_pid_namespace", "pidfd");
        }
        assert_refused_in_another_pid_namespace();
    });
}

#[test]
fn forked_copy_in_another_pid_namespace_before_linux_6_9() {
    in_own_pid_namespace(|| {
        if !has_pidfd() {
            let test = "forked_copy_in_another_pid_namespace_before_linux_6_9";
            return skip(test, "pidfd");
        }
        emulate_linux_before_6_9();
        assert_refused_in_another_pid_namespace();
    });
}

fn assert_refused_in_another_pid_namespace() {
    let mut group = Group::new();
    let processes = open_by_all(group.id());
    unshare(CloneFlags::CLONE_NEWPID).unwrap();
    let forked = in_a_fork(|| {
        let mut other = loop {
            set_next_pid(group.id());
            let other = spawn(helper_command("wait 8").process_group(0));
            if other.id() == group.id() {
                break other;
            }
        };
        for process in &processes {
            let refused = Err(("pidfd_send_signal", Some(libc::EINVAL)));
            assert_eq!(send(process, libc::SIGKILL), refused, "{process:?}");
            let error = process.send_signal(libc::SIGKILL).unwrap_err();
            let Error::Os { source, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(source.raw_os_error(), Some(libc::EINVAL), "{process:?}");
        }
        assert_eq!(other.wait().unwrap().code(), Some(8), "unharmed");
    });
    assert_success(forked);
    assert_eq!(group.signal_of_member(), None);
    assert_eq!(group.leader.wait().unwrap().code(), Some(7));
}

/// Refuses the flag in the current thread and its children, as a kernel that does not know it, and
/// hides the version of the kernel. Call this only in a subprocess: the crate remembers the version.
fn emulate_linux_before_6_9() {
    const PIDFD_SIGNAL_PROCESS_GROUP: u64 = 1 << 2;
    let flags = 3;
    let has_flag = SeccompCondition::new(
        flags,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        PIDFD_SIGNAL_PROCESS_GROUP,
    );
    let rule = SeccompRule::new(vec![has_flag.unwrap()]).unwrap();
    let filter = SeccompFilter::new(
        [(SEND, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EINVAL as u32),
        env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
    deny(&[libc::SYS_uname], EPERM);
}

#[test]
fn before_linux_6_9_it_is_sent_by_number() {
    in_subprocess(|| {
        emulate_linux_before_6_9();
        assert_sent(&[], 0, [Ok(true), Ok(true), Ok(false)]);
        let mut group = Group::new();
        for process in &open_by_all(group.id()) {
            assert_eq!(send(process, 1_000), Err(("kill", Some(libc::EINVAL))));
        }
        assert_eq!(group.signal_of_member(), None);
    });
}
