//! A pid that is given to a new process while the old one is still waited for.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/own_pids.rs"]
mod own_pids;

use common::{Grandchild, Helper, SHORT, helper, plays, skip};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use own_pids::{in_own_pid_namespace, set_next_pid, start_time};
use procwait::{Backend, Process, WaitSet, wait_pid};
use std::{fs, process::Command, time::Duration};

/// Starts the helper under this pid.
fn helper_with_pid(pid: u32, command: &str) -> Helper {
    loop {
        set_next_pid(pid);
        let helper = helper(command);
        // A thread may have been quicker.
        if helper.id() == pid {
            return helper;
        }
    }
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
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let pid = old.id();
        let processes = [
            Process::open(pid).unwrap(),
            Process::open_with(pid, Backend::Polling).unwrap(),
        ];
        let mut new = reuse(old);
        for process in &processes {
            let exit = process.try_wait().unwrap().expect("has exited");
            assert!(matches!(exit.code(), Some(7) | None), "{process:?}");
        }
        // The number means the new one now.
        assert_eq!(wait_pid(pid, Some(SHORT)).unwrap(), None);
        drop(new.stdin.take());
        assert_eq!(wait_pid(pid, None).unwrap().unwrap().code(), Some(8));
        for process in &processes {
            let exit = process.wait().unwrap();
            assert!(matches!(exit.code(), Some(7) | None), "{process:?}");
        }
    });
}

#[test]
fn polled_while_the_new_one_is_a_zombie() {
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let process = Process::open_with(old.id(), Backend::Polling).unwrap();
        let mut new = reuse(old);
        drop(new.stdin.take());
        wait_pid(new.id(), None).unwrap().unwrap();
        let exit = process.wait().unwrap();
        if plays("netbsd") || plays("openbsd") {
            let lacking = "a zombie's start time, which these systems do not tell";
            return skip("polled_while_the_new_one_is_a_zombie", lacking);
        }
        assert_eq!(exit.status(), None, "not the new one's");
    });
}

#[test]
fn a_strangers_number_that_becomes_a_childs() {
    in_own_pid_namespace(|| {
        let mut old = Grandchild::new("wait 7");
        let pid = old.pid;
        let process = Process::open_with(pid, Backend::Polling).unwrap();
        let start = start_time(pid);
        old.end();
        old.reap();
        let mut new = loop {
            let new = helper_with_pid(pid, "wait 8");
            if start_time(pid) != start {
                break new;
            }
        };
        drop(new.stdin.take());
        wait_pid(pid, None).unwrap().unwrap();
        assert_eq!(process.wait().unwrap().status(), None, "not the new one's");
    });
}

/// A code of 0 is a code.
#[test]
fn success_is_not_looked_up_by_the_number() {
    in_own_pid_namespace(|| {
        let mut old = helper("wait 0");
        let pid = old.id();
        let process = Process::open(pid).unwrap();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        old.wait().unwrap();
        let mut new = helper_with_pid(pid, "wait 8");
        drop(new.stdin.take());
        wait_pid(pid, None).unwrap().unwrap();
        let exits = [process.wait().unwrap(), set.wait(None).unwrap().unwrap().1];
        for exit in exits {
            assert!(matches!(exit.code(), Some(0) | None), "{exit:?}");
            assert!(
                !cfg!(kqueue_on_linux) || exit.code() == Some(0),
                "it was told"
            );
        }
    });
}

/// The set has both: the exit of one is not reported yet when the other is inserted.
#[test]
fn set_reports_both_processes_that_have_had_a_pid() {
    in_own_pid_namespace(|| {
        for reports_other_first in [false, true] {
            let (old, mut other) = (helper("wait 7"), helper("wait 0"));
            let pid = old.id();
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            set.insert(other.id()).unwrap();
            assert!(!set.insert(pid).unwrap(), "the same process");
            let mut new = reuse(old);
            drop(other.stdin.take());
            wait_pid(other.id(), None).unwrap();
            if reports_other_first {
                // Both exits are taken from the kernel at once.
                let (first, _) = set.wait(None).unwrap().unwrap();
                if first == pid {
                    continue;
                }
            }
            assert!(set.insert(pid).unwrap(), "the new process");
            assert!(!set.insert(pid).unwrap(), "the same process");
            assert_eq!(set.pids().filter(|&it| it == pid).count(), 2);
            assert!(set.contains(pid));
            let mut reported = Vec::new();
            while let Some((reported_pid, exit)) = set.wait(Some(SHORT)).unwrap() {
                reported.push((reported_pid, exit));
            }
            let (_, exit) = reported.iter().find(|(it, _)| *it == pid).unwrap();
            assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
            assert_eq!(set.len(), 1);
            drop(new.stdin.take());
            let (reported_pid, exit) = set.wait(None).unwrap().unwrap();
            assert_eq!((reported_pid, exit.code()), (pid, Some(8)));
            assert!(set.is_empty());
            new.wait().unwrap();
            other.wait().unwrap();
        }
    });
}

#[test]
fn set_keeps_the_pid_of_a_zombie_and_of_no_process() {
    in_own_pid_namespace(|| {
        let mut old = helper("wait 7");
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        drop(old.stdin.take());
        wait_pid(pid, None).unwrap();
        assert!(!set.insert(pid).unwrap(), "a zombie still has its pid");
        old.wait().unwrap();
        assert!(!set.insert(pid).unwrap(), "no process has it");
        assert_eq!(set.len(), 1);
        let (reported_pid, exit) = set.wait(None).unwrap().unwrap();
        assert_eq!((reported_pid, exit.code()), (pid, Some(7)));
    });
}

#[test]
fn set_removes_and_signals_by_pid_after_reuse() {
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let mut new = reuse(old);
        assert!(set.insert(pid).unwrap());
        assert!(set.send_signal(pid, 0).unwrap(), "to the living one");
        assert!(set.remove(pid), "both");
        assert!(set.is_empty() && !set.contains(pid));
        assert_eq!(set.wait(None).unwrap(), None);
        assert!(set.insert(pid).unwrap());
        drop(new.stdin.take());
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(8));
        new.wait().unwrap();
    });
}

#[test]
fn removed_from_a_set_with_news_on_their_way() {
    in_own_pid_namespace(|| {
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

/// With no descriptor there is nothing to tell the old one from the new by, but to say
/// how the new one exited would be a guess.
#[test]
fn opened_without_descriptors() {
    in_own_pid_namespace(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        for is_seen_before in [true, false] {
            let old = helper("wait 7");
            let pid = old.id();
            setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
            let process = Process::open(pid).unwrap();
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            if is_seen_before {
                assert_eq!(process.try_wait().unwrap(), None);
                assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
            }
            let mut new = reuse(old);
            let (seen, seen_in_set) = (process.try_wait().unwrap(), set.wait(Some(SHORT)).unwrap());
            if is_seen_before {
                assert_eq!(seen.expect("has exited").status(), None);
                assert_eq!(seen_in_set.expect("has exited").1.status(), None);
            }
            drop(new.stdin.take());
            assert_eq!(wait_pid(pid, None).unwrap().unwrap().code(), Some(8));
            assert_eq!(process.wait().unwrap().status(), None, "not the new one's");
            if let Some((_, exit)) = set.wait(None).unwrap() {
                assert_eq!(exit.status(), None, "not the new one's");
            }
        }
    });
}

/// What is polled goes over to events when it can be seen to be the same process, and not
/// just that somebody has its number.
#[test]
fn not_taken_for_the_old_one_when_proc_has_gone() {
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let pid = old.id();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // A number that a set leaves to the program: it is polled, and not held.
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        let free = taken.split_off(taken.len() - 4);
        drop(free);
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        drop(taken);
        let mut new = reuse(old);
        let hidden = Command::new("mount")
            .args(["-t", "tmpfs", "none", "/proc"])
            .status();
        assert!(hidden.unwrap().success());
        let seen = set.wait(Some(SHORT)).unwrap();
        drop(new.stdin.take());
        let (_, exit) = seen.or_else(|| set.wait(None).unwrap()).unwrap();
        assert!(
            matches!(exit.code(), Some(7) | None),
            "not the new one's: {exit:?}"
        );
    });
}

/// With no mark but the time at which it started, two that started in the same hundredth
/// of a second are one: an open file tells them apart.
#[test]
fn given_away_at_once() {
    in_own_pid_namespace(|| {
        let mut same = 0;
        for _ in 0..50 {
            let mut old = helper("wait 7");
            let (pid, start) = (old.id(), start_time(old.id()));
            let processes = [
                Process::open(pid).unwrap(),
                Process::open_with(pid, Backend::Polling).unwrap(),
            ];
            old.wait().unwrap();
            let new = helper_with_pid(pid, "wait 8");
            same += u32::from(start_time(pid) == start);
            for process in &processes {
                let exit = process.try_wait().unwrap().expect("has exited");
                assert!(matches!(exit.code(), Some(7) | None), "{process:?}");
            }
            drop(new);
        }
        println!("{same} of 50 started in the same hundredth of a second");
    });
}

/// Whoever has the number by then.
#[test]
fn the_next_bearer_of_the_pid_is_not_killed() {
    in_own_pid_namespace(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        for (at_first, later) in [(soft, soft), (0, soft), (soft, 0), (0, 0)] {
            let old = helper("wait 7");
            let pid = old.id();
            setrlimit(Resource::RLIMIT_NOFILE, at_first, hard).unwrap();
            let processes = [
                Process::open(pid).unwrap(),
                Process::open_with(pid, Backend::Polling).unwrap(),
            ];
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            // With none left, `ppoll` fails as well, and the looks are by number.
            setrlimit(Resource::RLIMIT_NOFILE, later, hard).unwrap();
            let looks = processes.each_ref().map(|it| it.try_wait().unwrap());
            assert_eq!(looks, [None; 2]);
            assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            if (at_first, later) == (0, 0) {
                continue; // There is nothing to know it by.
            }
            let mut new = reuse(old);
            for process in &processes {
                assert!(!process.send_signal(15).unwrap(), "{process:?}");
                process.kill().unwrap();
                assert!(process.stop(SHORT).unwrap().is_some());
            }
            assert!(!set.send_signal(pid, 15).unwrap());
            set.kill(pid).unwrap();
            assert_eq!(wait_pid(pid, Some(SHORT)).unwrap(), None, "unharmed");
            assert_eq!(new.wait().unwrap().code(), Some(8));
        }
    });
}

/// What is left in a kqueue of the last process with this number would stand for the new
/// one: its exit would be told of it, or nothing ever.
#[test]
#[cfg(kqueue_on_linux)]
fn nothing_is_left_of_the_last_bearer() {
    use common::{LONG, Told, with_habit};
    in_own_pid_namespace(|| {
        // One whose exit was lost while it was registered.
        let mut set = WaitSet::new();
        let mut old = Grandchild::new("wait 7");
        let pid = old.pid;
        old.end();
        while wait_pid(pid, Some(SHORT)).unwrap().is_none() {}
        if plays("freebsd") {
            with_habit("in-flux");
        }
        set.insert(pid).unwrap();
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
        old.reap();
        let mut new = helper_with_pid(pid, "wait 8");
        set.insert(pid).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        drop(new.stdin.take());
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().1.code(), Some(8));
        new.wait().unwrap();

        // One whose exit was seen before it was told, as it was traced.
        let mut old = Grandchild::new("wait 7");
        let pid = old.pid;
        set.insert(pid).unwrap();
        let mut tracer = Told::new(&format!("trace {pid}"));
        assert_eq!(tracer.answer(), "traced");
        old.end();
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
        tracer.end();
        old.reap();
        let mut new = helper_with_pid(pid, "wait 8");
        set.insert(pid).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None, "of a living process");
        drop(new.stdin.take());
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().1.code(), Some(8));
    });
}
