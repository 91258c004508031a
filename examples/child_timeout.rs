//! Runs a command (default: one that takes a minute), and kills it after five seconds.
//!
//! `child_timeout [COMMAND [ARGUMENT…]]`

use procwait::ChildExt as _;
use std::{env, io, process::Command, time::Duration};

const TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let mut command = match arguments.next() {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        None => one_minute_command(),
    };
    let mut child = command.spawn()?;
    println!("running {command:?} for at most {TIMEOUT:?}");
    match child.wait_timeout(TIMEOUT)? {
        Some(status) => println!("it ended by itself: {status}"),
        None => {
            child.kill()?;
            println!("it had to be killed: {}", child.wait()?);
        }
    }
    Ok(())
}

fn one_minute_command() -> Command {
    if cfg!(windows) {
        let mut command = Command::new("ping");
        command.args(["-n", "60", "127.0.0.1"]);
        command
    } else {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    }
}
