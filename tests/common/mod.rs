//! What the tests share: the helper program, the capabilities of the system, and tests that run in
//! a subprocess.

#![allow(dead_code, unused_imports, unreachable_pub)] // No test binary uses all of it.

mod capabilities;
mod helper;
pub mod output;
mod subprocess;
mod verbs;

#[cfg(target_os = "linux")]
pub use verbs::{fork_with, fork_with_pidfd};
pub use {capabilities::*, helper::*, subprocess::*};

use procwait::{Backend, Error, Exit, Identity, Process, wait_pid};
use std::{env, thread, time::Duration};

/// The timeout of waits that are expected to complete. It is long enough for any machine, and keeps
/// the suite from hanging.
pub const LONG: Duration = Duration::from_secs(120);

/// The timeout of waits that are expected to time out.
pub const SHORT: Duration = Duration::from_millis(20);

/// Whether the tests run against an emulation of this system's kqueue: see `.ci/kqueue`.
pub fn emulates(system: &str) -> bool {
    let names = env::var("PROCWAIT_KQUEUE").unwrap_or_default();
    cfg!(kqueue_on_linux) && names.split(',').any(|name| name == system)
}

/// Whether the process table has no start time for zombies.
pub fn hides_start_of_zombies() -> bool {
    cfg!(any(target_os = "netbsd", target_os = "openbsd"))
        || emulates("netbsd")
        || emulates("openbsd")
}

/// The place of the start time in the text of an identity.
pub const START_TIME: usize = 1;

/// The identity with another value of one field.
pub fn with_field(identity: &Identity, field: usize, value: &str) -> Identity {
    let text = identity.to_string();
    let mut fields: Vec<_> = text.split('-').collect();
    fields[field] = value;
    fields.join("-").parse().unwrap()
}

pub fn number_in(identity: &Identity, field: usize) -> u64 {
    let text = identity.to_string();
    text.split('-').nth(field).unwrap().parse().unwrap()
}

pub fn started_later(identity: &Identity, by: u64) -> Identity {
    let start_time = number_in(identity, START_TIME) + by;
    with_field(identity, START_TIME, &start_time.to_string())
}

/// Adds a quirk to the emulated system. Call this only in a subprocess.
#[cfg(kqueue_on_linux)]
#[allow(unsafe_code)]
pub fn add_quirk(quirk: &str) {
    let system = env::var("PROCWAIT_KQUEUE").unwrap();
    // SAFETY: no other thread accesses the environment: a subprocess runs only one test.
    unsafe { env::set_var("PROCWAIT_KQUEUE", format!("{system},{quirk}")) };
}

/// Waits until every backend reports the exit of the process.
pub fn exit_of(pid: u32) -> Exit {
    let exit = wait_pid(pid, Some(LONG)).unwrap().unwrap();
    // These kernels can report an exit shortly before the process is a zombie.
    let is_early = cfg!(any(target_vendor = "apple", target_os = "freebsd"));
    if is_early || emulates("apple") || emulates("freebsd") {
        let poll = || Process::open_with(pid, Backend::Polling)?.try_wait();
        while let Ok(None) = poll() {
            thread::yield_now();
        }
    }
    exit
}

/// Opens the process with each backend of this system: the best one, and polling.
pub fn open_by_all(pid: u32) -> Vec<Process> {
    let opened = Process::open(pid).unwrap();
    match Process::open_with(pid, Backend::Polling) {
        Ok(polled) => vec![opened, polled],
        // Windows does not list a process that has exited, even if it can still be opened.
        Err(Error::NotFound { .. }) if cfg!(windows) => {
            assert!(opened.try_wait().unwrap().is_some());
            vec![opened]
        }
        Err(error) => panic!("{error}"),
    }
}

/// Asserts the exit code of a child. It is unknown if the child was polled on Windows, where only a
/// handle gives access to the status.
#[track_caller]
pub fn assert_code(process: &Process, exit: Exit, code: i32) {
    if cfg!(windows) && process.backend() == Backend::Polling {
        assert_eq!(exit.status(), None, "{process:?}");
    } else {
        assert_eq!(exit.code(), Some(code), "{process:?}");
    }
}

/// Makes `handler` handle the signal. It interrupts system calls, as there is no `SA_RESTART`.
///
/// # Safety
///
/// The handler is async-signal-safe (signal-safety(7)).
#[cfg(unix)]
#[allow(unsafe_code)]
pub unsafe fn handle_signal(signal: nix::sys::signal::Signal, handler: extern "C" fn(i32)) {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    let handler = SigHandler::Handler(handler);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the caller promises what is needed.
    unsafe { sigaction(signal, &action) }.unwrap();
}
