//! Helpers that write, and what they leave behind.

use super::{Helper, helper_command, spawn};
use procwait::{Captured, Process};
use std::process::Stdio;

/// More than a pipe has room for.
pub const FULL: usize = 100_000;

/// So many bytes, no two neighbours alike.
pub fn pattern(first: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| first ^ (at % 251) as u8).collect()
}

/// A helper both of whose streams are pipes.
pub fn piped(command: &str) -> Helper {
    spawn(helper_command(command).stderr(Stdio::piped()))
}

/// A process that a helper has left behind. It ends with the test.
pub struct Left(pub Process);

impl Left {
    /// It is named in the output.
    pub fn by(captured: &Captured) -> Left {
        let text = String::from_utf8_lossy(&captured.stdout);
        let (_, text) = text.split_once('<').unwrap();
        let (pid, _) = text.split_once('>').unwrap();
        Left(Process::open(pid.parse().unwrap()).unwrap())
    }

    pub fn is_running(&self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.kill().unwrap();
    }
}

/// The numbers of `count`, of which the last may have been cut short.
#[track_caller]
pub fn assert_counts(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    for (expected, line) in text.split_inclusive('\n').enumerate() {
        let expected = format!("{expected}\n");
        match line.ends_with('\n') {
            true => assert_eq!(line, expected),
            false => assert!(expected.starts_with(line), "{line:?}, not {expected:?}"),
        }
    }
}
