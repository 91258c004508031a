//! Waits for one child, with a timeout.

use super::{
    Implementation, REPEAT, TOKIO, block_on_async_io, block_on_tokio, implementation, versioned,
};
use crate::child::{EXIT_CODE, PROGRAM, Spawner, pid};
use process_control::{ChildExt as _, Control as _};
use procwait::{Process, WaitSet};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, OwnedFd},
    process::{PidfdFlags, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid},
};
use shared_child::SharedChild;
use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};
use waitpid_any::WaitHandle;

pub struct Method {
    /// Whether the wait reaps the child.
    pub reaps: bool,
    /// Starts a child that exits at a time of `CLOCK_MONOTONIC`.
    pub start: Box<Start>,
}

type Start = dyn Fn(&Spawner, Duration) -> Started;

/// A child, and the wait for it.
pub struct Started {
    pub pid: u32,
    /// Returns the exit code, or `None` if the child is still running after the timeout.
    pub wait: Box<dyn FnMut(Duration) -> Option<i32>>,
}

pub const BASELINE: &str = "baseline";
pub const BASELINE_REAPING: &str = "baseline-reaping";
pub const WAIT_PID: &str = "wait-pid";
pub const PROCESS: &str = "process";
pub const WAIT_SET: &str = "wait-set";
pub const CHILD_EXT: &str = "child-ext";
pub const STD: &str = "std";
pub const WAITPID_ANY: &str = "waitpid-any";
pub const WAIT_TIMEOUT: &str = "wait-timeout";
pub const SHARED_CHILD: &str = "shared-child";
pub const TOKIO_CHILD: &str = "tokio";
pub const SLEEP_LOOP: &str = "sleep-loop";

pub fn all() -> Vec<Implementation<Method>> {
    vec![
        leaves_zombie(
            BASELINE,
            "bare `pidfd_open`, `ppoll`, `waitid(WNOWAIT)`, `close`",
            child,
            bare,
        ),
        leaves_zombie("baseline-repeat", REPEAT, child, bare),
        leaves_zombie(
            WAIT_PID,
            "**`procwait::wait_pid`**",
            child,
            |child, timeout| {
                let exit = procwait::wait_pid(child.id(), Some(timeout));
                exit.unwrap()?.code()
            },
        ),
        leaves_zombie(
            PROCESS,
            "**`procwait::Process`**",
            process,
            |(_, process), timeout| process.wait_timeout(timeout).unwrap()?.code(),
        ),
        leaves_zombie(
            WAIT_SET,
            "**`procwait::WaitSet`** of one",
            wait_set,
            |set, timeout| set.wait(Some(timeout)).unwrap()?.1.code(),
        ),
        leaves_zombie(
            WAITPID_ANY,
            versioned("waitpid-any", "`WaitHandle`, no status"),
            waitpid_any,
            |handle, timeout| handle.wait_timeout(timeout).unwrap().map(|()| EXIT_CODE),
        ),
        leaves_zombie(
            "process-control",
            versioned("process_control", "`ChildExt`"),
            child,
            |child, timeout| {
                let status = child.controlled().time_limit(timeout).wait();
                status.unwrap()?.code().map(|code| code as i32)
            },
        ),
        reaps(
            BASELINE_REAPING,
            "bare `pidfd_open`, `ppoll`, `waitpid`, `close`",
            child,
            bare_reaping,
        ),
        reaps(
            CHILD_EXT,
            "**`procwait::ChildExt`**",
            child,
            |child, timeout| {
                // Named, because another trait of this name is imported.
                let status = procwait::ChildExt::wait_timeout(child, timeout);
                status.unwrap()?.code()
            },
        ),
        reaps(
            STD,
            "`std::process::Child::wait`, no timeout",
            child,
            |child, _| child.wait().unwrap().code(),
        ),
        reaps(
            WAIT_TIMEOUT,
            versioned("wait-timeout", "`ChildExt`"),
            child,
            |child, timeout| {
                let status = wait_timeout::ChildExt::wait_timeout(child, timeout);
                status.unwrap()?.code()
            },
        ),
        reaps(
            SHARED_CHILD,
            versioned("shared_child", "`SharedChild`"),
            shared_child,
            |child, timeout| child.wait_timeout(timeout).unwrap()?.code(),
        ),
        reaps(
            "subprocess",
            versioned("subprocess", "`Job`"),
            subprocess_job,
            |job, timeout| {
                let status = job.wait_timeout(timeout).unwrap()?;
                status.code().map(|code| code as i32)
            },
        ),
        reaps(
            TOKIO_CHILD,
            versioned("tokio", "`Child`, `timeout`"),
            tokio_child,
            |child, timeout| block_on_tokio(timeout, child.wait())?.unwrap().code(),
        ),
        reaps(
            "process-on-tokio",
            "**`procwait::Process`** on tokio, `timeout`",
            process,
            |(child, process), timeout| {
                block_on_tokio(timeout, process.wait_on_tokio())?.unwrap();
                child.try_wait().unwrap()?.code()
            },
        ),
        reaps(
            "async-process",
            versioned("async-process", "`Child`, `Timer`"),
            async_child,
            |child, timeout| block_on_async_io(timeout, child.status())?.unwrap().code(),
        ),
        reaps(
            "process-on-async-io",
            "**`procwait::Process`** on async-io, `Timer`",
            process,
            |(child, process), timeout| {
                block_on_async_io(timeout, process.wait_on_async_io())?.unwrap();
                child.try_wait().unwrap()?.code()
            },
        ),
        reaps(
            SLEEP_LOOP,
            "a loop of `try_wait` and `sleep`, 0.1 to 40 ms",
            child,
            sleep_loop,
        ),
    ]
}

fn leaves_zombie<T: 'static>(
    name: &'static str,
    label: impl Into<String>,
    start: fn(&Spawner, Duration) -> (u32, T),
    wait: fn(&mut T, Duration) -> Option<i32>,
) -> Implementation<Method> {
    let start = Box::new(move |spawner: &Spawner, exit_at| {
        let (pid, mut child) = start(spawner, exit_at);
        let wait = Box::new(move |timeout| wait(&mut child, timeout));
        Started { pid, wait }
    });
    let reaps = false;
    implementation(name, label, Method { reaps, start })
}

fn reaps<T: 'static>(
    name: &'static str,
    label: impl Into<String>,
    start: fn(&Spawner, Duration) -> (u32, T),
    wait: fn(&mut T, Duration) -> Option<i32>,
) -> Implementation<Method> {
    let mut implementation = leaves_zombie(name, label, start, wait);
    implementation.method.reaps = true;
    implementation
}

fn child(spawner: &Spawner, exit_at: Duration) -> (u32, Child) {
    let child = spawner.spawn(exit_at);
    (child.id(), child)
}

/// Opens the process right after the spawn, as the runtimes' own children do.
fn process(spawner: &Spawner, exit_at: Duration) -> (u32, (Child, Process)) {
    let (pid, child) = child(spawner, exit_at);
    (pid, (child, Process::open(pid).unwrap()))
}

fn wait_set(spawner: &Spawner, exit_at: Duration) -> (u32, WaitSet) {
    let (pid, _) = child(spawner, exit_at);
    let mut set = WaitSet::new();
    set.insert(pid).unwrap();
    (pid, set)
}

fn waitpid_any(spawner: &Spawner, exit_at: Duration) -> (u32, WaitHandle) {
    let (pid, _) = child(spawner, exit_at);
    (pid, WaitHandle::open(pid as i32).unwrap())
}

fn shared_child(spawner: &Spawner, exit_at: Duration) -> (u32, SharedChild) {
    let (pid, child) = child(spawner, exit_at);
    (pid, SharedChild::new(child).unwrap())
}

fn subprocess_job(spawner: &Spawner, exit_at: Duration) -> (u32, subprocess::Job) {
    let command = subprocess::Exec::cmd(PROGRAM).arg(exit_at.as_nanos().to_string());
    let job = command.stdout(spawner.stdout()).start().unwrap();
    (job.pid(), job)
}

fn tokio_child(spawner: &Spawner, exit_at: Duration) -> (u32, tokio::process::Child) {
    let _context = TOKIO.enter();
    let mut command = tokio::process::Command::from(spawner.command(exit_at));
    let child = command.spawn().unwrap();
    (child.id().expect("the child is not reaped yet"), child)
}

fn async_child(spawner: &Spawner, exit_at: Duration) -> (u32, async_process::Child) {
    // Its conversion from std's `Command` loses the standard output.
    let mut command = async_process::Command::new(PROGRAM);
    command.arg(exit_at.as_nanos().to_string());
    let child = command.stdout(spawner.stdout()).spawn().unwrap();
    (child.id(), child)
}

fn bare(child: &mut Child, timeout: Duration) -> Option<i32> {
    let pidfd = open_exited(child, timeout)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), options).unwrap();
    status?.exit_status()
}

fn bare_reaping(child: &mut Child, timeout: Duration) -> Option<i32> {
    let _pidfd = open_exited(child, timeout)?;
    let (_, status) = waitpid(Some(pid(child.id())), WaitOptions::NOHANG).unwrap()?;
    status.exit_status()
}

/// Opens a pidfd, and waits until it is readable, which means that the child has exited. `None`
/// after the timeout.
fn open_exited(child: &Child, timeout: Duration) -> Option<OwnedFd> {
    let pidfd = pidfd_open(pid(child.id()), PidfdFlags::empty()).unwrap();
    let timeout = Timespec::try_from(timeout).unwrap();
    let count = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).unwrap();
    (count > 0).then_some(pidfd)
}

/// With the delays of psutil before 7.2.2.
fn sleep_loop(child: &mut Child, timeout: Duration) -> Option<i32> {
    let start = Instant::now();
    let mut delay = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() >= timeout {
            return None;
        }
        thread::sleep(delay);
        delay = (delay * 2).min(Duration::from_millis(40));
    }
}
