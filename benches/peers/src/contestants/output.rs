//! The ways to run a command for its output, of both streams, with an end.

use super::{AGAIN, Contestant, contestant, label, on_tokio};
use process_control::{ChildExt as _, Control as _};
use procwait::{Captured, CommandExt as _};
use std::{
    ffi::OsStr,
    process::{Command, Stdio},
    time::Duration,
};
use subprocess::{Exec, Redirection};

/// The standard output of the command, or `None` if it gave up at the limit.
pub type Way = fn(&[&OsStr], Duration) -> Option<Vec<u8>>;

pub const FLOOR: &str = "output-std";
pub const FLOOR_AGAIN: &str = "output-std-again";
pub const COMMAND_EXT: &str = "output-command-ext";
pub const CHILD_EXT: &str = "output-child-ext";

pub fn all() -> Vec<Contestant<Way>> {
    vec![
        contestant(FLOOR, "`std::process::Command::output`, no timeout", std),
        contestant(FLOOR_AGAIN, AGAIN, std),
        contestant(COMMAND_EXT, "**`procwait::CommandExt`**", command_ext),
        contestant(CHILD_EXT, "**`procwait::ChildExt`**", child_ext),
        contestant(
            "output-process-control",
            label("process_control", "`controlled_with_output`"),
            process_control,
        ),
        contestant(
            "output-subprocess",
            label("subprocess", "`capture_timeout`"),
            subprocess,
        ),
        contestant("output-duct", label("duct", "`wait_timeout`"), duct),
        contestant(
            "output-tokio",
            label("tokio", "`Command::output`, `timeout`"),
            tokio,
        ),
    ]
}

fn command(words: &[&OsStr]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn std(words: &[&OsStr], _: Duration) -> Option<Vec<u8>> {
    Some(command(words).output().unwrap().stdout)
}

fn command_ext(words: &[&OsStr], limit: Duration) -> Option<Vec<u8>> {
    let output = command(words).output_timeout(limit).unwrap();
    (!output.timed_out).then_some(output.stdout)
}

#[allow(clippy::zombie_processes)] // It is left only if it does not exit in time, and all do.
fn child_ext(words: &[&OsStr], limit: Duration) -> Option<Vec<u8>> {
    let mut child = command(words).spawn().unwrap();
    let mut captured = Captured::default();
    procwait::ChildExt::output_timeout(&mut child, &mut captured, limit).unwrap()?;
    Some(captured.stdout)
}

fn process_control(words: &[&OsStr], limit: Duration) -> Option<Vec<u8>> {
    let child = command(words).spawn().unwrap();
    let control = child.controlled_with_output().time_limit(limit);
    Some(control.terminate_for_timeout().wait().unwrap()?.stdout)
}

fn subprocess(words: &[&OsStr], limit: Duration) -> Option<Vec<u8>> {
    let job = Exec::cmd(words[0])
        .args(&words[1..])
        .stdin(Redirection::Null)
        .stdout(Redirection::Pipe)
        .stderr(Redirection::Pipe)
        .start()
        .unwrap();
    Some(job.capture_timeout(limit).ok()?.stdout)
}

fn duct(words: &[&OsStr], limit: Duration) -> Option<Vec<u8>> {
    let expression = duct::cmd(words[0], &words[1..]).stdin_null().unchecked();
    let captured = expression.stdout_capture().stderr_capture();
    let handle = captured.start().unwrap();
    handle.wait_timeout(limit).unwrap()?;
    Some(handle.into_output().unwrap().stdout)
}

fn tokio(words: &[&OsStr], limit: Duration) -> Option<Vec<u8>> {
    let mut command = tokio::process::Command::from(command(words));
    command.kill_on_drop(true);
    // Its output takes the runtime to begin with.
    let output = async { command.output().await };
    Some(on_tokio(limit, output)?.unwrap().stdout)
}
