//! What only Windows' pipes have.

#![cfg(windows)]
#![allow(unsafe_code)]

mod common;

use common::{
    LONG, SHORT, helper_command,
    output::{FULL, assert_counts, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _};
use std::{
    os::windows::io::{FromRawHandle as _, OwnedHandle},
    process::{ChildStdout, Stdio},
    ptr,
    time::{Duration, Instant},
};
use windows_sys::Win32::System::Pipes::CreatePipe;

/// Ours and theirs.
fn synchronous_pipe() -> (ChildStdout, Stdio) {
    let mut ends = [ptr::null_mut(); 2];
    let [ours, theirs] = &mut ends;
    // SAFETY: both handles are written to places that outlive the call.
    assert_ne!(unsafe { CreatePipe(ours, theirs, ptr::null(), 0) }, 0);
    // SAFETY: they were just made, and nobody else has them.
    let [ours, theirs] = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
    (ours.into(), theirs.into())
}

#[test]
fn a_synchronous_pipe_does_not_hold_up_the_deadline() {
    let (ours, theirs) = synchronous_pipe();
    let mut child = spawn(helper_command("ignore-stdin").stdout(theirs));
    child.stdout = Some(ours);
    let mut captured = Captured::default();
    for timeout in [Duration::ZERO, SHORT] {
        let start = Instant::now();
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        assert!(start.elapsed() >= timeout);
    }
    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
    assert!(child.stdout.is_none() && captured.stdout.is_empty());

    let (ours, theirs) = synchronous_pipe();
    let quiet = &mut helper_command("write 100000 3");
    let mut child = spawn(quiet.stdout(theirs).stderr(Stdio::null()));
    child.stdout = Some(ours);
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(captured.stdout == pattern(b'o', FULL));
}

#[test]
fn what_arrives_while_a_read_is_called_off_is_kept() {
    let mut child = piped("count");
    let mut captured = Captured::default();
    let mut rounds = 0;
    while rounds < 5_000 || captured.stdout.len() < FULL {
        let timeout = Duration::from_micros(rounds % 100);
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        rounds += 1;
    }
    child.kill().unwrap();
    child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_counts(&captured.stdout);
    assert_counts(&captured.stderr);
}
