//! Tests that `wait_pid` does not allocate, and that reading output allocates only for the output.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]
#![allow(unsafe_code)]

mod common;

use common::{Grandchild, LONG, SHORT, helper, output::piped};
use procwait::{Captured, ChildExt as _, wait_pid};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

thread_local! {
    /// The allocations of this thread. The threads of the test harness allocate as well.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: `System` allocates. The counter is a thread local that needs neither an allocation nor a
// destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller guarantees what `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn assert_no_allocation<T>(case: &str, body: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = body();
    assert_eq!(ALLOCATIONS.get() - before, 0, "{case}");
    result
}

#[test]
fn allocations_are_counted() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn wait_pid_does_not_allocate() {
    let mut child = helper("wait 3");
    let pid = child.id();
    let wait = |case, timeout| assert_no_allocation(case, || wait_pid(pid, timeout).unwrap());
    assert_eq!(wait("check of a running child", Some(Duration::ZERO)), None);
    assert_eq!(wait("running child", Some(SHORT)), None);
    drop(child.stdin.take());
    assert_eq!(wait("child that exits", None).unwrap().code(), Some(3));
    assert_eq!(wait("exited child", None).unwrap().code(), Some(3));
    child.wait().unwrap();

    let mut grandchild = Grandchild::new("wait 3");
    let pid = grandchild.pid;
    let wait = |case, timeout| assert_no_allocation(case, || wait_pid(pid, timeout).unwrap());
    assert_eq!(wait("running non-child", Some(SHORT)), None);
    grandchild.end();
    let exit = wait("zombie of another parent", None).unwrap();
    let code = common::proc_shows_exit_codes("wait_pid_does_not_allocate").then_some(3);
    assert_eq!(exit.code(), code);
}

#[test]
fn output_allocates_nothing_but_the_output() {
    let mut child = piped("write 100000 3");
    let mut captured = Captured::default();
    captured.stdout.reserve(200_000);
    captured.stderr.reserve(200_000);
    let read = || child.output_timeout(&mut captured, LONG).unwrap();
    let status = assert_no_allocation("output that fits", read);
    assert_eq!(status.unwrap().code(), Some(3));
    assert_eq!(captured.stdout.len() + captured.stderr.len(), 200_000);

    let mut child = piped("count");
    let mut discarding = Captured::with_limit(0);
    while discarding.discarded() == 0 {
        let read = || child.output_timeout(&mut discarding, SHORT).unwrap();
        assert_eq!(assert_no_allocation("discarded output", read), None);
    }
    child.kill().unwrap();
}
