//! Compares procwait with other ways to wait for processes, on Linux.

mod chart;
mod check;
mod child;
mod implementations;
mod machine;
mod measure;
mod page;
mod pool;
mod stats;
mod worker;

use crate::measure::{Plan, Results};
use std::{env, error::Error, fs, io, path::Path, process};

const USAGE: &str = "\
usage: procwait-peers [--check]

Prints tables, in Markdown, and writes them to docs/measured.md, and a chart to
docs/chart.svg. Takes a quarter of an hour.
  --check  measures less, within a minute, writes to the directory of its executable
           instead, and fails if procwait is much slower than it should be";

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => {
            let results = measure::measure(&Plan::FULL)?;
            publish(&Plan::FULL, &results, DOCS.as_ref())?;
        }
        ["--check"] => {
            let results = measure::measure(&Plan::CHECK)?;
            publish(
                &Plan::CHECK,
                &results,
                &env::current_exe()?.with_file_name(""),
            )?;
            let failures = check::failures(&results);
            if !failures.is_empty() {
                return Err(failures.join("\n").into());
            }
        }
        ["--worker", name] => worker::run(name)?,
        _ => {
            eprintln!("{USAGE}");
            process::exit(2);
        }
    }
    Ok(())
}

fn publish(plan: &Plan, results: &Results, directory: &Path) -> io::Result<()> {
    let page = page::page(plan, results);
    print!("{page}");
    fs::write(directory.join("measured.md"), page)?;
    fs::write(directory.join("chart.svg"), chart::chart(results))?;
    eprintln!("written to {}", directory.display());
    Ok(())
}
