//! Thousands of processes that exit at random, against eight threads that wait for
//! them in every way there is. Counts the exits, compares each status with what
//! the process was told to do, and what is open before and after.
//!
//! `cargo bench --bench soak -- [SECONDS [PROCESSES]]`

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("counts what /proc shows, which is not here");
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux {
    use nix::{
        libc,
        sys::resource::{Resource, getrlimit, setrlimit},
        sys::wait::waitpid,
        unistd::Pid,
    };
    use procwait::{Backend, ChildExt as _, Exit, Process, WaitSet};
    use std::{
        collections::HashMap,
        fs,
        hash::{BuildHasher as _, Hasher as _, RandomState},
        io,
        process::Command,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::{Duration, Instant},
    };

    /// One way of waiting for each thread.
    const WAYS: [(&str, Way); 8] = [
        ("wait_pid", |batch, until| each(batch, until, by_wait_pid)),
        ("Process", |batch, until| each(batch, until, by_process)),
        ("Process, polling", |batch, until| {
            each(batch, until, by_polling)
        }),
        ("ChildExt", |_, until| by_child(until)),
        ("WaitSet", |batch, until| by_set(batch, until)),
        ("WaitSet, changing", |batch, until| {
            by_changing_set(batch, until)
        }),
        ("wait_any", |batch, until| by_wait_any(batch, until)),
        ("wait_all", |batch, until| by_wait_all(batch, until)),
    ];

    /// Waits for so many processes at a time until then; answers how many exited.
    type Way = fn(usize, Instant) -> usize;

    static STARTED: AtomicUsize = AtomicUsize::new(0);

    pub(crate) fn main() {
        // Cargo adds "--bench".
        let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
        let mut number = |default| match arguments.next() {
            Some(argument) => argument.parse().expect("a number"),
            None => default,
        };
        let (seconds, processes) = (number(60), number(5_000) as usize);
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();

        let before = (count("fd"), count("task"));
        let until = Instant::now() + Duration::from_secs(seconds);
        let batch = processes / WAYS.len();
        let waiters = WAYS.map(|(name, way)| (name, thread::spawn(move || way(batch, until))));
        let mut reported = 0;
        for (name, waiter) in waiters {
            let exits = waiter.join().expect("no wrong answer");
            println!("{name:18} {exits:8} exits");
            reported += exits;
        }
        let started = STARTED.load(Ordering::Relaxed);
        let after = (count("fd"), count("task"));
        println!("{started} processes started, {reported} exits reported, all statuses right");
        println!("descriptors and threads: {before:?} before, {after:?} after");
        assert_eq!(started, reported);
        assert_eq!(before, after);
    }

    fn count(what: &str) -> usize {
        fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
    }

    /// How a process is to end, and when.
    #[derive(Clone, Copy, Debug)]
    enum End {
        Code(i32),
        Signal(i32),
    }

    /// The standard library's source of randomness, such as it is.
    fn random() -> u32 {
        RandomState::new().build_hasher().finish() as u32
    }

    fn start() -> (u32, End) {
        let end = match random() % 4 {
            0 => End::Signal([libc::SIGKILL, libc::SIGTERM, libc::SIGUSR1][random() as usize % 3]),
            _ => End::Code((random() % 256) as i32),
        };
        // Most soon, some late, many at once.
        let delay = libc::timespec {
            tv_sec: 0,
            tv_nsec: ((random() % 8).pow(3) * 1_000_000) as _,
        };
        // SAFETY: the child calls nothing but what a signal handler may call.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above; the time is read from a place that outlives the call.
            unsafe {
                libc::nanosleep(&delay, std::ptr::null_mut());
                match end {
                    End::Code(code) => libc::_exit(code),
                    End::Signal(signal) => {
                        libc::kill(libc::getpid(), signal);
                        libc::_exit(99)
                    }
                }
            }
        }
        assert!(pid > 0, "{}", io::Error::last_os_error());
        STARTED.fetch_add(1, Ordering::Relaxed);
        (pid as u32, end)
    }

    /// Right, and there to be reaped.
    fn check(pid: u32, end: End, exit: Exit) {
        match end {
            End::Code(code) => assert_eq!(exit.code(), Some(code), "{pid}"),
            End::Signal(signal) => assert_eq!(exit.signal(), Some(signal), "{pid}"),
        }
        waitpid(Pid::from_raw(pid as i32), None).unwrap();
    }

    fn rounds(until: Instant, mut round: impl FnMut() -> usize) -> usize {
        let mut exits = 0;
        while Instant::now() < until {
            exits += round();
        }
        exits
    }

    /// Starts a batch, and waits for one after the other.
    fn each(batch: usize, until: Instant, wait: fn(u32) -> Exit) -> usize {
        rounds(until, || {
            let started: Vec<_> = (0..batch).map(|_| start()).collect();
            for &(pid, end) in &started {
                check(pid, end, wait(pid));
            }
            batch
        })
    }

    fn short() -> Duration {
        Duration::from_micros(u64::from(random() % 2_000))
    }

    fn by_wait_pid(pid: u32) -> Exit {
        loop {
            let timeout = (random() % 3 > 0).then(short);
            if let Some(exit) = procwait::wait_pid(pid, timeout).unwrap() {
                return exit;
            }
        }
    }

    fn by_process(pid: u32) -> Exit {
        let mut process = Process::open(pid).unwrap();
        match process.wait_timeout(short()).unwrap() {
            Some(exit) => exit,
            None => process.wait().unwrap(),
        }
    }

    fn by_polling(pid: u32) -> Exit {
        let mut process = Process::open_with(pid, Backend::Polling).unwrap();
        match process.wait_timeout(short()).unwrap() {
            Some(exit) => exit,
            None => process.wait().unwrap(),
        }
    }

    fn by_child(until: Instant) -> usize {
        rounds(until, || {
            let code = random() as u8;
            let exit = format!("exit {code}");
            let mut child = Command::new("sh").args(["-c", &exit]).spawn().unwrap();
            STARTED.fetch_add(1, Ordering::Relaxed);
            loop {
                if let Some(status) = child.wait_timeout(short()).unwrap() {
                    assert_eq!(status.code(), Some(code.into()));
                    return 1;
                }
            }
        })
    }

    fn started(batch: usize) -> HashMap<u32, End> {
        (0..batch).map(|_| start()).collect()
    }

    fn by_set(batch: usize, until: Instant) -> usize {
        rounds(until, || {
            let mut left = started(batch);
            let mut set = WaitSet::new();
            for &pid in left.keys() {
                assert!(set.insert(pid).unwrap());
            }
            while let Some((pid, exit)) = set.wait(None).unwrap() {
                check(pid, left.remove(&pid).expect("once"), exit);
            }
            assert!(left.is_empty());
            batch
        })
    }

    /// One set all the time: for each exit another process is started.
    fn by_changing_set(batch: usize, until: Instant) -> usize {
        let mut left = HashMap::new();
        let mut set = WaitSet::new();
        let mut exits = 0;
        loop {
            while left.len() < batch && Instant::now() < until {
                let (pid, end) = start();
                assert!(set.insert(pid).unwrap());
                if random() % 8 == 0 {
                    assert!(set.remove(pid) && set.insert(pid).unwrap());
                }
                assert!(left.insert(pid, end).is_none());
            }
            if left.is_empty() {
                return exits;
            }
            let timeout = (random() % 2 == 0).then(short);
            if let Some((pid, exit)) = set.wait(timeout).unwrap() {
                check(pid, left.remove(&pid).expect("once"), exit);
                exits += 1;
            }
        }
    }

    fn by_wait_any(batch: usize, until: Instant) -> usize {
        // Each costs a new set, so not too many.
        let batch = batch.min(32);
        rounds(until, || {
            let mut left = started(batch);
            while !left.is_empty() {
                let pids: Vec<_> = left.keys().copied().collect();
                if let Some((pid, exit)) = procwait::wait_any(pids, Some(short())).unwrap() {
                    check(pid, left.remove(&pid).expect("once"), exit);
                }
            }
            batch
        })
    }

    fn by_wait_all(batch: usize, until: Instant) -> usize {
        rounds(until, || {
            let mut left = started(batch);
            while !left.is_empty() {
                let pids: Vec<_> = left.keys().copied().collect();
                let all = procwait::wait_all(pids, Some(short() * 10)).unwrap();
                assert_eq!(all.exited.len() + all.running.len(), left.len());
                for (pid, exit) in all.exited {
                    check(pid, left.remove(&pid).expect("once"), exit);
                }
            }
            batch
        })
    }
}
