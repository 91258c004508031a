//! What awaiting takes on Linux: descriptors, threads, CPU time.

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
    alone, assert_code, cpu_clock_counts_ticks, held, helper, helper_command, skip, spawn,
};
use futures_lite::future::{FutureExt as _, poll_once, race, yield_now};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use procwait::{Backend, Process};
use runtimes::{ALL, On, in_time, tokio_of_one_thread, tokio_with_paused_clock};
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

fn count(entries: impl AsRef<Path>) -> usize {
    fs::read_dir(entries).unwrap().count()
}

fn open_descriptors() -> usize {
    count("/proc/self/fd")
}

/// Each has a pidfd and its duplicate, and none of them a thread.
#[test]
fn a_thousand_on_one_thread() {
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        let polled = Process::open(std::process::id()).unwrap().backend() == Backend::Polling;
        let (number, each) = if polled { (100, 0) } else { (1_000, 1) };
        let mut command = helper_command("ignore-stdin");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let helpers: Vec<_> = (0..number).map(|_| spawn(&mut command)).collect();
        let open = |helper: &common::Helper| Arc::new(Process::open(helper.id()).unwrap());
        let processes: Vec<_> = helpers.iter().map(open).collect();
        for on in [On::TokioOfOneThread, On::AsyncIo] {
            on.block_on(async {
                let before = (open_descriptors(), count("/proc/self/task"));
                let mut waits: Vec<_> = processes.iter().map(|it| on.wait(it)).collect();
                for wait in &mut waits {
                    assert!(poll_once(wait).await.is_none());
                }
                let during = (open_descriptors(), count("/proc/self/task"));
                assert_eq!(during, (before.0 + each * number, before.1));
                drop(waits);
                assert_eq!((open_descriptors(), count("/proc/self/task")), before);
            });
        }
        On::TokioOfOneThread.block_on(async {
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

/// And no other program gets it.
#[test]
fn a_forgotten_future_keeps_its_descriptor_open() {
    alone(|| {
        for on in ALL {
            let child = helper("wait 7");
            on.block_on(async {
                let process = Process::open(child.id()).unwrap();
                let before = numbers();
                let mut wait = on.wait(&process);
                assert!(poll_once(&mut wait).await.is_none());
                mem::forget(wait);
                let mut kept = numbers();
                kept.retain(|number| !before.contains(number));
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

fn numbers() -> Vec<i32> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let numbers: Vec<i32> = (names.map(|name| name.to_str().unwrap().parse().unwrap())).collect();
    // Without the one that was read from.
    let is_open = |number: &i32| Path::new(&format!("/proc/self/fdinfo/{number}")).exists();
    numbers.into_iter().filter(is_open).collect()
}

/// How many descriptors are of the file of this one. (Of all descriptors, an
/// earlier runtime may still be closing some.)
fn count_of(fd: BorrowedFd<'_>) -> usize {
    let shown = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let own = shown(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()).into());
    let entries = fs::read_dir("/proc/self/fdinfo").unwrap();
    (entries.filter(|entry| shown(entry.as_ref().unwrap().path()) == own)).count()
}

#[test]
fn without_descriptors_it_is_awaited_by_the_timer_until_there_are_some() {
    alone(|| {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let few = 4; // Which are taken.
        for on in ALL {
            let mut child = helper("wait 7");
            let process = Process::open(child.id()).unwrap();
            let Some(fd) = process.as_event_fd() else {
                return skip(
                    "without_descriptors_it_is_awaited_by_the_timer_until_there_are_some",
                    "events",
                );
            };
            on.block_on(async {
                let mut wait = on.wait(&process);
                setrlimit(Resource::RLIMIT_NOFILE, few, hard).unwrap();
                assert!(poll_once(&mut wait).await.is_none());
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
                assert_eq!(count_of(fd), 1);
                while count_of(fd) != 2 {
                    assert!(poll_once(&mut wait).await.is_none());
                    yield_now().await;
                }
                setrlimit(Resource::RLIMIT_NOFILE, few, hard).unwrap();
                drop(child.stdin.take());
                assert_eq!(wait.await.unwrap().code(), Some(7));
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            });
        }
    });
}

#[test]
fn the_flags_of_the_descriptor_are_left_alone() {
    let child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let Some(fd) = process.as_event_fd() else {
        return skip("the_flags_of_the_descriptor_are_left_alone", "events");
    };
    let flags = |fd: BorrowedFd<'_>| rustix::fs::fcntl_getfl(fd).unwrap();
    let before = flags(fd);
    for on in ALL {
        on.block_on(async {
            let mut wait = on.wait(&process);
            assert!(poll_once(&mut wait).await.is_none());
            assert_eq!(flags(fd), before, "{on:?}");
        });
    }
}

/// The descriptor is readable for a moment each time.
#[test]
fn execve_by_another_thread_is_no_exit() {
    let child = helper("exec-again");
    let process = Process::open(child.id()).unwrap();
    for on in ALL {
        on.block_on(async {
            let a_while = async_io::Timer::after(Duration::from_millis(500));
            let exit = async { Some(on.wait(&process).await) };
            let exit = exit.or(async {
                a_while.await;
                None
            });
            assert!(exit.await.is_none());
        });
    }
    process.kill().unwrap();
    assert_eq!(
        On::AsyncIo.block_on(process.wait_on_async_io()).unwrap(),
        process.wait().unwrap()
    );
}

/// Of all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    time.unwrap().into()
}

async fn share_of_a_core(time: Duration, meanwhile: impl Future<Output = ()>) -> f64 {
    let (start, cpu) = (Instant::now(), cpu_time());
    race(meanwhile, async {
        async_io::Timer::after(time).await;
    })
    .await;
    (cpu_time() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
}

#[test]
fn wait_takes_little_cpu_time_while_the_clock_is_paused() {
    let test = "wait_takes_little_cpu_time_while_the_clock_is_paused";
    if cpu_clock_counts_ticks() {
        return skip(test, "a CPU clock that counts more than whole ticks");
    }
    alone(|| {
        for index in 0..2 {
            let mut child = helper("wait 7");
            let process = held(child.id()).swap_remove(index);
            let exit = tokio_with_paused_clock().block_on(in_time(async {
                let mut wait = On::TokioOfOneThread.wait(&process);
                let is_pending = async { panic!("too early: {:?}", (&mut wait).await) };
                let share = share_of_a_core(Duration::from_secs(1), is_pending).await;
                // A spinning wait takes 0.99. In an emulated machine, where each code path is
                // translated at its first use, the first second of a quiet one takes 0.16.
                assert!(share < 0.5, "{share:.2} of a core, {process:?}");
                drop(child.stdin.take());
                wait.await.unwrap()
            }));
            assert_code(&process, exit, 7);
        }
    });
}

/// Each registration has a descriptor.
#[test]
fn wait_that_moves_to_another_runtime_leaves_no_descriptor_behind() {
    alone(|| {
        let child = helper("wait 7");
        let process = Process::open(child.id()).unwrap();
        let Some(fd) = process.as_event_fd() else {
            let test = "wait_that_moves_to_another_runtime_leaves_no_descriptor_behind";
            return skip(test, "events");
        };
        let runtimes = [tokio_of_one_thread(), tokio_of_one_thread()];
        let mut wait = On::TokioOfOneThread.wait(&process);
        for _ in 0..3 {
            for runtime in &runtimes {
                let polled = runtime.block_on(poll_once(&mut wait));
                assert!(polled.is_none());
                assert_eq!(count_of(fd), 2);
            }
        }
        drop(wait);
        assert_eq!(count_of(fd), 1);
    });
}

/// A pause under a paused clock then blocks the runtime's thread.
#[test]
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
fn wait_completes_under_a_paused_clock_where_threads_are_denied() {
    use nix::libc::{EAGAIN, SYS_clone, SYS_clone3};
    alone(|| {
        let mut child = helper("wait 7");
        let process = Process::open_with(child.id(), Backend::Polling).unwrap();
        let exit = tokio_with_paused_clock().block_on(in_time(async {
            seccomp::deny(&[SYS_clone, SYS_clone3], EAGAIN);
            let mut wait = On::TokioOfOneThread.wait(&process);
            let is_pending = async { panic!("too early: {:?}", (&mut wait).await) };
            let share = share_of_a_core(Duration::from_secs(1), is_pending).await;
            assert!(share < 0.15, "{share:.2} of a core");
            // Its paused clock goes on, as tokio's documentation says.
            let a_second = Duration::from_secs(1);
            let timeout = tokio::time::timeout(a_second, &mut wait).await;
            timeout.unwrap_err();
            drop(child.stdin.take());
            wait.await.unwrap()
        }));
        assert_code(&process, exit, 7);
    });
}

/// How often this process has read from files. `None`: nobody tells.
fn reads() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let reads = io.lines().find_map(|line| line.strip_prefix("syscr: "))?;
    reads.parse().ok()
}

/// As in a loop around a `select`.
#[test]
fn a_polled_process_is_not_looked_at_by_each_who_begins_to_await_it() {
    let test = "a_polled_process_is_not_looked_at_by_each_who_begins_to_await_it";
    alone(|| {
        let Some(before) = reads() else {
            return skip(test, "/proc/self/io");
        };
        let child = helper("ignore-stdin");
        let process = Process::open_with(child.id(), Backend::Polling).unwrap();
        for on in ALL {
            on.block_on(async {
                for _ in 0..1_000 {
                    assert!(poll_once(on.wait(&process)).await.is_none());
                }
            });
        }
        let (looks, most) = (reads().unwrap() - before, 500 * ALL.len() as u64);
        assert!(looks < most, "{looks} looks");
    });
}

/// And other tasks go on.
#[test]
fn four_hundred_who_await_a_polled_process_cost_little() {
    let test = "four_hundred_who_await_a_polled_process_cost_little";
    if cpu_clock_counts_ticks() {
        return skip(test, "a CPU clock that counts more than whole ticks");
    }
    alone(|| {
        const TASKS: usize = 400;
        let child = helper("ignore-stdin");
        let process = Arc::new(Process::open_with(child.id(), Backend::Polling).unwrap());
        let pause = Duration::from_millis(40);
        On::TokioOfOneThread.block_on(async {
            let spawn = |future: &dyn Fn() -> runtimes::Task| -> Vec<_> {
                (0..TASKS).map(|_| tokio::spawn(future())).collect()
            };
            let share = |tasks: Vec<tokio::task::JoinHandle<()>>| async {
                // Until the pauses have grown.
                tokio::time::sleep(Duration::from_millis(300)).await;
                let ticks = AtomicUsize::new(0);
                let other = async {
                    loop {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        ticks.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let share = share_of_a_core(Duration::from_secs(2), other).await;
                for task in tasks {
                    assert!(!task.is_finished());
                    task.abort();
                }
                (share, ticks.into_inner())
            };
            let timers = share(spawn(&move || {
                Box::pin(async move {
                    loop {
                        tokio::time::sleep(pause).await;
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
            let least = ticks / 10;
            assert!(
                ticks_on_tokio > least && ticks_on_async_io > least,
                "another task starves"
            );
            // What so many timers take, and a tenth.
            assert!(on_tokio < timers + 0.1, "{on_tokio:.2}, not {timers:.2}");
            assert!(
                on_async_io < 2. * timers + 0.1,
                "{on_async_io:.2}, not {timers:.2}"
            );
        });
    });
}
