//! Tests of signals to process groups.

#![cfg(unix)]

mod common;

use common::{
    Helper, LONG, exit_of, helper, helper_command, in_subprocess, open_by_all, skip, spawn,
    wait_until_stopped,
};
use nix::{
    libc,
    unistd::{Pid, getpgrp, setpgid},
};
use procwait::{Error, Process};
use std::{
    io::{BufReader, ErrorKind, Write as _},
    os::unix::process::CommandExt as _,
    process,
};

/// Starts a helper that leads a process group.
fn leader(command: &str) -> Helper {
    spawn(helper_command(command).process_group(0))
}

/// Starts a helper in this process group.
fn member(command: &str, group: u32) -> Helper {
    spawn(helper_command(command).process_group(group as i32))
}

/// Asserts that the process is still running, and has not been signaled.
fn assert_unharmed(mut process: Helper) {
    drop(process.stdin.take());
    assert_eq!(process.wait().unwrap().code(), Some(7));
}

fn send(process: &Process, signal: i32) -> bool {
    let sent = process.send_signal_to_group(signal);
    sent.unwrap_or_else(|error| panic!("{process:?}: {error}"))
}

#[test]
fn every_member_gets_the_signal() {
    for index in 0..2 {
        let leader = leader("wait 7");
        let group = leader.id();
        let outsider = helper("wait 7");
        let members = [member("wait 7", group), member("wait 7", group)];
        let process = open_by_all(group).swap_remove(index);
        assert!(send(&process, 0), "a check");
        assert_eq!(process.try_wait().unwrap(), None);
        assert!(send(&process, libc::SIGUSR1));
        for mut process in [leader].into_iter().chain(members) {
            assert_eq!(exit_of(process.id()).signal(), Some(libc::SIGUSR1));
            process.wait().unwrap();
        }
        assert_unharmed(outsider);
    }
}

/// On Linux, members still get the signal. Elsewhere the leader cannot be found by `getpgid`.
#[test]
fn leader_is_a_zombie() {
    for index in 0..2 {
        let mut leader = leader("wait 7");
        let group = leader.id();
        let mut member = member("wait 7", group);
        let process = open_by_all(group).swap_remove(index);
        drop(leader.stdin.take());
        exit_of(group);
        let opened_later = open_by_all(group).swap_remove(index);
        for (process, signal) in [(&process, 0), (&opened_later, libc::SIGUSR1)] {
            let sent = send(process, signal);
            let is_linux = cfg!(any(target_os = "linux", target_os = "android"));
            assert_eq!(sent, is_linux && !cfg!(kqueue_on_linux), "{process:?}");
            if !sent {
                drop(member.stdin.take());
            }
        }
        let status = exit_of(member.id());
        assert!(status.signal() == Some(libc::SIGUSR1) || status.code() == Some(7));
        assert_eq!(leader.wait().unwrap().code(), Some(7));
        member.wait().unwrap();
    }
}

/// Since Linux 6.9, a pidfd still refers to the group.
#[test]
fn leader_has_been_reaped() {
    for index in 0..2 {
        let mut leader = leader("wait 7");
        let process = open_by_all(leader.id()).swap_remove(index);
        let mut member = member("wait 7", leader.id());
        leader.wait().unwrap();
        #[cfg(target_os = "linux")]
        let is_sent =
            process.backend() == procwait::Backend::PidFd && common::kernel_version() >= (6, 9);
        #[cfg(not(target_os = "linux"))]
        let is_sent = false;
        assert_eq!(send(&process, 0), is_sent, "{process:?}");
        assert_eq!(send(&process, libc::SIGUSR1), is_sent, "{process:?}");
        if is_sent {
            assert_eq!(exit_of(member.id()).signal(), Some(libc::SIGUSR1));
            assert!(send(&process, libc::SIGUSR1), "its zombie is a member");
            member.wait().unwrap();
            assert!(!send(&process, libc::SIGUSR1), "no one is left");
        } else {
            assert_unharmed(member);
        }
    }
}

#[test]
fn process_that_leads_no_group() {
    let leader = leader("wait 7");
    let mut members = [member("wait 7", leader.id()), helper("wait 7")];
    for member in &mut members {
        let processes = open_by_all(member.id());
        for process in &processes {
            assert!(!send(process, libc::SIGKILL));
        }
        drop(member.stdin.take());
        exit_of(member.id());
        for process in &processes {
            assert!(!send(process, libc::SIGKILL));
        }
        assert_eq!(member.wait().unwrap().code(), Some(7));
        for process in &processes {
            assert!(!send(process, libc::SIGKILL));
        }
    }
    assert_unharmed(leader);
}

#[test]
fn process_that_has_left_its_group() {
    let mut left = leader("join-groups 7");
    let processes = open_by_all(left.id());
    let member = member("wait 7", left.id());
    let other = leader("wait 7");
    for process in &processes {
        assert!(send(process, 0));
    }
    writeln!(left.stdin.as_mut().unwrap(), "{}", other.id()).unwrap();
    let mut stdout = BufReader::new(left.stdout.take().unwrap());
    assert_eq!(common::read_line(&mut stdout), "joined");
    for process in processes.iter().chain(&open_by_all(left.id())) {
        assert!(!send(process, libc::SIGKILL), "{process:?}");
    }
    for process in [left, member, other] {
        assert_unharmed(process);
    }
}

#[track_caller]
fn assert_refused(process: &Process) {
    for signal in [0, libc::SIGKILL] {
        match process.send_signal_to_group(signal) {
            Err(Error::Os { call, pid, source }) => {
                assert_eq!((call, pid), ("kill", process.pid()));
                assert_eq!(source.kind(), ErrorKind::InvalidInput);
                assert_eq!(source.raw_os_error(), None, "the OS was not asked");
            }
            result => panic!("{process:?}: {result:?}"),
        }
    }
}

#[test]
fn own_group_is_refused() {
    in_subprocess(|| {
        let own_pid = Pid::from_raw(process::id() as i32);
        setpgid(own_pid, own_pid).unwrap();
        let own = open_by_all(process::id());
        own.iter().for_each(assert_refused);

        let mut leader = leader("wait 7");
        let processes = open_by_all(leader.id());
        setpgid(own_pid, Pid::from_raw(leader.id() as i32)).unwrap();
        processes.iter().for_each(assert_refused);
        for process in &own {
            assert!(!send(process, libc::SIGKILL), "it has left its group");
        }
        assert_eq!(leader.wait().unwrap().code(), Some(7));
        processes.iter().for_each(assert_refused);
        assert_eq!(getpgrp().as_raw() as u32, leader.id());
    });
}

/// -1 would mean every process.
#[test]
fn process_1_is_refused() {
    match Process::open(1) {
        Ok(_) => open_by_all(1).iter().for_each(assert_refused),
        Err(error) => skip("process_1_is_refused", &format!("process 1: {error}")),
    }
}

#[test]
fn invalid_signal_is_einval() {
    let leader = leader("wait 7");
    for process in &open_by_all(leader.id()) {
        for signal in [-1, 1_000, i32::MIN, i32::MAX] {
            match process.send_signal_to_group(signal) {
                Err(Error::Os { pid, source, .. }) => {
                    assert_eq!(pid, leader.id());
                    assert_eq!(source.raw_os_error(), Some(libc::EINVAL), "{signal}");
                }
                result => panic!("{process:?}, {signal}: {result:?}"),
            }
        }
    }
    assert_unharmed(leader);
}

#[test]
fn stopped_group_is_continued() {
    for index in 0..2 {
        let mut leader = leader("ignore-stdin");
        let process = open_by_all(leader.id()).swap_remove(index);
        assert!(send(&process, libc::SIGSTOP));
        // Before it is stopped, SIGTERM would end it at once.
        wait_until_stopped(&leader);
        assert!(send(&process, libc::SIGTERM));
        assert_eq!(process.try_wait().unwrap(), None);
        assert!(send(&process, libc::SIGCONT));
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert_eq!(exit.signal(), Some(libc::SIGTERM));
        leader.wait().unwrap();
    }
}
