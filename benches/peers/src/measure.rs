//! What is measured, and how often.

use crate::{
    child::Program,
    contestants::{Contestant, many, one, output, set},
    field::{Answers, Field},
    stats::Stats,
    syscalls,
    worker::task,
};
use std::{
    io,
    time::{Duration, Instant},
};

/// How much to measure.
pub struct Plan {
    /// Children of some 3 ms, and of some 200 ms.
    pub short_rounds: usize,
    pub long_rounds: usize,
    pub look_rounds: usize,
    pub idle: Duration,
    pub idle_rounds: usize,
    /// So many processes, so many times.
    pub many: &'static [(u64, usize)],
    pub growth: &'static [(u64, usize)],
    /// Of 200 MB, and of some bytes.
    pub large_rounds: usize,
    pub small_rounds: usize,
}

impl Plan {
    pub const FULL: Plan = Plan {
        short_rounds: 1_000,
        long_rounds: 300,
        look_rounds: 20,
        idle: Duration::from_secs(10),
        idle_rounds: 5,
        many: &[(100, 15), (1_000, 7), (5_000, 5)],
        growth: &[(10, 5), (100, 5), (1_000, 5), (10_000, 3)],
        large_rounds: 30,
        small_rounds: 1_000,
    };
    pub const QUICK: Plan = Plan {
        short_rounds: 100,
        long_rounds: 20,
        look_rounds: 5,
        idle: Duration::from_secs(2),
        idle_rounds: 1,
        many: &[(100, 1), (1_000, 1)],
        growth: &[(10, 1), (100, 1), (1_000, 1)],
        large_rounds: 3,
        small_rounds: 100,
    };
}

/// All times in ns.
pub struct Figures {
    pub one: Vec<Row<One>>,
    /// For each of the plan's counts.
    pub many: Vec<Row<Vec<Used>>>,
    pub growth: Vec<Row<Vec<Stats>>>,
    pub output: Vec<Row<Output>>,
    pub took: Duration,
}

/// Of one contestant.
pub struct Row<F> {
    pub name: &'static str,
    pub label: String,
    pub figures: F,
}

pub struct One {
    pub reaps: bool,
    pub short: Stats,
    pub long: Stats,
    pub looks: Option<Looks>,
    pub idle: Option<Idle>,
    pub syscalls: Option<usize>,
}

pub struct Looks {
    pub running: Stats,
    /// At one that has exited.
    pub first: Stats,
    pub second: Stats,
}

pub struct Idle {
    pub wakeups_per_second: f64,
    pub cpu: Stats,
}

pub struct Used {
    pub wall: Stats,
    pub cpu: Stats,
}

pub struct Output {
    pub large: Used,
    pub small: Used,
    /// When it returns, if a process that the command has left behind holds its output open.
    pub held_open: Stats,
    /// With the output?
    pub is_kept: bool,
}

pub fn find<'a, F>(rows: &'a [Row<F>], name: &str) -> &'a F {
    let mut rows = rows.iter();
    &rows
        .find(|row| row.name == name)
        .expect("it is there")
        .figures
}

impl One {
    /// The bare system calls that leave the child as this does, reaped or not.
    pub fn floor<'a>(&self, rows: &'a [Row<One>]) -> &'a One {
        let name = match self.reaps {
            true => one::FLOOR_REAPING,
            false => one::FLOOR,
        };
        find(rows, name)
    }
}

pub fn measure(plan: &Plan, program: &Program) -> io::Result<Figures> {
    let start = Instant::now();
    let run = Run {
        plan,
        program,
        start,
    };
    Ok(Figures {
        one: run.one()?,
        many: run.counts(many::all(), task::MANY, plan.many, used)?,
        growth: run.counts(set::all(), task::GROWTH, plan.growth, |of| measured(of, 0))?,
        output: run.output()?,
        took: start.elapsed(),
    })
}

struct Run<'a> {
    plan: &'a Plan,
    program: &'a Program,
    start: Instant,
}

impl Run<'_> {
    fn progress(&self, what: &str) {
        eprintln!("{:3} s: {what}", self.start.elapsed().as_secs());
    }

    fn one(&self) -> io::Result<Vec<Row<One>>> {
        let plan = self.plan;
        let contestants = one::all();
        let mut field = Field::start(&contestants, self.program)?;
        let mut jitter = Jitter(1);
        // The first wait of each sets up what it needs for all.
        field.in_turn(2, || (task::LATENCY, 2_000_000))?;

        self.progress("latency, children of 2 to 4 ms");
        let short = field.in_turn(plan.short_rounds, || {
            (task::LATENCY, 2_000_000 + jitter.below(2_000_000))
        })?;
        self.progress("latency, children of 200 ms");
        let long = field.at_once(plan.long_rounds, |turn| {
            // One exit every 5 ms, so that they do not disturb each other.
            let life = 200_000_000 + turn as u64 * 5_000_000 + jitter.below(3_000_000);
            (task::LATENCY, life)
        })?;
        self.progress("looks");
        let running = field.in_turn(plan.look_rounds, || (task::RUNNING, 1_000))?;
        let exited = field.in_turn(plan.look_rounds, || (task::EXITED, 50))?;
        self.progress("idle waits");
        let millis = plan.idle.as_millis() as u64;
        let idle = field.at_once(plan.idle_rounds, |_| (task::IDLE, millis))?;
        drop(field);
        self.progress("system calls");
        let syscalls = syscalls::count(&contestants, self.program)?;

        let looks = |i: usize| {
            Some(Looks {
                running: running[i].stats(0)?,
                first: exited[i].stats(0)?,
                second: exited[i].stats(1)?,
            })
        };
        let idle = |i: usize| {
            Some(Idle {
                wakeups_per_second: idle[i].stats(0)?.median / plan.idle.as_secs_f64(),
                cpu: idle[i].stats(1)?,
            })
        };
        Ok(rows(contestants, |i, way| One {
            reaps: way.reaps,
            short: measured(&short[i], 0),
            long: measured(&long[i], 0),
            looks: looks(i),
            idle: idle(i),
            syscalls: syscalls[i],
        }))
    }

    /// Of sets of so many processes, so many times.
    fn counts<W, F>(
        &self,
        contestants: Vec<Contestant<W>>,
        task: &'static str,
        counts: &[(u64, usize)],
        figure: fn(&Answers) -> F,
    ) -> io::Result<Vec<Row<Vec<F>>>> {
        let mut field = Field::start(&contestants, self.program)?;
        let mut answers = Vec::new();
        for &(count, rounds) in counts {
            self.progress(&format!("{task}, {count} processes"));
            answers.push(field.in_turn(rounds, || (task, count))?);
        }
        Ok(rows(contestants, |i, _| {
            answers.iter().map(|of| figure(&of[i])).collect()
        }))
    }

    fn output(&self) -> io::Result<Vec<Row<Output>>> {
        let contestants = output::all();
        let mut field = Field::start(&contestants, self.program)?;
        let mut of = |bytes, rounds| {
            self.progress(&format!("{bytes} bytes of output"));
            // The first one of each sets up what it needs for all.
            field.in_turn(1, || (task::OUTPUT, bytes))?;
            field.in_turn(rounds, || (task::OUTPUT, bytes))
        };
        let large = of(200_000_000, self.plan.large_rounds)?;
        let small = of(3, self.plan.small_rounds)?;
        self.progress("output that is held open");
        let held_open = field.at_once(1, |_| (task::HELD_OPEN, 500))?;

        Ok(rows(contestants, |i, _| Output {
            large: used(&large[i]),
            small: used(&small[i]),
            held_open: measured(&held_open[i], 0),
            is_kept: held_open[i].stats(2).is_some(),
        }))
    }
}

fn rows<W, F>(contestants: Vec<Contestant<W>>, figures: impl Fn(usize, W) -> F) -> Vec<Row<F>> {
    let row = |(i, it): (usize, Contestant<W>)| Row {
        name: it.name,
        label: it.label,
        figures: figures(i, it.way),
    };
    contestants.into_iter().enumerate().map(row).collect()
}

fn used(answers: &Answers) -> Used {
    Used {
        wall: measured(answers, 0),
        cpu: measured(answers, 1),
    }
}

fn measured(answers: &Answers, place: usize) -> Stats {
    answers.stats(place).expect("every contestant can do that")
}

/// Lives that differ, so that a polling contestant is met at any moment of its
/// pauses; and the same in each run.
struct Jitter(u64);

impl Jitter {
    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX generator.
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}
