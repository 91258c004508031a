//! The ways to wait that are compared.

pub mod bare;
pub mod many;
pub mod one;
pub mod output;
mod python;

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
