//! The async runtimes, and the way to await a process on each.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use crate::common::LONG;
use async_io::Timer;
use futures_lite::FutureExt as _;
use procwait::{Error, Exit, Process};
use std::{future::Future, pin::Pin, time::Duration};
use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    TokioOfOneThread,
    TokioOfManyThreads,
    /// By its own `block_on`, which is smol's.
    AsyncIo,
    /// On an executor that knows nothing of async-io.
    AsyncIoAlone,
}

pub const ALL: [On; 4] = [
    On::TokioOfOneThread,
    On::TokioOfManyThreads,
    On::AsyncIo,
    On::AsyncIoAlone,
];

pub type Wait<'a> = Pin<Box<dyn Future<Output = Result<Exit, Error>> + Send + 'a>>;

pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl On {
    pub fn wait(self, process: &Process) -> Wait<'_> {
        match self {
            On::TokioOfOneThread | On::TokioOfManyThreads => Box::pin(process.wait_on_tokio()),
            On::AsyncIo | On::AsyncIoAlone => Box::pin(process.wait_on_async_io()),
        }
    }

    pub fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        let future = in_time(future);
        match self {
            On::TokioOfOneThread => tokio_of_one_thread().block_on(future),
            On::TokioOfManyThreads => tokio_of_many_threads().block_on(future),
            On::AsyncIo => async_io::block_on(future),
            On::AsyncIoAlone => futures_lite::future::block_on(future),
        }
    }
}

pub fn tokio_of_one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn tokio_of_many_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// Its clock stands still while a task runs, and jumps to the next timer when none does.
pub fn tokio_with_paused_clock() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// A test whose task is not woken fails, and does not hang.
pub async fn in_time<T>(future: impl Future<Output = T>) -> T {
    // From then on its reactor has its thread and its descriptors.
    Timer::after(Duration::from_millis(1)).await;
    let late = async {
        Timer::after(LONG).await;
        panic!("not woken")
    };
    future.or(late).await
}
