//! CPU time of a `WaitSet` against a bare epoll loop over pidfds that does the same:
//! take hold of thousands of processes, and learn how each exited. And what it takes of
//! a core while it polls, where there are no pidfds.
//!
//! `cargo bench --bench set_cpu`

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("there is no epoll here to compare with");
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux {
    use nix::{
        sys::{
            resource::{Resource, getrlimit, setrlimit},
            signal::{Signal, kill},
            time::TimeValLike as _,
            wait::waitpid,
        },
        time::{ClockId, clock_gettime},
        unistd::{ForkResult, Pid, fork, pause},
    };
    use procwait::WaitSet;
    use rustix::{
        event::epoll,
        fd::{AsFd as _, OwnedFd},
        process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid},
    };
    use std::{
        collections::HashMap,
        thread,
        time::{Duration, Instant},
    };

    /// At least.
    const ROUNDS: usize = 9;

    pub(crate) fn main() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        println!("processes  epoll µs  WaitSet µs  ratio (medians, per process)");
        for count in [10, 100, 1_000, 5_000, 10_000] {
            if hard < count as nix::libc::rlim_t + 100 {
                println!("{count:9}  more than the {hard} descriptors that we may have");
                continue;
            }
            let mut floor = Vec::new();
            let mut ours = Vec::new();
            for _ in 0..ROUNDS.max(2_000 / count) {
                floor.push(measure(count, bare_epoll));
                ours.push(measure(count, wait_set));
            }
            let (floor, ours) = (median(floor), median(ours));
            println!("{count:9}  {floor:8.2}  {ours:10.2}  {:5.2}", ours / floor);
        }

        println!("polled     wait(10 ms)  wait(1 s)  (share of a core)");
        let polled = thread::spawn(|| {
            if !deny_pidfd_open() {
                return println!("not measured: no table of this processor's system calls");
            }
            for count in [100, 1_000, 5_000] {
                let [short, long] = [10, 1_000].map(Duration::from_millis);
                let [short, long] = [share(count, short), share(count, long)];
                println!("{count:9}  {short:9.1} %  {long:7.1} %");
            }
        });
        polled.join().unwrap();
    }

    cfg_if::cfg_if! {
        if #[cfg(any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        ))] {
            /// In this thread, as a sandbox does.
            fn deny_pidfd_open() -> bool {
                use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
                let filter = SeccompFilter::new(
                    [(nix::libc::SYS_pidfd_open, vec![])].into(),
                    SeccompAction::Allow,
                    SeccompAction::Errno(nix::libc::EPERM as u32),
                    std::env::consts::ARCH.try_into().unwrap(),
                );
                let program: BpfProgram = filter.unwrap().try_into().unwrap();
                apply_filter(&program).unwrap();
                true
            }
        } else {
            fn deny_pidfd_open() -> bool {
                false
            }
        }
    }

    /// Of a core, in percent, for waiting with this timeout over and over.
    fn share(count: usize, timeout: Duration) -> f64 {
        let pids: Vec<_> = (0..count).map(|_| sleeper()).collect();
        let mut set = WaitSet::new();
        for pid in &pids {
            set.insert(pid.as_raw() as u32).unwrap();
        }
        let (start, used) = (Instant::now(), cpu());
        while start.elapsed() < Duration::from_secs(5) {
            assert_eq!(set.wait(Some(timeout)).unwrap(), None);
        }
        let share = (cpu() - used) / 1e4 / start.elapsed().as_secs_f64();
        kill_all(&pids);
        for pid in pids {
            waitpid(pid, None).unwrap();
        }
        share
    }

    /// CPU time for each process in µs.
    fn measure(count: usize, learn: fn(&[Pid]) -> f64) -> f64 {
        let pids: Vec<_> = (0..count).map(|_| sleeper()).collect();
        let used = learn(&pids);
        for pid in pids {
            waitpid(pid, None).unwrap();
        }
        used / count as f64
    }

    fn sleeper() -> Pid {
        // SAFETY: the child does nothing but sleep until it is killed.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => loop {
                pause();
            },
        }
    }

    fn kill_all(pids: &[Pid]) {
        for &pid in pids {
            kill(pid, Signal::SIGKILL).unwrap();
        }
    }

    /// Of this thread, in µs.
    fn cpu() -> f64 {
        let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
        clock_gettime(clock).unwrap().num_nanoseconds() as f64 / 1e3
    }

    fn bare_epoll(pids: &[Pid]) -> f64 {
        let start = cpu();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut held: HashMap<i32, OwnedFd> = HashMap::new();
        for &pid in pids {
            let raw = rustix::process::Pid::from_raw(pid.as_raw()).unwrap();
            let pidfd = pidfd_open(raw, PidfdFlags::empty()).unwrap();
            let data = epoll::EventData::new_u64(pid.as_raw() as u64);
            epoll::add(&epoll, &pidfd, data, epoll::EventFlags::IN).unwrap();
            held.insert(pid.as_raw(), pidfd);
        }
        let setup = cpu() - start;
        kill_all(pids);
        let start = cpu();
        let mut events = Vec::with_capacity(256);
        while !held.is_empty() {
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&epoll, buffer, None).unwrap();
            for event in &events {
                let pidfd = held.remove(&(event.data.u64() as i32)).unwrap();
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                let status = waitid(WaitId::PidFd(pidfd.as_fd()), options)
                    .unwrap()
                    .unwrap();
                assert_eq!(status.terminating_signal(), Some(9));
                epoll::delete(&epoll, &pidfd).unwrap();
            }
        }
        setup + cpu() - start
    }

    fn wait_set(pids: &[Pid]) -> f64 {
        let start = cpu();
        let mut set = WaitSet::new();
        for &pid in pids {
            set.insert(pid.as_raw() as u32).unwrap();
        }
        let setup = cpu() - start;
        kill_all(pids);
        let start = cpu();
        while let Some((_, exit)) = set.wait(None).unwrap() {
            assert_eq!(exit.signal(), Some(9));
        }
        setup + cpu() - start
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}
