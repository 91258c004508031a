//! Tests that only Linux needs: pidfds, thread ids, `/proc`.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;

use common::{
    Grandchild, LONG, SHORT, fork_with, has_pidfd, helper, in_subprocess, open_by_all, ready_helper,
};
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
fn event_backend_is_pidfd() {
    let process = Process::open(std::process::id()).unwrap();
    match process.fallback_cause() {
        None => assert_eq!(process.backend(), Backend::PidFd),
        Some(cause) => common::skip("event_backend_is_pidfd", &cause.to_string()),
    }
}

#[test]
fn thread_id_is_not_found() {
    let (send, receive) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        send.send(gettid().as_raw_nonzero().get() as u32).unwrap();
        let _ = stopped.recv();
    });
    let tid = receive.recv().unwrap();
    assert!(
        fs::exists(format!("/proc/{tid}")).unwrap(),
        "/proc shows threads too"
    );
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
fn exited_main_thread_is_not_an_exit() {
    let mut child = ready_helper("exited-main-thread 5", "exited");
    let processes = open_by_all(child.id());
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
    let exit = waitid(WaitId::Pid(pid), options).unwrap().unwrap();
    if exit.exit_status() == Some(5) {
        for process in &processes {
            assert_eq!(process.wait().unwrap().code(), Some(5), "{process:?}");
        }
    } else {
        // Linux before 5.17 and gVisor report the status of the main thread.
        let needed = "a kernel that reports the status of the process before it is reaped";
        common::skip("exited_main_thread_is_not_an_exit", needed);
    }
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn non_child_with_exited_main_thread() {
    let mut grandchild = Grandchild::new("exited-main-thread 5");
    assert_eq!(wait_pid(grandchild.pid, Some(SHORT)).unwrap(), None);
    grandchild.end();
    // First the grandchild is a zombie, and below it is reaped.
    let processes = open_by_all(grandchild.pid);
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
fn comm_that_looks_like_stat_fields() {
    for name in [") Z 1 2 3", "a b", "(x\n)", ") S 1\n2 3"] {
        let mut child = ready_helper(&format!("named {name}"), "named");
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        assert!(stat.contains(name), "{stat:?}");
        let processes = open_by_all(child.id());
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
fn status_of_reaped_non_child() {
    // Linux 6.15 and later report the status through a pidfd that was opened before.
    let mut grandchild = Grandchild::new("wait 7");
    let process = Process::open(grandchild.pid).unwrap();
    grandchild.end();
    grandchild.reap();
    let exit = process.wait().unwrap();
    if process.backend() == Backend::PidFd && common::kernel_version() >= (6, 15) {
        assert_eq!(exit.code(), Some(7));
    } else {
        assert_eq!(exit.status(), None);
    }
}

/// After a process was reaped, the kernel reports what its main thread exited by. That lacks the
/// core dump flag if another thread dumped core.
#[test]
fn core_dump_of_another_thread() {
    let directory = std::env::temp_dir().join(format!("procwait-core-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let mut command = common::helper_command("abort-in-thread");
    let mut child = common::spawn(command.current_dir(&directory));
    let processes = open_by_all(child.id());
    drop(child.stdin.take());
    let status = child.wait().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    for process in &processes {
        let exit = process.wait().unwrap();
        assert!(
            exit.status().is_none_or(|reported| reported == status),
            "{exit:?} for {status}"
        );
        assert!(matches!(exit.signal(), Some(6) | None), "{exit:?}");
    }
    if !status.core_dumped() {
        common::skip("core_dump_of_another_thread", "a system that dumps core");
    }
}

#[test]
fn event_fd_is_pollable_and_cloexec() {
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
fn polls_without_descriptors() {
    in_subprocess(|| {
        let had_pidfd = has_pidfd();
        let mut child = helper("wait 7");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // This prevents opening descriptors, and does not affect those that are open.
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

        // The failure is not cached.
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(has_pidfd(), had_pidfd);
    });
}

#[test]
fn no_descriptor_is_left_open() {
    in_subprocess(|| {
        let count_open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let live = helper("wait 0");
        let mut zombie = helper("exit 0");
        wait_pid(zombie.id(), None).unwrap();
        let before = count_open();
        for _ in 0..5_000 {
            let timeout = Some(Duration::from_nanos(1));
            assert_eq!(wait_pid(live.id(), timeout).unwrap(), None);
            Process::open(zombie.id()).unwrap().wait().unwrap();
        }
        for process in &open_by_all(zombie.id()) {
            process.wait().unwrap();
        }
        assert_eq!(count_open(), before);
        zombie.wait().unwrap();
    });
}

/// The wait continues by polling, and does not close the descriptor, which may be another file's by
/// then.
#[test]
#[allow(unsafe_code)]
fn pidfd_closed_by_other_code() {
    if !has_pidfd() {
        return common::skip("pidfd_closed_by_other_code", "pidfd");
    }
    in_subprocess(|| {
        for is_reused in [false, true] {
            let child = helper("ignore-stdin");
            let close = |process: &Process| {
                let raw_fd = process.as_event_fd().unwrap().as_raw_fd();
                // SAFETY: this is unsound. The test is about this mistake.
                drop(unsafe { OwnedFd::from_raw_fd(raw_fd) });
                let file = is_reused.then(|| fs::File::open("/dev/zero").unwrap());
                assert!(file.as_ref().is_none_or(|file| file.as_raw_fd() == raw_fd));
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

/// A polled process keeps its `/proc/PID/stat` open. If other code closes that, the number can become
/// that of another process's file, or of another file.
#[test]
#[allow(unsafe_code)]
fn stat_file_closed_by_other_code() {
    in_subprocess(|| {
        let mut child = helper("wait 3");
        let stat = format!("/proc/{}/stat", child.id());
        let open_and_close = || {
            let process = Process::open_with(child.id(), Backend::Polling).unwrap();
            let is_stat = |raw_fd: &i32| {
                let link = fs::read_link(format!("/proc/self/fd/{raw_fd}"));
                link.is_ok_and(|link| link.to_str() == Some(&*stat))
            };
            let raw_fd = (3..100).find(is_stat).unwrap();
            // SAFETY: this is unsound. The test is about this mistake.
            drop(unsafe { OwnedFd::from_raw_fd(raw_fd) });
            (process, raw_fd)
        };

        let (process, raw_fd) = open_and_close();
        let mut other_child = helper("wait 7");
        drop(other_child.stdin.take());
        common::exit_of(other_child.id());
        let other = Process::open_with(other_child.id(), Backend::Polling).unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{raw_fd}")).unwrap();
        assert!(link.ends_with(format!("{}/stat", other_child.id())));
        assert_eq!(
            process.try_wait().unwrap(),
            None,
            "the other process has exited"
        );
        assert!(process.send_signal(0).unwrap());
        assert_eq!(other.try_wait().unwrap().unwrap().code(), Some(7));

        let (process_with_pipe, raw_fd) = open_and_close();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(reader.as_raw_fd(), raw_fd);
        assert_eq!(process_with_pipe.try_wait().unwrap(), None);
        drop(child.stdin.take());
        assert_eq!(process.wait().unwrap().code(), Some(3));
        assert_eq!(process_with_pipe.wait().unwrap().code(), Some(3));
        drop((process, process_with_pipe));
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0]), Ok(1));
    });
}

/// `clone` can create children whose exit signal is not `SIGCHLD`. `waitid` does not find them
/// without `__WALL` or `__WCLONE`: see waitpid(2).
#[test]
#[allow(unsafe_code)]
fn children_with_another_exit_signal_without_proc() {
    let options = ["--user", "--map-root-user", "--mount"];
    common::in_namespaces(&options, "mount -t tmpfs none /proc", || {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { nix::sys::signal::signal(Signal::SIGUSR1, SigHandler::SigIgn) }.unwrap();
        for signal in [0, nix::libc::SIGUSR1] {
            // SAFETY: the child only calls `pause`, which is async-signal-safe.
            let pid = unsafe { fork_with(signal) };
            if pid == 0 {
                loop {
                    // SAFETY: `pause` has no arguments.
                    unsafe { nix::libc::pause() };
                }
            }
            assert!(pid > 0);
            let child = pid as u32;
            let mut processes = open_by_all(child);
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
                let exit = process.wait_timeout(LONG).unwrap().expect("has exited");
                assert_eq!(exit.signal(), Some(9), "{process:?}");
            }
            waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
        }
    });
}
