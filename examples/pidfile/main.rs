//! Starts a service once, finds it again, and stops it. A file has the
//! [identity](procwait::Identity) of its process. So unlike with a pid file, `stop` never signals
//! another process that has got the pid, also after a reboot.
//!
//! - `pidfile FILE start COMMAND [ARGUMENT…]`: starts the service, unless it is running
//! - `pidfile FILE status`
//! - `pidfile FILE stop [SECONDS]`: sends SIGTERM to the service; when it has exited, or after
//!   SECONDS (default: 5), sends SIGKILL to its process group; then removes the file
//!
//! Exit codes are those of LSB init scripts and start-stop-daemon(8). 0: it is running or, after
//! `stop`, is not. 1: an error; of `status`: it has exited, and there is a file. 2: wrong usage.
//! 3, of `status`: there is no file. 4: it is not known whether it is running, and nothing was done.
//!
//! The service leads a session without a terminal, and its standard streams are null. Keep FILE where
//! only you can write, as it says which process to kill, and best in /run, which a reboot empties.

#[cfg(unix)]
mod service;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    use std::io::{self, Write as _};

    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (code, message) = run(&arguments).unwrap_or_else(|error| (1, error.to_string()));
    // Unlike `println!`, does not panic if no one reads the output.
    let _ = if code == 0 {
        writeln!(io::stdout(), "{message}")
    } else {
        writeln!(io::stderr(), "pidfile: {message}")
    };
    code.into()
}

/// Returns the exit code, and what to print.
#[cfg(unix)]
fn run(arguments: &[std::ffi::OsString]) -> service::Result<(u8, String)> {
    use service::State::{Exited, NoFile, Running};
    use std::{fs, path::Path, time::Duration};

    const USAGE: &str = "FILE start COMMAND [ARGUMENT…] | FILE status | FILE stop [SECONDS]";
    const GRACE: Duration = Duration::from_secs(5);
    let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();

    let [file, action, rest @ ..] = arguments else {
        return Ok((2, USAGE.to_owned()));
    };
    let (file, action) = (Path::new(file), action.to_str().unwrap_or_default());
    let grace = match (action, rest) {
        ("start", [_, ..]) | ("status" | "stop", []) => Some(GRACE),
        ("stop", [grace]) => grace.to_str().and_then(seconds),
        (service::EXEC, [program, arguments @ ..]) => match service::exec(program, arguments)? {},
        _ => None,
    };
    let Some(grace) = grace else {
        return Ok((2, USAGE.to_owned()));
    };

    // `status` needs none, as the file is whole at all times.
    let lock = (action != "status").then(|| service::lock(file));
    let _lock = lock.transpose()?;
    let state = match service::find(file) {
        Ok(state) => state,
        Err(error) => return Ok((4, format!("it may be running: {error}"))),
    };
    Ok(match (action, state) {
        ("status", Exited) => (1, "it has exited".to_owned()),
        ("status", NoFile) => (3, "it is not running".to_owned()),
        ("status" | "start", Running(process)) => (0, format!("running ({})", process.pid())),
        ("start", _) => (0, format!("started ({})", service::start(file, rest)?)),
        (_, NoFile) => (0, "was not running".to_owned()),
        (_, state) => {
            if let Running(process) = state {
                service::stop(&process, grace)?;
            }
            fs::remove_file(file)?;
            (0, "stopped".to_owned())
        }
    })
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no SIGTERM");
}
