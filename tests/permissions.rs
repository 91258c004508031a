//! Tests of waits without permissions: for another user's process, and with a `/proc` that is
//! hidden, missing, or of another pid namespace.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{
    Controller, Grandchild, Helper, LONG, OTHER_USER, SHORT, helper, in_namespaces, in_subprocess,
    skip, spawn, waiter_as_other_user,
};
use nix::unistd::geteuid;
use procwait::{Backend, Process, wait_pid};
use std::{env, fs, os::unix::fs::PermissionsExt as _, time::Duration};

/// Lets the waiter open the helper, and ends the helper without reaping it. Returns the waiter's
/// answer.
fn wait_as_other_user(waiter: &mut Controller, helper: &mut Helper) -> String {
    let backend = waiter.request(&format!("open {}", helper.id()));
    assert!(["pidfd", "polling"].contains(&&*backend), "{backend}");
    drop(helper.stdin.take());
    waiter.request("wait")
}

const UNKNOWN: &str = "exited, status unknown";

#[test]
fn hidden_code_of_roots_zombie_is_unknown() {
    let Some(mut waiter) = waiter_as_other_user("hidden_code_of_roots_zombie_is_unknown") else {
        return;
    };
    // The kernel shows an exit code of 0 for both.
    for code in [7, 0] {
        let mut helper = helper(&format!("wait {code}"));
        assert_eq!(wait_as_other_user(&mut waiter, &mut helper), UNKNOWN);
    }
}

#[test]
fn exit_code_hidden_by_chroot_is_unknown() {
    let test = "exit_code_hidden_by_chroot_is_unknown";
    if !geteuid().is_root() {
        return skip(test, "root, to change to another user and root directory");
    }
    let mut helper = helper("wait 7");
    let mut waiter = Controller::new(&format!("chroot-waiter {}", helper.id()));
    assert_eq!(waiter.answer(), "chrooted");
    drop(helper.stdin.take());
    assert_eq!(waiter.answer(), UNKNOWN);
}

#[test]
fn own_zombie_has_status() {
    let test = "own_zombie_has_status";
    let Some(mut waiter) = waiter_as_other_user(test) else {
        return;
    };
    // A process of the same user, which is not a child of the waiter.
    let mut sibling = Controller::new(&format!("as-user {OTHER_USER} waiter"));
    let pid = sibling.pid();
    // The answer means that it has changed to that user.
    sibling.request(&format!("open {pid}"));
    waiter.request(&format!("open {pid}"));
    sibling.end();
    let expected = if common::proc_shows_exit_codes(test) {
        "exited with code 0"
    } else {
        UNKNOWN
    };
    assert_eq!(waiter.request("wait"), expected);
}

#[test]
fn reaped_process_of_root() {
    let Some(mut waiter) = waiter_as_other_user("reaped_process_of_root") else {
        return;
    };
    let mut helper = helper("wait 7");
    let backend = waiter.request(&format!("open {}", helper.id()));
    helper.wait().unwrap();
    let answer = waiter.request("wait");
    // Linux 6.15 and later report the status through a pidfd that was opened before.
    assert!(
        answer == UNKNOWN || (answer == "exited with code 7" && backend == "pidfd"),
        "{answer} by {backend}"
    );
}

#[test]
fn set_uid_process() {
    // This needs a subprocess: a child that another test forks could keep the copy of the program
    // open for writing, and then `execve` fails with ETXTBSY.
    in_subprocess(|| {
        let test = "set_uid_process";
        let Some(mut waiter) = waiter_as_other_user(test) else {
            return;
        };
        let program = env::temp_dir().join(format!("procwait-set-uid-{}", std::process::id()));
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
        let mut command = common::helper_command_of(&program, "wait 7");
        std::os::unix::process::CommandExt::uid(&mut command, OTHER_USER);
        let mut helper = spawn(&mut command);
        let status = fs::read_to_string(format!("/proc/{}/status", helper.id())).unwrap();
        let answer = wait_as_other_user(&mut waiter, &mut helper);
        fs::remove_file(&program).unwrap();
        if !status.contains(&format!("Uid:\t{OTHER_USER}\t0\t")) {
            return skip(
                test,
                "a file system for temporary files that honours the set-uid bit",
            );
        }
        assert_eq!(answer, UNKNOWN);
    });
}

#[test]
fn proc_with_hidepid() {
    let hide = "mount -t proc -o hidepid=2 proc /proc";
    in_namespaces(&["--mount"], hide, || {
        let mut waiter = waiter_as_other_user("proc_with_hidepid").unwrap();
        let mut helper = helper("wait 7");
        assert_eq!(wait_as_other_user(&mut waiter, &mut helper), UNKNOWN);
        // A hidden process can be opened; an unused pid is not found.
        let backend = waiter.request("open 1");
        assert!(["pidfd", "polling"].contains(&&*backend), "{backend}");
        let unused = common::unused_pid();
        let answer = waiter.request(&format!("open {unused}"));
        assert_eq!(answer, format!("process {unused} not found"));
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
            for process in &common::open_by_all(pid) {
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            }
        }
        let polled = Process::open_with(grandchild.pid, Backend::Polling).unwrap();
        drop(child.stdin.take());
        assert_eq!(wait_pid(child.id(), None).unwrap().unwrap().code(), Some(7));
        for process in &common::open_by_all(child.id()) {
            assert_eq!(process.wait().unwrap().code(), Some(7));
        }
        let process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        if process.backend() == Backend::PidFd {
            // The event reports a zombie, but the kernel shows its status only in /proc.
            let exit = process.wait_timeout(LONG).unwrap().unwrap();
            assert_eq!(exit.status(), None);
        }
        // Without /proc, polling cannot distinguish a zombie from a running process.
        assert_eq!(polled.wait_timeout(SHORT).unwrap(), None);
        grandchild.reap();
        assert_eq!(polled.wait().unwrap().status(), None);
    });
}

#[test]
fn proc_of_another_pid_namespace() {
    // /proc is not mounted again, so it shows the pids of the outer namespace.
    let options = ["--user", "--map-root-user", "--pid", "--fork"];
    in_namespaces(&options, "true", || {
        assert_ne!(
            fs::read_link("/proc/self").unwrap().to_str().unwrap(),
            std::process::id().to_string()
        );
        let mut child = helper("wait 7");
        let mut grandchild = Grandchild::new("wait 8");
        for pid in [child.id(), grandchild.pid] {
            for process in &common::open_by_all(pid) {
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            }
        }
        let process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        if process.backend() == Backend::PidFd {
            // The pidfd's fdinfo has the pid in that /proc. The exit code there is right from Linux
            // 5.17 on.
            let exit = process.wait_timeout(LONG).unwrap().unwrap();
            let code = (common::kernel_version() >= (5, 17)).then_some(8);
            assert_eq!(exit.code(), code);
        }
        drop(child.stdin.take());
        for process in &common::open_by_all(child.id()) {
            assert_eq!(process.wait().unwrap().code(), Some(7));
        }
    });
}
