//! Waits for many children that exit at once. All implementations check every exit code and reap
//! every child.

use super::{Implementation, REPEAT, TOKIO, block_on_tokio, implementation, versioned};
use crate::child::{self, EXIT_CODE, Spawner, reap};
use procwait::{Process, WaitSet};
use rustix::{
    buffer::spare_capacity,
    event::epoll,
    fd::AsFd as _,
    process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
};
use std::{collections::HashMap, process::Child, thread, time::Duration};
use tokio::task::JoinSet;

/// Starts that many children, and returns the wait for them.
pub type Method = Box<dyn Fn(&Spawner, usize, Duration) -> Wait>;
pub type Wait = Box<dyn FnOnce()>;

pub const BASELINE: &str = "many-epoll";
pub const WAIT_SET: &str = "many-wait-set";
pub const WAIT_ALL: &str = "many-wait-all";

/// More than any implementation takes.
const TIMEOUT: Duration = Duration::from_secs(120);

pub fn all() -> Vec<Implementation<Method>> {
    vec![
        implementation(BASELINE, "bare epoll over pidfds", of_children(epoll)),
        implementation("many-epoll-repeat", REPEAT, of_children(epoll)),
        implementation(WAIT_SET, "**`procwait::WaitSet`**", of_children(wait_set)),
        implementation(WAIT_ALL, "**`procwait::wait_all`**", of_children(wait_all)),
        implementation(
            "many-threads",
            "a thread for each: `Child::wait`",
            of_children(threads),
        ),
        implementation(
            "many-tokio",
            versioned("tokio", "`JoinSet` ¹"),
            Box::new(tokio_children),
        ),
        implementation(
            "many-processes-on-tokio",
            "**`procwait::Process`** on tokio, `JoinSet` ¹",
            Box::new(processes_on_tokio),
        ),
        implementation(
            "many-wait-set-on-tokio",
            "**`procwait::WaitSet`** on tokio, one task ¹",
            Box::new(wait_set_on_tokio),
        ),
    ]
}

fn of_children(wait: fn(Vec<Child>)) -> Method {
    Box::new(move |spawner, count, exit_at| {
        let children = (0..count).map(|_| spawner.spawn(exit_at)).collect();
        Box::new(move || wait(children))
    })
}

fn epoll(children: Vec<Child>) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut pidfds = HashMap::new();
    for child in &children {
        let pidfd = pidfd_open(child::pid(child.id()), PidfdFlags::empty()).unwrap();
        let data = epoll::EventData::new_u64(child.id().into());
        epoll::add(&epoll, &pidfd, data, epoll::EventFlags::IN).unwrap();
        pidfds.insert(child.id(), pidfd);
    }
    let mut events = Vec::with_capacity(256);
    while !pidfds.is_empty() {
        epoll::wait(&epoll, spare_capacity(&mut events), None).unwrap();
        for event in events.drain(..) {
            let pid = event.data.u64() as u32;
            let pidfd = pidfds.remove(&pid).expect("a child exits once");
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), options).unwrap();
            assert_eq!(status.unwrap().exit_status(), Some(EXIT_CODE));
            epoll::delete(&epoll, &pidfd).unwrap();
            reap(pid);
        }
    }
}

fn wait_set(children: Vec<Child>) {
    let mut set = WaitSet::new();
    for child in &children {
        set.insert(child.id()).unwrap();
    }
    while let Some((pid, exit)) = set.wait(None).unwrap() {
        assert_eq!(exit.code(), Some(EXIT_CODE));
        reap(pid);
    }
}

fn wait_all(children: Vec<Child>) {
    let pids = children.iter().map(Child::id);
    let sorted = procwait::wait_all(pids, Some(TIMEOUT)).unwrap();
    assert!(sorted.running.is_empty());
    for (pid, exit) in sorted.exited {
        assert_eq!(exit.code(), Some(EXIT_CODE));
        reap(pid);
    }
}

fn threads(children: Vec<Child>) {
    let spawn = |mut child: Child| {
        let wait = move || assert_eq!(child.wait().unwrap().code(), Some(EXIT_CODE));
        let builder = thread::Builder::new().stack_size(64 << 10);
        builder.spawn(wait).unwrap()
    };
    let threads: Vec<_> = children.into_iter().map(spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn tokio_children(spawner: &Spawner, count: usize, exit_at: Duration) -> Wait {
    let _context = TOKIO.enter();
    let futures = (0..count).map(|_| {
        let mut command = tokio::process::Command::from(spawner.command(exit_at));
        let mut child = command.spawn().unwrap();
        async move { child.wait().await.unwrap().code() }
    });
    join_all(futures.collect())
}

fn processes_on_tokio(spawner: &Spawner, count: usize, exit_at: Duration) -> Wait {
    let futures = (0..count).map(|_| {
        let pid = spawner.spawn(exit_at).id();
        let process = Process::open(pid).unwrap();
        async move {
            let exit = process.wait_on_tokio().await.unwrap();
            reap(pid);
            exit.code()
        }
    });
    join_all(futures.collect())
}

fn wait_set_on_tokio(spawner: &Spawner, count: usize, exit_at: Duration) -> Wait {
    let mut set = WaitSet::new();
    for _ in 0..count {
        set.insert(spawner.spawn(exit_at).id()).unwrap();
    }
    Box::new(move || {
        let exits = async {
            while let Some((pid, exit)) = set.wait_on_tokio().await.unwrap() {
                assert_eq!(exit.code(), Some(EXIT_CODE));
                reap(pid);
            }
        };
        block_on_tokio(TIMEOUT, exits).expect("all exit in time");
    })
}

fn join_all(futures: Vec<impl Future<Output = Option<i32>> + Send + 'static>) -> Wait {
    Box::new(|| {
        let codes = async { futures.into_iter().collect::<JoinSet<_>>().join_all().await };
        let codes = block_on_tokio(TIMEOUT, codes).expect("all exit in time");
        assert!(codes.into_iter().all(|code| code == Some(EXIT_CODE)));
    })
}
