//! The ways to wait for one child.

use super::{bare, label, python};
use crate::child::{CODE, Children, Time};
use async_io::Timer;
use futures_lite::FutureExt as _;
use process_control::{ChildExt as _, Control as _};
use rustix::{fd::AsFd as _, process::WaitId};
use shared_child::SharedChild;
use std::{
    future::Future,
    process::{Child, ExitStatus},
    sync::LazyLock,
    time::Duration,
};
use waitpid_any::WaitHandle;

pub struct Contestant {
    /// On the command line of its worker.
    pub name: &'static str,
    pub label: String,
    /// Is the child reaped when the wait returns?
    pub reaps: bool,
    /// Can the wait give up?
    pub has_timeout: bool,
    pub start: fn(&Children, Time) -> Box<dyn Waiting>,
}

/// A child, and one way to wait for it.
pub trait Waiting {
    fn pid(&self) -> u32;

    /// Whether it exits within the timeout. Looks at its exit code if it is told.
    fn wait(&mut self, timeout: Duration) -> bool;

    /// Whether it has exited; `None` if it has nothing for this but `wait`.
    fn look(&mut self) -> Option<bool> {
        None
    }
}

pub const FLOOR: &str = "floor";
pub const FLOOR_AGAIN: &str = "floor-again";
pub const FLOOR_REAPING: &str = "floor-reaping";
pub const WAIT_PID: &str = "wait-pid";
pub const PROCESS: &str = "process";
pub const WAIT_SET: &str = "wait-set";
pub const CHILD_EXT: &str = "child-ext";
pub const STD: &str = "std";

pub fn all() -> Vec<Contestant> {
    vec![
        leaving::<Floor>(
            FLOOR,
            "bare `pidfd_open`, `ppoll`, `waitid(WNOWAIT)`, `close`",
        ),
        // Shows how much of a difference is noise.
        leaving::<Floor>(FLOOR_AGAIN, "the same once more"),
        leaving::<WaitPid>(WAIT_PID, "**`procwait::wait_pid`**"),
        leaving::<Held>(PROCESS, "**`procwait::Process`**"),
        leaving::<Set>(WAIT_SET, "**`procwait::WaitSet`** of one"),
        leaving::<All>("wait-all", "**`procwait::wait_all`** of one"),
        leaving::<WaitpidAny>(
            "waitpid-any",
            label("waitpid-any", "`WaitHandle`, no status"),
        ),
        leaving::<Controlled>("process-control", label("process_control", "`ChildExt`")),
        reaping::<FloorReaping>(
            FLOOR_REAPING,
            "bare `pidfd_open`, `ppoll`, `waitpid`, `close`",
        ),
        reaping::<Extended>(CHILD_EXT, "**`procwait::ChildExt`**"),
        Contestant {
            has_timeout: false,
            ..reaping::<Std>(STD, "`std::process::Child::wait`, no timeout")
        },
        reaping::<WaitTimeout>("wait-timeout", label("wait-timeout", "`ChildExt`")),
        reaping::<SharedChild>("shared-child", label("shared_child", "`SharedChild`")),
        reaping::<subprocess::Job>("subprocess", label("subprocess", "`Job`")),
        reaping::<tokio::process::Child>("tokio", label("tokio", "`Child`, `timeout`")),
        reaping::<OnTokio>("on-tokio", "**`procwait::Process`** on tokio, `timeout`"),
        reaping::<async_process::Child>(
            "async-process",
            label("async-process", "`Child`, `Timer`"),
        ),
        reaping::<OnAsyncIo>(
            "on-async-io",
            "**`procwait::Process`** on async-io, `Timer`",
        ),
        reaping::<Psutil>("psutil", "psutil before 7.2.2, its loop"),
        reaping::<Cpython>("cpython", "CPython before 3.15, its loop"),
    ]
}

fn leaving<T: Start>(name: &'static str, label: impl Into<String>) -> Contestant {
    Contestant {
        name,
        label: label.into(),
        reaps: false,
        has_timeout: true,
        start: |children, until| Box::new(T::start(children, until)),
    }
}

fn reaping<T: Start>(name: &'static str, label: impl Into<String>) -> Contestant {
    Contestant {
        reaps: true,
        ..leaving::<T>(name, label)
    }
}

trait Start: Waiting + Sized + 'static {
    fn start(children: &Children, until: Time) -> Self;
}

/// Has the exit code been told, and is it the right one?
fn exited(status: Option<ExitStatus>) -> bool {
    status.is_some_and(|status| exited_with(status.code()))
}

fn exited_with(code: Option<i32>) -> bool {
    assert!(matches!(code, Some(CODE)), "exited with {code:?}");
    true
}

fn spawn(children: &Children, until: Time) -> Child {
    children.command(until).unwrap().spawn().unwrap()
}

/// Waiters that are made of a child spawned by the standard library.
macro_rules! of_child {
    ($name:ident, $child:ident => $new:expr) => {
        impl Start for $name {
            #[allow(clippy::zombie_processes)] // The worker reaps it.
            fn start(children: &Children, until: Time) -> Self {
                let $child = spawn(children, until);
                $new
            }
        }
    };
}

struct Floor(Child);
of_child!(Floor, child => Floor(child));
impl Waiting for Floor {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let pidfd = bare::open(self.pid());
        bare::is_readable_within(pidfd.as_fd(), timeout)
            && bare::peek(WaitId::PidFd(pidfd.as_fd()))
                .is_some_and(|status| exited_with(status.exit_status()))
    }
    fn look(&mut self) -> Option<bool> {
        let status = bare::peek(WaitId::Pid(bare::pid(self.pid())));
        Some(status.is_some_and(|status| exited_with(status.exit_status())))
    }
}

struct FloorReaping(Child);
of_child!(FloorReaping, child => FloorReaping(child));
impl Waiting for FloorReaping {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let pidfd = bare::open(self.pid());
        bare::is_readable_within(pidfd.as_fd(), timeout)
            && bare::try_reap(self.pid()).is_some_and(|status| exited_with(status.exit_status()))
    }
}

struct WaitPid(Child);
of_child!(WaitPid, child => WaitPid(child));
impl Waiting for WaitPid {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let exit = procwait::wait_pid(self.pid(), Some(timeout)).unwrap();
        exit.is_some_and(|exit| exited_with(exit.code()))
    }
    fn look(&mut self) -> Option<bool> {
        Some(self.wait(Duration::ZERO))
    }
}

struct Held(procwait::Process);
of_child!(Held, child => Held(procwait::Process::open(child.id()).unwrap()));
impl Waiting for Held {
    fn pid(&self) -> u32 {
        self.0.pid()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let exit = self.0.wait_timeout(timeout).unwrap();
        exit.is_some_and(|exit| exited_with(exit.code()))
    }
    fn look(&mut self) -> Option<bool> {
        let exit = self.0.try_wait().unwrap();
        Some(exit.is_some_and(|exit| exited_with(exit.code())))
    }
}

struct Set {
    pid: u32,
    set: procwait::WaitSet,
}
of_child!(Set, child => {
    let mut set = procwait::WaitSet::new();
    set.insert(child.id()).unwrap();
    Set { pid: child.id(), set }
});
impl Waiting for Set {
    fn pid(&self) -> u32 {
        self.pid
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let found = self.set.wait(Some(timeout)).unwrap();
        found.is_some_and(|(_, exit)| exited_with(exit.code()))
    }
    /// Once it was told of, it is not in the set any more.
    fn look(&mut self) -> Option<bool> {
        Some(self.set.is_empty() || self.wait(Duration::ZERO))
    }
}

struct All(Child);
of_child!(All, child => All(child));
impl Waiting for All {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let sorted = procwait::wait_all([self.pid()], Some(timeout)).unwrap();
        let exit = sorted.exited.first();
        exit.is_some_and(|(_, exit)| exited_with(exit.code()))
    }
    fn look(&mut self) -> Option<bool> {
        Some(self.wait(Duration::ZERO))
    }
}

struct WaitpidAny {
    pid: u32,
    handle: WaitHandle,
}
of_child!(WaitpidAny, child => WaitpidAny {
    pid: child.id(),
    handle: WaitHandle::open(child.id() as i32).unwrap(),
});
impl Waiting for WaitpidAny {
    fn pid(&self) -> u32 {
        self.pid
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        self.handle.wait_timeout(timeout).unwrap().is_some()
    }
    fn look(&mut self) -> Option<bool> {
        Some(self.wait(Duration::ZERO))
    }
}

struct Extended(Child);
of_child!(Extended, child => Extended(child));
impl Waiting for Extended {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        // Named, as other crates' traits are in scope.
        exited(procwait::ChildExt::wait_timeout(&mut self.0, timeout).unwrap())
    }
    fn look(&mut self) -> Option<bool> {
        Some(self.wait(Duration::ZERO))
    }
}

struct Std(Child);
of_child!(Std, child => Std(child));
impl Waiting for Std {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, _: Duration) -> bool {
        exited(Some(self.0.wait().unwrap()))
    }
    fn look(&mut self) -> Option<bool> {
        Some(exited(self.0.try_wait().unwrap()))
    }
}

struct WaitTimeout(Child);
of_child!(WaitTimeout, child => WaitTimeout(child));
impl Waiting for WaitTimeout {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        exited(wait_timeout::ChildExt::wait_timeout(&mut self.0, timeout).unwrap())
    }
    fn look(&mut self) -> Option<bool> {
        Some(self.wait(Duration::ZERO))
    }
}

of_child!(SharedChild, child => SharedChild::new(child).unwrap());
impl Waiting for SharedChild {
    fn pid(&self) -> u32 {
        self.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        exited(self.wait_timeout(timeout).unwrap())
    }
    fn look(&mut self) -> Option<bool> {
        Some(exited(self.try_wait().unwrap()))
    }
}

struct Controlled(Child);
of_child!(Controlled, child => Controlled(child));
impl Waiting for Controlled {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let status = self.0.controlled().time_limit(timeout).wait().unwrap();
        status.is_some_and(|status| exited_with(status.code().map(|code| code as i32)))
    }
}

impl Start for subprocess::Job {
    fn start(children: &Children, until: Time) -> Self {
        subprocess::Exec::cmd(children.path())
            .arg(until.to_string())
            .stdout(children.note().unwrap())
            .start()
            .unwrap()
    }
}
impl Waiting for subprocess::Job {
    fn pid(&self) -> u32 {
        subprocess::Job::pid(self)
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let status = self.wait_timeout(timeout).unwrap();
        status.is_some_and(|status| exited_with(status.code().map(|code| code as i32)))
    }
    fn look(&mut self) -> Option<bool> {
        let status = self.poll();
        Some(status.is_some_and(|status| exited_with(status.code().map(|code| code as i32))))
    }
}

/// Only this thread, as far as it goes: the least that tokio can take.
static TOKIO: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
});

pub fn in_tokio<T>(future: impl Future<Output = T>) -> T {
    TOKIO.block_on(future)
}

impl Start for tokio::process::Child {
    fn start(children: &Children, until: Time) -> Self {
        let command = children.command(until).unwrap();
        in_tokio(async { tokio::process::Command::from(command).spawn().unwrap() })
    }
}
impl Waiting for tokio::process::Child {
    fn pid(&self) -> u32 {
        self.id().expect("it is asked for before the wait")
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let status = in_tokio(async {
            let status = tokio::time::timeout(timeout, tokio::process::Child::wait(self)).await;
            status.ok().transpose().unwrap()
        });
        exited(status)
    }
    fn look(&mut self) -> Option<bool> {
        Some(exited(self.try_wait().unwrap()))
    }
}

/// Held from the spawn on, as tokio does it.
struct OnTokio(Child, procwait::Process);
of_child!(OnTokio, child => {
    let process = procwait::Process::open(child.id()).unwrap();
    OnTokio(child, process)
});
impl Waiting for OnTokio {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let exit = in_tokio(async { tokio::time::timeout(timeout, self.1.wait_on_tokio()).await });
        exit.is_ok_and(|exit| exited_with(exit.unwrap().code()))
            && exited(self.0.try_wait().unwrap())
    }
}

struct OnAsyncIo(Child, procwait::Process);
of_child!(OnAsyncIo, child => {
    let process = procwait::Process::open(child.id()).unwrap();
    OnAsyncIo(child, process)
});
impl Waiting for OnAsyncIo {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let timer = async {
            Timer::after(timeout).await;
            None
        };
        let exit = async { Some(self.1.wait_on_async_io().await.unwrap()) };
        let exit = async_io::block_on(exit.or(timer));
        exit.is_some_and(|exit| exited_with(exit.code())) && exited(self.0.try_wait().unwrap())
    }
}

impl Start for async_process::Child {
    fn start(children: &Children, until: Time) -> Self {
        async_process::Command::new(children.path())
            .arg(until.to_string())
            .stdout(children.note().unwrap())
            .spawn()
            .unwrap()
    }
}
impl Waiting for async_process::Child {
    fn pid(&self) -> u32 {
        self.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let timer = async {
            Timer::after(timeout).await;
            None
        };
        let status = async { Some(self.status().await.unwrap()) };
        exited(async_io::block_on(status.or(timer)))
    }
    fn look(&mut self) -> Option<bool> {
        Some(exited(self.try_status().unwrap()))
    }
}

struct Psutil(Child);
of_child!(Psutil, child => Psutil(child));
impl Waiting for Psutil {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let status = python::psutil_polling(self.pid(), timeout);
        status.is_some_and(|status| exited_with(status.exit_status()))
    }
}

struct Cpython(Child);
of_child!(Cpython, child => Cpython(child));
impl Waiting for Cpython {
    fn pid(&self) -> u32 {
        self.0.id()
    }
    fn wait(&mut self, timeout: Duration) -> bool {
        let status = python::cpython_polling(self.pid(), timeout);
        status.is_some_and(|status| exited_with(status.exit_status()))
    }
}
