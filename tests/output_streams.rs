//! Streams that are no ordinary pipes: terminals, sockets, files, and pipes that others read.

#![cfg(unix)]

mod common;

use common::{
    Helper, LONG, SHORT, alone, helper_command,
    output::{FULL, pattern},
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

/// Spawns a command that writes to `theirs`, and whose `Child` holds `ours`.
fn spawn_with_stdout(
    mut command: Command,
    ours: impl Into<OwnedFd>,
    theirs: impl Into<OwnedFd>,
) -> Helper {
    let mut child = spawn(command.stdout(theirs.into()).stderr(Stdio::null()));
    child.stdout = Some(ChildStdout::from(ours.into()));
    child
}

/// A shell that waits for its input as long as the returned stream is open.
fn shell_with_input(script: &str) -> (Command, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(OwnedFd::from(theirs));
    (shell, ours)
}

/// The call times out, and uses less than half of a processor.
#[track_caller]
fn assert_sleeps(child: &mut Helper, captured: &mut Captured) {
    let timeout = Duration::from_millis(300);
    #[cfg(target_os = "linux")]
    let cpu = common::cpu_time();
    assert_eq!(child.output_timeout(captured, timeout).unwrap(), None);
    #[cfg(target_os = "linux")]
    assert!(common::cpu_time() - cpu < timeout / 2, "it spins");
}

#[cfg(target_os = "linux")]
mod terminals {
    use super::*;
    use common::output::Left;
    use procwait::Process;
    use rustix::{
        event::{PollFd, PollFlags, poll},
        fs::{Mode, OFlags, open},
        process::{ioctl_tiocsctty, setsid},
        pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt},
    };
    use std::os::{fd::BorrowedFd, unix::process::CommandExt as _};

    /// Its master and its slave.
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

    /// More than the line discipline buffers, with a carriage return before each line feed.
    const WRITTEN: usize = 9_000;

    fn shown() -> Vec<u8> {
        let lines = pattern(b'o', WRITTEN);
        let lines: Vec<_> = lines.split(|&byte| byte == b'\n').collect();
        lines.join(&b"\r\n"[..])
    }

    #[test]
    fn terminal_held_by_another_process_is_read_completely() {
        for _ in 0..30 {
            let Some((master, slave)) =
                terminal("terminal_held_by_another_process_is_read_completely")
            else {
                return;
            };
            let held = slave.try_clone().unwrap();
            let command = helper_command(&format!("write {WRITTEN} 3"));
            let mut child = spawn_with_stdout(command, master, slave);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
            assert_eq!(captured.stdout.len(), shown().len());
            assert!(captured.stdout == shown());
            assert!(child.stdout.is_some());
            drop(held);
        }
    }

    /// The first read takes all, so that the other stream has nothing, although it was polled.
    #[test]
    fn one_terminal_in_place_of_both_streams_does_not_delay_the_deadline() {
        let test = "one_terminal_in_place_of_both_streams_does_not_delay_the_deadline";
        let Some((master, slave)) = terminal(test) else {
            return;
        };
        let (command, _input) = shell_with_input("echo x; read line");
        let stderr = master.try_clone().unwrap();
        let mut child = spawn_with_stdout(command, master, slave);
        child.stderr = Some(stderr.into());
        // A read that blocks would end when the child is killed.
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
            // The terminal hangs up when the session leader exits, which the job must survive.
            let script = "trap '' HUP; sleep 60 & echo \"<$!>\"; exec head -c 9000 /dev/zero";
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command.stdin(slave.try_clone().unwrap());
            // SAFETY: it only makes system calls, and standard input is open.
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
            let job = Left::by(&captured);
            assert!(job.is_running());
            let zeros = captured.stdout.iter().filter(|&&byte| byte == 0);
            assert_eq!(zeros.count(), 9_000);
        }
    }

    #[test]
    fn terminal_that_hung_up_can_be_reopened_by_the_child() {
        let test = "terminal_that_hung_up_can_be_reopened_by_the_child";
        alone(|| {
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
                // Two events: the text, which is read, and the hang-up.
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
                // It is read again without another call, too.
                input.write_all(b"\n").unwrap();
            }
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(0));
            assert_eq!(captured.stdout, b"first\r\nagain\r\nagain\r\n");
            assert!(child.stdout.is_none());
        });
    }

    #[test]
    fn exit_is_noticed_while_the_terminal_is_hung_up() {
        alone(|| {
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
    fn terminal_that_is_reopened_again_and_again_is_no_error() {
        let test = "terminal_that_is_reopened_again_and_again_is_no_error";
        alone(|| {
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

    /// None of the many signals is taken for the end of the output.
    #[test]
    #[allow(unsafe_code)]
    fn signals_do_not_cut_off_the_output_of_a_terminal() {
        use nix::{
            libc,
            sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
        };
        extern "C" fn ignore(_: i32) {}
        alone(|| {
            let action = SigAction::new(
                SigHandler::Handler(ignore),
                SaFlags::empty(),
                SigSet::empty(),
            );
            // SAFETY: the handler does nothing.
            unsafe { sigaction(Signal::SIGALRM, &action) }.unwrap();
            let interval = |microseconds| {
                let time = libc::timeval {
                    tv_sec: 0,
                    tv_usec: microseconds,
                };
                let timer = libc::itimerval {
                    it_interval: time,
                    it_value: time,
                };
                // SAFETY: the timer is borrowed for the call, and no old one is asked for.
                unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
            };
            for held in [false, true].repeat(50) {
                let test = "signals_do_not_cut_off_the_output_of_a_terminal";
                let Some((master, slave)) = terminal(test) else {
                    return;
                };
                let held = held.then(|| slave.try_clone().unwrap());
                let command = helper_command(&format!("write {WRITTEN} 3"));
                let mut child = spawn_with_stdout(command, master, slave);
                let mut captured = Captured::default();
                interval(50);
                let status = child.output_timeout(&mut captured, LONG);
                interval(0);
                assert_eq!(status.unwrap().unwrap().code(), Some(3));
                assert!(captured.stdout == shown());
                assert_eq!(child.stdout.is_some(), held.is_some());
            }
        });
    }
}

fn connected(test: &str) -> Option<(TcpStream, TcpStream)> {
    let ends = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
        let theirs = TcpStream::connect(listener.local_addr()?)?;
        Ok((listener.accept()?.0, theirs))
    });
    ends.inspect_err(|error| common::skip(test, &format!("a loopback interface: {error}")))
        .ok()
}

/// More than fits into the buffer of a receiver by default.
const MUCH: usize = 1_000_000;

/// Waits for an exit that leaves much in the buffers, and for those systems where it does not
/// fit into them, not for ever.
fn exits_first(child: &Helper) {
    wait_pid(child.id(), Some(Duration::from_secs(2))).unwrap();
}

#[test]
fn tcp_stream_is_read_to_its_end() {
    alone(|| {
        for _ in 0..10 {
            let Some((ours, theirs)) = connected("tcp_stream_is_read_to_its_end") else {
                return;
            };
            let command = helper_command(&format!("write {MUCH} 3"));
            let mut child = spawn_with_stdout(command, ours, theirs);
            exits_first(&child);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
            assert_eq!(captured.stdout.len(), MUCH);
            assert!(captured.stdout == pattern(b'o', MUCH));
            assert!(child.stdout.is_none());
        }
    });
}

#[test]
fn tcp_stream_held_by_another_process_is_read_completely() {
    for _ in 0..5 {
        let Some((ours, theirs)) =
            connected("tcp_stream_held_by_another_process_is_read_completely")
        else {
            return;
        };
        let held = theirs.try_clone().unwrap();
        let command = helper_command(&format!("write {MUCH} 3"));
        let mut child = spawn_with_stdout(command, ours, theirs);
        exits_first(&child);
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert_eq!(captured.stdout.len(), MUCH);
        assert!(captured.stdout == pattern(b'o', MUCH));
        assert!(child.stdout.is_some());
        drop(held);
    }
}

#[test]
fn another_process_that_keeps_writing_to_a_tcp_stream_is_not_waited_for() {
    let Some((ours, theirs)) =
        connected("another_process_that_keeps_writing_to_a_tcp_stream_is_not_waited_for")
    else {
        return;
    };
    let mut held = theirs.try_clone().unwrap();
    let mut child = spawn_with_stdout(helper_command("exit 3"), ours, theirs);
    let has_returned = AtomicBool::new(false);
    let mut captured = Captured::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_returned.load(Ordering::Relaxed) {
                held.write_all(b"x").unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
        let status = child.output_timeout(&mut captured, LONG);
        has_returned.store(true, Ordering::Relaxed);
        assert_eq!(status.unwrap().unwrap().code(), Some(3));
    });
}

#[test]
fn unix_socket_closed_with_unread_input_is_at_its_end() {
    alone(|| {
        for bytes in [0, 1000, FULL] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(b"never read").unwrap();
            let command = helper_command(&format!("write {bytes} 3"));
            let mut child = spawn_with_stdout(command, ours, theirs);
            let mut captured = Captured::default();
            let status = child.output_timeout(&mut captured, LONG).unwrap();
            assert_eq!(status.unwrap().code(), Some(3));
            assert!(captured.stdout == pattern(b'o', bytes));
            assert!(child.stdout.is_none());
        }
    });
}

/// The reset discards what is under way.
#[test]
fn reset_of_a_tcp_connection_is_an_error() {
    alone(|| {
        let Some((mut ours, theirs)) = connected("reset_of_a_tcp_connection_is_an_error") else {
            return;
        };
        ours.write_all(b"never read").unwrap();
        let mut child = spawn_with_stdout(helper_command("exit 3"), ours, theirs);
        let mut captured = Captured::default();
        let error = child.output_timeout(&mut captured, LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
    });
}

/// A file that is removed with it.
struct Temporary(PathBuf);

impl Temporary {
    /// Its end for a reader, and one to append to.
    fn new(name: &str) -> (Temporary, File, File) {
        let name = format!("procwait-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let append = OpenOptions::new().append(true).create(true).open(&path);
        let file = File::open(&path).unwrap();
        (Temporary(path), file, append.unwrap())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn file_is_read_until_the_exit() {
    let (_temporary, ours, theirs) = Temporary::new("file_is_read_until_the_exit");
    let script = "echo first; read line; echo again; read line; echo last";
    let (command, mut input) = shell_with_input(script);
    let mut child = spawn_with_stdout(command, ours, theirs);
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

/// A running child can have written any amount: a call does not read on for ever.
#[test]
fn backlog_of_a_file_does_not_delay_the_deadline() {
    const SIZE: u64 = 1024 * 1024 * 1024;
    let (_temporary, ours, theirs) = Temporary::new("backlog_of_a_file");
    theirs.set_len(SIZE).unwrap(); // It takes no space.
    let (command, _input) = shell_with_input("read line");
    let mut child = spawn_with_stdout(command, ours, theirs);
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
        let (_temporary, ours, theirs) = Temporary::new("large_file_is_read_completely");
        let command = helper_command("write 5000000 3");
        let mut child = spawn_with_stdout(command, ours, theirs);
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

/// After a splice from it, the kernel refuses to read the pipe by `RWF_NOWAIT`. This thread takes
/// each byte right after it was written: often between a poll and the read.
#[test]
#[cfg(target_os = "linux")]
fn reader_of_a_spliced_pipe_does_not_delay_the_deadline() {
    use rustix::{
        fs::{Mode, OFlags, fcntl_getfl, open},
        pipe::{PipeFlags, SpliceFlags, pipe_with, splice},
    };
    use std::{io::Read as _, os::fd::AsRawFd as _, time::Instant};

    alone(|| {
        let test = "reader_of_a_spliced_pipe_does_not_delay_the_deadline";
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let path = format!("/proc/thread-self/fd/{}", ours.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut thief = match open(path, flags, Mode::empty()) {
            Ok(opened) => File::from(opened),
            Err(error) => return common::skip(test, &format!("pipes opened by /proc: {error}")),
        };
        if std::fs::exists("/proc/sentry-meminfo").unwrap_or(false) {
            return common::skip(test, "Linux's own pipes");
        }
        let mut pipe = File::from(theirs);
        pipe.write_all(b"spliced").unwrap();
        let (_end, into) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        splice(&ours, None, into, None, 7, SpliceFlags::empty()).unwrap();

        let shared = ours.try_clone().unwrap();
        let before = fcntl_getfl(&shared).unwrap();
        let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
        child.stdout = Some(ours.into());
        let mut captured = Captured::default();
        for _ in 0..50 {
            let has_returned = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let start = Instant::now();
                    while start.elapsed() < SHORT / 2 {
                        pipe.write_all(b"x").unwrap();
                        let _ = thief.read(&mut [0; 16]);
                    }
                    while !has_returned.load(Ordering::Relaxed) && start.elapsed() < LONG / 20 {
                        thread::yield_now();
                    }
                    // What blocks forever fails, but does not hang.
                    pipe.write_all(b"x").unwrap();
                });
                let start = Instant::now();
                assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
                let took = start.elapsed();
                has_returned.store(true, Ordering::Relaxed);
                assert!(took < SHORT + LONG / 60, "{took:?}");
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
