//! Waits for processes to exit, like pwait(1) on FreeBSD and illumos.
//!
//! `pwait [-o] [-t SECONDS] [-v] PID…`
//!
//! Waits until all of the processes have exited or, with `-o`, one of them. `-v` prints how each
//! process exited, and the backend. Exit codes: 0 if they exited, 124 on timeout, 1 on errors such
//! as an unused pid, 2 for wrong usage.

use procwait::{Error, Process, WaitSet};
use std::{
    collections::HashMap,
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "usage: pwait [-o] [-t SECONDS] [-v] PID…";
const TIMED_OUT: u8 = 124;

#[derive(Default)]
struct Options {
    one: bool,
    timeout: Option<Duration>,
    verbose: bool,
    pids: Vec<u32>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-o" => options.one = true,
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
    wait(&options).unwrap_or_else(|error| {
        eprintln!("pwait: {error}");
        ExitCode::FAILURE
    })
}

fn wait(options: &Options) -> Result<ExitCode, Error> {
    let start = Instant::now();
    let mut code = ExitCode::SUCCESS;
    let mut set = WaitSet::new();
    for &pid in &options.pids {
        match set.insert(pid) {
            Ok(_) => {}
            Err(error @ Error::NotFound { .. }) => {
                eprintln!("pwait: {error}");
                code = ExitCode::FAILURE;
            }
            Err(error) => return Err(error),
        }
    }
    // A set does not report its backends. `Process::open` chooses the same ones, unless the set has
    // to save descriptors.
    let pids = set.pids().filter(|_| options.verbose);
    let backends: HashMap<u32, String> = pids.map(|pid| (pid, backend(pid))).collect();
    while !set.is_empty() {
        let remaining = options
            .timeout
            .map(|timeout| timeout.saturating_sub(start.elapsed()));
        let Some((pid, exit)) = set.wait(remaining)? else {
            if options.verbose {
                for pid in set.pids() {
                    println!("{pid}: still running{}", backends[&pid]);
                }
            }
            return Ok(ExitCode::from(TIMED_OUT));
        };
        if options.verbose {
            println!("{pid}: {exit}{}", backends[&pid]);
        }
        if options.one {
            break;
        }
    }
    Ok(code)
}

fn backend(pid: u32) -> String {
    match Process::open(pid) {
        Ok(process) => format!(" ({})", process.backend()),
        // The process has been reaped since it was inserted into the set.
        Err(_) => String::new(),
    }
}
