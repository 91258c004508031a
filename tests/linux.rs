//! What only Linux has: pidfds and what can be amiss with them, threads with
//! ids, `/proc`.

#![cfg(target_os = "linux")]

mod common;

use common::{Grandchild, SHORT, alone, held, helper, ready_helper};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procwait::{Backend, Error, Process, wait_pid};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{FdFlags, fcntl_getfd},
    process::{Pid, WaitId, WaitIdOptions, waitid},
    thread::gettid,
};
use std::{fs, sync::mpsc, thread, time::Duration};

/// Whether this kernel has pidfds and lets us have them.
fn has_pidfd() -> bool {
    let process = Process::open(std::process::id()).unwrap();
    process.backend() == Backend::PidFd
}

#[test]
fn the_event_backend_is_a_pidfd() {
    let process = Process::open(std::process::id()).unwrap();
    match process.fallback_cause() {
        None => assert_eq!(process.backend(), Backend::PidFd),
        Some(cause) => common::skip("the_event_backend_is_a_pidfd", &cause.to_string()),
    }
}

#[test]
fn a_threads_id_is_no_processs() {
    let (send, receive) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        send.send(gettid().as_raw_nonzero().get() as u32).unwrap();
        let _ = stopped.recv();
    });
    let tid = receive.recv().unwrap();
    assert!(fs::exists(format!("/proc/{tid}")).unwrap(), "as any pid's");
    let not_found = |error| matches!(error, Error::NotFound { pid } if pid == tid);
    assert!(not_found(wait_pid(tid, None).unwrap_err()));
    assert!(not_found(wait_pid(tid, Some(Duration::ZERO)).unwrap_err()));
    assert!(not_found(Process::open(tid).unwrap_err()));
    for backend in [Backend::Polling, Backend::PidFd] {
        match Process::open_with(tid, backend).unwrap_err() {
            Error::Unsupported { backend } => assert_eq!(backend, Backend::PidFd),
            error => assert!(not_found(error)),
        }
    }
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn a_dead_first_thread_is_no_exit() {
    let mut child = ready_helper("dead-leader 5", "dead");
    let mut processes = held(child.id());
    assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
    for process in &mut processes {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{process:?}");
    }
    drop(child.stdin.take());
    for process in &mut processes {
        process.wait().unwrap();
    }
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let pid = Pid::from_child(&child);
    let told = waitid(WaitId::Pid(pid), options).unwrap().unwrap();
    if told.exit_status() == Some(5) {
        for process in &mut processes {
            assert_eq!(process.wait().unwrap().code(), Some(5), "{process:?}");
        }
    } else {
        // So do Linux before 5.17 and gVisor.
        let lacking = "the kernel tells the first thread's status until the process is reaped";
        common::skip("a_dead_first_thread_is_no_exit", lacking);
    }
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_strangers_dead_first_thread() {
    let mut grandchild = Grandchild::new("dead-leader 5");
    assert_eq!(wait_pid(grandchild.pid, Some(SHORT)).unwrap(), None);
    grandchild.end();
    // While it is a zombie, and once it was reaped.
    let mut processes = held(grandchild.pid);
    for process in &mut processes {
        let exit = process.wait().unwrap();
        assert!(matches!(exit.code(), Some(5) | None), "{exit:?}");
    }
    let mut process = Process::open(grandchild.pid).unwrap();
    grandchild.reap();
    let exit = process.wait().unwrap();
    assert!(matches!(exit.code(), Some(5) | None), "{exit:?}");
}

#[test]
fn a_name_like_the_fields_behind_it() {
    for name in [") Z 1 2 3", "a b", "(x\n)", ") S 1\n2 3"] {
        let mut child = ready_helper(&format!("named {name}"), "named");
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        assert!(stat.contains(name), "{stat:?}");
        let mut processes = held(child.id());
        for process in &mut processes {
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{process:?}");
        }
        drop(child.stdin.take());
        for process in &mut processes {
            assert_eq!(process.wait().unwrap().code(), Some(7), "{process:?}");
        }
        child.wait().unwrap();
    }
}

#[test]
fn a_reaped_strangers_status() {
    // Linux 6.15 and later tell it to whoever had a pidfd before.
    let mut grandchild = Grandchild::new("wait 7");
    let mut process = Process::open(grandchild.pid).unwrap();
    grandchild.end();
    grandchild.reap();
    let exit = process.wait().unwrap();
    if process.backend() == Backend::PidFd && common::kernel() >= (6, 15) {
        assert_eq!(exit.code(), Some(7));
    } else {
        assert_eq!(exit.status(), None);
    }
}

#[test]
fn the_descriptor_is_for_reactors_and_not_for_children() {
    let mut child = helper("wait 3");
    let mut process = Process::open(child.id()).unwrap();
    let Some(fd) = process.as_event_fd() else {
        assert_eq!(process.backend(), Backend::Polling);
        return;
    };
    assert_eq!(fcntl_getfd(fd).unwrap(), FdFlags::CLOEXEC);
    let now = rustix::event::Timespec::default();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&now)).unwrap(), 0);
    drop(child.stdin.take());
    assert_eq!(poll(&mut fds, None).unwrap(), 1);
    assert_eq!(process.try_wait().unwrap().unwrap().code(), Some(3));
    let polled = Process::open_with(child.id(), Backend::Polling).unwrap();
    assert!(polled.as_event_fd().is_none());
    child.wait().unwrap();
}

#[test]
fn without_descriptors_it_polls() {
    alone(|| {
        let had_pidfd = has_pidfd();
        let mut child = helper("wait 7");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // Not below what is open, which makes no difference to what follows.
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        assert_eq!(
            fs::File::open("/proc/self/stat")
                .unwrap_err()
                .raw_os_error(),
            Some(nix::libc::EMFILE)
        );
        assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
        let mut process = Process::open(child.id()).unwrap();
        assert_eq!(process.backend(), Backend::Polling);
        if had_pidfd {
            let cause = process.fallback_cause().unwrap();
            assert_eq!(cause.raw_os_error(), Some(nix::libc::EMFILE));
            match Process::open_with(child.id(), Backend::PidFd).unwrap_err() {
                Error::Os { call, pid, source } => {
                    assert_eq!((call, pid), ("pidfd_open", child.id()));
                    assert_eq!(source.raw_os_error(), Some(nix::libc::EMFILE));
                }
                error => panic!("{error}"),
            }
        }
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        drop(child.stdin.take());
        assert_eq!(process.wait().unwrap().code(), Some(7));
        assert_eq!(wait_pid(child.id(), None).unwrap().unwrap().code(), Some(7));
        child.wait().unwrap();

        // Nothing of it is remembered.
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(has_pidfd(), had_pidfd);
    });
}

#[test]
fn no_descriptor_is_left_open() {
    alone(|| {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let live = helper("wait 0");
        let mut zombie = helper("exit 0");
        wait_pid(zombie.id(), None).unwrap();
        let before = open();
        for _ in 0..5_000 {
            let timeout = Some(Duration::from_nanos(1));
            assert_eq!(wait_pid(live.id(), timeout).unwrap(), None);
            Process::open(zombie.id()).unwrap().wait().unwrap();
        }
        for process in &mut held(zombie.id()) {
            process.wait().unwrap();
        }
        assert_eq!(open(), before);
        zombie.wait().unwrap();
    });
}
