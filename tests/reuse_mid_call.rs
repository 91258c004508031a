//! Tests in which a pid is reused in the middle of a call of the crate: before its n-th system
//! call, for each n, the process is killed and reaped, and another process gets its pid.

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
#[path = "common/intercept.rs"]
mod intercept;
#[path = "common/own_pids.rs"]
mod own_pids;
#[path = "common/seccomp.rs"]
mod seccomp;

use common::{
    Grandchild, Helper, LONG, SHORT, has_pidfd, helper, helper_command, in_subprocess,
    kernel_version, skip, spawn,
};
use intercept::{Call, Reply, intercept};
use nix::{
    libc,
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};
use own_pids::{in_own_pid_namespace, outlast_start_tick, set_next_pid, start_time};
use procwait::{Captured, ChildExt as _, CommandExt as _, Error, Exit, Identity, Process, WaitSet};
use rustix::process::{PidfdFlags, pidfd_open};
use std::{
    fs, io, mem,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

/// The system calls that the crate makes.
const CALLS: &[i64] = &[
    libc::SYS_pidfd_open,
    libc::SYS_readlinkat,
    libc::SYS_waitid,
    libc::SYS_wait4,
    libc::SYS_ppoll,
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_pread64,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_getpgid,
    libc::SYS_ioctl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
];

/// The process that reuses the pid.
enum Successor {
    Child(Helper),
    NonChild(Grandchild),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Child,
    /// A zombie that is a child of the test, with exit code 8.
    ExitedChild,
    NonChild,
}

/// A pid that is unused, as are those next to it. (Orphans keep their pids as zombies, because the
/// test is the init process of the pid namespace and does not reap them.)
fn next_free_pid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(10_000);
    NEXT.fetch_add(20, Ordering::Relaxed)
}

const KINDS: [Kind; 3] = [Kind::Child, Kind::ExitedChild, Kind::NonChild];

/// Starts a helper that leads a process group.
fn leader(command: &str) -> Helper {
    spawn(helper_command(command).process_group(0))
}

/// Kills and reaps a child, and gives its pid to another process.
fn replace(pid: u32, kind: Kind) -> Successor {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    waitpid(Pid::from_raw(pid as i32), None).unwrap();
    // Another thread may take the pid first.
    for _ in 0..5 {
        if kind == Kind::NonChild {
            // The parent of the grandchild gets the pid before it.
            set_next_pid(pid - 1);
            let grandchild = Grandchild::new("wait 8");
            if grandchild.pid == pid {
                return Successor::NonChild(grandchild);
            }
        } else {
            set_next_pid(pid);
            let mut child = leader("wait 8");
            if child.id() == pid {
                if kind == Kind::ExitedChild {
                    drop(child.stdin.take());
                    procwait::wait_pid(pid, None).unwrap();
                }
                return Successor::Child(child);
            }
        }
    }
    panic!("no process got the pid {pid}");
}

impl Successor {
    /// Asserts that the process has been neither killed nor reaped.
    fn assert_unharmed(mut self, kind: Kind, context: &str) {
        match &mut self {
            Successor::Child(child) => {
                let status = child.try_wait();
                let code = status
                    .as_ref()
                    .map(|status| status.map(|status| status.code()));
                let expected = (kind == Kind::ExitedChild).then_some(Some(8));
                assert!(
                    matches!(code, Ok(code) if code == expected),
                    "{context}: {status:?}"
                );
            }
            Successor::NonChild(grandchild) => {
                let stat = fs::read_to_string(format!("/proc/{}/stat", grandchild.pid)).unwrap();
                assert!(!stat.contains(") Z "), "{context}: {stat}");
            }
        }
    }
}

/// Runs `body` once for each system call that it makes and for each kind of successor, by pidfd and
/// by polling. Before that call, the successor replaces the process: before it is opened only if it
/// `is_verified` that it is not this kind. `check` gets the result of `body`, and whether it polled. If
/// `start` does not start the process, `body` does, and its calls are counted from the one that opens
/// the process.
///
/// Two cases are not tested, because nothing can prevent them: another child gets the pid before
/// the child is opened, or just after a check and before the `wait4` by pid in std.
fn at_each_call<T: Send>(
    test: &str,
    is_verified: fn(Kind) -> bool,
    start: impl Fn() -> Option<Helper>,
    body: impl Fn(Option<&mut Helper>) -> T + Sync,
    check: impl Fn(T, bool, &str),
) {
    let cases = KINDS.into_iter();
    for (kind, polls) in cases.flat_map(|kind| [(kind, false), (kind, true)]) {
        for n in 1.. {
            set_next_pid(next_free_pid());
            let mut old = start();
            let mut pid = old.as_ref().map(|old| old.id());
            let mut calls: Vec<Call> = Vec::new();
            let mut successor = None;
            let reply = |call: Call| {
                if calls.is_empty() && pid.is_none() {
                    if call.number != libc::SYS_pidfd_open {
                        return Reply::Continue; // The process is not open yet.
                    }
                    pid = Some(call.first_argument as u32);
                }
                calls.push(call);
                let since_open = calls
                    .iter()
                    .skip_while(|call| call.number != libc::SYS_pidfd_open);
                let is_opened = since_open.count() > if polls { 2 } else { 1 };
                let is_reaped_by_pid = call.number == libc::SYS_wait4 && kind == Kind::ExitedChild;
                if calls.len() == n {
                    // After `body` has reaped it, to read the rest of its output.
                    let raw = Pid::from_raw(pid.unwrap() as i32);
                    let is_reaped = kill(raw, None) == Err(nix::Error::ESRCH);
                    if !(is_opened || is_verified(kind)) || is_reaped_by_pid || is_reaped {
                        println!("{test}: {kind:?}, call {n} cannot be tested");
                    } else {
                        successor = Some(replace(pid.unwrap(), kind));
                    }
                }
                if call.number == libc::SYS_pidfd_open && polls {
                    return Reply::Fail(libc::ENOSYS);
                }
                Reply::Continue
            };
            let Some(result) = intercept(test, CALLS, reply, || body(old.as_mut())) else {
                return;
            };
            let numbers: Vec<i64> = calls.iter().map(|call| call.number).collect();
            let context =
                format!("{test}: {kind:?} before call {n} of {numbers:?}, polls: {polls}");
            let is_last = n > calls.len();
            if let Some(successor) = successor {
                check(result, polls, &context);
                successor.assert_unharmed(kind, &context);
                // The helper has been reaped. Dropping it could kill the successor.
                mem::forget(old);
            }
            if is_last {
                println!("{test}: {kind:?}, {} calls, polls: {polls}", calls.len());
                break;
            }
        }
    }
}

/// A `Child` is of a child. Whether that is the one that was meant cannot be verified.
fn is_no_child(kind: Kind) -> bool {
    kind == Kind::NonChild
}

/// A pid is that of any process.
fn not_at_all(_: Kind) -> bool {
    false
}

#[test]
fn child_wait_timeout() {
    in_own_pid_namespace(|| {
        at_each_call(
            "child_wait_timeout",
            is_no_child,
            || Some(helper("ignore-stdin")),
            |child| child.unwrap().wait_timeout(SHORT),
            |status, polls, context| match status {
                Ok(Some(status)) => assert_eq!(status.code(), None, "{context}: {status}"),
                // The pid was reused after the last check before the timeout.
                Ok(None) => assert!(polls, "{context}: still running"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{context}");
                }
            },
        );
    });
}

#[test]
fn command_output_timeout() {
    in_own_pid_namespace(|| {
        at_each_call(
            "command_output_timeout",
            is_no_child,
            || None,
            |_| {
                // This thread has the pid that was set before. Set another one, so that the pid
                // before the child's is unused: the parent of a non-child successor gets it.
                set_next_pid(next_free_pid());
                helper_command("ignore-stdin").output_timeout(SHORT)
            },
            |output, _, context| match output {
                Ok(output) => assert_eq!(output.status.code(), None, "{context}"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{context}");
                }
            },
        );
    });
}

#[test]
fn child_stop() {
    in_own_pid_namespace(|| {
        at_each_call(
            "child_stop",
            is_no_child,
            || Some(helper("ignore-stdin")),
            |child| child.unwrap().stop(SHORT),
            |status, _, context| match status {
                Ok(status) => assert_eq!(status.code(), None, "{context}: {status}"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{context}");
                }
            },
        );
    });
}

#[test]
fn child_process() {
    in_own_pid_namespace(|| {
        at_each_call(
            "child_process",
            is_no_child,
            || Some(helper("ignore-stdin")),
            |child| {
                let process = child.unwrap().process()?;
                process.kill()?;
                Ok(process.wait()?)
            },
            |exit: io::Result<Exit>, _, context| match exit {
                Ok(exit) => assert_eq!(exit.code(), None, "{context}"),
                Err(error) => {
                    assert_eq!(
                        error.raw_os_error(),
                        Some(libc::ECHILD),
                        "{context}: {error}"
                    );
                }
            },
        );
    });
}

#[test]
fn child_read_to_end_timeout() {
    in_own_pid_namespace(|| {
        at_each_call(
            "child_read_to_end_timeout",
            is_no_child,
            || Some(helper("ignore-stdin")),
            |child| {
                let mut captured = Captured::default();
                child.unwrap().read_to_end_timeout(&mut captured, SHORT)
            },
            |result, _, context| {
                result.unwrap_or_else(|error| panic!("{context}: {error}"));
            },
        );
    });
}

#[test]
fn command_output_timeout_of_a_group() {
    in_own_pid_namespace(|| {
        let test = "command_output_timeout_of_a_group";
        if kernel_version() < (6, 9) {
            return skip(test, "Linux 6.9"); // As for `process_signal_to_group`.
        }
        at_each_call(
            test,
            is_no_child,
            || None,
            |_| {
                // As in `command_output_timeout`.
                set_next_pid(next_free_pid());
                let mut command = helper_command("ignore-stdin");
                command.process_group(0).output_timeout(SHORT)
            },
            |output, _, context| match output {
                Ok(output) => assert_eq!(output.status.code(), None, "{context}"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ECHILD), "{context}");
                }
            },
        );
    });
}

/// Asserts an error that is expected if the process was reaped while it was being opened.
fn assert_not_found(error: &Error, context: &str) {
    assert!(
        matches!(error, Error::NotFound { .. }),
        "{context}: {error}"
    );
}

/// The exit is that of the process, which is killed, and not that of its successor.
fn assert_killed_or_not_found(exit: Result<Exit, Error>, _polls: bool, context: &str) {
    match exit {
        Ok(exit) => assert_eq!(exit.code(), None, "{context}"),
        Err(error) => assert_not_found(&error, context),
    }
}

#[test]
fn process_stop_and_kill() {
    in_own_pid_namespace(|| {
        at_each_call(
            "process_stop_and_kill",
            not_at_all,
            || Some(helper("ignore-stdin")),
            |child| {
                let process = Process::open(child.unwrap().id())?;
                process.stop(SHORT)?;
                process.kill()?;
                process.wait()
            },
            assert_killed_or_not_found,
        );
    });
}

#[test]
fn process_signal_to_group() {
    in_own_pid_namespace(|| {
        let test = "process_signal_to_group";
        if kernel_version() < (6, 9) {
            // The last step goes by number, and nothing can prevent that the number is reused then.
            return skip(test, "Linux 6.9");
        }
        at_each_call(
            test,
            not_at_all,
            || Some(leader("ignore-stdin")),
            |child| {
                let process = Process::open(child.unwrap().id())?;
                for signal in [0, libc::SIGTERM, libc::SIGKILL] {
                    process.send_signal_to_group(signal)?;
                }
                process.wait()
            },
            assert_killed_or_not_found,
        );
    });
}

#[test]
fn set_kill() {
    in_own_pid_namespace(|| {
        at_each_call(
            "set_kill",
            not_at_all,
            || Some(helper("ignore-stdin")),
            |child| {
                let pid = child.unwrap().id();
                let mut set = WaitSet::new();
                set.insert(pid)?;
                set.send_signal(pid, 0)?;
                set.kill(pid)?;
                set.kill(pid)?;
                set.wait(Some(LONG))
            },
            |result, _, context| match result {
                Ok(exit) => assert_eq!(exit.unwrap().1.code(), None, "{context}"),
                Err(error) => assert_not_found(&error, context),
            },
        );
    });
}

#[test]
fn set_insert_process() {
    in_own_pid_namespace(|| {
        at_each_call(
            "set_insert_process",
            not_at_all,
            || Some(helper("ignore-stdin")),
            |child| {
                let pid = child.unwrap().id();
                let process = Process::open(pid)?;
                let mut set = WaitSet::new();
                assert!(set.insert_process(&process)?);
                assert!(!set.insert_process(&process)?);
                set.kill(pid)?;
                let found = set.wait(Some(LONG))?;
                assert_eq!(found, Some((pid, process.wait()?)));
                // It still has its pid, or a successor has that, whose exit is not the next one.
                set.insert(pid)?;
                set.insert_process(&process)?;
                assert_eq!(set.wait(Some(LONG))?, found);
                process.wait()
            },
            assert_killed_or_not_found,
        );
    });
}

/// A process, and its identity.
#[derive(Default)]
struct Identified(Mutex<Option<Identity>>);

impl Identified {
    fn start(&self) -> Option<Helper> {
        let child = leader("ignore-stdin");
        let identity = Process::open(child.id()).unwrap().identity().unwrap();
        *self.0.lock().unwrap() = Some(identity);
        // The successor has another start time.
        outlast_start_tick(child.id());
        Some(child)
    }

    fn identity(&self) -> Identity {
        self.0.lock().unwrap().clone().unwrap()
    }

    /// Asserts that an open process, which may have been replaced, shows no other identity.
    fn assert_identity(&self, process: &Process) {
        let shown = process.identity();
        assert!(
            shown.is_none() || shown == Some(self.identity()),
            "{shown:?}"
        );
        if shown.is_some() {
            assert_eq!(process.identity(), shown, "it is kept");
        }
    }
}

#[test]
fn process_identity() {
    in_own_pid_namespace(|| {
        let identified = Identified::default();
        at_each_call(
            "process_identity",
            not_at_all,
            || identified.start(),
            |child| {
                let process = Process::open(child.unwrap().id())?;
                identified.assert_identity(&process);
                process.kill()?;
                process.wait()
            },
            assert_killed_or_not_found,
        );
    });
}

#[test]
fn open_identity() {
    in_own_pid_namespace(|| {
        let identified = Identified::default();
        at_each_call(
            "open_identity",
            |_| true,
            || identified.start(),
            |_| {
                let process = Process::open_identity(&identified.identity())?;
                identified.assert_identity(&process);
                process.kill()?;
                process.wait()
            },
            assert_killed_or_not_found,
        );
    });
}

#[test]
fn adopted_process() {
    in_own_pid_namespace(|| {
        let identified = Identified::default();
        at_each_call(
            "adopted_process",
            not_at_all,
            || identified.start(),
            |child| {
                let pid = child.unwrap().id();
                let raw = rustix::process::Pid::from_raw(pid as i32).unwrap();
                let pidfd = pidfd_open(raw, PidfdFlags::empty()).ok()?;
                let process = Process::from_pidfd(pidfd).unwrap();
                assert!([0, pid].contains(&process.pid()));
                identified.assert_identity(&process);
                let mut set = WaitSet::new();
                let is_inserted = set.insert_process(&process);
                assert!(process.pid() == 0 || is_inserted.unwrap());
                // Before Linux 6.9 it goes by number, right after a check.
                if kernel_version() >= (6, 9) {
                    let sent = process.send_signal_to_group(libc::SIGTERM);
                    assert!(process.pid() == 0 || sent.is_ok());
                }
                process.stop(SHORT).unwrap();
                process.kill().unwrap();
                let exit = process.wait().unwrap();
                if !set.is_empty() {
                    assert_eq!(set.wait(Some(LONG)).unwrap(), Some((pid, exit)));
                }
                Some(exit)
            },
            |exit, polls, context| match exit {
                Some(exit) => assert_eq!(exit.code(), None, "{context}"),
                None => assert!(polls, "{context}"),
            },
        );
    });
}

/// After one call found the exit of the old process, the next must not take the new process for it.
/// Both can have started in the same clock tick, and then no later check distinguishes them.
#[test]
fn polled_member_keeps_its_exit_when_the_pid_is_reused_at_once() {
    in_own_pid_namespace(|| {
        let test = "polled_member_keeps_its_exit_when_the_pid_is_reused_at_once";
        let deny = |_| Reply::Fail(libc::ENOSYS);
        intercept(test, &[libc::SYS_pidfd_open], deny, || {
            let mut in_same_tick = 0;
            for _ in 0..20 {
                set_next_pid(next_free_pid());
                let mut old = helper("wait 7");
                let pid = old.id();
                let mut set = WaitSet::new();
                set.insert(pid).unwrap();
                let start = start_time(pid);
                assert_eq!(old.wait().unwrap().code(), Some(7));
                set_next_pid(pid);
                let new = helper("ignore-stdin");
                assert_eq!(new.id(), pid);
                in_same_tick += u32::from(start_time(pid) == start);
                assert!(
                    !set.send_signal(pid, 0).unwrap(),
                    "the old process has exited"
                );
                set.kill(pid).unwrap();
                let (_, exit) = set.wait(Some(LONG)).unwrap().unwrap();
                assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
                Successor::Child(new).assert_unharmed(Kind::Child, test);
            }
            println!("{in_same_tick} of 20 started in the same clock tick");
        });
    });
}

/// The exit of the reaped process is recorded even if no events can be waited for.
#[test]
fn set_reports_both_processes_without_ppoll() {
    in_own_pid_namespace(|| {
        let test = "set_reports_both_processes_without_ppoll";
        let deny = |_| Reply::Fail(libc::EPERM);
        intercept(test, &[libc::SYS_ppoll], deny, || {
            set_next_pid(next_free_pid());
            let mut old = helper("wait 7");
            let pid = old.id();
            let mut set = WaitSet::new();
            set.insert(pid).unwrap();
            assert_eq!(old.wait().unwrap().code(), Some(7));
            set_next_pid(pid);
            let mut new = helper("wait 8");
            assert_eq!(new.id(), pid);
            assert!(set.insert(pid).unwrap(), "the new process");
            assert_eq!(set.len(), 2);
            let (_, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
            drop(new.stdin.take());
            let (_, exit) = set.wait(Some(LONG)).unwrap().unwrap();
            assert_eq!(exit.code(), Some(8));
            new.wait().unwrap();
        });
    });
}

/// A `Child` that std has reaped keeps its status, even if another process has its pid.
#[test]
fn finished_child_keeps_its_status_when_another_child_has_its_pid() {
    in_own_pid_namespace(|| {
        set_next_pid(next_free_pid());
        let mut old = helper("wait 7");
        let pid = old.id();
        let status = old.wait_timeout(LONG).unwrap().unwrap();
        assert_eq!(status.code(), Some(7));
        set_next_pid(pid);
        let new = helper("ignore-stdin");
        assert_eq!(new.id(), pid);
        let start = Instant::now();
        assert_eq!(old.wait_timeout(LONG).unwrap(), Some(status));
        let mut captured = Captured::default();
        let again = old.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(again, Some(status));
        assert!(start.elapsed() < LONG, "it waits for the new child");
        let test = "finished_child_keeps_its_status_when_another_child_has_its_pid";
        Successor::Child(new).assert_unharmed(Kind::Child, test);
        mem::forget(old);
    });
}

/// Asserts which system calls a wait makes for a child that is killed while the wait sleeps.
#[test]
fn system_calls_of_a_wait() {
    in_subprocess(|| {
        let test = "system_calls_of_a_wait";
        if !has_pidfd() {
            return skip(test, "pidfd");
        }
        // The first wait for a zombie also asks for the kernel's version, which is cached.
        let mut first = helper("wait 0");
        let process = Process::open(first.id()).unwrap();
        drop(first.stdin.take());
        process.wait().unwrap();
        let calls_of = |wait: fn(&mut Helper)| {
            let mut child = helper("ignore-stdin");
            let pid = Pid::from_raw(child.id() as i32);
            let mut calls = Vec::new();
            let kill_at_ppoll = |call: Call| {
                calls.push(call.number);
                if call.number == libc::SYS_ppoll {
                    kill(pid, Signal::SIGKILL).unwrap();
                }
                Reply::Continue
            };
            let all = [CALLS, &[libc::SYS_close, libc::SYS_uname]].concat();
            drop(child.stdin.take());
            intercept(test, &all, kill_at_ppoll, || wait(&mut child))?;
            Some(calls)
        };
        let wait_pid = calls_of(|child| {
            procwait::wait_pid(child.id(), None).unwrap().unwrap();
        });
        let Some(wait_pid) = wait_pid else {
            return;
        };
        assert_eq!(
            wait_pid,
            [
                libc::SYS_waitid,
                libc::SYS_pidfd_open,
                libc::SYS_ppoll,
                libc::SYS_waitid,
                libc::SYS_close,
            ]
        );
        let mut wait_timeout = calls_of(|child| {
            child.wait_timeout(LONG).unwrap().unwrap();
        })
        .unwrap();
        if common::kernel_version() < (6, 15) {
            // The pidfd does not report whether the zombie has been reaped, so one more call does.
            assert_eq!(wait_timeout.remove(4), libc::SYS_waitid);
        }
        assert_eq!(
            wait_timeout,
            [
                libc::SYS_pidfd_open,
                libc::SYS_waitid,
                libc::SYS_wait4,
                libc::SYS_ppoll,
                libc::SYS_wait4,
                libc::SYS_close,
            ]
        );
    });
}

/// Three bytes of output take at most twelve calls, in whichever order the output, the ends of the
/// pipes, and the exit are found.
#[test]
fn system_calls_of_an_output() {
    in_subprocess(|| {
        let test = "system_calls_of_an_output";
        if !has_pidfd() || common::kernel_version() < (6, 15) {
            return skip(test, "Linux 6.15");
        }
        // The first call also asks for the kernel's version, which is cached.
        helper("exit 0")
            .output_timeout(&mut Captured::default(), LONG)
            .unwrap();
        for exits_before in [libc::SYS_pidfd_open, libc::SYS_ppoll] {
            let (input, stdin) = UnixStream::pair().unwrap();
            let mut shell = Command::new("sh");
            shell.args(["-c", "read line; echo hi"]);
            shell.stdin(OwnedFd::from(stdin)).stderr(Stdio::piped());
            let mut child = spawn(shell.stdout(Stdio::piped()));
            drop(shell); // It has a copy of the child's end of the input.
            let (pid, mut input) = (child.id(), Some(input));
            let mut calls = Vec::new();
            let reply = |call: Call| {
                calls.push(call.number);
                if call.number == exits_before && input.take().is_some() {
                    procwait::wait_pid(pid, None).unwrap();
                }
                Reply::Continue
            };
            let mut captured = Captured::default();
            let all = [CALLS, &[libc::SYS_read, libc::SYS_close, libc::SYS_uname]].concat();
            let status = intercept(test, &all, reply, || {
                child.output_timeout(&mut captured, LONG).unwrap()
            });
            let Some(status) = status else {
                return;
            };
            assert!(status.unwrap().success() && captured.stdout == b"hi\n");
            assert!(child.stdout.is_none() && child.stderr.is_none());
            assert!(calls.len() <= 12, "{calls:?}");
        }
    });
}
