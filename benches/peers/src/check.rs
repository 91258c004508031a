//! Checks that procwait is not much slower than it should be: a smoke test.
//!
//! The times are 10th percentiles of interleaved rounds, so that other load on the machine, which
//! delays most rounds, does not fail the check. The bounds are for what takes twice as long.

use crate::{
    implementations::{many, one, output},
    measure::{Results, find},
    stats::Stats,
};

/// What is out of bounds.
pub fn failures(results: &Results) -> Vec<String> {
    let mut failures = Vec::new();
    let mut check = |name: &str, quantity: &str, value: f64, bound: f64| {
        eprintln!("check: {name}: {quantity}: {value:.2}, at most {bound}");
        if value > bound {
            failures.push(format!("{name}: {quantity}: {value:.2}, more than {bound}"));
        }
    };

    for name in [one::WAIT_PID, one::PROCESS, one::CHILD_EXT, one::WAIT_SET] {
        let row = find(&results.one, name);
        let latency = ratio(row.short, row.baseline(&results.one).short);
        check(name, "latency, ratio to the baseline", latency, 2.0);
        let idle = row.idle.as_ref().expect("each of these has a timeout");
        check(name, "wake-ups per second", idle.wakeups_per_second, 2.0);
    }

    let cpu = |name| {
        let largest = find(&results.many, name).last();
        largest.expect("the plan has a number of processes").cpu
    };
    for name in [many::WAIT_SET, many::WAIT_ALL] {
        let ratio = ratio(cpu(name), cpu(many::BASELINE));
        check(name, "CPU time, ratio to bare epoll", ratio, 2.0);
    }

    let baseline = find(&results.output, output::BASELINE);
    let output = find(&results.output, output::COMMAND_EXT);
    // The wall time of 200 MB depends on which processes share a core, and the rounds are few.
    for (quantity, times, baseline, wall_bound) in [
        ("200 MB", &output.large, &baseline.large, 3.0),
        ("three bytes", &output.small, &baseline.small, 2.0),
    ] {
        let wall = ratio(times.wall, baseline.wall);
        check(quantity, "time, ratio to std", wall, wall_bound);
        let cpu = ratio(times.cpu, baseline.cpu);
        check(quantity, "CPU time, ratio to std", cpu, 2.0);
    }
    let seconds = output.held_open.median / 1e9;
    check("output held open", "seconds", seconds, 2.0);
    let lost = f64::from(u8::from(!output.has_output));
    check("output held open", "outputs lost", lost, 0.0);
    failures
}

fn ratio(stats: Stats, baseline: Stats) -> f64 {
    stats.p10 / baseline.p10
}
