//! Runs a command, and kills it after two seconds. Prints the first 1,000 bytes of each output
//! stream. The default command leaves a background process behind, which keeps the pipe open.
//!
//! `output_timeout [COMMAND [ARGUMENT…]]`

use procwait::{Captured, ChildExt as _};
use std::{
    env, io,
    process::{Command, Stdio},
    time::Duration,
};

const TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let mut command = match arguments.next() {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        None => command_with_background_process(),
    };
    command.stdout(Stdio::piped()).stderr(Stdio::piped());

    // `CommandExt::output_timeout` does all of this in one call, but without a limit on the output.
    let mut child = command.spawn()?;
    let mut captured = Captured::with_limit(1000);
    match child.output_timeout(&mut captured, TIMEOUT)? {
        Some(status) => println!("it ended by itself: {status}"),
        None => {
            child.kill()?;
            let status = child.output_timeout(&mut captured, Duration::MAX)?;
            println!("it had to be killed: {}", status.expect("no timeout"));
        }
    }
    print!("{}", String::from_utf8_lossy(&captured.stdout));
    eprint!("{}", String::from_utf8_lossy(&captured.stderr));
    println!("{} bytes discarded", captured.discarded());
    Ok(())
}

/// The background process keeps the pipe open for a minute after the command has exited.
fn command_with_background_process() -> Command {
    if cfg!(windows) {
        let mut command = Command::new("cmd");
        command.args(["/c", "start /b ping -n 60 127.0.0.1 > nul & echo hi"]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo hi"]);
        command
    }
}
