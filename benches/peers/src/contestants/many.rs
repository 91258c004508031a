//! The ways to wait for many children. All of them learn every exit code and
//! reap every child.

use super::{
    AGAIN, Contestant, TOKIO, contestant, label, on_tokio, python,
    set::{Epoll, Set},
};
use crate::child::{CODE, Children, Time, reap};
use procwait::{Process, WaitSet};
use std::{process::Child, thread, time::Duration};
use tokio::task::JoinSet;

/// Spawns as many, and gives back what is to be measured: the wait until all have
/// exited.
pub type Way = Box<dyn Fn(&Children, usize, Time) -> Waiting>;
pub type Waiting = Box<dyn FnOnce()>;

pub const FLOOR: &str = "many-epoll";
pub const FLOOR_AGAIN: &str = "many-epoll-again";
pub const WAIT_SET: &str = "many-set";
pub const WAIT_ALL: &str = "many-all";

/// More than any of them takes.
const TIMEOUT: Duration = Duration::from_secs(120);

pub fn all() -> Vec<Contestant<Way>> {
    let floor = || of_children(|children| in_set(Epoll::new(), &children));
    vec![
        contestant(FLOOR, "bare epoll over pidfds", floor()),
        contestant(FLOOR_AGAIN, AGAIN, floor()),
        contestant(
            WAIT_SET,
            "**`procwait::WaitSet`**",
            of_children(|children| in_set(WaitSet::new(), &children)),
        ),
        contestant(WAIT_ALL, "**`procwait::wait_all`**", of_children(wait_all)),
        contestant(
            "many-threads",
            "a thread for each: `Child::wait`",
            of_children(threads),
        ),
        contestant(
            "many-tokio",
            label("tokio", "`JoinSet` ¹"),
            Box::new(|children, count, until| {
                let _context = TOKIO.enter();
                let spawn = |_| tokio::process::Command::from(children.command(until)).spawn();
                let futures = (0..count).map(spawn).map(|child| {
                    let mut child = child.unwrap();
                    async move { child.wait().await.unwrap().code() }
                });
                join(futures.collect())
            }),
        ),
        contestant(
            "many-on-tokio",
            "**`procwait::Process`** on tokio, `JoinSet` ¹",
            Box::new(|children, count, until| {
                let futures = (0..count).map(|_| {
                    let pid = children.spawn(until).id();
                    let process = Process::open(pid).unwrap();
                    async move {
                        let exit = process.wait_on_tokio().await.unwrap();
                        reap(pid);
                        exit.code()
                    }
                });
                join(futures.collect())
            }),
        ),
        contestant(
            "many-psutil",
            "psutil before 7.2.2, `wait_procs`",
            of_children(|children| wait_procs(&children, python::psutil_polling)),
        ),
        contestant(
            "many-psutil-pidfd",
            "psutil 7.2.2 and later, `wait_procs`",
            of_children(|children| wait_procs(&children, python::psutil_pidfd)),
        ),
    ]
}

fn of_children(wait: fn(Vec<Child>)) -> Way {
    Box::new(move |children, count, until| {
        let children = (0..count).map(|_| children.spawn(until)).collect();
        Box::new(move || wait(children))
    })
}

fn in_set(mut set: impl Set, children: &[Child]) {
    for child in children {
        set.insert(child.id());
    }
    for _ in children {
        let (pid, code) = set.next();
        assert_eq!(code, Some(CODE));
        reap(pid);
    }
}

fn wait_all(children: Vec<Child>) {
    let pids = children.iter().map(Child::id);
    let sorted = procwait::wait_all(pids, Some(TIMEOUT)).unwrap();
    assert!(sorted.running.is_empty());
    for (pid, exit) in sorted.exited {
        assert_eq!(exit.code(), Some(CODE));
        reap(pid);
    }
}

fn threads(children: Vec<Child>) {
    let wait = |mut child: Child| {
        let wait = move || assert_eq!(child.wait().unwrap().code(), Some(CODE));
        let builder = thread::Builder::new().stack_size(64 << 10);
        builder.spawn(wait).unwrap()
    };
    let threads: Vec<_> = children.into_iter().map(wait).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn join(futures: Vec<impl Future<Output = Option<i32>> + Send + 'static>) -> Waiting {
    Box::new(|| {
        let all = async { futures.into_iter().collect::<JoinSet<_>>().join_all().await };
        let codes = on_tokio(TIMEOUT, all).unwrap();
        assert!(codes.into_iter().all(|code| code == Some(CODE)));
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
