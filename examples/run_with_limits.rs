//! Runs a command with limits on its time and its output, like timeout(1).
//!
//! `run_with_limits [-k GRACE] [--max-output BYTES] [--] SECONDS COMMAND [ARGUMENT…]`
//!
//! After SECONDS, sends SIGTERM to the command and what it has started, and SIGKILL after GRACE more
//! seconds (default: 5). Passes on the first BYTES bytes of the output, as they come. Exits with the
//! command's exit code; 128+N if signal N killed it; 124 at the time limit, 137 if that took SIGKILL;
//! 125 after an error of its own, 126 if the command cannot be run, 127 if it is not found.
//!
//! Unlike timeout(1):
//!
//! - Before the command starts, it reads its standard input to the end, unless that is a terminal.
//! - It discards what background processes write after the command has exited in time.
//! - It does not pass on signals that it receives, such as Ctrl-C.
//! - While no one reads its output, it does not enforce the limit.
//! - On Windows, it kills the command at the limit, and nothing else.

use procwait::{Captured, ChildExt as _, Error, Process, Progress};
use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _, Read as _, Write},
    mem,
    process::{self, Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

const TIMED_OUT: i32 = 124;
const FAILED: i32 = 125;
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;
const KILLED: i32 = 128 + 9;
const USAGE: &str =
    "usage: run_with_limits [-k GRACE] [--max-output BYTES] [--] SECONDS COMMAND [ARGUMENT…]";

struct Limits {
    timeout: Duration,
    grace: Duration,
    output: usize,
}

fn arguments(mut arguments: impl Iterator<Item = OsString>) -> Option<(Limits, Command)> {
    let mut limits = Limits {
        timeout: Duration::MAX,
        grace: Duration::from_secs(5),
        output: usize::MAX,
    };
    limits.timeout = loop {
        let argument = arguments.next()?;
        match argument.to_str()? {
            "-k" => limits.grace = seconds(arguments.next()?)?,
            "--max-output" => limits.output = arguments.next()?.to_str()?.parse().ok()?,
            "--" => break seconds(arguments.next()?)?,
            _ => break seconds(argument)?,
        }
    };
    let mut command = Command::new(arguments.next()?);
    command.args(arguments);
    Some((limits, command))
}

fn seconds(argument: OsString) -> Option<Duration> {
    Duration::try_from_secs_f64(argument.to_str()?.parse().ok()?).ok()
}

fn main() {
    let Some((limits, command)) = arguments(env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        process::exit(FAILED);
    };
    let code = run(command, limits).unwrap_or_else(|error| {
        eprintln!("run_with_limits: {error}");
        FAILED
    });
    process::exit(code);
}

fn run(mut command: Command, limits: Limits) -> io::Result<i32> {
    let mut input = Vec::new();
    if !io::stdin().is_terminal() {
        io::stdin().read_to_end(&mut input)?;
    }
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("run_with_limits: {:?}: {error}", command.get_program());
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            return Ok(if is_missing { NOT_FOUND } else { CANNOT_RUN });
        }
    };
    let mut run = Run {
        process: child.process()?,
        child,
        captured: Captured::default().input(input),
        limits,
    };
    run.until_exit().inspect_err(|_| drop(kill(&run.process)))
}

struct Run {
    child: Child,
    process: Process,
    captured: Captured,
    limits: Limits,
}

impl Run {
    /// Returns the exit code.
    fn until_exit(&mut self) -> io::Result<i32> {
        if let Some(status) = self.pass_output_on(self.limits.timeout)? {
            return Ok(exit_code(status));
        }
        let terminated_at = Instant::now();
        terminate(&self.process)?;
        let has_exited = self.pass_output_on(self.limits.grace)?.is_some();
        // A shell exits at once. What it has started may use the grace, and write meanwhile.
        let grace = self.limits.grace.saturating_sub(terminated_at.elapsed());
        if !has_exited || !self.child.read_to_end_timeout(&mut self.captured, grace)? {
            kill(&self.process)?;
        }
        let is_killed = self.pass_output_on(Duration::MAX)?.map(exit_code) == Some(KILLED);
        Ok(if is_killed { KILLED } else { TIMED_OUT })
    }

    /// Passes the output on until the command has exited, or until the timeout (`None`).
    fn pass_output_on(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let remaining = timeout.saturating_sub(start.elapsed());
            let progress = self.child.read_timeout(&mut self.captured, remaining)?;
            let Captured { stdout, stderr, .. } = &mut self.captured;
            write(stdout, io::stdout(), &mut self.limits.output)?;
            write(stderr, io::stderr(), &mut self.limits.output)?;
            match progress {
                Progress::Exited(status) => return Ok(Some(status)),
                // Not only if it is `TimedOut`: there may be something to read each time.
                _ if remaining.is_zero() => return Ok(None),
                _ => {}
            }
        }
    }
}

/// Writes the first `limit` bytes, and takes them off the limit.
fn write(bytes: &mut Vec<u8>, mut output: impl Write, limit: &mut usize) -> io::Result<()> {
    bytes.truncate(*limit);
    *limit -= bytes.len();
    output.write_all(&mem::take(bytes))?;
    output.flush()
}

fn exit_code(status: ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return 128 + signal;
    }
    status.code().unwrap_or(FAILED)
}

fn terminate(process: &Process) -> Result<(), Error> {
    #[cfg(unix)]
    // A stopped process reacts only when it continues.
    for signal in [libc::SIGTERM, libc::SIGCONT] {
        process.send_signal_to_group(signal)?;
    }
    #[cfg(not(unix))]
    process.kill()?;
    Ok(())
}

fn kill(process: &Process) -> Result<(), Error> {
    #[cfg(unix)]
    process.send_signal_to_group(libc::SIGKILL)?;
    // The command may have left its group.
    process.kill()
}
