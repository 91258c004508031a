//! What only Linux has: pidfds and what can be amiss with them, threads with
//! ids, `/proc`.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{Grandchild, LONG, SHORT, alone, fork_with, has_pidfd, held, helper, ready_helper};
use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigHandler, Signal, kill},
    wait::{WaitPidFlag, waitpid},
};
use procwait::{Backend, Error, Process, wait_pid};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{FdFlags, fcntl_getfd},
    process::{Pid, WaitId, WaitIdOptions, waitid},
    thread::gettid,
};
use std::{
    fs,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    sync::mpsc,
    thread,
    time::Duration,
};

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
    let processes = held(child.id());
    assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
    for process in &processes {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{process:?}");
    }
    drop(child.stdin.take());
    for process in &processes {
        process.wait().unwrap();
    }
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let pid = Pid::from_child(&child);
    let told = waitid(WaitId::Pid(pid), options).unwrap().unwrap();
    if told.exit_status() == Some(5) {
        for process in &processes {
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
    let processes = held(grandchild.pid);
    for process in &processes {
        let exit = process.wait().unwrap();
        assert!(matches!(exit.code(), Some(5) | None), "{exit:?}");
    }
    let process = Process::open(grandchild.pid).unwrap();
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
        let processes = held(child.id());
        for process in &processes {
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{process:?}");
        }
        drop(child.stdin.take());
        for process in &processes {
            assert_eq!(process.wait().unwrap().code(), Some(7), "{process:?}");
        }
        child.wait().unwrap();
    }
}

#[test]
fn a_reaped_strangers_status() {
    // Linux 6.15 and later tell it to whoever had a pidfd before.
    let mut grandchild = Grandchild::new("wait 7");
    let process = Process::open(grandchild.pid).unwrap();
    grandchild.end();
    grandchild.reap();
    let exit = process.wait().unwrap();
    if process.backend() == Backend::PidFd && common::kernel() >= (6, 15) {
        assert_eq!(exit.code(), Some(7));
    } else {
        assert_eq!(exit.status(), None);
    }
}

/// Of a process that was reaped the kernel keeps what its first thread ended by, without
/// the flag of another one's core dump.
#[test]
fn a_core_dump_of_another_thread() {
    let directory = std::env::temp_dir().join(format!("procwait-core-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let mut command = common::helper_command("abort-elsewhere");
    let mut child = common::spawn(command.current_dir(&directory));
    let mut held = held(child.id());
    drop(child.stdin.take());
    let status = child.wait().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    for process in &mut held {
        let exit = process.wait().unwrap();
        assert!(
            exit.status().is_none_or(|told| told == status),
            "{exit:?} for {status}"
        );
        assert!(matches!(exit.signal(), Some(6) | None), "{exit:?}");
    }
    if !status.core_dumped() {
        common::skip("a_core_dump_of_another_thread", "this system dumps no core");
    }
}

#[test]
fn the_descriptor_is_for_reactors_and_not_for_children() {
    let mut child = helper("wait 3");
    let process = Process::open(child.id()).unwrap();
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
        let process = Process::open(child.id()).unwrap();
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
        for process in &held(zombie.id()) {
            process.wait().unwrap();
        }
        assert_eq!(open(), before);
        zombie.wait().unwrap();
    });
}

/// What waits by a pidfd that somebody else has closed, in a program where the number is
/// another file's by now, or nobody's.
#[test]
#[allow(unsafe_code)]
fn the_pidfd_that_has_its_number_now_is_not_signalled() {
    let test = "the_pidfd_that_has_its_number_now_is_not_signalled";
    if !has_pidfd() {
        return common::skip(test, "pidfd");
    }
    alone(|| {
        for is_noticed_before in [false, true] {
            let (mut child, other) = (helper("ignore-stdin"), helper("ignore-stdin"));
            let process = Process::open(child.id()).unwrap();
            let number = process.as_event_fd().unwrap().as_raw_fd();
            // SAFETY: not in the least; it is the mistake that is tested.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
            if is_noticed_before {
                assert_eq!(process.try_wait().unwrap(), None);
            }
            // Polling may have taken it.
            let others: Vec<_> = (0..3).map(|_| Process::open(other.id()).unwrap()).collect();
            let numbers = others
                .iter()
                .map(|it| it.as_event_fd().unwrap().as_raw_fd());
            assert!(is_noticed_before || numbers.into_iter().any(|it| it == number));
            process.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(9));
            assert_eq!(others[0].wait_timeout(SHORT).unwrap(), None);
            drop(process);
            assert_eq!(others[0].wait_timeout(SHORT).unwrap(), None);
        }
    });
}

/// As above.
#[test]
#[allow(unsafe_code)]
fn a_descriptor_closed_behind_its_back() {
    if !has_pidfd() {
        return common::skip("a_descriptor_closed_behind_its_back", "pidfd");
    }
    alone(|| {
        for is_reused in [false, true] {
            let child = helper("ignore-stdin");
            let close = |process: &Process| {
                let number = process.as_event_fd().unwrap().as_raw_fd();
                // SAFETY: not in the least; it is the mistake that is tested.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
                let file = is_reused.then(|| fs::File::open("/dev/zero").unwrap());
                assert!(file.as_ref().is_none_or(|file| file.as_raw_fd() == number));
                file
            };
            let process = Process::open(child.id()).unwrap();
            let file = close(&process);
            assert_eq!(process.try_wait().unwrap(), None);
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            assert_eq!(process.backend(), Backend::Polling);
            let cause = process.fallback_cause().unwrap();
            assert_eq!(cause.raw_os_error(), Some(nix::libc::EBADF));

            let strict = Process::open_with(child.id(), Backend::PidFd).unwrap();
            let other_file = close(&strict);
            assert!(matches!(strict.try_wait(), Err(Error::Os { .. })));
            drop(strict);

            kill(
                nix::unistd::Pid::from_raw(child.id() as i32),
                Signal::SIGKILL,
            )
            .unwrap();
            let exit = process.wait().unwrap();
            assert!(matches!(exit.signal(), Some(9) | None), "{exit:?}");
            drop(process);
            for file in [file, other_file].into_iter().flatten() {
                file.metadata().unwrap();
            }
        }
    });
}

/// As `clone` makes them, with another signal for their end than `SIGCHLD` or none. The
/// kernel does not count them among a parent's children unless it is asked.
#[test]
#[allow(unsafe_code)]
fn children_with_another_exit_signal_without_proc() {
    let options = ["--user", "--map-root-user", "--mount"];
    common::in_namespaces(&options, "mount -t tmpfs none /proc", || {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { nix::sys::signal::signal(Signal::SIGUSR1, SigHandler::SigIgn) }.unwrap();
        for signal in [0, nix::libc::SIGUSR1] {
            // SAFETY: the child only waits and ends.
            let pid = unsafe { fork_with(signal) };
            if pid == 0 {
                loop {
                    // SAFETY: as above.
                    unsafe { nix::libc::pause() };
                }
            }
            assert!(pid > 0);
            let child = pid as u32;
            let mut processes = held(child);
            processes.push(Process::open_with(child, Backend::Polling).unwrap());
            assert_eq!(wait_pid(child, Some(SHORT)).unwrap(), None);
            for process in &processes {
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{process:?}");
            }
            let pid = nix::unistd::Pid::from_raw(child as i32);
            kill(pid, Signal::SIGKILL).unwrap();
            let exit = wait_pid(child, Some(LONG)).unwrap().unwrap();
            assert_eq!(exit.signal(), Some(9));
            for process in &processes {
                let exit = process.wait_timeout(LONG).unwrap().expect("is seen");
                assert_eq!(exit.signal(), Some(9), "{process:?}");
            }
            waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        }
    });
}
