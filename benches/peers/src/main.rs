//! procwait beside the other ways to wait for processes, on Linux.

mod chart;
mod check;
mod child;
mod contestants;
mod growth;
mod measure;
mod stats;
mod syscalls;
mod table;
mod worker;

use crate::{child::Program, measure::Plan};
use std::{error::Error, path::PathBuf, process};

const USAGE: &str = "\
usage: procwait-peers [--quick] [--check] [--chart FILE.svg]

Prints tables, in Markdown.
  --quick  measures less, and takes less than a minute instead of ten
  --check  fails if procwait is far from where it should be
  --chart  draws a chart as well";

/// A machine may be busy with something else for one of them.
const CHECKS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name, program] = &arguments[..]
        && first == "--worker"
    {
        return Ok(worker::work(name, program.into())?);
    }
    let Some(options) = Options::parse(arguments) else {
        eprintln!("{USAGE}");
        process::exit(2);
    };
    let program = match Program::build() {
        Ok(program) => program,
        Err(error) => {
            println!("skipped: no C compiler, `cc`, for a child to wait for: {error}");
            return Ok(());
        }
    };
    for attempt in 1.. {
        let figures = measure::measure(&options.plan, &program)?;
        table::print(&options.plan, &figures);
        if let Some(file) = &options.chart {
            chart::draw(&figures, file)?;
        }
        if !options.check {
            break;
        }
        let failures = check::failures(&figures);
        if failures.is_empty() {
            break;
        }
        if attempt == CHECKS {
            return Err(failures.join("\n").into());
        }
        eprintln!("check: once more");
    }
    Ok(())
}

struct Options {
    plan: Plan,
    check: bool,
    chart: Option<PathBuf>,
}

impl Options {
    /// `None`: not as they should be.
    fn parse(arguments: Vec<String>) -> Option<Options> {
        let mut options = Options {
            plan: Plan::FULL,
            check: false,
            chart: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.plan = Plan::QUICK,
                "--check" => options.check = true,
                "--chart" => options.chart = Some(arguments.next()?.into()),
                _ => return None,
            }
        }
        Some(options)
    }
}
