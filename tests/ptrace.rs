//! A child that somebody else traces: it exits, but is not ours before the tracer
//! lets go of it.

#![cfg(target_os = "linux")]

mod common;

use common::{LONG, Told, helper, skip};
use nix::time::{ClockId, clock_gettime};
use procwait::{ChildExt as _, wait_pid};
use std::time::{Duration, Instant};

#[test]
fn a_traced_child_neither_spins_nor_gives_up() {
    let mut child = helper("wait 7");
    let mut tracer = Told::new(&format!("trace {}", child.id()));
    let answer = tracer.answer();
    if answer != "traced" {
        return skip("a_traced_child_neither_spins_nor_gives_up", &answer);
    }
    drop(child.stdin.take());
    // It has exited, for those who only look.
    let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
    assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
    // It is not there to be reaped.
    let timeout = Duration::from_millis(500);
    let (start, cpu) = (Instant::now(), cpu_time());
    assert_eq!(child.wait_timeout(timeout).unwrap(), None);
    assert!(start.elapsed() >= timeout);
    assert!(cpu_time() - cpu < timeout / 2, "it spins");
    tracer.end();
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}
