//! Tests with traced processes. If another process traces a child, the parent cannot reap the child
//! until the tracer has done so or has exited. If the parent traces a child, the kernel also
//! reports each stop of the child to it, as it reports an exit.

#![cfg(target_os = "linux")]

mod common;

use common::{Controller, LONG, SHORT, exit_of, helper, skip, thread_cpu_time};
use nix::{sys::ptrace, unistd::Pid};
use procwait::{Backend, Captured, ChildExt as _, Process, WaitSet, wait_all, wait_pid};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

#[test]
fn traced_child_is_retried_with_backoff() {
    let mut child = helper("wait 7");
    let mut tracer = Controller::new(&format!("trace {}", child.id()));
    let answer = tracer.answer();
    if answer != "traced" {
        return skip("traced_child_is_retried_with_backoff", &answer);
    }
    drop(child.stdin.take());
    // A wait that does not reap finds the exit.
    let exit = wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
    assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
    // The child cannot be reaped yet.
    let timeout = Duration::from_millis(500);
    let (start, cpu) = (Instant::now(), thread_cpu_time());
    assert_eq!(child.wait_timeout(timeout).unwrap(), None);
    assert!(start.elapsed() >= timeout);
    let captured = &mut Captured::default();
    assert_eq!(child.output_timeout(captured, timeout).unwrap(), None);
    assert!(start.elapsed() >= timeout * 2);
    assert!(thread_cpu_time() - cpu < timeout, "it spins");
    tracer.end();
    let status = child.output_timeout(captured, LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn traced_zombie_has_exited_whatever_the_timeout() {
    let test = "traced_zombie_has_exited_whatever_the_timeout";
    let mut child = helper("wait 7");
    let pid = child.id();
    let polled = Process::open_with(pid, Backend::Polling).unwrap();
    let mut set = WaitSet::new();
    set.insert(pid).unwrap();
    let mut tracer = Controller::new(&format!("trace {pid}"));
    let answer = tracer.answer();
    if answer != "traced" {
        return skip(test, &answer);
    }
    drop(child.stdin.take());
    let code = common::proc_shows_exit_codes(test).then_some(7);
    let exit = exit_of(pid);
    assert_eq!(exit.code(), code);
    for timeout in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        assert_eq!(wait_pid(pid, Some(timeout)).unwrap(), Some(exit));
        let all = wait_all([pid], Some(timeout)).unwrap();
        assert_eq!(all.exited, [(pid, exit)]);
        for process in &common::open_by_all(pid) {
            assert_eq!(process.wait_timeout(timeout).unwrap(), Some(exit));
        }
    }
    // A wait without a timeout also ends before the tracer has reaped the child.
    assert_eq!(polled.wait().unwrap(), exit);
    assert_eq!(set.wait(None).unwrap(), Some((pid, exit)));
    tracer.end();
    assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
}

#[test]
fn stopped_tracee_has_not_exited() {
    let mut child = helper("trace-me 7");
    let pid = child.id();
    let processes = common::open_by_all(pid);
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
    // A wait without a timeout that polls must sleep between its checks.
    let polled = Process::open_with(pid, Backend::Polling).unwrap();
    let waiter = thread::spawn(move || {
        let exit = polled.wait().unwrap();
        (exit, thread_cpu_time())
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
