//! Compiles the program that the benchmarks wait for.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=src/child.c");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    let status = Command::new("cc")
        .args(["-O2", "-static", "-nostartfiles", "-fno-stack-protector"])
        .args(["src/child.c", "-o"])
        .arg(out.join("child"))
        .status()
        .expect("a C compiler, `cc`");
    assert!(status.success(), "cc: {status}");
}
