//! The helper program, and what the tests need to steer it.
//!
//! The helper is the test binary itself, started again with a command in its
//! environment: it becomes the helper before `main`. So it is there on every
//! OS, even where nothing but a test binary is copied to.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

pub mod output;

use output::{FULL, pattern};
use procwait::{Backend, Error, Exit, Process, wait_pid};
use std::{
    any::type_name,
    env,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

/// For waits that are expected to end: long enough for any machine, yet the
/// suite does not hang if they don't.
pub const LONG: Duration = Duration::from_secs(120);

/// For waits that are expected to time out.
pub const SHORT: Duration = Duration::from_millis(20);

const COMMAND: &str = "PROCWAIT_HELPER";

/// Set to the test binary's path, which cannot be asked for without `/proc`.
const ALONE: &str = "PROCWAIT_ALONE";

fn this_program() -> PathBuf {
    match env::var_os(ALONE) {
        Some(path) => path.into(),
        None => env::current_exe().unwrap(),
    }
}

#[ctor::ctor(unsafe)]
fn become_helper() {
    if let Ok(command) = env::var(COMMAND) {
        run(&command);
    }
}

fn run(command: &str) -> ! {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        // exit CODE: at once.
        "exit" => exit(rest),
        // wait CODE: exit when standard input ends.
        "wait" => {
            until_stdin_ends();
            exit(rest)
        }
        // waiter UID: wait for others as that user.
        #[cfg(target_os = "linux")]
        "waiter" => waiter(rest.parse().unwrap()),
        // trace PID: hold it until standard input ends.
        #[cfg(target_os = "linux")]
        "trace" => {
            use nix::{sys::ptrace, unistd::Pid};
            match ptrace::seize(
                Pid::from_raw(rest.parse().unwrap()),
                ptrace::Options::empty(),
            ) {
                Ok(()) => println!("traced"),
                Err(error) => println!("{error}"),
            }
            until_stdin_ends();
            exit("0")
        }
        // trace-me CODE: by its parent, stopped until that lets it go on.
        #[cfg(target_os = "linux")]
        "trace-me" => {
            use nix::sys::{
                ptrace,
                signal::{Signal, raise},
            };
            ptrace::traceme().unwrap();
            raise(Signal::SIGSTOP).unwrap();
            exit(rest)
        }
        // exec-again: for ever, by a thread that is not the first.
        #[cfg(target_os = "linux")]
        "exec-again" => {
            use std::os::unix::process::CommandExt as _;
            std::thread::spawn(|| panic!("{}", Command::new(this_program()).exec()));
            loop {
                std::thread::park();
            }
        }
        // abort-elsewhere: by a thread that is not the first, with a core dump if there can
        // be one.
        #[cfg(target_os = "linux")]
        "abort-elsewhere" => {
            std::thread::spawn(|| {
                until_stdin_ends();
                run("abort")
            });
            loop {
                std::thread::park();
            }
        }
        // blind-waiter PID: takes hold of it, goes where there is no /proc, becomes somebody
        // else, and tells how it exited.
        #[cfg(target_os = "linux")]
        "blind-waiter" => {
            let process = Process::open_with(rest.parse().unwrap(), Backend::Polling).unwrap();
            std::os::unix::fs::chroot("/dev").unwrap();
            nix::unistd::setuid(65_534.into()).unwrap();
            println!("blind");
            println!("{}", process.wait().unwrap());
            exit("0")
        }
        // write BYTES CODE: so many to standard output, and as many to standard error.
        "write" => {
            let (bytes, code) = rest.split_once(' ').unwrap();
            let bytes = bytes.parse().unwrap();
            io::stdout().write_all(&pattern(b'o', bytes)).unwrap();
            io::stderr().write_all(&pattern(b'e', bytes)).unwrap();
            exit(code)
        }
        // alternate ROUNDS: more than fits into a pipe, to each of the two in turn.
        "alternate" => {
            for _ in 0..rest.parse().unwrap() {
                io::stdout().write_all(&pattern(b'o', FULL)).unwrap();
                io::stderr().write_all(&pattern(b'e', FULL)).unwrap();
            }
            exit("0")
        }
        // count: for ever, to standard output and standard error.
        "count" => {
            let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
            for number in 0.. {
                writeln!(stdout, "{number}").unwrap();
                writeln!(stderr, "{number}").unwrap();
            }
            unreachable!()
        }
        // leave COMMAND…: start a helper that shares the output, tell its pid, and exit.
        "leave" => {
            let mut left = helper_command(rest);
            left.stdin(Stdio::null()).stdout(Stdio::inherit());
            println!("<{}>", left.spawn().unwrap().id());
            exit("5")
        }
        // parent COMMAND…: start a helper, tell its pid, and do as told about it.
        "parent" => parent(rest),
        // ignore-stdin: run until killed.
        "ignore-stdin" => loop {
            std::thread::park();
        },
        // on-term CODE: ready for SIGTERM, which it ignores if that is "ignore".
        #[cfg(unix)]
        "on-term" => {
            on_term(rest.parse().ok());
            println!("ready");
            loop {
                thread::park();
            }
        }
        // vfork: asleep in the kernel until its child, which it tells, has exited.
        #[cfg(target_os = "linux")]
        "vfork" => vfork(),
        #[cfg(unix)]
        "abort" => {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let (_, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
            setrlimit(Resource::RLIMIT_CORE, hard, hard).unwrap();
            process::abort()
        }
        #[cfg(target_os = "linux")]
        "named" => {
            let name = std::ffi::CString::new(rest).unwrap();
            nix::sys::prctl::set_name(&name).unwrap();
            println!("named");
            until_stdin_ends();
            exit("7")
        }
        #[cfg(target_os = "linux")]
        "dead-leader" => {
            let code = rest.to_owned();
            without_first_thread(move || {
                println!("dead");
                until_stdin_ends();
                exit(&code)
            })
        }
        // dead-leader-waiter PID: tells how that process exited.
        #[cfg(target_os = "linux")]
        "dead-leader-waiter" => {
            let pid = rest.parse().unwrap();
            without_first_thread(move || {
                let process = Process::open(pid).unwrap();
                println!("{}", process.backend());
                println!("{}", process.wait().unwrap());
                exit("0")
            })
        }
        _ => panic!("unknown helper command {command:?}"),
    }
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn on_term(code: Option<i32>) {
    use nix::sys::signal::{SigHandler, Signal, signal};
    use std::sync::atomic::{AtomicI32, Ordering};
    static CODE: AtomicI32 = AtomicI32::new(0);
    extern "C" fn exit(_: i32) {
        // SAFETY: ends the process, as a signal handler may.
        unsafe { nix::libc::_exit(CODE.load(Ordering::Relaxed)) }
    }
    let handler = match code {
        Some(code) => {
            CODE.store(code, Ordering::Relaxed);
            SigHandler::Handler(exit)
        }
        None => SigHandler::SigIgn,
    };
    // SAFETY: the handler does nothing but read an atomic number and end the process.
    unsafe { signal(Signal::SIGTERM, handler) }.unwrap();
}

/// `fork`, with these flags of `clone` and this signal for the exit.
///
/// # Safety
///
/// As for `fork`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub unsafe fn fork_with(flags: i32) -> i64 {
    // Flags and stack, in this order everywhere but there.
    let (first, second) = match cfg!(target_arch = "s390x") {
        true => (0, flags),
        false => (flags, 0),
    };
    // SAFETY: without `CLONE_VM` the child has a copy of everything.
    unsafe { nix::libc::syscall(nix::libc::SYS_clone, first, second, 0, 0, 0) as i64 }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn vfork() -> ! {
    on_term(None);
    // SAFETY: there is one thread.
    let child = unsafe { fork_with(nix::libc::CLONE_VFORK | nix::libc::SIGCHLD) };
    if child == 0 {
        println!("{}", process::id());
        until_stdin_ends();
    }
    process::exit(0)
}

fn exit(code: &str) -> ! {
    // Windows' codes are u32; Rust hands them over as the same 32 bits.
    let code: i64 = code.parse().expect("an exit code");
    process::exit(code as i32)
}

fn until_stdin_ends() {
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn parent(command: &str) -> ! {
    let mut child = Some(helper(command));
    println!("{}", child.as_ref().unwrap().id());
    for line in io::stdin().lines() {
        match line.unwrap().as_str() {
            "end" => drop(child.as_mut().unwrap().stdin.take()),
            "reap" => {
                // On Windows, closing the last handle is what reaps it.
                child.take().unwrap().wait().unwrap();
                println!("reaped");
            }
            order => panic!("unknown order {order:?}"),
        }
    }
    process::exit(0)
}

/// Does as told by lines: "open PID" takes hold of a process and says by what, "signal
/// NUMBER" says whether it was sent, "wait" how it exited.
#[cfg(target_os = "linux")]
fn waiter(uid: u32) -> ! {
    nix::unistd::setgid(uid.into()).unwrap();
    nix::unistd::setuid(uid.into()).unwrap();
    // As if it had been started by that user.
    nix::sys::prctl::set_dumpable(true).unwrap();
    let mut process = None;
    for line in io::stdin().lines() {
        match line.unwrap().split_once(' ') {
            Some(("open", pid)) => match Process::open(pid.parse().unwrap()) {
                Ok(opened) => println!("{}", process.insert(opened).backend()),
                Err(error) => println!("{error}"),
            },
            Some(("signal", signal)) => {
                let process = process.as_ref().unwrap();
                match process.send_signal(signal.parse().unwrap()) {
                    Ok(sent) => println!("{sent}"),
                    Err(error) => println!("{error}"),
                }
            }
            _ => println!("{}", process.as_mut().unwrap().wait().unwrap()),
        }
    }
    process::exit(0)
}

/// Ends the first thread with exit code 3 and leaves the process to another.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn without_first_thread(rest: impl FnOnce() + Send + 'static) -> ! {
    std::thread::spawn(move || {
        let stat = format!("/proc/self/task/{}/stat", process::id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        rest()
    });
    // SAFETY: ends this thread only; nothing on its stack is used by the other.
    unsafe { nix::libc::syscall(nix::libc::SYS_exit, 3) };
    unreachable!()
}

/// A running helper. It ends with the test, whatever it was told to do.
pub struct Helper(Child);

impl Deref for Helper {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Helper {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Not if somebody else has reaped it: its pid may be another's.
        if let Ok(None) = self.try_wait() {
            let _ = self.kill();
            let _ = self.wait();
        }
    }
}

pub fn helper(command: &str) -> Helper {
    spawn(&mut helper_command(command))
}

pub fn spawn(command: &mut Command) -> Helper {
    // Wine 8 fails to start about one process of five thousand, with ERROR_INTERNAL_ERROR.
    const INTERNAL_ERROR: i32 = 1359;
    for _ in 0..10 {
        match command.spawn() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => {
                let _ = writeln!(io::stderr(), "Wine did not start a process: {error}");
            }
            spawned => return Helper(spawned.unwrap()),
        }
    }
    panic!("Wine starts no process");
}

pub fn helper_command(command: &str) -> Command {
    helper_command_of(&this_program(), command)
}

pub fn helper_command_of(program: &Path, command: &str) -> Command {
    let mut helper = Command::new(program);
    helper
        .env(COMMAND, command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    helper
}

/// Waits for the helper's next line.
pub fn line(stdout: &mut impl BufRead) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    line.truncate(line.trim_end().len());
    line
}

/// A helper that says `word` once it is ready for the test.
pub fn ready_helper(command: &str, word: &str) -> Helper {
    let mut child = helper(command);
    let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
    assert_eq!(line(&mut stdout), word);
    child
}

/// A process that is not our child but a helper's.
pub struct Grandchild {
    pub pid: u32,
    parent: Told,
}

impl Grandchild {
    pub fn new(command: &str) -> Grandchild {
        let mut parent = Told::new(&format!("parent {command}"));
        let pid = parent.answer().parse().unwrap();
        Grandchild { pid, parent }
    }

    /// Ends its standard input. It becomes a zombie: its parent does not reap it
    /// before it is told to.
    pub fn end(&mut self) {
        self.parent.tell("end");
    }

    pub fn reap(&mut self) {
        assert_eq!(self.parent.ask("reap"), "reaped");
    }
}

/// Whether this system's kqueue is played, see `.ci/kqueue`.
pub fn plays(system: &str) -> bool {
    let names = env::var("PROCWAIT_KQUEUE").unwrap_or_default();
    cfg!(kqueue_on_linux) && names.split(',').any(|name| name == system)
}

/// Plays the system with one more habit. For tests that are alone in their process.
#[cfg(kqueue_on_linux)]
#[allow(unsafe_code)]
pub fn with_habit(habit: &str) {
    let system = env::var("PROCWAIT_KQUEUE").unwrap();
    // SAFETY: no other thread of this process is running.
    unsafe { env::set_var("PROCWAIT_KQUEUE", format!("{system},{habit}")) };
}

/// Waits for the process, and until it can be seen by all means that it has exited.
pub fn exit_of(pid: u32) -> Exit {
    let exit = wait_pid(pid, Some(LONG)).unwrap().unwrap();
    // These kernels may tell of an exit a moment before there is a zombie.
    let is_early = cfg!(any(target_vendor = "apple", target_os = "freebsd"));
    if is_early || plays("apple") || plays("freebsd") {
        while wait_pid(pid, Some(Duration::ZERO)).unwrap().is_none() {
            thread::yield_now();
        }
    }
    exit
}

/// The process held in every way there is here: as a user gets it, and by
/// polling.
pub fn held(pid: u32) -> Vec<Process> {
    let opened = Process::open(pid).unwrap();
    match Process::open_with(pid, Backend::Polling) {
        Ok(polled) => vec![opened, polled],
        // Windows lists no process that has exited, even if it can be opened.
        Err(Error::NotFound { .. }) if cfg!(windows) => {
            assert!(opened.try_wait().unwrap().is_some());
            vec![opened]
        }
        Err(error) => panic!("{error}"),
    }
}

/// The status that a process of ours must have exited with, or none, if it is
/// polled on Windows: there is no status without a handle.
#[track_caller]
pub fn assert_code(process: &Process, exit: Exit, code: i32) {
    if cfg!(windows) && process.backend() == Backend::Polling {
        assert_eq!(exit.status(), None, "{process:?}");
    } else {
        assert_eq!(exit.code(), Some(code), "{process:?}");
    }
}

/// Of this thread.
#[cfg(target_os = "linux")]
pub fn cpu_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// As gVisor's, which charges all of a tick to who runs when it ends.
#[cfg(target_os = "linux")]
pub fn cpu_clock_counts_ticks() -> bool {
    let start = cpu_time();
    loop {
        let step = cpu_time() - start;
        if !step.is_zero() {
            return step > Duration::from_millis(1);
        }
    }
}

/// Whether this kernel has pidfds and lets us have them.
#[cfg(target_os = "linux")]
pub fn has_pidfd() -> bool {
    let process = Process::open(process::id()).unwrap();
    process.backend() == Backend::PidFd
}

/// Major and minor version.
#[cfg(target_os = "linux")]
pub fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Whether `/proc` shows the exit codes of strangers' zombies. gVisor shows 0 for
/// all of them, and Linux before 5.17 perhaps that of a thread: neither is to be
/// believed.
#[cfg(target_os = "linux")]
pub fn codes_are_shown(test: &str) -> bool {
    let mut grandchild = Grandchild::new("wait 7");
    grandchild.end();
    let shown = loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", grandchild.pid)).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        if fields.starts_with('Z') {
            // The third field is the first here.
            break fields.split_whitespace().nth(52 - 3) == Some("1792");
        }
        std::thread::yield_now();
    };
    let shown = shown && kernel() >= (5, 17);
    if !shown {
        skip(test, "exit codes of other processes' children in /proc");
    }
    shown
}

/// A pid that no process has.
pub fn unused_pid() -> u32 {
    if cfg!(windows) {
        return 0x7FFF_FFF0; // Windows gives low numbers, and the same again soon.
    }
    let mut child = helper("exit 0");
    child.wait().unwrap();
    child.id()
}

/// Runs the body of a test in a process of its own, for what concerns the whole
/// process: its limits, its signals, its descriptors.
pub fn alone<F: FnOnce()>(body: F) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    let run = this_test::<F>(Command::new(this_program()));
    assert!(run.is_ok(), "{}", run.unwrap_err());
}

/// Runs the body of a test in namespaces of its own: started by `unshare` with
/// these options, after this shell command.
#[cfg(target_os = "linux")]
pub fn in_namespaces<F: FnOnce()>(options: &[&str], first: &str, body: F) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    let wrapped = |program: &Path| {
        let script = format!("{first} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(options)
            .args(["sh", "-c", &script, "sh"])
            .arg(program);
        command
    };
    let run = wrapped("true".as_ref()).output();
    if !run.is_ok_and(|run| run.status.success()) {
        let what = format!("`unshare {}` and `{first}`", options.join(" "));
        return skip(test_name::<F>(), &what);
    }
    let run = this_test::<F>(wrapped(&this_program()));
    assert!(run.is_ok(), "{}", run.unwrap_err());
}

/// `module::test` of the closure that is a test's body.
fn test_name<F>() -> &'static str {
    // "binary::module::test::{{closure}}"
    let path = type_name::<F>();
    let test = path.split_once("::").unwrap().1;
    test.strip_suffix("::{{closure}}").unwrap()
}

fn this_test<F>(mut command: Command) -> Result<(), String> {
    let run = command
        .args([
            "--exact",
            test_name::<F>(),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ALONE, this_program())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    skipped_aloud(&stderr);
    match run.status.success() && stdout.contains("1 passed") {
        true => Ok(()),
        false => Err(format!("{}\n{stdout}\n{stderr}", run.status)),
    }
}

/// A helper that is told by lines, and answers each by a line.
pub struct Told {
    helper: Helper,
    stdout: BufReader<ChildStdout>,
}

impl Told {
    pub fn new(command: &str) -> Told {
        let mut helper = helper(command);
        let stdout = BufReader::new(helper.stdout.take().unwrap());
        Told { helper, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.helper.id()
    }

    /// Ends its standard input, and so the helper.
    pub fn end(&mut self) {
        drop(self.helper.stdin.take());
    }

    pub fn tell(&mut self, order: &str) {
        writeln!(self.helper.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    pub fn answer(&mut self) -> String {
        line(&mut self.stdout)
    }

    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.answer()
    }
}

fn skipped_aloud(stderr: &str) {
    for line in stderr.lines().filter(|line| line.starts_with(SKIPPED)) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

const SKIPPED: &str = "SKIPPED ";

/// Says that a test cannot be made here, and what it needs, past the capture of
/// a test's output.
pub fn skip(test: &str, needed: &str) {
    let _ = writeln!(io::stderr(), "{SKIPPED}{test}: needs {needed}");
}

/// "nobody".
pub const STRANGER: u32 = 65_534;

/// A helper that waits as another user, whom only root can become.
#[cfg(target_os = "linux")]
pub fn stranger(test: &str) -> Option<Told> {
    if !nix::unistd::geteuid().is_root() {
        skip(test, "root, to wait as another user");
        return None;
    }
    Some(Told::new(&format!("waiter {STRANGER}")))
}
