//! The pool of workers. It interleaves the rounds of all implementations, so that other load on
//! the machine affects all of them alike.

use crate::{implementations::Implementation, stats::Stats};
use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A task of `worker::task`, and its argument.
pub type Request = (&'static str, u64);

/// The answers of a worker, one for each round.
#[derive(Clone, Default)]
pub struct Samples(Vec<Vec<f64>>);

impl Samples {
    /// The numbers at this index of the answers.
    pub fn column(&self, index: usize) -> impl Iterator<Item = f64> {
        self.0
            .iter()
            .filter_map(move |answer| answer.get(index).copied())
    }

    /// `None` if the answers do not have this number.
    pub fn stats(&self, index: usize) -> Option<Stats> {
        Stats::new(self.column(index).collect())
    }
}

/// One worker for each implementation.
pub struct WorkerPool(Vec<Worker>);

impl WorkerPool {
    pub fn start<M>(implementations: &[Implementation<M>]) -> io::Result<WorkerPool> {
        let workers = implementations
            .iter()
            .map(|implementation| Worker::start(implementation.name));
        Ok(WorkerPool(workers.collect::<io::Result<_>>()?))
    }

    /// In each round, sends the round's request to one worker after the other.
    pub fn run_in_turn(
        &mut self,
        rounds: usize,
        request: impl Fn(usize) -> Request,
    ) -> io::Result<Vec<Samples>> {
        let mut samples = vec![Samples::default(); self.0.len()];
        for round in 0..rounds {
            for i in self.order(round) {
                self.0[i].send(request(round))?;
                samples[i].0.push(self.0[i].receive()?);
            }
        }
        Ok(samples)
    }

    /// In each round, sends requests to all workers at the same time. They can depend on the round
    /// and on the worker's position in it.
    pub fn run_concurrently(
        &mut self,
        rounds: usize,
        request: impl Fn(usize, usize) -> Request,
    ) -> io::Result<Vec<Samples>> {
        let mut samples = vec![Samples::default(); self.0.len()];
        for round in 0..rounds {
            for (position, i) in self.order(round).enumerate() {
                self.0[i].send(request(round, position))?;
            }
            for i in self.order(round) {
                samples[i].0.push(self.0[i].receive()?);
            }
        }
        Ok(samples)
    }

    /// Each round begins with another worker.
    fn order(&self, round: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.0.len();
        (0..count).map(move |position| (round + position) % count)
    }
}

struct Worker {
    name: &'static str,
    process: Child,
    /// `None` once closed, which ends the worker.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(name: &'static str) -> io::Result<Worker> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--worker", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Worker {
            name,
            requests: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().expect("stdout is piped")),
            process,
        })
    }

    fn send(&mut self, (task, argument): Request) -> io::Result<()> {
        let requests = self.requests.as_mut().expect("closed only by `drop`");
        writeln!(requests, "{task} {argument}")
    }

    fn receive(&mut self) -> io::Result<Vec<f64>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let error = format!("the worker of {} has exited", self.name);
            return Err(io::Error::other(error));
        }
        let numbers = line.split_whitespace().map(str::parse);
        numbers.collect::<Result<_, _>>().map_err(io::Error::other)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}
