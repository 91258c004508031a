//! Tests in a new pid namespace, in which they can choose the next pid.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use crate::common::in_namespaces;
use std::fs;

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
