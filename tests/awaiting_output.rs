//! Tests that await the output of a child on async runtimes.

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;

use common::{
    Helper, LONG, SHORT, exit_of, helper_command, in_subprocess,
    output::{BackgroundProcess, LEN, assert_consecutive_numbers, pattern, piped},
    spawn,
};
use futures_lite::future::{poll_once, yield_now};
use procwait::{Captured, ChildExt as _, Process};
use runtimes::{
    ALL, AsyncRuntime, Output, tokio_current_thread, tokio_multi_thread, tokio_with_paused_clock,
    with_time_limit, with_timeout,
};
use std::{
    io,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// More than fits into a pipe, even into an enlarged one.
const MUCH: usize = 1_500_000;

fn input() -> Vec<u8> {
    pattern(b'i', MUCH)
}

/// Polls the future, although nothing may have woken it, and asserts that it is pending.
async fn assert_pending(output: &mut Output<'_>) {
    if let Some(status) = poll_once(output).await {
        panic!("too early: {status:?}");
    }
}

#[test]
fn both_streams_are_read_and_the_child_is_reaped() {
    in_subprocess(|| {
        for runtime in ALL {
            let mut child = piped("write 100000 3");
            let mut captured = Captured::default();
            let output = runtime.output(&mut child, &mut captured);
            let status = runtime.block_on(output).unwrap();
            assert_eq!(status.code(), Some(3));
            assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
            assert!(child.stdin.is_none() && child.stdout.is_none() && child.stderr.is_none());
            assert_eq!(child.try_wait().unwrap(), Some(status));

            // A second call returns the same status and reads nothing.
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap(), status);
            assert_eq!(captured.stdout.len(), LEN);
        }
    });
}

#[test]
fn streams_that_are_filled_in_turn() {
    for runtime in ALL {
        let mut child = piped("alternate 20 exit 0");
        let mut captured = Captured::default();
        let output = runtime.output(&mut child, &mut captured);
        assert!(runtime.block_on(output).unwrap().success());
        assert!(captured.stdout == pattern(b'o', LEN).repeat(20));
        assert!(captured.stderr == pattern(b'e', LEN).repeat(20));
    }
}

#[test]
fn input_is_written_while_the_output_is_read() {
    in_subprocess(|| {
        for runtime in ALL {
            let mut child = piped("cat");
            let mut captured = Captured::default().input(input());
            let output = runtime.output(&mut child, &mut captured);
            assert!(runtime.block_on(output).unwrap().success());
            assert!(captured.stdout == input() && captured.unwritten().is_empty());
            assert!(child.stdin.is_none() && child.stdout.is_none());
        }
    });
}

#[test]
fn without_output_the_exit_is_awaited() {
    for runtime in ALL {
        // Without input, standard input is closed.
        let mut child = piped("wait 3");
        let output = &mut Captured::default();
        let status = runtime.block_on(runtime.output(&mut child, output));
        assert_eq!(status.unwrap().code(), Some(3));

        let mut command = helper_command("ignore-stdin");
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()));
        let process = Process::open(child.id()).unwrap();
        let status = runtime.block_on(async {
            let mut output = runtime.output(&mut child, output);
            assert_pending(&mut output).await;
            process.kill().unwrap();
            output.await.unwrap()
        });
        assert!(!status.success());
    }
}

#[test]
fn output_of_a_child_that_has_exited() {
    in_subprocess(|| {
        for runtime in ALL {
            let mut child = piped("write 1000 3");
            drop(child.stdin.take());
            exit_of(child.id());
            let mut captured = Captured::default();
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap().code(), Some(3));
            assert!(captured.stdout == pattern(b'o', 1000));
            assert!(captured.stderr == pattern(b'e', 1000));
        }
    });
}

#[test]
fn limit_discards_and_counts() {
    for runtime in ALL {
        let mut child = piped("write 100000 0");
        let mut captured = Captured::with_limit(1000);
        let output = runtime.output(&mut child, &mut captured);
        assert!(runtime.block_on(output).unwrap().success());
        assert!(captured.stdout == pattern(b'o', 1000) && captured.stderr == pattern(b'e', 1000));
        assert_eq!(captured.discarded(), 2 * (LEN - 1000) as u64);
    }
}

#[test]
fn dropped_future_loses_nothing() {
    for runtime in ALL {
        let mut child = piped("cat");
        let mut captured = Captured::default().input(input());
        let mut stdout = Vec::new();
        let status = runtime.block_on(async {
            loop {
                let output = runtime.output(&mut child, &mut captured);
                let status = with_timeout(Duration::from_millis(1), output).await;
                stdout.append(&mut captured.stdout);
                match status {
                    Some(status) => break status.unwrap(),
                    None => assert!(input().ends_with(captured.unwritten())),
                }
            }
        });
        assert!(status.success());
        assert!(stdout == input() && captured.unwritten().is_empty());
    }
}

/// Each future is polled once and dropped, again and again, until the exit.
#[test]
fn future_that_is_polled_once_makes_progress() {
    for runtime in ALL {
        let mut child = piped("cat");
        let mut captured = Captured::default().input(input());
        let start = Instant::now();
        let status = runtime.block_on(async {
            loop {
                let output = runtime.output(&mut child, &mut captured);
                if let Some(status) = poll_once(output).await {
                    break status.unwrap();
                }
                assert!(start.elapsed() < LONG, "it makes no progress");
                yield_now().await;
                thread::yield_now();
            }
        });
        assert!(status.success());
        assert!(captured.stdout == input() && captured.unwritten().is_empty());
    }
}

#[test]
fn dropped_future_leaves_what_was_read_to_other_calls() {
    for runtime in ALL {
        let mut child = piped("count");
        let mut captured = Captured::default();
        while captured.stdout.is_empty() || captured.stderr.is_empty() {
            let output = runtime.output(&mut child, &mut captured);
            assert!(runtime.block_on(with_timeout(SHORT, output)).is_none());
        }
        child.kill().unwrap();
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(!status.unwrap().success());
        assert_consecutive_numbers(&captured.stdout);
        assert_consecutive_numbers(&captured.stderr);
    }
}

#[test]
fn grandchild_holding_pipe_does_not_block() {
    for runtime in ALL {
        for command in ["ignore-stdin", "count"] {
            let mut child = piped(&format!("spawn-and-exit {command}"));
            let mut captured = Captured::default();
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap().code(), Some(5));
            let background = BackgroundProcess::started_by(&captured);
            assert!(background.is_running());
            assert!(child.stdout.is_some() && child.stderr.is_some());
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap().code(), Some(5));
        }
    }
}

#[test]
fn unwritten_input_does_not_delay_the_exit() {
    for runtime in ALL {
        let mut child = piped("hand-over print-pid ignore-stdin");
        let mut captured = Captured::default().input(input());
        let mut output = || {
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap().code(), Some(5));
            captured.stdout.contains(&b'>')
        };
        while !output() {}
        assert!(BackgroundProcess::started_by(&captured).is_running());
        assert!(!captured.unwritten().is_empty() && child.stdin.is_some());
    }
}

#[test]
fn child_that_closes_its_input() {
    for runtime in ALL {
        let mut child = piped("read-some 1000 write 100000 7");
        let mut captured = Captured::default().input(input());
        let output = runtime.output(&mut child, &mut captured);
        assert_eq!(runtime.block_on(output).unwrap().code(), Some(7));
        assert!(captured.stdout == pattern(b'o', LEN) && captured.stderr == pattern(b'e', LEN));
        assert!(input().ends_with(captured.unwritten()));
    }
}

#[test]
fn input_without_a_pipe_is_refused() {
    for runtime in ALL {
        let mut command = helper_command("write 1000 7");
        let mut child = spawn(command.stdin(Stdio::null()).stderr(Stdio::null()));
        let mut captured = Captured::default().input("input");
        let output = runtime.output(&mut child, &mut captured);
        let error = runtime.block_on(output).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(captured.unwritten(), b"input");
        assert!(captured.stdout.is_empty());
        let mut captured = Captured::default();
        let output = runtime.output(&mut child, &mut captured);
        assert_eq!(runtime.block_on(output).unwrap().code(), Some(7));
        assert!(captured.stdout == pattern(b'o', 1000));
    }
}

/// Kills the child if it is not killed in the meantime, so that a future that never yields makes
/// the test fail instead of hang.
fn kill_later(child: &Helper) -> thread::JoinHandle<()> {
    let process = Process::open(child.id()).unwrap();
    thread::spawn(move || {
        if process.wait_timeout(LONG / 4).unwrap().is_none() {
            process.kill().unwrap();
        }
    })
}

#[test]
fn future_yields_under_constant_output() {
    for runtime in ALL {
        let mut child = piped("count");
        let killer = kill_later(&child);
        let mut captured = Captured::with_limit(10);
        for _ in 0..3 {
            let start = Instant::now();
            let output = runtime.output(&mut child, &mut captured);
            let output = runtime.block_on(with_timeout(SHORT, output));
            assert!(output.is_none(), "it never yields");
            assert!(start.elapsed() >= SHORT);
        }
        child.kill().unwrap();
        killer.join().unwrap();
    }
}

#[test]
fn timeout_of_tokio_passes_under_constant_output() {
    for runtime in [tokio_current_thread(), tokio_multi_thread()] {
        let mut child = piped("count");
        let killer = kill_later(&child);
        let mut captured = Captured::with_limit(10);
        for _ in 0..3 {
            runtime
                .block_on(async {
                    let output = child.output_on_tokio(&mut captured);
                    tokio::time::timeout(SHORT, output).await
                })
                .expect_err("it never yields");
        }
        child.kill().unwrap();
        killer.join().unwrap();
    }
}

#[test]
fn many_tasks_on_one_tokio_thread() {
    AsyncRuntime::TokioCurrentThread.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            tasks.spawn(async {
                let mut child = piped("cat");
                let mut captured = Captured::default().input(pattern(b'i', LEN));
                let status = child.output_on_tokio(&mut captured).await.unwrap();
                assert!(status.success());
                captured.stdout
            });
        }
        while let Some(stdout) = tasks.join_next().await {
            assert!(stdout.unwrap() == pattern(b'i', LEN));
        }
    });
}

#[test]
fn runtime_is_dropped_while_a_task_reads() {
    for runtime in [tokio_current_thread(), tokio_multi_thread()] {
        let mut child = piped("ignore-stdin");
        let process = child.process().unwrap();
        let task = runtime.spawn(async move {
            let mut captured = Captured::default();
            let status = child.output_on_tokio(&mut captured).await;
            (status, captured)
        });
        runtime.block_on(yield_now());
        drop(runtime);
        // With the task, the helper was dropped, and so killed.
        assert!(!process.wait().unwrap().success());
        assert!(task.is_finished());
    }
}

/// The pairs of runtimes between which a future moves.
const MOVES: [fn() -> [Runtime; 2]; 3] = [
    || [tokio_current_thread(), tokio_current_thread()],
    || [tokio_multi_thread(), tokio_current_thread()],
    || [tokio_current_thread(), tokio_multi_thread()],
];

/// Runs the test for each pair of runtimes, with a future for a copy of the input.
fn for_each_move(test: impl Fn([Runtime; 2], &mut Output<'_>)) {
    for runtimes in MOVES {
        let mut child = piped("cat");
        let mut captured = Captured::default().input(input());
        let mut output = AsyncRuntime::TokioCurrentThread.output(&mut child, &mut captured);
        test(runtimes(), &mut output);
        drop(output);
        assert!(captured.stdout == input() && captured.unwritten().is_empty());
    }
}

#[track_caller]
fn complete(runtime: &Runtime, output: &mut Output<'_>) {
    let status = runtime.block_on(with_time_limit(output)).unwrap();
    assert!(status.success());
}

#[test]
fn output_completes_in_another_runtime_while_the_first_is_idle() {
    for_each_move(|[first, second], output| {
        first.block_on(assert_pending(output));
        complete(&second, output);
        drop([second, first]);
    });
}

#[test]
fn output_completes_in_another_runtime_after_the_first_was_dropped() {
    for_each_move(|[first, second], output| {
        first.block_on(assert_pending(output));
        drop(first);
        complete(&second, output);
    });
}

#[test]
fn output_completes_back_in_its_first_runtime_after_the_second_was_dropped() {
    for_each_move(|[first, second], output| {
        first.block_on(assert_pending(output));
        second.block_on(assert_pending(output));
        drop(second);
        complete(&first, output);
    });
}

#[test]
fn output_on_async_io_moves_between_executors() {
    for [first, second] in [
        [AsyncRuntime::AsyncIo, AsyncRuntime::AsyncIoOtherExecutor],
        [AsyncRuntime::AsyncIoOtherExecutor, AsyncRuntime::AsyncIo],
    ] {
        let mut child = piped("cat");
        let mut captured = Captured::default().input(input());
        let mut output = AsyncRuntime::AsyncIo.output(&mut child, &mut captured);
        first.block_on(assert_pending(&mut output));
        assert!(second.block_on(output).unwrap().success());
        assert!(captured.stdout == input());
    }
}

#[test]
fn paused_clock_neither_delays_output_nor_advances() {
    for command in ["cat", "ignore-stdin"] {
        let mut child = piped(command);
        let process = Process::open(child.id()).unwrap();
        let mut captured = Captured::default().input(input());
        tokio_with_paused_clock().block_on(with_time_limit(async {
            let start = tokio::time::Instant::now();
            let output = child.output_on_tokio(&mut captured);
            match command {
                "cat" => assert!(output.await.unwrap().success()),
                _ => {
                    let output = with_timeout(Duration::from_millis(100), output).await;
                    assert!(output.is_none(), "too early: {output:?}");
                    process.kill().unwrap();
                    let output = child.output_on_tokio(&mut captured);
                    assert!(!output.await.unwrap().success());
                }
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
        }));
        assert!(command != "cat" || captured.stdout == input());
    }
}

#[test]
fn output_does_not_keep_a_paused_clock_from_advancing() {
    let mut child = piped("ignore-stdin");
    let mut captured = Captured::default();
    tokio_with_paused_clock().block_on(with_time_limit(async {
        // The paused clock advances by an hour as soon as all tasks wait.
        let an_hour = Duration::from_secs(3_600);
        let output = tokio::time::timeout(an_hour, child.output_on_tokio(&mut captured));
        output.await.unwrap_err();
    }));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::{
        fs::{File, OpenOptions},
        os::{
            fd::{AsFd as _, OwnedFd},
            unix::net::UnixStream,
        },
        process::{ChildStdin, ChildStdout},
    };

    #[test]
    fn child_reaped_elsewhere() {
        for runtime in ALL {
            let mut child = piped("write 1000 7");
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::wait::waitpid(pid, None).unwrap();
            let mut captured = Captured::default();
            let output = runtime.output(&mut child, &mut captured);
            let error = runtime.block_on(output).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(nix::libc::ECHILD));
            assert!(captured.stdout == pattern(b'o', 1000));
            assert!(captured.stderr == pattern(b'e', 1000));
        }
    }

    /// A file without a name, opened for reading, and opened for appending.
    fn temporary_file(name: &str) -> (File, File) {
        let name = format!("procwait-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let append = OpenOptions::new().append(true).create(true).open(&path);
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (file, append.unwrap())
    }

    /// There is always more to read. A poll must not read all of it, or other tasks would starve.
    #[test]
    fn poll_reads_a_part_of_the_backlog_of_a_file() {
        const SIZE: u64 = 256 * 1024 * 1024;
        for runtime in ALL {
            let (file, append) = temporary_file(&format!("backlog-{runtime:?}"));
            append.set_len(SIZE).unwrap(); // A sparse file takes no space.
            let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
            child.stdout = Some(OwnedFd::from(file).into());
            let mut captured = Captured::with_limit(0);
            runtime.block_on(async {
                let mut output = runtime.output(&mut child, &mut captured);
                assert_pending(&mut output).await;
            });
            assert!((1..SIZE).contains(&captured.discarded()));
            child.kill().unwrap();
            let output = runtime.output(&mut child, &mut captured);
            assert!(!runtime.block_on(output).unwrap().success());
            assert_eq!(captured.discarded(), SIZE);
        }
    }

    #[test]
    fn regular_file_as_stdout_is_read_until_the_exit() {
        for runtime in ALL {
            let (file, append) = temporary_file(&format!("{runtime:?}"));
            let mut command = helper_command("write 1000 3");
            let mut child = spawn(command.stdout(append).stderr(Stdio::piped()));
            child.stdout = Some(OwnedFd::from(file).into());
            let mut captured = Captured::default();
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap().code(), Some(3));
            assert!(captured.stdout == pattern(b'o', 1000));
            assert!(captured.stderr == pattern(b'e', 1000));
            assert!(child.stdout.is_none());
        }
    }

    #[test]
    fn sockets_as_stdin_and_stdout() {
        for runtime in ALL {
            let (stdin, childs_stdin) = UnixStream::pair().unwrap();
            let (stdout, childs_stdout) = UnixStream::pair().unwrap();
            let mut command = helper_command(&format!("check-input {MUCH} 3"));
            command.stdin(OwnedFd::from(childs_stdin));
            command.stdout(OwnedFd::from(childs_stdout));
            let mut child = spawn(&mut command);
            child.stdin = Some(ChildStdin::from(OwnedFd::from(stdin)));
            child.stdout = Some(ChildStdout::from(OwnedFd::from(stdout)));
            let mut captured = Captured::default().input(input());
            let output = runtime.output(&mut child, &mut captured);
            assert_eq!(runtime.block_on(output).unwrap().code(), Some(3));
            assert_eq!(captured.stdout, b"right\n");
        }
    }

    /// The kernel then keeps the registration of a descriptor even if that is closed.
    #[test]
    fn descriptors_that_are_open_elsewhere() {
        for runtime in ALL {
            let mut child = piped("cat");
            let stdout = child.stdout.as_ref().unwrap().as_fd();
            let duplicate = stdout.try_clone_to_owned().unwrap();
            let mut captured = Captured::default().input(input());
            let output = runtime.output(&mut child, &mut captured);
            assert!(runtime.block_on(output).unwrap().success());
            assert!(captured.stdout == input());
            drop(duplicate);
        }
    }
}

/// What a future costs while nothing happens.
#[cfg(target_os = "linux")]
mod idle {
    use super::*;
    use common::{cpu_clock_counts_ticks, skip};
    use nix::time::{ClockId, clock_gettime};
    use rustix::{
        fs::fcntl_getfl,
        pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    };
    use std::{
        os::{
            fd::{AsFd as _, OwnedFd},
            unix::net::UnixStream,
        },
        process::Command,
    };

    /// The CPU time of all threads.
    fn process_cpu_time() -> Duration {
        let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        time.unwrap().into()
    }

    /// Awaits the output of a child that does nothing, and asserts that this does not spin, which
    /// would take a whole core.
    #[track_caller]
    fn assert_sleeps(runtime: AsyncRuntime, child: &mut Helper, captured: &mut Captured) {
        // An emulator translates each code path when it is first used, which takes CPU time.
        // A call that spins does so each time.
        for _ in 0..5 {
            let output = runtime.output(child, captured);
            let (start, cpu) = (Instant::now(), process_cpu_time());
            let output = runtime.block_on(with_timeout(Duration::from_millis(300), output));
            let (elapsed, cpu) = (start.elapsed(), process_cpu_time() - cpu);
            assert!(output.is_none(), "too early: {output:?}");
            if cpu < elapsed / 2 {
                return;
            }
        }
        panic!("{runtime:?} spins");
    }

    /// Runs the test in a subprocess, as the CPU time is that of all threads.
    fn for_each_runtime<F: Fn(AsyncRuntime)>(test: &str, body: F) {
        if cpu_clock_counts_ticks() {
            return skip(test, "a CPU clock that counts more than whole ticks");
        }
        for runtime in ALL {
            body(runtime);
        }
    }

    #[test]
    fn silent_child() {
        in_subprocess(|| {
            for_each_runtime("silent_child", |runtime| {
                let mut child = piped("ignore-stdin");
                assert_sleeps(runtime, &mut child, &mut Captured::default());
            });
        });
    }

    #[test]
    fn pipes_that_ended_before_the_exit() {
        in_subprocess(|| {
            for_each_runtime("pipes_that_ended_before_the_exit", |runtime| {
                let mut child = piped("close-output ignore-stdin");
                let mut captured = Captured::default();
                while child.stdout.is_some() || child.stderr.is_some() {
                    let output = runtime.output(&mut child, &mut captured);
                    assert!(runtime.block_on(with_timeout(SHORT, output)).is_none());
                }
                assert_sleeps(runtime, &mut child, &mut captured);
                child.kill().unwrap();
                let output = runtime.output(&mut child, &mut captured);
                assert!(!runtime.block_on(output).unwrap().success());
            });
        });
    }

    #[test]
    fn full_pipe_of_a_child_that_does_not_read_its_input() {
        in_subprocess(|| {
            let test = "full_pipe_of_a_child_that_does_not_read_its_input";
            for_each_runtime(test, |runtime| {
                let mut child = piped("ignore-stdin");
                let mut captured = Captured::default().input(input());
                assert_sleeps(runtime, &mut child, &mut captured);
                assert!(!captured.unwritten().is_empty() && child.stdin.is_some());
            });
        });
    }

    #[test]
    fn child_that_closed_its_input_runs_on() {
        in_subprocess(|| {
            for_each_runtime("child_that_closed_its_input_runs_on", |runtime| {
                let mut child = piped("read-some 1000 ignore-stdin");
                let mut captured = Captured::default().input(input());
                while child.stdin.is_some() {
                    let output = runtime.output(&mut child, &mut captured);
                    assert!(runtime.block_on(with_timeout(SHORT, output)).is_none());
                }
                assert_sleeps(runtime, &mut child, &mut captured);
                assert!(!captured.unwritten().is_empty());
            });
        });
    }

    #[test]
    fn terminal_that_hung_up() {
        in_subprocess(|| {
            for_each_runtime("terminal_that_hung_up", |runtime| {
                let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
                let ends = openpt(flags).and_then(|master| {
                    unlockpt(&master)?;
                    let slave = ioctl_tiocgptpeer(&master, flags)?;
                    Ok((master, slave))
                });
                let (master, slave) = match ends {
                    Ok(ends) => ends,
                    Err(error) => {
                        let needed = format!("both ends of a terminal: {error}");
                        return skip("terminal_that_hung_up", &needed);
                    }
                };
                let (input, child_end) = UnixStream::pair().unwrap();
                let mut command = Command::new("sh");
                command.args(["-c", "echo before; exec >&-; read line; exit 7"]);
                command.stdin(OwnedFd::from(child_end)).stdout(slave);
                let mut child = spawn(command.stderr(Stdio::null()));
                drop(command);
                child.stdout = Some(master.into());
                let mut captured = Captured::default();
                while captured.stdout.len() < 8 {
                    let output = runtime.output(&mut child, &mut captured);
                    assert!(runtime.block_on(with_timeout(SHORT, output)).is_none());
                }
                assert_sleeps(runtime, &mut child, &mut captured);
                assert!(child.stdout.is_some());
                // The exit is noticed nevertheless.
                let output = runtime.output(&mut child, &mut captured);
                let status = runtime.block_on(async {
                    let mut output = output;
                    assert_pending(&mut output).await;
                    drop(input);
                    output.await.unwrap()
                });
                assert_eq!(status.code(), Some(7));
                assert_eq!(captured.stdout, b"before\r\n");
            });
        });
    }

    #[test]
    fn regular_file_as_stdout() {
        in_subprocess(|| {
            for_each_runtime("regular_file_as_stdout", |runtime| {
                let file = std::fs::File::open("/proc/self/exe").unwrap();
                let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
                child.stdout = Some(OwnedFd::from(file).into());
                let mut captured = Captured::with_limit(0);
                let output = runtime.output(&mut child, &mut captured);
                let len = std::fs::metadata("/proc/self/exe").unwrap().len();
                assert!(runtime.block_on(with_timeout(SHORT, output)).is_none());
                while captured.discarded() < len {
                    let output = runtime.output(&mut child, &mut captured);
                    assert!(runtime.block_on(with_timeout(SHORT, output)).is_none());
                }
                assert_sleeps(runtime, &mut child, &mut captured);
            });
        });
    }

    #[test]
    fn shared_flags_are_unchanged() {
        for runtime in ALL {
            let mut child = piped("count");
            let shared = [
                child.stdin.as_ref().unwrap().as_fd().try_clone_to_owned(),
                child.stdout.as_ref().unwrap().as_fd().try_clone_to_owned(),
            ];
            let flags = || {
                shared
                    .each_ref()
                    .map(|fd| fcntl_getfl(fd.as_ref().unwrap()).unwrap())
            };
            let before = flags();
            let mut captured = Captured::default().input(input());
            runtime.block_on(async {
                let mut output = runtime.output(&mut child, &mut captured);
                assert!(with_timeout(SHORT, &mut output).await.is_none());
                assert_eq!(flags(), before, "while the future exists");
                drop(output);
            });
            assert_eq!(flags(), before);
        }
    }

    #[test]
    fn no_descriptor_is_left_open() {
        in_subprocess(|| {
            let count_open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
            for runtime in [AsyncRuntime::TokioCurrentThread, AsyncRuntime::AsyncIo] {
                runtime.block_on(async {
                    let before = count_open();
                    for _ in 0..20 {
                        let mut child = piped("cat");
                        let mut captured = Captured::default().input(pattern(b'i', LEN));
                        let output = runtime.output(&mut child, &mut captured);
                        drop(with_timeout(Duration::from_nanos(1), output).await);
                        let output = runtime.output(&mut child, &mut captured);
                        assert!(output.await.unwrap().success());
                    }
                    // The reactor of async-io closes a descriptor a little later.
                    let start = Instant::now();
                    while count_open() > before {
                        assert!(start.elapsed() < LONG / 4, "{before}, {}", count_open());
                        yield_now().await;
                    }
                });
            }
        });
    }
}

/// Over TCP, data can be under way after the exit, and the wait for it takes 300 ms. It ends all the
/// same, although no future lasts for so long.
#[test]
#[cfg(unix)]
fn wait_for_data_in_flight_ends_although_its_future_is_dropped() {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::OwnedFd,
        process::ChildStdout,
    };
    let test = "wait_for_data_in_flight_ends_although_its_future_is_dropped";
    let ends = TcpListener::bind("127.0.0.1:0").and_then(|listener| {
        let child_end = TcpStream::connect(listener.local_addr()?)?;
        Ok((listener.accept()?.0, child_end))
    });
    let (parent_end, child_end) = match ends {
        Ok(ends) => ends,
        Err(error) => return common::skip(test, &format!("a loopback interface: {error}")),
    };
    let held_open = child_end.try_clone().unwrap();
    let mut command = helper_command("exit 3");
    let mut child = spawn(
        command
            .stdout(OwnedFd::from(child_end))
            .stderr(Stdio::null()),
    );
    child.stdout = Some(ChildStdout::from(OwnedFd::from(parent_end)));
    let mut captured = Captured::default();
    let runtime = AsyncRuntime::TokioCurrentThread;
    let start = Instant::now();
    let status = loop {
        let output = runtime.output(&mut child, &mut captured);
        if let Some(status) = runtime.block_on(with_timeout(SHORT, output)) {
            break status.unwrap();
        }
        assert!(start.elapsed() < LONG);
    };
    assert_eq!(status.code(), Some(3));
    drop(held_open);
}
