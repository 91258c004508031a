//! Eight threads, each by another method of this crate, wait for thousands of processes that exit
//! at random times. Checks each status, that no exit is lost, and that no descriptor or thread is
//! leaked.
//!
//! `cargo bench --bench soak -- [SECONDS [PROCESSES]]`

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("SKIPPED: counts descriptors and threads in /proc, so it needs Linux");
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

    /// Starts batches of this many processes and waits for them, until this time. Returns the
    /// number of exits.
    type Method = fn(usize, Instant) -> usize;

    /// Each runs on a thread of its own.
    const METHODS: [(&str, Method); 8] = [
        ("wait_pid", |batch, end| wait_each(batch, end, wait_pid)),
        ("Process", |batch, end| wait_each(batch, end, wait_process)),
        ("Process, polling", |batch, end| {
            wait_each(batch, end, wait_polling)
        }),
        ("ChildExt", |_, end| wait_child(end)),
        ("WaitSet", wait_set),
        ("WaitSet, changing", wait_changing_set),
        ("wait_any", wait_any),
        ("wait_all", wait_all),
    ];

    static STARTED: AtomicUsize = AtomicUsize::new(0);

    pub(crate) fn main() {
        // Cargo adds "--bench".
        let mut arguments = std::env::args()
            .skip(1)
            .filter(|argument| argument != "--bench");
        let mut number = |default| match arguments.next() {
            Some(argument) => argument.parse().expect("a number"),
            None => default,
        };
        let (seconds, processes) = (number(60), number(5_000) as usize);
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();

        let before = (count("fd"), count("task"));
        let end = Instant::now() + Duration::from_secs(seconds);
        let batch = processes / METHODS.len();
        let waiters =
            METHODS.map(|(name, method)| (name, thread::spawn(move || method(batch, end))));
        let mut reported = 0;
        for (name, waiter) in waiters {
            let exits = waiter.join().expect("all statuses are correct");
            println!("{name:18} {exits:8} exits");
            reported += exits;
        }
        let started = STARTED.load(Ordering::Relaxed);
        let after = (count("fd"), count("task"));
        println!("{started} processes started, {reported} exits reported, all statuses correct");
        println!("descriptors and threads: {before:?} before, {after:?} after");
        assert_eq!(started, reported);
        assert_eq!(before, after);
    }

    /// The number of entries in this directory of /proc/self.
    fn count(directory: &str) -> usize {
        let entries = fs::read_dir(format!("/proc/self/{directory}"));
        entries.unwrap().count()
    }

    /// How a process was told to exit.
    #[derive(Clone, Copy, Debug)]
    enum Expected {
        Code(i32),
        Signal(i32),
    }

    /// From std's randomly seeded hasher.
    fn random() -> u32 {
        RandomState::new().build_hasher().finish() as u32
    }

    fn start() -> (u32, Expected) {
        const SIGNALS: [i32; 3] = [libc::SIGKILL, libc::SIGTERM, libc::SIGUSR1];
        let expected = match random() % 4 {
            0 => Expected::Signal(SIGNALS[random() as usize % SIGNALS.len()]),
            _ => Expected::Code((random() % 256) as i32),
        };
        // Most exit soon, some late, and many at the same time.
        let delay = libc::timespec {
            tv_sec: 0,
            tv_nsec: ((random() % 8).pow(3) * 1_000_000) as _,
        };
        // SAFETY: the child calls only async-signal-safe functions: signal-safety(7).
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above, and `delay` outlives the call.
            unsafe {
                libc::nanosleep(&delay, std::ptr::null_mut());
                match expected {
                    Expected::Code(code) => libc::_exit(code),
                    Expected::Signal(signal) => {
                        libc::kill(libc::getpid(), signal);
                        libc::_exit(99)
                    }
                }
            }
        }
        assert!(pid > 0, "{}", io::Error::last_os_error());
        STARTED.fetch_add(1, Ordering::Relaxed);
        (pid as u32, expected)
    }

    /// Checks the status, and reaps the process, which must not have been reaped before.
    fn check(pid: u32, expected: Expected, exit: Exit) {
        match expected {
            Expected::Code(code) => assert_eq!(exit.code(), Some(code), "{pid}"),
            Expected::Signal(signal) => assert_eq!(exit.signal(), Some(signal), "{pid}"),
        }
        waitpid(Pid::from_raw(pid as i32), None).unwrap();
    }

    /// Repeats `round` until that time, and returns the sum of its results.
    fn repeat(end: Instant, mut round: impl FnMut() -> usize) -> usize {
        let mut exits = 0;
        while Instant::now() < end {
            exits += round();
        }
        exits
    }

    /// Starts a batch, and waits for one process after the other.
    fn wait_each(batch: usize, end: Instant, wait: fn(u32) -> Exit) -> usize {
        repeat(end, || {
            let started: Vec<_> = (0..batch).map(|_| start()).collect();
            for &(pid, expected) in &started {
                check(pid, expected, wait(pid));
            }
            batch
        })
    }

    fn short_timeout() -> Duration {
        Duration::from_micros(u64::from(random() % 2_000))
    }

    fn wait_pid(pid: u32) -> Exit {
        loop {
            let timeout = (random() % 3 > 0).then(short_timeout);
            if let Some(exit) = procwait::wait_pid(pid, timeout).unwrap() {
                return exit;
            }
        }
    }

    fn wait_process(pid: u32) -> Exit {
        let process = Process::open(pid).unwrap();
        match process.wait_timeout(short_timeout()).unwrap() {
            Some(exit) => exit,
            None => process.wait().unwrap(),
        }
    }

    fn wait_polling(pid: u32) -> Exit {
        let process = Process::open_with(pid, Backend::Polling).unwrap();
        match process.wait_timeout(short_timeout()).unwrap() {
            Some(exit) => exit,
            None => process.wait().unwrap(),
        }
    }

    fn wait_child(end: Instant) -> usize {
        repeat(end, || {
            let code = random() as u8;
            let exit = format!("exit {code}");
            let mut child = Command::new("sh").args(["-c", &exit]).spawn().unwrap();
            STARTED.fetch_add(1, Ordering::Relaxed);
            loop {
                if let Some(status) = child.wait_timeout(short_timeout()).unwrap() {
                    assert_eq!(status.code(), Some(code.into()));
                    return 1;
                }
            }
        })
    }

    fn start_batch(batch: usize) -> HashMap<u32, Expected> {
        (0..batch).map(|_| start()).collect()
    }

    fn wait_set(batch: usize, end: Instant) -> usize {
        repeat(end, || {
            let mut running = start_batch(batch);
            let mut set = WaitSet::new();
            for &pid in running.keys() {
                assert!(set.insert(pid).unwrap());
            }
            while let Some((pid, exit)) = set.wait(None).unwrap() {
                check(pid, running.remove(&pid).expect("each exits once"), exit);
            }
            assert!(running.is_empty());
            batch
        })
    }

    /// Keeps one set, and starts another process after each exit.
    fn wait_changing_set(batch: usize, end: Instant) -> usize {
        let mut running = HashMap::new();
        let mut set = WaitSet::new();
        let mut exits = 0;
        loop {
            while running.len() < batch && Instant::now() < end {
                let (pid, expected) = start();
                assert!(set.insert(pid).unwrap());
                if random() % 8 == 0 {
                    assert!(set.remove(pid) && set.insert(pid).unwrap());
                }
                assert!(running.insert(pid, expected).is_none());
            }
            if running.is_empty() {
                return exits;
            }
            let timeout = (random() % 2 == 0).then(short_timeout);
            if let Some((pid, exit)) = set.wait(timeout).unwrap() {
                check(pid, running.remove(&pid).expect("each exits once"), exit);
                exits += 1;
            }
        }
    }

    fn wait_any(batch: usize, end: Instant) -> usize {
        // Each call makes a set of all that remain.
        let batch = batch.min(32);
        repeat(end, || {
            let mut running = start_batch(batch);
            while !running.is_empty() {
                let pids: Vec<_> = running.keys().copied().collect();
                if let Some((pid, exit)) = procwait::wait_any(pids, Some(short_timeout())).unwrap()
                {
                    check(pid, running.remove(&pid).expect("each exits once"), exit);
                }
            }
            batch
        })
    }

    fn wait_all(batch: usize, end: Instant) -> usize {
        repeat(end, || {
            let mut running = start_batch(batch);
            while !running.is_empty() {
                let pids: Vec<_> = running.keys().copied().collect();
                let all = procwait::wait_all(pids, Some(short_timeout() * 10)).unwrap();
                assert_eq!(all.exited.len() + all.running.len(), running.len());
                for (pid, exit) in all.exited {
                    check(pid, running.remove(&pid).expect("each exits once"), exit);
                }
            }
            batch
        })
    }
}
