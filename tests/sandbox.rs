//! Tests in sandboxes: seccomp denies system calls.

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

use common::{
    Grandchild, Helper, LONG, SHORT, cpu_clock_counts_ticks, has_pidfd, helper,
    output::{LEN, assert_consecutive_numbers, pattern, piped},
    proc_shows_exit_codes, skip, thread_cpu_time,
};
use futures_lite::future::poll_once;
use nix::{
    libc,
    sys::resource::{UsageWho, getrusage},
};
use procwait::{
    Backend, Captured, ChildExt as _, CommandExt as _, Error, Exit, Process, WaitSet, wait_all,
    wait_any, wait_pid,
};
use runtimes::{ALL, AsyncRuntime};
use rustix::thread::gettid;
use seccomp::{deny, deny_on_fds_from, install_filter};
use seccompiler::SeccompAction;
use std::{
    fs::File,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// What `fstat` of the C libraries calls.
const FSTAT: [i64; 3] = [libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx];

/// Runs the test in a thread in which these calls fail.
fn in_sandbox(calls: &'static [i64], errno: i32, test: impl FnOnce(i32) + Send + 'static) {
    thread::spawn(move || {
        deny(calls, errno);
        test(errno);
    })
    .join()
    .unwrap();
}

#[test]
fn polls_without_pidfd_open() {
    let code = proc_shows_exit_codes("polls_without_pidfd_open").then_some(7);
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        in_sandbox(&[libc::SYS_pidfd_open], errno, move |errno| {
            let mut child = helper("wait 7");
            assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
            let process = Process::open(child.id()).unwrap();
            assert_eq!(process.backend(), Backend::Polling);
            let cause = process.fallback_cause().unwrap();
            assert_eq!(cause.raw_os_error(), Some(errno));
            assert!(matches!(
                Process::open_with(child.id(), Backend::PidFd),
                Err(Error::Unsupported { .. })
            ));
            assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
            drop(child.stdin.take());
            assert_eq!(process.wait().unwrap().code(), Some(7));
            child.wait().unwrap();

            let mut grandchild = Grandchild::new("wait 7");
            assert_eq!(wait_pid(grandchild.pid, Some(SHORT)).unwrap(), None);
            grandchild.end();
            let exit = wait_pid(grandchild.pid, Some(LONG)).unwrap().unwrap();
            assert_eq!(exit.code(), code);
        });
    }
    // Only that thread was in the sandbox. The crate does not cache the failure.
    let process = Process::open(std::process::id()).unwrap();
    if let Some(cause) = process.fallback_cause() {
        assert_ne!(cause.kind(), std::io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn falls_back_during_a_wait_without_poll() {
    if !has_pidfd() {
        return skip("falls_back_during_a_wait_without_poll", "pidfd");
    }
    let code = proc_shows_exit_codes("falls_back_during_a_wait_without_poll").then_some(7);
    in_sandbox(&[libc::SYS_ppoll], libc::EPERM, move |errno| {
        let mut grandchild = Grandchild::new("wait 7");
        let process = Process::open(grandchild.pid).unwrap();
        assert_eq!(process.backend(), Backend::PidFd);
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(process.backend(), Backend::Polling);
        let cause = process.fallback_cause().unwrap();
        assert_eq!(cause.raw_os_error(), Some(errno));
        grandchild.end();
        assert_eq!(process.wait().unwrap().code(), code);

        let strict = Process::open_with(std::process::id(), Backend::PidFd).unwrap();
        match strict.try_wait().unwrap_err() {
            Error::Os { call, .. } => assert_eq!(call, "ppoll"),
            error => panic!("{error}"),
        }
        // This process is reaped before the wait falls back to polling.
        let mut grandchild = Grandchild::new("wait 7");
        let process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        grandchild.reap();
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
    });
}

#[test]
fn output_uses_what_is_not_denied() {
    const OPEN: i64 = libc::SYS_pidfd_open;
    const POLL: i64 = libc::SYS_ppoll;
    const READ: i64 = libc::SYS_preadv2;
    const FIONREAD: i64 = libc::SYS_ioctl;
    let denied: [&[i64]; 8] = [
        &[OPEN],
        &[POLL],
        &[READ],
        &[FIONREAD],
        &[OPEN, POLL],
        &[POLL, READ],
        &[READ, FIONREAD],
        &[OPEN, POLL, READ],
    ];
    for calls in denied {
        for errno in [libc::EPERM, libc::ENOSYS] {
            in_sandbox(calls, errno, move |_| {
                let mut child = piped("write 100000 7");
                let mut captured = Captured::default();
                let status = child.output_timeout(&mut captured, LONG).unwrap();
                assert_eq!(status.unwrap().code(), Some(7), "{calls:?}");
                let expected = (pattern(b'o', LEN), pattern(b'e', LEN));
                assert!((captured.stdout, captured.stderr) == expected, "{calls:?}");

                let mut child = piped("count");
                let mut captured = Captured::default();
                while captured.stdout.is_empty() || captured.stderr.is_empty() {
                    for timeout in [Duration::ZERO, SHORT] {
                        let start = Instant::now();
                        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
                        assert!(start.elapsed() >= timeout);
                    }
                }
                child.kill().unwrap();
                child.output_timeout(&mut captured, LONG).unwrap().unwrap();
                assert_consecutive_numbers(&captured.stdout);
                assert_consecutive_numbers(&captured.stderr);
            });
        }
    }
}

/// Runs the test in a thread in which nothing says whether a read would block.
fn with_unreadable_output(test: impl FnOnce() + Send + 'static) {
    const LOWEST: usize = 50;
    let calls = &[libc::SYS_ppoll, libc::SYS_ioctl, libc::SYS_preadv2];
    in_sandbox(calls, libc::EPERM, |errno| {
        let lower = [(); LOWEST].map(|()| File::open("/dev/null").unwrap());
        deny_on_fds_from(LOWEST as u64, &FSTAT, errno);
        test();
        drop(lower);
    });
}

#[test]
fn unreadable_output_is_an_error() {
    with_unreadable_output(|| {
        let mut child = piped("write 1000 7");
        let mut captured = Captured::default();
        for timeout in [SHORT, LONG] {
            let error = child.output_timeout(&mut captured, timeout).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!(child.wait_timeout(LONG).unwrap().unwrap().code(), Some(7));
    });
}

#[test]
fn command_with_unreadable_output_is_killed_and_reaped() {
    common::in_subprocess(|| {
        with_unreadable_output(|| {
            let mut command = std::process::Command::new("sleep");
            let error = command.arg("60").output_timeout(LONG).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            let children = nix::sys::wait::waitpid(None, None);
            assert_eq!(children, Err(nix::Error::ECHILD));
        });
    });
}

/// Without `wait4`, std cannot reap the command. It must be killed nevertheless.
#[test]
fn command_is_killed_at_the_timeout_without_wait4() {
    common::in_subprocess(|| {
        in_sandbox(&[libc::SYS_wait4], libc::EPERM, |_| {
            let output = common::helper_command("ignore-stdin").output_timeout(SHORT);
            let output = output.unwrap();
            assert!(output.timed_out);
            assert_eq!(output.status.code(), None);
        });
        let status = nix::sys::wait::waitpid(None, None).unwrap();
        assert!(matches!(
            status,
            nix::sys::wait::WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _)
        ));
    });
}

#[test]
fn closed_pipes_of_a_polled_child_do_not_spin() {
    in_sandbox(&[libc::SYS_pidfd_open], libc::EPERM, |_| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec >&- 2>&-; exec sleep 60"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = common::spawn(&mut command);
        let captured = &mut Captured::default();
        while child.stdout.is_some() || child.stderr.is_some() {
            assert_eq!(child.output_timeout(captured, SHORT).unwrap(), None);
        }
        common::output::assert_sleeps(&mut child, captured);
        child.kill().unwrap();
    });
}

/// For other streams than ordinary pipes, the crate makes further system calls, each of which can
/// be denied.
#[test]
fn streams_are_read_completely_whatever_is_denied() {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use std::{net::TcpListener, net::TcpStream, os::fd::OwnedFd, os::unix::net::UnixStream};

    type Ends = Option<(OwnedFd, OwnedFd)>;
    fn terminal() -> Ends {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).ok()?;
        unlockpt(&master).ok()?;
        let slave = ioctl_tiocgptpeer(&master, flags).ok()?;
        Some((master, slave))
    }
    fn tcp() -> Ends {
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let child_end = TcpStream::connect(listener.local_addr().ok()?).ok()?;
        Some((listener.accept().ok()?.0.into(), child_end.into()))
    }
    fn pipe() -> Ends {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()
    }
    fn unix() -> Ends {
        let (parent_end, child_end) = UnixStream::pair().ok()?;
        Some((parent_end.into(), child_end.into()))
    }
    const NAME: &[i64] = &[libc::SYS_getsockname];
    const POLL: &[i64] = &[libc::SYS_ppoll];
    const FIONREAD: &[i64] = &[libc::SYS_ioctl];
    const READ: &[i64] = &[libc::SYS_preadv2];
    #[cfg(target_arch = "x86_64")]
    const OPEN: &[i64] = &[libc::SYS_preadv2, libc::SYS_openat, libc::SYS_open];
    #[cfg(not(target_arch = "x86_64"))]
    const OPEN: &[i64] = &[libc::SYS_preadv2, libc::SYS_openat];
    let zeros = || {
        let mut command = std::process::Command::new("head");
        command.args(["-c", "9000", "/dev/zero"]);
        command
    };
    for (kind, ends) in [
        ("terminal", terminal as fn() -> Ends),
        ("tcp", tcp),
        ("unix", unix),
        ("pipe", pipe),
    ] {
        if ends().is_none() {
            let needed = format!("both ends of a stream: {kind}");
            skip("streams_are_read_completely_whatever_is_denied", &needed);
            continue;
        }
        for calls in [&FSTAT, NAME, POLL, FIONREAD, READ, OPEN] {
            for errno in [libc::EPERM, libc::ENOSYS] {
                let (parent_end, child_end) = ends().unwrap();
                in_sandbox(&[], 0, move |_| {
                    // Another descriptor keeps the stream open, so there is no end of file.
                    let other_end = child_end.try_clone().unwrap();
                    let mut child = common::spawn(zeros().stdout(child_end));
                    child.stdout = Some(parent_end.into());
                    wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
                    deny(calls, errno);
                    let mut captured = Captured::default();
                    let status = child.output_timeout(&mut captured, LONG).unwrap();
                    assert!(status.unwrap().success());
                    assert!(captured.stdout == [0; 9000], "{kind}, {calls:?}");
                    drop(other_end);
                });
            }
        }
    }
}

/// A signal is sent through the pidfd, through the process's directory in /proc, or by `kill`.
#[test]
fn signal_uses_what_is_not_denied() {
    let test = "signal_uses_what_is_not_denied";
    const SEND: i64 = libc::SYS_pidfd_send_signal;
    const OPEN: i64 = libc::SYS_pidfd_open;
    const KILL: i64 = libc::SYS_kill;
    // A kernel without pidfds does not signal through a directory in /proc either.
    let has_pidfd = has_pidfd();
    if !has_pidfd {
        skip(test, "pidfd");
    }
    let denied: [(&[i64], bool); 6] = [
        (&[KILL], has_pidfd),
        (&[SEND], true),
        (&[OPEN], true),
        (&[OPEN, SEND], true),
        (&[OPEN, KILL], has_pidfd),
        (&[SEND, KILL], false),
    ];
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        for (calls, is_sent) in denied {
            in_sandbox(calls, errno, move |errno| {
                let mut child = helper("wait 0");
                let pid = child.id();
                let process = Process::open(pid).unwrap();
                let mut set = WaitSet::new();
                set.insert(pid).unwrap();
                let results = [
                    process.send_signal(0),
                    set.send_signal(pid, 0),
                    process.send_signal(libc::SIGUSR1),
                ];
                for result in results {
                    match result {
                        Ok(sent) => assert!(sent && is_sent, "{calls:?}"),
                        Err(Error::Os {
                            call,
                            pid: error_pid,
                            source,
                        }) => {
                            assert!(!is_sent, "{calls:?}: {source}");
                            assert_eq!((call, error_pid), ("kill", pid));
                            assert_eq!(source.raw_os_error(), Some(errno));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                if !is_sent {
                    set.kill(pid).unwrap_err();
                }
                drop(child.stdin.take());
                let signal = is_sent.then_some(libc::SIGUSR1);
                assert_eq!(process.wait().unwrap().signal(), signal);
                assert!(!process.send_signal(0).unwrap());
                assert!(!set.send_signal(pid, 0).unwrap());
                set.kill(pid).unwrap();
                child.wait().unwrap();
                assert!(!process.send_signal(0).unwrap());
                assert!(!set.send_signal(pid, 0).unwrap());
            });
        }
    }
}

#[test]
fn pidfd_is_kept_for_signals_when_events_fail() {
    if !has_pidfd() {
        return skip("pidfd_is_kept_for_signals_when_events_fail", "pidfd");
    }
    in_sandbox(&[libc::SYS_ppoll, libc::SYS_kill], libc::EPERM, |_| {
        let mut child = helper("ignore-stdin");
        let process = Process::open(child.id()).unwrap();
        let mut set = WaitSet::new();
        set.insert(child.id()).unwrap();
        assert!(process.as_event_fd().is_some());
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(process.backend(), Backend::Polling);
        assert!(process.as_event_fd().is_none());
        assert!(set.send_signal(child.id(), 0).unwrap());
        assert_eq!(
            process.stop(LONG).unwrap().unwrap().signal(),
            Some(libc::SIGTERM)
        );
        assert!(!set.send_signal(child.id(), 0).unwrap());
        child.wait().unwrap();
    });
}

/// Neither a signal nor the check before it needs a new descriptor.
#[test]
fn signal_without_descriptors() {
    if !has_pidfd() {
        return skip("signal_without_descriptors", "pidfd");
    }
    common::in_subprocess(|| {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let mut child = helper("ignore-stdin");
        let strict = Process::open_with(child.id(), Backend::PidFd).unwrap();
        let mut set = WaitSet::new();
        set.insert(child.id()).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        assert!(strict.send_signal(0).unwrap());
        assert!(set.send_signal(child.id(), 0).unwrap());
        set.kill(child.id()).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(strict.wait().unwrap().signal(), Some(libc::SIGKILL));
        child.wait().unwrap();
    });
}

#[test]
fn events_fail_for_one_of_many_waiters() {
    if !has_pidfd() {
        return skip("events_fail_for_one_of_many_waiters", "pidfd");
    }
    for _ in 0..20 {
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        let exits = thread::scope(|scope| {
            let process = &process;
            let waiters: Vec<_> = (0..8)
                .map(|index| {
                    scope.spawn(move || {
                        if index % 4 == 3 {
                            deny(&[libc::SYS_ppoll], libc::EPERM);
                        }
                        process.wait().unwrap()
                    })
                })
                .collect();
            while process.backend() == Backend::PidFd {
                thread::yield_now();
            }
            let cause = process.fallback_cause().unwrap();
            assert_eq!(cause.raw_os_error(), Some(libc::EPERM));
            drop(child.stdin.take());
            waiters
                .into_iter()
                .map(|waiter| waiter.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(exits.iter().all(|exit| exit.code() == Some(7)), "{exits:?}");
        child.wait().unwrap();
    }
}

/// The system calls of the crate's waits. Without `openat` and `pread64`, there is no /proc, which
/// `without_proc` in `permissions.rs` tests. `close` cannot be denied: the helpers' pipes would
/// stay open, and no helper would exit.
const CALLS: [(&str, i64); 14] = [
    ("pidfd_open", libc::SYS_pidfd_open),
    ("ppoll", libc::SYS_ppoll),
    ("waitid", libc::SYS_waitid),
    ("epoll_create1", libc::SYS_epoll_create1),
    ("epoll_ctl", libc::SYS_epoll_ctl),
    ("epoll_pwait", libc::SYS_epoll_pwait),
    ("epoll_pwait2", libc::SYS_epoll_pwait2),
    ("ioctl", libc::SYS_ioctl),
    ("tgkill", libc::SYS_tgkill),
    ("getpgid", libc::SYS_getpgid),
    ("readlinkat", libc::SYS_readlinkat),
    ("uname", libc::SYS_uname),
    ("prlimit64", libc::SYS_prlimit64),
    ("clock_nanosleep", libc::SYS_clock_nanosleep),
];

const ERRORS: [(&str, i32); 5] = [
    ("EPERM", libc::EPERM),
    ("EACCES", libc::EACCES),
    ("ENOSYS", libc::ENOSYS),
    ("EINVAL", libc::EINVAL),
    ("EMFILE", libc::EMFILE),
];

/// Each call fails with each error. Every wait must find the exit in another way, with the right
/// status or an unknown one, and must time out if there is no exit.
#[test]
fn each_denied_syscall_falls_back() {
    let proc_shows_exit_codes = proc_shows_exit_codes("each_denied_syscall_falls_back");
    for (call, number) in CALLS {
        for (name, errno) in ERRORS {
            let tests = thread::spawn(move || {
                let child = helper("wait 7");
                let reaped = helper("wait 7");
                let zombie = Grandchild::new("wait 7");
                deny(&[number], errno);
                // Without `uname`, the version of the kernel is unknown, and so whether the exit
                // codes in /proc are right.
                let is_status_known = proc_shows_exit_codes && call != "uname";
                assert_all_waits_work(child, reaped, zombie, is_status_known);
            });
            assert!(tests.join().is_ok(), "{call} denied with {name}");
        }
    }
}

/// The crate still distinguishes unused pids from used ones, and finds the exit of a non-child.
#[test]
fn without_the_null_signal() {
    let calls: [&[i64]; 3] = [
        &[libc::SYS_tgkill],
        &[libc::SYS_tgkill, libc::SYS_pidfd_open],
        &[libc::SYS_tgkill, libc::SYS_getpgid],
    ];
    // Without a pidfd, `tgkill` and `getpgid`, nothing shows whether a pid is in use.
    for calls in calls.into_iter().take(if has_pidfd() { 3 } else { 2 }) {
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            in_sandbox(calls, errno, |_| {
                let unused = common::unused_pid();
                for timeout in [Some(Duration::ZERO), Some(LONG), None] {
                    let result = wait_pid(unused, timeout);
                    assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
                }
                for backend in [Backend::PidFd, Backend::Polling] {
                    let opened = Process::open_with(unused, backend);
                    assert!(
                        matches!(
                            opened,
                            Err(Error::NotFound { .. } | Error::Unsupported { .. })
                        ),
                        "{opened:?}"
                    );
                }
                let opened = Process::open(unused);
                assert!(matches!(opened, Err(Error::NotFound { .. })), "{opened:?}");
                let inserted = WaitSet::new().insert(unused);
                assert!(matches!(inserted, Err(Error::NotFound { .. })));

                let thread = gettid().as_raw_nonzero().get() as u32;
                assert_ne!(thread, std::process::id());
                let opened = Process::open_with(thread, Backend::Polling);
                assert!(matches!(opened, Err(Error::NotFound { .. })), "{opened:?}");

                let mut grandchild = Grandchild::new("wait 7");
                let mut set = WaitSet::new();
                set.insert(grandchild.pid).unwrap();
                let processes = common::open_by_all(grandchild.pid);
                grandchild.end();
                grandchild.reap();
                for process in &processes {
                    let exit = process.wait_timeout(LONG).unwrap().expect("has exited");
                    assert!(matches!(exit.code(), Some(7) | None));
                }
                set.wait(Some(LONG)).unwrap().expect("has exited");
            });
        }
    }
}

/// A failure can be temporary, such as a lack of memory, or concern only one thread. Later waits
/// use events again.
#[test]
fn set_recovers_from_epoll_failure() {
    if !has_pidfd() {
        return skip("set_recovers_from_epoll_failure", "pidfd");
    }
    let mut children = [helper("wait 7"), helper("wait 8")];
    let pids = [children[0].id(), children[1].id()];
    let mut set = WaitSet::new();
    for pid in pids {
        set.insert(pid).unwrap();
    }
    drop(children[0].stdin.take());
    let waiter = thread::spawn(move || {
        deny(
            &[libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2],
            libc::ENOMEM,
        );
        let exit = set.wait(Some(LONG)).unwrap();
        assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
        (exit, set)
    });
    let (exit, mut set) = waiter.join().unwrap();
    assert_eq!(
        exit.map(|(pid, exit)| (pid, exit.code())),
        Some((pids[0], Some(7)))
    );
    let before = voluntary_switches();
    assert_eq!(set.wait(Some(Duration::from_secs(1))).unwrap(), None);
    // A second of polling takes 25 context switches.
    let switches = voluntary_switches() - before;
    assert!(switches < 10, "it polls: {switches} context switches");
    drop(children[1].stdin.take());
    let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
    assert_eq!((pid, exit.code()), (pids[1], Some(8)));
}

fn voluntary_switches() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD)
        .unwrap()
        .voluntary_context_switches()
}

/// The number of polled processes and the timeout do not matter.
#[test]
fn polling_takes_a_tenth_of_a_core_at_most() {
    let skip = |needed| skip("polling_takes_a_tenth_of_a_core_at_most", needed);
    if cpu_clock_counts_ticks() {
        return skip("a CPU clock that counts more than whole ticks");
    }
    // An emulated processor takes too long for the work of the set itself, and for the first two
    // checks, by which the backoff is found.
    if cpu_share(|| thread::sleep(Duration::from_millis(1))) > 0.05 {
        return skip("a processor that takes less than 50 µs for a short sleep");
    }
    in_sandbox(&[libc::SYS_pidfd_open], libc::EPERM, |_| {
        let helpers: Vec<_> = (0..100).map(|_| helper("ignore-stdin")).collect();
        let mut set = WaitSet::new();
        for helper in &helpers {
            set.insert(helper.id()).unwrap();
        }
        let single = Process::open(helpers[0].id()).unwrap();
        for timeout in [1, 10].map(Duration::from_millis) {
            let of_set = cpu_share(|| {
                assert_eq!(set.wait(Some(timeout)).unwrap(), None);
            });
            let of_process = cpu_share(|| {
                assert_eq!(single.wait_timeout(timeout).unwrap(), None);
            });
            // Allow for the sleeps themselves, a tenth of a core, and the work of the set itself.
            let max = cpu_share(|| thread::sleep(timeout)) + 0.2;
            assert!(of_set < max, "set, {timeout:?}: {of_set:.2}");
            assert!(of_process < max, "Process, {timeout:?}: {of_process:.2}");
        }
    });
}

/// Repeats the wait for half a second, and returns the CPU time as a fraction of one core.
fn cpu_share(mut wait: impl FnMut()) -> f64 {
    let (start, cpu) = (Instant::now(), thread_cpu_time());
    while start.elapsed() < Duration::from_millis(500) {
        wait();
    }
    (thread_cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// A check with a zero timeout, or a wait for one process, needs no set. Here, creating an epoll
/// kills the process.
#[test]
fn zero_timeout_uses_no_epoll() {
    let helpers = [helper("wait 7"), helper("wait 8")];
    let pids = [helpers[0].id(), helpers[1].id()];
    let checks = move || {
        for timeout in [Duration::ZERO, SHORT] {
            assert_eq!(
                wait_all([pids[0]], Some(timeout)).unwrap().running,
                [pids[0]]
            );
            assert_eq!(wait_any([pids[0]], Some(timeout)).unwrap(), None);
        }
        let timeout = Some(Duration::ZERO);
        assert_eq!(wait_all(pids, timeout).unwrap().running, pids);
        assert_eq!(wait_any(pids, timeout).unwrap(), None);
    };
    let denied = thread::spawn(move || {
        install_filter(&[libc::SYS_epoll_create1], SeccompAction::Trap);
        checks();
    });
    denied.join().unwrap();
}

/// Waits in every way for three processes that exit with code 7: a child, a child that is reaped,
/// and a zombie that is not a child.
fn assert_all_waits_work(
    mut child: Helper,
    mut reaped: Helper,
    mut zombie: Grandchild,
    is_status_known: bool,
) {
    let is_right =
        |exit: Exit| exit.code() == Some(7) || (!is_status_known && exit.status().is_none());
    let pids = [child.id(), reaped.id(), zombie.pid];
    for pid in pids {
        assert_eq!(wait_pid(pid, Some(Duration::ZERO)).unwrap(), None);
        assert_eq!(wait_pid(pid, Some(SHORT)).unwrap(), None);
    }
    assert_eq!(wait_all(pids, Some(SHORT)).unwrap().running, pids);
    let mut set = WaitSet::new();
    for pid in pids {
        assert!(set.insert(pid).unwrap());
    }
    assert_eq!(set.wait(Some(SHORT)).unwrap(), None);
    let processes = pids.map(common::open_by_all);
    for process in processes.iter().flatten() {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    }

    zombie.end();
    assert!(is_right(wait_pid(zombie.pid, Some(LONG)).unwrap().unwrap()));
    drop(reaped.stdin.take());
    // The check of a child asks for its status first. If that call is denied, /proc shows the
    // status.
    assert!(is_right(
        wait_pid(reaped.id(), Some(LONG)).unwrap().unwrap()
    ));
    reaped.wait().unwrap();
    drop(child.stdin.take());
    assert!(is_right(wait_pid(child.id(), None).unwrap().unwrap()));

    let [of_child, of_reaped, of_zombie] = &processes;
    for process in of_child.iter().chain(of_zombie) {
        assert!(
            is_right(process.wait_timeout(LONG).unwrap().unwrap()),
            "{process:?}"
        );
    }
    for process in of_reaped {
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert!(is_right(exit) || exit.status().is_none(), "{process:?}");
    }
    let mut remaining = pids.to_vec();
    while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
        remaining.retain(|&remaining| remaining != pid);
        assert!(is_right(exit) || (pid == reaped.id() && exit.status().is_none()));
    }
    assert!(remaining.is_empty());
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn awaited_by_the_timer_without_pidfd_open() {
    for runtime in ALL {
        in_sandbox(&[libc::SYS_pidfd_open], libc::EPERM, move |_| {
            assert_awaited(runtime, || {}, |_| {}, Backend::Polling);
        });
    }
}

#[test]
fn events_fail_while_awaiting() {
    if !has_pidfd() {
        return skip("events_fail_while_awaiting", "pidfd");
    }
    for runtime in ALL {
        in_sandbox(&[], 0, move |_| {
            // The wait itself fails after the exit; or another check fails before it.
            let deny_poll = || deny(&[libc::SYS_ppoll], libc::EPERM);
            assert_awaited(runtime, || {}, |_| deny_poll(), Backend::PidFd);
        });
        in_sandbox(&[], 0, move |_| {
            let check = |process: &Process| {
                deny(&[libc::SYS_ppoll], libc::EPERM);
                assert_eq!(process.try_wait().unwrap(), None);
            };
            assert_awaited(runtime, || {}, check, Backend::Polling);
        });
    }
}

#[test]
fn awaited_by_the_timer_if_registration_fails() {
    if !has_pidfd() {
        return skip("awaited_by_the_timer_if_registration_fails", "pidfd");
    }
    // `async_io::block_on` needs the denied calls itself.
    for runtime in ALL
        .into_iter()
        .filter(|runtime| *runtime != AsyncRuntime::AsyncIo)
    {
        for (call, errno) in [
            (libc::SYS_epoll_ctl, libc::ENOSPC),
            (libc::SYS_fcntl, libc::EPERM),
        ] {
            in_sandbox(&[], 0, move |_| {
                assert_awaited(runtime, || deny(&[call], errno), |_| {}, Backend::PidFd);
            });
        }
    }
}

fn assert_awaited(
    runtime: AsyncRuntime,
    before_first_poll: impl FnOnce(),
    before_exit: impl FnOnce(&Process),
    backend_after: Backend,
) {
    let mut child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let exits = runtime.block_on(async {
        let mut wait = runtime.wait(&process);
        before_first_poll();
        assert!(poll_once(&mut wait).await.is_none());
        before_exit(&process);
        let mut second_wait = runtime.wait(&process);
        if backend_after == Backend::Polling {
            assert!(poll_once(&mut second_wait).await.is_none());
        }
        drop(child.stdin.take());
        [wait.await, second_wait.await]
    });
    for exit in exits {
        assert_eq!(exit.unwrap().code(), Some(7), "{runtime:?}");
    }
    assert_eq!(process.backend(), backend_after, "{runtime:?}");
    child.wait().unwrap();
}
