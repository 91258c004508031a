//! A child that somebody else traces: it exits, but is not ours before the tracer
//! lets go of it. And one that we trace ourselves: the kernel tells us each of its stops
//! as it tells an exit.

#![cfg(target_os = "linux")]

mod common;

use common::{LONG, SHORT, Told, cpu_time, exit_of, helper, skip};
use nix::{sys::ptrace, unistd::Pid};
use procwait::{Backend, Captured, ChildExt as _, Process, WaitSet, wait_all, wait_pid};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

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
    let captured = &mut Captured::default();
    assert_eq!(child.output_timeout(captured, timeout).unwrap(), None);
    assert!(start.elapsed() >= timeout * 2);
    assert!(cpu_time() - cpu < timeout, "it spins");
    tracer.end();
    let status = child.output_timeout(captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_zombie_that_somebody_else_traces_has_exited_whatever_the_timeout() {
    let test = "a_zombie_that_somebody_else_traces_has_exited_whatever_the_timeout";
    let mut child = helper("wait 7");
    let pid = child.id();
    let polled = Process::open_with(pid, Backend::Polling).unwrap();
    let mut set = WaitSet::new();
    set.insert(pid).unwrap();
    let mut tracer = Told::new(&format!("trace {pid}"));
    let answer = tracer.answer();
    if answer != "traced" {
        return skip(test, &answer);
    }
    drop(child.stdin.take());
    let code = common::codes_are_shown(test).then_some(7);
    let exit = exit_of(pid);
    assert_eq!(exit.code(), code);
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        assert_eq!(wait_pid(pid, Some(timeout)).unwrap(), Some(exit));
        let sorted = wait_all([pid], Some(timeout)).unwrap();
        assert_eq!(sorted.exited, [(pid, exit)]);
        for process in &common::held(pid) {
            assert_eq!(process.wait_timeout(timeout).unwrap(), Some(exit));
        }
    }
    // Without a timeout, while the tracer still holds it.
    assert_eq!(polled.wait().unwrap(), exit);
    assert_eq!(set.wait(None).unwrap(), Some((pid, exit)));
    tracer.end();
    assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
}

#[test]
fn a_child_that_we_trace_has_not_exited_when_it_stops() {
    let mut child = helper("trace-me 7");
    let pid = child.id();
    let processes = common::held(pid);
    let mut set = WaitSet::new();
    set.insert(pid).unwrap();
    let stat = format!("/proc/{pid}/stat");
    while !fs::read_to_string(&stat).unwrap().contains(") t ") {
        thread::yield_now();
    }
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        assert_eq!(wait_pid(pid, Some(timeout)).unwrap(), None);
        assert_eq!(wait_all([pid], Some(timeout)).unwrap().running, [pid]);
        for process in &processes {
            assert_eq!(process.wait_timeout(timeout).unwrap(), None, "{process:?}");
        }
        assert_eq!(set.wait(Some(timeout)).unwrap(), None);
        assert_eq!(child.wait_timeout(timeout).unwrap(), None);
    }
    // Untimed, polling sleeps as well.
    let polled = Process::open_with(pid, Backend::Polling).unwrap();
    let waiter = thread::spawn(move || {
        let exit = polled.wait().unwrap();
        (exit, cpu_time())
    });
    thread::sleep(Duration::from_millis(500));
    ptrace::cont(Pid::from_raw(pid as i32), None).unwrap();
    let (exit, cpu) = waiter.join().unwrap();
    assert!(cpu < Duration::from_millis(250), "it spins: {cpu:?}");
    assert_eq!(exit.code(), Some(7));
    for process in &processes {
        assert_eq!(process.wait().unwrap().code(), Some(7));
    }
    assert_eq!(set.wait(None).unwrap(), Some((pid, exit)));
    assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
}
