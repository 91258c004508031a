//! Tests of input for a child, and of `CommandExt::output_timeout_with`, on every OS.
//!
//! As in `output.rs`, a test that expects the end of a pipe runs in a subprocess.

mod common;

use common::{
    Helper, LONG, SHORT, helper_command, in_subprocess,
    output::{BackgroundProcess, LEN, assert_consecutive_numbers, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _, CommandExt as _};
use std::{
    io,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// More than fits into any pipe.
const MUCH: usize = 3_000_000;

fn input(len: usize) -> Vec<u8> {
    pattern(b'i', len)
}

/// Calls `output_timeout` with these timeouts in turn until the child has exited.
fn run_in_slices(child: &mut Helper, captured: &mut Captured, timeouts: &[Duration]) -> ExitStatus {
    let start = Instant::now();
    for &timeout in timeouts.iter().cycle() {
        let unwritten = captured.unwritten().len();
        if let Some(status) = child.output_timeout(captured, timeout).unwrap() {
            return status;
        }
        assert!(captured.unwritten().len() <= unwritten);
        assert!(start.elapsed() < LONG, "it makes no progress");
        // With a timeout of zero, the child would otherwise get little time on a single core.
        thread::yield_now();
    }
    unreachable!()
}

#[test]
fn input_is_written_while_the_output_is_read() {
    in_subprocess(|| {
        const LEN: usize = 10_000_000;
        let mut child = piped("cat");
        let mut captured = Captured::default().input(input(LEN));
        assert!(captured.unwritten() == input(LEN));
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert!(captured.stdout == input(LEN));
        assert!(captured.stderr.is_empty() && captured.unwritten().is_empty());
        assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());

        // A second call returns the same status. It neither writes nor reads again.
        let again = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(again, status);
        assert_eq!(captured.stdout.len(), LEN);
    });
}

#[test]
fn child_reads_all_of_the_input_before_it_writes() {
    let mut child = piped(&format!("check-input {MUCH} 3"));
    let mut captured = Captured::default().input(input(MUCH));
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(captured.unwritten().is_empty() && child.stdin.is_none());
}

#[test]
fn child_writes_all_of_its_output_before_it_reads() {
    for len in [0, 1, LEN] {
        let mut child = piped("alternate 20 cat");
        let mut captured = Captured::default().input(input(len));
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        let written = pattern(b'o', LEN).repeat(20);
        assert!(captured.stdout == [written, input(len)].concat());
        assert!(captured.stderr == pattern(b'e', LEN).repeat(20));
    }
}

#[test]
fn input_without_output() {
    let command = &mut helper_command(&format!("check-input {LEN} 3"));
    let mut child = spawn(command.stdout(Stdio::null()));
    let mut captured = Captured::default().input(input(LEN));
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
}

#[test]
fn input_in_slices_of_time_is_neither_lost_nor_doubled() {
    let timeouts = [0, 1, 1_000_000].map(Duration::from_nanos);
    for timeouts in [
        &timeouts[..],
        &timeouts[..1],
        &timeouts[1..2],
        &timeouts[2..],
    ] {
        let mut child = piped("cat");
        let mut captured = Captured::default().input(input(1_000_000));
        let status = run_in_slices(&mut child, &mut captured, timeouts);
        assert!(status.success());
        assert!(captured.stdout == input(1_000_000), "{timeouts:?}");
        assert!(captured.unwritten().is_empty());
    }
}

#[test]
fn unwritten_is_the_rest_of_the_input() {
    let mut child = piped("cat");
    let mut captured = Captured::default().input(input(1_000_000));
    let mut remaining = captured.unwritten().len();
    let mut lengths = 1;
    loop {
        let status = child.output_timeout(&mut captured, Duration::from_millis(1));
        let unwritten = captured.unwritten();
        assert!(unwritten.len() <= remaining);
        assert!(input(1_000_000).ends_with(unwritten));
        lengths += usize::from(unwritten.len() < remaining);
        remaining = unwritten.len();
        if let Some(status) = status.unwrap() {
            break assert!(status.success());
        }
    }
    assert_eq!(remaining, 0);
    assert!(lengths > 1);
}

#[test]
fn child_that_does_not_read_its_input() {
    let mut child = piped("ignore-stdin");
    let mut captured = Captured::default().input(input(MUCH));
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        let start = Instant::now();
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        assert!(start.elapsed() >= timeout);
    }
    let unwritten = captured.unwritten().len();
    assert!(unwritten > 0 && input(MUCH).ends_with(captured.unwritten()));
    // Some fits into the pipe. Windows may take back what the child has not read.
    assert!(cfg!(windows) || unwritten < MUCH);
    // When the pipe is full, the next calls write no more.
    let full = loop {
        let before = captured.unwritten().len();
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        if captured.unwritten().len() == before {
            break before;
        }
    };
    assert!(child.stdin.is_some());
    common::output::assert_sleeps(&mut child, &mut captured);
    assert_eq!(captured.unwritten().len(), full);

    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
    assert_eq!(captured.unwritten().len(), full);
    let again = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(again, status);
}

#[test]
fn child_that_closes_its_input_and_runs_on() {
    in_subprocess(|| {
        let mut child = piped("read-some 1000 ignore-stdin");
        let mut captured = Captured::default().input(input(MUCH));
        while child.stdin.is_some() {
            assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        }
        let unwritten = captured.unwritten().to_vec();
        assert!((1..=MUCH - 1000).contains(&unwritten.len()));
        assert!(input(MUCH).ends_with(&unwritten));
        for timeout in [Duration::ZERO, SHORT] {
            let start = Instant::now();
            assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
            assert!(start.elapsed() >= timeout);
        }
        common::output::assert_sleeps(&mut child, &mut captured);
        child.kill().unwrap();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(!status.unwrap().success());
        assert!(captured.unwritten() == unwritten);
    });
}

#[test]
fn output_is_read_after_the_child_has_closed_its_input() {
    for len in [0, 1000] {
        let mut child = piped(&format!("read-some {len} write 100000 7"));
        let mut captured = Captured::default().input(input(MUCH));
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(7));
        assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
        assert!((1..=MUCH - len).contains(&captured.unwritten().len()));
        assert!(input(MUCH).ends_with(captured.unwritten()));
    }
}

#[test]
fn child_that_exits_without_reading_its_input() {
    for timeout in [Duration::ZERO, LONG] {
        let mut child = piped("exit 6");
        if timeout.is_zero() {
            common::exit_of(child.id());
        }
        let mut captured = Captured::default().input(input(MUCH));
        let status = child.output_timeout(&mut captured, timeout).unwrap();
        assert_eq!(status.unwrap().code(), Some(6));
        assert!(!captured.unwritten().is_empty());
        assert!(input(MUCH).ends_with(captured.unwritten()));
        let again = child.output_timeout(&mut captured, timeout).unwrap();
        assert_eq!(again, status);
    }
}

#[test]
fn input_stays_open_for_a_grandchild_that_reads_on() {
    in_subprocess(|| {
        let mut child = piped(&format!("hand-over check-input {MUCH} 0"));
        let mut captured = Captured::default().input(input(MUCH));
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(5));
        if !captured.unwritten().is_empty() {
            assert!(child.stdin.is_some());
        }
        // Nothing has been lost: this writes and reads the rest.
        assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
        assert_eq!(captured.stdout, b"right\n");
        assert!(captured.unwritten().is_empty() && child.stdin.is_none());
        assert_eq!(child.output_timeout(&mut captured, LONG).unwrap(), status);
    });
}

/// The grandchild holds the pipe, and does not read it.
#[test]
fn unwritten_input_does_not_delay_the_exit() {
    let mut child = piped("hand-over print-pid ignore-stdin");
    let mut captured = Captured::default().input(input(MUCH));
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(5));
    assert!(!captured.unwritten().is_empty() && child.stdin.is_some());
    while !captured.stdout.contains(&b'>') {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), status);
    }
    assert!(BackgroundProcess::started_by(&captured).is_running());
    assert!(!captured.unwritten().is_empty() && child.stdin.is_some());
}

#[test]
fn empty_input_closes_stdin() {
    for timeout in [LONG, Duration::from_nanos(1), Duration::ZERO] {
        let mut child = piped("wait 3");
        let mut captured = Captured::default().input("");
        let first = child.output_timeout(&mut captured, timeout).unwrap();
        assert!(child.stdin.is_none());
        let status = match first {
            Some(status) => status,
            None => child.output_timeout(&mut captured, LONG).unwrap().unwrap(),
        };
        assert_eq!(status.code(), Some(3));
    }
    // Without a pipe there is nothing to close.
    let mut child = spawn(helper_command("wait 4").stdin(Stdio::null()));
    let mut captured = Captured::default().input("");
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(4));
}

#[test]
fn input_without_a_pipe_is_refused() {
    let mut child = spawn(
        helper_command("write 1000 7")
            .stdin(Stdio::null())
            .stderr(Stdio::piped()),
    );
    let mut captured = Captured::default().input("input");
    for timeout in [Duration::ZERO, SHORT, LONG] {
        let error = child.output_timeout(&mut captured, timeout).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(captured.unwritten(), b"input");
        assert!(captured.stdout.is_empty() && captured.stderr.is_empty());
        assert!(child.stdout.is_some() && child.stderr.is_some());
    }
    // The child has neither been killed nor reaped, and its output is still there.
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(7));
    assert!(captured.stdout == pattern(b'o', 1000) && captured.stderr == pattern(b'e', 1000));
}

#[test]
fn new_input_replaces_the_old_one() {
    let mut child = piped("cat");
    let mut captured = Captured::default().input("never written").input("input");
    assert_eq!(captured.unwritten(), b"input");
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(status.unwrap().success());
    assert_eq!(captured.stdout, b"input");
}

#[test]
fn new_input_replaces_the_unwritten_rest() {
    let mut child = piped("cat");
    let mut captured = Captured::default().input(input(MUCH));
    while captured.unwritten().len() == MUCH {
        assert_eq!(
            child
                .output_timeout(&mut captured, Duration::from_nanos(1))
                .unwrap(),
            None
        );
    }
    let written = MUCH - captured.unwritten().len();
    assert!(written < MUCH, "in a nanosecond");
    let mut captured = captured.input("new");
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(status.unwrap().success());
    assert!(captured.stdout == [&input(written), &b"new"[..]].concat());
}

#[test]
fn other_waits_close_stdin_despite_unwritten_input() {
    let mut child = piped("wait 3");
    let mut captured = Captured::default().input(input(MUCH));
    assert_eq!(
        child.output_timeout(&mut captured, Duration::ZERO).unwrap(),
        None
    );
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(child.stdin.is_none());
}

#[test]
fn input_counts_toward_no_limit() {
    for limit in [0, 1000, LEN] {
        let mut child = piped("cat");
        let mut captured = Captured::with_limit(limit).input(input(LEN));
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert!(captured.stdout == input(LEN)[..limit]);
        assert_eq!(captured.discarded(), (LEN - limit) as u64);
        assert!(captured.unwritten().is_empty());
    }
}

mod commands {
    use super::*;

    #[test]
    fn command_with_input() {
        for len in [1, LEN, MUCH] {
            let mut captured = Captured::default().input(input(len));
            let output = helper_command("cat").output_timeout_with(&mut captured, LONG);
            let output = output.unwrap();
            assert!(output.status.success() && !output.timed_out);
            assert!(captured.stdout == input(len) && captured.stderr.is_empty());
            assert!(captured.unwritten().is_empty());
        }
    }

    #[test]
    fn command_with_input_that_it_does_not_read() {
        let mut captured = Captured::default().input(input(MUCH));
        let mut command = helper_command("write 100000 7");
        let output = command.output_timeout_with(&mut captured, LONG).unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert!(!output.timed_out);
        assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
        assert!(input(MUCH).ends_with(captured.unwritten()));
    }

    #[test]
    fn command_without_input_has_a_null_stdin() {
        for mut captured in [Captured::default(), Captured::default().input("")] {
            // Were it a pipe, or inherited, this would not be empty or would not end.
            let mut command = helper_command("check-input 0 8");
            let output = command.output_timeout_with(&mut captured, Duration::MAX);
            let output = output.unwrap();
            assert_eq!(output.status.code(), Some(8));
            assert!(!output.timed_out);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn stdin_of_a_command_is_what_the_input_needs() {
        // Whatever it was set to before.
        let mut readlink = Command::new("readlink");
        readlink.arg("/proc/self/fd/0").stdin(Stdio::inherit());
        for (input, expected) in [("input", "pipe:"), ("", "/dev/null\n"), ("input", "pipe:")] {
            let mut captured = Captured::default().input(input);
            let output = readlink.output_timeout_with(&mut captured, LONG).unwrap();
            assert!(output.status.success());
            assert!(captured.stdout.starts_with(expected.as_bytes()));
        }
    }

    #[test]
    fn command_with_a_limit() {
        let mut captured = Captured::with_limit(1000).input(input(LEN));
        let output = helper_command("cat").output_timeout_with(&mut captured, LONG);
        assert!(output.unwrap().status.success());
        assert!(captured.stdout == input(1000));
        assert_eq!(captured.discarded(), (LEN - 1000) as u64);
    }

    #[test]
    fn command_is_killed_at_the_timeout_and_what_was_read_is_kept() {
        // A machine can be too slow for any output within the first timeouts.
        let mut timeout = Duration::from_millis(1);
        loop {
            let mut captured = Captured::default();
            let start = Instant::now();
            let output = helper_command("count").output_timeout_with(&mut captured, timeout);
            let output = output.unwrap();
            assert!(start.elapsed() >= timeout);
            assert!(output.timed_out && !output.status.success());
            assert_consecutive_numbers(&captured.stdout);
            assert_consecutive_numbers(&captured.stderr);
            if !captured.stdout.is_empty() && !captured.stderr.is_empty() {
                break;
            }
            timeout *= 2;
            assert!(timeout < LONG, "nothing was read");
        }
    }

    #[test]
    fn command_that_does_not_read_its_input_is_killed_at_the_timeout() {
        for timeout in [Duration::ZERO, SHORT] {
            let mut captured = Captured::default().input(input(MUCH));
            let start = Instant::now();
            let output = helper_command("ignore-stdin").output_timeout_with(&mut captured, timeout);
            let output = output.unwrap();
            assert!(start.elapsed() >= timeout);
            assert!(output.timed_out && !output.status.success());
            assert!(!captured.unwritten().is_empty());
            assert!(input(MUCH).ends_with(captured.unwritten()));
        }
    }

    #[test]
    fn two_commands_with_one_captured() {
        let mut captured = Captured::default().input("input");
        let mut cat = helper_command("cat");
        for _ in 0..2 {
            // The second time, there is no input any more, so standard input is null.
            let output = cat.output_timeout_with(&mut captured, LONG).unwrap();
            assert!(output.status.success());
            assert_eq!(captured.stdout, b"input");
        }
        let mut captured = captured.input(" again");
        let output = cat.output_timeout_with(&mut captured, LONG).unwrap();
        assert!(output.status.success());
        assert_eq!(captured.stdout, b"input again");
    }

    #[test]
    fn command_that_is_not_found_leaves_captured_unchanged() {
        let mut captured = Captured::default().input("input");
        captured.stdout = b"stdout".to_vec();
        captured.stderr = b"stderr".to_vec();
        let mut command = Command::new("./no-program-has-this-name");
        let error = command
            .output_timeout_with(&mut captured, LONG)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(captured.unwritten(), b"input");
        assert_eq!(
            (&captured.stdout[..], &captured.stderr[..]),
            (&b"stdout"[..], &b"stderr"[..])
        );
        assert_eq!(captured.discarded(), 0);
        // It can still be used.
        let output = helper_command("cat").output_timeout_with(&mut captured, LONG);
        assert!(output.unwrap().status.success());
        assert_eq!(captured.stdout, b"stdoutinput");
    }

    #[test]
    fn timed_status_is_a_value() {
        let run = |command| {
            let mut captured = Captured::default();
            let output = helper_command(command).output_timeout_with(&mut captured, LONG);
            output.unwrap()
        };
        let status = run("exit 3");
        let copy = status;
        #[allow(clippy::clone_on_copy)]
        let clone = status.clone();
        assert_eq!((copy, clone), (status, status));
        assert_ne!(status, run("exit 4"));
        assert!(format!("{status:?}").contains("timed_out: false"));
    }

    /// The kernel reaps the command, so the status may be unknown. The output is complete.
    #[test]
    #[cfg(unix)]
    #[allow(unsafe_code)]
    fn output_of_a_command_whose_status_is_unknown_is_kept() {
        use nix::libc;
        in_subprocess(|| {
            // SAFETY: ignoring a signal runs no handler.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            for _ in 0..20 {
                let mut captured = Captured::default().input(input(LEN));
                match helper_command("cat").output_timeout_with(&mut captured, LONG) {
                    Ok(output) => assert!(output.status.success() && !output.timed_out),
                    Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
                }
                assert!(captured.stdout == input(LEN));
                assert!(captured.unwritten().is_empty());
            }
        });
    }
}
