//! Waits for processes to exit, as the command of that name on FreeBSD and
//! illumos does.
//!
//! `pwait [-t SECONDS] [-v] PID…`
//!
//! Exits with 0 when all have exited, and with 124 if that took longer than
//! SECONDS. `-v` tells how each exited, and by which backend that was learned.

use procwait::Process;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "usage: pwait [-t SECONDS] [-v] PID…";
const TIMED_OUT: u8 = 124;

struct Options {
    /// `None`: wait for ever.
    timeout: Option<Duration>,
    verbose: bool,
    pids: Vec<u32>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        timeout: None,
        verbose: false,
        pids: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-v" => options.verbose = true,
            "-t" => {
                let seconds = arguments.next()?.parse().ok()?;
                options.timeout = Some(Duration::try_from_secs_f64(seconds).ok()?);
            }
            pid => options.pids.push(pid.parse().ok()?),
        }
    }
    (!options.pids.is_empty()).then_some(options)
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let timeout = options.timeout.unwrap_or(Duration::MAX);
    let deadline = Instant::now().checked_add(timeout);
    let mut code = ExitCode::SUCCESS;
    // Take hold of all before waiting for the first, so that no pid comes to
    // mean another process meanwhile.
    let opened: Vec<_> = options.pids.iter().copied().map(Process::open).collect();
    for process in opened {
        let waited = process.and_then(|mut process| {
            let exit = match deadline {
                Some(deadline) => process.wait_deadline(deadline)?,
                None => Some(process.wait()?),
            };
            Ok((process, exit))
        });
        match waited {
            Ok((process, Some(exit))) if options.verbose => {
                println!("{}: {exit} ({})", process.pid(), process.backend());
            }
            Ok((_, Some(_))) => {}
            Ok((process, None)) => {
                if options.verbose {
                    println!("{}: still running ({})", process.pid(), process.backend());
                }
                code = ExitCode::from(TIMED_OUT);
            }
            Err(error) => {
                eprintln!("pwait: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
