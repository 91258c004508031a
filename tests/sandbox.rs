//! Sandboxes: system calls that are denied for real, by seccomp.

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
    Grandchild, Helper, LONG, SHORT, codes_are_shown, cpu_clock_counts_ticks, cpu_time, has_pidfd,
    helper,
    output::{FULL, assert_counts, pattern, piped},
    skip,
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
use runtimes::{ALL, On};
use rustix::thread::gettid;
use seccomp::{deny, filter};
use seccompiler::SeccompAction;
use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

fn in_a_sandbox(calls: &'static [i64], errno: i32, test: impl FnOnce(i32) + Send + 'static) {
    thread::spawn(move || {
        deny(calls, errno);
        test(errno);
    })
    .join()
    .unwrap();
}

#[test]
fn without_pidfd_open_it_polls() {
    let code = codes_are_shown("without_pidfd_open_it_polls").then_some(7);
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        in_a_sandbox(&[libc::SYS_pidfd_open], errno, move |errno| {
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
    // It was the thread's sandbox: nothing of it is remembered.
    let process = Process::open(std::process::id()).unwrap();
    if let Some(cause) = process.fallback_cause() {
        assert_ne!(cause.kind(), std::io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn without_poll_it_falls_back_in_mid_wait() {
    if !has_pidfd() {
        return skip("without_poll_it_falls_back_in_mid_wait", "pidfd");
    }
    let code = codes_are_shown("without_poll_it_falls_back_in_mid_wait").then_some(7);
    in_a_sandbox(&[libc::SYS_ppoll], libc::EPERM, move |errno| {
        let mut grandchild = Grandchild::new("wait 7");
        let process = Process::open(grandchild.pid).unwrap();
        assert_eq!(process.backend(), Backend::PidFd);
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(process.backend(), Backend::Polling);
        let cause = process.fallback_cause().unwrap();
        assert_eq!(cause.raw_os_error(), Some(errno));
        grandchild.end();
        assert_eq!(process.wait().unwrap().code(), code);

        // One that was opened before its exit, and reaped before the fall.
        let strict = Process::open_with(std::process::id(), Backend::PidFd).unwrap();
        match strict.try_wait().unwrap_err() {
            Error::Os { call, .. } => assert_eq!(call, "ppoll"),
            error => panic!("{error}"),
        }
        let mut grandchild = Grandchild::new("wait 7");
        let process = Process::open(grandchild.pid).unwrap();
        grandchild.end();
        grandchild.reap();
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert!(matches!(exit.code(), Some(7) | None), "{exit:?}");
    });
}

#[test]
fn output_is_read_by_what_is_not_denied() {
    const OPEN: i64 = libc::SYS_pidfd_open;
    const POLL: i64 = libc::SYS_ppoll;
    const READ: i64 = libc::SYS_preadv2;
    const THERE: i64 = libc::SYS_ioctl;
    let denied: [&[i64]; 8] = [
        &[OPEN],
        &[POLL],
        &[READ],
        &[THERE],
        &[OPEN, POLL],
        &[POLL, READ],
        &[READ, THERE],
        &[OPEN, POLL, READ],
    ];
    for calls in denied {
        for errno in [libc::EPERM, libc::ENOSYS] {
            in_a_sandbox(calls, errno, move |_| {
                let mut child = piped("write 100000 7");
                let mut captured = Captured::default();
                let status = child.output_timeout(&mut captured, LONG).unwrap();
                assert_eq!(status.unwrap().code(), Some(7), "{calls:?}");
                let expected = (pattern(b'o', FULL), pattern(b'e', FULL));
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
                assert_counts(&captured.stdout);
                assert_counts(&captured.stderr);
            });
        }
    }
}

#[test]
fn output_that_nothing_tells_of_is_an_error() {
    in_a_sandbox(&[libc::SYS_ppoll, libc::SYS_ioctl], libc::EPERM, |_| {
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
fn a_command_whose_output_nothing_tells_of_is_killed_and_reaped() {
    common::alone(|| {
        in_a_sandbox(&[libc::SYS_ppoll, libc::SYS_ioctl], libc::EPERM, |_| {
            let mut command = std::process::Command::new("sleep");
            let error = command.arg("60").output_timeout(LONG).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
            let left = nix::sys::wait::waitpid(None, None);
            assert_eq!(left, Err(nix::Error::ECHILD));
        });
    });
}

/// std cannot reap it then, but that is no reason to leave it running, and its status is known.
#[test]
fn command_is_killed_at_the_timeout_without_wait4() {
    common::alone(|| {
        in_a_sandbox(&[libc::SYS_wait4], libc::EPERM, |_| {
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
fn ended_pipes_of_a_polled_child_cost_no_more_than_polling() {
    in_a_sandbox(&[libc::SYS_pidfd_open], libc::EPERM, |_| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "exec >&- 2>&-; exec sleep 60"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = common::spawn(&mut command);
        let captured = &mut Captured::default();
        while child.stdout.is_some() || child.stderr.is_some() {
            assert_eq!(child.output_timeout(captured, SHORT).unwrap(), None);
        }
        let timeout = Duration::from_millis(500);
        let cpu = cpu_time();
        assert_eq!(child.output_timeout(captured, timeout).unwrap(), None);
        assert!(cpu_time() - cpu < timeout / 2, "it spins");
        child.kill().unwrap();
    });
}

/// What the kernel is asked about a stream that is no ordinary pipe.
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
        let theirs = TcpStream::connect(listener.local_addr().ok()?).ok()?;
        Some((listener.accept().ok()?.0.into(), theirs.into()))
    }
    fn pipe() -> Ends {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()
    }
    fn unix() -> Ends {
        let (ours, theirs) = UnixStream::pair().ok()?;
        Some((ours.into(), theirs.into()))
    }
    const STAT: &[i64] = &[libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx];
    const NAME: &[i64] = &[libc::SYS_getsockname];
    const POLL: &[i64] = &[libc::SYS_ppoll];
    const THERE: &[i64] = &[libc::SYS_ioctl];
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
            let what = format!("both ends: {kind}");
            skip("streams_are_read_completely_whatever_is_denied", &what);
            continue;
        }
        for calls in [STAT, NAME, POLL, THERE, READ, OPEN] {
            for errno in [libc::EPERM, libc::ENOSYS] {
                let (ours, theirs) = ends().unwrap();
                in_a_sandbox(&[], 0, move |_| {
                    // No end says that all was read.
                    let held = theirs.try_clone().unwrap();
                    let mut child = common::spawn(zeros().stdout(theirs));
                    child.stdout = Some(ours.into());
                    wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
                    deny(calls, errno);
                    let mut captured = Captured::default();
                    let status = child.output_timeout(&mut captured, LONG).unwrap();
                    assert!(status.unwrap().success());
                    assert!(captured.stdout == [0; 9000], "{kind}, {calls:?}");
                    drop(held);
                });
            }
        }
    }
}

/// By pidfd, by a directory in /proc, or by `kill`.
#[test]
fn a_signal_is_sent_by_what_is_not_denied() {
    let test = "a_signal_is_sent_by_what_is_not_denied";
    const SEND: i64 = libc::SYS_pidfd_send_signal;
    const OPEN: i64 = libc::SYS_pidfd_open;
    const KILL: i64 = libc::SYS_kill;
    let is_known = has_pidfd();
    if !is_known {
        skip(test, "pidfd, nor a directory of /proc in its place");
    }
    let denied: [(&[i64], bool); 6] = [
        (&[KILL], is_known),
        (&[SEND], true),
        (&[OPEN], true),
        (&[OPEN, SEND], true),
        (&[OPEN, KILL], is_known),
        (&[SEND, KILL], false),
    ];
    for errno in [libc::EPERM, libc::ENOSYS, libc::EACCES] {
        for (calls, is_sent) in denied {
            in_a_sandbox(calls, errno, move |errno| {
                let mut child = helper("wait 0");
                let pid = child.id();
                let process = Process::open(pid).unwrap();
                let mut set = WaitSet::new();
                set.insert(pid).unwrap();
                let answers = [
                    process.send_signal(0),
                    set.send_signal(pid, 0),
                    process.send_signal(libc::SIGUSR1),
                ];
                for answer in answers {
                    match answer {
                        Ok(sent) => assert!(sent && is_sent, "{calls:?}"),
                        Err(Error::Os {
                            call,
                            pid: of,
                            source,
                        }) => {
                            assert!(!is_sent, "{calls:?}: {source}");
                            assert_eq!((call, of), ("kill", pid));
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
fn the_pidfd_is_kept_for_signals_when_events_fail() {
    if !has_pidfd() {
        return skip("the_pidfd_is_kept_for_signals_when_events_fail", "pidfd");
    }
    in_a_sandbox(&[libc::SYS_ppoll, libc::SYS_kill], libc::EPERM, |_| {
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

/// To send a signal takes no descriptor and no look.
#[test]
fn a_signal_is_sent_without_descriptors() {
    if !has_pidfd() {
        return skip("a_signal_is_sent_without_descriptors", "pidfd");
    }
    common::alone(|| {
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
fn events_fail_for_one_of_many_who_wait() {
    if !has_pidfd() {
        return skip("events_fail_for_one_of_many_who_wait", "pidfd");
    }
    for _ in 0..20 {
        let mut child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        let exits = thread::scope(|scope| {
            let process = &process;
            let waiters: Vec<_> = (0..8)
                .map(|number| {
                    scope.spawn(move || {
                        if number % 4 == 3 {
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
                .map(|it| it.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(exits.iter().all(|exit| exit.code() == Some(7)), "{exits:?}");
        child.wait().unwrap();
    }
}

/// What the crate asks of the kernel for its waits. Without `openat` and `pread64` there
/// is no /proc, which `without_proc` tests. `close` cannot be tested: nothing ends then.
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

const ANSWERS: [(&str, i32); 5] = [
    ("EPERM", libc::EPERM),
    ("EACCES", libc::EACCES),
    ("ENOSYS", libc::ENOSYS),
    ("EINVAL", libc::EINVAL),
    ("EMFILE", libc::EMFILE),
];

/// Each call denied with each answer: every wait finds the exit by another way,
/// with the right status or none, and times out when it should.
#[test]
fn every_denied_call_has_a_way_around() {
    let shown = codes_are_shown("every_denied_call_has_a_way_around");
    for (call, number) in CALLS {
        for (answer, errno) in ANSWERS {
            let tests = thread::spawn(move || {
                let child = helper("wait 7");
                let reaped = helper("wait 7");
                let zombie = Grandchild::new("wait 7");
                deny(&[number], errno);
                // Whether the codes in /proc are to be believed goes by the kernel's age.
                waits(child, reaped, zombie, shown && call != "uname");
            });
            assert!(tests.join().is_ok(), "{call} denied with {answer}");
        }
    }
}

/// Nobody's number is told from somebody's, and a stranger's end is seen.
#[test]
fn without_the_null_signal() {
    let calls: [&[i64]; 3] = [
        &[libc::SYS_tgkill],
        &[libc::SYS_tgkill, libc::SYS_pidfd_open],
        &[libc::SYS_tgkill, libc::SYS_getpgid],
    ];
    // If neither of the two is told nor a pidfd to be had, nobody knows.
    for calls in calls.into_iter().take(if has_pidfd() { 3 } else { 2 }) {
        for errno in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            in_a_sandbox(calls, errno, |_| {
                let gone = common::unused_pid();
                for timeout in [Some(Duration::ZERO), Some(LONG), None] {
                    let answer = wait_pid(gone, timeout);
                    assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
                }
                for backend in [Backend::PidFd, Backend::Polling] {
                    let opened = Process::open_with(gone, backend);
                    assert!(
                        matches!(
                            opened,
                            Err(Error::NotFound { .. } | Error::Unsupported { .. })
                        ),
                        "{opened:?}"
                    );
                }
                let opened = Process::open(gone);
                assert!(matches!(opened, Err(Error::NotFound { .. })), "{opened:?}");
                let inserted = WaitSet::new().insert(gone);
                assert!(matches!(inserted, Err(Error::NotFound { .. })));

                let thread = gettid().as_raw_nonzero().get() as u32;
                assert_ne!(thread, std::process::id());
                let opened = Process::open_with(thread, Backend::Polling);
                assert!(matches!(opened, Err(Error::NotFound { .. })), "{opened:?}");

                let mut grandchild = Grandchild::new("wait 7");
                let mut set = WaitSet::new();
                set.insert(grandchild.pid).unwrap();
                let mut held = common::held(grandchild.pid);
                grandchild.end();
                grandchild.reap();
                for process in &mut held {
                    let exit = process.wait_timeout(LONG).unwrap().expect("is seen");
                    assert!(matches!(exit.code(), Some(7) | None));
                }
                set.wait(Some(LONG)).unwrap().expect("is seen");
            });
        }
    }
}

/// All that a thread is denied, another may have: as with a want of memory, the failure
/// passes, and events are waited for again.
#[test]
fn a_failure_to_wait_for_events_passes() {
    if !has_pidfd() {
        return skip("a_failure_to_wait_for_events_passes", "pidfd");
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
    // By polling there are 25.
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

/// However many are polled, and however short the timeouts.
#[test]
fn polling_takes_a_tenth_of_a_core_at_most() {
    let skip = |lacking| skip("polling_takes_a_tenth_of_a_core_at_most", lacking);
    if cpu_clock_counts_ticks() {
        return skip("a CPU clock that counts more than whole ticks");
    }
    // An emulated one takes too long for the set's own work, and for the first two looks,
    // by which the pace is found.
    if share_of_a_core(|| thread::sleep(Duration::from_millis(1))) > 0.05 {
        return skip("a processor that takes less than 50 µs for a short sleep");
    }
    in_a_sandbox(&[libc::SYS_pidfd_open], libc::EPERM, |_| {
        let helpers: Vec<_> = (0..100).map(|_| helper("ignore-stdin")).collect();
        let mut set = WaitSet::new();
        for helper in &helpers {
            set.insert(helper.id()).unwrap();
        }
        let single = Process::open(helpers[0].id()).unwrap();
        for timeout in [1, 10].map(Duration::from_millis) {
            let of_set = share_of_a_core(|| {
                assert_eq!(set.wait(Some(timeout)).unwrap(), None);
            });
            let of_process = share_of_a_core(|| {
                assert_eq!(single.wait_timeout(timeout).unwrap(), None);
            });
            // What so many sleeps take by themselves, the tenth, and the set's own work.
            let most = share_of_a_core(|| thread::sleep(timeout)) + 0.2;
            assert!(of_set < most, "set, {timeout:?}: {of_set:.2}");
            assert!(of_process < most, "Process, {timeout:?}: {of_process:.2}");
        }
    });
}

fn share_of_a_core(mut wait: impl FnMut()) -> f64 {
    let (start, cpu) = (Instant::now(), cpu_time());
    while start.elapsed() < Duration::from_millis(500) {
        wait();
    }
    (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
}

/// A look, or a wait for one, is made without what a set takes: these calls kill.
#[test]
fn a_look_takes_no_epoll() {
    let helpers = [helper("wait 7"), helper("wait 8")];
    let pids = [helpers[0].id(), helpers[1].id()];
    let looks = move || {
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
        filter(&[libc::SYS_epoll_create1], SeccompAction::Trap);
        looks();
    });
    denied.join().unwrap();
}

fn waits(mut child: Helper, mut reaped: Helper, mut zombie: Grandchild, shown: bool) {
    let known = |exit: Exit| exit.code() == Some(7) || (!shown && exit.status().is_none());
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
    let mut held = pids.map(common::held);
    for process in held.iter_mut().flatten() {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    }

    zombie.end();
    assert!(known(wait_pid(zombie.pid, Some(LONG)).unwrap().unwrap()));
    drop(reaped.stdin.take());
    // The look at a child asks for its status first, and gets it unless just that
    // is denied; then it shows in /proc.
    assert!(known(wait_pid(reaped.id(), Some(LONG)).unwrap().unwrap()));
    reaped.wait().unwrap();
    drop(child.stdin.take());
    assert!(known(wait_pid(child.id(), None).unwrap().unwrap()));

    let [of_child, of_reaped, of_zombie] = &mut held;
    for process in of_child.iter_mut().chain(of_zombie) {
        assert!(
            known(process.wait_timeout(LONG).unwrap().unwrap()),
            "{process:?}"
        );
    }
    for process in of_reaped {
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert!(known(exit) || exit.status().is_none(), "{process:?}");
    }
    let mut left = pids.to_vec();
    while let Some((pid, exit)) = set.wait(Some(LONG)).unwrap() {
        left.retain(|&it| it != pid);
        assert!(known(exit) || (pid == reaped.id() && exit.status().is_none()));
    }
    assert!(left.is_empty());
    let status = child.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn without_pidfd_open_it_is_awaited_by_the_timer() {
    for on in ALL {
        in_a_sandbox(&[libc::SYS_pidfd_open], libc::EPERM, move |_| {
            assert_awaited(on, || {}, |_| {}, Backend::Polling);
        });
    }
}

#[test]
fn events_fail_while_it_is_awaited() {
    if !has_pidfd() {
        return skip("events_fail_while_it_is_awaited", "pidfd");
    }
    for on in ALL {
        in_a_sandbox(&[], 0, move |_| {
            // Seen by itself, after the exit, or by another one's look before that.
            let denied = || deny(&[libc::SYS_ppoll], libc::EPERM);
            assert_awaited(on, || {}, |_| denied(), Backend::PidFd);
        });
        in_a_sandbox(&[], 0, move |_| {
            let looked = |process: &Process| {
                deny(&[libc::SYS_ppoll], libc::EPERM);
                assert_eq!(process.try_wait().unwrap(), None);
            };
            assert_awaited(on, || {}, looked, Backend::Polling);
        });
    }
}

#[test]
fn what_cannot_be_registered_is_awaited_by_the_timer() {
    if !has_pidfd() {
        return skip("what_cannot_be_registered_is_awaited_by_the_timer", "pidfd");
    }
    // Async-io's own `block_on` needs the call itself.
    for on in ALL.into_iter().filter(|on| *on != On::AsyncIo) {
        for (call, errno) in [
            (libc::SYS_epoll_ctl, libc::ENOSPC),
            (libc::SYS_fcntl, libc::EPERM),
        ] {
            in_a_sandbox(&[], 0, move |_| {
                assert_awaited(on, || deny(&[call], errno), |_| {}, Backend::PidFd);
            });
        }
    }
}

fn assert_awaited(
    on: On,
    before: impl FnOnce(),
    in_the_middle: impl FnOnce(&Process),
    by: Backend,
) {
    let mut child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let exits = on.block_on(async {
        let mut wait = on.wait(&process);
        before();
        assert!(poll_once(&mut wait).await.is_none());
        in_the_middle(&process);
        let mut another = on.wait(&process);
        if by == Backend::Polling {
            assert!(poll_once(&mut another).await.is_none());
        }
        drop(child.stdin.take());
        [wait.await, another.await]
    });
    for exit in exits {
        assert_eq!(exit.unwrap().code(), Some(7), "{on:?}");
    }
    assert_eq!(process.backend(), by, "{on:?}");
    child.wait().unwrap();
}
