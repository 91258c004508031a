//! A pid that is given to a new process while the old one is still waited for.

#![cfg(target_os = "linux")]

mod common;

use common::{Helper, SHORT, helper, in_namespaces};
use procwait::{Backend, Process, WaitSet, wait_pid};
use std::fs;

/// A pid namespace of its own, as its root: there the next pid can be chosen.
const OWN_PIDS: [&str; 5] = [
    "--user",
    "--map-root-user",
    "--pid",
    "--fork",
    "--mount-proc",
];
const CHOOSABLE: &str = "test -w /proc/sys/kernel/ns_last_pid";

/// Starts the helper under this pid.
fn helper_with_pid(pid: u32, command: &str) -> Helper {
    loop {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let helper = helper(command);
        // A thread may have been quicker.
        if helper.id() == pid {
            return helper;
        }
    }
}

/// The 22nd field of `stat`, which polling has to go by: hundredths of a second.
fn start_time(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(19).unwrap().to_owned()
}

/// Ends and reaps a helper, and gives its pid to another, which is running.
fn reuse(mut old: Helper) -> Helper {
    let (pid, start) = (old.id(), start_time(old.id()));
    assert_eq!(old.wait().unwrap().code(), Some(7));
    loop {
        let new = helper_with_pid(pid, "wait 8");
        if start_time(pid) != start {
            return new;
        }
    }
}

#[test]
fn the_old_ones_exit_and_never_the_new_ones() {
    in_namespaces(&OWN_PIDS, CHOOSABLE, || {
        let old = helper("wait 7");
        let pid = old.id();
        let mut processes = [
            Process::open(pid).unwrap(),
            Process::open_with(pid, Backend::Polling).unwrap(),
        ];
        let mut new = reuse(old);
        for process in &mut processes {
            let exit = process.try_wait().unwrap().expect("has exited");
            assert!(matches!(exit.code(), Some(7) | None), "{process:?}");
        }
        // The number means the new one now.
        assert_eq!(wait_pid(pid, Some(SHORT)).unwrap(), None);
        drop(new.stdin.take());
        assert_eq!(wait_pid(pid, None).unwrap().unwrap().code(), Some(8));
        for process in &mut processes {
            let exit = process.wait().unwrap();
            assert!(matches!(exit.code(), Some(7) | None), "{process:?}");
        }
    });
}

#[test]
fn polled_while_the_new_one_is_a_zombie() {
    in_namespaces(&OWN_PIDS, CHOOSABLE, || {
        let old = helper("wait 7");
        let mut process = Process::open_with(old.id(), Backend::Polling).unwrap();
        let mut new = reuse(old);
        drop(new.stdin.take());
        wait_pid(new.id(), None).unwrap().unwrap();
        let exit = process.wait().unwrap();
        assert_eq!(exit.status(), None, "not the new one's");
    });
}

#[test]
fn in_a_set_with_the_old_ones_exit_still_to_be_told() {
    in_namespaces(&OWN_PIDS, CHOOSABLE, || {
        let old = helper("wait 7");
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let mut new = reuse(old);
        assert!(!set.insert(pid).unwrap(), "the old one is still in");
        let (told, exit) = set.wait(None).unwrap().unwrap();
        assert_eq!(told, pid);
        assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");

        assert!(set.insert(pid).unwrap(), "the new one");
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        drop(new.stdin.take());
        let (told, exit) = set.wait(None).unwrap().unwrap();
        assert_eq!((told, exit.code()), (pid, Some(8)));
    });
}

#[test]
fn removed_from_a_set_with_news_on_their_way() {
    in_namespaces(&OWN_PIDS, CHOOSABLE, || {
        let (old, mut other) = (helper("wait 7"), helper("exit 0"));
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        set.insert(other.id()).unwrap();
        wait_pid(other.id(), None).unwrap();
        let mut new = reuse(old);
        // Both exits are taken from the kernel at once, and one is handed out.
        let (first, _) = set.wait(None).unwrap().unwrap();
        set.remove(pid);
        set.insert(pid).unwrap();
        if first == pid {
            assert_eq!(set.wait(None).unwrap().unwrap().0, other.id());
        }
        assert_eq!(
            set.wait(Some(SHORT)).unwrap(),
            None,
            "not the old one's exit"
        );
        drop(new.stdin.take());
        let (told, exit) = set.wait(None).unwrap().unwrap();
        assert_eq!((told, exit.code()), (pid, Some(8)));
        other.wait().unwrap();
    });
}
