//! Tests that run in a subprocess, and tests that are skipped.

use super::test_binary;
#[cfg(target_os = "linux")]
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, Pid, fork},
};
use std::{
    any::type_name,
    env,
    io::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{self, Command},
};

/// The environment variable that is set in a subprocess, to the path of the test binary:
/// `env::current_exe` needs `/proc`, which some tests hide.
pub(super) const SUBPROCESS: &str = "PROCWAIT_SUBPROCESS";

/// Runs the body of a test in a subprocess, because it changes or counts what belongs to the whole
/// process: resource limits, signal handlers, descriptors.
pub fn in_subprocess<F: FnOnce()>(body: F) {
    if env::var_os(SUBPROCESS).is_some() {
        return body();
    }
    let run = run_test::<F>(Command::new(test_binary()));
    assert!(run.is_ok(), "{}", run.unwrap_err());
}

/// Runs the body of a test in a subprocess in new namespaces: `unshare` with these options runs
/// `setup`, a shell command, and then the test.
#[cfg(target_os = "linux")]
pub fn in_namespaces<F: FnOnce()>(options: &[&str], setup: &str, body: F) {
    if env::var_os(SUBPROCESS).is_some() {
        return body();
    }
    let unshare = |program: &Path| {
        let script = format!("{setup} && exec \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(options)
            .args(["sh", "-c", &script, "sh"])
            .arg(program);
        command
    };
    let run = unshare("true".as_ref()).output();
    if !run.is_ok_and(|run| run.status.success()) {
        let needed = format!("`unshare {}` and `{setup}`", options.join(" "));
        return skip(test_name::<F>(), &needed);
    }
    let run = run_test::<F>(unshare(&test_binary()));
    assert!(run.is_ok(), "{}", run.unwrap_err());
}

/// Runs `body` in a forked child, which exits with code 0, or with 1 if `body` panics. (The test
/// harness runs each test in a thread, and the panic of the only thread would end the child with 0.)
///
/// Call this only in a subprocess.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn in_a_fork(body: impl FnOnce()) -> Pid {
    // SAFETY: the subprocess runs only this test, so no other thread can hold a lock.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let result = catch_unwind(AssertUnwindSafe(body));
            // Exit without dropping the helpers, which would kill them.
            process::exit(i32::from(result.is_err()))
        }
    }
}

/// Waits for a forked child, and asserts that it has not panicked.
#[cfg(target_os = "linux")]
#[track_caller]
pub fn assert_success(forked: Pid) {
    let success = WaitStatus::Exited(forked, 0);
    assert_eq!(waitpid(forked, None).unwrap(), success);
}

/// The name of a test, from the type of the closure that is its body.
fn test_name<F>() -> &'static str {
    // "binary::module::test::{{closure}}"
    let path = type_name::<F>();
    let test = path.split_once("::").unwrap().1;
    test.strip_suffix("::{{closure}}").unwrap()
}

/// Runs only this test, with the test binary that `command` starts.
fn run_test<F>(mut command: Command) -> Result<(), String> {
    let run = command
        .args([
            "--exact",
            test_name::<F>(),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(SUBPROCESS, test_binary())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    forward_skips(&stderr);
    if run.status.success() && stdout.contains("1 passed") {
        Ok(())
    } else {
        Err(format!("{}\n{stdout}\n{stderr}", run.status))
    }
}

fn forward_skips(stderr: &str) {
    for line in stderr.lines().filter(|line| line.starts_with(SKIPPED)) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

const SKIPPED: &str = "SKIPPED ";

/// Prints that a test cannot run on this system, and what it needs. It writes to the stream itself,
/// because the test harness captures the output of `eprintln!`.
pub fn skip(test: &str, needed: &str) {
    let _ = writeln!(io::stderr(), "{SKIPPED}{test}: needs {needed}");
}
