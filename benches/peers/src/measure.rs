//! The coordinator's side: asks the workers in turn, so that whatever disturbs
//! the machine disturbs all of them.

use crate::{
    child::Program,
    contestants::{many, one, output},
    growth,
    stats::{Stats, median},
    syscalls,
    worker::task,
};
use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

/// How much to measure.
pub struct Plan {
    /// Children of some 3 ms, and of some 200 ms.
    pub short_rounds: usize,
    pub long_rounds: usize,
    pub look_rounds: usize,
    pub idle: Duration,
    pub many: &'static [usize],
    pub many_rounds: usize,
    pub growth: &'static [usize],
    /// Of 200 MB, and of some bytes.
    pub large_rounds: usize,
    pub small_rounds: usize,
}

impl Plan {
    pub const FULL: Plan = Plan {
        short_rounds: 1_000,
        long_rounds: 300,
        look_rounds: 30,
        idle: Duration::from_secs(10),
        many: &[100, 1_000, 5_000],
        many_rounds: 5,
        growth: &[10, 100, 1_000, 10_000],
        large_rounds: 30,
        small_rounds: 1_000,
    };
    pub const QUICK: Plan = Plan {
        short_rounds: 100,
        long_rounds: 20,
        look_rounds: 5,
        idle: Duration::from_secs(2),
        many: &[100, 1_000],
        many_rounds: 1,
        growth: &[10, 100, 1_000],
        large_rounds: 3,
        small_rounds: 100,
    };
}

/// All times in ns.
pub struct Figures {
    pub one: Vec<One>,
    pub many: Vec<Many>,
    pub growth: Vec<Growth>,
    pub output: Vec<Output>,
}

pub struct One {
    pub contestant: one::Contestant,
    pub short: Stats,
    pub long: Stats,
    pub running: Option<f64>,
    /// The first look, and the second.
    pub exited: Option<(f64, f64)>,
    pub idle: Option<Idle>,
    pub syscalls: Option<usize>,
}

pub struct Idle {
    pub wakeups_per_second: f64,
    pub cpu: f64,
}

pub struct Many {
    pub contestant: many::Contestant,
    /// Wall and CPU time, for each of the plan's counts.
    pub times: Vec<(f64, f64)>,
}

pub struct Growth {
    pub count: usize,
    pub floor: f64,
    pub ours: f64,
}

pub struct Output {
    pub contestant: output::Contestant,
    pub large: Used,
    pub small: Used,
    /// When it returns, if a process that the command has left behind holds its output open.
    pub held_open: f64,
    /// With the output?
    pub is_kept: bool,
}

pub struct Used {
    pub wall: f64,
    pub cpu: f64,
}

pub fn measure(plan: &Plan, program: &Program) -> io::Result<Figures> {
    Ok(Figures {
        one: measure_one(plan, program)?,
        many: measure_many(plan, program)?,
        growth: measure_growth(plan, program)?,
        output: measure_output(plan, program)?,
    })
}

fn measure_one(plan: &Plan, program: &Program) -> io::Result<Vec<One>> {
    let contestants = one::all();
    let names = contestants.iter().map(|contestant| contestant.name);
    let mut field = Field::start(names, program)?;
    let mut jitter = Jitter(1);
    // The first wait of each sets up what it needs for all.
    field.in_turn(2, || format!("{} {}", task::LATENCY, 2_000_000))?;

    progress("latency, children of 2 to 4 ms");
    let short = field.in_turn(plan.short_rounds, || {
        format!("{} {}", task::LATENCY, 2_000_000 + jitter.below(2_000_000))
    })?;
    progress("latency, children of 200 ms");
    let long = field.at_once(plan.long_rounds, |turn| {
        // One exit every 5 ms, so that they do not disturb each other.
        let life = 200_000_000 + turn as u64 * 5_000_000 + jitter.below(3_000_000);
        format!("{} {life}", task::LATENCY)
    })?;
    progress("looks");
    let running = field.in_turn(plan.look_rounds, || format!("{} 1000", task::RUNNING))?;
    let exited = field.in_turn(plan.look_rounds, || format!("{} 50", task::EXITED))?;
    progress("idle waits");
    let idle = field.at_once(1, |_| format!("{} {}", task::IDLE, plan.idle.as_millis()))?;
    drop(field);
    progress("system calls");
    let syscalls = syscalls::count(&contestants, program)?;

    let mut rows = Vec::new();
    for (i, (contestant, syscalls)) in contestants.into_iter().zip(syscalls).enumerate() {
        rows.push(One {
            contestant,
            short: Stats::of(&mut column(&short[i], 0)),
            long: Stats::of(&mut column(&long[i], 0)),
            running: median_of(&running[i], 0),
            exited: median_of(&exited[i], 0).zip(median_of(&exited[i], 1)),
            idle: median_of(&idle[i], 0)
                .zip(median_of(&idle[i], 1))
                .map(|(wakeups, cpu)| Idle {
                    wakeups_per_second: wakeups / plan.idle.as_secs_f64(),
                    cpu,
                }),
            syscalls,
        });
    }
    Ok(rows)
}

fn measure_many(plan: &Plan, program: &Program) -> io::Result<Vec<Many>> {
    let contestants = many::all();
    let names = contestants.iter().map(|contestant| contestant.name);
    let mut field = Field::start(names, program)?;
    let mut times = vec![Vec::new(); contestants.len()];
    for count in plan.many {
        progress(&format!("{count} processes"));
        let answers = field.in_turn(plan.many_rounds, || format!("many {count}"))?;
        for (times, answers) in times.iter_mut().zip(answers) {
            times.extend(median_of(&answers, 0).zip(median_of(&answers, 1)));
        }
    }
    let rows = contestants.into_iter().zip(times);
    Ok(rows
        .map(|(contestant, times)| Many { contestant, times })
        .collect())
}

fn measure_growth(plan: &Plan, program: &Program) -> io::Result<Vec<Growth>> {
    let mut field = Field::start([growth::FLOOR, growth::OURS].into_iter(), program)?;
    let mut rows = Vec::new();
    for &count in plan.growth {
        progress(&format!("one exit among {count}"));
        let answers = field.in_turn(plan.many_rounds, || format!("growth {count}"))?;
        rows.push(Growth {
            count,
            floor: median(&mut column(&answers[0], 0)),
            ours: median(&mut column(&answers[1], 0)),
        });
    }
    Ok(rows)
}

fn measure_output(plan: &Plan, program: &Program) -> io::Result<Vec<Output>> {
    let contestants = output::all();
    let names = contestants.iter().map(|contestant| contestant.name);
    let mut field = Field::start(names, program)?;
    let mut used = |bytes: usize, rounds| -> io::Result<Vec<Used>> {
        progress(&format!("{bytes} bytes of output"));
        // The first one of each sets up what it needs for all.
        field.in_turn(1, || format!("{} {bytes}", task::OUTPUT))?;
        let answers = field.in_turn(rounds, || format!("{} {bytes}", task::OUTPUT))?;
        let used = |answers| Used {
            wall: median(&mut column(answers, 0)),
            cpu: median(&mut column(answers, 1)),
        };
        Ok(answers.iter().map(used).collect())
    };
    let large = used(200_000_000, plan.large_rounds)?;
    let small = used(3, plan.small_rounds)?;
    progress("output that is held open");
    let held_open = field.at_once(1, |_| format!("{} 500", task::HELD_OPEN))?;

    let rows = contestants.into_iter().zip(large).zip(small);
    Ok(rows
        .zip(&held_open)
        .map(|(((contestant, large), small), held_open)| Output {
            contestant,
            large,
            small,
            held_open: median(&mut column(held_open, 0)),
            is_kept: median_of(held_open, 2).is_some(),
        })
        .collect())
}

fn progress(what: &str) {
    eprintln!("measuring: {what}");
}

/// What a worker has answered: for each round, its numbers.
type Answers = Vec<Vec<f64>>;

fn column(answers: &Answers, number: usize) -> Vec<f64> {
    answers
        .iter()
        .filter_map(|answer| answer.get(number).copied())
        .collect()
}

/// `None`: it cannot do that.
fn median_of(answers: &Answers, number: usize) -> Option<f64> {
    let mut values = column(answers, number);
    (!values.is_empty()).then(|| median(&mut values))
}

/// All workers.
struct Field(Vec<Worker>);

impl Field {
    fn start<'a>(names: impl Iterator<Item = &'a str>, program: &Program) -> io::Result<Field> {
        names
            .map(|name| Worker::start(name, program))
            .collect::<io::Result<_>>()
            .map(Field)
    }

    /// One after the other, another one first in each round.
    fn in_turn(
        &mut self,
        rounds: usize,
        mut task: impl FnMut() -> String,
    ) -> io::Result<Vec<Answers>> {
        let count = self.0.len();
        let mut answers = vec![Answers::new(); count];
        for round in 0..rounds {
            for turn in 0..count {
                let i = (round + turn) % count;
                self.0[i].ask(&task())?;
                answers[i].push(self.0[i].answer()?);
            }
        }
        Ok(answers)
    }

    /// All of them together, in another order in each round.
    fn at_once(
        &mut self,
        rounds: usize,
        mut task: impl FnMut(usize) -> String,
    ) -> io::Result<Vec<Answers>> {
        let count = self.0.len();
        let mut answers = vec![Answers::new(); count];
        for round in 0..rounds {
            for turn in 0..count {
                self.0[(round + turn) % count].ask(&task(turn))?;
            }
            for turn in 0..count {
                let i = (round + turn) % count;
                answers[i].push(self.0[i].answer()?);
            }
        }
        Ok(answers)
    }
}

struct Worker {
    name: String,
    process: Child,
    /// `None` once it has been told to end.
    tasks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// This program, to be that contestant's worker.
pub fn worker_command(name: &str, program: &Program) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--worker", name]).arg(program.path());
    Ok(command)
}

impl Worker {
    fn start(name: &str, program: &Program) -> io::Result<Worker> {
        let mut process = worker_command(name, program)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Worker {
            name: name.to_owned(),
            tasks: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
        })
    }

    fn ask(&mut self, task: &str) -> io::Result<()> {
        let tasks = self.tasks.as_mut().expect("it has not ended");
        writeln!(tasks, "{task}")
    }

    fn answer(&mut self) -> io::Result<Vec<f64>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!(
                "the worker {} is dead",
                self.name
            )));
        }
        let numbers = line.split_whitespace().map(str::parse);
        numbers.collect::<Result<_, _>>().map_err(io::Error::other)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.tasks.take());
        let _ = self.process.wait();
    }
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
