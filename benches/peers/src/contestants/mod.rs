//! The ways to wait that are compared.

pub mod bare;
pub mod many;
pub mod one;
pub mod output;
mod python;
pub mod set;

use std::{sync::LazyLock, time::Duration};

pub struct Contestant<W> {
    /// On the command line of its worker.
    pub name: &'static str,
    /// In the tables.
    pub label: String,
    pub way: W,
}

/// The floor's label when it is measured again, to show how much is noise.
const AGAIN: &str = "the same once more";

fn contestant<W>(name: &'static str, label: impl Into<String>, way: W) -> Contestant<W> {
    let label = label.into();
    Contestant { name, label, way }
}

/// With the version of the crate, as this package's Cargo.toml pins it.
fn label(krate: &str, form: &str) -> String {
    let manifest = include_str!("../../Cargo.toml");
    let entry = manifest
        .lines()
        .find(|line| line.split(' ').next() == Some(krate))
        .unwrap_or_default();
    let version = entry
        .split_once("\"=")
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("the manifest pins the version");
    format!("{krate} {version}, {form}")
}

/// Only this thread, as far as it goes: the least that tokio can take.
static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
});

fn on_tokio<T>(timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    TOKIO.block_on(async { tokio::time::timeout(timeout, future).await.ok() })
}
