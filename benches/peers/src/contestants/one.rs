//! The ways to wait for one child.

use super::{AGAIN, Contestant, TOKIO, bare, contestant, label, on_tokio, python};
use crate::child::{CODE, Children, Time, pid};
use async_io::Timer;
use futures_lite::FutureExt as _;
use process_control::{ChildExt as _, Control as _};
use procwait::{Process, WaitSet, wait_all, wait_pid};
use rustix::{fd::AsFd as _, process::WaitId};
use shared_child::SharedChild;
use std::{process::Child, time::Duration};
use waitpid_any::WaitHandle;

pub struct Way {
    /// Is the child reaped when the wait returns?
    pub reaps: bool,
    pub start: Box<Start>,
}

/// Starts a child, and gives back its pid.
type Start = dyn Fn(&Children, Time) -> (u32, Box<dyn Waiting>);

/// For one child: its exit code, or `None` while it runs.
pub trait Waiting {
    fn wait(&mut self, timeout: Duration) -> Option<i32>;

    /// Without waiting; `None` if there is nothing for this but `wait`.
    fn look(&mut self) -> Option<Option<i32>>;
}

struct Started<T> {
    it: T,
    wait: fn(&mut T, Duration) -> Option<i32>,
    look: Option<Look<T>>,
}

type Look<T> = fn(&mut Started<T>) -> Option<i32>;

impl<T> Waiting for Started<T> {
    fn wait(&mut self, timeout: Duration) -> Option<i32> {
        (self.wait)(&mut self.it, timeout)
    }
    fn look(&mut self) -> Option<Option<i32>> {
        self.look.map(|look| look(self))
    }
}

fn leaving<T: 'static>(
    name: &'static str,
    label: impl Into<String>,
    start: fn(&Children, Time) -> (u32, T),
    wait: fn(&mut T, Duration) -> Option<i32>,
    look: Option<Look<T>>,
) -> Contestant<Way> {
    let start = Box::new(move |children: &Children, until| {
        let (pid, it) = start(children, until);
        let waiting: Box<dyn Waiting> = Box::new(Started { it, wait, look });
        (pid, waiting)
    });
    let reaps = false;
    contestant(name, label, Way { reaps, start })
}

fn reaping<T: 'static>(
    name: &'static str,
    label: impl Into<String>,
    start: fn(&Children, Time) -> (u32, T),
    wait: fn(&mut T, Duration) -> Option<i32>,
    look: Option<Look<T>>,
) -> Contestant<Way> {
    let mut contestant = leaving(name, label, start, wait, look);
    contestant.way.reaps = true;
    contestant
}

/// A look by a wait that gives up at once.
fn by_wait<T>(started: &mut Started<T>) -> Option<i32> {
    started.wait(Duration::ZERO)
}

pub const FLOOR: &str = "floor";
pub const FLOOR_AGAIN: &str = "floor-again";
pub const FLOOR_REAPING: &str = "floor-reaping";
pub const WAIT_PID: &str = "wait-pid";
pub const PROCESS: &str = "process";
pub const WAIT_SET: &str = "wait-set";
pub const CHILD_EXT: &str = "child-ext";
pub const STD: &str = "std";
pub const WAITPID_ANY: &str = "waitpid-any";
pub const WAIT_TIMEOUT: &str = "wait-timeout";
pub const SHARED_CHILD: &str = "shared-child";
pub const TOKIO_CHILD: &str = "tokio";
pub const PSUTIL: &str = "psutil";

pub fn all() -> Vec<Contestant<Way>> {
    vec![
        floor(
            FLOOR,
            "bare `pidfd_open`, `ppoll`, `waitid(WNOWAIT)`, `close`",
        ),
        floor(FLOOR_AGAIN, AGAIN),
        leaving(
            WAIT_PID,
            "**`procwait::wait_pid`**",
            child,
            |child, timeout| wait_pid(child.id(), Some(timeout)).unwrap()?.code(),
            Some(by_wait),
        ),
        leaving(
            PROCESS,
            "**`procwait::Process`**",
            held,
            |(_, process), timeout| process.wait_timeout(timeout).unwrap()?.code(),
            Some(|started| started.it.1.try_wait().unwrap()?.code()),
        ),
        leaving(
            WAIT_SET,
            "**`procwait::WaitSet`** of one",
            set_of_one,
            |set, timeout| set.wait(Some(timeout)).unwrap()?.1.code(),
            // Once it was told of, it is not in the set any more.
            Some(|started| match started.it.is_empty() {
                true => Some(CODE),
                false => by_wait(started),
            }),
        ),
        leaving(
            "wait-all",
            "**`procwait::wait_all`** of one",
            child,
            |child, timeout| {
                let sorted = wait_all([child.id()], Some(timeout)).unwrap();
                sorted.exited.first()?.1.code()
            },
            Some(by_wait),
        ),
        leaving(
            WAITPID_ANY,
            label("waitpid-any", "`WaitHandle`, no status"),
            waitpid_any,
            |handle, timeout| handle.wait_timeout(timeout).unwrap().map(|()| CODE),
            Some(by_wait),
        ),
        leaving(
            "process-control",
            label("process_control", "`ChildExt`"),
            child,
            |child, timeout| {
                let status = child.controlled().time_limit(timeout).wait();
                status.unwrap()?.code().map(|code| code as i32)
            },
            None,
        ),
        reaping(
            FLOOR_REAPING,
            "bare `pidfd_open`, `ppoll`, `waitpid`, `close`",
            child,
            |child, timeout| {
                let pidfd = bare::open(child.id());
                bare::is_readable_within(pidfd.as_fd(), timeout)
                    .then(|| bare::try_reap(child.id()))??
                    .exit_status()
            },
            None,
        ),
        reaping(
            CHILD_EXT,
            "**`procwait::ChildExt`**",
            child,
            // Named, as other crates' traits are in scope.
            |child, timeout| {
                let status = procwait::ChildExt::wait_timeout(child, timeout);
                status.unwrap()?.code()
            },
            Some(by_wait),
        ),
        reaping(
            STD,
            "`std::process::Child::wait`, no timeout",
            child,
            |child, _| child.wait().unwrap().code(),
            Some(|started| started.it.try_wait().unwrap()?.code()),
        ),
        reaping(
            WAIT_TIMEOUT,
            label("wait-timeout", "`ChildExt`"),
            child,
            |child, timeout| {
                let status = wait_timeout::ChildExt::wait_timeout(child, timeout);
                status.unwrap()?.code()
            },
            Some(by_wait),
        ),
        reaping(
            SHARED_CHILD,
            label("shared_child", "`SharedChild`"),
            shared_child,
            |child, timeout| child.wait_timeout(timeout).unwrap()?.code(),
            Some(|started| started.it.try_wait().unwrap()?.code()),
        ),
        reaping(
            "subprocess",
            label("subprocess", "`Job`"),
            job,
            |job, timeout| {
                let status = job.wait_timeout(timeout).unwrap()?;
                status.code().map(|code| code as i32)
            },
            Some(|started| started.it.poll()?.code().map(|code| code as i32)),
        ),
        reaping(
            TOKIO_CHILD,
            label("tokio", "`Child`, `timeout`"),
            tokio_child,
            |child, timeout| on_tokio(timeout, child.wait())?.unwrap().code(),
            Some(|started| started.it.try_wait().unwrap()?.code()),
        ),
        reaping(
            "on-tokio",
            "**`procwait::Process`** on tokio, `timeout`",
            held,
            |(child, process), timeout| {
                on_tokio(timeout, process.wait_on_tokio())?.unwrap();
                child.try_wait().unwrap()?.code()
            },
            None,
        ),
        reaping(
            "async-process",
            label("async-process", "`Child`, `Timer`"),
            async_child,
            |child, timeout| on_async_io(timeout, child.status())?.unwrap().code(),
            Some(|started| started.it.try_status().unwrap()?.code()),
        ),
        reaping(
            "on-async-io",
            "**`procwait::Process`** on async-io, `Timer`",
            held,
            |(child, process), timeout| {
                on_async_io(timeout, process.wait_on_async_io())?.unwrap();
                child.try_wait().unwrap()?.code()
            },
            None,
        ),
        reaping(
            PSUTIL,
            "psutil before 7.2.2, its loop",
            child,
            |child, timeout| python::psutil_polling(child.id(), timeout)?.exit_status(),
            None,
        ),
        reaping(
            "cpython",
            "CPython before 3.15, its loop",
            child,
            |child, timeout| python::cpython_polling(child.id(), timeout)?.exit_status(),
            None,
        ),
    ]
}

fn floor(name: &'static str, label: &str) -> Contestant<Way> {
    leaving(
        name,
        label,
        child,
        |child, timeout| {
            let pidfd = bare::open(child.id());
            bare::is_readable_within(pidfd.as_fd(), timeout)
                .then(|| bare::peek(WaitId::PidFd(pidfd.as_fd())))??
                .exit_status()
        },
        Some(|started| bare::peek(WaitId::Pid(pid(started.it.id())))?.exit_status()),
    )
}

fn child(children: &Children, until: Time) -> (u32, Child) {
    let child = children.spawn(until);
    (child.id(), child)
}

/// Held from the spawn on, as the runtimes' own children are.
fn held(children: &Children, until: Time) -> (u32, (Child, Process)) {
    let (pid, child) = child(children, until);
    (pid, (child, Process::open(pid).unwrap()))
}

fn set_of_one(children: &Children, until: Time) -> (u32, WaitSet) {
    let (pid, _) = child(children, until);
    let mut set = WaitSet::new();
    set.insert(pid).unwrap();
    (pid, set)
}

fn waitpid_any(children: &Children, until: Time) -> (u32, WaitHandle) {
    let (pid, _) = child(children, until);
    (pid, WaitHandle::open(pid as i32).unwrap())
}

fn shared_child(children: &Children, until: Time) -> (u32, SharedChild) {
    let (pid, child) = child(children, until);
    (pid, SharedChild::new(child).unwrap())
}

fn job(children: &Children, until: Time) -> (u32, subprocess::Job) {
    let command = subprocess::Exec::cmd(children.path()).arg(until.0.to_string());
    let job = command.stdout(children.note()).start().unwrap();
    (job.pid(), job)
}

fn tokio_child(children: &Children, until: Time) -> (u32, tokio::process::Child) {
    let _context = TOKIO.enter();
    let mut command = tokio::process::Command::from(children.command(until));
    let child = command.spawn().unwrap();
    (child.id().expect("it was not waited for"), child)
}

fn async_child(children: &Children, until: Time) -> (u32, async_process::Child) {
    let mut command = async_process::Command::new(children.path());
    command.arg(until.0.to_string()).stdout(children.note());
    let child = command.spawn().unwrap();
    (child.id(), child)
}

fn on_async_io<T>(timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    let timer = async {
        Timer::after(timeout).await;
        None
    };
    async_io::block_on(async { Some(future.await) }.or(timer))
}
