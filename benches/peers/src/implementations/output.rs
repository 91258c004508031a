//! Runs a command, and captures its output and errors, with a timeout.

use super::{Implementation, REPEAT, block_on_async_io, block_on_tokio, implementation, versioned};
use process_control::{ChildExt as _, Control as _};
use procwait::{Captured, CommandExt as _};
use std::{
    process::{Command, Stdio},
    time::Duration,
};
use subprocess::{Exec, Redirection};

/// Returns the command's standard output, or `None` after the timeout.
pub type Method = fn(&[&str], Duration) -> Option<Vec<u8>>;

pub const BASELINE: &str = "output-std";
pub const COMMAND_EXT: &str = "output-command-ext";
pub const TOKIO: &str = "output-tokio";
pub const ON_TOKIO: &str = "output-on-tokio";
pub const ASYNC_PROCESS: &str = "output-async-process";
pub const ON_ASYNC_IO: &str = "output-on-async-io";

pub fn all() -> Vec<Implementation<Method>> {
    vec![
        implementation(BASELINE, "`std::process::Command::output`, no timeout", std),
        implementation("output-std-repeat", REPEAT, std),
        implementation(COMMAND_EXT, "**`procwait::CommandExt`**", command_ext),
        implementation(
            "output-process-control",
            versioned("process_control", "`controlled_with_output`"),
            process_control,
        ),
        implementation(
            "output-subprocess",
            versioned("subprocess", "`capture_timeout`"),
            subprocess,
        ),
        implementation("output-duct", versioned("duct", "`wait_timeout`"), duct),
        implementation(
            TOKIO,
            versioned("tokio", "`Command::output`, `timeout`"),
            tokio,
        ),
        implementation(
            ON_TOKIO,
            "**`procwait::ChildExt`** on tokio, `timeout`",
            on_tokio,
        ),
        implementation(
            ASYNC_PROCESS,
            versioned("async-process", "`Command::output`, `Timer`"),
            async_process,
        ),
        implementation(
            ON_ASYNC_IO,
            "**`procwait::ChildExt`** on async-io, `Timer`",
            on_async_io,
        ),
    ]
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(arguments[0]);
    command.args(&arguments[1..]);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn std(arguments: &[&str], _: Duration) -> Option<Vec<u8>> {
    Some(command(arguments).output().unwrap().stdout)
}

fn command_ext(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let output = command(arguments).output_timeout(timeout).unwrap();
    (!output.timed_out).then_some(output.stdout)
}

fn process_control(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let child = command(arguments).spawn().unwrap();
    let control = child.controlled_with_output().time_limit(timeout);
    Some(control.terminate_for_timeout().wait().unwrap()?.stdout)
}

fn subprocess(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let job = Exec::cmd(arguments[0])
        .args(&arguments[1..])
        .stdin(Redirection::Null)
        .stdout(Redirection::Pipe)
        .stderr(Redirection::Pipe)
        .start()
        .unwrap();
    Some(job.capture_timeout(timeout).ok()?.stdout)
}

fn duct(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let expression = duct::cmd(arguments[0], &arguments[1..])
        .stdin_null()
        .unchecked();
    let captured = expression.stdout_capture().stderr_capture();
    let handle = captured.start().unwrap();
    handle.wait_timeout(timeout).unwrap()?;
    Some(handle.into_output().unwrap().stdout)
}

fn tokio(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let mut command = tokio::process::Command::from(command(arguments));
    command.kill_on_drop(true);
    // `output` has to be called within the runtime.
    let output = async { command.output().await };
    Some(block_on_tokio(timeout, output)?.unwrap().stdout)
}

fn on_tokio(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let mut child = command(arguments).spawn().unwrap();
    let mut captured = Captured::default();
    // Named, because another trait of this name is imported.
    let output = procwait::ChildExt::output_on_tokio(&mut child, &mut captured);
    block_on_tokio(timeout, output)?.unwrap();
    Some(captured.stdout)
}

fn async_process(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    // Its conversion from std's `Command` loses the standard streams.
    let mut command = async_process::Command::new(arguments[0]);
    command.args(&arguments[1..]).stdin(Stdio::null());
    let output = command.kill_on_drop(true).output();
    Some(block_on_async_io(timeout, output)?.unwrap().stdout)
}

fn on_async_io(arguments: &[&str], timeout: Duration) -> Option<Vec<u8>> {
    let mut child = command(arguments).spawn().unwrap();
    let mut captured = Captured::default();
    let output = procwait::ChildExt::output_on_async_io(&mut child, &mut captured);
    block_on_async_io(timeout, output)?.unwrap();
    Some(captured.stdout)
}
