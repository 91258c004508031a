//! Tests of reading output from other streams than ordinary pipes: terminals, sockets, files, and
//! pipes with another reader.

#![cfg(unix)]

mod common;

use common::{
    Helper, LONG, SHORT, helper_command, in_subprocess,
    output::{LEN, assert_sleeps, pattern},
    spawn,
};
use procwait::{Captured, ChildExt as _, wait_pid};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Spawns a command that writes to `child_end`, and puts `parent_end` into the `Child`.
fn spawn_with_stdout(
    mut command: Command,
    parent_end: impl Into<OwnedFd>,
    child_end: impl Into<OwnedFd>,
) -> Helper {
    let mut child = spawn(command.stdout(child_end.into()).stderr(Stdio::null()));
    child.stdout = Some(ChildStdout::from(parent_end.into()));
    child
}

/// A shell whose standard input is the other end of the returned stream.
fn shell_with_input(script: &str) -> (Command, UnixStream) {
    let (parent_end, child_end) = UnixStream::pair().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(OwnedFd::from(child_end));
    (shell, parent_end)
}

#[cfg(target_os = "linux")]
mod terminals {
    use super::*;
    use common::output::BackgroundProcess;
    use procwait::Process;
    use rustix::{
        event::{PollFd, PollFlags, poll},
        fs::{Mode, OFlags, open},
        process::{ioctl_tiocsctty, setsid},
        pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt},
    };
    use std::{
        io::Read as _,
        os::{fd::BorrowedFd, unix::process::CommandExt as _},
        process::ChildStdin,
        sync::mpsc::{self, RecvTimeoutError},
    };

    /// Opens the master and the slave of a terminal.
    fn terminal(test: &str) -> Option<(OwnedFd, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ends = openpt(flags).and_then(|master| {
            unlockpt(&master)?;
            let slave = ioctl_tiocgptpeer(&master, flags)?;
            Ok((master, slave))
        });
        ends.inspect_err(|error| common::skip(test, &format!("both ends of a terminal: {error}")))
            .ok()
    }

    /// How much a child writes: more than the line discipline buffers.
    const TERMINAL_LEN: usize = 9_000;

    /// What the master reads then: the line discipline adds a carriage return before each line
    /// feed.
    fn terminal_output() -> Vec<u8> {
        let lines = pattern(b'o', TERMINAL_LEN);
        let lines: Vec<_> = lines.split(|&byte| byte == b'\n').collect();
        lines.join(&b"\r\n"[..])
    }

    #[test]
    fn terminal_open_in_another_process_is_read_completely() {
        for _ in 0..30 {
            let Some((master, slave)) =
                terminal("terminal_open_in_another_process_is_read_completely")
            else {
                return;
            };
            let other_slave = slave.try_clone().unwrap();
            let command = helper_command(&format!("write {TERMINAL_LEN} 3"));
            let mut child = spawn_with_stdout(command, master, slave);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
            assert_eq!(captured.stdout.len(), terminal_output().len());
            assert!(captured.stdout == terminal_output());
            assert!(child.stdout.is_some());
            drop(other_slave);
        }
    }

    /// Poll reports both streams as readable, but the read of the first one takes all of the
    /// output. A blocking read of the second one would then wait for more.
    #[test]
    fn one_terminal_as_both_streams_does_not_delay_the_deadline() {
        let test = "one_terminal_as_both_streams_does_not_delay_the_deadline";
        let Some((master, slave)) = terminal(test) else {
            return;
        };
        let (command, _input) = shell_with_input("echo x; read line");
        let stderr = master.try_clone().unwrap();
        let mut child = spawn_with_stdout(command, master, slave);
        child.stderr = Some(stderr.into());
        // A blocking read ends when the child is killed, so that the test fails instead of hanging.
        let process = Process::open(child.id()).unwrap();
        let killer = thread::spawn(move || {
            if process.wait_timeout(LONG / 4).unwrap().is_none() {
                process.kill().unwrap();
            }
        });
        let mut captured = Captured::default();
        while captured.stdout.len() + captured.stderr.len() < 3 {
            let status = child.output_timeout(&mut captured, SHORT).unwrap();
            assert_eq!(status, None, "it was killed");
        }
        child.kill().unwrap();
        killer.join().unwrap();
        child.output_timeout(&mut captured, LONG).unwrap().unwrap();
        assert_eq!([captured.stdout, captured.stderr].concat(), b"x\r\n");
    }

    /// Poll reports a terminal that has hung up at once, even if it has no room. A write would then wait.
    #[test]
    fn full_terminal_that_hung_up_does_not_delay_the_deadline() {
        let test = "full_terminal_that_hung_up_does_not_delay_the_deadline";
        let Some((master, slave)) = terminal(test) else {
            return;
        };
        // In raw mode, its line discipline discards nothing. `stty` is the last to have the slave open.
        let stty = Command::new("stty").arg("raw").stdin(slave).status();
        if !stty.is_ok_and(|status| status.success()) {
            return common::skip(test, "stty");
        }
        let mut child = common::helper("wait 7");
        let other_master = master.try_clone().unwrap();
        let stdin = child.stdin.replace(ChildStdin::from(master));
        let (returned, has_returned) = mpsc::channel::<()>();
        // A blocking write ends when the terminal is read, and does not begin while it is open, so that
        // the test fails instead of hanging.
        let reader = thread::spawn(move || {
            loop {
                match has_returned.recv_timeout(LONG / 4) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            let mut slave = File::from(ioctl_tiocgptpeer(&other_master, flags).unwrap());
            assert_ne!(slave.read(&mut [0; 4096]).unwrap(), 0);
            Some(slave)
        });
        let mut captured = Captured::default().input(pattern(b'i', LEN));
        loop {
            let unwritten = captured.unwritten().len();
            let status = child.output_timeout(&mut captured, SHORT).unwrap();
            assert_eq!(status, None);
            let _ = returned.send(());
            if captured.unwritten().len() == unwritten {
                break;
            }
        }
        drop(returned);
        assert!(reader.join().unwrap().is_none(), "a write has blocked");
        assert!(!captured.unwritten().is_empty());
        drop(stdin);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(7));
    }

    #[test]
    fn another_process_that_floods_the_terminal_is_not_waited_for() {
        let test = "another_process_that_floods_the_terminal_is_not_waited_for";
        let Some((master, slave)) = terminal(test) else {
            return;
        };
        let mut flood = Command::new("yes");
        let mut flood = spawn(flood.stdout(slave.try_clone().unwrap()));
        let mut child = spawn_with_stdout(helper_command("exit 3"), master, slave);
        let mut captured = Captured::with_limit(0);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        flood.kill().unwrap();
    }

    #[test]
    #[allow(unsafe_code)]
    fn terminal_of_a_session_leader_that_leaves_a_background_job_is_read_completely() {
        let test = "terminal_of_a_session_leader_that_leaves_a_background_job_is_read_completely";
        for _ in 0..20 {
            let Some((master, slave)) = terminal(test) else {
                return;
            };
            // The terminal hangs up when the session leader exits. The job must survive that.
            let script = "trap '' HUP; sleep 60 & echo \"<$!>\"; exec head -c 9000 /dev/zero";
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command.stdin(slave.try_clone().unwrap());
            // SAFETY: the closure only makes system calls, and descriptor 0 is open.
            unsafe {
                command.pre_exec(|| {
                    setsid()?;
                    Ok(ioctl_tiocsctty(BorrowedFd::borrow_raw(0))?)
                })
            };
            let mut child = spawn_with_stdout(command, master, slave);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert!(status.unwrap().success());
            let job = BackgroundProcess::started_by(&captured);
            assert!(job.is_running());
            let zeros = captured.stdout.iter().filter(|&&byte| byte == 0);
            assert_eq!(zeros.count(), 9_000);
        }
    }

    #[test]
    fn terminal_that_hung_up_can_be_reopened_by_the_child() {
        let test = "terminal_that_hung_up_can_be_reopened_by_the_child";
        in_subprocess(|| {
            let Some((master, slave)) = terminal(test) else {
                return;
            };
            let path = ptsname(&master, Vec::new()).unwrap();
            let path = path.to_str().unwrap();
            if !std::fs::exists(path).unwrap() {
                return common::skip(test, "a file system with the slaves of terminals");
            }
            let reopen = format!("read line; echo again >{path}");
            let script = format!("echo first; exec >&-; {reopen} && {reopen}");
            let (command, mut input) = shell_with_input(&script);
            let mut child = spawn_with_stdout(command, master, slave);
            let mut captured = Captured::default();
            for expected in ["first\r\n", "first\r\nagain\r\n"] {
                // The text and the hang-up are two events. Read the text first.
                while captured.stdout.len() < expected.len() {
                    assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
                    assert!(child.stdout.is_some());
                }
                let master = child.stdout.as_ref().unwrap();
                let mut fds = [PollFd::new(master, PollFlags::empty())];
                poll(&mut fds, None).unwrap();
                assert_eq!(fds[0].revents(), PollFlags::HUP);
                assert_eq!(
                    child.output_timeout(&mut captured, Duration::ZERO).unwrap(),
                    None
                );
                assert_sleeps(&mut child, &mut captured);
                assert_eq!(captured.stdout, expected.as_bytes());
                assert!(child.stdout.is_some());
                input.write_all(b"\n").unwrap();
            }
            // A single call also notices that the child reopens the terminal.
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(0));
            assert_eq!(captured.stdout, b"first\r\nagain\r\nagain\r\n");
            assert!(child.stdout.is_none());
        });
    }

    #[test]
    fn exit_is_noticed_while_the_terminal_is_hung_up() {
        in_subprocess(|| {
            let Some((master, slave)) = terminal("exit_is_noticed_while_the_terminal_is_hung_up")
            else {
                return;
            };
            let (command, input) = shell_with_input("exec >&-; read line; exit 7");
            let mut child = spawn_with_stdout(command, master, slave);
            let mut captured = Captured::default();
            assert_sleeps(&mut child, &mut captured);
            assert!(child.stdout.is_some());
            let status = thread::scope(|scope| {
                let wait = scope.spawn(|| child.output_timeout(&mut captured, LONG));
                drop(input);
                wait.join().unwrap().unwrap()
            });
            assert_eq!(status.unwrap().code(), Some(7));
            assert!(child.stdout.is_none());
        });
    }

    #[test]
    fn repeatedly_reopened_terminal_is_not_an_error() {
        let test = "repeatedly_reopened_terminal_is_not_an_error";
        in_subprocess(|| {
            let Some((master, slave)) = terminal(test) else {
                return;
            };
            let path = ptsname(&master, Vec::new()).unwrap();
            if !std::fs::exists(path.to_str().unwrap()).unwrap() {
                return common::skip(test, "a file system with the slaves of terminals");
            }
            drop(slave);
            let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
            child.stdout = Some(master.into());
            let mut captured = Captured::default();
            let has_returned = AtomicBool::new(false);
            let results = thread::scope(|scope| {
                scope.spawn(|| {
                    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
                    while !has_returned.load(Ordering::Relaxed) {
                        drop(open(&path, flags, Mode::empty()).unwrap());
                    }
                });
                let mut results = (0..20_000)
                    .map(|_| child.output_timeout(&mut captured, Duration::ZERO))
                    .collect::<Vec<_>>();
                results.push(child.output_timeout(&mut captured, SHORT));
                has_returned.store(true, Ordering::Relaxed);
                results
            });
            for result in results {
                assert_eq!(result.unwrap(), None);
            }
        });
    }

    /// A system call that a signal interrupts must not be taken for the end of the output.
    #[test]
    #[allow(unsafe_code)]
    fn signals_do_not_cut_off_the_output_of_a_terminal() {
        use nix::{libc, sys::signal::Signal};
        extern "C" fn ignore(_: i32) {}
        in_subprocess(|| {
            // SAFETY: the handler does nothing.
            unsafe { common::handle_signal(Signal::SIGALRM, ignore) };
            let set_timer = |microseconds| {
                let time = libc::timeval {
                    tv_sec: 0,
                    tv_usec: microseconds,
                };
                let timer = libc::itimerval {
                    it_interval: time,
                    it_value: time,
                };
                // SAFETY: setitimer reads the timer, and does not write an old one to a null
                // pointer.
                unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
            };
            for is_shared in [false, true].repeat(50) {
                let test = "signals_do_not_cut_off_the_output_of_a_terminal";
                let Some((master, slave)) = terminal(test) else {
                    return;
                };
                let other_slave = is_shared.then(|| slave.try_clone().unwrap());
                let command = helper_command(&format!("write {TERMINAL_LEN} 3"));
                let mut child = spawn_with_stdout(command, master, slave);
                let mut captured = Captured::default();
                set_timer(50);
                let status = child.output_timeout(&mut captured, LONG);
                set_timer(0);
                assert_eq!(status.unwrap().unwrap().code(), Some(3));
                assert!(captured.stdout == terminal_output());
                assert_eq!(child.stdout.is_some(), other_slave.is_some());
            }
        });
    }
}

/// Both ends of a TCP connection.
fn tcp_connection(test: &str) -> Option<(TcpStream, TcpStream)> {
    let ends = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
        let child_end = TcpStream::connect(listener.local_addr()?)?;
        Ok((listener.accept()?.0, child_end))
    });
    ends.inspect_err(|error| common::skip(test, &format!("a loopback interface: {error}")))
        .ok()
}

/// How much a child writes: more than fits into the default receive buffer.
const TCP_LEN: usize = 1_000_000;

/// Waits for the exit, after which all of the output is in the buffers. Where the buffers are too
/// small for it, the child does not exit before its output is read: then this times out.
fn wait_for_exit_or_full_buffers(child: &Helper) {
    wait_pid(child.id(), Some(Duration::from_secs(2))).unwrap();
}

#[test]
fn tcp_stream_is_read_to_its_end() {
    in_subprocess(|| {
        for _ in 0..10 {
            let Some((parent_end, child_end)) = tcp_connection("tcp_stream_is_read_to_its_end")
            else {
                return;
            };
            let command = helper_command(&format!("write {TCP_LEN} 3"));
            let mut child = spawn_with_stdout(command, parent_end, child_end);
            wait_for_exit_or_full_buffers(&child);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
            assert_eq!(captured.stdout.len(), TCP_LEN);
            assert!(captured.stdout == pattern(b'o', TCP_LEN));
            assert!(child.stdout.is_none());
        }
    });
}

#[test]
fn tcp_stream_open_in_another_process_is_read_completely() {
    for _ in 0..5 {
        let Some((parent_end, child_end)) =
            tcp_connection("tcp_stream_open_in_another_process_is_read_completely")
        else {
            return;
        };
        let other_end = child_end.try_clone().unwrap();
        let command = helper_command(&format!("write {TCP_LEN} 3"));
        let mut child = spawn_with_stdout(command, parent_end, child_end);
        wait_for_exit_or_full_buffers(&child);
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert_eq!(captured.stdout.len(), TCP_LEN);
        assert!(captured.stdout == pattern(b'o', TCP_LEN));
        assert!(child.stdout.is_some());
        drop(other_end);
    }
}

#[test]
fn other_writers_of_a_tcp_stream_are_not_waited_for() {
    let Some((parent_end, child_end)) =
        tcp_connection("other_writers_of_a_tcp_stream_are_not_waited_for")
    else {
        return;
    };
    let mut other_writer = child_end.try_clone().unwrap();
    let mut child = spawn_with_stdout(helper_command("exit 3"), parent_end, child_end);
    let has_returned = AtomicBool::new(false);
    let mut captured = Captured::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_returned.load(Ordering::Relaxed) {
                other_writer.write_all(b"x").unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        let status = child.output_timeout(&mut captured, LONG);
        has_returned.store(true, Ordering::Relaxed);
        assert_eq!(status.unwrap().unwrap().code(), Some(3));
    });
}

#[test]
fn unix_socket_closed_with_unread_input_is_at_eof() {
    in_subprocess(|| {
        for len in [0, 1000, LEN] {
            let (mut parent_end, child_end) = UnixStream::pair().unwrap();
            parent_end.write_all(b"never read").unwrap();
            let command = helper_command(&format!("write {len} 3"));
            let mut child = spawn_with_stdout(command, parent_end, child_end);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
            assert!(captured.stdout == pattern(b'o', len));
            assert!(child.stdout.is_none());
        }
    });
}

/// The child's end is closed with unread input, so the connection is reset. A reset discards output
/// that was not read yet.
#[test]
fn reset_of_a_tcp_connection_is_an_error() {
    in_subprocess(|| {
        let Some((mut parent_end, child_end)) =
            tcp_connection("reset_of_a_tcp_connection_is_an_error")
        else {
            return;
        };
        parent_end.write_all(b"never read").unwrap();
        let mut child = spawn_with_stdout(helper_command("exit 3"), parent_end, child_end);
        let mut captured = Captured::default();
        let error = child.output_timeout(&mut captured, LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
    });
}

/// The path of a temporary file. Dropping it removes the file.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Also returns the file opened for reading, and opened for appending.
    fn new(name: &str) -> (TemporaryFile, File, File) {
        let name = format!("procwait-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let append = OpenOptions::new().append(true).create(true).open(&path);
        let file = File::open(&path).unwrap();
        (TemporaryFile(path), file, append.unwrap())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn file_is_read_until_the_exit() {
    let (_temporary, parent_end, child_end) = TemporaryFile::new("file_is_read_until_the_exit");
    let script = "echo first; read line; echo again; read line; echo last";
    let (command, mut input) = shell_with_input(script);
    let mut child = spawn_with_stdout(command, parent_end, child_end);
    let mut captured = Captured::default();
    for expected in ["first\n", "first\nagain\n"] {
        while captured.stdout.len() < expected.len() {
            assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
            assert!(child.stdout.is_some());
        }
        assert_sleeps(&mut child, &mut captured);
        assert_eq!(captured.stdout, expected.as_bytes());
        input.write_all(b"\n").unwrap();
    }
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(status.unwrap().success());
    assert_eq!(captured.stdout, b"first\nagain\nlast\n");
    assert!(child.stdout.is_none());
}

/// A running child can have written any amount. A call must not read all of it after its deadline.
#[test]
fn backlog_of_a_file_does_not_delay_the_deadline() {
    const SIZE: u64 = 1024 * 1024 * 1024;
    let (_temporary, parent_end, child_end) = TemporaryFile::new("backlog_of_a_file");
    child_end.set_len(SIZE).unwrap(); // A sparse file takes no space.
    let (command, _input) = shell_with_input("read line");
    let mut child = spawn_with_stdout(command, parent_end, child_end);
    let mut captured = Captured::with_limit(0);
    let status = child.output_timeout(&mut captured, Duration::ZERO).unwrap();
    assert_eq!(status, None);
    assert!((1..SIZE / 10).contains(&captured.discarded()));
    child.kill().unwrap();
    child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_eq!(captured.discarded(), SIZE);
}

#[test]
fn large_file_is_read_completely() {
    for timeout in [Duration::ZERO, LONG] {
        let (_temporary, parent_end, child_end) =
            TemporaryFile::new("large_file_is_read_completely");
        let command = helper_command("write 5000000 3");
        let mut child = spawn_with_stdout(command, parent_end, child_end);
        if timeout.is_zero() {
            drop(child.stdin.take());
            common::exit_of(child.id());
        }
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, timeout).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(captured.stdout == pattern(b'o', 5_000_000));
        assert!(child.stdout.is_none());
    }
}

/// After a splice from the pipe, the kernel refuses to read it with `RWF_NOWAIT`. Another reader
/// takes each byte right after it was written, often between the crate's `poll` and its read.
#[test]
#[cfg(target_os = "linux")]
fn reader_of_a_spliced_pipe_does_not_delay_the_deadline() {
    use rustix::{
        fs::{Mode, OFlags, fcntl_getfl, open},
        pipe::{PipeFlags, SpliceFlags, pipe_with, splice},
    };
    use std::{io::Read as _, os::fd::AsRawFd as _, time::Instant};

    in_subprocess(|| {
        let test = "reader_of_a_spliced_pipe_does_not_delay_the_deadline";
        let (parent_end, child_end) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let path = format!("/proc/thread-self/fd/{}", parent_end.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut other_reader = match open(path, flags, Mode::empty()) {
            Ok(opened) => File::from(opened),
            Err(error) => return common::skip(test, &format!("pipes reopened by /proc: {error}")),
        };
        if common::is_gvisor() {
            return common::skip(test, "the pipes of Linux, not of gVisor");
        }
        let mut pipe = File::from(child_end);
        pipe.write_all(b"spliced").unwrap();
        let (_read_end, target) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        splice(&parent_end, None, target, None, 7, SpliceFlags::empty()).unwrap();

        let shared = parent_end.try_clone().unwrap();
        let before = fcntl_getfl(&shared).unwrap();
        let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
        child.stdout = Some(parent_end.into());
        let mut captured = Captured::default();
        for _ in 0..50 {
            let has_returned = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let start = Instant::now();
                    while start.elapsed() < SHORT / 2 {
                        pipe.write_all(b"x").unwrap();
                        let _ = other_reader.read(&mut [0; 16]);
                    }
                    while !has_returned.load(Ordering::Relaxed) && start.elapsed() < LONG / 20 {
                        thread::yield_now();
                    }
                    // This ends a blocking read, so that the test fails instead of hanging.
                    pipe.write_all(b"x").unwrap();
                });
                let start = Instant::now();
                assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
                let elapsed = start.elapsed();
                has_returned.store(true, Ordering::Relaxed);
                assert!(elapsed < SHORT + LONG / 60, "{elapsed:?}");
            });
            assert_eq!(fcntl_getfl(&shared).unwrap(), before);
        }
        drop(pipe);
        child.kill().unwrap();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(!status.unwrap().success());
        assert!(child.stdout.is_none());
    });
}
