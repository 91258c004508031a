//! Tests of reading output with a deadline, on every OS.
//!
//! A test that expects the end of a pipe runs in a subprocess. Otherwise, a child that another test
//! spawns would keep the pipe open between its `fork` and `execve`.

mod common;

use common::{
    LONG, SHORT, exit_of, helper_command, in_subprocess,
    output::{BackgroundProcess, LEN, assert_consecutive_numbers, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _, CommandExt as _};
use std::{
    io,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn output_timeout_reads_both_streams_and_reaps() {
    in_subprocess(|| {
        let mut child = piped("write 100000 3");
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
        assert_eq!(captured.discarded(), 0);
        // No other process has the pipes open, so both have ended.
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        #[cfg(unix)]
        assert!(matches!(
            procwait::wait_pid(child.id(), Some(Duration::ZERO)),
            Err(procwait::Error::NotFound { .. })
        ));

        // A second call returns the same status and reads nothing.
        let again = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(again, Some(status));
        assert_eq!(captured.stdout.len(), LEN);
    });
}

#[test]
fn streams_that_are_filled_in_turn() {
    let mut child = piped("alternate 20 exit 0");
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert!(status.success());
    assert!(captured.stdout == pattern(b'o', LEN).repeat(20));
    assert!(captured.stderr == pattern(b'e', LEN).repeat(20));
}

#[test]
fn one_stream_or_none() {
    let mut child = spawn(helper_command("write 100000 4").stderr(Stdio::null()));
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
    assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr.is_empty());

    let quiet = &mut helper_command("write 100000 4");
    let mut child = spawn(quiet.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
    assert!(captured.stdout.is_empty() && captured.stderr == pattern(b'e', LEN));

    let mut child = spawn(quiet.stdout(Stdio::null()).stderr(Stdio::null()));
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
}

#[test]
fn full_pipe_is_read_after_the_exit() {
    in_subprocess(|| {
        // This much fits into a pipe on every system.
        const FITS: usize = 16 * 1024;
        for _ in 0..200 {
            let mut child = piped(&format!("write {FITS} 0"));
            drop(child.stdin.take());
            exit_of(child.id());
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, Duration::ZERO).unwrap();
            assert!(status.unwrap().success());
            assert!(
                captured.stdout == pattern(b'o', FITS) && captured.stderr == pattern(b'e', FITS)
            );
            assert!(child.stdout.is_none() && child.stderr.is_none());
        }
    });
}

#[test]
fn grandchild_holding_pipe_does_not_block() {
    let mut child = piped("spawn-and-exit ignore-stdin");
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(5));
    let background = BackgroundProcess::started_by(&captured);
    assert!(background.is_running());
    assert!(child.stdout.is_some() && child.stderr.is_some());
}

#[test]
fn grandchild_flooding_pipe_does_not_block() {
    let mut child = piped("spawn-and-exit count");
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(5));
    let background = BackgroundProcess::started_by(&captured);
    assert!(background.is_running());

    // Further calls read the new output, and after the last writer has exited, up to the end.
    assert!(child.stdout.is_some());
    background.0.kill().unwrap();
    background.0.wait().unwrap();
    while child.stdout.is_some() || child.stderr.is_some() {
        let again = child.output_timeout(&mut captured, SHORT).unwrap();
        assert_eq!(again, Some(status));
    }
    assert_consecutive_numbers(&captured.stderr);
}

#[test]
fn deadline_holds_under_constant_output() {
    let mut child = piped("count");
    let mut captured = Captured::with_limit(10);
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        let start = Instant::now();
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        assert!(start.elapsed() >= timeout);
        assert!(start.elapsed() < LONG);
    }
    while captured.stdout.len() < 10 || captured.discarded() == 0 {
        let deadline = Instant::now() + SHORT;
        let read = child.output_deadline(&mut captured, deadline);
        assert_eq!(read.unwrap(), None);
        assert!(Instant::now() >= deadline);
    }
    assert_eq!(captured.stdout, b"0\n1\n2\n3\n4\n");
}

#[test]
fn output_resumes_after_timeout_and_kill() {
    in_subprocess(|| {
        let mut child = piped("count");
        let mut captured = Captured::default();
        while captured.stdout.len() < LEN || captured.stderr.len() < LEN {
            assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        }
        child.kill().unwrap();
        let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert!(!status.success());
        assert!(child.stdout.is_none() && child.stderr.is_none());
        assert_consecutive_numbers(&captured.stdout);
        assert_consecutive_numbers(&captured.stderr);
    });
}

#[test]
fn output_limit_discards_and_counts() {
    for limit in [0, 1, 1000, LEN - 1, LEN, LEN + 1, usize::MAX] {
        let mut child = piped("write 100000 0");
        let mut captured = Captured::with_limit(limit);
        let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert!(status.success());
        let kept = limit.min(LEN);
        assert!(captured.stdout == pattern(b'o', LEN)[..kept]);
        assert!(captured.stderr == pattern(b'e', LEN)[..kept]);
        assert_eq!(captured.discarded(), 2 * (LEN - kept) as u64);
    }
}

#[test]
fn limit_applies_to_current_length() {
    let mut child = piped("count");
    let mut captured = Captured::with_limit(4);
    let mut taken = Vec::new();
    while taken.len() < 8 {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        assert!(captured.stdout.len() <= 4);
        taken.append(&mut captured.stdout);
    }
    // A buffer that is longer than the limit already does not grow.
    captured.stdout = b"longer".to_vec();
    assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
    assert_eq!(captured.stdout, b"longer");
}

#[test]
fn command_output() {
    let output = helper_command("write 100000 7")
        .output_timeout(LONG)
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(!output.timed_out);
    assert!(output.stdout == pattern(b'o', LEN) && output.stderr == pattern(b'e', LEN));
    // Standard input is empty, so the helper exits.
    let output = helper_command("wait 8")
        .output_timeout(Duration::MAX)
        .unwrap();
    assert_eq!(output.status.code(), Some(8));
}

#[test]
fn command_is_killed_at_the_timeout() {
    for timeout in [Duration::ZERO, SHORT] {
        let start = Instant::now();
        let output = helper_command("count").output_timeout(timeout).unwrap();
        assert!(start.elapsed() >= timeout);
        assert!(output.timed_out && !output.status.success());
        assert_consecutive_numbers(&output.stdout);
        assert_consecutive_numbers(&output.stderr);
    }
}

#[test]
fn command_with_background_processes() {
    let output = helper_command("spawn-and-exit ignore-stdin")
        .output_timeout(LONG)
        .unwrap();
    assert!(!output.timed_out);
    assert_eq!(output.status.code(), Some(5));
    let mut captured = Captured::default();
    captured.stdout = output.stdout;
    assert!(BackgroundProcess::started_by(&captured).is_running());
}

#[test]
fn command_not_found() {
    let command = || Command::new("./no-program-has-this-name");
    let error = command().output_timeout(LONG).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        error.raw_os_error(),
        command().output().unwrap_err().raw_os_error()
    );
}
