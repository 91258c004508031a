//! Tests that run in a subprocess, and tests that are skipped.

use super::test_binary;
use std::{
    any::type_name,
    env,
    io::{self, Write as _},
    path::Path,
    process::Command,
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
