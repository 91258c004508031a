//! The child processes that are waited for: start them, and read when they exited.

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::Errno,
    process::{Pid, WaitOptions, waitpid},
    time::{ClockId, clock_gettime},
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    process::{Child, Command},
    time::Duration,
};

/// Built from child.c by build.rs.
pub const PROGRAM: &str = concat!(env!("OUT_DIR"), "/child");

/// What the program exits with.
pub const EXIT_CODE: i32 = 3;

/// Starts children that exit at a time of `CLOCK_MONOTONIC`. Just before, each writes the time to
/// a file.
pub struct Spawner {
    exit_time: File,
}

impl Spawner {
    pub fn new() -> io::Result<Spawner> {
        let exit_time = File::from(memfd_create("exit-time", MemfdFlags::CLOEXEC)?);
        ftruncate(&exit_time, size_of::<u64>() as u64)?;
        Ok(Spawner { exit_time })
    }

    /// The file for the exit time, which has to be the child's standard output.
    pub fn stdout(&self) -> File {
        self.exit_time.try_clone().unwrap()
    }

    pub fn command(&self, exit_at: Duration) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg(exit_at.as_nanos().to_string())
            .stdout(self.stdout());
        command
    }

    pub fn spawn(&self, exit_at: Duration) -> Child {
        self.command(exit_at).spawn().unwrap()
    }

    /// When the last child exited.
    pub fn exit_time(&self) -> Duration {
        let mut ns = [0; size_of::<u64>()];
        self.exit_time.read_exact_at(&mut ns, 0).unwrap();
        Duration::from_nanos(u64::from_ne_bytes(ns))
    }
}

/// The time of `CLOCK_MONOTONIC`. Processes can exchange it, unlike an `Instant`.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    now.try_into().expect("the clock begins with zero")
}

pub fn pid(child: u32) -> Pid {
    Pid::from_raw(child as i32).expect("pids are positive")
}

/// Reaps the child, unless the implementation has.
pub fn reap(child: u32) {
    match waitpid(Some(pid(child)), WaitOptions::empty()) {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(error) => panic!("waitpid: {error}"),
    }
}
