//! The busy loops that Python's libraries had until 2026, and psutil's way to wait
//! for many processes.

use super::bare;
use rustix::{fd::AsFd as _, process::WaitStatus};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Waits for a child and reaps it.
pub type Wait = fn(u32, Duration) -> Option<WaitStatus>;

/// `psutil.Process.wait`, 7.2.1 and earlier.
pub fn psutil_polling(pid: u32, timeout: Duration) -> Option<WaitStatus> {
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = bare::try_reap(pid) {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(40));
    }
}

/// `psutil.Process.wait`, 7.2.2 and later, with its timeout cut to milliseconds.
pub fn psutil_pidfd(pid: u32, timeout: Duration) -> Option<WaitStatus> {
    let pidfd = bare::open(pid);
    let timeout = Duration::from_millis(timeout.as_millis() as u64);
    bare::is_readable_within(pidfd.as_fd(), timeout)
        .then(|| bare::try_reap(pid).expect("it has exited"))
}

/// `subprocess.Popen.wait`, before Python 3.15.
pub fn cpython_polling(pid: u32, timeout: Duration) -> Option<WaitStatus> {
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = bare::try_reap(pid) {
            return Some(status);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        pause = (pause * 2).min(left).min(Duration::from_millis(50));
        thread::sleep(pause);
    }
}

/// `psutil.wait_procs`: waits for one after the other, so long for each that a
/// round takes a second at most.
pub fn wait_procs(pids: &[u32], timeout: Duration, wait: Wait) -> Vec<WaitStatus> {
    let end = Instant::now() + timeout;
    let mut alive = pids.to_vec();
    let mut statuses = Vec::with_capacity(pids.len());
    while !alive.is_empty() && Instant::now() < end {
        let slice = Duration::from_secs(1) / alive.len() as u32;
        alive.retain(|&pid| {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let status = wait(pid, left.min(slice));
            statuses.extend(status);
            status.is_none()
        });
    }
    statuses
}
