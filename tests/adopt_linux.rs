//! Tests of adopted processes, by pidfds from wherever they come.

#![cfg(all(target_os = "linux", not(kqueue_on_linux)))]

mod common;
#[path = "common/own_pids.rs"]
mod own_pids;
#[path = "common/runtimes.rs"]
mod runtimes;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
#[path = "common/seccomp.rs"]
mod seccomp;

use common::{
    Grandchild, LONG, SHORT, assert_success, exit_of, fork_with_pidfd, has_pidfd, helper,
    helper_command, in_a_fork, in_subprocess, kernel_version, ready_helper, skip, spawn,
};
use futures_lite::future::poll_once;
use nix::{
    libc,
    sched::{CloneFlags, unshare},
};
use own_pids::{helper_with_pid, in_own_pid_namespace, mount_on_proc, reuse};
use procwait::{Backend, Error, Process, WaitSet};
use rustix::{
    event::epoll,
    fs::fcntl_getfl,
    io::{FdFlags, fcntl_getfd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Pid, PidfdFlags, pidfd_open},
    thread::gettid,
};
use std::{
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::{self, MaybeUninit},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process,
    sync::mpsc,
    thread,
};

/// `PIDFD_THREAD` of pidfd_open(2), since Linux 6.9.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);

fn open(pid: u32) -> OwnedFd {
    open_with(pid, PidfdFlags::empty()).unwrap()
}

fn open_with(pid: u32, flags: PidfdFlags) -> rustix::io::Result<OwnedFd> {
    pidfd_open(Pid::from_raw(pid as i32).unwrap(), flags)
}

#[track_caller]
fn adopt(pidfd: OwnedFd) -> Process {
    Process::from_pidfd(pidfd).unwrap()
}

/// Whether there are pidfds. Prints that `test` is skipped if there are none.
fn can_adopt(test: &str) -> bool {
    let can_adopt = has_pidfd();
    if !can_adopt {
        skip(test, "pidfd");
    }
    can_adopt
}

/// Whether the status of a process is known after it was reaped.
fn keeps_status() -> bool {
    kernel_version() >= (6, 15)
}

fn pass_on(socket: &UnixStream, fd: BorrowedFd<'_>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(
        socket,
        &[IoSlice::new(b"x")],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
}

fn receive(socket: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::empty(),
    )
    .unwrap();
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.unwrap()
}

/// The pidfd of the process at the other end.
#[allow(unsafe_code)]
fn peer_pidfd(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut fd = -1;
    let mut length = mem::size_of_val(&fd) as libc::socklen_t;
    // SAFETY: the kernel writes to `fd` and `length`, which live until it returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asserts that everything works with a process that exits with code 7 at `end`.
fn assert_works(process: &Process, pid: u32, end: impl FnOnce()) {
    assert_eq!(process.pid(), pid);
    assert_eq!(process.backend(), Backend::PidFd);
    assert_eq!(process.try_wait().unwrap(), None);
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    assert!(process.send_signal(0).unwrap());
    let mut set = WaitSet::new();
    assert!(set.insert_process(process).unwrap());
    assert!(!set.insert(pid).unwrap(), "the same process");
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    end();
    assert_eq!(process.wait().unwrap().code(), Some(7));
    assert_eq!(
        set.wait(Some(LONG)).unwrap(),
        Some((pid, process.wait().unwrap()))
    );
    assert!(!process.send_signal(libc::SIGKILL).unwrap());
    process.kill().unwrap();
}

#[test]
fn pidfd_of_a_child() {
    if !can_adopt("pidfd_of_a_child") {
        return;
    }
    let sources: [fn(u32) -> io::Result<OwnedFd>; 3] = [
        |pid| Ok(open(pid)),
        |pid| Ok(open_with(pid, PidfdFlags::NONBLOCK)?), // since Linux 5.10
        |pid| {
            let process = Process::open(pid).unwrap();
            process.as_event_fd().unwrap().try_clone_to_owned()
        },
    ];
    for source in sources {
        let mut child = helper("wait 7");
        let pidfd = match source(child.id()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                skip("pidfd_of_a_child", &format!("PIDFD_NONBLOCK: {error}"));
                continue;
            }
        };
        let same_file = pidfd.try_clone().unwrap();
        let flags = fcntl_getfl(&same_file).unwrap();
        let process = adopt(pidfd);
        assert_works(&process, child.id(), || drop(child.stdin.take()));
        assert_eq!(fcntl_getfl(&same_file).unwrap(), flags);
        assert_eq!(child.wait().unwrap().code(), Some(7), "not reaped");
    }
}

#[test]
fn pidfd_from_another_process() {
    in_subprocess(|| {
        if !can_adopt("pidfd_from_another_process") {
            return;
        }
        let mut child = helper("wait 7");
        let (ours, theirs) = UnixStream::pair().unwrap();
        let opener = in_a_fork(|| pass_on(&theirs, open(child.id()).as_fd()));
        let process = adopt(receive(&ours));
        assert_success(opener);
        assert_works(&process, child.id(), || drop(child.stdin.take()));
    });
}

/// Accepts a connection from a forked child, which exits with code 7 when that is closed.
fn connection_from_a_fork() -> (nix::unistd::Pid, UnixStream) {
    let path = std::env::temp_dir().join(format!("procwait-adopt-{}", process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let forked = in_a_fork(|| {
        let mut connection = UnixStream::connect(&path).unwrap();
        connection.read_to_end(&mut Vec::new()).unwrap();
        process::exit(7)
    });
    let (connection, _) = listener.accept().unwrap();
    fs::remove_file(path).unwrap();
    (forked, connection)
}

#[test]
fn pidfd_of_the_peer_of_a_socket() {
    in_subprocess(|| {
        let (forked, connection) = connection_from_a_fork();
        let pidfd = match peer_pidfd(&connection) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                return skip(
                    "pidfd_of_the_peer_of_a_socket",
                    &format!("SO_PEERPIDFD: {error}"),
                );
            }
        };
        let process = adopt(pidfd);
        assert_works(&process, forked.as_raw() as u32, || drop(connection));
    });
}

/// Since Linux 6.16.
#[test]
fn pidfd_of_a_reaped_peer() {
    in_subprocess(|| {
        let (forked, mut connection) = connection_from_a_fork();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        // The other end is closed by the exit.
        connection.read_to_end(&mut Vec::new()).unwrap();
        nix::sys::wait::waitpid(forked, None).unwrap();
        match peer_pidfd(&connection) {
            Ok(pidfd) => assert_is_reaped(pidfd),
            Err(error) => skip(
                "pidfd_of_a_reaped_peer",
                &format!("SO_PEERPIDFD of a reaped process: {error}"),
            ),
        }
    });
}

#[test]
#[allow(unsafe_code)]
fn pidfd_from_clone() {
    in_subprocess(|| {
        let (mut our_end, mut childs_end) = UnixStream::pair().unwrap();
        let mut pidfd = -1;
        let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the subprocess runs only this test, so no other thread can hold a lock. `pidfd`
        // lives until the call returns.
        let pid = unsafe { fork_with_pidfd(flags, &raw mut pidfd) };
        if pid == 0 {
            drop(our_end);
            let _ = childs_end.read(&mut [0]);
            process::exit(7);
        }
        if pid < 0 || pidfd < 0 {
            return skip("pidfd_from_clone", "CLONE_PIDFD");
        }
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        let process = adopt(unsafe { OwnedFd::from_raw_fd(pidfd) });
        assert_works(&process, pid as u32, || our_end.write_all(b"x").unwrap());
    });
}

#[test]
fn adopted_process_is_signaled_and_stopped() {
    if !can_adopt("adopted_process_is_signaled_and_stopped") {
        return;
    }
    let child = helper("ignore-stdin");
    let process = adopt(open(child.id()));
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL));

    let child = ready_helper("on-term 5", "ready");
    let process = adopt(open(child.id()));
    assert!(process.send_signal(libc::SIGTERM).unwrap());
    assert_eq!(process.wait().unwrap().code(), Some(5));

    let child = ready_helper("on-term 6", "ready");
    let process = adopt(open(child.id()));
    let exit = process.stop(LONG).unwrap().unwrap();
    assert_eq!(exit.code(), Some(6));

    use std::os::unix::process::CommandExt as _;
    let child = spawn(helper_command("ignore-stdin").process_group(0));
    let process = adopt(open(child.id()));
    assert!(process.send_signal_to_group(libc::SIGUSR1).unwrap());
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGUSR1));
}

#[test]
fn own_process() {
    if !can_adopt("own_process") {
        return;
    }
    let process = adopt(open(process::id()));
    assert_eq!(process.pid(), process::id());
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    assert!(process.send_signal(0).unwrap());
}

#[test]
fn zombie() {
    let test = "zombie";
    if !can_adopt(test) {
        return;
    }
    let mut child = helper("wait 7");
    drop(child.stdin.take());
    exit_of(child.id());
    let mut grandchild = Grandchild::new("wait 7");
    grandchild.end();
    exit_of(grandchild.pid);
    let code_of_grandchild = common::proc_shows_exit_codes(test).then_some(7);
    for (pid, code) in [(child.id(), Some(7)), (grandchild.pid, code_of_grandchild)] {
        let process = adopt(open(pid));
        assert_eq!(process.pid(), pid);
        assert!(!process.send_signal(libc::SIGKILL).unwrap());
        process.kill().unwrap();
        let mut set = WaitSet::new();
        assert!(set.insert_process(&process).unwrap());
        let exit = process.wait().unwrap();
        assert_eq!(exit.code(), code);
        assert_eq!(set.wait(Some(LONG)).unwrap(), Some((pid, exit)));
    }
    assert_eq!(child.wait().unwrap().code(), Some(7), "not reaped");
}

/// Asserts what is known of a process that has exited with code 7 and been reaped. Call this only in
/// a subprocess: a signal to the number 0 would be one to the caller's process group.
fn assert_is_reaped(pidfd: OwnedFd) {
    nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)).unwrap();
    let process = adopt(pidfd);
    assert_no_pid(&process);
    process.kill().unwrap();
    for signal in [0, libc::SIGTERM, libc::SIGKILL] {
        assert!(!process.send_signal(signal).unwrap());
    }
    let exit = process.try_wait().unwrap().expect("it has exited");
    assert_eq!(exit.code(), keeps_status().then_some(7), "{exit:?}");
    assert_eq!(process.stop(LONG).unwrap(), Some(exit));
    assert_eq!(process.wait().unwrap(), exit);
}

/// Asserts that a process whose pid is not known is not taken for another one.
fn assert_no_pid(process: &Process) {
    assert_eq!(process.pid(), 0);
    assert_eq!(process.identity(), None);
    for signal in [0, libc::SIGTERM, libc::SIGKILL] {
        let error = process.send_signal_to_group(signal).unwrap_err();
        assert!(matches!(error, Error::InvalidPid { pid: 0 }), "{error}");
    }
    let mut set = WaitSet::new();
    let error = set.insert_process(process).unwrap_err();
    assert!(matches!(error, Error::InvalidPid { pid: 0 }), "{error}");
    assert!(set.is_empty());
}

#[test]
fn reaped_before_it_is_adopted() {
    in_subprocess(|| {
        if !can_adopt("reaped_before_it_is_adopted") {
            return;
        }
        let (mut child, mut grandchild) = (helper("wait 7"), Grandchild::new("wait 7"));
        let pidfds = [child.id(), grandchild.pid].map(open);
        child.wait().unwrap();
        grandchild.end();
        grandchild.reap();
        for pidfd in pidfds {
            assert_is_reaped(pidfd);
        }
    });
}

/// Another process has the pid by then.
#[test]
fn pid_reused_before_it_is_adopted() {
    in_own_pid_namespace(|| {
        if !can_adopt("pid_reused_before_it_is_adopted") {
            return;
        }
        let old = helper("wait 7");
        let pidfd = open(old.id());
        let mut new = reuse(old);
        assert_is_reaped(pidfd);
        assert_eq!(new.wait().unwrap().code(), Some(8), "not signaled");
    });
}

#[test]
fn pid_reused_after_it_is_adopted() {
    in_own_pid_namespace(|| {
        if !can_adopt("pid_reused_after_it_is_adopted") {
            return;
        }
        let old = helper("wait 7");
        let pid = old.id();
        let [first, second] = [(); 2].map(|()| adopt(open(pid)));
        let mut set = WaitSet::new();
        set.insert_process(&first).unwrap();
        let mut new = reuse(old);
        assert_eq!(second.identity(), None);
        assert!(!second.send_signal_to_group(libc::SIGKILL).unwrap());
        assert!(!second.send_signal(libc::SIGKILL).unwrap());
        second.kill().unwrap();
        for process in [&first, &second] {
            assert_eq!(process.pid(), pid);
            let exit = process.try_wait().unwrap().expect("it has exited");
            assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
        }
        assert!(set.insert(pid).unwrap(), "the new process");
        assert_eq!(
            set.wait(Some(LONG)).unwrap(),
            Some((pid, first.wait().unwrap()))
        );
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        assert_eq!(new.wait().unwrap().code(), Some(8), "not signaled");
    });
}

/// The process is outside the caller's pid namespace, in which another process has its number.
/// `/proc` is that of the outer namespace, and then that of the inner one.
#[test]
fn process_outside_the_pid_namespace() {
    in_own_pid_namespace(|| {
        if !can_adopt("process_outside_the_pid_namespace") {
            return;
        }
        let mut outers = [helper("wait 7"), helper("wait 7")];
        let pidfds = outers.each_ref().map(|outer| open(outer.id()));
        let (mut requests, end_outer) = UnixStream::pair().unwrap();
        unshare(CloneFlags::CLONE_NEWPID).unwrap();
        let forked = in_a_fork(|| {
            // The other copies keep them running.
            outers.iter_mut().for_each(|outer| drop(outer.stdin.take()));
            let mut end_outer = end_outer;
            for ((outer, pidfd), has_own_proc) in outers.iter().zip(pidfds).zip([false, true]) {
                let mut inner = helper_with_pid(outer.id(), "wait 8");
                if has_own_proc {
                    unshare(CloneFlags::CLONE_NEWNS).unwrap();
                    mount_on_proc("proc");
                }
                let process = adopt(pidfd);
                assert_no_pid(&process);
                assert_eq!(process.try_wait().unwrap(), None);
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
                let call = "pidfd_send_signal";
                for signal in [0, libc::SIGTERM, libc::SIGKILL] {
                    assert_refused(process.send_signal(signal), call, libc::EINVAL);
                }
                assert_refused(process.kill(), call, libc::EINVAL);
                assert_refused(process.stop(LONG), call, libc::EINVAL);
                drop(inner.stdin.take());
                assert_eq!(exit_of(inner.id()).code(), Some(8), "not signaled");
                end_outer.write_all(b"x").unwrap();
                let exit = process.wait_timeout(LONG).unwrap().expect("it has exited");
                let is_shown = !has_own_proc && kernel_version() >= (5, 17);
                assert_eq!(exit.code(), is_shown.then_some(7), "{exit:?}");
                assert!(!process.send_signal(libc::SIGKILL).unwrap());
                process.kill().unwrap();
                inner.wait().unwrap();
            }
        });
        for outer in &mut outers {
            requests.read_exact(&mut [0]).unwrap();
            drop(outer.stdin.take());
        }
        assert_success(forked);
        for mut outer in outers {
            assert_eq!(outer.wait().unwrap().code(), Some(7), "not signaled");
        }
    });
}

/// Asserts that a call on a process whose pid is not known failed with this errno.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, name: &str, errno: i32) {
    match result.unwrap_err() {
        Error::Os { call, pid, source } => {
            assert_eq!((call, pid), (name, 0));
            assert_eq!(source.raw_os_error(), Some(errno));
        }
        error => panic!("{error}"),
    }
}

/// Asserts that the descriptor is refused, and closed.
#[allow(unsafe_code)]
#[track_caller]
fn assert_not_adopted(fd: OwnedFd) {
    let number = fd.as_raw_fd();
    let error = Process::from_pidfd(fd).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Os {
                call: "from_pidfd",
                pid: 0,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    // SAFETY: F_GETFD only reads the flags, and fails if the descriptor is closed.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    assert_eq!(flags, -1, "descriptor {number} is still open");
}

#[test]
fn other_descriptors_are_refused() {
    in_subprocess(|| {
        assert_other_descriptors_are_refused();
    });
}

fn assert_other_descriptors_are_refused() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (socket, other_end) = UnixStream::pair().unwrap();
    let others: [OwnedFd; 9] = [
        File::open(common::test_binary()).unwrap().into(),
        File::open("/dev/null").unwrap().into(),
        File::open(format!("/proc/{}", process::id()))
            .unwrap()
            .into(),
        File::open("/proc/self/stat").unwrap().into(),
        reader,
        writer,
        socket.into(),
        epoll::create(epoll::CreateFlags::empty()).unwrap(),
        rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap(),
    ];
    for other in others {
        assert_not_adopted(other);
    }
    drop(other_end);
}

#[test]
fn pidfd_of_a_thread_is_refused() {
    in_subprocess(|| {
        let test = "pidfd_of_a_thread_is_refused";
        let (send, receive) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            send.send(gettid().as_raw_nonzero().get() as u32).unwrap();
            let _ = stopped.recv();
        });
        for tid in [receive.recv().unwrap(), process::id()] {
            match open_with(tid, THREAD) {
                Ok(pidfd) => assert_not_adopted(pidfd),
                Err(error) => skip(test, &format!("PIDFD_THREAD: {error}")),
            }
        }
        drop(stop);
        thread.join().unwrap();
    });
}

/// The descriptor can have the number of a standard stream that was closed.
#[test]
#[allow(unsafe_code)]
fn adopted_descriptor_is_above_standard_streams_and_close_on_exec() {
    in_subprocess(|| {
        if !can_adopt("adopted_descriptor_is_above_standard_streams_and_close_on_exec") {
            return;
        }
        let child = helper("wait 7");
        let pidfd = open(child.id());
        for number in [0, 1, 2, 100] {
            // SAFETY: these calls take numbers. Nothing uses the standard stream until it is put back,
            // and only `process` owns the copy of the pidfd.
            let process = unsafe {
                let saved = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 200);
                assert_eq!(libc::dup2(pidfd.as_raw_fd(), number), number);
                let process = Process::from_pidfd(OwnedFd::from_raw_fd(number));
                if saved != -1 {
                    let is_free = libc::fcntl(number, libc::F_GETFD) == -1;
                    assert_eq!(libc::dup2(saved, number), number);
                    libc::close(saved);
                    assert!(is_free, "descriptor {number} is in use");
                }
                process.unwrap()
            };
            let adopted = process.as_event_fd().unwrap();
            assert!(adopted.as_raw_fd() > 2);
            assert!(fcntl_getfd(adopted).unwrap().contains(FdFlags::CLOEXEC));
            assert_eq!(process.pid(), child.id());
        }
    });
}

#[test]
fn dropped_process_closes_its_descriptor() {
    in_subprocess(|| {
        if !can_adopt("dropped_process_closes_its_descriptor") {
            return;
        }
        let count_open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let mut child = helper("wait 7");
        let before = count_open();
        let running = adopt(open(child.id()));
        assert_eq!(running.try_wait().unwrap(), None);
        drop(running);
        let exited = adopt(open(child.id()));
        child.wait().unwrap();
        exited.wait().unwrap();
        drop(exited);
        assert_eq!(
            count_open(),
            before - 1,
            "all but the child's standard input"
        );
    });
}

#[test]
fn adopted_process_is_awaited() {
    in_subprocess(|| {
        if !can_adopt("adopted_process_is_awaited") {
            return;
        }
        for runtime in runtimes::ALL {
            let mut child = helper("wait 7");
            let process = adopt(open(child.id()));
            let pidfd = open(child.id());
            runtime.block_on(async {
                let mut wait = runtime.wait(&process);
                assert!(poll_once(&mut wait).await.is_none(), "{runtime:?}");
                drop(child.stdin.take());
                assert_eq!(wait.await.unwrap().code(), Some(7), "{runtime:?}");
                child.wait().unwrap();
                let reaped = adopt(pidfd);
                assert_eq!(reaped.pid(), 0);
                let exit = runtime.wait(&reaped).await.unwrap();
                assert_eq!(exit.code(), keeps_status().then_some(7), "{runtime:?}");
            });
        }
    });
}

#[test]
fn without_proc() {
    in_own_pid_namespace(|| {
        if !can_adopt("without_proc") {
            return;
        }
        mount_on_proc("tmpfs");
        let mut child = helper("wait 7");
        let pidfd = open(child.id());
        let process = adopt(open(child.id()));
        if kernel_version() >= (6, 13) {
            assert_works(&process, child.id(), || drop(child.stdin.take()));
        } else {
            assert_no_pid(&process);
        }
        child.wait().unwrap();
        assert_is_reaped(pidfd);
    });
}

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod in_a_sandbox {
    use super::*;
    use seccomp::{deny, install_filter};
    use seccompiler::SeccompAction;
    use std::time::{Duration, Instant};

    /// Runs the test in threads in which these calls fail, each with another errno.
    fn without(calls: &[i64], test: impl Fn(i32) + Sync) {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let in_thread = || {
                deny(calls, errno);
                test(errno);
            };
            thread::scope(|scope| scope.spawn(in_thread).join()).unwrap();
        }
    }

    /// Kills the program if it makes a call that sends a signal to a number, or checks a number.
    fn forbid_calls_by_number() {
        let calls = [
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_tgkill,
            libc::SYS_getpgid,
            libc::SYS_wait4,
            libc::SYS_pidfd_open,
        ];
        install_filter(&calls, SeccompAction::KillProcess);
    }

    #[test]
    fn nothing_is_asked_or_signaled_by_number_after_the_reap() {
        in_subprocess(|| {
            if !can_adopt("in_a_sandbox::nothing_is_asked_or_signaled_by_number_after_the_reap") {
                return;
            }
            let mut child = helper("wait 7");
            let pidfd = open(child.id());
            child.wait().unwrap();
            forbid_calls_by_number();
            assert_is_reaped(pidfd);
        });
    }

    /// `/proc` shows whether a descriptor is a pidfd.
    #[test]
    fn without_waitid() {
        in_subprocess(|| {
            let test = "in_a_sandbox::without_waitid";
            if !can_adopt(test) || !common::proc_shows_exit_codes(test) {
                return;
            }
            without(&[libc::SYS_waitid], |_| {
                assert_other_descriptors_are_refused();
                if let Ok(pidfd) = open_with(process::id(), THREAD) {
                    assert_not_adopted(pidfd);
                }
                let mut child = helper("wait 7");
                let pidfd = open(child.id());
                let process = adopt(open(child.id()));
                assert_works(&process, child.id(), || drop(child.stdin.take()));
                child.wait().unwrap();
                assert_is_reaped(pidfd);
            });
        });
    }

    /// `/proc` shows the pid: also to a thread with its own descriptors.
    #[test]
    fn without_ioctl() {
        in_subprocess(|| {
            if !can_adopt("in_a_sandbox::without_ioctl") {
                return;
            }
            without(&[libc::SYS_ioctl], |_| {
                unshare(CloneFlags::CLONE_FILES).unwrap();
                let mut child = helper("wait 7");
                let pidfd = open(child.id());
                let process = adopt(open(child.id()));
                assert_works(&process, child.id(), || drop(child.stdin.take()));
                child.wait().unwrap();
                let process = adopt(pidfd);
                assert_no_pid(&process);
                assert_eq!(process.wait().unwrap().status(), None);
            });
        });
    }

    /// Then an event that cannot be waited for is replaced by polling.
    #[test]
    fn without_ppoll() {
        in_subprocess(|| {
            if !can_adopt("in_a_sandbox::without_ppoll") {
                return;
            }
            without(&[libc::SYS_ppoll], |errno| {
                let mut child = helper("wait 7");
                let pidfd = open(child.id());
                let process = adopt(open(child.id()));
                assert_eq!(process.pid(), child.id());
                assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
                assert_eq!(process.backend(), Backend::Polling);
                let cause = process.fallback_cause().unwrap();
                assert_eq!(cause.raw_os_error(), Some(errno));
                assert!(process.send_signal(0).unwrap());
                child.wait().unwrap();
                let exit = process.wait_timeout(LONG).unwrap().unwrap();
                assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");

                // The pid of a reaped process is not known, so it cannot be polled.
                let process = adopt(pidfd);
                assert_no_pid(&process);
                assert_wait_fails(&process, errno);
                assert!(!process.send_signal(libc::SIGKILL).unwrap());
                let exit = process.wait_timeout(LONG).unwrap().expect("it was reaped");
                assert_eq!(exit.code(), keeps_status().then_some(7));
            });
        });
    }

    /// Asserts that waits fail without a delay.
    fn assert_wait_fails(process: &Process, errno: i32) {
        let start = Instant::now();
        for timeout in [Duration::ZERO, SHORT, LONG] {
            assert_refused(process.wait_timeout(timeout), "ppoll", errno);
        }
        assert_refused(process.wait(), "ppoll", errno);
        assert!(start.elapsed() < LONG);
    }

    /// Neither the ioctl nor `/proc` shows the pid.
    #[test]
    fn without_ioctl_and_proc() {
        in_own_pid_namespace(|| {
            if !can_adopt("in_a_sandbox::without_ioctl_and_proc") {
                return;
            }
            mount_on_proc("tmpfs");
            without(&[libc::SYS_ioctl], |_| {
                for runtime in runtimes::ALL {
                    let mut child = helper("wait 7");
                    let process = adopt(open(child.id()));
                    assert_no_pid(&process);
                    assert!(process.send_signal(0).unwrap());
                    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
                    runtime.block_on(async {
                        let mut wait = runtime.wait(&process);
                        assert!(poll_once(&mut wait).await.is_none());
                        drop(child.stdin.take());
                        assert_eq!(wait.await.unwrap().code(), Some(7), "{runtime:?}");
                    });
                    child.wait().unwrap();
                }
                let mut child = helper("ignore-stdin");
                let process = adopt(open(child.id()));
                assert_eq!(
                    process.stop(LONG).unwrap().unwrap().signal(),
                    Some(libc::SIGTERM)
                );
                child.wait().unwrap();
            });
            without(&[libc::SYS_ioctl, libc::SYS_ppoll], |errno| {
                let child = helper("wait 7");
                let process = adopt(open(child.id()));
                assert_no_pid(&process);
                assert_wait_fails(&process, errno);
                // It is signaled through the pidfd all the same.
                assert!(process.send_signal(0).unwrap());
                assert_refused(process.stop(LONG), "ppoll", errno);
            });
        });
    }

    /// If the pidfd cannot be signaled, there is no number to signal instead.
    #[test]
    fn without_ioctl_and_proc_and_pidfd_send_signal() {
        in_own_pid_namespace(|| {
            if !can_adopt("in_a_sandbox::without_ioctl_and_proc_and_pidfd_send_signal") {
                return;
            }
            mount_on_proc("tmpfs");
            without(&[libc::SYS_ioctl, libc::SYS_pidfd_send_signal], |errno| {
                let mut child = helper("wait 7");
                let process = adopt(open(child.id()));
                forbid_calls_by_number();
                assert_no_pid(&process);
                let call = "pidfd_send_signal";
                for signal in [0, libc::SIGTERM, libc::SIGKILL] {
                    assert_refused(process.send_signal(signal), call, errno);
                }
                assert_refused(process.kill(), call, errno);
                assert_refused(process.stop(LONG), call, errno);
                drop(child.stdin.take());
                assert_eq!(process.wait().unwrap().code(), Some(7));
                mem::forget(child); // Its `wait` is by number.
            });
        });
    }

    /// Nothing shows whether a descriptor is a pidfd.
    #[test]
    fn without_waitid_and_proc() {
        in_own_pid_namespace(|| {
            if !can_adopt("in_a_sandbox::without_waitid_and_proc") {
                return;
            }
            mount_on_proc("tmpfs");
            without(&[libc::SYS_waitid], |_| {
                let child = helper("wait 7");
                assert_not_adopted(open(child.id()));
            });
        });
    }
}
