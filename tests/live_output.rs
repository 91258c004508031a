//! Tests of reading output while it is written, and to the end of the pipes, on every OS.
//!
//! As in `output.rs`, a test that expects the end of a pipe runs in a subprocess.

mod common;

use common::{
    Helper, LONG, SHORT, exit_of, helper_command, in_subprocess,
    output::{BackgroundProcess, LEN, assert_consecutive_numbers, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _, Progress};
use std::{
    io::{self, Write as _},
    mem,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

fn input(len: usize) -> Vec<u8> {
    pattern(b'i', len)
}

#[track_caller]
fn exited(progress: Progress) -> ExitStatus {
    match progress {
        Progress::Exited(status) => status,
        other => panic!("{other:?}"),
    }
}

/// Calls `read_timeout`, and asserts that its answer agrees with what is in `captured` then.
#[track_caller]
fn read(child: &mut Helper, captured: &mut Captured, timeout: Duration) -> Progress {
    let before = captured.stdout.len() + captured.stderr.len();
    let start = Instant::now();
    let progress = child.read_timeout(captured, timeout).unwrap();
    let after = captured.stdout.len() + captured.stderr.len();
    match progress {
        Progress::Read => assert!(after > before, "nothing is new"),
        Progress::TimedOut => {
            assert_eq!(after, before, "something is new");
            assert!(start.elapsed() >= timeout, "too early");
        }
        _ => {}
    }
    progress
}

/// Reads until standard output contains this text.
#[track_caller]
fn read_until(child: &mut Helper, captured: &mut Captured, expected: &[u8]) {
    while captured.stdout.len() < expected.len() {
        assert_eq!(read(child, captured, LONG), Progress::Read);
    }
    assert_eq!(captured.stdout, expected);
}

#[test]
fn output_is_returned_as_soon_as_it_was_written() {
    let mut child = piped("cat");
    let mut stdin = child.stdin.take().unwrap();
    let mut captured = Captured::default();
    for text in [&b"one"[..], b"onetwo", b"onetwothree"] {
        // The child writes no more before it gets the next request.
        stdin.write_all(&text[captured.stdout.len()..]).unwrap();
        read_until(&mut child, &mut captured, text);
        assert_eq!(read(&mut child, &mut captured, SHORT), Progress::TimedOut);
        assert_eq!(captured.stdout, text);
    }
    drop(stdin);
    let status = exited(read(&mut child, &mut captured, LONG));
    assert!(status.success());
    assert_eq!(captured.stdout, b"onetwothree");
}

#[test]
fn output_of_either_stream_is_returned() {
    for (stdout, stderr) in [(true, false), (false, true), (true, true)] {
        let stdio = |is_piped| {
            if is_piped {
                Stdio::piped()
            } else {
                Stdio::null()
            }
        };
        let mut command = helper_command("count");
        let mut child = spawn(command.stdout(stdio(stdout)).stderr(stdio(stderr)));
        let mut captured = Captured::default();
        while captured.stdout.is_empty() == stdout || captured.stderr.is_empty() == stderr {
            assert_eq!(read(&mut child, &mut captured, LONG), Progress::Read);
        }
        assert_consecutive_numbers(&captured.stdout);
        assert_consecutive_numbers(&captured.stderr);
    }
}

#[test]
fn exited_comes_with_all_of_the_output_and_again_and_again() {
    in_subprocess(|| {
        let mut child = piped("write 100000 3");
        let mut captured = Captured::default();
        let status = loop {
            match read(&mut child, &mut captured, LONG) {
                Progress::Read => {}
                progress => break exited(progress),
            }
        };
        assert_eq!(status.code(), Some(3));
        assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
        for timeout in [Duration::ZERO, SHORT, LONG, Duration::MAX] {
            assert_eq!(exited(read(&mut child, &mut captured, timeout)), status);
        }
        let deadline = Instant::now();
        let progress = child.read_deadline(&mut captured, deadline).unwrap();
        assert_eq!(exited(progress), status);
        assert_eq!(captured.stdout.len() + captured.stderr.len(), 2 * LEN);
        // It has been reaped.
        assert_eq!(child.try_wait().unwrap(), Some(status));
        #[cfg(unix)]
        assert!(matches!(
            procwait::wait_pid(child.id(), Some(Duration::ZERO)),
            Err(procwait::Error::NotFound { .. })
        ));
    });
}

#[test]
fn exit_without_output() {
    for timeout in [LONG, Duration::ZERO] {
        let mut child = piped("wait 3");
        // Without input, standard input is closed.
        let first = read(&mut child, &mut Captured::default(), timeout);
        assert!(child.stdin.is_none());
        let status = match first {
            Progress::TimedOut => exited(read(&mut child, &mut Captured::default(), LONG)),
            progress => exited(progress),
        };
        assert_eq!(status.code(), Some(3));
    }
}

#[test]
fn zero_timeout_reads_what_is_available() {
    let mut child = piped("write 1000 3");
    drop(child.stdin.take());
    exit_of(child.id());
    let mut captured = Captured::default();
    // Whether the exit is reported together with the output is not specified.
    let status = match read(&mut child, &mut captured, Duration::ZERO) {
        Progress::Read => exited(read(&mut child, &mut captured, LONG)),
        progress => exited(progress),
    };
    assert_eq!(status.code(), Some(3));
    assert!(captured.stdout == pattern(b'o', 1000) && captured.stderr == pattern(b'e', 1000));
}

#[test]
fn vectors_are_taken_between_calls() {
    let mut child = piped("alternate 20 exit 0");
    let mut captured = Captured::default();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut calls = 0;
    let status = loop {
        let progress = read(&mut child, &mut captured, LONG);
        stdout.append(&mut mem::take(&mut captured.stdout));
        stderr.append(&mut mem::take(&mut captured.stderr));
        calls += 1;
        match progress {
            Progress::Read => {}
            progress => break exited(progress),
        }
    };
    assert!(status.success());
    assert!(stdout == pattern(b'o', LEN).repeat(20) && stderr == pattern(b'e', LEN).repeat(20));
    assert!(calls > 2, "it waited for all of the output");
}

#[test]
fn never_early_without_output() {
    let mut child = piped("ignore-stdin");
    let mut captured = Captured::default();
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        assert_eq!(read(&mut child, &mut captured, timeout), Progress::TimedOut);
        let deadline = Instant::now() + timeout;
        let progress = child.read_deadline(&mut captured, deadline).unwrap();
        assert_eq!(progress, Progress::TimedOut);
        assert!(Instant::now() >= deadline);
    }
    child.kill().unwrap();
    assert!(!exited(read(&mut child, &mut captured, LONG)).success());
}

#[test]
fn discarded_output_is_not_read() {
    let mut child = piped("count");
    let mut captured = Captured::with_limit(10);
    while captured.stdout.len() < 10 || captured.stderr.len() < 10 {
        assert_eq!(read(&mut child, &mut captured, LONG), Progress::Read);
    }
    // From now on, everything is discarded, while the child goes on.
    let discarded = captured.discarded();
    while captured.discarded() <= discarded + LEN as u64 {
        assert_eq!(read(&mut child, &mut captured, SHORT), Progress::TimedOut);
    }
    assert_eq!(captured.stdout, b"0\n1\n2\n3\n4\n");
    assert_eq!(captured.stderr, b"0\n1\n2\n3\n4\n");
    // What is taken out makes room.
    captured.stderr.clear();
    assert_eq!(read(&mut child, &mut captured, LONG), Progress::Read);
    assert!((1..=10).contains(&captured.stderr.len()) && captured.stdout.len() == 10);
    child.kill().unwrap();
    while read(&mut child, &mut captured, LONG) == Progress::Read {}
    assert!(matches!(
        read(&mut child, &mut captured, LONG),
        Progress::Exited(_)
    ));
}

#[test]
fn exit_is_reported_while_a_grandchild_holds_the_pipes() {
    let mut child = piped("spawn-and-exit ignore-stdin");
    let mut captured = Captured::default();
    let status = loop {
        match read(&mut child, &mut captured, LONG) {
            Progress::Read => {}
            progress => break exited(progress),
        }
    };
    assert_eq!(status.code(), Some(5));
    let background = BackgroundProcess::started_by(&captured);
    assert!(background.is_running());
    assert!(child.stdout.is_some() && child.stderr.is_some());
    assert_eq!(exited(read(&mut child, &mut captured, LONG)), status);
}

#[test]
fn exit_is_reported_while_a_grandchild_floods_the_pipes() {
    let mut child = piped("spawn-and-exit count");
    let mut captured = Captured::default();
    let start = Instant::now();
    let status = loop {
        assert!(start.elapsed() < LONG);
        match read(&mut child, &mut captured, LONG) {
            Progress::Read => {}
            progress => break exited(progress),
        }
    };
    assert_eq!(status.code(), Some(5));
    for timeout in [Duration::ZERO, LONG] {
        assert_eq!(exited(read(&mut child, &mut captured, timeout)), status);
    }
    assert!(BackgroundProcess::started_by(&captured).is_running());
}

#[test]
fn input_is_written_while_the_output_is_read_live() {
    let mut child = piped("cat");
    let mut captured = Captured::default().input(input(1_000_000));
    let mut stdout = Vec::new();
    let timeouts = [LONG, Duration::from_millis(1), Duration::ZERO];
    let mut timeouts = timeouts.iter().cycle();
    let status = loop {
        match read(&mut child, &mut captured, *timeouts.next().unwrap()) {
            Progress::Read | Progress::TimedOut => {}
            progress => break exited(progress),
        }
        stdout.append(&mut captured.stdout);
    };
    stdout.append(&mut captured.stdout);
    assert!(status.success());
    assert!(stdout == input(1_000_000) && captured.unwritten().is_empty());
}

/// Written bytes are no output.
#[test]
fn input_alone_is_not_read() {
    let mut child = piped("check-input 1000 3");
    let mut captured = Captured::default().input(input(1_000));
    assert_ne!(read(&mut child, &mut captured, LONG), Progress::TimedOut);
    assert!(b"right\n".starts_with(&captured.stdout) && !captured.stdout.is_empty());
    assert!(captured.unwritten().is_empty());
}

#[test]
fn live_input_without_a_pipe_is_refused() {
    let mut child = spawn(
        helper_command("write 1000 7")
            .stdin(Stdio::null())
            .stderr(Stdio::piped()),
    );
    let mut captured = Captured::default().input("input");
    for timeout in [Duration::ZERO, LONG] {
        for error in [
            child.read_timeout(&mut captured, timeout).unwrap_err(),
            (child.read_to_end_timeout(&mut captured, timeout)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
        assert_eq!(captured.unwritten(), b"input");
        assert!(captured.stdout.is_empty() && captured.stderr.is_empty());
    }
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(7));
    assert!(captured.stdout == pattern(b'o', 1000) && captured.stderr == pattern(b'e', 1000));
}

mod to_the_end {
    use super::*;

    /// A `hand-over` that has exited. The grandchild runs, with the standard streams of the helper.
    fn handed_over(command: &str) -> Helper {
        let child = piped(&format!("hand-over {command}"));
        exit_of(child.id());
        child
    }

    #[test]
    fn both_pipes_are_read_to_their_ends() {
        in_subprocess(|| {
            let mut child = piped("write 100000 3");
            let mut captured = Captured::default();
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
            assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
            // Again: there is nothing more to read.
            let start = Instant::now();
            for timeout in [Duration::ZERO, LONG] {
                assert!(child.read_to_end_timeout(&mut captured, timeout).unwrap());
            }
            assert!(start.elapsed() < LONG, "it waits");
            assert_eq!(captured.stdout.len() + captured.stderr.len(), 2 * LEN);
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
        });
    }

    #[test]
    fn child_is_not_reaped() {
        in_subprocess(|| {
            for has_exited in [false, true] {
                let mut child = piped("write 1000 3");
                if has_exited {
                    drop(child.stdin.take());
                    exit_of(child.id());
                }
                let mut captured = Captured::default();
                assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
                // `wait_pid` does not find a child that has been reaped.
                #[cfg(unix)]
                assert_eq!(exit_of(child.id()).code(), Some(3));
                assert_eq!(child.wait().unwrap().code(), Some(3));
            }
        });
    }

    #[test]
    fn pipes_are_read_after_the_child_was_reaped() {
        in_subprocess(|| {
            let mut child = piped("write 1000 3");
            drop(child.stdin.take());
            let status = child.wait().unwrap();
            let mut captured = Captured::default();
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert!(captured.stdout == pattern(b'o', 1000));
            assert!(captured.stderr == pattern(b'e', 1000));
            assert_eq!(child.wait().unwrap(), status);
        });
    }

    #[test]
    fn pipes_are_read_past_the_exit_while_a_grandchild_holds_them() {
        in_subprocess(|| {
            let mut child = handed_over("cat");
            let mut stdin = child.stdin.take().unwrap();
            let mut captured = Captured::default();
            for timeout in [Duration::ZERO, SHORT] {
                let start = Instant::now();
                assert!(!child.read_to_end_timeout(&mut captured, timeout).unwrap());
                assert!(start.elapsed() >= timeout);
            }
            assert!(captured.stdout.is_empty());
            stdin.write_all(b"late").unwrap();
            while captured.stdout.len() < 4 {
                assert!(!child.read_to_end_timeout(&mut captured, SHORT).unwrap());
            }
            stdin.write_all(b"r").unwrap();
            drop(stdin);
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert_eq!(captured.stdout, b"later");
            assert!(child.stdout.is_none() && child.stderr.is_none());
            assert_eq!(child.wait().unwrap().code(), Some(5));
        });
    }

    #[test]
    fn output_of_a_grandchild_after_the_status_was_returned() {
        in_subprocess(|| {
            let mut child = piped("hand-over cat");
            let mut stdin = child.stdin.take().unwrap();
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(5));
            stdin.write_all(b"late").unwrap();
            drop(stdin);
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert_eq!(captured.stdout, b"late");
            assert_eq!(child.output_timeout(&mut captured, LONG).unwrap(), status);
        });
    }

    #[test]
    fn input_is_written_past_the_exit() {
        in_subprocess(|| {
            let mut child = handed_over("cat");
            let mut captured = Captured::default().input(input(1_000_000));
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert!(captured.stdout == input(1_000_000));
            assert!(captured.unwritten().is_empty() && child.stdin.is_none());
            assert_eq!(child.wait().unwrap().code(), Some(5));
        });
    }

    #[test]
    fn input_is_written_in_slices_of_time() {
        in_subprocess(|| {
            let mut child = piped("cat");
            let mut captured = Captured::default().input(input(1_000_000));
            let mut stdout = Vec::new();
            let start = Instant::now();
            for nanoseconds in [0, 1, 1_000_000].into_iter().cycle() {
                let timeout = Duration::from_nanos(nanoseconds);
                let is_at_end = child.read_to_end_timeout(&mut captured, timeout).unwrap();
                stdout.append(&mut captured.stdout);
                if is_at_end {
                    break;
                }
                assert!(start.elapsed() < LONG, "it makes no progress");
            }
            assert!(stdout == input(1_000_000));
            assert!(child.wait().unwrap().success());
        });
    }

    #[test]
    fn without_input_stdin_is_closed() {
        in_subprocess(|| {
            for timeout in [LONG, Duration::ZERO] {
                let mut child = piped("wait 3");
                let mut captured = Captured::default();
                let is_at_end = child.read_to_end_timeout(&mut captured, timeout).unwrap();
                assert!(child.stdin.is_none());
                // The child exits, and so the pipes end.
                assert!(is_at_end || child.read_to_end_timeout(&mut captured, LONG).unwrap());
                assert_eq!(child.wait().unwrap().code(), Some(3));
            }
        });
    }

    #[test]
    fn timeout_is_never_early_for_a_running_child() {
        let mut child = piped("ignore-stdin");
        let mut captured = Captured::default();
        for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
            let start = Instant::now();
            assert!(!child.read_to_end_timeout(&mut captured, timeout).unwrap());
            assert!(start.elapsed() >= timeout);
        }
        assert_eq!(child.try_wait().unwrap(), None);
    }

    #[test]
    fn timeout_holds_under_constant_output() {
        let mut child = piped("count");
        let mut captured = Captured::default();
        while captured.stdout.is_empty() || captured.stderr.is_empty() {
            for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
                let start = Instant::now();
                assert!(!child.read_to_end_timeout(&mut captured, timeout).unwrap());
                assert!(start.elapsed() >= timeout);
                assert!(start.elapsed() < LONG);
            }
        }
        assert_consecutive_numbers(&captured.stdout);
        assert_consecutive_numbers(&captured.stderr);
    }

    #[test]
    fn limit_discards_and_counts() {
        in_subprocess(|| {
            let mut child = piped("write 100000 0");
            let mut captured = Captured::with_limit(1000);
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert!(captured.stdout == pattern(b'o', 1000));
            assert!(captured.stderr == pattern(b'e', 1000));
            assert_eq!(captured.discarded(), 2 * (LEN - 1000) as u64);
        });
    }

    #[test]
    fn child_without_pipes_is_at_its_end_at_once() {
        let mut command = helper_command("ignore-stdin");
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()));
        let start = Instant::now();
        for timeout in [Duration::ZERO, LONG] {
            let mut captured = Captured::default();
            assert!(child.read_to_end_timeout(&mut captured, timeout).unwrap());
        }
        assert!(start.elapsed() < LONG, "it waits");
        assert_eq!(child.try_wait().unwrap(), None, "it is still running");
    }

    #[test]
    fn pipes_that_end_before_the_exit() {
        in_subprocess(|| {
            let mut child = piped("close-output ignore-stdin");
            let mut captured = Captured::default();
            assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
            assert!(child.stdout.is_none() && child.stderr.is_none());
            assert_eq!(child.try_wait().unwrap(), None, "it is still running");
            let progress = child.read_timeout(&mut captured, SHORT).unwrap();
            assert_eq!(progress, Progress::TimedOut);
        });
    }
}
