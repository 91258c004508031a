//! Tests of reading output that only Unix needs: shared pipes, sockets and terminals, children that
//! the kernel or other code reaps.

#![cfg(unix)]

mod common;

use common::{
    LONG, SHORT, helper_command, in_subprocess,
    output::{LEN, assert_consecutive_numbers, assert_sleeps, pattern, piped},
    spawn,
};
use nix::{
    libc,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use procwait::{Captured, ChildExt as _, CommandExt as _};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::fcntl_dupfd_cloexec,
};
use std::{
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    process::{ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

#[test]
fn pipes_that_end_before_the_exit_do_not_end_the_wait() {
    let mut child = spawn(&mut shell("echo last; exec >&- 2>&-; exec sleep 60"));
    let mut captured = Captured::default();
    while child.stdout.is_some() || child.stderr.is_some() {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
    }
    assert_eq!(captured.stdout, b"last\n");
    assert_sleeps(&mut child, &mut captured);
    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
}

#[test]
fn output_leaves_shared_flags_unchanged() {
    let mut child = piped("count");
    let shared = File::from(OwnedFd::from(child.stdout.take().unwrap()));
    child.stdout = Some(OwnedFd::from(shared.try_clone().unwrap()).into());
    let before = fcntl_getfl(&shared).unwrap();
    let mut captured = Captured::default();
    let timeout = Duration::from_millis(100);
    thread::scope(|scope| {
        let wait = scope.spawn(|| child.output_timeout(&mut captured, timeout).unwrap());
        while !wait.is_finished() {
            assert_eq!(fcntl_getfl(&shared).unwrap(), before);
        }
        assert_eq!(wait.join().unwrap(), None);
    });
    while captured.stdout.is_empty() {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
    }
    assert_eq!(fcntl_getfl(&shared).unwrap(), before);
}

#[test]
fn nonblocking_pipe() {
    let mut child = piped("write 100000 3");
    fcntl_setfl(child.stdout.as_ref().unwrap(), OFlags::NONBLOCK).unwrap();
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
}

#[test]
fn socket_instead_of_a_pipe() {
    in_subprocess(|| {
        let (parent_end, child_end) = UnixStream::pair().unwrap();
        let mut command = helper_command("write 100000 3");
        command
            .stdout(OwnedFd::from(child_end))
            .stderr(Stdio::null());
        let mut child = spawn(&mut command);
        drop(command); // It has the child's end open.
        child.stdout = Some(ChildStdout::from(OwnedFd::from(parent_end)));
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(captured.stdout == pattern(b'o', LEN));
        assert!(child.stdout.is_none());
    });
}

#[test]
#[cfg(target_os = "linux")]
fn terminal_instead_of_a_pipe() {
    in_subprocess(|| {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ends = openpt(flags).and_then(|parent_end| {
            unlockpt(&parent_end)?;
            let child_end = ioctl_tiocgptpeer(&parent_end, flags)?;
            Ok((parent_end, child_end))
        });
        let (parent_end, child_end) = match ends {
            Ok(ends) => ends,
            Err(error) => {
                let needed = format!("both ends of a terminal: {error}");
                return common::skip("terminal_instead_of_a_pipe", &needed);
            }
        };
        let mut command = shell("echo on a terminal");
        let mut child = spawn(command.stdout(child_end));
        drop(command);
        child.stdout = Some(parent_end.into());
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert_eq!(captured.stdout, b"on a terminal\r\n");
        assert!(child.stdout.is_none());
    });
}

/// Each read of such a pipe returns one packet, and loses the part that does not fit into its
/// buffer.
#[test]
#[cfg(target_os = "linux")]
fn packet_mode_pipe_at_limit() {
    use rustix::pipe::{PipeFlags, pipe_with};
    for limit in [0, 1, 100, 1_000, 5_000, 70_000, 500_000] {
        let (parent_end, child_end) = match pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT) {
            Ok(ends) => ends,
            Err(error) => {
                let needed = format!("pipes in packet mode: {error}");
                return common::skip("packet_mode_pipe_at_limit", &needed);
            }
        };
        let mut command = helper_command("write 100000 0");
        let mut child = spawn(command.stdout(child_end).stderr(Stdio::null()));
        drop(command);
        child.stdout = Some(parent_end.into());
        let mut captured = Captured::with_limit(limit);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert!(captured.stdout == pattern(b'o', LEN)[..limit.min(LEN)]);
        let discarded = LEN - captured.stdout.len();
        assert_eq!(captured.discarded(), discarded as u64);
    }
}

#[test]
fn concurrent_reader_does_not_delay_the_deadline() {
    let test = "concurrent_reader_does_not_delay_the_deadline";
    if !has_nonblocking_read() {
        return common::skip(test, "a non-blocking read of blocking pipes");
    }
    let mut child = spawn(shell("while :; do echo x; sleep 0.3; done").stderr(Stdio::null()));
    let shared = OwnedFd::from(child.stdout.take().unwrap());
    let mut other_reader = File::from(shared.try_clone().unwrap());
    child.stdout = Some(shared.into());
    let other_reader = thread::spawn(move || {
        let mut buffer = [0; 1024];
        while other_reader.read(&mut buffer).unwrap() > 0 {}
    });
    let mut captured = Captured::with_limit(0);
    // In this time, the other reader takes some of the output.
    for _ in 0..100 {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
    }
    child.kill().unwrap();
    child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    other_reader.join().unwrap();
}

/// Whether a read can be non-blocking without a change of the shared flags. On Linux it can: with
/// `RWF_NOWAIT`, or after opening the pipe again. On gVisor it cannot.
fn has_nonblocking_read() -> bool {
    cfg!(target_os = "linux") && !common::is_gvisor()
}

#[test]
#[allow(unsafe_code)]
fn output_of_children_when_sigchld_is_ignored() {
    in_subprocess(|| {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        for _ in 0..50 {
            let mut child = piped("write 100000 7");
            let mut captured = Captured::default();
            // The kernel reaps the children. The status is known if the OS reports it to
            // non-parents; otherwise the error is that of `Child::wait`. The output is complete.
            match child.output_timeout(&mut captured, LONG) {
                Ok(status) => assert_eq!(status.unwrap().code(), Some(7)),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
            }
            let expected = (pattern(b'o', LEN), pattern(b'e', LEN));
            assert!((captured.stdout, captured.stderr) == expected);
        }
    });
}

#[test]
fn child_reaped_elsewhere() {
    let mut child = piped("write 1000 7");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::wait::waitpid(pid, None).unwrap();
    let mut captured = Captured::default();
    for timeout in [Duration::ZERO, LONG] {
        let error = child.output_timeout(&mut captured, timeout).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
    }
    assert!(captured.stdout == pattern(b'o', 1000) && captured.stderr == pattern(b'e', 1000));
}

#[test]
fn without_descriptors() {
    if cfg!(kqueue_on_linux) {
        return common::skip("without_descriptors", "a process table without descriptors");
    }
    in_subprocess(|| {
        let mut child = piped("write 100000 7");
        let mut endless = piped("count");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(7));
        assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));

        let mut captured = Captured::default();
        let start = Instant::now();
        assert_eq!(endless.output_timeout(&mut captured, SHORT).unwrap(), None);
        assert!(start.elapsed() >= SHORT);
        endless.kill().unwrap();
        endless
            .output_timeout(&mut captured, LONG)
            .unwrap()
            .unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_consecutive_numbers(&captured.stdout);
        assert_consecutive_numbers(&captured.stderr);
    });
}

#[test]
fn no_descriptor_is_left_open() {
    in_subprocess(|| {
        let directory = if cfg!(target_os = "linux") {
            "/proc/self/fd"
        } else {
            "/dev/fd"
        };
        let count_open = || std::fs::read_dir(directory).unwrap().count();
        let before = count_open();
        for _ in 0..50 {
            helper_command("exit 0").output_timeout(LONG).unwrap();
            let killed = helper_command("count").output_timeout(Duration::ZERO);
            assert!(killed.unwrap().timed_out);
        }
        assert_eq!(count_open(), before);
    });
}

#[test]
#[allow(unsafe_code)]
fn pipe_closed_by_other_code() {
    in_subprocess(|| {
        let mut child = piped("write 1000 7");
        let mut captured = Captured::default();
        // Another file does not get a number this high at once.
        let high_fd = fcntl_dupfd_cloexec(child.stdout.take().unwrap(), 200).unwrap();
        let closed = high_fd.as_raw_fd();
        child.stdout = Some(high_fd.into());
        // SAFETY: only the call below uses the descriptor, and it reports the mistake.
        assert_eq!(unsafe { libc::close(closed) }, 0);
        let error = child.output_timeout(&mut captured, LONG).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        std::mem::forget(child.stdout.take());
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.is_some());
        assert!(captured.stderr.len() <= 1000);
    });
}

/// The kernel reaps the child, so std never knows its status. Each call reports it again, all the
/// same, once a call has found it.
#[test]
#[allow(unsafe_code)]
#[cfg(target_os = "linux")]
fn status_of_a_child_that_the_kernel_has_reaped_is_reported_again() {
    let test = "status_of_a_child_that_the_kernel_has_reaped_is_reported_again";
    if !common::has_pidfd() || common::kernel_version() < (6, 15) {
        return common::skip(test, "Linux 6.15");
    }
    in_subprocess(|| {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let mut captured = Captured::default();
        // The status is only known if the child is opened before it has exited.
        let (mut child, status) = loop {
            let mut child = spawn(&mut shell("echo out; sleep 0.1; exit 3"));
            if let Ok(status) = child.output_timeout(&mut captured, LONG) {
                break (child, status.unwrap());
            }
            captured = Captured::default();
        };
        assert_eq!(status.code(), Some(3));
        for timeout in [LONG, Duration::ZERO] {
            let again = child.output_timeout(&mut captured, timeout).unwrap();
            assert_eq!(again, Some(status));
            let again = child.read_timeout(&mut captured, timeout).unwrap();
            assert_eq!(again, procwait::Progress::Exited(status));
        }
        assert!(child.read_to_end_timeout(&mut captured, LONG).unwrap());
        assert_eq!(captured.stdout, b"out\n");

        // That of another child is not its own.
        let mut other = spawn(&mut shell("exit 4"));
        while procwait::wait_pid(other.id(), Some(LONG)).is_ok() {}
        let error = other.output_timeout(&mut captured, LONG).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
    });
}

/// As in the docs of `ChildExt`, whose example needs a later Rust.
#[test]
#[cfg(target_os = "linux")]
fn both_streams_through_one_pipe_keep_their_order() {
    in_subprocess(|| {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut command = shell("for i in 1 2 3; do echo out$i; echo err$i >&2; done");
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = spawn(&mut command);
        drop(command); // It has copies of the writer.
        child.stdout = Some(reader.into());
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success() && child.stdout.is_none());
        assert_eq!(captured.stdout, b"out1\nerr1\nout2\nerr2\nout3\nerr3\n");
    });
}
