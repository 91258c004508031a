//! Processes awaited on async runtimes.

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;

use async_io::Timer;
use common::{Grandchild, Helper, assert_code, exit_of, held, helper};
use futures_lite::future::{or, poll_once, yield_now, zip};
use procwait::{Backend, Process, wait_pid};
use runtimes::{
    ALL, On, Wait, in_time, tokio_of_many_threads, tokio_of_one_thread, tokio_with_paused_clock,
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

/// On each runtime, for a process held in each way.
fn everywhere(command: &str, test: impl Fn(On, &mut Helper, &Process)) {
    for on in ALL {
        for index in 0..2 {
            let mut child = helper(command);
            let process = held(child.id()).swap_remove(index);
            test(on, &mut child, &process);
        }
    }
}

/// Polls it, whether or not it was woken.
async fn poll_in_vain(wait: &mut Wait<'_>) {
    if let Some(exit) = poll_once(wait).await {
        panic!("too early: {exit:?}");
    }
}

#[test]
fn it_is_awaited_until_it_exits() {
    everywhere("wait 7", |on, child, process| {
        let exit = on.block_on(async {
            let mut wait = on.wait(process);
            poll_in_vain(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        });
        assert_code(process, exit, 7);
        assert_eq!(process.try_wait().unwrap(), Some(exit));
    });
}

/// Awaited, and waited for by a thread that blocks, each by a `Process` of its own.
struct Both {
    awaited: Vec<Process>,
    blocking: Vec<Process>,
}

impl Both {
    fn of(pid: u32) -> Both {
        let [awaited, blocking] = [held(pid), held(pid)];
        Both { awaited, blocking }
    }

    #[track_caller]
    fn assert_same(&self, on: On) {
        for (awaited, blocking) in self.awaited.iter().zip(&self.blocking) {
            let exit = on.block_on(on.wait(awaited)).unwrap();
            assert_eq!(exit, blocking.wait().unwrap(), "{on:?}, {awaited:?}");
        }
    }
}

#[test]
fn the_status_is_the_same_as_of_a_blocking_wait() {
    for on in ALL {
        let mut child = helper("wait 7");
        let pid = child.id();
        let [running, reaped] = [Both::of(pid), Both::of(pid)];
        drop(child.stdin.take());
        running.assert_same(on);
        exit_of(pid);
        Both::of(pid).assert_same(on);
        child.wait().unwrap();
        reaped.assert_same(on);

        let mut stranger = Grandchild::new("wait 8");
        let pid = stranger.pid;
        let [running, reaped] = [Both::of(pid), Both::of(pid)];
        stranger.end();
        running.assert_same(on);
        exit_of(pid);
        Both::of(pid).assert_same(on);
        stranger.reap();
        reaped.assert_same(on);

        let mut killed = helper("ignore-stdin");
        let both = Both::of(killed.id());
        killed.kill().unwrap();
        both.assert_same(on);
    }
}

/// And without a runtime, as there is nothing to wait for.
#[test]
fn ready_at_the_first_poll_if_it_had_exited() {
    everywhere("wait 7", |on, child, process| {
        drop(child.stdin.take());
        exit_of(child.id());
        let mut context = Context::from_waker(Waker::noop());
        match on.wait(process).as_mut().poll(&mut context) {
            Poll::Ready(exit) => assert_code(process, exit.unwrap(), 7),
            Poll::Pending => panic!("{on:?}, {process:?}"),
        }
    });
}

#[test]
fn cancelled_at_each_poll_and_then_completed() {
    everywhere("wait 7", |on, child, process| {
        on.block_on(async {
            for polls in 0..8 {
                let mut wait = on.wait(process);
                for _ in 0..polls {
                    poll_in_vain(&mut wait).await;
                    yield_now().await;
                }
            }
            // One that is given up while the news are on their way to it.
            let mut wait = on.wait(process);
            poll_in_vain(&mut wait).await;
            drop(child.stdin.take());
            exit_of(child.id());
            drop(wait);
            assert_code(process, on.wait(process).await.unwrap(), 7);
        });
    });
}

#[test]
fn any_number_of_tasks_and_threads_wait_for_one_process() {
    everywhere("ignore-stdin", |on, _, process| {
        let (awaited, blocking) = thread::scope(|scope| {
            let thread = scope.spawn(|| process.wait().unwrap());
            let awaited = on.block_on(async {
                let mut waits = [(); 4].map(|()| on.wait(process));
                for wait in &mut waits {
                    poll_in_vain(wait).await;
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
    everywhere("wait 7", |on, child, process| {
        on.block_on(async {
            let tokio = tokio_of_many_threads();
            let _entered = tokio.enter();
            let mut waits = [On::AsyncIo, On::TokioOfManyThreads].map(|on| on.wait(process));
            for wait in &mut waits {
                poll_in_vain(wait).await;
            }
            drop(child.stdin.take());
            let [one, other] = waits;
            let (one, other) = zip(one, other).await;
            assert_code(process, one.unwrap(), 7);
            assert_code(process, other.unwrap(), 7);
            mem::forget(tokio);
        });
    });
}

struct Tells(mpsc::Sender<()>);

impl Wake for Tells {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[test]
fn moved_between_tasks_it_wakes_the_latest() {
    let tokio = tokio_of_many_threads();
    let _entered = tokio.enter();
    everywhere("wait 7", |on, child, process| {
        let (wakers, news): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let (sender, receiver) = mpsc::channel();
                (Waker::from(Arc::new(Tells(sender))), receiver)
            })
            .unzip();
        let mut wait = on.wait(process);
        for waker in &wakers {
            let polled = wait.as_mut().poll(&mut Context::from_waker(waker));
            assert!(polled.is_pending());
        }
        drop(child.stdin.take());
        let exit = loop {
            news[1].recv_timeout(common::LONG).expect("is woken");
            let mut context = Context::from_waker(&wakers[1]);
            if let Poll::Ready(exit) = wait.as_mut().poll(&mut context) {
                break exit.unwrap();
            }
        };
        assert_code(process, exit, 7);
        // A timer may have gone off before it was moved.
        if process.backend() != Backend::Polling {
            assert!(news[0].try_recv().is_err(), "{on:?}");
        }
    });
}

/// The next process may get the same number for its descriptor or handle.
#[test]
fn a_forgotten_future_harms_nobody() {
    common::alone(|| {
        for on in ALL {
            let mut forgotten = helper("wait 7");
            let mut child = helper("wait 8");
            on.block_on(async {
                let process = Process::open(forgotten.id()).unwrap();
                let former = number(&process);
                let mut wait = on.wait(&process);
                poll_in_vain(&mut wait).await;
                mem::forget(wait);
                drop(process);

                let process = Process::open(child.id()).unwrap();
                assert_eq!(number(&process), former);
                let mut wait = on.wait(&process);
                poll_in_vain(&mut wait).await;
                drop(forgotten.stdin.take());
                exit_of(forgotten.id());
                for _ in 0..3 {
                    yield_now().await;
                    poll_in_vain(&mut wait).await;
                }
                drop(child.stdin.take());
                assert_code(&process, wait.await.unwrap(), 8);
            });
        }
    });
}

/// Of its descriptor, if it has one.
fn number(process: &Process) -> Option<i32> {
    #[cfg(unix)]
    return std::os::fd::AsRawFd::as_raw_fd(&process.as_event_fd()?).into();
    #[cfg(windows)]
    return process.as_event_handle().and(None);
}

#[test]
fn many_on_one_thread_of_tokios() {
    let mut helpers: Vec<_> = (0..50)
        .map(|code| helper(&format!("wait {code}")))
        .collect();
    let processes: Vec<_> = (helpers.iter())
        .map(|helper| Process::open(helper.id()).unwrap())
        .collect();
    On::TokioOfOneThread.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (code, process) in processes.into_iter().enumerate() {
            tasks.spawn(async move { (code, process.wait_on_tokio().await.unwrap(), process) });
        }
        for (code, helper) in helpers.iter_mut().enumerate().rev() {
            drop(helper.stdin.take());
            let (of, exit, process) = tasks.join_next().await.unwrap().unwrap();
            assert_eq!(of, code);
            assert_code(&process, exit, code as i32);
        }
    });
}

#[test]
fn the_runtime_is_dropped_while_a_task_waits() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = Arc::new(held(child.id()).swap_remove(index));
        for runtime in [tokio_of_one_thread(), tokio_of_many_threads()] {
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
        let exit = On::TokioOfOneThread.block_on(process.wait_on_tokio());
        assert_code(&process, exit.unwrap(), 7);
    }
}

/// The runtimes between which a future moves.
const MOVES: [fn() -> [Runtime; 2]; 3] = [
    || [tokio_of_one_thread(), tokio_of_one_thread()],
    || [tokio_of_many_threads(), tokio_of_one_thread()],
    || [tokio_of_one_thread(), tokio_of_many_threads()],
];

/// For each move, and for a process held in each way.
fn for_each_move(test: impl Fn([Runtime; 2], &mut Helper, &Process)) {
    for runtimes in MOVES {
        for index in 0..2 {
            let mut child = helper("wait 7");
            let process = held(child.id()).swap_remove(index);
            test(runtimes(), &mut child, &process);
        }
    }
}

#[test]
fn wait_completes_in_another_runtime_while_the_first_is_idle() {
    for_each_move(|[first, second], child, process| {
        let mut wait = On::TokioOfOneThread.wait(process);
        first.block_on(poll_in_vain(&mut wait));
        let exit = second.block_on(in_time(async {
            poll_in_vain(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(process, exit, 7);
        // The second runtime has closed its registration, and the first is still there.
        drop([second, first]);
    });
}

#[test]
fn wait_completes_in_another_runtime_after_an_exit_between_both() {
    for_each_move(|[first, second], child, process| {
        let mut wait = On::TokioOfOneThread.wait(process);
        first.block_on(poll_in_vain(&mut wait));
        drop(child.stdin.take());
        exit_of(child.id());
        let exit = second.block_on(in_time(wait)).unwrap();
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_completes_in_another_runtime_after_the_first_was_dropped() {
    for_each_move(|[first, second], child, process| {
        let mut wait = On::TokioOfOneThread.wait(process);
        first.block_on(poll_in_vain(&mut wait));
        drop(first);
        let exit = second.block_on(in_time(async {
            poll_in_vain(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_completes_back_in_its_first_runtime_after_the_second_was_dropped() {
    for_each_move(|[first, second], child, process| {
        let mut wait = On::TokioOfOneThread.wait(process);
        first.block_on(poll_in_vain(&mut wait));
        second.block_on(poll_in_vain(&mut wait));
        drop(second);
        let exit = first.block_on(in_time(async {
            poll_in_vain(&mut wait).await;
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_is_dropped_outside_of_its_runtime() {
    for_each_move(|[first, second], child, process| {
        let [mut one, mut other] = [(); 2].map(|()| On::TokioOfOneThread.wait(process));
        first.block_on(poll_in_vain(&mut one));
        first.block_on(poll_in_vain(&mut other));
        second.block_on(async { drop(one) });
        drop(first);
        second.block_on(async { drop(other) });
        drop(child.stdin.take());
        let exit = second.block_on(in_time(process.wait_on_tokio())).unwrap();
        assert_code(process, exit, 7);
    });
}

#[test]
fn wait_goes_on_outside_of_a_runtime_by_the_last_one() {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = held(child.id()).swap_remove(index);
        let runtime = tokio_of_many_threads();
        let mut wait = On::TokioOfManyThreads.wait(&process);
        runtime.block_on(poll_in_vain(&mut wait));
        let exit = On::AsyncIoAlone.block_on(async {
            // Several pauses of a polled process.
            for _ in 0..10 {
                Timer::after(Duration::from_millis(2)).await;
                poll_in_vain(&mut wait).await;
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
        [On::AsyncIo, On::AsyncIoAlone],
        [On::AsyncIoAlone, On::AsyncIo],
    ] {
        for index in 0..2 {
            let mut child = helper("wait 7");
            let process = held(child.id()).swap_remove(index);
            let mut wait = On::AsyncIo.wait(&process);
            let [first, second] = executors;
            first.block_on(poll_in_vain(&mut wait));
            let exit = second.block_on(async {
                drop(child.stdin.take());
                wait.await.unwrap()
            });
            assert_code(&process, exit, 7);
        }
    }
}

/// While tokio's clock is paused, for a process held in each way.
fn with_paused_clock(test: impl AsyncFn(&mut Helper, &Process)) {
    for index in 0..2 {
        let mut child = helper("wait 7");
        let process = held(child.id()).swap_remove(index);
        tokio_with_paused_clock().block_on(in_time(test(&mut child, &process)));
    }
}

/// Polls the wait until several pauses of a polled process have passed.
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
        let mut wait = On::TokioOfOneThread.wait(process);
        poll_for_a_while(&mut wait).await;
        drop(child.stdin.take());
        assert_code(process, wait.await.unwrap(), 7);
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn wait_does_not_keep_a_paused_clock_from_advancing() {
    with_paused_clock(async |_, process| {
        // Of the paused clock: it passes as soon as all tasks wait.
        let an_hour = Duration::from_secs(3_600);
        let wait = tokio::time::timeout(an_hour, process.wait_on_tokio());
        wait.await.unwrap_err();
    });
}

/// tokio's timers do not fire then.
#[test]
fn wait_completes_while_a_blocking_task_stops_the_paused_clock() {
    with_paused_clock(async |child, process| {
        let mut wait = On::TokioOfOneThread.wait(process);
        let (sender, until_dropped) = mpsc::channel::<()>();
        let blocking = tokio::task::spawn_blocking(move || until_dropped.recv());
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
        let process = held(child.id()).swap_remove(index);
        On::TokioOfOneThread.block_on(async {
            let mut wait = On::TokioOfOneThread.wait(&process);
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
        let mut wait = On::TokioOfOneThread.wait(process);
        for _ in 0..20 {
            let mut other = On::TokioOfOneThread.wait(process);
            let waker = Waker::from(Arc::new(Tells(mpsc::channel().0)));
            let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            poll_in_vain(&mut other).await;
            poll_in_vain(&mut wait).await;
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
    // Until the pauses are long.
    runtime.block_on(in_time(Timer::after(Duration::from_millis(200))));
    let start = Instant::now();
    drop(runtime);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(task.is_finished());
    drop(child.stdin.take());
}

#[test]
fn without_what_it_needs_of_tokio_it_panics() {
    let child = helper("wait 7");
    let held = held(child.id());
    let bare = Builder::new_current_thread().build().unwrap();
    for process in &held {
        let poll = || {
            let mut context = Context::from_waker(Waker::noop());
            let mut wait = Box::pin(process.wait_on_tokio());
            wait.as_mut().poll(&mut context).is_pending()
        };
        let outside = catch_unwind(AssertUnwindSafe(poll));
        let inside = catch_unwind(AssertUnwindSafe(|| bare.block_on(async { poll() })));
        for polled in [outside, inside] {
            match process.backend() {
                // By the system's own thread pool.
                Backend::Handle => assert!(polled.unwrap()),
                _ => {
                    let panic = polled.unwrap_err();
                    let text = (panic.downcast_ref::<String>().cloned())
                        .or_else(|| panic.downcast_ref::<&str>().map(|it| it.to_string()));
                    let text = text.unwrap();
                    assert!(text.contains("Tokio 1.x"), "{text}");
                }
            }
        }
        // It does no harm.
        assert_eq!(process.try_wait().unwrap(), None);
    }
}

/// While they are dropped, and some of them at the time of the exit.
#[test]
fn dropped_while_the_process_exits() {
    everywhere("wait 7", |on, child, process| {
        thread::scope(|scope| {
            scope.spawn(|| {
                drop(child.stdin.take());
                wait_pid(child.id(), None).unwrap();
            });
            on.block_on(async {
                while poll_once(on.wait(process)).await.is_none() {
                    yield_now().await;
                }
            });
        });
        let exit = process.wait().unwrap();
        assert_code(process, exit, 7);
    });
}
