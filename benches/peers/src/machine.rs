//! The machine that it runs on, in a few words.

use std::{fs, process::Command, thread};

/// As far as the machine tells.
pub fn description() -> String {
    let cores = thread::available_parallelism().map_or(0, |cores| cores.get());
    let processor = read("/proc/cpuinfo");
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    let machine = match processor.contains(" hypervisor") {
        true => "a virtual machine",
        false => "a machine",
    };
    // Without what follows the version, which may name a host.
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel
        .split(|c: char| c != '.' && !c.is_ascii_digit())
        .next();
    let rust = Command::new("rustc").arg("--version").output();
    let rust = rust.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    format!(
        "{machine} with {cores} cores ({model}), Linux {}, Rust {}",
        kernel.unwrap_or_default(),
        rust.split(' ').nth(1).unwrap_or("of some version"),
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
