//! The figures as a page, in Markdown.

use crate::{
    contestants::{many, one, output, set},
    machine,
    measure::{Figures, One, Output, Plan, Row, Used, find},
    stats::Stats,
};

pub fn page(plan: &Plan, figures: &Figures) -> String {
    [
        head(figures),
        latency(plan, &figures.one),
        looks(&figures.one),
        idle(plan, &figures.one),
        many(plan, &figures.many),
        growth(plan, &figures.growth),
        output(plan, &figures.output),
        held_open(&figures.output),
    ]
    .join("\n")
}

fn head(figures: &Figures) -> String {
    let noise = noise(figures);
    let lowest = noise.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = noise.iter().copied().fold(0.0, f64::max);
    format!(
        "\
# Measured

procwait beside other ways to wait for processes. This page is what

```sh
cargo run --release --manifest-path benches/peers/Cargo.toml
```

has written, on {}, within {:.0} min.

Each contestant has a process of its own, and all take turns. Python's loops are ported
to Rust. What \"the same once more\" says is the floor, measured twice: the second figure
was {lowest:.2} to {highest:.2} times the first. Differences of that size are noise. CPU times are
medians, with the quartiles: half of the rounds lie between these.
",
        machine::description(),
        figures.took.as_secs_f64() / 60.0,
    )
}

/// What was measured twice: all ratios of the second figure to the first.
fn noise(figures: &Figures) -> Vec<f64> {
    let used = |used: &Used| [used.wall, used.cpu];
    let stats = |one: &str, many: &str, output: &str| {
        let one = find(&figures.one, one);
        let output = find(&figures.output, output);
        let mut stats = vec![one.short, one.long];
        stats.extend(
            one.looks
                .iter()
                .flat_map(|it| [it.running, it.first, it.second]),
        );
        stats.extend(one.idle.iter().map(|it| it.cpu));
        stats.extend(find(&figures.many, many).iter().flat_map(used));
        stats.extend([&output.large, &output.small].into_iter().flat_map(used));
        stats
    };
    let first = stats(one::FLOOR, many::FLOOR, output::FLOOR);
    let second = stats(one::FLOOR_AGAIN, many::FLOOR_AGAIN, output::FLOOR_AGAIN);
    let pairs = second.iter().zip(&first);
    pairs
        .map(|(second, first)| second.median / first.median)
        .collect()
}

fn latency(plan: &Plan, rows: &[Row<One>]) -> String {
    let text = format!(
        "In µs, and the medians' ratio to the floor, the bare system calls that leave the child in the same state, reaped or not: {} children that live 2 to 4 ms, {} that live 0.2 to 0.3 s.",
        plan.short_rounds, plan.long_rounds,
    );
    let titles = "reaps | 2–4 ms: median | p99 | ratio | 200 ms: median | p99 | ratio";
    let lines = rows.iter().map(|row| {
        let (it, floor) = (&row.figures, row.figures.floor(rows));
        let mut cells = vec![
            row.label.clone(),
            if it.reaps { "yes" } else { "no" }.into(),
        ];
        for (its, floor) in [(it.short, floor.short), (it.long, floor.long)] {
            cells.extend([micros(its.median), micros(its.p99), ratio(its, floor)]);
        }
        cells
    });
    section("From exit to return", &text, titles, lines)
}

fn looks(rows: &[Row<One>]) -> String {
    let text = "In ns, and the ratio to `Child::try_wait`. The bare look is a `waitid(WNOHANG | WNOWAIT)`, and that of `Child::wait` is `Child::try_wait`. The first look at a child that has exited reaps it, if that is what the contestant does; the second may be answered from memory.";
    let titles = "running child | ratio | first look at an exited one | ratio | second look";
    let std = find(rows, one::STD).looks.as_ref().expect("it can look");
    let lines = rows.iter().filter_map(|row| {
        let looks = row.figures.looks.as_ref()?;
        Some(vec![
            row.label.clone(),
            format!("{:.0}", looks.running.median),
            ratio(looks.running, std.running),
            format!("{:.0}", looks.first.median),
            ratio(looks.first, std.first),
            format!("{:.0}", looks.second.median),
        ])
    });
    section("A look without waiting", text, titles, lines)
}

fn idle(plan: &Plan, rows: &[Row<One>]) -> String {
    let title = format!(
        "An idle wait of {} s, and the system calls of a wait for a child of 200 ms",
        plan.idle.as_secs()
    );
    let titles = "wake-ups per second | CPU time in µs | system calls";
    let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "–".into());
    let lines = rows.iter().map(|row| {
        let idle = row.figures.idle.as_ref();
        vec![
            row.label.clone(),
            or_dash(idle.map(|idle| format!("{:.1}", idle.wakeups_per_second))),
            or_dash(idle.map(|idle| range(idle.cpu, micros))),
            or_dash(row.figures.syscalls.map(|calls| calls.to_string())),
        ]
    });
    let text = format!(
        "procwait wakes up once shortly before the timeout, so as not to be late. Rounds: {}.",
        plan.idle_rounds
    );
    section(&title, &text, titles, lines)
}

fn many(plan: &Plan, rows: &[Row<Vec<Used>>]) -> String {
    let rounds: Vec<_> = plan.many.iter().map(|(_, it)| it.to_string()).collect();
    let text = format!(
        "Wall time in ms from that moment until all are known and reaped, CPU time in ms of the wait, which begins half a second earlier, and its ratio to bare epoll's. Rounds: {}.",
        rounds.join(", "),
    );
    let titles = titles(plan.many, ": wall | CPU | ratio");
    let floor = find(rows, many::FLOOR);
    let lines = rows.iter().map(|row| {
        let mut cells = vec![row.label.clone()];
        for (its, floor) in row.figures.iter().zip(floor) {
            cells.extend([
                millis(its.wall.median),
                range(its.cpu, millis),
                ratio(its.cpu, floor.cpu),
            ]);
        }
        cells
    });
    let table = section("Many processes that exit at once", &text, &titles, lines);
    table + "\n¹ It takes hold of each process while it spawns it, which is not in these times.\n"
}

fn growth(plan: &Plan, rows: &[Row<Vec<Stats>>]) -> String {
    let titles = titles(plan.growth, " | ratio");
    let floor = find(rows, set::FLOOR);
    let lines = rows.iter().map(|row| {
        let mut cells = vec![row.label.clone()];
        for (&its, &floor) in row.figures.iter().zip(floor) {
            cells.extend([micros(its.median), ratio(its, floor)]);
        }
        cells
    });
    section(
        "One exit, in a set of so many",
        "In µs, from the exit's being there to its report.",
        &titles,
        lines,
    )
}

fn output(plan: &Plan, rows: &[Row<Output>]) -> String {
    let text = format!(
        "From before the spawn until all of the output is there: wall time, CPU time of the process that reads, and their ratios to `Command::output`'s. 200 MB in ms, {} times; the three bytes of `hi` in µs, {} times.",
        plan.large_rounds, plan.small_rounds,
    );
    let titles = "200 MB: wall | ratio | CPU | ratio | `hi`: wall | ratio | CPU | ratio";
    let floor = find(rows, output::FLOOR);
    let cells = |its: &Used, floor: &Used, format: fn(f64) -> String| {
        [
            format(its.wall.median),
            ratio(its.wall, floor.wall),
            range(its.cpu, format),
            ratio(its.cpu, floor.cpu),
        ]
    };
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.label.clone()];
        line.extend(cells(&row.figures.large, &floor.large, millis));
        line.extend(cells(&row.figures.small, &floor.small, micros));
        line
    });
    section("The output of a command", &text, titles, lines)
}

fn held_open(rows: &[Row<Output>]) -> String {
    let lines = rows.iter().map(|row| {
        let with = match row.figures.is_kept {
            true => "`hi`",
            false => "a timeout, no output",
        };
        let after = millis(row.figures.held_open.median);
        vec![row.label.clone(), after, with.into()]
    });
    section(
        "Output that a grandchild holds open",
        "`sh -c 'sleep 3 & echo hi'`, with a limit of 0.5 s: when each returns, in ms.",
        "after | with",
        lines,
    )
}

fn section(
    title: &str,
    text: &str,
    titles: &str,
    lines: impl Iterator<Item = Vec<String>>,
) -> String {
    let columns = "--:|".repeat(titles.split(" | ").count());
    let lines: String = lines
        .map(|cells| format!("| {} |\n", cells.join(" | ")))
        .collect();
    format!("## {title}\n\n{text}\n\n|  | {titles} |\n|---|{columns}\n{lines}")
}

/// The same columns for each of the counts.
fn titles(counts: &[(u64, usize)], columns: &str) -> String {
    let titles = counts.iter().map(|(count, _)| format!("{count}{columns}"));
    titles.collect::<Vec<_>>().join(" | ")
}

/// The median, and the quartiles.
fn range(stats: Stats, format: fn(f64) -> String) -> String {
    let (lower, upper) = stats.quartiles;
    format!(
        "{} ({}–{})",
        format(stats.median),
        format(lower),
        format(upper)
    )
}

fn micros(ns: f64) -> String {
    rounded(ns / 1e3)
}

fn millis(ns: f64) -> String {
    rounded(ns / 1e6)
}

/// To some three digits.
fn rounded(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Of the medians.
fn ratio(its: Stats, floor: Stats) -> String {
    format!("{:.2}", its.median / floor.median)
}
