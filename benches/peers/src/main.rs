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
use std::{env, error::Error, fs, process};

const USAGE: &str = "\
usage: procwait-peers [--quick] [--check]

Prints tables, in Markdown, and writes them to docs/measured.md, and a chart to
docs/chart.svg.
  --quick  measures less, takes a minute instead of a quarter of an hour, and writes
           beside its executable instead
  --check  fails if procwait is far from where it should be";

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
    let (mut is_quick, mut is_check) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "--quick" => is_quick = true,
            "--check" => is_check = true,
            _ => {
                eprintln!("{USAGE}");
                process::exit(2);
            }
        }
    }
    let (plan, directory) = match is_quick {
        true => (Plan::QUICK, env::current_exe()?.with_file_name("")),
        false => (Plan::FULL, DOCS.into()),
    };
    let program = match Program::build() {
        Ok(program) => program,
        Err(error) => {
            println!("skipped: no C compiler, `cc`, for a child to wait for: {error}");
            return Ok(());
        }
    };
    for attempt in 1.. {
        let figures = measure::measure(&plan, &program)?;
        let page = page::page(&plan, &figures);
        print!("{page}");
        fs::write(directory.join("measured.md"), page)?;
        fs::write(directory.join("chart.svg"), chart::draw(&figures))?;
        eprintln!("written to {}", directory.display());
        if !is_check {
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
