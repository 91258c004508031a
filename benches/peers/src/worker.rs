//! The worker: a process for each implementation, so that the signal handlers and threads of one
//! do not affect the others. It reads a task and its argument from each line of its input, and
//! answers with a line of numbers, which is empty if the implementation cannot do the task.

use crate::{
    child::{self, EXIT_CODE, Spawner, now, reap},
    implementations::{Implementation, input, live, many, one, output, wake},
};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::{
    process::{Resource, Signal, getrlimit, kill_process, setrlimit},
    time::{ClockId, clock_gettime},
};
use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

/// The tasks. All times in the answers are in ns.
pub mod task {
    /// Waits for a child that lives this many ns. Answers the time from exit to return.
    pub const LATENCY: &str = "latency";
    /// Waits this many ms for a child that does not exit. Answers the voluntary context switches
    /// and the CPU time.
    pub const IDLE: &str = "idle";
    /// Waits for this many children that exit at once. Answers wall time and CPU time.
    pub const MANY: &str = "many";
    /// Runs a command that writes this many bytes. Answers wall time and CPU time from before the
    /// spawn until the output is captured, and the length of the output.
    pub const OUTPUT: &str = "output";
    /// The same, with a timeout of this many ms, for a command whose background process keeps its
    /// output open for 3 s. After a timeout, the answer has no length.
    pub const HELD_OPEN: &str = "held-open";
    /// Writes this many bytes to `cat`, and captures its output. Answers like `OUTPUT`.
    pub const INPUT: &str = "input";
    /// Like `OUTPUT`, but keeps nothing of the output.
    pub const LIVE: &str = "live";
    /// Two threads wake each other this many times. Answers wall time and CPU time.
    pub const WAKE: &str = "wake";
}

/// A timeout that does not pass.
const LONG: Duration = Duration::from_secs(60);

/// Does tasks until its input ends.
pub fn run(name: &str) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;

    let spawner = Spawner::new()?;
    // An estimate of the time that one spawn takes.
    let mut spawn_time = Duration::from_micros(500);
    for line in io::stdin().lines() {
        let line = line?;
        let (task, argument) = line.split_once(' ').expect("a task and its argument");
        let argument: u64 = argument.parse().expect("a number");
        let milliseconds = Duration::from_millis(argument);
        let answer = match task {
            task::LATENCY => {
                let lifetime = Duration::from_nanos(argument);
                latency(&method(one::all(), name), &spawner, lifetime)
            }
            // `Child::wait` has no timeout.
            task::IDLE if name == one::STD => Vec::new(),
            task::IDLE => idle(&method(one::all(), name), &spawner, milliseconds),
            task::MANY => {
                let method = method(many::all(), name);
                many(&method, &spawner, argument as usize, &mut spawn_time)
            }
            task::OUTPUT => {
                let method = method(output::all(), name);
                let command = [child::PROGRAM, "0", &argument.to_string()];
                transfer(|| method(&command, LONG), Vec::len)
            }
            task::HELD_OPEN => {
                let method = method(output::all(), name);
                let command = ["sh", "-c", "sleep 3 & echo hi"];
                transfer(|| method(&command, milliseconds), Vec::len)
            }
            task::INPUT => {
                let method = method(input::all(), name);
                let input = vec![b'x'; argument as usize];
                transfer(|| Some(method(input, LONG)), Vec::len)
            }
            task::LIVE => {
                let method = method(live::all(), name);
                let command = [child::PROGRAM, "0", &argument.to_string()];
                transfer(|| Some(method(&command, LONG)), |length| *length)
            }
            task::WAKE => {
                let method = method(wake::all(), name);
                timed(|| method(argument as usize)).0
            }
            _ => panic!("unknown task {task}"),
        };
        let answer: Vec<_> = answer.iter().map(f64::to_string).collect();
        writeln!(io::stdout(), "{}", answer.join(" "))?;
    }
    Ok(())
}

fn method<M>(implementations: Vec<Implementation<M>>, name: &str) -> M {
    let mut implementations = implementations.into_iter();
    let found = implementations.find(|implementation| implementation.name == name);
    found.expect("the name of an implementation").method
}

fn latency(method: &one::Method, spawner: &Spawner, lifetime: Duration) -> Vec<f64> {
    let exit_at = now() + lifetime;
    let mut child = (method.start)(spawner, exit_at);
    let code = (child.wait)(LONG);
    let returned = now();
    assert_eq!(code, Some(EXIT_CODE));
    reap(child.pid);
    let exited = spawner.exit_time();
    assert!(exited >= exit_at, "this is another child's exit time");
    vec![ns(returned - exited)]
}

fn idle(method: &one::Method, spawner: &Spawner, timeout: Duration) -> Vec<f64> {
    let mut child = (method.start)(spawner, now() + timeout + LONG);
    let (switches, cpu) = (context_switches(), cpu_time());
    assert_eq!((child.wait)(timeout), None);
    let answer = vec![context_switches() - switches, cpu_time() - cpu];
    kill_process(child::pid(child.pid), Signal::KILL).unwrap();
    reap(child.pid);
    answer
}

fn many(
    method: &many::Method,
    spawner: &Spawner,
    count: usize,
    spawn_time: &mut Duration,
) -> Vec<f64> {
    const WAIT_BEFORE_EXIT: Duration = Duration::from_millis(500);
    const MARGIN: Duration = Duration::from_millis(100);
    loop {
        let start = now();
        let exit_at = now() + *spawn_time * count as u32 + MARGIN + WAIT_BEFORE_EXIT;
        let wait = method(spawner, count, exit_at);
        // Other load may increase, so next time allow for half as much again.
        *spawn_time = (now() - start) * 3 / 2 / count as u32;
        let Some(early) = exit_at.checked_sub(now() + WAIT_BEFORE_EXIT) else {
            // The spawns took too long. Reap the children, and retry.
            wait();
            continue;
        };
        thread::sleep(early);
        let cpu = cpu_time();
        wait();
        let wall = now() - exit_at;
        return vec![ns(wall), cpu_time() - cpu];
    }
}

fn transfer<T>(run: impl FnOnce() -> Option<T>, length: fn(&T) -> usize) -> Vec<f64> {
    let (mut answer, output) = timed(run);
    answer.extend(output.map(|output| length(&output) as f64));
    answer
}

/// Wall time and CPU time, and what `run` returned.
fn timed<T>(run: impl FnOnce() -> T) -> (Vec<f64>, T) {
    let (start, cpu) = (now(), cpu_time());
    let returned = run();
    (vec![ns(now() - start), cpu_time() - cpu], returned)
}

fn ns(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// Of all threads of this process.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    ns(time.try_into().expect("it is positive"))
}

/// The voluntary ones, of all threads of this process.
fn context_switches() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    usage.voluntary_context_switches() as f64
}
