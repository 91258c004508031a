//! The helper program: the test binary itself, started again with a command in its environment. It
//! runs the command before `main`. So there is a helper wherever the test binary runs, even on a
//! machine to which nothing else was copied.

use super::{
    helper::{OTHER_USER, helper, helper_command, test_binary},
    output::{LEN, pattern},
};
use procwait::{Backend, Process};
use std::{
    env,
    fs::File,
    io::{self, Read as _, Write as _},
    process::{self, Command, Stdio},
    thread,
};

/// The environment variable with the helper's command.
pub(super) const COMMAND: &str = "PROCWAIT_HELPER";

#[ctor::ctor(unsafe)]
fn become_helper() {
    if let Ok(command) = env::var(COMMAND) {
        run(&command);
    }
}

fn run(command: &str) -> ! {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    match verb {
        // exit CODE: exits at once.
        "exit" => exit(rest),
        // wait CODE: exits when standard input is closed.
        "wait" => {
            wait_for_stdin_eof();
            exit(rest)
        }
        // as-user UID COMMAND…: changes to that user, and runs the command.
        #[cfg(target_os = "linux")]
        "as-user" => {
            let (uid, command) = rest.split_once(' ').unwrap();
            change_user(uid.parse().unwrap());
            run(command)
        }
        // waiter: waits for processes on request.
        #[cfg(target_os = "linux")]
        "waiter" => waiter(),
        // identities: prints identities, and opens them, on request.
        "identities" => identities(),
        // trace PID: traces the process until standard input is closed.
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
            wait_for_stdin_eof();
            exit("0")
        }
        // trace-me CODE: lets its parent trace it, and stops until the parent continues it.
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
        // exec-in-thread: starts itself again and again, by an `execve` in another thread.
        #[cfg(target_os = "linux")]
        "exec-in-thread" => {
            use std::os::unix::process::CommandExt as _;
            std::thread::spawn(|| panic!("{}", Command::new(test_binary()).exec()));
            loop {
                std::thread::park();
            }
        }
        // abort-in-thread: aborts in another thread, with a core dump if possible.
        #[cfg(target_os = "linux")]
        "abort-in-thread" => {
            std::thread::spawn(|| {
                wait_for_stdin_eof();
                run("abort")
            });
            loop {
                std::thread::park();
            }
        }
        // chroot-waiter PID: opens the process, changes to a root directory without /proc and
        // to another user, and prints how the process exited.
        #[cfg(target_os = "linux")]
        "chroot-waiter" => {
            let process = Process::open_with(rest.parse().unwrap(), Backend::Polling).unwrap();
            std::os::unix::fs::chroot("/dev").unwrap();
            nix::unistd::setuid(OTHER_USER.into()).unwrap();
            println!("chrooted");
            println!("{}", process.wait().unwrap());
            exit("0")
        }
        // write LEN CODE: writes this number of bytes to each of standard output and error.
        "write" => {
            let (len, code) = rest.split_once(' ').unwrap();
            let len = len.parse().unwrap();
            io::stdout().write_all(&pattern(b'o', len)).unwrap();
            io::stderr().write_all(&pattern(b'e', len)).unwrap();
            exit(code)
        }
        // alternate ROUNDS COMMAND…: writes more than fits into a pipe to each stream in turn, and
        // runs the command.
        "alternate" => {
            let (rounds, command) = rest.split_once(' ').unwrap();
            for _ in 0..rounds.parse().unwrap() {
                io::stdout().write_all(&pattern(b'o', LEN)).unwrap();
                io::stderr().write_all(&pattern(b'e', LEN)).unwrap();
            }
            run(command)
        }
        // count: writes ascending numbers to standard output and error forever.
        "count" => {
            let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
            for number in 0.. {
                writeln!(stdout, "{number}").unwrap();
                writeln!(stderr, "{number}").unwrap();
            }
            unreachable!()
        }
        // spawn-and-exit COMMAND…: starts a helper that inherits standard output and error,
        // prints its pid, and exits.
        "spawn-and-exit" => {
            println!("<{}>", spawn_in_background(rest));
            exit("5")
        }
        // spawn-and-stay COMMAND…: starts a helper that inherits standard output and error,
        // prints its pid, and runs until it is killed.
        "spawn-and-stay" => {
            println!("<{}>", spawn_in_background(rest));
            run("ignore-stdin")
        }
        // spawn-and-leave-group COMMAND…: starts a helper in its own process group, changes to the
        // group of its parent, and then does the same as spawn-and-stay.
        #[cfg(unix)]
        "spawn-and-leave-group" => {
            use nix::unistd::{Pid, getpgid, getppid, setpgid};
            let background = spawn_in_background(rest);
            setpgid(Pid::from_raw(0), getpgid(Some(getppid())).unwrap()).unwrap();
            println!("<{background}>");
            run("ignore-stdin")
        }
        // print-pid COMMAND…: prints its pid, and runs the command.
        "print-pid" => {
            println!("<{}>", process::id());
            run(rest)
        }
        // hand-over COMMAND…: starts a helper that inherits all standard streams, and exits.
        "hand-over" => {
            let mut command = helper_command(rest);
            command.stdin(Stdio::inherit()).stdout(Stdio::inherit());
            #[allow(clippy::zombie_processes)] // It outlives this process.
            let _background = command.spawn().unwrap();
            exit("5")
        }
        // cat: copies standard input to standard output.
        "cat" => {
            let (mut stdin, mut stdout) = (take(io::stdin()), take(io::stdout()));
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match stdin.read(&mut buffer).unwrap() {
                    0 => exit("0"),
                    len => stdout.write_all(&buffer[..len]).unwrap(),
                }
            }
        }
        // check-input LEN CODE: reads standard input to its end. If that was the pattern of this
        // length, prints "right" and exits with this code.
        "check-input" => {
            let (len, code) = rest.split_once(' ').unwrap();
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input).unwrap();
            assert!(input == pattern(b'i', len.parse().unwrap()));
            println!("right");
            exit(code)
        }
        // read-some LEN COMMAND…: reads the first bytes of the pattern from standard input,
        // closes it, and runs the command.
        "read-some" => {
            let (len, command) = rest.split_once(' ').unwrap();
            let mut input = vec![0; len.parse().unwrap()];
            let mut stdin = take(io::stdin());
            stdin.read_exact(&mut input).unwrap();
            assert!(input == pattern(b'i', input.len()));
            drop(stdin);
            run(command)
        }
        // parent COMMAND…: starts a helper, prints its pid, and ends or reaps it on request.
        "parent" => parent(rest),
        // ignore-stdin: runs until it is killed.
        "ignore-stdin" => loop {
            std::thread::park();
        },
        // on-term CODE: exits with this code on SIGTERM; on-term ignore: ignores SIGTERM.
        #[cfg(unix)]
        "on-term" => {
            on_term(rest.parse().ok());
            println!("ready");
            loop {
                thread::park();
            }
        }
        // schedule LEN STEP…: takes these steps, and checks what it reads against the pattern of
        // this length. A step is "i", "o" or "e" for a standard stream, and a number of bytes to
        // read or write, or "close"; or "pause" and a number of microseconds.
        #[cfg(unix)]
        "schedule" => schedule(rest),
        // close-output COMMAND…: closes standard output and error, and runs the command.
        "close-output" => {
            drop([take(io::stdout()), take(io::stderr())]);
            run(rest)
        }
        // ignore-term COMMAND…: ignores SIGTERM, and runs the command.
        #[cfg(unix)]
        "ignore-term" => {
            on_term(None);
            println!("ready");
            run(rest)
        }
        // on-term-wait CODE: exits with code 5 on SIGTERM, and with this code when standard input
        // is closed.
        #[cfg(unix)]
        "on-term-wait" => {
            on_term(Some(5));
            println!("ready");
            run(&format!("wait {rest}"))
        }
        // alarm SECONDS COMMAND…: runs the command, and is ended by SIGALRM after this time.
        #[cfg(unix)]
        "alarm" => {
            let (seconds, command) = rest.split_once(' ').unwrap();
            nix::unistd::alarm::set(seconds.parse().unwrap());
            run(command)
        }
        // setsid COMMAND…: runs the command in a new session.
        #[cfg(unix)]
        "setsid" => {
            nix::unistd::setsid().unwrap();
            run(rest)
        }
        // join-groups CODE: joins the process group of each line of standard input.
        #[cfg(unix)]
        "join-groups" => {
            use nix::unistd::{Pid, setpgid};
            for line in io::stdin().lines() {
                let group = Pid::from_raw(line.unwrap().parse().unwrap());
                setpgid(Pid::from_raw(0), group).unwrap();
                println!("joined");
            }
            exit(rest)
        }
        // vfork: starts a child that prints its pid, and sleeps in the kernel until the child has
        // exited.
        #[cfg(target_os = "linux")]
        "vfork" => vfork(),
        // abort: aborts, with a core dump if possible.
        #[cfg(unix)]
        "abort" => {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let (_, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
            setrlimit(Resource::RLIMIT_CORE, hard, hard).unwrap();
            process::abort()
        }
        // named NAME: waits under this name, the `comm` of its main thread.
        #[cfg(target_os = "linux")]
        "named" => {
            let name = std::ffi::CString::new(rest).unwrap();
            nix::sys::prctl::set_name(&name).unwrap();
            println!("named");
            wait_for_stdin_eof();
            exit("7")
        }
        // exited-main-thread CODE: exits its main thread, and waits in another one.
        #[cfg(target_os = "linux")]
        "exited-main-thread" => {
            let code = rest.to_owned();
            without_main_thread(move || {
                println!("exited");
                wait_for_stdin_eof();
                exit(&code)
            })
        }
        // waiter-without-main-thread PID: exits its main thread, waits for the process in another
        // one, and prints how it exited.
        #[cfg(target_os = "linux")]
        "waiter-without-main-thread" => {
            let pid = rest.parse().unwrap();
            without_main_thread(move || {
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
        // SAFETY: _exit is async-signal-safe.
        unsafe { nix::libc::_exit(CODE.load(Ordering::Relaxed)) }
    }
    let handler = match code {
        Some(code) => {
            CODE.store(code, Ordering::Relaxed);
            SigHandler::Handler(exit)
        }
        None => SigHandler::SigIgn,
    };
    // SAFETY: the handler only loads an atomic and calls _exit, which are async-signal-safe.
    unsafe { signal(Signal::SIGTERM, handler) }.unwrap();
}

/// Forks with these flags of `clone`, the lowest byte of which is the exit signal.
///
/// # Safety
///
/// As for `fork`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub unsafe fn fork_with(flags: i32) -> i64 {
    // SAFETY: the caller promises what is needed.
    unsafe { fork_with_pidfd(flags, std::ptr::null_mut()) }
}

/// As [`fork_with`]. The flag `CLONE_PIDFD` stores a pidfd of the child.
///
/// # Safety
///
/// As for `fork`. With that flag, the kernel may write to `pidfd`.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub unsafe fn fork_with_pidfd(flags: i32, pidfd: *mut i32) -> i64 {
    // The arguments are flags and stack, but on s390x stack and flags: see clone(2).
    let (first, second) = if cfg!(target_arch = "s390x") {
        (0, flags)
    } else {
        (flags, 0)
    };
    // SAFETY: without `CLONE_VM`, the child runs on a copy of the memory, as after `fork`. The caller
    // promises that the kernel may write to `pidfd`.
    unsafe { nix::libc::syscall(nix::libc::SYS_clone, first, second, pidfd, 0, 0) as i64 }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn vfork() -> ! {
    on_term(None);
    // SAFETY: the helper has only one thread.
    let child = unsafe { fork_with(nix::libc::CLONE_VFORK | nix::libc::SIGCHLD) };
    if child == 0 {
        println!("{}", process::id());
        wait_for_stdin_eof();
    }
    process::exit(0)
}

fn exit(code: &str) -> ! {
    // On Windows, exit codes are u32. `exit` takes the same 32 bits as i32.
    let code: i64 = code.parse().expect("an exit code");
    process::exit(code as i32)
}

fn wait_for_stdin_eof() {
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// A standard stream as a file without a buffer. Dropping the file closes the stream.
#[cfg(unix)]
#[allow(unsafe_code)]
fn take(stream: impl std::os::fd::AsRawFd) -> File {
    use std::os::fd::FromRawFd as _;
    // SAFETY: the helper does not use the stream in any other way, so only the file closes it.
    unsafe { File::from_raw_fd(stream.as_raw_fd()) }
}

#[cfg(windows)]
#[allow(unsafe_code)]
fn take(stream: impl std::os::windows::io::AsRawHandle) -> File {
    use std::os::windows::io::FromRawHandle as _;
    // SAFETY: the helper does not use the stream in any other way, so only the file closes it.
    unsafe { File::from_raw_handle(stream.as_raw_handle()) }
}

#[cfg(unix)]
fn schedule(steps: &str) -> ! {
    let (len, steps) = steps.split_once(' ').unwrap_or((steps, ""));
    let input = pattern(b'i', len.parse().unwrap());
    let mut input = &input[..];
    let streams = [take(io::stdin()), take(io::stdout()), take(io::stderr())];
    let mut streams = streams.map(Some);
    let mut written = [0; 3];
    for step in steps.split_whitespace() {
        if let Some(microseconds) = step.strip_prefix("pause") {
            let microseconds = microseconds.parse().unwrap();
            thread::sleep(std::time::Duration::from_micros(microseconds));
            continue;
        }
        let (name, argument) = step.split_at(1);
        let index = ["i", "o", "e"].iter().position(|&stream| stream == name);
        let index = index.unwrap();
        let stream = &mut streams[index];
        match (argument.parse::<usize>(), stream) {
            (Err(_), stream) => *stream = None,
            (Ok(_), None) => {}
            (Ok(len), Some(stdin)) if name == "i" => {
                // Only the end of the input may cut it short.
                let expected;
                (expected, input) = input.split_at(len.min(input.len()));
                let mut bytes = Vec::new();
                stdin.take(len as u64).read_to_end(&mut bytes).unwrap();
                assert!(bytes == expected);
            }
            (Ok(len), Some(stream)) => {
                let end = written[index] + len;
                let bytes = &pattern(name.as_bytes()[0], end)[written[index]..];
                stream.write_all(bytes).unwrap();
                written[index] = end;
            }
        }
    }
    process::exit(0)
}

/// Starts a helper that inherits standard output and error, and returns its pid.
fn spawn_in_background(command: &str) -> u32 {
    let mut command = helper_command(command);
    command.stdin(Stdio::null()).stdout(Stdio::inherit());
    command.spawn().unwrap().id()
}

fn parent(command: &str) -> ! {
    let mut child = Some(helper(command));
    println!("{}", child.as_ref().unwrap().id());
    for line in io::stdin().lines() {
        match line.unwrap().as_str() {
            "end" => drop(child.as_mut().unwrap().stdin.take()),
            "reap" => {
                // Dropping the child closes its last handle, which is what reaps it on Windows.
                child.take().unwrap().wait().unwrap();
                println!("reaped");
            }
            request => panic!("unknown request {request:?}"),
        }
    }
    process::exit(0)
}

#[cfg(target_os = "linux")]
fn change_user(uid: u32) {
    nix::unistd::setgid(uid.into()).unwrap();
    nix::unistd::setuid(uid.into()).unwrap();
    // The change of the uid has cleared this, which hides the exit code in /proc even from
    // processes of the same user: see prctl(2) and ptrace(2).
    nix::sys::prctl::set_dumpable(true).unwrap();
}

/// Reads requests: "of PID" prints the identity of a process, or "none"; "open IDENTITY" opens the
/// process, and prints its pid or the error.
fn identities() -> ! {
    for line in io::stdin().lines() {
        match line.unwrap().split_once(' ') {
            Some(("of", pid)) => {
                let process = Process::open(pid.parse().unwrap()).unwrap();
                match process.identity() {
                    Some(identity) => println!("{identity}"),
                    None => println!("none"),
                }
            }
            Some(("open", identity)) => match Process::open_identity(&identity.parse().unwrap()) {
                Ok(process) => println!("{}", process.pid()),
                Err(error) => println!("{error}"),
            },
            request => panic!("unknown request {request:?}"),
        }
    }
    process::exit(0)
}

/// Reads requests: "open PID" opens a process and prints its backend, "signal NUMBER" and
/// "signal-group NUMBER" print whether the signal was sent, and "wait" prints how the process exited.
#[cfg(target_os = "linux")]
fn waiter() -> ! {
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
            Some(("signal-group", signal)) => {
                let process = process.as_ref().unwrap();
                match process.send_signal_to_group(signal.parse().unwrap()) {
                    Ok(sent) => println!("{sent}"),
                    Err(error) => println!("{error}"),
                }
            }
            _ => println!("{}", process.as_mut().unwrap().wait().unwrap()),
        }
    }
    process::exit(0)
}

/// Exits the main thread with code 3, and then runs `body` in another thread.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn without_main_thread(body: impl FnOnce() + Send + 'static) -> ! {
    std::thread::spawn(move || {
        let stat = format!("/proc/self/task/{}/stat", process::id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        body()
    });
    // SAFETY: exit ends only this thread, and the other thread uses nothing on its stack.
    unsafe { nix::libc::syscall(nix::libc::SYS_exit, 3) };
    unreachable!()
}
