//! What a waiter may not see: another user's processes, a hidden `/proc`, none.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{
    Grandchild, Helper, LONG, SHORT, STRANGER, Told, alone, helper, in_namespaces, skip, spawn,
    stranger,
};
use nix::unistd::geteuid;
use procwait::{Backend, Process, wait_pid};
use std::{env, fs, os::unix::fs::PermissionsExt as _, time::Duration};

/// Opened by the stranger and ended, but not reaped by us: what the stranger says.
fn as_told(waiter: &mut Told, helper: &mut Helper) -> String {
    let backend = waiter.ask(&format!("open {}", helper.id()));
    assert!(["pidfd", "polling"].contains(&&*backend), "{backend}");
    drop(helper.stdin.take());
    waiter.ask("wait")
}

const UNKNOWN: &str = "exited, status unknown";

#[test]
fn the_hidden_code_of_roots_zombie_is_unknown() {
    let Some(mut waiter) = stranger("the_hidden_code_of_roots_zombie_is_unknown") else {
        return;
    };
    // The kernel shows 0 for both.
    for code in [7, 0] {
        let mut helper = helper(&format!("wait {code}"));
        assert_eq!(as_told(&mut waiter, &mut helper), UNKNOWN);
    }
}

#[test]
fn a_hidden_code_is_not_believed_because_the_guard_is_out_of_sight() {
    let test = "a_hidden_code_is_not_believed_because_the_guard_is_out_of_sight";
    if !geteuid().is_root() {
        return skip(test, "root, to change to another user and root directory");
    }
    let mut helper = helper("wait 7");
    let mut waiter = Told::new(&format!("blind-waiter {}", helper.id()));
    assert_eq!(waiter.answer(), "blind");
    drop(helper.stdin.take());
    assert_eq!(waiter.answer(), UNKNOWN);
}

#[test]
fn ones_own_zombie_is_known() {
    let test = "ones_own_zombie_is_known";
    let Some(mut waiter) = stranger(test) else {
        return;
    };
    // A sibling of the waiter's, and of the same user.
    let mut sibling = Told::new(&format!("waiter {STRANGER}"));
    let pid = sibling.pid();
    // It has become that user once it answers.
    sibling.ask(&format!("open {pid}"));
    waiter.ask(&format!("open {pid}"));
    sibling.end();
    let told = match common::codes_are_shown(test) {
        true => "exited with code 0",
        false => UNKNOWN,
    };
    assert_eq!(waiter.ask("wait"), told);
}

#[test]
fn a_reaped_root_process() {
    let Some(mut waiter) = stranger("a_reaped_root_process") else {
        return;
    };
    let mut helper = helper("wait 7");
    let backend = waiter.ask(&format!("open {}", helper.id()));
    helper.wait().unwrap();
    let told = waiter.ask("wait");
    // Linux 6.15 and later tell it to all who had a pidfd.
    assert!(
        told == UNKNOWN || (told == "exited with code 7" && backend == "pidfd"),
        "{told} by {backend}"
    );
}

#[test]
fn a_set_uid_process() {
    // A child that another thread forks meanwhile would hold the copy open for writing.
    alone(|| {
        let test = "a_set_uid_process";
        let Some(mut waiter) = stranger(test) else {
            return;
        };
        let program = env::temp_dir().join(format!("procwait-set-uid-{}", std::process::id()));
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let mut command = common::helper_command_of(&program, "wait 7");
        std::os::unix::process::CommandExt::uid(&mut command, STRANGER);
        let mut helper = spawn(&mut command);
        let status = fs::read_to_string(format!("/proc/{}/status", helper.id())).unwrap();
        let told = as_told(&mut waiter, &mut helper);
        fs::remove_file(&program).unwrap();
        if !status.contains(&format!("Uid:\t{STRANGER}\t0\t")) {
            return skip(
                test,
                "a file system for temporary files that honours set-uid",
            );
        }
        assert_eq!(told, UNKNOWN);
    });
}

#[test]
fn a_proc_that_hides_others() {
    let hide = "mount -t proc -o hidepid=2 proc /proc";
    in_namespaces(&["--mount"], hide, || {
        let mut waiter = stranger("a_proc_that_hides_others").unwrap();
        let mut helper = helper("wait 7");
        assert_eq!(as_told(&mut waiter, &mut helper), UNKNOWN);
        // It is there and hidden: not gone.
        let told = waiter.ask("open 1");
        assert!(["pidfd", "polling"].contains(&&*told), "{told}");
        let gone = common::unused_pid();
        let told = waiter.ask(&format!("open {gone}"));
        assert_eq!(told, format!("process {gone} not found"));
    });
}

#[test]
fn without_proc() {
    let options = ["--user", "--map-root-user", "--mount"];
    in_namespaces(&options, "mount -t tmpfs none /proc", || {
        assert!(!fs::exists("/proc/self").unwrap());
        let mut child = helper("wait 7");
        let mut grandchild = Grandchild::new("wait 8");
        for pid in [child.id(), grandchild.pid] {
            assert_eq!(wait_pid(pid, Some(Duration::ZERO)).unwrap(), None);
            assert_eq!(wait_pid(pid, Some(SHORT)).unwrap(), None);
            for process in &common::held(pid) {
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            }
        }
        let polled = Process::open_with(grandchild.pid, Backend::Polling).unwrap();
        drop(child.stdin.take());
        assert_eq!(wait_pid(child.id(), None).unwrap().unwrap().code(), Some(7));
        for process in &common::held(child.id()) {
            assert_eq!(process.wait().unwrap().code(), Some(7));
        }
        let process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        if process.backend() == Backend::PidFd {
            // A zombie whose status nobody tells us.
            let exit = process.wait_timeout(LONG).unwrap().unwrap();
            assert_eq!(exit.status(), None);
        }
        // By polling it cannot be told from a live process until it is reaped.
        assert_eq!(polled.wait_timeout(SHORT).unwrap(), None);
        grandchild.reap();
        assert_eq!(polled.wait().unwrap().status(), None);
    });
}

#[test]
fn a_proc_of_another_pid_namespace() {
    // Not mounted anew: it shows the pids of the namespace outside.
    let options = ["--user", "--map-root-user", "--pid", "--fork"];
    in_namespaces(&options, "true", || {
        assert_ne!(
            fs::read_link("/proc/self").unwrap().to_str().unwrap(),
            std::process::id().to_string()
        );
        let mut child = helper("wait 7");
        let mut grandchild = Grandchild::new("wait 8");
        for pid in [child.id(), grandchild.pid] {
            for process in &common::held(pid) {
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            }
        }
        let process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        if process.backend() == Backend::PidFd {
            // Found in that /proc by its pid there; believed from Linux 5.17 on.
            let exit = process.wait_timeout(LONG).unwrap().unwrap();
            let code = (common::kernel() >= (5, 17)).then_some(8);
            assert_eq!(exit.code(), code);
        }
        drop(child.stdin.take());
        for process in &common::held(child.id()) {
            assert_eq!(process.wait().unwrap().code(), Some(7));
        }
    });
}
