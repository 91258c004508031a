//! Whether procwait is still about where it was. The bounds are generous, as
//! machines are noisy: they are for what makes a wait twice as dear.

use crate::{
    contestants::{many, one, output, set},
    measure::{Figures, find},
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
    let std = find(rows, one::STD).looks.as_ref().expect("it can look");
    for (name, latency, look, first_look) in [
        // To tell a running child from a zombie that somebody else traces, it opens a
        // pidfd, unless the child has a list of robust futexes. This one has none.
        (one::WAIT_PID, 1.5, 25.0, 1.0),
        (one::PROCESS, 1.5, 2.5, 1.5),
        (one::CHILD_EXT, 1.5, 2.5, 2.0),
        (one::WAIT_SET, 2.0, 2.5, 6.0),
    ] {
        let its = find(rows, name);
        let ratio = its.short.median / its.floor(rows).short.median;
        check(format!("{name}, latency to the floor's"), ratio, latency);
        let looks = its.looks.as_ref().expect("it can look");
        let ratio = looks.running.median / std.running.median;
        check(format!("{name}, a look to Child::try_wait"), ratio, look);
        let ratio = looks.first.median / std.first.median;
        check(format!("{name}, once exited"), ratio, first_look);
        let idle = its.idle.as_ref().expect("it has a timeout");
        let wakeups = idle.wakeups_per_second;
        check(format!("{name}, wake-ups per second"), wakeups, 2.0);
    }

    let cpu = |name| {
        let of_most = find(&figures.many, name).last();
        of_most.expect("it was measured").cpu.median
    };
    for name in [many::WAIT_SET, many::WAIT_ALL] {
        let ratio = cpu(name) / cpu(many::FLOOR);
        check(format!("{name}, CPU time to bare epoll's"), ratio, 2.0);
    }

    if let [_, few, .., most] = &find(&figures.growth, set::OURS)[..] {
        let ratio = most.median / few.median;
        check("one exit among most to one among few".into(), ratio, 3.0);
    }

    let floor = find(&figures.output, output::FLOOR);
    for name in [output::COMMAND_EXT, output::CHILD_EXT] {
        let its = find(&figures.output, name);
        for (what, its, floor) in [
            ("200 MB", &its.large, &floor.large),
            ("three bytes", &its.small, &floor.small),
        ] {
            let wall = its.wall.median / floor.wall.median;
            check(format!("{name}, {what}, time to std's"), wall, 2.0);
            let cpu = its.cpu.median / floor.cpu.median;
            check(format!("{name}, {what}, CPU time to std's"), cpu, 2.0);
        }
        let seconds = its.held_open.median / 1e9;
        check(format!("{name}, seconds, held open"), seconds, 2.0);
        let lost = f64::from(u8::from(!its.is_kept));
        check(format!("{name}, output lost"), lost, 0.0);
    }
    failures
}
