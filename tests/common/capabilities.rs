//! What the system that runs the tests can do.

use super::{Grandchild, helper, skip};
use procwait::{Backend, Process};
use std::{process, time::Duration};

/// The CPU time of the current thread.
#[cfg(target_os = "linux")]
pub fn thread_cpu_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Whether the CPU clock advances by whole ticks. gVisor's does: it charges each tick to the thread
/// that runs at its end.
#[cfg(target_os = "linux")]
pub fn cpu_clock_counts_ticks() -> bool {
    let start = thread_cpu_time();
    loop {
        let step = thread_cpu_time() - start;
        if !step.is_zero() {
            return step > Duration::from_millis(1);
        }
    }
}

/// Whether the kernel is gVisor.
pub fn is_gvisor() -> bool {
    std::fs::exists("/proc/sentry-meminfo").unwrap_or(false)
}

fn backend() -> Backend {
    Process::open(process::id()).unwrap().backend()
}

/// Whether the kernel has pidfds and this process may open them.
#[cfg(target_os = "linux")]
pub fn has_pidfd() -> bool {
    backend() == Backend::PidFd
}

/// Whether processes are waited for by events, and not polled.
pub fn has_events() -> bool {
    backend() != Backend::Polling
}

/// The major and minor version of the kernel.
#[cfg(target_os = "linux")]
pub fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether `/proc` shows the exit codes of zombies that are not children of this process. gVisor
/// shows 0 for all of them, and Linux before 5.17 shows the exit code of the main thread.
///
/// Prints that `test` is skipped if it does not.
#[cfg(target_os = "linux")]
pub fn proc_shows_exit_codes(test: &str) -> bool {
    let mut grandchild = Grandchild::new("wait 7");
    grandchild.end();
    let shown = loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.pid)).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        if fields.starts_with('Z') {
            // Field 52 (proc_pid_stat(5)); the first one here is field 3.
            break fields.split_whitespace().nth(52 - 3) == Some("1792");
        }
        std::thread::yield_now();
    };
    let shown = shown && kernel_version() >= (5, 17);
    if !shown {
        skip(test, "exit codes of non-children in /proc");
    }
    shown
}

/// A pid that no process has.
pub fn unused_pid() -> u32 {
    if cfg!(windows) {
        return 0x7FFF_FFF0; // Windows uses low pids, and reuses them soon.
    }
    let mut child = helper("exit 0");
    child.wait().unwrap();
    child.id()
}
