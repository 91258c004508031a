//! The coordinator's end of the workers: asks them in turn, so that whatever
//! disturbs the machine disturbs all of them.

use crate::{child::Program, contestants::Contestant, stats::Stats, worker};
use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

/// What to do, and how much of it, as `worker::task` says.
pub type Task = (&'static str, u64);

/// What a worker has answered: its numbers in each round.
#[derive(Clone, Default)]
pub struct Answers(Vec<Vec<f64>>);

impl Answers {
    /// Those at this place; `None` if the contestant cannot do that.
    pub fn stats(&self, place: usize) -> Option<Stats> {
        let numbers = self.0.iter().filter_map(|answer| answer.get(place));
        Stats::of(numbers.copied().collect())
    }
}

/// A worker for each of the contestants.
pub struct Field(Vec<Worker>);

impl Field {
    pub fn start<W>(contestants: &[Contestant<W>], program: &Program) -> io::Result<Field> {
        let start = |it: &Contestant<W>| Worker::start(it.name, program);
        contestants
            .iter()
            .map(start)
            .collect::<io::Result<_>>()
            .map(Field)
    }

    /// One after the other.
    pub fn in_turn(
        &mut self,
        rounds: usize,
        mut task: impl FnMut() -> Task,
    ) -> io::Result<Vec<Answers>> {
        let mut answers = vec![Answers::default(); self.0.len()];
        for round in 0..rounds {
            for i in self.order(round) {
                self.0[i].ask(task())?;
                answers[i].0.push(self.0[i].answer()?);
            }
        }
        Ok(answers)
    }

    /// All of them together.
    pub fn at_once(
        &mut self,
        rounds: usize,
        mut task: impl FnMut(usize) -> Task,
    ) -> io::Result<Vec<Answers>> {
        let mut answers = vec![Answers::default(); self.0.len()];
        for round in 0..rounds {
            for (turn, i) in self.order(round).enumerate() {
                self.0[i].ask(task(turn))?;
            }
            for i in self.order(round) {
                answers[i].0.push(self.0[i].answer()?);
            }
        }
        Ok(answers)
    }

    /// Another one is first in each round.
    fn order(&self, round: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.0.len();
        (0..count).map(move |turn| (round + turn) % count)
    }
}

struct Worker {
    name: &'static str,
    process: Child,
    /// `None` once it has been told to end.
    tasks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(name: &'static str, program: &Program) -> io::Result<Worker> {
        let mut command = worker::command(name, program)?;
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        Ok(Worker {
            name,
            tasks: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
        })
    }

    fn ask(&mut self, (task, number): Task) -> io::Result<()> {
        let tasks = self.tasks.as_mut().expect("it has not ended");
        writeln!(tasks, "{task} {number}")
    }

    fn answer(&mut self) -> io::Result<Vec<f64>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let error = format!("the worker {} is dead", self.name);
            return Err(io::Error::other(error));
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
