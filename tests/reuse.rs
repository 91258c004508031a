//! Tests of waits for a process that was reaped and whose pid was reused. The `old` process is the
//! one that is waited for; the `new` process reuses its pid.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/own_pids.rs"]
mod own_pids;

use common::{
    Grandchild, LONG, SHORT, emulates, helper, helper_command, hides_start_of_zombies, skip, spawn,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use own_pids::{
    helper_with_pid, in_own_pid_namespace, mount_on_proc, reuse, set_next_pid, start_time,
};
use procwait::{Backend, Captured, ChildExt as _, Process, WaitSet, wait_pid};
use std::{fs, os::unix::process::CommandExt as _, time::Duration};

#[test]
fn reports_the_original_process_after_pid_reuse() {
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
        // The pid refers to the new process now.
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
fn polled_pid_reused_by_a_zombie() {
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let process = Process::open_with(old.id(), Backend::Polling).unwrap();
        let mut new = reuse(old);
        drop(new.stdin.take());
        wait_pid(new.id(), None).unwrap().unwrap();
        let exit = process.wait().unwrap();
        if hides_start_of_zombies() {
            let needed = "the start times of zombies, which these systems do not report";
            return skip("polled_pid_reused_by_a_zombie", needed);
        }
        assert_eq!(exit.status(), None, "not of the new process");
    });
}

#[test]
fn non_child_pid_reused_by_a_child() {
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
        assert_eq!(
            process.wait().unwrap().status(),
            None,
            "not of the new process"
        );
    });
}

/// An exit code of 0 must not be taken for an unknown one, which is then looked up by pid.
#[test]
fn exit_code_0_is_not_read_by_pid() {
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
                "the event had the status"
            );
        }
    });
}

/// The new process is inserted before the exit of the old one is reported.
#[test]
fn set_reports_both_processes_with_the_same_pid() {
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
                // The set gets both events from the kernel at once.
                let (first, _) = set.wait(None).unwrap().unwrap();
                if first == pid {
                    continue;
                }
            }
            assert!(set.insert(pid).unwrap(), "the new process");
            assert!(!set.insert(pid).unwrap(), "the same process");
            assert_eq!(set.pids().filter(|&member| member == pid).count(), 2);
            assert!(set.contains(pid));
            let mut reported = Vec::new();
            while let Some((reported_pid, exit)) = set.wait(Some(SHORT)).unwrap() {
                reported.push((reported_pid, exit));
            }
            let (_, exit) = reported.iter().find(|reported| reported.0 == pid).unwrap();
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

const BACKENDS: [fn(u32) -> Process; 2] = [
    |pid| Process::open(pid).unwrap(),
    |pid| Process::open_with(pid, Backend::Polling).unwrap(),
];

/// Whether two `Process`es, or members of a set, are known to be the same once they are reaped.
fn reaped_processes_are_compared(process: &Process) -> bool {
    match process.backend() {
        Backend::PidFd => common::kernel_version() >= (6, 9),
        Backend::Kqueue => !emulates("netbsd") && !emulates("openbsd"),
        _ => false,
    }
}

#[test]
fn set_compares_processes_in_any_order() {
    in_own_pid_namespace(|| {
        for (open, order) in BACKENDS
            .into_iter()
            .flat_map(|open| (0..4).map(move |n| (open, n)))
        {
            let old = helper("wait 7");
            let pid = old.id();
            let mut set = WaitSet::new();
            let old_process = open(pid);
            match order {
                0 => assert!(set.insert(pid).unwrap()),
                1 => assert!(set.insert_process(&old_process).unwrap()),
                _ => {}
            }
            let mut new = reuse(old);
            let new_process = open(pid);
            let context = format!("{order}, {old_process:?}");
            match order {
                0 | 1 => assert!(set.insert_process(&new_process).unwrap(), "{context}"),
                2 => {
                    assert!(set.insert(pid).unwrap());
                    assert!(set.insert_process(&old_process).unwrap(), "{context}");
                }
                _ => {
                    assert!(set.insert_process(&new_process).unwrap());
                    assert!(set.insert_process(&old_process).unwrap(), "{context}");
                }
            }
            assert!(!set.insert_process(&new_process).unwrap(), "{context}");
            assert!(!set.insert(pid).unwrap(), "{context}");
            if order != 0 || reaped_processes_are_compared(&old_process) {
                assert!(!set.insert_process(&old_process).unwrap(), "{context}");
            }
            assert_eq!((set.len(), set.pids().count()), (2, 2), "{context}");
            assert!(set.send_signal(pid, 0).unwrap(), "to the new process");
            let (_, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert!(matches!(exit.code(), Some(7) | None), "{context}: {exit:?}");
            if order != 0 {
                assert_eq!(old_process.wait().unwrap(), exit, "{context}");
            }
            assert_eq!(set.wait(Some(SHORT)).unwrap(), None, "{context}");
            assert!(set.insert_process(&old_process).unwrap(), "it was reported");
            assert_eq!(
                set.wait(None).unwrap().unwrap(),
                (pid, old_process.wait().unwrap())
            );
            drop(new.stdin.take());
            let (_, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert_eq!(exit.code(), Some(8), "{context}");
            assert_eq!(new_process.wait().unwrap(), exit);
            assert!(set.is_empty());
            new.wait().unwrap();
        }
    });
}

#[test]
fn older_process_is_reported_first_if_all_are_reaped() {
    in_own_pid_namespace(|| {
        for (open, old_first) in BACKENDS
            .into_iter()
            .flat_map(|open| [(open, true), (open, false)])
        {
            let old = helper("wait 7");
            let pid = old.id();
            let old_process = open(pid);
            let mut new = reuse(old);
            let new_process = open(pid);
            let start = start_time(pid);
            new.wait().unwrap();
            let mut newest = loop {
                let newest = helper_with_pid(pid, "wait 9");
                if start_time(pid) != start {
                    break newest;
                }
            };
            let newest_process = open(pid);
            newest.wait().unwrap();
            let mut set = WaitSet::new();
            let mut processes = [&old_process, &new_process, &newest_process];
            if !old_first {
                processes.reverse();
            }
            for process in processes {
                assert!(set.insert_process(process).unwrap());
            }
            for process in processes {
                assert!(!set.insert_process(process).unwrap());
            }
            for process in [&old_process, &new_process, &newest_process] {
                let exit = process.wait().unwrap();
                assert_eq!(set.wait(None).unwrap(), Some((pid, exit)), "{process:?}");
            }
            assert!(set.is_empty());
        }
    });
}

#[test]
fn insert_is_false_until_the_pid_is_reused() {
    in_own_pid_namespace(|| {
        let mut old = helper("wait 7");
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        drop(old.stdin.take());
        wait_pid(pid, None).unwrap();
        assert!(!set.insert(pid).unwrap(), "a zombie still has its pid");
        old.wait().unwrap();
        assert!(!set.insert(pid).unwrap(), "no process has the pid");
        assert_eq!(set.len(), 1);
        let (reported_pid, exit) = set.wait(None).unwrap().unwrap();
        assert_eq!((reported_pid, exit.code()), (pid, Some(7)));
    });
}

#[test]
fn set_remove_and_send_signal_after_pid_reuse() {
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        let mut new = reuse(old);
        assert!(set.insert(pid).unwrap());
        assert!(set.send_signal(pid, 0).unwrap(), "the new process gets it");
        assert!(set.remove(pid), "removes both");
        assert!(set.is_empty() && !set.contains(pid));
        assert_eq!(set.wait(None).unwrap(), None);
        assert!(set.insert(pid).unwrap());
        drop(new.stdin.take());
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(8));
        new.wait().unwrap();
    });
}

#[test]
fn remove_discards_pending_event() {
    in_own_pid_namespace(|| {
        let (old, mut other) = (helper("wait 7"), helper("exit 0"));
        let pid = old.id();
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        set.insert(other.id()).unwrap();
        wait_pid(other.id(), None).unwrap();
        let mut new = reuse(old);
        // The set gets both events from the kernel at once, and reports one of the exits.
        let (first, _) = set.wait(None).unwrap().unwrap();
        set.remove(pid);
        set.insert(pid).unwrap();
        if first == pid {
            assert_eq!(set.wait(None).unwrap().unwrap().0, other.id());
        }
        assert_eq!(
            set.wait(Some(SHORT)).unwrap(),
            None,
            "not the exit of the old process"
        );
        drop(new.stdin.take());
        let (reported_pid, exit) = set.wait(None).unwrap().unwrap();
        assert_eq!((reported_pid, exit.code()), (pid, Some(8)));
        other.wait().unwrap();
    });
}

/// Without descriptors, the old process cannot be distinguished from the new one. Its status must
/// be unknown then: that of the new process would be a guess.
#[test]
fn pid_reuse_after_opening_without_descriptors() {
    in_own_pid_namespace(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        for is_checked_before in [true, false] {
            let old = helper("wait 7");
            let pid = old.id();
            setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
            let process = Process::open(pid).unwrap();
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            if is_checked_before {
                assert_eq!(process.try_wait().unwrap(), None);
                assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
            }
            let mut new = reuse(old);
            let exit = process.try_wait().unwrap();
            let exit_in_set = set.wait(Some(SHORT)).unwrap();
            if is_checked_before {
                assert_eq!(exit.expect("has exited").status(), None);
                assert_eq!(exit_in_set.expect("has exited").1.status(), None);
            }
            drop(new.stdin.take());
            assert_eq!(wait_pid(pid, None).unwrap().unwrap().code(), Some(8));
            assert_eq!(
                process.wait().unwrap().status(),
                None,
                "not of the new process"
            );
            if let Some((_, exit)) = set.wait(None).unwrap() {
                assert_eq!(exit.status(), None, "not of the new process");
            }
        }
    });
}

/// A set watches a polled member by events once descriptors are free, but only if it can verify
/// that the pid still refers to the same process. Without /proc it cannot.
#[test]
fn pid_reuse_is_noticed_after_proc_was_unmounted() {
    in_own_pid_namespace(|| {
        let old = helper("wait 7");
        let pid = old.id();
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Few descriptors are free, and the set keeps them in reserve: it polls the process.
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
        let mut files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        files.truncate(files.len() - 4);
        let mut set = WaitSet::new();
        set.insert(pid).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        drop(files);
        let mut new = reuse(old);
        mount_on_proc("tmpfs");
        let reported = set.wait(Some(SHORT)).unwrap();
        drop(new.stdin.take());
        let (_, exit) = reported.or_else(|| set.wait(None).unwrap()).unwrap();
        assert!(
            matches!(exit.code(), Some(7) | None),
            "not of the new process: {exit:?}"
        );
    });
}

/// Two processes that started in the same clock tick have the same start time. An open
/// `/proc/PID/stat` distinguishes them.
#[test]
fn pid_reused_within_one_tick() {
    in_own_pid_namespace(|| {
        let mut in_same_tick = 0;
        for _ in 0..50 {
            let mut old = helper("wait 7");
            let (pid, start) = (old.id(), start_time(old.id()));
            let processes = [
                Process::open(pid).unwrap(),
                Process::open_with(pid, Backend::Polling).unwrap(),
            ];
            old.wait().unwrap();
            let new = helper_with_pid(pid, "wait 8");
            in_same_tick += u32::from(start_time(pid) == start);
            for process in &processes {
                let exit = process.try_wait().unwrap().expect("has exited");
                assert!(matches!(exit.code(), Some(7) | None), "{process:?}");
            }
            drop(new);
        }
        println!("{in_same_tick} of 50 started in the same clock tick");
    });
}

/// `kill`, `send_signal` and `stop` do not signal the process that reuses the pid, whether or not
/// descriptors could be opened.
#[test]
fn kill_does_not_hit_a_reused_pid() {
    in_own_pid_namespace(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        for (when_opened, when_checked) in [(soft, soft), (0, soft), (soft, 0), (0, 0)] {
            let old = helper("wait 7");
            let pid = old.id();
            setrlimit(Resource::RLIMIT_NOFILE, when_opened, hard).unwrap();
            let processes = [
                Process::open(pid).unwrap(),
                Process::open_with(pid, Backend::Polling).unwrap(),
            ];
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            // With a limit of 0, `ppoll` fails as well, so the checks go by pid.
            setrlimit(Resource::RLIMIT_NOFILE, when_checked, hard).unwrap();
            let checks = processes
                .each_ref()
                .map(|process| process.try_wait().unwrap());
            assert_eq!(checks, [None; 2]);
            assert_eq!(set.wait(Some(Duration::ZERO)).unwrap(), None);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            if (when_opened, when_checked) == (0, 0) {
                continue; // Nothing distinguishes the new process from the old one.
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

/// The group of the new process has the id that the group of the old one had.
#[test]
fn signal_to_group_does_not_hit_a_reused_id() {
    in_own_pid_namespace(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        for when_opened in [soft, 0] {
            let old = spawn(helper_command("wait 7").process_group(0));
            let pid = old.id();
            setrlimit(Resource::RLIMIT_NOFILE, when_opened, hard).unwrap();
            let processes = BACKENDS.map(|open| open(pid));
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            for process in &processes {
                assert!(process.send_signal_to_group(0).unwrap(), "{process:?}");
            }
            let mut new = reuse(old);
            let mut member = spawn(helper_command("wait 9").process_group(pid as i32));
            for process in &processes {
                for signal in [0, 15, 9] {
                    let sent = process.send_signal_to_group(signal).unwrap();
                    assert!(!sent, "{process:?}");
                }
            }
            for process in BACKENDS.map(|open| open(pid)) {
                assert!(process.send_signal_to_group(0).unwrap(), "{process:?}");
            }
            assert_eq!(new.wait().unwrap().code(), Some(8), "unharmed");
            drop(member.stdin.take());
            assert_eq!(member.wait().unwrap().code(), Some(9), "unharmed");
        }
    });
}

/// A registration of the old process that stays in the kqueue would stand for the new process: the
/// kqueue would report the exit of the old one for it, or none at all.
#[test]
#[cfg(kqueue_on_linux)]
fn no_stale_state_after_pid_reuse() {
    use common::{Controller, add_quirk};
    in_own_pid_namespace(|| {
        // The exit event of this process is lost during the registration.
        let mut set = WaitSet::new();
        let mut old = Grandchild::new("wait 7");
        let pid = old.pid;
        old.end();
        while wait_pid(pid, Some(SHORT)).unwrap().is_none() {}
        if emulates("freebsd") {
            add_quirk("in-flux");
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

        // The process is traced, so a check finds its exit before the kernel reports it.
        let mut old = Grandchild::new("wait 7");
        let pid = old.pid;
        set.insert(pid).unwrap();
        let mut tracer = Controller::new(&format!("trace {pid}"));
        assert_eq!(tracer.answer(), "traced");
        old.end();
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(7));
        tracer.end();
        old.reap();
        let mut new = helper_with_pid(pid, "wait 8");
        set.insert(pid).unwrap();
        assert_eq!(
            set.wait(Some(SHORT)).unwrap(),
            None,
            "the new process is running"
        );
        drop(new.stdin.take());
        assert_eq!(set.wait(Some(LONG)).unwrap().unwrap().1.code(), Some(8));
    });
}

#[test]
fn child_that_was_reaped_is_never_another_child_with_its_pid() {
    in_own_pid_namespace(|| {
        let mut old = helper("wait 7");
        let status = old.wait().unwrap();
        let mut new = helper_with_pid(old.id(), "wait 8");
        old.process().unwrap_err();
        for grace in [Duration::ZERO, LONG] {
            assert_eq!(old.stop(grace).unwrap(), status);
        }
        let mut captured = Captured::default();
        for timeout in [Duration::ZERO, LONG] {
            let progress = old.read_timeout(&mut captured, timeout).unwrap();
            assert_eq!(progress, procwait::Progress::Exited(status));
        }
        assert_eq!(new.try_wait().unwrap(), None, "it was killed");
        assert_eq!(new.stop(LONG).unwrap().code(), None);
        assert_eq!(old.stop(LONG).unwrap(), status);
    });
}

#[test]
fn child_that_was_reaped_elsewhere_is_never_a_non_child_with_its_pid() {
    in_own_pid_namespace(|| {
        // The parent of the grandchild gets the pid before it.
        const PID: u32 = 10_000;
        let mut old = helper_with_pid(PID, "wait 7");
        drop(old.stdin.take());
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(PID as i32), None).unwrap();
        let new = loop {
            set_next_pid(PID - 1);
            let new = Grandchild::new("ignore-stdin");
            if new.pid == PID {
                break new;
            }
        };
        let process = Process::open(PID).unwrap();
        let is_echild = |error: std::io::Error| error.raw_os_error() == Some(nix::libc::ECHILD);
        assert!(is_echild(old.process().unwrap_err()));
        let mut captured = Captured::default();
        for timeout in [Duration::ZERO, SHORT] {
            assert!(is_echild(old.stop(timeout).unwrap_err()));
            assert!(is_echild(
                old.read_timeout(&mut captured, timeout).unwrap_err()
            ));
        }
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "it was killed");
        process.kill().unwrap();
        drop(new);
    });
}

/// A file is at its end only once the child has exited. The process that has the pid by now does not
/// exit. (By kqueue, a process cannot be verified to be a child: there, this would time out.)
#[test]
#[cfg(not(kqueue_on_linux))]
fn reading_to_the_end_after_the_pid_was_reused_by_a_non_child() {
    in_own_pid_namespace(|| {
        // The parent of the grandchild gets the pid before it.
        const PID: u32 = 10_000;
        let empty = fs::File::open("/dev/null").unwrap();
        let mut old = helper_with_pid(PID, "wait 7");
        old.stdout = Some(std::os::fd::OwnedFd::from(empty).into());
        drop(old.stdin.take());
        assert_eq!(old.wait().unwrap().code(), Some(7));
        let new = loop {
            set_next_pid(PID - 1);
            let new = Grandchild::new("ignore-stdin");
            if new.pid == PID {
                break new;
            }
        };
        let mut captured = Captured::default();
        assert!(old.read_to_end_timeout(&mut captured, LONG / 12).unwrap());
        assert_eq!(wait_pid(PID, Some(Duration::ZERO)).unwrap(), None);
        drop(new);
    });
}

/// A forked child can be in another pid namespace, in which the same number is that of a child of
/// its own. `/proc` is still that of the outer namespace.
#[test]
#[cfg(not(kqueue_on_linux))]
fn forked_copy_in_another_pid_namespace() {
    in_own_pid_namespace(|| {
        let mut outer = helper("wait 7");
        let processes = common::open_by_all(outer.id());
        drop(outer.stdin.take());
        wait_pid(outer.id(), None).unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).unwrap();
        let in_inner_namespace = || {
            let mut inner = helper_with_pid(outer.id(), "wait 8");
            drop(inner.stdin.take());
            wait_pid(inner.id(), None).unwrap();
            for process in &processes {
                let exit = process.wait().unwrap();
                assert!(
                    matches!(exit.code(), Some(7) | None),
                    "{exit:?}, {process:?}"
                );
            }
        };
        common::assert_success(common::in_a_fork(in_inner_namespace));
    });
}
