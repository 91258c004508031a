//! Helpers that write output, and the background processes that they start.

#[cfg(target_os = "linux")]
use super::thread_cpu_time;
use super::{Helper, SHORT, helper_command, spawn};
use procwait::{Captured, ChildExt as _, Process};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};

/// What `write 100000` writes to each stream: more than fits into a pipe.
pub const LEN: usize = 100_000;

/// A pattern of this length in which neighbouring bytes differ.
pub fn pattern(first: u8, len: usize) -> Vec<u8> {
    (0..len).map(|index| first ^ (index % 251) as u8).collect()
}

/// Starts a helper with pipes for both of its output streams.
pub fn piped(command: &str) -> Helper {
    spawn(helper_command(command).stderr(Stdio::piped()))
}

/// Asserts that a call times out, not too early, and does not spin, which would take a whole core.
#[track_caller]
pub fn assert_sleeps(child: &mut Helper, captured: &mut Captured) {
    // An emulator translates each code path when it is first used, which takes CPU time.
    assert_eq!(child.output_timeout(captured, SHORT).unwrap(), None);
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    #[cfg(target_os = "linux")]
    let cpu = thread_cpu_time();
    assert_eq!(child.output_timeout(captured, timeout).unwrap(), None);
    let elapsed = start.elapsed();
    assert!(elapsed >= timeout);
    #[cfg(target_os = "linux")]
    assert!(thread_cpu_time() - cpu < elapsed / 2, "it spins");
}

/// A process that outlives the helper that started it. Dropping it kills the process.
pub struct BackgroundProcess(pub Process);

impl BackgroundProcess {
    /// Opens the process whose pid the helper has printed.
    pub fn started_by(captured: &Captured) -> BackgroundProcess {
        let text = String::from_utf8_lossy(&captured.stdout);
        let (_, text) = text.split_once('<').unwrap();
        let (pid, _) = text.split_once('>').unwrap();
        BackgroundProcess(Process::open(pid.parse().unwrap()).unwrap())
    }

    pub fn is_running(&self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for BackgroundProcess {
    fn drop(&mut self) {
        self.0.kill().unwrap();
    }
}

/// Asserts that these are lines of the helper `count`. The last one may be incomplete.
#[track_caller]
pub fn assert_consecutive_numbers(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    for (expected, line) in text.split_inclusive('\n').enumerate() {
        let expected = format!("{expected}\n");
        if line.ends_with('\n') {
            assert_eq!(line, expected);
        } else {
            assert!(expected.starts_with(line), "{line:?}, not {expected:?}");
        }
    }
}
