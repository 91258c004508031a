//! Output within a deadline, on every OS.
//!
//! Who looks for the end of a pipe is alone in his process: a child that another test spawns
//! holds a copy of it between its fork and its exec.

mod common;

use common::{
    LONG, SHORT, alone, exit_of, helper_command,
    output::{FULL, Left, assert_counts, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _, CommandExt as _};
use std::{
    io,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn it_reads_both_streams_until_the_exit_and_reaps() {
    alone(|| {
        let mut child = piped("write 100000 3");
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
        assert!(captured.stdout == pattern(b'o', FULL) && captured.stderr == pattern(b'e', FULL));
        assert_eq!(captured.discarded(), 0);
        // Nobody else holds them.
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        #[cfg(unix)]
        assert!(matches!(
            procwait::wait_pid(child.id(), Some(Duration::ZERO)),
            Err(procwait::Error::NotFound { .. })
        ));

        // And once more, of which nothing comes.
        let again = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(again, Some(status));
        assert_eq!(captured.stdout.len(), FULL);
    });
}

#[test]
fn streams_that_are_filled_in_turn() {
    let mut child = piped("alternate 20");
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert!(status.success());
    assert!(captured.stdout == pattern(b'o', FULL).repeat(20));
    assert!(captured.stderr == pattern(b'e', FULL).repeat(20));
}

#[test]
fn one_stream_or_none() {
    let mut child = spawn(helper_command("write 100000 4").stderr(Stdio::null()));
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
    assert!(captured.stdout == pattern(b'o', FULL) && captured.stderr.is_empty());

    let quiet = &mut helper_command("write 100000 4");
    let mut child = spawn(quiet.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
    assert!(captured.stdout.is_empty() && captured.stderr == pattern(b'e', FULL));

    let mut child = spawn(quiet.stdout(Stdio::null()).stderr(Stdio::null()));
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(4));
}

#[test]
fn what_is_in_a_full_pipe_at_the_exit_is_read() {
    alone(|| {
        // What fits on every system.
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
fn nobody_waits_for_a_process_that_holds_the_pipe() {
    let mut child = piped("leave ignore-stdin");
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(5));
    let left = Left::by(&captured);
    assert!(left.is_running());
    assert!(child.stdout.is_some() && child.stderr.is_some());
}

#[test]
fn nobody_waits_for_a_process_that_floods_the_pipe() {
    let mut child = piped("leave count");
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(5));
    let left = Left::by(&captured);
    assert!(left.is_running());

    // Another call reads what has come since, and once nobody holds the pipe, to its end.
    assert!(child.stdout.is_some());
    left.0.kill().unwrap();
    left.0.wait().unwrap();
    while child.stdout.is_some() || child.stderr.is_some() {
        let again = child.output_timeout(&mut captured, SHORT).unwrap();
        assert_eq!(again, Some(status));
    }
    assert_counts(&captured.stderr);
}

#[test]
fn a_flood_does_not_outrun_the_deadline() {
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
fn it_goes_on_where_it_stopped_after_the_kill_too() {
    alone(|| {
        let mut child = piped("count");
        let mut captured = Captured::default();
        while captured.stdout.len() < FULL || captured.stderr.len() < FULL {
            assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        }
        child.kill().unwrap();
        let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert!(!status.success());
        assert!(child.stdout.is_none() && child.stderr.is_none());
        assert_counts(&captured.stdout);
        assert_counts(&captured.stderr);
    });
}

#[test]
fn beyond_the_limit_it_counts_and_the_child_goes_on() {
    for limit in [0, 1, 1000, FULL - 1, FULL, FULL + 1, usize::MAX] {
        let mut child = piped("write 100000 0");
        let mut captured = Captured::with_limit(limit);
        let status = child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert!(status.success());
        let kept = limit.min(FULL);
        assert!(captured.stdout == pattern(b'o', FULL)[..kept]);
        assert!(captured.stderr == pattern(b'e', FULL)[..kept]);
        assert_eq!(captured.discarded(), 2 * (FULL - kept) as u64);
    }
}

#[test]
fn the_limit_is_on_what_is_there() {
    let mut child = piped("count");
    let mut captured = Captured::with_limit(4);
    let mut taken = Vec::new();
    while taken.len() < 8 {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        assert!(captured.stdout.len() <= 4);
        taken.append(&mut captured.stdout);
    }
    // One that was longer from the start grows no further.
    captured.stdout = b"longer".to_vec();
    assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
    assert_eq!(captured.stdout, b"longer");
}

#[test]
fn a_command_is_run_to_its_end() {
    let output = helper_command("write 100000 7")
        .output_timeout(LONG)
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(!output.timed_out);
    assert!(output.stdout == pattern(b'o', FULL) && output.stderr == pattern(b'e', FULL));
    // Its standard input is at its end.
    let output = helper_command("wait 8")
        .output_timeout(Duration::MAX)
        .unwrap();
    assert_eq!(output.status.code(), Some(8));
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    for timeout in [Duration::ZERO, SHORT] {
        let start = Instant::now();
        let output = helper_command("count").output_timeout(timeout).unwrap();
        assert!(start.elapsed() >= timeout);
        assert!(output.timed_out && !output.status.success());
        assert_counts(&output.stdout);
        assert_counts(&output.stderr);
    }
}

#[test]
fn a_command_that_leaves_others_behind() {
    let output = helper_command("leave ignore-stdin")
        .output_timeout(LONG)
        .unwrap();
    assert!(!output.timed_out);
    assert_eq!(output.status.code(), Some(5));
    let mut captured = Captured::default();
    captured.stdout = output.stdout;
    assert!(Left::by(&captured).is_running());
}

#[test]
fn a_program_that_is_not_there() {
    let absent = || Command::new("./no-program-has-this-name");
    let error = absent().output_timeout(LONG).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(
        error.raw_os_error(),
        absent().output().unwrap_err().raw_os_error()
    );
}
