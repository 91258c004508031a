//! procwait beside the other ways to wait for processes, on Linux.

mod chart;
mod check;
mod child;
mod contestants;
mod field;
mod machine;
mod measure;
mod page;
mod stats;
mod syscalls;
mod worker;

use crate::{child::Program, measure::Plan};
use std::{env, error::Error, fs, path::PathBuf, process};

const USAGE: &str = "\
usage: procwait-peers [--quick] [--check] [--into DIRECTORY]

Prints tables, in Markdown, and writes them to measured.md and a chart to chart.svg.
  --quick  measures less, takes a minute instead of a quarter of an hour, and writes
           nothing unless told where
  --check  fails if procwait is far from where it should be
  --into   writes there, and not to the repository's docs";

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

/// A machine may be busy with something else for one of them.
const CHECKS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
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
        let page = page::page(&options.plan, &figures);
        print!("{page}");
        if let Some(directory) = &options.into {
            fs::write(directory.join("measured.md"), page)?;
            fs::write(directory.join("chart.svg"), chart::draw(&figures))?;
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
    into: Option<PathBuf>,
}

impl Options {
    /// `None`: not as they should be.
    fn parse(arguments: Vec<String>) -> Option<Options> {
        let (mut quick, mut check, mut into) = (false, false, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => quick = true,
                "--check" => check = true,
                "--into" => into = Some(arguments.next()?.into()),
                _ => return None,
            }
        }
        Some(Options {
            plan: if quick { Plan::QUICK } else { Plan::FULL },
            check,
            into: into.or_else(|| (!quick).then(|| DOCS.into())),
        })
    }
}
