//! Writes the input of `cat` while it captures the output, with a timeout.

use super::{Implementation, REPEAT, block_on_tokio, implementation, output, versioned};
use futures_lite::future::zip;
use procwait::{Captured, ChildExt as _, CommandExt as _};
use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use subprocess::{Exec, Redirection};
use tokio::io::AsyncWriteExt as _;

/// Returns the command's standard output.
pub type Method = fn(Vec<u8>, Duration) -> Vec<u8>;

pub const BASELINE: &str = "input-std";
pub const COMMAND_EXT: &str = "input-command-ext";
pub const TOKIO: &str = "input-tokio";
pub const ON_TOKIO: &str = "input-on-tokio";

pub fn all() -> Vec<Implementation<Method>> {
    vec![
        implementation(
            BASELINE,
            "`std::process::Child::wait_with_output` and a thread that writes, no timeout",
            std,
        ),
        implementation("input-std-repeat", REPEAT, std),
        implementation(COMMAND_EXT, "**`procwait::CommandExt`**", command_ext),
        implementation(
            "input-subprocess",
            versioned("subprocess", "`capture_timeout`"),
            subprocess,
        ),
        implementation("input-duct", versioned("duct", "`wait_timeout`"), duct),
        implementation(
            TOKIO,
            versioned("tokio", "`Child::wait_with_output`, `timeout`"),
            tokio,
        ),
        implementation(
            ON_TOKIO,
            "**`procwait::ChildExt`** on tokio, `timeout`",
            on_tokio,
        ),
    ]
}

fn cat() -> Command {
    let mut command = output::command(&["cat"]);
    command.stdin(Stdio::piped());
    command
}

fn std(input: Vec<u8>, _: Duration) -> Vec<u8> {
    let mut child = cat().spawn().unwrap();
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}

fn command_ext(input: Vec<u8>, timeout: Duration) -> Vec<u8> {
    let mut captured = Captured::default().input(input);
    let result = cat().output_timeout_with(&mut captured, timeout).unwrap();
    assert!(!result.timed_out);
    captured.stdout
}

fn subprocess(input: Vec<u8>, timeout: Duration) -> Vec<u8> {
    let job = Exec::cmd("cat")
        .stdin(input)
        .stdout(Redirection::Pipe)
        .stderr(Redirection::Pipe)
        .start()
        .unwrap();
    job.capture_timeout(timeout).unwrap().stdout
}

fn duct(input: Vec<u8>, timeout: Duration) -> Vec<u8> {
    let expression = duct::cmd!("cat").stdin_bytes(input);
    let captured = expression.stdout_capture().stderr_capture();
    let handle = captured.start().unwrap();
    let output = handle.wait_timeout(timeout).unwrap();
    assert!(output.is_some());
    handle.into_output().unwrap().stdout
}

fn tokio(input: Vec<u8>, timeout: Duration) -> Vec<u8> {
    let output = async {
        let mut command = tokio::process::Command::from(cat());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let write = async move {
            stdin.write_all(&input).await.unwrap();
        };
        zip(write, child.wait_with_output()).await.1
    };
    let output = block_on_tokio(timeout, output).expect("it ends in time");
    output.unwrap().stdout
}

fn on_tokio(input: Vec<u8>, timeout: Duration) -> Vec<u8> {
    let mut child = cat().spawn().unwrap();
    let mut captured = Captured::default().input(input);
    let output = child.output_on_tokio(&mut captured);
    let status = block_on_tokio(timeout, output).expect("it ends in time");
    assert!(status.unwrap().success());
    captured.stdout
}
