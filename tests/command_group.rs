//! Tests of commands that lead a process group of their own: at the timeout, the whole group is
//! killed.
//!
//! They run in a subprocess, as `Survivors` requires.

#![cfg(unix)]

mod common;
#[path = "common/survivors.rs"]
mod survivors;

use common::{LONG, SHORT, helper_command, in_subprocess, output::BackgroundProcess, spawn};
use procwait::{Captured, CommandExt as _};
use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};
use survivors::Survivors;

/// Runs a command, and returns whether the timeout passed first.
type Run = fn(&mut Command, &mut Captured, Duration) -> bool;

const RUNS: [Run; 3] = [
    |command, captured, timeout| {
        let output = command.output_timeout(timeout).unwrap();
        captured.stdout = output.stdout;
        output.timed_out
    },
    |command, captured, timeout| {
        let output = command.output_timeout_with(captured, timeout).unwrap();
        output.timed_out
    },
    |command, captured, timeout| {
        *captured = Captured::default().input(vec![b'x'; 3_000_000]);
        let output = command.output_timeout_with(captured, timeout).unwrap();
        output.timed_out
    },
];

/// Runs the command until a timeout by which it has started this number of background processes.
///
/// A command that is killed at an earlier timeout can leave one behind whose pid it has not printed.
/// So they end by themselves, but later than the tests wait for their exits.
fn run_until_timeout(run: Run, command: &mut Command, background: usize) -> (Captured, Survivors) {
    let mut timeout = Duration::from_millis(100);
    loop {
        let mut captured = Captured::default();
        let (timed_out, survivors) = Survivors::of(|| run(command, &mut captured, timeout));
        assert!(timed_out);
        let started = captured.stdout.iter().filter(|&&byte| byte == b'>');
        if started.count() == background {
            return (captured, survivors);
        }
        timeout *= 2;
        assert!(timeout < LONG, "it does not start");
    }
}

#[test]
fn group_is_killed_at_the_timeout() {
    in_subprocess(|| {
        for run in RUNS {
            let mut command = helper_command("spawn-and-stay alarm 300 ignore-stdin");
            let (_, survivors) = run_until_timeout(run, command.process_group(0), 1);
            assert!(survivors.have_exited(LONG));
        }
    });
}

#[test]
fn group_is_killed_with_processes_that_have_lost_their_parent() {
    in_subprocess(|| {
        for run in RUNS {
            let mut command =
                helper_command("spawn-and-stay spawn-and-exit alarm 300 ignore-stdin");
            let (_, survivors) = run_until_timeout(run, command.process_group(0), 2);
            assert!(survivors.have_exited(LONG));
        }
    });
}

#[test]
fn group_of_a_new_session_is_killed_at_the_timeout() {
    in_subprocess(|| {
        for run in RUNS {
            let mut command = helper_command("setsid spawn-and-stay alarm 300 ignore-stdin");
            let (_, survivors) = run_until_timeout(run, &mut command, 1);
            assert!(survivors.have_exited(LONG));
        }
    });
}

#[test]
fn command_without_a_group_of_its_own_is_killed_alone() {
    in_subprocess(|| {
        for run in RUNS {
            let mut command = helper_command("spawn-and-stay alarm 300 ignore-stdin");
            let (captured, survivors) = run_until_timeout(run, &mut command, 1);
            let background = BackgroundProcess::started_by(&captured);
            assert!(!survivors.have_exited(SHORT));
            assert!(background.is_running());
            drop(background);
            assert!(survivors.have_exited(LONG), "the command was not killed");
        }
    });
}

#[test]
fn group_of_another_process_is_not_killed() {
    in_subprocess(|| {
        let mut leader = helper_command("ignore-stdin");
        let mut leader = spawn(leader.stdin(Stdio::null()).process_group(0));
        for run in RUNS {
            let mut command = helper_command("spawn-and-stay alarm 300 ignore-stdin");
            let command = command.process_group(leader.id() as i32);
            let (captured, survivors) = run_until_timeout(run, command, 1);
            let background = BackgroundProcess::started_by(&captured);
            assert!(!survivors.have_exited(SHORT));
            assert!(background.is_running());
            assert_eq!(leader.try_wait().unwrap(), None);
        }
    });
}

#[test]
fn group_that_the_command_has_left_is_not_killed() {
    in_subprocess(|| {
        for run in RUNS {
            let mut command = helper_command("spawn-and-leave-group alarm 300 ignore-stdin");
            let (captured, survivors) = run_until_timeout(run, command.process_group(0), 1);
            let background = BackgroundProcess::started_by(&captured);
            assert!(!survivors.have_exited(SHORT));
            assert!(background.is_running());
            drop(background);
            assert!(survivors.have_exited(LONG), "the command was not killed");
        }
    });
}

#[test]
fn nothing_is_killed_if_the_command_exits_in_time() {
    in_subprocess(|| {
        for run in RUNS {
            let mut in_own_group = helper_command("spawn-and-exit ignore-stdin");
            in_own_group.process_group(0);
            let in_own_session = helper_command("setsid spawn-and-exit ignore-stdin");
            for mut command in [in_own_group, in_own_session] {
                let mut captured = Captured::default();
                let (timed_out, survivors) =
                    Survivors::of(|| run(&mut command, &mut captured, LONG));
                assert!(!timed_out);
                let background = BackgroundProcess::started_by(&captured);
                assert!(!survivors.have_exited(SHORT));
                assert!(background.is_running());
            }
        }
    });
}
