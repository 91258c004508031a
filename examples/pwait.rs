//! Waits for processes to exit: FreeBSD's pwait(1), with options of util-linux's waitpid(1).
//!
//! `pwait [-t DURATION] [-c COUNT] [-eopv] [--] PID…`
//!
//! - `-t DURATION`: waits no longer than this. The unit is `s` (the default), `m` or `h`. Fractions
//!   are allowed, and up to 100,000,000 seconds. 0 means no limit, as in both commands.
//! - `-o`: waits until any one of the processes has exited, rather than all.
//! - `-c COUNT`: waits until COUNT of them have exited. If there are both, the last of `-o` and `-c`
//!   applies.
//! - `-v`: prints how each process exited: `PID: exited with status 3.`, `PID: killed by signal 9.`,
//!   or `PID: terminated.` if the OS does not report the status. At the timeout, prints `timeout`.
//! - `-p`: at the end, prints the pids of the processes that have not exited.
//! - `-e`: does not warn about unused pids, unless with `-v`.
//!
//! It exits with 0; 124 at the timeout; 64 for wrong usage, 65 for an invalid DURATION or COUNT, 71 if
//! a system call fails (these as in sysexits(3)). Where the two commands differ, it follows FreeBSD's:
//!
//! | | FreeBSD | util-linux |
//! |---|---|---|
//! | an invalid pid | is ignored, with a warning | is an error |
//! | its own pid | is ignored, with a warning | is waited for |
//! | an unused pid | counts as an exit, with a warning | is an error; with `-e`, is ignored |
//! | a repeated pid | counts once | counts each time |
//! | an option after a pid | is an invalid pid | is an option |
//! | exit codes | as above | 3 at the timeout, 1 or 2 for errors |
//!
//! As in FreeBSD's, a pid may be written `/proc/PID`. Unlike it:
//!
//! - 0 is an invalid pid. (There it is the kernel, which does not exit.)
//! - A number above the system's highest pid is an unused pid, and an invalid one only above 2³¹-1
//!   (on Windows, 2³²-1).
//! - If it cannot write to standard output, it waits all the same, and then exits with 74.
//! - A zombie has exited: there is no `-r`, which waits until the process has been reaped.
//!
//! Unlike waitpid(1), it has no long options and no `PID:INODE`, and allows `-c` with `-e`.

use procwait::{Error, Exit, WaitSet};
use std::{
    collections::HashSet,
    env,
    fmt::Display,
    io::{self, Write as _},
    process::{self, ExitCode},
    time::{Duration, Instant},
};

const USAGE: &str = "usage: pwait [-t DURATION] [-c COUNT] [-eopv] [--] PID…";
const MAX_SECONDS: f64 = 1e8;

const TIMED_OUT: u8 = 124;
const EX_OK: u8 = 0;
const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;
const EX_OSERR: u8 = 71;
const EX_IOERR: u8 = 74;

#[derive(Default)]
struct Options {
    timeout: Option<Duration>,
    count: Option<usize>,
    allow_unused: bool,
    print_remaining: bool,
    verbose: bool,
    pids: Vec<String>,
}

enum Invalid {
    Usage,
    Value(String),
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, Invalid> {
    let mut options = Options::default();
    let mut arguments = arguments.peekable();
    let is_option = |argument: &String| argument.starts_with('-') && argument != "-";
    while let Some(argument) = arguments.next_if(is_option) {
        if argument == "--" {
            break;
        }
        let mut letters = argument[1..].chars();
        while let Some(letter) = letters.next() {
            match letter {
                'e' => options.allow_unused = true,
                'o' => options.count = Some(1),
                'p' => options.print_remaining = true,
                'v' => options.verbose = true,
                'c' | 't' => {
                    let value = match letters.as_str() {
                        "" => arguments.next().ok_or(Invalid::Usage)?,
                        attached => attached.to_owned(),
                    };
                    if letter == 'c' {
                        options.count = Some(parse_count(&value)?);
                    } else {
                        options.timeout = parse_timeout(&value)?;
                    }
                    break;
                }
                _ => return Err(Invalid::Usage),
            }
        }
    }
    options.pids = arguments.collect();
    match (options.count, options.pids.len()) {
        (_, 0) => Err(Invalid::Usage),
        (Some(count), pids) if count > pids => {
            Err(Invalid::Value(format!("cannot wait for {count} of {pids}")))
        }
        _ => Ok(options),
    }
}

fn parse_count(text: &str) -> Result<usize, Invalid> {
    let count = text.parse().ok().filter(|&count| count > 0);
    count.ok_or_else(|| Invalid::Value("count value".to_owned()))
}

/// `None` if it is 0.
fn parse_timeout(text: &str) -> Result<Option<Duration>, Invalid> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(Invalid::Value("timeout unit".to_owned())),
    };
    let seconds = number.parse().map_or(f64::NAN, |number: f64| number * unit);
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return Err(Invalid::Value("timeout value".to_owned()));
    }
    Ok((seconds > 0.0).then(|| Duration::from_secs_f64(seconds)))
}

fn parse_pid(text: &str) -> Option<u32> {
    let pid = text.strip_prefix("/proc/").unwrap_or(text);
    // `ps -o pid=` aligns pids with spaces.
    pid.trim_start().parse().ok()
}

fn main() -> ExitCode {
    let arguments = env::args_os().skip(1);
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(Invalid::Usage) => {
            let _ = writeln!(io::stderr(), "{USAGE}");
            return EX_USAGE.into();
        }
        Err(Invalid::Value(message)) => {
            warn(message);
            return EX_DATAERR.into();
        }
    };
    let mut output = Output(Ok(()));
    let code = wait(&options, &mut output).unwrap_or_else(|error| {
        warn(error);
        EX_OSERR
    });
    if let Err(error) = output.0 {
        warn(format_args!("standard output: {error}"));
        return EX_IOERR.into();
    }
    code.into()
}

fn wait(options: &Options, output: &mut Output) -> Result<u8, Error> {
    let mut set = WaitSet::new();
    let mut exited = insert_all(&mut set, options)?;
    let mut code = EX_OK;
    let start = Instant::now();
    while !set.is_empty() {
        let is_enough = options.count.is_some_and(|count| exited >= count);
        let timeout = if is_enough {
            // Others may have exited, too. They must not be among the remaining pids.
            Some(Duration::ZERO)
        } else {
            let timeout = options.timeout;
            timeout.map(|timeout| timeout.saturating_sub(start.elapsed()))
        };
        let Some((pid, exit)) = set.wait(timeout)? else {
            if !is_enough {
                code = TIMED_OUT;
            }
            break;
        };
        exited += 1;
        if options.verbose {
            output.write_line(format_args!("{pid}: {}.", describe(&exit)));
        }
    }
    if options.verbose && code == TIMED_OUT {
        output.write_line("timeout");
    }
    if options.print_remaining {
        let mut remaining: Vec<u32> = set.pids().collect();
        remaining.sort_unstable();
        for pid in remaining {
            output.write_line(pid);
        }
    }
    Ok(code)
}

/// Returns the number of unused pids, which count as exits.
fn insert_all(set: &mut WaitSet, options: &Options) -> Result<usize, Error> {
    let mut unused = HashSet::new();
    for text in &options.pids {
        let Some(pid) = parse_pid(text) else {
            warn(format_args!("{text}: bad process id"));
            continue;
        };
        if pid == process::id() {
            warn(format_args!("{text}: skipping my own pid"));
            continue;
        }
        match set.insert(pid) {
            Ok(_) => {}
            Err(Error::InvalidPid { .. }) => warn(format_args!("{text}: bad process id")),
            Err(Error::NotFound { .. }) => {
                let is_new = unused.insert(pid);
                if is_new && (options.verbose || !options.allow_unused) {
                    warn(format_args!("{pid}: No such process"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(unused.len())
}

fn describe(exit: &Exit) -> String {
    #[cfg(unix)]
    if let Some(signal) = exit.signal() {
        return format!("killed by signal {signal}");
    }
    match exit.code() {
        Some(code) => format!("exited with status {code}"),
        None => "terminated".to_owned(),
    }
}

/// Standard output, until the first failure to write to it.
struct Output(io::Result<()>);

impl Output {
    fn write_line(&mut self, line: impl Display) {
        if self.0.is_ok() {
            self.0 = writeln!(io::stdout(), "{line}");
        }
    }
}

/// `eprintln!` would panic if standard error cannot be written to.
fn warn(message: impl Display) {
    let _ = writeln!(io::stderr(), "pwait: {message}");
}
