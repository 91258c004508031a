//! Tests in a new pid namespace, in which they can choose the next pid.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use crate::common::{Helper, helper_command, in_namespaces, spawn};
use std::{fs, os::unix::process::CommandExt as _, process::Command};

const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Runs the body of a test as root in a new pid namespace.
pub fn in_own_pid_namespace<F: FnOnce()>(body: F) {
    let options = [
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    in_namespaces(&options, &format!("test -w {LAST_PID}"), body);
}

/// Sets the pid of the next process or thread that starts in the namespace, if that pid is free.
pub fn set_next_pid(pid: u32) {
    fs::write(LAST_PID, (pid - 1).to_string()).unwrap();
}

/// Field 22 of `/proc/PID/stat`, by which polling distinguishes processes, in clock ticks of a
/// hundredth of a second.
pub fn start_time(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().nth(22 - 3).unwrap().to_owned()
}

/// Starts a helper with this pid, which also leads a process group.
pub fn helper_with_pid(pid: u32, command: &str) -> Helper {
    loop {
        set_next_pid(pid);
        let helper = spawn(helper_command(command).process_group(0));
        // Another new thread may have taken the pid.
        if helper.id() == pid {
            return helper;
        }
    }
}

/// Ends and reaps a helper, and starts another one with its pid but a later start time.
pub fn reuse(mut old: Helper) -> Helper {
    let (pid, start) = (old.id(), start_time(old.id()));
    assert_eq!(old.wait().unwrap().code(), Some(7));
    loop {
        let new = helper_with_pid(pid, "wait 8");
        if start_time(pid) != start {
            return new;
        }
    }
}

/// Waits until the clock of start times has advanced since a process started, so that another one
/// starts later.
pub fn outlast_start_tick(pid: u32) {
    use nix::time::{ClockId, clock_gettime};
    let start: i64 = start_time(pid).parse().unwrap();
    loop {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
        #[allow(clippy::useless_conversion)] // 32 bits on i686
        let ticks = i64::from(now.tv_sec()) * 100 + i64::from(now.tv_nsec()) / 10_000_000;
        if ticks > start {
            return;
        }
        std::thread::yield_now();
    }
}

/// Mounts over `/proc`, in the mount namespace of the test: procfs, or a file system that does not
/// show processes.
pub fn mount_on_proc(file_system: &str) {
    let mut mount = Command::new("mount");
    let status = mount.args(["-t", file_system, "none", "/proc"]).status();
    assert!(status.unwrap().success());
}
