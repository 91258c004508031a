//! The worker's side: a process of its own for each contestant, so that signal
//! handlers and threads of one do not disturb the others. It reads a task per
//! line, and answers with a line of numbers, or an empty one if the contestant
//! cannot do that.

use crate::{
    child::{Children, Time},
    contestants::{bare, many, one, output},
    growth,
};
use rustix::{
    io::Errno,
    process::{
        Resource, Signal, WaitId, WaitIdOptions, WaitOptions, getppid, getrlimit, kill_process,
        setrlimit, waitid, waitpid,
    },
    time::{ClockId, clock_gettime},
};
use std::{
    ffi::OsStr,
    io::{self, Write as _},
    mem::MaybeUninit,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// For waits that do not last so long.
const LONG: Duration = Duration::from_secs(60);

/// Answers tasks until there are no more.
pub fn work(name: &str, program: PathBuf) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;

    let children = Children::new(program)?;
    let single = one::all().into_iter().find(|it| it.name == name);
    let several = many::all().into_iter().find(|it| it.name == name);
    let capturing = output::all().into_iter().find(|it| it.name == name);
    for line in io::stdin().lines() {
        let line = line?;
        let (task, number) = line.split_once(' ').expect("a task and a number");
        let number: u64 = number.parse().expect("a number");
        let figures = match (&single, &several, &capturing) {
            (Some(contestant), ..) => do_one(contestant, &children, task, number)?,
            (_, Some(contestant), _) => do_many(contestant, &children, number as usize),
            (.., Some(contestant)) => do_output(contestant, &children, task, number),
            _ => growth::measure(name, &children, number as usize),
        };
        let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
        writeln!(io::stdout(), "{}", figures.join(" "))?;
    }
    Ok(())
}

/// Tasks as the coordinator calls them.
pub mod task {
    /// Exit to return, in ns, for a child that lives so many ns.
    pub const LATENCY: &str = "latency";
    /// Wake-ups, and CPU time in ns, of a wait in vain for so many ms.
    pub const IDLE: &str = "idle";
    /// ns for a look at a running child, as the mean of so many.
    pub const RUNNING: &str = "running";
    /// ns for the first look at a child that has exited, and for the second, as the
    /// means of looks at so many.
    pub const EXITED: &str = "exited";
    /// A wait for a child that lives so many ns, between two `getppid`, for strace.
    pub const TRACED: &str = "traced";
    /// Wall and CPU time in ns from before the spawn until the output is there, of so many
    /// bytes.
    pub const OUTPUT: &str = "output";
    /// The same and the number of bytes, if any come, from a command that leaves behind a
    /// process that holds its output open for 3 s, with a limit of so many ms.
    pub const HELD_OPEN: &str = "held-open";
}

fn do_one(
    contestant: &one::Contestant,
    children: &Children,
    task: &str,
    number: u64,
) -> io::Result<Vec<f64>> {
    match task {
        task::LATENCY => latency(contestant, children, Duration::from_nanos(number)),
        task::IDLE => Ok(idle(contestant, children, Duration::from_millis(number))),
        task::RUNNING => Ok(running(contestant, children, number)),
        task::EXITED => Ok(exited(contestant, children, number)),
        task::TRACED => {
            let mut waiting =
                (contestant.start)(children, Time::after(Duration::from_nanos(number)));
            let pid = waiting.pid();
            let _ = getppid();
            assert!(waiting.wait(LONG));
            let _ = getppid();
            drop(waiting);
            reap(pid);
            Ok(Vec::new())
        }
        _ => panic!("no task {task}"),
    }
}

fn latency(
    contestant: &one::Contestant,
    children: &Children,
    life: Duration,
) -> io::Result<Vec<f64>> {
    let mut waiting = (contestant.start)(children, Time::after(life));
    let pid = waiting.pid();
    let has_exited = waiting.wait(LONG);
    let returned = Time::now();
    assert!(has_exited);
    drop(waiting);
    reap(pid);
    Ok(vec![returned.0 as f64 - children.end()?.0 as f64])
}

fn idle(contestant: &one::Contestant, children: &Children, timeout: Duration) -> Vec<f64> {
    if !contestant.has_timeout {
        return Vec::new();
    }
    let mut waiting = (contestant.start)(children, Time::after(timeout + LONG));
    let (wakeups, cpu) = (context_switches(), cpu_time());
    assert!(!waiting.wait(timeout));
    let used = vec![context_switches() - wakeups, cpu_time() - cpu];
    let pid = waiting.pid();
    kill(pid);
    drop(waiting);
    reap(pid);
    used
}

fn running(contestant: &one::Contestant, children: &Children, looks: u64) -> Vec<f64> {
    let mut waiting = (contestant.start)(children, Time::after(LONG));
    let pid = waiting.pid();
    let mean = waiting.look().map(|_| {
        let start = Instant::now();
        for _ in 0..looks {
            assert_eq!(waiting.look(), Some(false));
        }
        start.elapsed().as_nanos() as f64 / looks as f64
    });
    kill(pid);
    drop(waiting);
    reap(pid);
    mean.into_iter().collect()
}

fn exited(contestant: &one::Contestant, children: &Children, count: u64) -> Vec<f64> {
    // Not before all are started: some look then already.
    let until = Time::after(Duration::from_millis(count));
    let start = |_| (contestant.start)(children, until);
    let mut all: Vec<_> = (0..count).map(start).collect();
    let pids: Vec<_> = all.iter().map(|waiting| waiting.pid()).collect();
    for &pid in &pids {
        until_exited(pid);
    }
    let mut look = || {
        let start = Instant::now();
        for waiting in &mut all {
            if !waiting.look()? {
                panic!("a child that has exited was not seen to");
            }
        }
        Some(start.elapsed().as_nanos() as f64 / count as f64)
    };
    let figures = look().into_iter().chain(look()).collect();
    drop(all);
    pids.into_iter().for_each(reap);
    figures
}

fn do_many(contestant: &many::Contestant, children: &Children, count: usize) -> Vec<f64> {
    // All exit at once, and the wait begins half a second before that.
    let before = Duration::from_millis(500);
    let mut spawning = Duration::from_micros(500) * count as u32;
    loop {
        let until = Time::after(spawning + before);
        let wait = (contestant.spawn)(children, count, until);
        let Some(left) = until.left().checked_sub(before) else {
            // That took too long; drop nothing that still runs.
            wait();
            spawning *= 2;
            continue;
        };
        thread::sleep(left);
        let cpu = cpu_time();
        wait();
        let wall = Time::now().0 as f64 - until.0 as f64;
        return vec![wall, cpu_time() - cpu];
    }
}

fn do_output(
    contestant: &output::Contestant,
    children: &Children,
    task: &str,
    number: u64,
) -> Vec<f64> {
    let count = number.to_string();
    let timed = |words: &[&OsStr], limit| {
        let (start, cpu) = (Instant::now(), cpu_time());
        let output = (contestant.run)(words, limit);
        let figures = vec![start.elapsed().as_nanos() as f64, cpu_time() - cpu];
        (figures, output.map(|output| output.len()))
    };
    match task {
        task::OUTPUT => {
            let words = [children.path().as_ref(), "0".as_ref(), count.as_ref()];
            let (figures, length) = timed(&words, LONG);
            assert_eq!(length, Some(number as usize));
            figures
        }
        task::HELD_OPEN => {
            let words = ["sh", "-c", "sleep 3 & echo hi"].map(OsStr::new);
            let (mut figures, length) = timed(&words, Duration::from_millis(number));
            figures.extend(length.map(|length| length as f64));
            figures
        }
        _ => panic!("no task {task}"),
    }
}

/// Of this process, in ns.
fn cpu_time() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e9 + used.tv_nsec as f64
}

/// The voluntary ones of this process.
#[allow(unsafe_code)]
fn context_switches() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: there is room for what the call writes, one `rusage`.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: all of it is integers, for which the zeros were valid already.
    unsafe { usage.assume_init() }.ru_nvcsw as f64
}

pub fn kill(pid: u32) {
    kill_process(bare::pid(pid), Signal::KILL).expect("our own child");
}

/// Sleeps until the child is a zombie, or was reaped.
pub fn until_exited(pid: u32) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(bare::pid(pid)), options) {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(error) => panic!("waitid: {error}"),
    }
}

/// If the contestant has not.
pub fn reap(pid: u32) {
    match waitpid(Some(bare::pid(pid)), WaitOptions::empty()) {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(error) => panic!("waitpid: {error}"),
    }
}
