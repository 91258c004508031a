//! Writes the results as a page in Markdown.

use crate::{
    implementations::{input, live, many, output, wake},
    machine,
    measure::{One, Output, Plan, Results, Row, Times, find},
    stats::Stats,
};

pub fn page(plan: &Plan, results: &Results) -> String {
    [
        introduction(results),
        latency(plan, &results.one),
        idle(plan, &results.one),
        many(plan, &results.many),
        output(plan, &results.output),
        held_open(&results.output),
        input(plan, &results.input),
        live(plan, &results.live),
        wake(plan, &results.wake),
    ]
    .join("\n")
}

fn introduction(results: &Results) -> String {
    format!(
        "\
# Measured

procwait beside other ways to wait for processes. This page was written by

```sh
cargo run --release --manifest-path benches/peers/Cargo.toml
```

on {}, in {:.0} minutes.

Each implementation runs in a process of its own, and the rounds of all are interleaved. The first
row of each table is its baseline, and \"baseline (repeat)\" measures the same again: how far its
ratio is from 1.00 shows the noise. CPU times are medians, with the quartiles.

![Bars: the time from exit to return, and wake-ups per second, of procwait and others](chart.svg)
",
        machine::description(),
        results.elapsed.as_secs_f64() / 60.0,
    )
}

fn latency(plan: &Plan, rows: &[Row<One>]) -> String {
    let text = format!(
        "In µs, and the ratio of the medians to the baseline: the bare system calls that leave the child in the same state, reaped or not. {} children that live 2 to 4 ms, {} that live 0.2 to 0.3 s.",
        plan.short_rounds, plan.long_rounds,
    );
    let columns = "reaps | 2–4 ms: median | p99 | ratio | 200 ms: median | p99 | ratio";
    let lines = rows.iter().map(|row| {
        let one = &row.results;
        let baseline = one.baseline(rows);
        let reaps = if one.reaps { "yes" } else { "no" };
        let mut cells = vec![row.label.clone(), reaps.into()];
        for (stats, baseline) in [(one.short, baseline.short), (one.long, baseline.long)] {
            cells.extend([micros(stats.median), micros(stats.p99)]);
            cells.push(ratio(stats, baseline));
        }
        cells
    });
    section("From exit to return", &text, columns, lines)
}

fn idle(plan: &Plan, rows: &[Row<One>]) -> String {
    let title = format!("An idle wait of {} s", plan.idle.as_secs());
    let text = format!(
        "procwait wakes up once shortly before the timeout, so as not to be late. Rounds: {}.",
        plan.idle_rounds
    );
    let columns = "wake-ups per second | CPU time in µs";
    let lines = rows.iter().filter_map(|row| {
        let idle = row.results.idle.as_ref()?;
        let wakeups = format!("{:.1}", idle.wakeups_per_second);
        Some(vec![
            row.label.clone(),
            wakeups,
            quartiles(idle.cpu, micros),
        ])
    });
    section(&title, &text, columns, lines)
}

fn many(plan: &Plan, rows: &[Row<Vec<Times>>]) -> String {
    let (columns, rounds): (Vec<_>, Vec<_>) = plan
        .many
        .iter()
        .map(|(count, rounds)| (format!("{count}: wall | CPU | ratio"), rounds.to_string()))
        .unzip();
    let text = format!(
        "Wall time in ms from the exits until all are known and reaped; CPU time in ms of the wait, which begins half a second before the exits, and its ratio to bare epoll. Rounds: {}.",
        rounds.join(", "),
    );
    let baseline = find(rows, many::BASELINE);
    let lines = rows.iter().map(|row| {
        let mut cells = vec![row.label.clone()];
        for (times, baseline) in row.results.iter().zip(baseline) {
            cells.extend([millis(times.wall.median), quartiles(times.cpu, millis)]);
            cells.push(ratio(times.cpu, baseline.cpu));
        }
        cells
    });
    let table = section(
        "Many processes that exit at once",
        &text,
        &columns.join(" | "),
        lines,
    );
    table + "\n¹ It opens each process when it spawns it, which is not in these times.\n"
}

fn output(plan: &Plan, rows: &[Row<Output>]) -> String {
    let large = megabytes(plan);
    let text = format!(
        "From before the spawn until all of the output is captured: wall time, CPU time of the process that reads, and their ratios to `Command::output`. {large} in ms, {} times; the three bytes of `hi` in µs, {} times.",
        plan.large_rounds, plan.small_rounds,
    );
    let columns = format!("{large}: {TIMES} | `hi`: {TIMES}");
    let baseline = find(rows, output::BASELINE);
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.label.clone()];
        line.extend(times(&row.results.large, &baseline.large, millis));
        line.extend(times(&row.results.small, &baseline.small, micros));
        line
    });
    section("The output of a command", &text, &columns, lines)
}

fn held_open(rows: &[Row<Output>]) -> String {
    let lines = rows.iter().map(|row| {
        let returned = if row.results.has_output {
            "`hi`"
        } else {
            "a timeout, no output"
        };
        let after = millis(row.results.held_open.median);
        vec![row.label.clone(), after, returned.into()]
    });
    section(
        "Output that a grandchild holds open",
        "`sh -c 'sleep 3 & echo hi'`, with a timeout of 0.5 s: what each returns, and after how many ms.",
        "after | returns",
        lines,
    )
}

fn input(plan: &Plan, rows: &[Row<Times>]) -> String {
    let text = format!(
        "{} written to `cat`, and captured from it, {} times: wall time, and CPU time of the process that writes and reads, in ms.",
        megabytes(plan),
        plan.large_rounds,
    );
    let baseline = find(rows, input::BASELINE);
    section_of_times("The input of a command", &text, rows, baseline)
}

fn live(plan: &Plan, rows: &[Row<Times>]) -> String {
    let text = format!(
        "{}, of which nothing is kept, {} times: wall time, and CPU time of the process that reads, in ms. The baseline is a lower bound: it reads 64 KiB at a time, in the same thread, without a timeout.",
        megabytes(plan),
        plan.large_rounds,
    );
    let baseline = find(rows, live::BASELINE);
    section_of_times("Output that is read as it comes", &text, rows, baseline)
}

fn wake(plan: &Plan, rows: &[Row<Times>]) -> String {
    let text = format!(
        "Two threads that each wait for a process, or for a wake, and wake each other in turn, {} times each: wall time, and CPU time of both, in ms. Rounds: {}.",
        plan.wakes, plan.wake_rounds,
    );
    let baseline = find(rows, wake::BASELINE);
    section_of_times("A wake from another thread", &text, rows, baseline)
}

fn section_of_times(title: &str, text: &str, rows: &[Row<Times>], baseline: &Times) -> String {
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.label.clone()];
        line.extend(times(&row.results, baseline, millis));
        line
    });
    section(title, text, TIMES, lines)
}

fn megabytes(plan: &Plan) -> String {
    format!("{} MB", plan.large / 1_000_000)
}

/// The columns of `times`.
const TIMES: &str = "wall | ratio | CPU | ratio";

fn times(times: &Times, baseline: &Times, format: fn(f64) -> String) -> [String; 4] {
    [
        format(times.wall.median),
        ratio(times.wall, baseline.wall),
        quartiles(times.cpu, format),
        ratio(times.cpu, baseline.cpu),
    ]
}

fn section(
    title: &str,
    text: &str,
    columns: &str,
    lines: impl Iterator<Item = Vec<String>>,
) -> String {
    let alignment = "--:|".repeat(columns.split(" | ").count());
    let lines: String = lines
        .map(|cells| format!("| {} |\n", cells.join(" | ")))
        .collect();
    format!("## {title}\n\n{text}\n\n|  | {columns} |\n|---|{alignment}\n{lines}")
}

/// The median, and the quartiles.
fn quartiles(stats: Stats, format: fn(f64) -> String) -> String {
    let (lower, upper) = stats.quartiles;
    let [median, lower, upper] = [stats.median, lower, upper].map(format);
    format!("{median} ({lower}–{upper})")
}

fn micros(ns: f64) -> String {
    rounded(ns / 1e3)
}

fn millis(ns: f64) -> String {
    rounded(ns / 1e6)
}

/// To about three digits.
fn rounded(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Of the medians.
fn ratio(stats: Stats, baseline: Stats) -> String {
    format!("{:.2}", stats.median / baseline.median)
}
