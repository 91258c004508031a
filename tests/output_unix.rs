//! What only Unix has: pipes that are shared, sockets in their place, children that reap
//! themselves.

#![cfg(unix)]

mod common;

use common::{
    LONG, SHORT, alone, helper_command,
    output::{FULL, assert_counts, pattern, piped},
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
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    #[cfg(target_os = "linux")]
    let cpu = common::cpu_time();
    assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
    assert!(start.elapsed() >= timeout);
    #[cfg(target_os = "linux")]
    assert!(common::cpu_time() - cpu < timeout / 2, "it spins");
    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
}

#[test]
fn the_flags_that_others_share_are_not_touched() {
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
fn a_pipe_that_does_not_block_is_read_as_well() {
    let mut child = piped("write 100000 3");
    fcntl_setfl(child.stdout.as_ref().unwrap(), OFlags::NONBLOCK).unwrap();
    let mut captured = Captured::default();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(captured.stdout == pattern(b'o', FULL) && captured.stderr == pattern(b'e', FULL));
}

#[test]
fn a_socket_in_place_of_a_pipe() {
    alone(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = helper_command("write 100000 3");
        command.stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
        let mut child = spawn(&mut command);
        drop(command); // It holds the child's end.
        child.stdout = Some(ChildStdout::from(OwnedFd::from(ours)));
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(captured.stdout == pattern(b'o', FULL));
        assert!(child.stdout.is_none());
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_in_place_of_a_pipe() {
    alone(|| {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ends = openpt(flags).and_then(|ours| {
            unlockpt(&ours)?;
            let theirs = ioctl_tiocgptpeer(&ours, flags)?;
            Ok((ours, theirs))
        });
        let (ours, theirs) = match ends {
            Ok(ends) => ends,
            Err(error) => {
                let what = format!("both ends of a terminal: {error}");
                return common::skip("a_terminal_in_place_of_a_pipe", &what);
            }
        };
        let mut command = shell("echo on a terminal");
        let mut child = spawn(command.stdout(theirs));
        drop(command);
        child.stdout = Some(ours.into());
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert_eq!(captured.stdout, b"on a terminal\r\n");
        assert!(child.stdout.is_none());
    });
}

/// Of which each read takes one, and what it has no room for is lost.
#[test]
#[cfg(target_os = "linux")]
fn packets_are_whole_at_the_limit_too() {
    use rustix::pipe::{PipeFlags, pipe_with};
    for limit in [0, 1, 100, 1_000, 5_000, 70_000, 500_000] {
        let (ours, theirs) = match pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT) {
            Ok(ends) => ends,
            Err(error) => {
                let what = format!("pipes of packets: {error}");
                return common::skip("packets_are_whole_at_the_limit_too", &what);
            }
        };
        let mut command = helper_command("write 100000 0");
        let mut child = spawn(command.stdout(theirs).stderr(Stdio::null()));
        drop(command);
        child.stdout = Some(ours.into());
        let mut captured = Captured::with_limit(limit);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert!(captured.stdout == pattern(b'o', FULL)[..limit.min(FULL)]);
        let discarded = FULL - captured.stdout.len();
        assert_eq!(captured.discarded(), discarded as u64);
    }
}

#[test]
fn whoever_reads_from_the_same_pipe_does_not_hold_up_the_deadline() {
    let test = "whoever_reads_from_the_same_pipe_does_not_hold_up_the_deadline";
    if !has_read_that_does_not_wait() {
        return common::skip(test, "a read of pipes that does not wait");
    }
    let mut child = spawn(shell("while :; do echo x; sleep 0.3; done").stderr(Stdio::null()));
    let shared = OwnedFd::from(child.stdout.take().unwrap());
    let mut thief = File::from(shared.try_clone().unwrap());
    child.stdout = Some(shared.into());
    let thief = thread::spawn(move || {
        let mut stolen = [0; 1024];
        while thief.read(&mut stolen).unwrap() > 0 {}
    });
    let mut captured = Captured::with_limit(0);
    // Long enough for some of what it writes to be taken by the other.
    for _ in 0..100 {
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
    }
    child.kill().unwrap();
    child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    thief.join().unwrap();
}

/// Linux has one, of this open file or of another one of the same pipe. gVisor has none.
fn has_read_that_does_not_wait() -> bool {
    cfg!(target_os = "linux") && !std::fs::exists("/proc/sentry-meminfo").unwrap_or(false)
}

#[test]
#[allow(unsafe_code)]
fn children_that_reap_themselves() {
    alone(|| {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        for _ in 0..50 {
            let mut child = piped("write 100000 7");
            let mut captured = Captured::default();
            // The status, if the OS tells it to others than the parent, or the error that
            // `Child::wait` has; and the output in any case.
            match child.output_timeout(&mut captured, LONG) {
                Ok(status) => assert_eq!(status.unwrap().code(), Some(7)),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
            }
            let expected = (pattern(b'o', FULL), pattern(b'e', FULL));
            assert!((captured.stdout, captured.stderr) == expected);
        }
    });
}

#[test]
fn a_child_that_somebody_else_has_reaped() {
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
        return common::skip("without_descriptors", "a process table that takes none");
    }
    alone(|| {
        let mut child = piped("write 100000 7");
        let mut endless = piped("count");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(7));
        assert!(captured.stdout == pattern(b'o', FULL) && captured.stderr == pattern(b'e', FULL));

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
        assert_counts(&captured.stdout);
        assert_counts(&captured.stderr);
    });
}

#[test]
fn no_descriptor_is_left_open() {
    alone(|| {
        let shown = if cfg!(target_os = "linux") {
            "/proc/self/fd"
        } else {
            "/dev/fd"
        };
        let open = || std::fs::read_dir(shown).unwrap().count();
        let before = open();
        for _ in 0..50 {
            helper_command("exit 0").output_timeout(LONG).unwrap();
            let killed = helper_command("count").output_timeout(Duration::ZERO);
            assert!(killed.unwrap().timed_out);
        }
        assert_eq!(open(), before);
    });
}

#[test]
#[allow(unsafe_code)]
fn a_pipe_that_somebody_has_closed() {
    alone(|| {
        let mut child = piped("write 1000 7");
        let mut captured = Captured::default();
        // A number that is not given to another file at once.
        let high = fcntl_dupfd_cloexec(child.stdout.take().unwrap(), 200).unwrap();
        let closed = high.as_raw_fd();
        child.stdout = Some(high.into());
        // SAFETY: nobody uses the descriptor but those who are told that it is closed.
        assert_eq!(unsafe { libc::close(closed) }, 0);
        let error = child.output_timeout(&mut captured, LONG).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        std::mem::forget(child.stdout.take());
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.is_some());
        assert!(captured.stderr.len() <= 1000);
    });
}
