//! Tests of input, output and `stop` in sandboxes: seccomp denies system calls.

#![cfg(all(
    target_os = "linux",
    not(kqueue_on_linux),
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]

mod common;
#[path = "common/runtimes.rs"]
mod runtimes;
#[path = "common/seccomp.rs"]
mod seccomp;
#[path = "common/survivors.rs"]
mod survivors;

use common::{
    Helper, LONG, SHORT, has_pidfd, helper_command, in_subprocess, is_gvisor, kernel_version,
    output::{BackgroundProcess, LEN, assert_consecutive_numbers, pattern, piped},
    read_line,
};
use futures_lite::future::poll_once;
use nix::libc;
use procwait::{Captured, ChildExt as _, CommandExt as _, Process, Progress};
use runtimes::{ALL, AsyncRuntime, with_timeout};
use seccomp::deny;
use std::{
    io::{self, BufReader, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    thread,
    time::{Duration, Instant},
};
use survivors::Survivors;

const OPEN: i64 = libc::SYS_pidfd_open;
const POLL: i64 = libc::SYS_ppoll;
const READ: i64 = libc::SYS_preadv2;
const WRITE: i64 = libc::SYS_pwritev2;
const SIGNAL: i64 = libc::SYS_pidfd_send_signal;
const IOCTL: i64 = libc::SYS_ioctl;
const WAITID: i64 = libc::SYS_waitid;
/// By which the crate opens a pipe again, to have a file description of its own.
const REOPEN: i64 = libc::SYS_openat;

const DENIED: [&[i64]; 16] = [
    &[],
    &[OPEN],
    &[POLL],
    &[READ],
    &[WRITE],
    &[SIGNAL],
    &[IOCTL],
    &[WAITID],
    &[OPEN, SIGNAL],
    &[OPEN, POLL],
    &[OPEN, WAITID],
    &[POLL, WRITE],
    &[POLL, IOCTL],
    &[READ, WRITE],
    &[READ, IOCTL],
    &[OPEN, POLL, READ, WRITE],
];

/// These are denied only after the helper was started, for which `openat` is needed.
const DENIED_LATER: [&[i64]; 6] = [
    &[REOPEN],
    &[READ, REOPEN],
    &[WRITE, REOPEN],
    &[READ, WRITE, REOPEN],
    &[POLL, WRITE, REOPEN],
    &[POLL, IOCTL, READ, REOPEN],
];

/// More than fits into the pipes to and from `cat` together.
const MUCH: usize = 300_000;

fn input() -> Vec<u8> {
    pattern(b'i', MUCH)
}

/// Runs the test for each set of denied calls, each with two errors, in a thread in which they
/// fail. The helper is started before, and is not in the sandbox.
fn for_each_sandbox(command: &str, test: impl Fn(&mut Helper, &Sandbox) + Sync) {
    // gVisor takes three minutes for both.
    let errors: &[_] = if is_gvisor() {
        &[libc::EPERM]
    } else {
        &[libc::EPERM, libc::ENOSYS]
    };
    for calls in DENIED.into_iter().chain(DENIED_LATER) {
        for &errno in errors {
            in_sandbox(command, &Sandbox { calls, errno }, &test);
        }
    }
}

fn in_sandbox(command: &str, sandbox: &Sandbox, test: impl Fn(&mut Helper, &Sandbox) + Sync) {
    let mut child = piped(command);
    let process = Process::open(child.id()).unwrap();
    thread::scope(|scope| {
        // A call that blocks ends with the child, so that the test fails instead of hanging.
        scope.spawn(move || {
            if process.wait_timeout(LONG / 4).unwrap().is_none() {
                process.kill().unwrap();
            }
        });
        scope.spawn(|| {
            deny(sandbox.calls, sandbox.errno);
            test(&mut child, sandbox);
            drop(child);
        });
    });
}

#[derive(Debug)]
struct Sandbox {
    calls: &'static [i64],
    errno: i32,
}

/// If all of these calls are denied, nothing shows whether a write, or a read, would block. Then the
/// call fails instead.
const NEEDED_TO_WRITE: &[i64] = &[POLL, WRITE, REOPEN];
const NEEDED_TO_READ: &[i64] = &[POLL, IOCTL, READ, REOPEN];
const NEEDED_FOR_OUTPUT: &[&[i64]] = &[NEEDED_TO_READ];
const NEEDED_FOR_INPUT_AND_OUTPUT: &[&[i64]] = &[NEEDED_TO_WRITE, NEEDED_TO_READ];

impl Sandbox {
    /// `None` if the call has failed because all calls of one of these lists are denied.
    #[track_caller]
    fn check<T>(&self, needed: &[&[i64]], result: io::Result<T>) -> Option<T> {
        // gVisor knows neither RWF_NOWAIT, nor other ways not to block but the first of the calls.
        let are_denied = |calls: &[i64]| {
            let calls = if is_gvisor() { &calls[..1] } else { calls };
            calls.iter().all(|call| self.calls.contains(call))
        };
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let is_denied = needed.iter().any(|calls| are_denied(calls));
                // If the kernel lacks the flag, no call has failed. (In Rust 1.85, std has no kind for
                // this error.)
                let is_unsupported = error.kind() == io::ErrorKind::Unsupported
                    || error.raw_os_error() == Some(libc::EOPNOTSUPP);
                let is_expected = is_unsupported || error.raw_os_error() == Some(self.errno);
                assert!(is_denied && is_expected, "{self:?}: {error:?}");
                None
            }
        }
    }
}

/// Asserts that no byte of the input of `cat` was lost or doubled, although the call has failed.
#[track_caller]
fn assert_consistent(captured: &Captured, sandbox: &Sandbox) {
    let input = input();
    assert!(input.starts_with(&captured.stdout), "{sandbox:?}");
    assert!(input.ends_with(captured.unwritten()), "{sandbox:?}");
    assert!(captured.stdout.len() + captured.unwritten().len() <= MUCH);
}

#[test]
fn input_is_copied() {
    for_each_sandbox("cat", |child, sandbox| {
        let mut captured = Captured::default().input(input());
        let status = child.output_timeout(&mut captured, LONG);
        match sandbox.check(NEEDED_FOR_INPUT_AND_OUTPUT, status) {
            Some(status) => {
                assert!(status.expect("it hangs").success(), "{sandbox:?}");
                assert!(captured.stdout == input(), "{sandbox:?}");
                assert!(captured.unwritten().is_empty());
            }
            None => assert_consistent(&captured, sandbox),
        }
    });
}

#[test]
fn input_is_copied_in_slices_of_time() {
    for_each_sandbox("cat", |child, sandbox| {
        let mut captured = Captured::default().input(input());
        let mut stdout = Vec::new();
        let start = Instant::now();
        for milliseconds in [0, 1].into_iter().cycle() {
            let timeout = Duration::from_millis(milliseconds);
            let status = child.output_timeout(&mut captured, timeout);
            stdout.append(&mut captured.stdout);
            match sandbox.check(NEEDED_FOR_INPUT_AND_OUTPUT, status) {
                Some(Some(status)) => {
                    assert!(status.success(), "{sandbox:?}");
                    assert!(stdout == input(), "{sandbox:?}");
                    break;
                }
                Some(None) => assert!(start.elapsed() < LONG, "{sandbox:?}: no progress"),
                None => {
                    captured.stdout = stdout;
                    assert_consistent(&captured, sandbox);
                    break;
                }
            }
        }
    });
}

#[test]
fn input_that_is_not_read_does_not_block() {
    for_each_sandbox("ignore-stdin", |child, sandbox| {
        let mut captured = Captured::default().input(input());
        for timeout in [Duration::ZERO, SHORT] {
            let start = Instant::now();
            let status = child.output_timeout(&mut captured, timeout);
            if let Some(status) = sandbox.check(NEEDED_FOR_INPUT_AND_OUTPUT, status) {
                assert_eq!(status, None, "{sandbox:?}: it blocked until the kill");
                assert!(start.elapsed() >= timeout);
            }
        }
        assert_eq!(child.try_wait().unwrap(), None, "{sandbox:?}: it blocked");
        assert!(input().ends_with(captured.unwritten()) && !captured.unwritten().is_empty());
    });
}

#[test]
fn closed_input_is_no_error() {
    for_each_sandbox("read-some 0 write 100000 7", |child, sandbox| {
        let mut captured = Captured::default().input(input());
        let status = child.output_timeout(&mut captured, LONG);
        let expected = (pattern(b'o', LEN), pattern(b'e', LEN));
        if let Some(status) = sandbox.check(NEEDED_FOR_INPUT_AND_OUTPUT, status) {
            assert_eq!(status.expect("it hangs").code(), Some(7), "{sandbox:?}");
            assert!(
                (captured.stdout, captured.stderr) == expected,
                "{sandbox:?}"
            );
        }
    });
}

#[test]
fn output_is_read_live() {
    for_each_sandbox("count", |child, sandbox| {
        let mut captured = Captured::default();
        let mut timeouts = [LONG, SHORT, Duration::ZERO].into_iter().cycle();
        while captured.stdout.len() < LEN || captured.stderr.len() < LEN {
            let before = captured.stdout.len() + captured.stderr.len();
            let timeout = timeouts.next().unwrap();
            let start = Instant::now();
            let progress = child.read_timeout(&mut captured, timeout);
            let is_new = captured.stdout.len() + captured.stderr.len() > before;
            match sandbox.check(NEEDED_FOR_OUTPUT, progress) {
                Some(Progress::Read) => assert!(is_new, "{sandbox:?}"),
                Some(Progress::TimedOut) => {
                    assert!(!is_new && start.elapsed() >= timeout, "{sandbox:?}");
                }
                Some(progress) => panic!("{sandbox:?}: {progress:?}"),
                None => break,
            }
        }
        child.kill().unwrap();
        loop {
            let progress = child.read_timeout(&mut captured, LONG);
            match sandbox.check(NEEDED_FOR_OUTPUT, progress) {
                Some(Progress::Read) => {}
                Some(Progress::Exited(status)) => {
                    break assert_eq!(status.signal(), Some(libc::SIGKILL), "{sandbox:?}");
                }
                Some(progress) => panic!("{sandbox:?}: {progress:?}"),
                None => break,
            }
        }
        assert_consecutive_numbers(&captured.stdout);
        assert_consecutive_numbers(&captured.stderr);
    });
}

#[test]
fn requests_are_answered() {
    for_each_sandbox("cat", |child, sandbox| {
        let mut stdin = child.stdin.take().unwrap();
        let mut captured = Captured::default();
        for request in [b"one", b"two"] {
            stdin.write_all(request).unwrap();
            while captured.stdout.len() < request.len() {
                let progress = child.read_timeout(&mut captured, LONG);
                let Some(progress) = sandbox.check(NEEDED_FOR_OUTPUT, progress) else {
                    return;
                };
                assert_eq!(progress, Progress::Read, "{sandbox:?}");
            }
            assert_eq!(captured.stdout, request, "{sandbox:?}");
            captured.stdout.clear();
            let progress = child.read_timeout(&mut captured, SHORT).unwrap();
            assert_eq!(progress, Progress::TimedOut, "{sandbox:?}");
        }
        drop(stdin);
        let progress = child.read_timeout(&mut captured, LONG).unwrap();
        assert!(matches!(progress, Progress::Exited(_)), "{sandbox:?}");
    });
}

#[test]
fn pipes_are_read_to_their_ends() {
    in_subprocess(|| {
        for_each_sandbox("write 100000 7", |child, sandbox| {
            let mut captured = Captured::default();
            let start = Instant::now();
            let is_at_end = loop {
                let is_at_end = child.read_to_end_timeout(&mut captured, SHORT);
                let Some(is_at_end) = sandbox.check(NEEDED_FOR_OUTPUT, is_at_end) else {
                    return;
                };
                let is_read = captured.stdout.len() == LEN && captured.stderr.len() == LEN;
                // Without `poll`, the end of a pipe can go unseen.
                if is_at_end || (sandbox.calls.contains(&POLL) && is_read) {
                    break is_at_end;
                }
                assert!(start.elapsed() < LONG, "{sandbox:?}: the end is not seen");
            };
            let expected = (pattern(b'o', LEN), pattern(b'e', LEN));
            assert!((&captured.stdout, &captured.stderr) == (&expected.0, &expected.1));
            assert!(is_at_end == (child.stdout.is_none() && child.stderr.is_none()));
            let status = child.output_timeout(&mut captured, LONG);
            if let Some(status) = sandbox.check(NEEDED_FOR_OUTPUT, status) {
                assert_eq!(status.unwrap().code(), Some(7), "{sandbox:?}");
            }
        });
    });
}

#[test]
fn child_is_stopped() {
    for (command, grace) in [
        ("on-term 5", LONG),
        ("on-term ignore", SHORT),
        ("ignore-term wait 6", LONG),
    ] {
        for_each_sandbox(command, |child, sandbox| {
            let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
            assert_eq!(read_line(&mut stdout), "ready");
            let start = Instant::now();
            let status = child.stop(grace).unwrap();
            match command {
                "on-term 5" => assert_eq!(status.code(), Some(5), "{sandbox:?}"),
                "on-term ignore" => {
                    assert_eq!(status.signal(), Some(libc::SIGKILL), "{sandbox:?}");
                    assert!(start.elapsed() >= grace);
                }
                _ => assert_eq!(status.code(), Some(6), "{sandbox:?}"),
            }
            assert_eq!(child.try_wait().unwrap(), Some(status));
        });
    }
}

#[test]
fn stop_without_a_way_to_signal_is_an_error() {
    const CALLS: &[i64] = &[libc::SYS_kill, SIGNAL];
    for errno in [libc::EPERM, libc::ENOSYS] {
        let calls = CALLS;
        in_sandbox("wait 3", &Sandbox { calls, errno }, |child, sandbox| {
            let error = child.stop(SHORT).unwrap_err();
            let refused = io::Error::from_raw_os_error(sandbox.errno).kind();
            assert_eq!(error.kind(), refused, "{error:?}");
            // It can still be waited for.
            assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(3));
        });
    }
}

#[test]
fn process_of_a_child() {
    for_each_sandbox("ignore-stdin", |child, sandbox| {
        let process = child.process().unwrap();
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None, "{sandbox:?}");
        process.kill().unwrap();
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        // Without pidfds, only `waitid` and, on Linux, /proc show how it exited.
        let is_known = common::has_pidfd() || exit.signal().is_some();
        let expected = is_known.then_some(libc::SIGKILL);
        assert_eq!(exit.signal(), expected, "{sandbox:?}");
        let status = child.wait_timeout(LONG).unwrap().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{sandbox:?}");
    });
}

#[test]
fn output_is_awaited() {
    for runtime in ALL {
        for_each_sandbox("cat", |child, sandbox| {
            let mut captured = Captured::default().input(input());
            let output = runtime.output(child, &mut captured);
            let status = runtime.block_on(output);
            match sandbox.check(NEEDED_FOR_INPUT_AND_OUTPUT, status) {
                Some(status) => {
                    assert!(status.success(), "{runtime:?}, {sandbox:?}");
                    assert!(captured.stdout == input(), "{runtime:?}, {sandbox:?}");
                }
                None => assert_consistent(&captured, sandbox),
            }
        });
    }
}

#[test]
fn awaited_output_of_a_silent_child() {
    for runtime in ALL {
        for_each_sandbox("wait 7", |child, sandbox| {
            let mut captured = Captured::default();
            let stdin = child.stdin.take();
            let status = runtime.block_on(async {
                let mut output = runtime.output(child, &mut captured);
                let early = with_timeout(SHORT, &mut output).await;
                if let Some(result) = early {
                    assert_eq!(
                        sandbox.check(NEEDED_FOR_OUTPUT, result),
                        None,
                        "{sandbox:?}: too early"
                    );
                    return None;
                }
                drop(stdin);
                Some(output.await)
            });
            if let Some(status) = status.and_then(|status| sandbox.check(NEEDED_FOR_OUTPUT, status))
            {
                assert_eq!(status.code(), Some(7), "{runtime:?}, {sandbox:?}");
            }
        });
    }
}

/// The calls by which a descriptor is registered with a runtime fail once the runtime has started.
#[test]
fn output_is_awaited_if_registration_fails() {
    // `async_io::block_on` needs the denied calls itself.
    let runtimes = ALL.into_iter();
    for runtime in runtimes.filter(|&runtime| runtime != AsyncRuntime::AsyncIo) {
        for (call, errno) in [
            (libc::SYS_epoll_create1, libc::EMFILE),
            (libc::SYS_epoll_ctl, libc::ENOSPC),
            (libc::SYS_fcntl, libc::EPERM),
            (libc::SYS_fcntl, libc::EMFILE),
        ] {
            for is_polled_before in [false, true] {
                let nothing_denied = Sandbox { calls: &[], errno };
                in_sandbox("cat", &nothing_denied, |child, _| {
                    let mut captured = Captured::default().input(input());
                    let status = runtime.block_on(async {
                        let mut output = runtime.output(child, &mut captured);
                        if is_polled_before {
                            assert!(poll_once(&mut output).await.is_none());
                        }
                        deny(&[call], errno);
                        output.await.unwrap()
                    });
                    let context = format!("{runtime:?}, {call}, {errno}");
                    assert!(status.success(), "{context}");
                    assert!(captured.stdout == input(), "{context}");
                });
            }
        }
    }
}

/// Runs the test in a thread in which these calls fail, also in the commands that it starts.
fn with_commands_in_sandbox<T: Send>(sandbox: &Sandbox, test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let test = scope.spawn(|| {
            deny(sandbox.calls, sandbox.errno);
            test()
        });
        test.join().unwrap()
    })
}

#[test]
fn group_of_a_command_is_killed_at_the_timeout() {
    in_subprocess(|| {
        let more: [&[i64]; 2] = [&[SIGNAL, OPEN, WAITID], &[libc::SYS_kill]];
        // Only Linux 6.9 and later can signal a group without `kill`.
        let needs_kill = !has_pidfd() || kernel_version() < (6, 9);
        let more = more.into_iter().take(if needs_kill { 1 } else { 2 });
        for calls in DENIED.into_iter().chain(more) {
            for errno in [libc::EPERM, libc::ENOSYS] {
                let sandbox = Sandbox { calls, errno };
                let (_, survivors) = run_group_in_sandbox(&sandbox);
                assert!(survivors.have_exited(LONG), "{sandbox:?}");
            }
        }
    });
}

/// Then nothing shows whether the command still leads its group.
#[test]
fn command_is_killed_without_its_group_if_getpgid_is_denied() {
    in_subprocess(|| {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let calls = &[libc::SYS_getpgid];
            let (captured, survivors) = run_group_in_sandbox(&Sandbox { calls, errno });
            let background = BackgroundProcess::started_by(&captured);
            assert!(background.is_running());
            drop(background);
            assert!(survivors.have_exited(LONG), "the command was not killed");
        }
    });
}

/// Runs a command that starts a background process in its group, until a timeout by which it has
/// started it, or until the call fails because the output cannot be read. That process ends by
/// itself, in case its pid was not printed before the kill.
fn run_group_in_sandbox(sandbox: &Sandbox) -> (Captured, Survivors) {
    let mut timeout = Duration::from_millis(100);
    loop {
        let mut captured = Captured::default();
        let mut command = helper_command("spawn-and-stay alarm 300 ignore-stdin");
        command.process_group(0);
        let (result, survivors) = Survivors::of(|| {
            with_commands_in_sandbox(sandbox, || {
                command.output_timeout_with(&mut captured, timeout)
            })
        });
        match sandbox.check(NEEDED_FOR_OUTPUT, result) {
            Some(output) => assert!(output.timed_out && !output.status.success()),
            None => return (captured, survivors),
        }
        if captured.stdout.contains(&b'>') {
            return (captured, survivors);
        }
        timeout *= 2;
        assert!(timeout < LONG, "it does not start");
    }
}

#[test]
fn command_with_input_in_a_sandbox() {
    for calls in DENIED {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let sandbox = Sandbox { calls, errno };
            with_commands_in_sandbox(&sandbox, || {
                let mut captured = Captured::default().input(input());
                // It ends a call that blocks, so that the test fails instead of hanging.
                let mut command = helper_command("alarm 30 cat");
                let output = command.output_timeout_with(&mut captured, LONG);
                match sandbox.check(NEEDED_FOR_INPUT_AND_OUTPUT, output) {
                    Some(output) => {
                        assert!(output.status.success() && !output.timed_out, "{sandbox:?}");
                        assert!(captured.stdout == input(), "{sandbox:?}");
                    }
                    None => assert_consistent(&captured, &sandbox),
                }
            });
        }
    }
}
