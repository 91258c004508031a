//! Measures what an idle wait costs: waits for its own process, by events and by polling, and
//! counts the context switches.
//!
//! `context_switches [--seconds N]`

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    use procwait::{Backend, Process};
    use std::time::Duration;

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 10.0,
        ["--seconds", seconds] => seconds.parse()?,
        _ => return Err("usage: context_switches [--seconds N]".into()),
    };
    let timeout = Duration::try_from_secs_f64(seconds)?;
    let pid = std::process::id();

    println!("waiting {seconds} s with each backend, for a process that does not exit");
    println!("backend    voluntary  involuntary  CPU time");
    let mut processes = vec![Process::open(pid)?];
    if processes[0].backend() != Backend::Polling {
        processes.push(Process::open_with(pid, Backend::Polling)?);
    }
    for process in processes {
        let before = getrusage(UsageWho::RUSAGE_SELF)?;
        assert_eq!(process.wait_timeout(timeout)?, None);
        let after = getrusage(UsageWho::RUSAGE_SELF)?;
        let cpu =
            (after.user_time() + after.system_time()) - (before.user_time() + before.system_time());
        println!(
            "{:9}  {:9}  {:11}  {:5} µs",
            process.backend().to_string(),
            after.voluntary_context_switches() - before.voluntary_context_switches(),
            after.involuntary_context_switches() - before.involuntary_context_switches(),
            cpu.num_microseconds(),
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no getrusage, so context switches cannot be counted");
}
