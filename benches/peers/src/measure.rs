//! What is measured, and how often.

use crate::{
    implementations::{Implementation, input, live, many, one, output, wake},
    pool::{Samples, WorkerPool},
    stats::Stats,
    worker::task,
};
use std::{
    io,
    time::{Duration, Instant},
};

/// How much to measure.
pub struct Plan {
    /// Children that live about 3 ms, and about 200 ms.
    pub short_rounds: usize,
    pub long_rounds: usize,
    pub idle: Duration,
    pub idle_rounds: usize,
    /// Numbers of processes, and rounds for each.
    pub many: &'static [(u64, usize)],
    /// Commands that write or read this many bytes, and that write 3 bytes.
    pub large: u64,
    pub large_rounds: usize,
    pub small_rounds: usize,
    /// How often two threads wake each other.
    pub wakes: u64,
    pub wake_rounds: usize,
}

impl Plan {
    pub const FULL: Plan = Plan {
        short_rounds: 1_000,
        long_rounds: 300,
        idle: Duration::from_secs(10),
        idle_rounds: 5,
        many: &[(100, 15), (1_000, 7), (5_000, 5)],
        large: 200_000_000,
        large_rounds: 30,
        small_rounds: 1_000,
        wakes: 1_000,
        wake_rounds: 100,
    };
    pub const CHECK: Plan = Plan {
        short_rounds: 200,
        long_rounds: 10,
        idle: Duration::from_secs(2),
        idle_rounds: 1,
        many: &[(100, 3), (1_000, 3)],
        large: 100_000_000,
        large_rounds: 5,
        small_rounds: 200,
        wakes: 1_000,
        wake_rounds: 10,
    };
}

/// All times are in ns.
pub struct Results {
    pub one: Vec<Row<One>>,
    /// For each number of processes in the plan.
    pub many: Vec<Row<Vec<Times>>>,
    pub output: Vec<Row<Output>>,
    pub input: Vec<Row<Times>>,
    pub live: Vec<Row<Times>>,
    pub wake: Vec<Row<Times>>,
    pub elapsed: Duration,
}

/// The results of an implementation.
pub struct Row<R> {
    pub name: &'static str,
    pub label: String,
    pub results: R,
}

pub struct One {
    pub reaps: bool,
    pub short: Stats,
    pub long: Stats,
    /// `None` if the wait has no timeout.
    pub idle: Option<Idle>,
}

pub struct Idle {
    pub wakeups_per_second: f64,
    pub cpu: Stats,
}

pub struct Times {
    pub wall: Stats,
    pub cpu: Stats,
}

pub struct Output {
    pub large: Times,
    pub small: Times,
    /// The time until it returns if a background process of the command holds the output open.
    pub held_open: Stats,
    /// Whether it then returns the output.
    pub has_output: bool,
}

pub fn find<'a, R>(rows: &'a [Row<R>], name: &str) -> &'a R {
    let row = rows.iter().find(|row| row.name == name);
    &row.expect("each implementation has a row").results
}

impl One {
    /// The bare system calls that leave the child in the same state, reaped or not.
    pub fn baseline<'a>(&self, rows: &'a [Row<One>]) -> &'a One {
        let name = if self.reaps {
            one::BASELINE_REAPING
        } else {
            one::BASELINE
        };
        find(rows, name)
    }
}

pub fn measure(plan: &Plan) -> io::Result<Results> {
    let start = Instant::now();
    let progress = |step: &str| eprintln!("{:3} s: {step}", start.elapsed().as_secs());
    Ok(Results {
        one: measure_one(plan, progress)?,
        many: measure_many(plan, progress)?,
        output: measure_output(plan, progress)?,
        input: measure_transfer(plan, progress, input::all(), task::INPUT)?,
        live: measure_transfer(plan, progress, live::all(), task::LIVE)?,
        wake: measure_wake(plan, progress)?,
        elapsed: start.elapsed(),
    })
}

fn measure_one(plan: &Plan, progress: impl Fn(&str)) -> io::Result<Vec<Row<One>>> {
    const MILLISECOND: u64 = 1_000_000;
    let implementations = one::all();
    let mut pool = WorkerPool::start(&implementations)?;
    // Some implementations install handlers or start threads at their first wait.
    pool.run_in_turn(2, |_| (task::LATENCY, 2 * MILLISECOND))?;

    progress("latency, children of 2 to 4 ms");
    let short = pool.run_in_turn(plan.short_rounds, |round| {
        let lifetime = 2 * MILLISECOND + spread(round, 2 * MILLISECOND);
        (task::LATENCY, lifetime)
    })?;
    progress("latency, children of 200 ms");
    let long = pool.run_concurrently(plan.long_rounds, |round, position| {
        // One exit every 5 ms, so that they do not disturb each other.
        let offset = position as u64 * 5 * MILLISECOND + spread(round, 3 * MILLISECOND);
        (task::LATENCY, 200 * MILLISECOND + offset)
    })?;
    progress("idle waits");
    let timeout = plan.idle.as_millis() as u64;
    let idle = pool.run_concurrently(plan.idle_rounds, |_, _| (task::IDLE, timeout))?;

    Ok(rows(implementations, |i, method| One {
        reaps: method.reaps,
        short: stats(&short[i], 0),
        long: stats(&long[i], 0),
        idle: idle[i].stats(0).map(|wakeups| Idle {
            wakeups_per_second: wakeups.median / plan.idle.as_secs_f64(),
            cpu: stats(&idle[i], 1),
        }),
    }))
}

fn measure_many(plan: &Plan, progress: impl Fn(&str)) -> io::Result<Vec<Row<Vec<Times>>>> {
    let implementations = many::all();
    let mut pool = WorkerPool::start(&implementations)?;
    let mut samples = Vec::new();
    for &(count, rounds) in plan.many {
        progress(&format!("{count} processes"));
        samples.push(pool.run_in_turn(rounds, |_| (task::MANY, count))?);
    }
    Ok(rows(implementations, |i, _| {
        samples.iter().map(|samples| times(&samples[i])).collect()
    }))
}

fn measure_output(plan: &Plan, progress: impl Fn(&str)) -> io::Result<Vec<Row<Output>>> {
    let implementations = output::all();
    let mut pool = WorkerPool::start(&implementations)?;
    let mut transfer = |bytes, rounds| transfer(&mut pool, task::OUTPUT, bytes, rounds, &progress);
    let large = transfer(plan.large, plan.large_rounds)?;
    let small = transfer(3, plan.small_rounds)?;
    progress("output that is held open");
    let held_open = pool.run_concurrently(1, |_, _| (task::HELD_OPEN, 500))?;

    Ok(rows(implementations, |i, _| Output {
        large: times(&large[i]),
        small: times(&small[i]),
        held_open: stats(&held_open[i], 0),
        has_output: held_open[i].stats(2).is_some(),
    }))
}

fn measure_transfer<M>(
    plan: &Plan,
    progress: impl Fn(&str),
    implementations: Vec<Implementation<M>>,
    task: &'static str,
) -> io::Result<Vec<Row<Times>>> {
    let mut pool = WorkerPool::start(&implementations)?;
    let samples = transfer(&mut pool, task, plan.large, plan.large_rounds, progress)?;
    Ok(rows(implementations, |i, _| times(&samples[i])))
}

fn measure_wake(plan: &Plan, progress: impl Fn(&str)) -> io::Result<Vec<Row<Times>>> {
    progress("wakes");
    let implementations = wake::all();
    let mut pool = WorkerPool::start(&implementations)?;
    let samples = pool.run_in_turn(plan.wake_rounds, |_| (task::WAKE, plan.wakes))?;
    Ok(rows(implementations, |i, _| times(&samples[i])))
}

/// A task that answers with the number of bytes.
fn transfer(
    pool: &mut WorkerPool,
    task: &'static str,
    bytes: u64,
    rounds: usize,
    progress: impl Fn(&str),
) -> io::Result<Vec<Samples>> {
    progress(&format!("{task}, {bytes} bytes"));
    // Some implementations set up a runtime or threads at their first run.
    pool.run_in_turn(1, |_| (task, bytes))?;
    let samples = pool.run_in_turn(rounds, |_| (task, bytes))?;
    for samples in &samples {
        assert!(samples.column(2).all(|length| length == bytes as f64));
    }
    Ok(samples)
}

fn rows<M, R>(
    implementations: Vec<Implementation<M>>,
    results: impl Fn(usize, M) -> R,
) -> Vec<Row<R>> {
    let row = |(i, implementation): (usize, Implementation<M>)| Row {
        name: implementation.name,
        label: implementation.label,
        results: results(i, implementation.method),
    };
    implementations.into_iter().enumerate().map(row).collect()
}

fn times(samples: &Samples) -> Times {
    Times {
        wall: stats(samples, 0),
        cpu: stats(samples, 1),
    }
}

fn stats(samples: &Samples, index: usize) -> Stats {
    let stats = samples.stats(index);
    stats.expect("every implementation can do the task")
}

/// Spreads lifetimes evenly from 0 to `end`, so that children exit at any moment of a sleeping
/// loop's delay.
fn spread(round: usize, end: u64) -> u64 {
    const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;
    ((round as f64 * GOLDEN_RATIO).fract() * end as f64) as u64
}
