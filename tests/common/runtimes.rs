//! The async runtimes, and how to await a process on each of them.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use crate::common::LONG;
use async_io::Timer;
use futures_lite::{FutureExt as _, future::poll_once};
use procwait::{Captured, ChildExt as _, Error, Exit, Process, WaitSet};
use std::{
    future::Future,
    io,
    pin::Pin,
    process::{Child, ExitStatus},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsyncRuntime {
    TokioCurrentThread,
    TokioMultiThread,
    /// `async_io::block_on`, which smol uses.
    AsyncIo,
    /// async-io on an executor that does not drive its reactor.
    AsyncIoOtherExecutor,
}

pub const ALL: [AsyncRuntime; 4] = [
    AsyncRuntime::TokioCurrentThread,
    AsyncRuntime::TokioMultiThread,
    AsyncRuntime::AsyncIo,
    AsyncRuntime::AsyncIoOtherExecutor,
];

pub type Wait<'a> = Pin<Box<dyn Future<Output = Result<Exit, Error>> + Send + 'a>>;

pub type WaitInSet<'a> =
    Pin<Box<dyn Future<Output = Result<Option<(u32, Exit)>, Error>> + Send + 'a>>;

pub type Output<'a> = Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send + 'a>>;

pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl AsyncRuntime {
    pub fn wait(self, process: &Process) -> Wait<'_> {
        match self {
            AsyncRuntime::TokioCurrentThread | AsyncRuntime::TokioMultiThread => {
                Box::pin(process.wait_on_tokio())
            }
            AsyncRuntime::AsyncIo | AsyncRuntime::AsyncIoOtherExecutor => {
                Box::pin(process.wait_on_async_io())
            }
        }
    }

    pub fn wait_in_set(self, set: &mut WaitSet) -> WaitInSet<'_> {
        match self {
            AsyncRuntime::TokioCurrentThread | AsyncRuntime::TokioMultiThread => {
                Box::pin(set.wait_on_tokio())
            }
            AsyncRuntime::AsyncIo | AsyncRuntime::AsyncIoOtherExecutor => {
                Box::pin(set.wait_on_async_io())
            }
        }
    }

    pub fn output<'a>(self, child: &'a mut Child, captured: &'a mut Captured) -> Output<'a> {
        match self {
            AsyncRuntime::TokioCurrentThread | AsyncRuntime::TokioMultiThread => {
                Box::pin(child.output_on_tokio(captured))
            }
            AsyncRuntime::AsyncIo | AsyncRuntime::AsyncIoOtherExecutor => {
                Box::pin(child.output_on_async_io(captured))
            }
        }
    }

    pub fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        let future = with_time_limit(future);
        match self {
            AsyncRuntime::TokioCurrentThread => tokio_current_thread().block_on(future),
            AsyncRuntime::TokioMultiThread => tokio_multi_thread().block_on(future),
            AsyncRuntime::AsyncIo => async_io::block_on(future),
            AsyncRuntime::AsyncIoOtherExecutor => futures_lite::future::block_on(future),
        }
    }
}

pub fn tokio_current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn tokio_multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// The clock of this runtime stands still while a task runs, and jumps to the next timer when all
/// tasks wait.
pub fn tokio_with_paused_clock() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// `None` if the future has not completed at the timeout. It is then dropped.
pub async fn with_timeout<T>(timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    let completed = async { Some(future.await) };
    let timed_out = async {
        Timer::after(timeout).await;
        None
    };
    completed.or(timed_out).await
}

/// Makes a test whose task is not woken fail instead of hang.
pub async fn with_time_limit<T>(future: impl Future<Output = T>) -> T {
    // This starts the thread of async-io's reactor and opens its descriptors, before a test counts
    // or limits them. But not if the time has passed at the first poll.
    for milliseconds in 1.. {
        let mut timer = Timer::after(Duration::from_millis(milliseconds));
        if poll_once(&mut timer).await.is_none() {
            timer.await;
            break;
        }
    }
    let time_limit = async {
        Timer::after(LONG).await;
        panic!("not woken")
    };
    future.or(time_limit).await
}
