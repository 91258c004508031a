//! The ways to wait for many children. All of them learn every exit code and
//! reap every child.

use super::{bare, label, one::in_tokio, python};
use crate::child::{CODE, Children, Time};
use rustix::{
    event::epoll,
    fd::{AsFd as _, OwnedFd},
    process::WaitId,
};
use std::{collections::HashMap, process::Child, thread, time::Duration};

pub struct Contestant {
    /// On the command line of its worker.
    pub name: &'static str,
    pub label: String,
    /// Spawns as many, and gives back what is to be measured.
    pub spawn: fn(&Children, count: usize, until: Time) -> Waiting,
}

/// Waits until all have exited.
pub type Waiting = Box<dyn FnOnce()>;

pub const FLOOR: &str = "many-epoll";
pub const WAIT_SET: &str = "many-set";
pub const WAIT_ALL: &str = "many-all";

/// More than any of them takes.
const TIMEOUT: Duration = Duration::from_secs(120);

pub fn all() -> Vec<Contestant> {
    vec![
        contestant(FLOOR, "bare epoll over pidfds", |children, count, until| {
            of_children(children, count, until, bare_epoll)
        }),
        contestant(
            WAIT_SET,
            "**`procwait::WaitSet`**",
            |children, count, until| of_children(children, count, until, wait_set),
        ),
        contestant(
            WAIT_ALL,
            "**`procwait::wait_all`**",
            |children, count, until| of_children(children, count, until, wait_all),
        ),
        contestant(
            "many-threads",
            "a thread for each: `Child::wait`",
            |children, count, until| of_children(children, count, until, threads),
        ),
        contestant("many-tokio", label("tokio", "`JoinSet` ¹"), join_set),
        contestant(
            "many-on-tokio",
            "**`procwait::Process`** on tokio, `JoinSet` ¹",
            join_set_of_processes,
        ),
        contestant(
            "many-psutil",
            "psutil before 7.2.2, `wait_procs`",
            |children, count, until| {
                of_children(children, count, until, |children| {
                    wait_procs(&children, python::psutil_polling);
                })
            },
        ),
        contestant(
            "many-psutil-pidfd",
            "psutil 7.2.2 and later, `wait_procs`",
            |children, count, until| {
                of_children(children, count, until, |children| {
                    wait_procs(&children, python::psutil_pidfd);
                })
            },
        ),
    ]
}

fn contestant(
    name: &'static str,
    label: impl Into<String>,
    spawn: fn(&Children, usize, Time) -> Waiting,
) -> Contestant {
    Contestant {
        name,
        label: label.into(),
        spawn,
    }
}

fn of_children(children: &Children, count: usize, until: Time, wait: fn(Vec<Child>)) -> Waiting {
    let spawn = |_| children.command(until).unwrap().spawn().unwrap();
    let children = (0..count).map(spawn).collect();
    Box::new(move || wait(children))
}

fn reap(mut child: Child) {
    assert_eq!(child.wait().unwrap().code(), Some(CODE));
}

fn by_pid(children: Vec<Child>) -> HashMap<u32, Child> {
    children
        .into_iter()
        .map(|child| (child.id(), child))
        .collect()
}

fn bare_epoll(children: Vec<Child>) {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut held: HashMap<u64, (OwnedFd, Child)> = HashMap::with_capacity(children.len());
    for child in children {
        let pid = u64::from(child.id());
        let pidfd = bare::open(child.id());
        let data = epoll::EventData::new_u64(pid);
        epoll::add(&epoll, &pidfd, data, epoll::EventFlags::IN).unwrap();
        held.insert(pid, (pidfd, child));
    }
    let mut events = Vec::with_capacity(256);
    while !held.is_empty() {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None).unwrap();
        for event in &events {
            let (pidfd, child) = held.remove(&event.data.u64()).unwrap();
            let status = bare::peek(WaitId::PidFd(pidfd.as_fd())).unwrap();
            assert_eq!(status.exit_status(), Some(CODE));
            epoll::delete(&epoll, &pidfd).unwrap();
            reap(child);
        }
    }
}

fn wait_set(children: Vec<Child>) {
    let mut set = procwait::WaitSet::new();
    let mut children = by_pid(children);
    for &pid in children.keys() {
        set.insert(pid).unwrap();
    }
    while let Some((pid, exit)) = set.wait(Some(TIMEOUT)).unwrap() {
        assert_eq!(exit.code(), Some(CODE));
        reap(children.remove(&pid).unwrap());
    }
    assert!(children.is_empty());
}

fn wait_all(children: Vec<Child>) {
    let pids = children.iter().map(Child::id);
    let sorted = procwait::wait_all(pids, Some(TIMEOUT)).unwrap();
    assert!(sorted.running.is_empty());
    for (_, exit) in sorted.exited {
        assert_eq!(exit.code(), Some(CODE));
    }
    children.into_iter().for_each(reap);
}

fn threads(children: Vec<Child>) {
    let wait = |child| {
        let builder = thread::Builder::new().stack_size(64 << 10);
        builder.spawn(|| reap(child)).unwrap()
    };
    let threads: Vec<_> = children.into_iter().map(wait).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn join_set(children: &Children, count: usize, until: Time) -> Waiting {
    let spawn = |_| {
        let command = children.command(until).unwrap();
        tokio::process::Command::from(command).spawn().unwrap()
    };
    let children: Vec<_> = in_tokio(async { (0..count).map(spawn).collect() });
    Box::new(move || {
        in_tokio(async {
            let mut set = tokio::task::JoinSet::new();
            for mut child in children {
                set.spawn(async move { child.wait().await });
            }
            let all = async {
                while let Some(status) = set.join_next().await {
                    assert_eq!(status.unwrap().unwrap().code(), Some(CODE));
                }
            };
            tokio::time::timeout(TIMEOUT, all).await.unwrap();
        })
    })
}

fn join_set_of_processes(children: &Children, count: usize, until: Time) -> Waiting {
    let spawn = |_| {
        let child = children.command(until).unwrap().spawn().unwrap();
        let process = procwait::Process::open(child.id()).unwrap();
        (child, process)
    };
    let children: Vec<_> = (0..count).map(spawn).collect();
    Box::new(move || {
        in_tokio(async {
            let mut set = tokio::task::JoinSet::new();
            for (child, process) in children {
                set.spawn(async move {
                    let exit = process.wait_on_tokio().await.unwrap();
                    assert_eq!(exit.code(), Some(CODE));
                    reap(child);
                });
            }
            let all = async {
                while let Some(done) = set.join_next().await {
                    done.unwrap();
                }
            };
            tokio::time::timeout(TIMEOUT, all).await.unwrap();
        })
    })
}

fn wait_procs(children: &[Child], wait: python::Wait) {
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    let statuses = python::wait_procs(&pids, TIMEOUT, wait);
    assert_eq!(statuses.len(), children.len());
    for status in statuses {
        assert_eq!(status.exit_status(), Some(CODE));
    }
}
