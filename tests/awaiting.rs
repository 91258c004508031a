//! Tests that await processes on async runtimes.

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;

use async_io::Timer;
use common::{Grandchild, Helper, assert_code, exit_of, helper, open_by_all};
use futures_lite::future::{or, poll_once, yield_now, zip};
use procwait::{Backend, Process, wait_pid};
use runtimes::{
    ALL, AsyncRuntime, Wait, tokio_current_thread, tokio_multi_thread, tokio_with_paused_clock,
    with_time_limit,
};
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// Runs the test on each runtime, for a process opened with each backend.
fn for_each_runtime_and_backend(command: &str, test: impl Fn(AsyncRuntime, &mut Helper, &Process)) {
    for runtime in ALL {
        for index in 0..2 {
            let mut child = helper(command);
            let process = open_by_all(child.id()).swap_remove(index);
            test(runtime, &mut child, &process);
        }
    }
}

/// Polls the future, although nothing may have woken it, and asserts that it is pending.
async fn assert_pending(wait: &mut Wait<'_>) {
    if let Some(exit) = poll_once(wait).await {
        panic!("too early: {exit:?}");
    }
}

#[test]
fn wait_completes_with_the_exit() {
    for_each_runtime_and_backend("wait 7", |runtime, child, process| {
        let exit = runtime.block_on(async {
            let mut wait = runtime.wait(process);
            assert_pending(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        });
        assert_code(process, exit, 7);
        assert_eq!(process.try_wait().unwrap(), Some(exit));
    });
}

/// Several `Process`es for the same pid: some to await, and as many to wait for with a blocking
/// call.
struct AwaitedAndBlocking {
    awaited: Vec<Process>,
    blocking: Vec<Process>,
}

impl AwaitedAndBlocking {
    fn open(pid: u32) -> AwaitedAndBlocking {
        let [awaited, blocking] = [open_by_all(pid), open_by_all(pid)];
        AwaitedAndBlocking { awaited, blocking }
    }

    #[track_caller]
    fn assert_same(&self, runtime: AsyncRuntime) {
        for (awaited, blocking) in self.awaited.iter().zip(&self.blocking) {
            let exit = runtime.block_on(runtime.wait(awaited)).unwrap();
            assert_eq!(exit, blocking.wait().unwrap(), "{runtime:?}, {awaited:?}");
        }
    }
}

#[test]
fn status_equals_that_of_a_blocking_wait() {
    for runtime in ALL {
        let mut child = helper("wait 7");
        let pid = child.id();
        let [running, reaped] = [(); 2].map(|()| AwaitedAndBlocking::open(pid));
        drop(child.stdin.take());
        running.assert_same(runtime);
        exit_of(pid);
        AwaitedAndBlocking::open(pid).assert_same(runtime);
        child.wait().unwrap();
        reaped.assert_same(runtime);

        let mut non_child = Grandchild::new("wait 8");
        let pid = non_child.pid;
        let [running, reaped] = [(); 2].map(|()| AwaitedAndBlocking::open(pid));
        non_child.end();
        running.assert_same(runtime);
        exit_of(pid);
        AwaitedAndBlocking::open(pid).assert_same(runtime);
        non_child.reap();
        reaped.assert_same(runtime);

        let mut killed = helper("ignore-stdin");
        let processes = AwaitedAndBlocking::open(killed.id());
        killed.kill().unwrap();
        processes.assert_same(runtime);
    }
}

/// This needs no runtime, because there is nothing to wait for.
#[test]
fn ready_at_the_first_poll_after_the_exit() {
    for_each_runtime_and_backend("wait 7", |runtime, child, process| {
        drop(child.stdin.take());
        exit_of(child.id());
        let mut context = Context::from_waker(Waker::noop());
        match runtime.wait(process).as_mut().poll(&mut context) {
            Poll::Ready(exit) => assert_code(process, exit.unwrap(), 7),
            Poll::Pending => panic!("{runtime:?}, {process:?}"),
        }
    });
}

#[test]
fn wait_completes_after_cancellation_at_each_poll() {
    for_each_runtime_and_backend("wait 7", |runtime, child, process| {
        runtime.block_on(async {
            for polls in 0..8 {
                let mut wait = runtime.wait(process);
                for _ in 0..polls {
                    assert_pending(&mut wait).await;
                    yield_now().await;
                }
            }
            // This wait is dropped after the exit, with the event still pending.
            let mut wait = runtime.wait(process);
            assert_pending(&mut wait).await;
            drop(child.stdin.take());
            exit_of(child.id());
            drop(wait);
            assert_code(process, runtime.wait(process).await.unwrap(), 7);
        });
    });
}

#[test]
fn tasks_and_threads_wait_for_one_process() {
    for_each_runtime_and_backend("ignore-stdin", |runtime, _, process| {
        let (awaited, blocking) = thread::scope(|scope| {
            let thread = scope.spawn(|| process.wait().unwrap());
            let awaited = runtime.block_on(async {
                let mut waits = [(); 4].map(|()| runtime.wait(process));
                for wait in &mut waits {
                    assert_pending(wait).await;
                }
                process.kill().unwrap();
                let mut exits = Vec::new();
                for wait in waits {
                    exits.push(wait.await.unwrap());
                }
                exits
            });
            (awaited, thread.join().unwrap())
        });
        assert_eq!(awaited, [blocking; 4]);
    });
}

#[test]
fn on_both_runtimes_at_once() {
    for_each_runtime_and_backend("wait 7", |runtime, child, process| {
        runtime.block_on(async {
            let tokio = tokio_multi_thread();
            let _entered = tokio.enter();
            let mut waits = [AsyncRuntime::AsyncIo, AsyncRuntime::TokioMultiThread]
                .map(|runtime| runtime.wait(process));
            for wait in &mut waits {
                assert_pending(wait).await;
            }
            drop(child.stdin.take());
            let [first, second] = waits;
            let (first, second) = zip(first, second).await;
            assert_code(process, first.unwrap(), 7);
            assert_code(process, second.unwrap(), 7);
            mem::forget(tokio); // A runtime must not be dropped in an async context.
        });
    });
}

struct ChannelWaker(mpsc::Sender<()>);

impl Wake for ChannelWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[test]
fn wait_moved_between_tasks_wakes_the_last() {
    let tokio = tokio_multi_thread();
    let _entered = tokio.enter();
    for_each_runtime_and_backend("wait 7", |runtime, child, process| {
        let (wakers, wakeups): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let (sender, receiver) = mpsc::channel();
                (Waker::from(Arc::new(ChannelWaker(sender))), receiver)
            })
            .unzip();
        let mut wait = runtime.wait(process);
        for waker in &wakers {
            let polled = wait.as_mut().poll(&mut Context::from_waker(waker));
            assert!(polled.is_pending());
        }
        drop(child.stdin.take());
        let exit = loop {
            wakeups[1].recv_timeout(common::LONG).expect("is woken");
            let mut context = Context::from_waker(&wakers[1]);
            if let Poll::Ready(exit) = wait.as_mut().poll(&mut context) {
                break exit.unwrap();
            }
        };
        assert_code(process, exit, 7);
        // The timer of a polled process may have fired before the wait moved.
        if process.backend() != Backend::Polling {
            assert!(wakeups[0].try_recv().is_err(), "{runtime:?}");
        }
    });
}

/// The descriptor of the next process may get the number of the one that was closed.
#[test]
fn leaked_future_does_no_harm() {
    common::in_subprocess(|| {
        for runtime in ALL {
            let mut leaked = helper("wait 7");
            let mut child = helper("wait 8");
            runtime.block_on(async {
                let process = Process::open(leaked.id()).unwrap();
                let closed_fd = raw_fd(&process);
                let mut wait = runtime.wait(&process);
                assert_pending(&mut wait).await;
                mem::forget(wait);
                drop(process);

                let process = Process::open(child.id()).unwrap();
                assert_eq!(raw_fd(&process), closed_fd);
                let mut wait = runtime.wait(&process);
                assert_pending(&mut wait).await;
                drop(leaked.stdin.take());
                exit_of(leaked.id());
                for _ in 0..3 {
                    yield_now().await;
                    assert_pending(&mut wait).await;
                }
                drop(child.stdin.take());
                assert_code(&process, wait.await.unwrap(), 8);
            });
        }
    });
}

/// The number of the process's descriptor, if it has one.
fn raw_fd(process: &Process) -> Option<i32> {
    #[cfg(unix)]
    return std::os::fd::AsRawFd::as_raw_fd(&process.as_event_fd()?).into();
    #[cfg(windows)]
    return process.as_event_handle().and(None);
}

#[test]
fn many_tasks_on_one_tokio_thread() {
    let mut helpers: Vec<_> = (0..50)
        .map(|code| helper(&format!("wait {code}")))
        .collect();
    let processes: Vec<_> = (helpers.iter())
        .map(|helper| Process::open(helper.id()).unwrap())
        .collect();
    AsyncRuntime::TokioCurrentThread.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (code, process) in processes.into_iter().enumerate() {
            tasks.spawn(async move { (code, process.wait_on_tokio().await.unwrap(), process) });
        }
        for (code, helper) in helpers.iter_mut().enumerate().rev() {
            drop(helper.stdin.take());
            let (expected, exit, process) = tasks.join_next().await.unwrap().unwrap();
            assert_eq!(code, expected);
            assert_code(&process, exit, code as i32);
        }
    });
}

#[test]
fn runtime_is_dropped_while_a_task_waits() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = Arc::new(open_by_all(child.id()).swap_remove(index));
        for runtime in [tokio_current_thread(), tokio_multi_thread()] {
            let (sender, receiver) = mpsc::channel::<()>();
            let task = runtime.spawn({
                let process = process.clone();
                async move {
                    let _dropped_with_the_task = sender;
                    process.wait_on_tokio().await
                }
            });
            runtime.block_on(yield_now());
            drop(runtime);
            receiver.recv().unwrap_err();
            assert!(task.is_finished());
        }
        drop(child.stdin.take());
        let exit = AsyncRuntime::TokioCurrentThread.block_on(process.wait_on_tokio());
        assert_code(&process, exit.unwrap(), 7);
    }
}

/// The pairs of runtimes between which a future moves.
const MOVES: [fn() -> [Runtime; 2]; 3] = [
    || [tokio_current_thread(), tokio_current_thread()],
    || [tokio_multi_thread(), tokio_current_thread()],
    || [tokio_current_thread(), tokio_multi_thread()],
];

/// Runs the test for each pair of runtimes, and for a process opened with each backend.
fn for_each_move(test: impl Fn([Runtime; 2], &mut Helper, &Process)) {
    for runtimes in MOVES {
        for index in 0..2 {
            let mut child = helper("wait 7");
            let process = open_by_all(child.id()).swap_remove(index);
            test(runtimes(), &mut child, &process);
        }
    }
}

#[test]
fn wait_completes_in_another_runtime_while_the_first_is_idle() {
    for_each_move(|[first, second], child, process| {
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        first.block_on(assert_pending(&mut wait));
        let exit = second.block_on(with_time_limit(async {
            assert_pending(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(process, exit, 7);
        // Drop the second runtime, which has the registration, before the first one.
        drop([second, first]);
    });
}

#[test]
fn wait_completes_in_another_runtime_after_an_exit_in_between() {
    for_each_move(|[first, second], child, process| {
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        first.block_on(assert_pending(&mut wait));
        drop(child.stdin.take());
        exit_of(child.id());
        let exit = second.block_on(with_time_limit(wait)).unwrap();
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_completes_in_another_runtime_after_the_first_was_dropped() {
    for_each_move(|[first, second], child, process| {
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        first.block_on(assert_pending(&mut wait));
        drop(first);
        let exit = second.block_on(with_time_limit(async {
            assert_pending(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_completes_back_in_its_first_runtime_after_the_second_was_dropped() {
    for_each_move(|[first, second], child, process| {
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        first.block_on(assert_pending(&mut wait));
        second.block_on(assert_pending(&mut wait));
        drop(second);
        let exit = first.block_on(with_time_limit(async {
            assert_pending(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_is_dropped_outside_of_its_runtime() {
    for_each_move(|[first, second], child, process| {
        let mut waits = [(); 2].map(|()| AsyncRuntime::TokioCurrentThread.wait(process));
        for wait in &mut waits {
            first.block_on(assert_pending(wait));
        }
        let [before, after] = waits;
        second.block_on(async { drop(before) });
        drop(first);
        second.block_on(async { drop(after) });
        drop(child.stdin.take());
        let exit = second
            .block_on(with_time_limit(process.wait_on_tokio()))
            .unwrap();
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_continues_outside_of_a_runtime_on_the_last_one() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = open_by_all(child.id()).swap_remove(index);
        let runtime = tokio_multi_thread();
        let mut wait = AsyncRuntime::TokioMultiThread.wait(&process);
        runtime.block_on(assert_pending(&mut wait));
        let exit = AsyncRuntime::AsyncIoOtherExecutor.block_on(async {
            // A polled process is checked several times in this time.
            for _ in 0..10 {
                Timer::after(Duration::from_millis(2)).await;
                assert_pending(&mut wait).await;
            }
            drop(child.stdin.take());
            wait.await.unwrap()
        });
        assert_code(&process, exit, 7);
    }
}

#[test]
fn wait_on_async_io_moves_between_executors() {
    for executors in [
        [AsyncRuntime::AsyncIo, AsyncRuntime::AsyncIoOtherExecutor],
        [AsyncRuntime::AsyncIoOtherExecutor, AsyncRuntime::AsyncIo],
    ] {
        for index in 0..2 {
            let mut child = helper("wait 7");
            let process = open_by_all(child.id()).swap_remove(index);
            let mut wait = AsyncRuntime::AsyncIo.wait(&process);
            let [first, second] = executors;
            first.block_on(assert_pending(&mut wait));
            let exit = second.block_on(async {
                drop(child.stdin.take());
                wait.await.unwrap()
            });
            assert_code(&process, exit, 7);
        }
    }
}

/// Runs the test while tokio's clock is paused, for a process opened with each backend.
fn with_paused_clock(test: impl AsyncFn(&mut Helper, &Process)) {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = open_by_all(child.id()).swap_remove(index);
        tokio_with_paused_clock().block_on(with_time_limit(test(&mut child, &process)));
    }
}

/// Polls the future for long enough that a polled process is checked several times.
async fn poll_for_a_while(wait: &mut Wait<'_>) {
    let a_while = async {
        Timer::after(Duration::from_millis(100)).await;
    };
    let early = async { panic!("too early: {:?}", wait.await) };
    or(a_while, early).await;
}

#[test]
fn wait_does_not_advance_a_paused_clock() {
    with_paused_clock(async |child, process| {
        let start = tokio::time::Instant::now();
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        poll_for_a_while(&mut wait).await;
        drop(child.stdin.take());
        assert_code(process, wait.await.unwrap(), 7);
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn wait_does_not_keep_a_paused_clock_from_advancing() {
    with_paused_clock(async |_, process| {
        // The paused clock advances by an hour as soon as all tasks wait.
        let an_hour = Duration::from_secs(3_600);
        let wait = tokio::time::timeout(an_hour, process.wait_on_tokio());
        wait.await.unwrap_err();
    });
}

/// While a blocking task runs, tokio does not advance the paused clock, so no timer fires.
#[test]
fn wait_completes_while_a_blocking_task_stops_the_paused_clock() {
    with_paused_clock(async |child, process| {
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        let (sender, receiver) = mpsc::channel::<()>();
        let blocking = tokio::task::spawn_blocking(move || receiver.recv());
        poll_for_a_while(&mut wait).await;
        drop(child.stdin.take());
        assert_code(process, wait.await.unwrap(), 7);
        drop(sender);
        blocking.await.unwrap().unwrap_err();
    });
}

#[test]
fn wait_completes_if_the_clock_is_paused_and_resumed_meanwhile() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = open_by_all(child.id()).swap_remove(index);
        AsyncRuntime::TokioCurrentThread.block_on(async {
            let mut wait = AsyncRuntime::TokioCurrentThread.wait(&process);
            poll_for_a_while(&mut wait).await;
            tokio::time::pause();
            poll_for_a_while(&mut wait).await;
            tokio::time::advance(Duration::from_secs(3_600)).await;
            poll_for_a_while(&mut wait).await;
            tokio::time::resume();
            poll_for_a_while(&mut wait).await;
            drop(child.stdin.take());
            assert_code(&process, wait.await.unwrap(), 7);
        });
    }
}

#[test]
fn wait_that_moves_between_tasks_under_a_paused_clock_wakes_the_last() {
    with_paused_clock(async |child, process| {
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(process);
        for _ in 0..20 {
            let mut other = AsyncRuntime::TokioCurrentThread.wait(process);
            let waker = Waker::from(Arc::new(ChannelWaker(mpsc::channel().0)));
            let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            assert_pending(&mut other).await;
            assert_pending(&mut wait).await;
            Timer::after(Duration::from_millis(1)).await;
        }
        drop(child.stdin.take());
        assert_code(process, wait.await.unwrap(), 7);
    });
}

#[test]
fn dropped_wait_does_not_delay_the_shutdown_of_a_runtime_with_paused_clock() {
    let mut child = helper("wait 7");
    let process = Arc::new(Process::open_with(child.id(), Backend::Polling).unwrap());
    let runtime = tokio_with_paused_clock();
    let task = runtime.spawn({
        let process = process.clone();
        async move { process.wait_on_tokio().await }
    });
    // By then, the backoff of the polling has grown.
    runtime.block_on(with_time_limit(Timer::after(Duration::from_millis(200))));
    let start = Instant::now();
    drop(runtime);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(task.is_finished());
    drop(child.stdin.take());
}

#[test]
fn tokio_without_drivers_panics() {
    let child = helper("wait 7");
    let processes = open_by_all(child.id());
    let bare = Builder::new_current_thread().build().unwrap();
    for process in &processes {
        let poll = || {
            let mut context = Context::from_waker(Waker::noop());
            let mut wait = Box::pin(process.wait_on_tokio());
            wait.as_mut().poll(&mut context).is_pending()
        };
        let outside = catch_unwind(AssertUnwindSafe(poll));
        let inside = catch_unwind(AssertUnwindSafe(|| bare.block_on(async { poll() })));
        for polled in [outside, inside] {
            match process.backend() {
                // A handle is awaited by the thread pool of Windows, not by tokio's drivers.
                Backend::Handle => assert!(polled.unwrap()),
                _ => {
                    let panic = polled.unwrap_err();
                    let text = (panic.downcast_ref::<String>().cloned())
                        .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
                    let text = text.unwrap();
                    assert!(text.contains("Tokio 1.x"), "{text}");
                }
            }
        }
        // The process can still be waited for.
        assert_eq!(process.try_wait().unwrap(), None);
    }
}

/// Futures are polled once and dropped again and again, until the exit.
#[test]
fn dropped_while_the_process_exits() {
    for_each_runtime_and_backend("wait 7", |runtime, child, process| {
        thread::scope(|scope| {
            scope.spawn(|| {
                drop(child.stdin.take());
                wait_pid(child.id(), None).unwrap();
            });
            runtime.block_on(async {
                while poll_once(runtime.wait(process)).await.is_none() {
                    yield_now().await;
                }
            });
        });
        let exit = process.wait().unwrap();
        assert_code(process, exit, 7);
    });
}
