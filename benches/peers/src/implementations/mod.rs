//! The implementations that are compared.

pub mod input;
pub mod live;
pub mod many;
pub mod one;
pub mod output;
pub mod wake;

use async_io::Timer;
use futures_lite::FutureExt as _;
use std::{sync::LazyLock, time::Duration};

pub struct Implementation<M> {
    /// Names it on the command line of its worker.
    pub name: &'static str,
    /// Names it in the tables.
    pub label: String,
    pub method: M,
}

/// The label of a baseline's second row. How far it is from the first shows the noise.
const REPEAT: &str = "baseline (repeat)";

fn implementation<M>(name: &'static str, label: impl Into<String>, method: M) -> Implementation<M> {
    Implementation {
        name,
        label: label.into(),
        method,
    }
}

/// A label with the version of the package, which Cargo.toml pins.
fn versioned(package: &str, api: &str) -> String {
    let manifest = include_str!("../../Cargo.toml");
    let dependency = manifest
        .lines()
        .find(|line| line.split(' ').next() == Some(package))
        .unwrap_or_default();
    let version = dependency
        .split_once("\"=")
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("Cargo.toml pins the version");
    format!("{package} {version}, {api}")
}

/// On the current thread, which is tokio's cheapest runtime.
static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
});

fn block_on_tokio<T>(timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    TOKIO.block_on(async { tokio::time::timeout(timeout, future).await.ok() })
}

fn block_on_async_io<T>(timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timer = async {
        Timer::after(timeout).await;
        None
    };
    async_io::block_on(async { Some(future.await) }.or(timer))
}
