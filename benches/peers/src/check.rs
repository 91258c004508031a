//! Checks that procwait is not much slower than it should be: a smoke test.
//!
//! The times are 10th percentiles of interleaved rounds, so that other load on the machine, which
//! delays most rounds, does not fail the check. The bounds are for what takes twice as long.

use crate::{
    implementations::{input, live, many, one, output},
    measure::{Results, find},
    stats::Stats,
};

/// The largest ratios of wall time and CPU time to the baseline's.
type Bounds = (f64, f64);

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

    // The wall time of many bytes depends on which processes share a core, and the rounds are few.
    const LARGE: Bounds = (5.0, 2.0);
    const SMALL: Bounds = (2.0, 2.0);
    let mut transfers = Vec::new();
    // What is awaited is compared with the runtime's own.
    for (name, baseline) in [
        (output::COMMAND_EXT, output::BASELINE),
        (output::ON_TOKIO, output::TOKIO),
        (output::ON_ASYNC_IO, output::ASYNC_PROCESS),
    ] {
        let [output, baseline] = [name, baseline].map(|name| find(&results.output, name));
        transfers.push((name, "large", &output.large, &baseline.large, LARGE));
        transfers.push((name, "three bytes", &output.small, &baseline.small, SMALL));
        let seconds = output.held_open.median / 1e9;
        check(name, "held open, seconds", seconds, 2.0);
        let lost = f64::from(u8::from(!output.has_output));
        check(name, "held open, outputs lost", lost, 0.0);
    }
    for (rows, name, baseline, bounds) in [
        (&results.input, input::COMMAND_EXT, input::BASELINE, LARGE),
        (&results.input, input::ON_TOKIO, input::TOKIO, LARGE),
        // The baseline is a lower bound, not a peer: the CPU time is 2 to 3 times its own.
        (&results.live, live::CHILD_EXT, live::BASELINE, (5.0, 5.0)),
    ] {
        let (row, baseline) = (find(rows, name), find(rows, baseline));
        transfers.push((name, "large", row, baseline, bounds));
    }
    for (name, size, times, baseline, (wall_bound, cpu_bound)) in transfers {
        let wall = ratio(times.wall, baseline.wall);
        check(name, &format!("{size}, time, ratio"), wall, wall_bound);
        let cpu = ratio(times.cpu, baseline.cpu);
        check(name, &format!("{size}, CPU time, ratio"), cpu, cpu_bound);
    }
    failures
}

fn ratio(stats: Stats, baseline: Stats) -> f64 {
    stats.p10 / baseline.p10
}
