//! Starts the helper program, and controls it.

use super::{
    subprocess::{SUBPROCESS, skip},
    verbs::COMMAND,
};
use std::{
    env,
    io::{self, BufRead, BufReader, Write as _},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// The path of this test binary.
pub fn test_binary() -> PathBuf {
    match env::var_os(SUBPROCESS) {
        Some(path) => path.into(),
        None => env::current_exe().unwrap(),
    }
}

/// A running helper. Dropping it ends the helper.
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
        // Do not kill it if it was reaped elsewhere: another process may have its pid.
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
                let _ = writeln!(io::stderr(), "Wine failed to start a process: {error}");
            }
            spawned => return Helper(spawned.unwrap()),
        }
    }
    panic!("Wine failed to start a process ten times");
}

pub fn helper_command(command: &str) -> Command {
    helper_command_of(&test_binary(), command)
}

pub fn helper_command_of(program: &Path, command: &str) -> Command {
    let mut helper = Command::new(program);
    helper
        .env(COMMAND, command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    helper
}

/// Reads the helper's next line.
pub fn read_line(stdout: &mut impl BufRead) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    line.truncate(line.trim_end().len());
    line
}

/// Starts a helper that prints `message` once it is ready, and waits for that.
pub fn ready_helper(command: &str, message: &str) -> Helper {
    let mut child = helper(command);
    let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
    assert_eq!(read_line(&mut stdout), message);
    child
}

/// Waits until the helper is stopped, by `SIGSTOP` for example.
#[cfg(unix)]
#[track_caller]
pub fn wait_until_stopped(child: &Helper) {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
}

/// A non-child: a process whose parent is a helper.
pub struct Grandchild {
    pub pid: u32,
    parent: Controller,
}

impl Grandchild {
    pub fn new(command: &str) -> Grandchild {
        let mut parent = Controller::new(&format!("parent {command}"));
        let pid = parent.answer().parse().unwrap();
        Grandchild { pid, parent }
    }

    /// Closes the standard input of the grandchild, so that it exits. It remains a zombie until
    /// [`Grandchild::reap`].
    pub fn end(&mut self) {
        self.parent.send("end");
    }

    /// Makes the parent wait for the exit of the grandchild, and reap it.
    pub fn reap(&mut self) {
        assert_eq!(self.parent.request("reap"), "reaped");
    }
}

/// A helper that reads requests, one per line, and answers each with a line.
pub struct Controller {
    helper: Helper,
    stdout: BufReader<ChildStdout>,
}

impl Controller {
    pub fn new(command: &str) -> Controller {
        let mut helper = helper(command);
        let stdout = BufReader::new(helper.stdout.take().unwrap());
        Controller { helper, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.helper.id()
    }

    /// Closes the standard input of the helper, so that it exits.
    pub fn end(&mut self) {
        drop(self.helper.stdin.take());
    }

    pub fn send(&mut self, request: &str) {
        writeln!(self.helper.stdin.as_mut().unwrap(), "{request}").unwrap();
    }

    pub fn answer(&mut self) -> String {
        read_line(&mut self.stdout)
    }

    pub fn request(&mut self, request: &str) -> String {
        self.send(request);
        self.answer()
    }
}

/// The uid of the user "nobody".
pub const OTHER_USER: u32 = 65_534;

/// Starts a helper that opens processes and waits for them as another user.
#[cfg(target_os = "linux")]
pub fn waiter_as_other_user(test: &str) -> Option<Controller> {
    controller_as_other_user(test, "waiter")
}

/// Starts a helper as another user. `None`, and the test is skipped, if the test does not run as
/// root: only root can change to another user.
#[cfg(target_os = "linux")]
pub fn controller_as_other_user(test: &str, command: &str) -> Option<Controller> {
    if !nix::unistd::geteuid().is_root() {
        skip(test, "root, to change to another user");
        return None;
    }
    Some(Controller::new(&format!("as-user {OTHER_USER} {command}")))
}
