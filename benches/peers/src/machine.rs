//! Describes the machine that the benchmarks run on.

use std::{env::consts::ARCH, fs, process::Command, thread};

pub fn description() -> String {
    let cores = thread::available_parallelism().map_or(0, |cores| cores.get());
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(ARCH, |(_, model)| model.trim());
    let machine = if cpuinfo.contains(" hypervisor") {
        "a virtual machine"
    } else {
        "a machine"
    };
    // Without the suffix, which can name a host.
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = release.split(|c: char| c != '.' && !c.is_ascii_digit());
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(|_| Vec::new(), |output| output.stdout);
    format!(
        "{machine} with {cores} cores ({model}), Linux {}, Rust {}",
        kernel.into_iter().next().unwrap_or_default(),
        String::from_utf8_lossy(&rustc)
            .split(' ')
            .nth(1)
            .unwrap_or("(unknown version)"),
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
