//! Tests that await a set on async runtimes.

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;

use async_io::Timer;
use common::{Helper, SHORT, exit_of, helper, open_by_all};
use futures_lite::future::{or, poll_once, yield_now};
use procwait::{Backend, Exit, Process, WaitSet};
use runtimes::{ALL, AsyncRuntime, tokio_current_thread, tokio_multi_thread, with_time_limit};
use std::{collections::HashMap, mem, thread, time::Duration};

/// A set of helpers that exit with their index as exit code when their standard input is closed.
/// Each third one is polled.
fn set_of(helpers: &[Helper]) -> WaitSet {
    let mut set = WaitSet::new();
    for (index, helper) in helpers.iter().enumerate() {
        let processes = open_by_all(helper.id());
        assert!(
            set.insert_process(&processes[usize::from(index % 3 == 2)])
                .unwrap()
        );
    }
    set
}

fn helpers(count: usize) -> Vec<Helper> {
    (0..count)
        .map(|index| helper(&format!("wait {}", index % 200)))
        .collect()
}

/// The status of a polled process is unknown on Windows.
#[track_caller]
fn assert_code_or_unknown(exit: Exit, code: i32) {
    let is_unknown = cfg!(windows) && exit.status().is_none();
    assert!(is_unknown || exit.code() == Some(code), "{exit:?}");
}

/// Polls the future, although nothing may have woken it, and asserts that it is pending.
async fn assert_pending(runtime: AsyncRuntime, set: &mut WaitSet) {
    if let Some(result) = poll_once(runtime.wait_in_set(set)).await {
        panic!("too early: {result:?}");
    }
}

#[test]
fn futures_are_send() {
    fn check(_: impl Future + Send) {}
    let mut set = WaitSet::new();
    check(set.wait_on_tokio());
    check(set.wait_on_async_io());
}

#[test]
fn each_exit_is_awaited_once() {
    for runtime in ALL {
        let mut helpers = helpers(9);
        let mut set = set_of(&helpers);
        runtime.block_on(async {
            for (index, helper) in helpers.iter_mut().enumerate() {
                assert_pending(runtime, &mut set).await;
                let mut wait = runtime.wait_in_set(&mut set);
                assert!(poll_once(&mut wait).await.is_none());
                drop(helper.stdin.take());
                let (pid, exit) = wait.await.unwrap().unwrap();
                assert_eq!(pid, helper.id());
                assert_code_or_unknown(exit, index as i32);
            }
            assert_eq!(
                runtime.wait_in_set(&mut set).await.unwrap(),
                None,
                "it is empty"
            );
        });
    }
}

#[test]
fn exit_before_the_first_poll_is_found_by_it() {
    for runtime in ALL {
        let mut helpers = helpers(3);
        let mut set = WaitSet::new();
        for helper in &mut helpers {
            set.insert(helper.id()).unwrap();
            drop(helper.stdin.take());
            exit_of(helper.id());
        }
        runtime.block_on(async {
            for _ in 0..3 {
                let found = poll_once(runtime.wait_in_set(&mut set)).await;
                assert!(found.expect("it has exited").unwrap().is_some());
            }
        });
    }
}

/// As with `select!` in a loop: each future is dropped after some polls, in each state.
#[test]
fn no_exit_is_lost_with_a_dropped_future() {
    for (runtime, count) in ALL.into_iter().zip([200, 30, 30, 30]) {
        // Wine starts processes slowly.
        let count = if cfg!(windows) { 30 } else { count };
        let mut helpers = helpers(count);
        let mut set = set_of(&helpers);
        let ends: Vec<_> = helpers
            .iter_mut()
            .map(|helper| helper.stdin.take())
            .collect();
        let ender = thread::spawn(|| {
            for end in ends {
                drop(end);
                thread::yield_now();
            }
        });
        let mut exits = HashMap::new();
        runtime.block_on(async {
            for polls in (0..5).cycle() {
                let mut wait = runtime.wait_in_set(&mut set);
                let mut found = None;
                for _ in 0..polls {
                    found = found.or(poll_once(&mut wait).await);
                    if found.is_some() {
                        break;
                    }
                    yield_now().await;
                }
                let limited = async {
                    Timer::after(Duration::from_micros(100 * polls)).await;
                    None
                };
                if found.is_none() {
                    found = or(async { Some(wait.await) }, limited).await;
                }
                match found.transpose().unwrap() {
                    Some(Some((pid, exit))) => {
                        assert_eq!(exits.insert(pid, exit), None, "reported once");
                    }
                    Some(None) => break,
                    None => {}
                }
            }
        });
        ender.join().unwrap();
        assert!(set.is_empty());
        for (index, helper) in helpers.iter().enumerate() {
            assert_code_or_unknown(exits[&helper.id()], index as i32 % 200);
        }
        assert_eq!(exits.len(), count);
    }
}

#[test]
fn wake_completes_an_awaiting_method() {
    for runtime in ALL {
        for count in [0, 1, 3] {
            let mut helpers = helpers(count);
            let mut set = set_of(&helpers);
            let waker = set.waker();
            runtime.block_on(async {
                for _ in 0..20 {
                    assert_pending(runtime, &mut set).await;
                    waker.wake();
                    waker.wake();
                    let woken = poll_once(runtime.wait_in_set(&mut set)).await;
                    assert_eq!(woken.expect("it is woken").unwrap(), None);
                    assert_pending(runtime, &mut set).await;

                    let waker = waker.clone();
                    let mut wait = runtime.wait_in_set(&mut set);
                    assert!(poll_once(&mut wait).await.is_none());
                    let thread = thread::spawn(move || waker.wake());
                    assert_eq!(wait.await.unwrap(), None);
                    thread.join().unwrap();
                }
                if let Some(helper) = helpers.first_mut() {
                    let process = Process::open(helper.id()).unwrap();
                    drop(helper.stdin.take());
                    exit_of(helper.id());
                    waker.wake();
                    let mut found = [None; 2];
                    for found in &mut found {
                        *found = runtime.wait_in_set(&mut set).await.unwrap();
                    }
                    // An exit before the wake comes first, unless finding it would take more than the
                    // share of the time that polling may take.
                    if process.backend() == Backend::Polling && found[0].is_none() {
                        found.reverse();
                    }
                    assert_eq!(found[0].map(|(pid, _)| pid), Some(helper.id()));
                    assert_eq!(found[1], None);
                }
                let thread = thread::spawn(|| drop(waker));
                assert_eq!(runtime.wait_in_set(&mut set).await.unwrap(), None);
                thread.join().unwrap();
            });
        }
    }
}

#[test]
fn leaked_future_loses_nothing() {
    for runtime in ALL {
        let mut helpers = helpers(3);
        let mut set = set_of(&helpers);
        let waker = set.waker();
        runtime.block_on(async {
            for helper in &mut helpers {
                let mut wait = runtime.wait_in_set(&mut set);
                assert!(poll_once(&mut wait).await.is_none());
                mem::forget(wait);
                drop(helper.stdin.take());
                let (pid, _) = runtime.wait_in_set(&mut set).await.unwrap().unwrap();
                assert_eq!(pid, helper.id());
                let mut wait = runtime.wait_in_set(&mut set);
                assert!(poll_once(&mut wait).await.is_none());
                mem::forget(wait);
                waker.wake();
                assert_eq!(runtime.wait_in_set(&mut set).await.unwrap(), None);
            }
        });
        drop(set);
    }
}

#[test]
fn wait_moves_between_runtimes() {
    for drops_first in [false, true] {
        let mut helpers = helpers(3);
        let mut set = set_of(&helpers);
        let mut first = Some(tokio_current_thread());
        let second = tokio_multi_thread();
        let mut wait = AsyncRuntime::TokioCurrentThread.wait_in_set(&mut set);
        let is_pending = first
            .as_ref()
            .unwrap()
            .block_on(poll_once(&mut wait))
            .is_none();
        assert!(is_pending);
        if drops_first {
            first = None;
        }
        let (pid, _) = second
            .block_on(with_time_limit(async {
                assert!(poll_once(&mut wait).await.is_none());
                drop(helpers[0].stdin.take());
                wait.await.unwrap()
            }))
            .unwrap();
        assert_eq!(pid, helpers[0].id());
        let rest = AsyncRuntime::AsyncIo.block_on(async {
            drop(helpers[1].stdin.take());
            set.wait_on_async_io().await.unwrap().unwrap()
        });
        assert_eq!(rest.0, helpers[1].id());
        // And without a runtime.
        drop(helpers[2].stdin.take());
        assert_eq!(set.wait(None).unwrap().unwrap().0, helpers[2].id());
        drop(first);
    }
}

/// The set moves into a task, which gets processes through a channel.
#[test]
fn task_supervises_a_changing_set() {
    for runtime in [
        AsyncRuntime::TokioCurrentThread,
        AsyncRuntime::TokioMultiThread,
    ] {
        runtime.block_on(async {
            let mut set = WaitSet::new();
            let waker = set.waker();
            let (sender, receiver) = std::sync::mpsc::channel::<Process>();
            let supervisor = tokio::spawn(async move {
                let mut codes = Vec::new();
                while codes.len() < 20 {
                    if let Some((_, exit)) = set.wait_on_tokio().await.unwrap() {
                        codes.extend(exit.code());
                    }
                    for process in receiver.try_iter() {
                        set.insert_process(&process).unwrap();
                    }
                }
                codes.sort_unstable();
                codes
            });
            let mut zombies = Vec::new();
            for code in 0..20 {
                let mut child = helper(&format!("wait {code}"));
                sender.send(Process::open(child.id()).unwrap()).unwrap();
                waker.wake();
                yield_now().await;
                drop(child.stdin.take());
                zombies.push(child);
            }
            assert_eq!(supervisor.await.unwrap(), (0..20).collect::<Vec<i32>>());
        });
    }
}

#[test]
fn timeout_around_an_awaited_set_passes() {
    for runtime in [
        AsyncRuntime::TokioCurrentThread,
        AsyncRuntime::TokioMultiThread,
    ] {
        let helpers = helpers(3);
        let mut set = set_of(&helpers);
        let result =
            runtime.block_on(async { tokio::time::timeout(SHORT, set.wait_on_tokio()).await });
        assert!(result.is_err());
        assert_eq!(set.len(), 3);
    }
}
