//! The worker's side: a process of its own for each contestant, so that signal
//! handlers and threads of one do not disturb the others. It reads a task per
//! line, and answers with a line of numbers, or an empty one if the contestant
//! cannot do that.

use crate::{
    child::{CODE, Children, Program, Time, kill, reap, until_exited},
    contestants::{Contestant, many, one, output, set},
    stats::Stats,
};
use rustix::{
    process::{Resource, getppid, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    mem::MaybeUninit,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Tasks as the coordinator calls them, each with a number.
pub mod task {
    /// Exit to return, in ns, for a child that lives so many ns. The wait is between two
    /// `getppid`, for strace.
    pub const LATENCY: &str = "latency";
    /// Wake-ups, and CPU time in ns, of a wait in vain for so many ms.
    pub const IDLE: &str = "idle";
    /// ns for a look at a running child, as the mean of so many.
    pub const RUNNING: &str = "running";
    /// ns for the first look at a child that has exited, and for the second, as the
    /// means of looks at so many.
    pub const EXITED: &str = "exited";
    /// Wall and CPU time in ns of the wait for so many that exit at once.
    pub const MANY: &str = "many";
    /// ns from one exit to its report in a set of so many, the median.
    pub const GROWTH: &str = "growth";
    /// Wall and CPU time in ns from before the spawn until the output is there, of so many
    /// bytes.
    pub const OUTPUT: &str = "output";
    /// The same and the number of bytes, if any come, from a command that leaves behind a
    /// process that holds its output open for 3 s, with a limit of so many ms.
    pub const HELD_OPEN: &str = "held-open";
}

/// For waits that do not last so long.
const LONG: Duration = Duration::from_secs(60);

/// This program, to be that contestant's worker.
pub fn command(name: &str, program: &Program) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--worker", name]).arg(program.path());
    Ok(command)
}

/// Answers tasks until there are no more.
pub fn work(name: &str, program: PathBuf) -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;

    let children = Children::new(program)?;
    // For each of many, as far as it is known.
    let mut spawn_time = Duration::from_micros(500);
    let one = || way(one::all(), name);
    let output = || way(output::all(), name);
    for line in io::stdin().lines() {
        let line = line?;
        let (task, number) = line.split_once(' ').expect("a task and a number");
        let number: u64 = number.parse().expect("a number");
        let figures = match task {
            task::LATENCY => latency(&one(), &children, Duration::from_nanos(number)),
            // Its wait cannot give up.
            task::IDLE if name == one::STD => Vec::new(),
            task::IDLE => idle(&one(), &children, Duration::from_millis(number)),
            task::RUNNING => running(&one(), &children, number),
            task::EXITED => exited(&one(), &children, number),
            task::MANY => {
                let spawn = way(many::all(), name);
                many(&spawn, &children, number as usize, &mut spawn_time)
            }
            task::GROWTH => growth(way(set::all(), name), &children, number as usize),
            task::OUTPUT => whole_output(output(), &children, number as usize),
            task::HELD_OPEN => held_open(output(), Duration::from_millis(number)),
            _ => panic!("no task {task}"),
        };
        let figures: Vec<_> = figures.iter().map(f64::to_string).collect();
        writeln!(io::stdout(), "{}", figures.join(" "))?;
    }
    Ok(())
}

fn way<W>(all: Vec<Contestant<W>>, name: &str) -> W {
    let mut all = all.into_iter();
    all.find(|it| it.name == name).expect("a contestant").way
}

fn latency(way: &one::Way, children: &Children, life: Duration) -> Vec<f64> {
    let until = Time::after(life);
    let (pid, mut waiting) = (way.start)(children, until);
    let _ = getppid();
    let code = waiting.wait(LONG);
    let returned = Time::now();
    let _ = getppid();
    assert_eq!(code, Some(CODE));
    drop(waiting);
    reap(pid);
    let end = children.end();
    assert!(end.0 >= until.0, "the note is of another child's end");
    vec![returned.0 as f64 - end.0 as f64]
}

fn idle(way: &one::Way, children: &Children, timeout: Duration) -> Vec<f64> {
    let (pid, mut waiting) = (way.start)(children, Time::after(timeout + LONG));
    let (wakeups, cpu) = (context_switches(), cpu_time());
    assert_eq!(waiting.wait(timeout), None);
    let used = vec![context_switches() - wakeups, cpu_time() - cpu];
    kill(pid);
    drop(waiting);
    reap(pid);
    used
}

fn running(way: &one::Way, children: &Children, looks: u64) -> Vec<f64> {
    let (pid, mut waiting) = (way.start)(children, Time::after(LONG));
    let mean = waiting.look().map(|_| {
        let start = Instant::now();
        for _ in 0..looks {
            assert_eq!(waiting.look(), Some(None));
        }
        start.elapsed().as_nanos() as f64 / looks as f64
    });
    kill(pid);
    drop(waiting);
    reap(pid);
    mean.into_iter().collect()
}

fn exited(way: &one::Way, children: &Children, count: u64) -> Vec<f64> {
    // Not before all are started: some look then already.
    let until = Time::after(Duration::from_millis(count));
    let start = |_| (way.start)(children, until);
    let (pids, mut all): (Vec<_>, Vec<_>) = (0..count).map(start).unzip();
    pids.iter().copied().for_each(until_exited);
    let mut look = || {
        let start = Instant::now();
        for waiting in &mut all {
            assert_eq!(waiting.look()?, Some(CODE));
        }
        Some(start.elapsed().as_nanos() as f64 / count as f64)
    };
    let figures = look().into_iter().chain(look()).collect();
    drop(all);
    pids.into_iter().for_each(reap);
    figures
}

fn many(
    spawn: &many::Way,
    children: &Children,
    count: usize,
    spawn_time: &mut Duration,
) -> Vec<f64> {
    // All exit at once, and the wait begins half a second before that.
    let before = Duration::from_millis(500);
    let slack = Duration::from_millis(100);
    loop {
        let start = Instant::now();
        let until = Time::after(*spawn_time * count as u32 + slack + before);
        let wait = spawn(children, count, until);
        // Half as much again for the next time, as the machine may be busier.
        *spawn_time = start.elapsed() * 3 / 2 / count as u32;
        let Some(left) = until.left().checked_sub(before) else {
            // That took too long; drop nothing that still runs.
            wait();
            continue;
        };
        thread::sleep(left);
        let cpu = cpu_time();
        wait();
        let wall = Time::now().0 as f64 - until.0 as f64;
        return vec![wall, cpu_time() - cpu];
    }
}

fn growth(new: set::Way, children: &Children, count: usize) -> Vec<f64> {
    /// At most.
    const EXITS: usize = 200;

    let mut set = new();
    let until = Time::after(Duration::from_secs(600));
    let pids: Vec<u32> = (0..count).map(|_| children.spawn(until).id()).collect();
    pids.iter().for_each(|&pid| set.insert(pid));
    let (these, rest) = pids.split_at(count.min(EXITS));
    let measure = |&pid: &u32| {
        kill(pid);
        until_exited(pid);
        let start = Instant::now();
        let found = set.next();
        let took = start.elapsed().as_nanos() as f64;
        // There is no exit code after a signal.
        assert_eq!(found, (pid, None));
        reap(pid);
        took
    };
    let took = Stats::of(these.iter().map(measure).collect());
    rest.iter().copied().for_each(kill);
    rest.iter().copied().for_each(reap);
    took.iter().map(|took| took.median).collect()
}

fn whole_output(run: output::Way, children: &Children, bytes: usize) -> Vec<f64> {
    let count = bytes.to_string();
    let words = [children.path().as_ref(), "0".as_ref(), count.as_ref()];
    let (figures, length) = timed(run, &words, LONG);
    assert_eq!(length, Some(bytes));
    figures
}

fn held_open(run: output::Way, limit: Duration) -> Vec<f64> {
    let words = ["sh", "-c", "sleep 3 & echo hi"].map(OsStr::new);
    let (mut figures, length) = timed(run, &words, limit);
    figures.extend(length.map(|length| length as f64));
    figures
}

/// Wall and CPU time, and how many bytes came.
fn timed(run: output::Way, words: &[&OsStr], limit: Duration) -> (Vec<f64>, Option<usize>) {
    let (start, cpu) = (Instant::now(), cpu_time());
    let output = run(words, limit);
    let figures = vec![start.elapsed().as_nanos() as f64, cpu_time() - cpu];
    (figures, output.map(|output| output.len()))
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
