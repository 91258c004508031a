//! The child that is waited for: building it, when it is to exit, when it did, and
//! clearing it away.

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid},
    time::{ClockId, clock_gettime},
};
use std::{
    env, fs,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    time::Duration,
};

const SOURCE: &str = include_str!("child.c");

/// What it exits with.
pub const CODE: i32 = 3;

/// The child's executable, deleted in the end.
pub struct Program(PathBuf);

impl Program {
    pub fn build() -> io::Result<Program> {
        let program = Program(env::temp_dir().join(format!("procwait-peers-{}", process::id())));
        let mut compiler = Command::new("cc")
            .args(["-O2", "-static", "-nostdlib", "-fno-stack-protector"])
            .args(["-x", "c", "-", "-o"])
            .arg(&program.0)
            .stdin(Stdio::piped())
            .spawn()?;
        let mut input = compiler.stdin.take().expect("it is piped");
        input.write_all(SOURCE.as_bytes())?;
        drop(input);
        match compiler.wait()?.success() {
            true => Ok(program),
            false => Err(io::Error::other("the C compiler has failed")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How to start children, and what they share: the note of the last one's end.
pub struct Children {
    path: PathBuf,
    note: File,
}

impl Children {
    pub fn new(path: PathBuf) -> io::Result<Children> {
        let note = File::from(memfd_create("end", MemfdFlags::CLOEXEC)?);
        ftruncate(&note, 16)?;
        Ok(Children { path, note })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To be the child's standard output.
    pub fn note(&self) -> File {
        self.note.try_clone().unwrap()
    }

    /// One that exits at that time.
    pub fn command(&self, until: Time) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(until.0.to_string()).stdout(self.note());
        command
    }

    pub fn spawn(&self, until: Time) -> Child {
        self.command(until).spawn().unwrap()
    }

    /// When the last child took its last action.
    pub fn end(&self) -> Time {
        let mut note = [0; 16];
        self.note.read_exact_at(&mut note, 0).unwrap();
        let (seconds, nanoseconds) = note.split_at(8);
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        Time(number(seconds) * 1_000_000_000 + number(nanoseconds))
    }
}

/// By `CLOCK_MONOTONIC`, in ns.
#[derive(Clone, Copy)]
pub struct Time(pub u64);

impl Time {
    pub fn now() -> Time {
        let now = clock_gettime(ClockId::Monotonic);
        Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    pub fn after(life: Duration) -> Time {
        Time(Time::now().0 + life.as_nanos() as u64)
    }

    /// Zero once it has passed.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Time::now().0))
    }
}

pub fn pid(child: u32) -> Pid {
    Pid::from_raw(child as i32).expect("a child has a pid")
}

pub fn kill(child: u32) {
    kill_process(pid(child), Signal::KILL).expect("our own child");
}

/// Sleeps until the child is a zombie, or was reaped.
pub fn until_exited(child: u32) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid(child)), options) {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(error) => panic!("waitid: {error}"),
    }
}

/// If the contestant has not.
pub fn reap(child: u32) {
    match waitpid(Some(pid(child)), WaitOptions::empty()) {
        Ok(_) | Err(Errno::CHILD) => {}
        Err(error) => panic!("waitpid: {error}"),
    }
}
