//! Tests of what a future costs on Linux: descriptors, threads, CPU time.

#![cfg(target_os = "linux")]

mod common;
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
    assert_code, cpu_clock_counts_ticks, has_events, helper, helper_command, in_subprocess,
    open_by_all, skip, spawn,
};
use futures_lite::future::{FutureExt as _, poll_once, race, yield_now};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use procwait::{Backend, Process, WaitSet};
use runtimes::{ALL, AsyncRuntime, tokio_current_thread, tokio_with_paused_clock, with_time_limit};
use std::{
    fs,
    future::Future,
    mem,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

fn count_entries(directory: impl AsRef<Path>) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn open_descriptors() -> usize {
    count_entries("/proc/self/fd")
}

/// Each future has a duplicate of the pidfd, and no thread.
#[test]
fn thousand_tasks_on_one_thread() {
    in_subprocess(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let (count, fds_per_future) = if has_events() { (1_000, 1) } else { (100, 0) };
        let mut command = helper_command("ignore-stdin");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let helpers: Vec<_> = (0..count).map(|_| spawn(&mut command)).collect();
        let open = |helper: &common::Helper| Arc::new(Process::open(helper.id()).unwrap());
        let processes: Vec<_> = helpers.iter().map(open).collect();
        for runtime in [AsyncRuntime::TokioCurrentThread, AsyncRuntime::AsyncIo] {
            runtime.block_on(async {
                let before = (open_descriptors(), count_entries("/proc/self/task"));
                let mut waits: Vec<_> = processes
                    .iter()
                    .map(|process| runtime.wait(process))
                    .collect();
                for wait in &mut waits {
                    assert!(poll_once(wait).await.is_none());
                }
                let during = (open_descriptors(), count_entries("/proc/self/task"));
                assert_eq!(during, (before.0 + fds_per_future * count, before.1));
                drop(waits);
                assert_eq!(
                    (open_descriptors(), count_entries("/proc/self/task")),
                    before
                );
            });
        }
        AsyncRuntime::TokioCurrentThread.block_on(async {
            let waits: Vec<_> = (processes.iter())
                .map(|process| {
                    let process = process.clone();
                    tokio::spawn(async move { process.wait_on_tokio().await.unwrap() })
                })
                .collect();
            for process in processes.iter().rev() {
                process.kill().unwrap();
            }
            for wait in waits {
                assert!(!wait.await.unwrap().success());
            }
        });
    });
}

/// The descriptor also stays close-on-exec, so that no other program inherits it.
#[test]
fn leaked_future_keeps_its_descriptor_open() {
    in_subprocess(|| {
        for runtime in ALL {
            let child = helper("wait 7");
            runtime.block_on(async {
                let process = Process::open(child.id()).unwrap();
                let before = descriptors();
                let mut wait = runtime.wait(&process);
                assert!(poll_once(&mut wait).await.is_none());
                mem::forget(wait);
                let mut kept = descriptors();
                kept.retain(|fd| !before.contains(fd));
                if process.backend() == Backend::Polling {
                    return assert_eq!(kept, [0; 0]);
                }
                let [kept] = kept[..] else { panic!("{kept:?}") };
                drop(process);
                let info = fs::read_to_string(format!("/proc/self/fdinfo/{kept}")).unwrap();
                let line = info
                    .lines()
                    .find(|line| line.starts_with("flags:"))
                    .unwrap();
                let flags = i32::from_str_radix(line.split_whitespace().nth(1).unwrap(), 8);
                assert_ne!(flags.unwrap() & nix::libc::O_CLOEXEC, 0, "{info}");
            });
        }
    });
}

fn descriptors() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let fds: Vec<i32> = (names.map(|name| name.to_str().unwrap().parse().unwrap())).collect();
    // The list contains the descriptor of the directory itself, which is closed by now.
    let is_open = |fd: &i32| Path::new(&format!("/proc/self/fdinfo/{fd}")).exists();
    fds.into_iter().filter(is_open).collect()
}

/// Counts the descriptors that refer to the same file as this one. (To count all descriptors would
/// not do: an earlier runtime may still be closing some.)
fn count_descriptors_like(fd: BorrowedFd<'_>) -> usize {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let fdinfo = read(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()).into());
    let entries = fs::read_dir("/proc/self/fdinfo").unwrap();
    (entries.filter(|entry| read(entry.as_ref().unwrap().path()) == fdinfo)).count()
}

#[test]
fn awaited_by_the_timer_until_descriptors_are_free() {
    in_subprocess(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used_up = 4; // The descriptors below this limit are all open.
        for runtime in ALL {
            let mut child = helper("wait 7");
            let process = Process::open(child.id()).unwrap();
            let Some(fd) = process.as_event_fd() else {
                return skip("awaited_by_the_timer_until_descriptors_are_free", "events");
            };
            runtime.block_on(async {
                let mut wait = runtime.wait(&process);
                setrlimit(Resource::RLIMIT_NOFILE, used_up, hard).unwrap();
                assert!(poll_once(&mut wait).await.is_none());
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
                assert_eq!(count_descriptors_like(fd), 1);
                while count_descriptors_like(fd) != 2 {
                    assert!(poll_once(&mut wait).await.is_none());
                    yield_now().await;
                }
                setrlimit(Resource::RLIMIT_NOFILE, used_up, hard).unwrap();
                drop(child.stdin.take());
                assert_eq!(wait.await.unwrap().code(), Some(7));
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            });
        }
    });
}

#[test]
fn awaiting_leaves_descriptor_flags_unchanged() {
    let child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let Some(fd) = process.as_event_fd() else {
        return skip("awaiting_leaves_descriptor_flags_unchanged", "events");
    };
    let flags = |fd: BorrowedFd<'_>| rustix::fs::fcntl_getfl(fd).unwrap();
    let before = flags(fd);
    for runtime in ALL {
        runtime.block_on(async {
            let mut wait = runtime.wait(&process);
            assert!(poll_once(&mut wait).await.is_none());
            assert_eq!(flags(fd), before, "{runtime:?}");
        });
    }
}

/// The pidfd is readable for a moment at each `execve`.
#[test]
fn execve_in_other_thread_is_not_an_exit() {
    let child = helper("exec-in-thread");
    let process = Process::open(child.id()).unwrap();
    for runtime in ALL {
        runtime.block_on(async {
            let exit = async { Some(runtime.wait(&process).await) };
            let timeout = async {
                async_io::Timer::after(Duration::from_millis(500)).await;
                None
            };
            assert!(exit.or(timeout).await.is_none());
        });
    }
    process.kill().unwrap();
    assert_eq!(
        AsyncRuntime::AsyncIo
            .block_on(process.wait_on_async_io())
            .unwrap(),
        process.wait().unwrap()
    );
}

/// The CPU time of all threads.
fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.unwrap().into()
}

/// Runs the future for this long, and returns the CPU time as a fraction of one core.
async fn cpu_share(time: Duration, meanwhile: impl Future<Output = ()>) -> f64 {
    let (start, cpu) = (Instant::now(), process_cpu_time());
    race(meanwhile, async {
        async_io::Timer::after(time).await;
    })
    .await;
    (process_cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
}

#[test]
fn wait_takes_little_cpu_time_while_the_clock_is_paused() {
    let test = "wait_takes_little_cpu_time_while_the_clock_is_paused";
    if cpu_clock_counts_ticks() {
        return skip(test, "a CPU clock that counts more than whole ticks");
    }
    in_subprocess(|| {
        for index in 0..2 {
            let mut child = helper("wait 7");
            let process = open_by_all(child.id()).swap_remove(index);
            let exit = tokio_with_paused_clock().block_on(with_time_limit(async {
                let mut wait = AsyncRuntime::TokioCurrentThread.wait(&process);
                let is_pending = async { panic!("too early: {:?}", (&mut wait).await) };
                let share = cpu_share(Duration::from_secs(1), is_pending).await;
                // A wait that spins takes 0.99. In an emulated machine, which translates code at
                // its first use, the first second of a wait that sleeps takes 0.16.
                assert!(share < 0.5, "{share:.2} of a core, {process:?}");
                drop(child.stdin.take());
                wait.await.unwrap()
            }));
            assert_code(&process, exit, 7);
        }
    });
}

/// Each registration has a duplicate of the descriptor.
#[test]
fn wait_that_moves_to_another_runtime_leaves_no_descriptor_behind() {
    in_subprocess(|| {
        let child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        let Some(fd) = process.as_event_fd() else {
            let test = "wait_that_moves_to_another_runtime_leaves_no_descriptor_behind";
            return skip(test, "events");
        };
        let runtimes = [tokio_current_thread(), tokio_current_thread()];
        let mut wait = AsyncRuntime::TokioCurrentThread.wait(&process);
        for _ in 0..3 {
            for runtime in &runtimes {
                let polled = runtime.block_on(poll_once(&mut wait));
                assert!(polled.is_none());
                assert_eq!(count_descriptors_like(fd), 2);
            }
        }
        drop(wait);
        assert_eq!(count_descriptors_like(fd), 1);
    });
}

/// Under a paused clock, another thread sleeps between the checks of a polled process. If that
/// thread cannot be created, the runtime's thread sleeps instead.
#[test]
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
fn wait_completes_under_a_paused_clock_where_threads_are_denied() {
    use nix::libc::{EAGAIN, SYS_clone, SYS_clone3};
    in_subprocess(|| {
        let mut child = helper("wait 7");
        let process = Process::open_with(child.id(), Backend::Polling).unwrap();
        let exit = tokio_with_paused_clock().block_on(with_time_limit(async {
            seccomp::deny(&[SYS_clone, SYS_clone3], EAGAIN);
            let mut wait = AsyncRuntime::TokioCurrentThread.wait(&process);
            let is_pending = async { panic!("too early: {:?}", (&mut wait).await) };
            let share = cpu_share(Duration::from_secs(1), is_pending).await;
            assert!(share < 0.5, "{share:.2} of a core"); // A spin takes a whole core.
            // The paused clock still advances when all tasks wait, as tokio documents.
            let second = Duration::from_secs(1);
            let result = tokio::time::timeout(second, &mut wait).await;
            result.unwrap_err();
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(&process, exit, 7);
    });
}

/// A set is then polled by the runtime's timer, for exits and for wakes.
#[test]
fn set_is_awaited_without_descriptors() {
    in_subprocess(|| {
        for runtime in [AsyncRuntime::TokioCurrentThread, AsyncRuntime::AsyncIo] {
            let mut child = helper("wait 7");
            runtime.block_on(async {
                let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
                setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
                let mut empty = WaitSet::new();
                let mut set = WaitSet::new();
                set.insert(child.id()).unwrap();
                for set in [&mut empty, &mut set] {
                    let waker = set.waker();
                    let wait = async { panic!("{:?}", runtime.wait_in_set(set).await) };
                    let share = cpu_share(Duration::from_secs(1), wait).await;
                    assert!(share < 0.5, "{share:.2} of a core"); // A spin takes a whole core.
                    let mut wait = runtime.wait_in_set(set);
                    assert!(poll_once(&mut wait).await.is_none());
                    waker.wake();
                    assert_eq!(wait.await.unwrap(), None);
                    let mut wait = runtime.wait_in_set(set);
                    assert!(poll_once(&mut wait).await.is_none());
                    drop(waker);
                    assert_eq!(wait.await.unwrap(), None);
                }
                drop(child.stdin.take());
                let (pid, exit) = runtime.wait_in_set(&mut set).await.unwrap().unwrap();
                assert_eq!((pid, exit.code()), (child.id(), Some(7)));
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            });
        }
    });
}

/// How many system calls of this process have read from files. `None` if the kernel does not count
/// them.
fn count_reads() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let reads = io.lines().find_map(|line| line.strip_prefix("syscr: "))?;
    reads.parse().ok()
}

/// A loop around `select` restarts a future like this. Each check of a polled process is a read.
#[test]
fn restarted_future_does_not_reset_the_backoff() {
    let test = "restarted_future_does_not_reset_the_backoff";
    in_subprocess(|| {
        let Some(before) = count_reads() else {
            return skip(test, "/proc/self/io");
        };
        let child = helper("ignore-stdin");
        let process = Process::open_with(child.id(), Backend::Polling).unwrap();
        for runtime in ALL {
            runtime.block_on(async {
                for _ in 0..1_000 {
                    assert!(poll_once(runtime.wait(&process)).await.is_none());
                }
            });
        }
        let (checks, max) = (count_reads().unwrap() - before, 500 * ALL.len() as u64);
        assert!(checks < max, "{checks} checks");
    });
}

/// The other tasks of the runtime are not delayed either.
#[test]
fn many_tasks_share_polling_cost() {
    let test = "many_tasks_share_polling_cost";
    if cpu_clock_counts_ticks() {
        return skip(test, "a CPU clock that counts more than whole ticks");
    }
    in_subprocess(|| {
        const TASKS: usize = 400;
        let child = helper("ignore-stdin");
        let process = Arc::new(Process::open_with(child.id(), Backend::Polling).unwrap());
        let max_delay = Duration::from_millis(40);
        AsyncRuntime::TokioCurrentThread.block_on(async {
            let spawn = |future: &dyn Fn() -> runtimes::Task| -> Vec<_> {
                (0..TASKS).map(|_| tokio::spawn(future())).collect()
            };
            let share = |tasks: Vec<tokio::task::JoinHandle<()>>| async {
                // By then, the backoff of the polling has grown.
                tokio::time::sleep(Duration::from_millis(300)).await;
                let ticks = AtomicUsize::new(0);
                let other_task = async {
                    loop {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        ticks.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let share = cpu_share(Duration::from_secs(2), other_task).await;
                for task in tasks {
                    assert!(!task.is_finished());
                    task.abort();
                }
                (share, ticks.into_inner())
            };
            // Other programs change what the same work costs, so a share that is too large counts
            // only if it is so each time.
            const ATTEMPTS: usize = 3;
            let mut shares = Vec::new();
            for _ in 0..ATTEMPTS {
                let timers = share(spawn(&move || {
                    Box::pin(async move {
                        loop {
                            tokio::time::sleep(max_delay).await;
                        }
                    })
                }));
                let (timers, ticks) = timers.await;
                if timers > 0.2 {
                    return skip(test, "a processor that takes less than 20 µs for a timer");
                }
                let on_tokio = spawn(&|| {
                    let process = process.clone();
                    Box::pin(async move { drop(process.wait_on_tokio().await) })
                });
                let (on_tokio, ticks_on_tokio) = share(on_tokio).await;
                let on_async_io = spawn(&|| {
                    let process = process.clone();
                    Box::pin(async move { drop(process.wait_on_async_io().await) })
                });
                let (on_async_io, ticks_on_async_io) = share(on_async_io).await;
                let min = ticks / 10;
                assert!(
                    ticks_on_tokio > min && ticks_on_async_io > min,
                    "the other task starves"
                );
                // At most a tenth of a core more than as many timers take.
                if on_tokio < timers + 0.1 && on_async_io < 2. * timers + 0.1 {
                    return;
                }
                shares.push([timers, on_tokio, on_async_io]);
            }
            panic!("timers, on tokio, on async-io: {shares:.2?}");
        });
    });
}
