//! How many system calls a wait makes, by strace.

use crate::{
    child::Program,
    contestants::Contestant,
    worker::{self, task},
};
use std::{
    collections::HashSet,
    env, fs,
    io::{self, Write as _},
    process::{self, Command, Stdio},
};

/// For each contestant; `None` where there is no strace, or it may not trace.
pub fn count<W>(
    contestants: &[Contestant<W>],
    program: &Program,
) -> io::Result<Vec<Option<usize>>> {
    let probe = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: system calls, as there is no working strace");
        return Ok(contestants.iter().map(|_| None).collect());
    }
    contestants
        .iter()
        .map(|it| count_one(it.name, program).map(Some))
        .collect()
}

/// All threads of the worker, in a wait for a child of 200 ms; the second wait, as
/// the first one may set things up.
fn count_one(name: &str, program: &Program) -> io::Result<usize> {
    let log = env::temp_dir().join(format!("procwait-peers-{}.strace", process::id()));
    let worker = worker::command(name, program)?;
    let mut tracer = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg(worker.get_program())
        .args(worker.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut tasks = tracer.stdin.take().expect("it is piped");
    for _ in 0..2 {
        writeln!(tasks, "{} 200000000", task::LATENCY)?;
    }
    drop(tasks);
    tracer.wait()?;
    let lines = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    Ok(count_between_marks(&lines))
}

/// Between the third `getppid` and the last, without those of the children.
fn count_between_marks(log: &str) -> usize {
    let lines: Vec<(&str, &str)> = log
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let is_start = |line: &str| line.trim_start().starts_with("execve(");
    let children: HashSet<&str> = lines
        .iter()
        .skip(1)
        .filter(|(_, line)| is_start(line))
        .map(|(pid, _)| *pid)
        .collect();
    let mut marks = 0;
    let mut calls = 0;
    for (pid, line) in lines {
        let line = line.trim_start();
        let is_call = !line.starts_with(['+', '-', '<']);
        if line.starts_with("getppid(") {
            marks += 1;
        } else if marks == 3 && is_call && !children.contains(pid) {
            calls += 1;
        }
    }
    calls
}
