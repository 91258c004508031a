//! The figures as Markdown.

use crate::{
    contestants::{many, one, output},
    measure::{Figures, Many, One, Output, Plan, Used},
};

pub fn print(plan: &Plan, figures: &Figures) {
    latency(plan, &figures.one);
    looks(&figures.one);
    idle(plan, &figures.one);
    many(plan, &figures.many);
    growth(figures);
    output(plan, &figures.output);
    held_open(&figures.output);
}

/// The floor for a contestant: that which leaves the child as it does, reaped or not.
pub fn floor<'a>(rows: &'a [One], of: &One) -> &'a One {
    let name = match of.contestant.reaps {
        true => one::FLOOR_REAPING,
        false => one::FLOOR,
    };
    find(rows, name)
}

pub fn find<'a>(rows: &'a [One], name: &str) -> &'a One {
    rows.iter()
        .find(|row| row.contestant.name == name)
        .expect("there is one of this name")
}

fn latency(plan: &Plan, rows: &[One]) {
    let (short, long) = (plan.short_rounds, plan.long_rounds);
    println!("\n### From exit to return\n");
    println!(
        "In µs, and the medians' ratio to the floor, the bare system calls that leave the child in the same state, reaped or not: {short} children that live 2 to 4 ms, {long} that live 0.2 to 0.3 s.\n"
    );
    header(&[
        "",
        "reaps",
        "2–4 ms: median",
        "p99",
        "ratio",
        "200 ms: median",
        "p99",
        "ratio",
    ]);
    for row in rows {
        let floor = floor(rows, row);
        line(&[
            row.contestant.label.clone(),
            if row.contestant.reaps { "yes" } else { "no" }.into(),
            micros(row.short.median),
            micros(row.short.p99),
            ratio(row.short.median, floor.short.median),
            micros(row.long.median),
            micros(row.long.p99),
            ratio(row.long.median, floor.long.median),
        ]);
    }
}

fn looks(rows: &[One]) {
    let reference = find(rows, one::STD);
    println!("\n### A look without waiting\n");
    println!(
        "In ns, and the ratio to `Child::try_wait`. The bare look is a `waitid(WNOHANG | WNOWAIT)`. The first look at a child that has exited reaps it, if that is what the contestant does; the second may be answered from memory.\n"
    );
    header(&[
        "",
        "running child",
        "ratio",
        "first look at an exited one",
        "ratio",
        "second look",
    ]);
    for row in rows {
        let Some((running, (first, second))) = row.running.zip(row.exited) else {
            continue;
        };
        let (first_of, _) = reference.exited.expect("it can look");
        line(&[
            row.contestant.label.clone(),
            format!("{running:.0}"),
            ratio(running, reference.running.expect("it can look")),
            format!("{first:.0}"),
            ratio(first, first_of),
            format!("{second:.0}"),
        ]);
    }
}

fn idle(plan: &Plan, rows: &[One]) {
    println!(
        "\n### An idle wait of {} s, and the system calls of a wait for a child of 200 ms\n",
        plan.idle.as_secs()
    );
    header(&["", "wake-ups per second", "CPU time in µs", "system calls"]);
    for row in rows {
        let idle = row.idle.as_ref();
        line(&[
            row.contestant.label.clone(),
            or_dash(idle.map(|idle| format!("{:.1}", idle.wakeups_per_second))),
            or_dash(idle.map(|idle| micros(idle.cpu))),
            or_dash(row.syscalls.map(|calls| calls.to_string())),
        ]);
    }
}

fn many(plan: &Plan, rows: &[Many]) {
    println!("\n### Many processes that exit at once\n");
    println!(
        "Wall time in ms from that moment until all are known and reaped, CPU time in ms of the wait, which begins half a second earlier, and its ratio to bare epoll's.\n"
    );
    let mut titles = vec![String::new()];
    for count in plan.many {
        titles.extend([format!("{count}: wall"), "CPU".into(), "ratio".into()]);
    }
    header(&titles.iter().map(String::as_str).collect::<Vec<_>>());
    let floor = rows
        .iter()
        .find(|row| row.contestant.name == many::FLOOR)
        .expect("it is there");
    for row in rows {
        let mut cells = vec![row.contestant.label.clone()];
        for (&(wall, cpu), &(_, floor)) in row.times.iter().zip(&floor.times) {
            cells.extend([millis(wall), millis(cpu), ratio(cpu, floor)]);
        }
        line(&cells);
    }
    println!("\n¹ It takes hold of each process while it spawns it, which is not in these times.");
}

fn growth(figures: &Figures) {
    println!("\n### One exit, in a set of so many\n");
    println!("In µs, from the exit's being there to its report.\n");
    header(&[
        "processes",
        "bare epoll",
        "**`procwait::WaitSet`**",
        "ratio",
    ]);
    for row in &figures.growth {
        line(&[
            row.count.to_string(),
            micros(row.floor),
            micros(row.ours),
            ratio(row.ours, row.floor),
        ]);
    }
}

pub fn find_output<'a>(rows: &'a [Output], name: &str) -> &'a Output {
    rows.iter()
        .find(|row| row.contestant.name == name)
        .expect("there is one of this name")
}

fn output(plan: &Plan, rows: &[Output]) {
    let (large, small) = (plan.large_rounds, plan.small_rounds);
    println!("\n### The output of a command\n");
    println!(
        "From before the spawn until all of the output is there: wall time, CPU time of the process that reads, and their ratios to `Command::output`'s. 200 MB in ms, {large} times; the three bytes of `hi` in µs, {small} times.\n"
    );
    header(&[
        "",
        "200 MB: wall",
        "ratio",
        "CPU",
        "ratio",
        "`hi`: wall",
        "ratio",
        "CPU",
        "ratio",
    ]);
    let floor = find_output(rows, output::FLOOR);
    let times = |used: &Used, floor: &Used, format: fn(f64) -> String| {
        let of = |value, floor| [format(value), ratio(value, floor)];
        [of(used.wall, floor.wall), of(used.cpu, floor.cpu)].concat()
    };
    for row in rows {
        let mut cells = vec![row.contestant.label.clone()];
        cells.extend(times(&row.large, &floor.large, millis));
        cells.extend(times(&row.small, &floor.small, micros));
        line(&cells);
    }
}

fn held_open(rows: &[Output]) {
    println!("\n### Output that a grandchild holds open\n");
    println!("`sh -c 'sleep 3 & echo hi'`, with a limit of 0.5 s: when each returns, in ms.\n");
    header(&["", "after", "with"]);
    for row in rows {
        let with = match row.is_kept {
            true => "`hi`",
            false => "a timeout, no output",
        };
        let (label, after) = (row.contestant.label.clone(), millis(row.held_open));
        line(&[label, after, with.into()]);
    }
}

fn header(titles: &[&str]) {
    println!("| {} |", titles.join(" | "));
    println!("|---|{}", "--:|".repeat(titles.len() - 1));
}

fn line(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "–".into())
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

fn ratio(value: f64, floor: f64) -> String {
    format!("{:.2}", value / floor)
}
