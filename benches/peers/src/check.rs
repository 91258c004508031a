//! Whether procwait is still about where it was. The bounds are generous, as
//! machines are noisy: they are for what makes a wait twice as dear.

use crate::{
    contestants::{many, one, output},
    measure::{Figures, One},
    table::{find, find_output, floor},
};

/// What is out of bounds.
pub fn failures(figures: &Figures) -> Vec<String> {
    let mut failures = Vec::new();
    let mut check = |what: String, value: f64, bound: f64| {
        let is_good = value <= bound;
        eprintln!("check: {what}: {value:.2}, at most {bound}");
        if !is_good {
            failures.push(format!("{what}: {value:.2}, more than {bound}"));
        }
    };

    let rows = &figures.one;
    let (running, (exited, _)) = looks(rows, one::STD);
    for (name, latency, look, first_look) in [
        // To tell a running child from a zombie that somebody else traces, it opens a
        // pidfd, unless the child has a list of robust futexes. This one has none.
        (one::WAIT_PID, 1.5, 25.0, 1.0),
        (one::PROCESS, 1.5, 2.5, 1.5),
        (one::CHILD_EXT, 1.5, 2.5, 2.0),
        (one::WAIT_SET, 2.0, 2.5, 6.0),
    ] {
        let row = find(rows, name);
        let of = floor(rows, row);
        let ratio = row.short.median / of.short.median;
        check(format!("{name}, latency to the floor's"), ratio, latency);
        let (its_running, (its_exited, _)) = looks(rows, name);
        let ratio = its_running / running;
        check(format!("{name}, a look to Child::try_wait"), ratio, look);
        let ratio = its_exited / exited;
        check(format!("{name}, once exited"), ratio, first_look);
        let idle = row.idle.as_ref().expect("it has a timeout");
        let wakeups = idle.wakeups_per_second;
        check(format!("{name}, wake-ups per second"), wakeups, 2.0);
    }

    let cpu = |name| {
        let row = figures.many.iter().find(|row| row.contestant.name == name);
        let last = row.and_then(|row| row.times.last());
        last.expect("it was measured").1
    };
    for name in [many::WAIT_SET, many::WAIT_ALL] {
        let ratio = cpu(name) / cpu(many::FLOOR);
        check(format!("{name}, CPU time to bare epoll's"), ratio, 2.0);
    }

    if let [_, few, .., most] = &figures.growth[..] {
        let ratio = most.ours / few.ours;
        check(
            format!("one exit among {} to one among {}", most.count, few.count),
            ratio,
            3.0,
        );
    }

    let floor = find_output(&figures.output, output::FLOOR);
    for name in [output::COMMAND_EXT, output::CHILD_EXT] {
        let row = find_output(&figures.output, name);
        for (what, its, floor) in [
            ("200 MB", &row.large, &floor.large),
            ("three bytes", &row.small, &floor.small),
        ] {
            let (wall, cpu) = (its.wall / floor.wall, its.cpu / floor.cpu);
            check(format!("{name}, {what}, time to std's"), wall, 2.0);
            check(format!("{name}, {what}, CPU time to std's"), cpu, 2.0);
        }
        let seconds = row.held_open / 1e9;
        check(format!("{name}, seconds, held open"), seconds, 2.0);
        let lost = f64::from(u8::from(!row.is_kept));
        check(format!("{name}, output lost"), lost, 0.0);
    }
    failures
}

/// At a running child, and the first and second at one that has exited.
fn looks(rows: &[One], name: &str) -> (f64, (f64, f64)) {
    let row = find(rows, name);
    row.running.zip(row.exited).expect("it can look")
}
