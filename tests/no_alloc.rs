//! `wait_pid` does not use the heap, nor do reads of output but for the output itself.

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
    /// Of this thread, as others of the test harness allocate at will.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: the system's allocator does the work; counting touches only a thread
// local that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn assert_no_allocation<T>(what: &str, body: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let answer = body();
    assert_eq!(ALLOCATIONS.get() - before, 0, "{what}");
    answer
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

#[test]
fn wait_pid_does_not_allocate() {
    let mut child = helper("wait 3");
    let pid = child.id();
    let wait = |what, timeout| assert_no_allocation(what, || wait_pid(pid, timeout).unwrap());
    assert_eq!(wait("a look at a live child", Some(Duration::ZERO)), None);
    assert_eq!(wait("a live child", Some(SHORT)), None);
    drop(child.stdin.take());
    assert_eq!(wait("a child", None).unwrap().code(), Some(3));
    assert_eq!(wait("an exited child", None).unwrap().code(), Some(3));
    child.wait().unwrap();

    let mut grandchild = Grandchild::new("wait 3");
    let pid = grandchild.pid;
    let wait = |what, timeout| assert_no_allocation(what, || wait_pid(pid, timeout).unwrap());
    assert_eq!(wait("a live stranger", Some(SHORT)), None);
    grandchild.end();
    let exit = wait("a stranger's zombie", None).unwrap();
    let code = common::codes_are_shown("wait_pid_does_not_allocate").then_some(3);
    assert_eq!(exit.code(), code);
}

#[test]
fn output_allocates_nothing_but_the_output() {
    let mut child = piped("write 100000 3");
    let mut captured = Captured::default();
    captured.stdout.reserve(200_000);
    captured.stderr.reserve(200_000);
    let read = || child.output_timeout(&mut captured, LONG).unwrap();
    let status = assert_no_allocation("a child that writes", read);
    assert_eq!(status.unwrap().code(), Some(3));
    assert_eq!(captured.stdout.len() + captured.stderr.len(), 200_000);

    let mut child = piped("count");
    let mut nothing = Captured::with_limit(0);
    while nothing.discarded() == 0 {
        let read = || child.output_timeout(&mut nothing, SHORT).unwrap();
        assert_eq!(assert_no_allocation("what is discarded", read), None);
    }
    child.kill().unwrap();
}
