//! `CommandExt`: `Command::output` with a timeout.

use crate::{
    Captured,
    child::{self, Opened},
    deadline::Deadline,
    open_process::OpenProcess,
    sys::{self, ExitEvent, KILL},
};
use std::{
    io,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// Output with a time limit for [`std::process::Command`].
pub trait CommandExt: sealed::Sealed {
    /// Runs the command and collects its output. If it has not exited after `timeout`, kills
    /// it and returns what it has written.
    ///
    /// Like [`Command::output`], with these differences:
    ///
    /// - It does not wait for processes that the command leaves behind, even if they keep its
    ///   output open. They are not killed, but as no one reads their output any more, their next
    ///   write to it ends them (`SIGPIPE`).
    /// - Standard input is null, standard output and standard error are pipes, whatever they
    ///   were set to. These settings remain on the `Command`.
    ///
    /// The timeout does not cover the spawn itself, which can block, for example in a
    /// `pre_exec` hook. After the kill, this call waits for the exit, which is immediate unless
    /// the process is traced, in uninterruptible sleep, or in a frozen cgroup.
    ///
    /// To limit how much output is kept, or to go on after the timeout, use
    /// [`ChildExt::output_timeout`].
    ///
    /// # Errors
    ///
    /// - Errors of [`Command::spawn`], such as `NotFound` if there is no such program.
    /// - Errors from reading or waiting; the child is then killed and reaped.
    /// - On Unix, `ECHILD` if the child was reaped elsewhere (for example because `SIGCHLD` is
    ///   ignored) and the OS does not report its status. Linux 6.15 and later do, unless the
    ///   child had exited before it was opened.
    /// - An error from the kill, of kind `PermissionDenied` if the command runs as another user by
    ///   then. The child keeps running, and is not reaped.
    ///
    /// The output is lost with an error. [`ChildExt::output_timeout`] keeps it.
    ///
    /// [`ChildExt::output_timeout`]: crate::ChildExt::output_timeout
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::CommandExt as _;
    /// use std::{process::Command, time::Duration};
    ///
    /// let output = Command::new("sh")
    ///     .args(["-c", "echo so far; exec sleep 60"])
    ///     .output_timeout(Duration::from_millis(500))?;
    /// assert!(output.timed_out && !output.status.success());
    /// println!("{}", String::from_utf8_lossy(&output.stdout)); // "so far"
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn output_timeout(&mut self, timeout: Duration) -> io::Result<TimedOutput>;
}

/// The result of [`CommandExt::output_timeout`]: like std's [`Output`](std::process::Output),
/// plus `timed_out`.
#[derive(Debug)]
#[non_exhaustive]
pub struct TimedOutput {
    /// The exit status of the command.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Whether the timeout passed first. The command was then killed, unless it exited at
    /// that very moment: see `status`.
    pub timed_out: bool,
}

impl CommandExt for Command {
    fn output_timeout(&mut self, timeout: Duration) -> io::Result<TimedOutput> {
        let deadline = Deadline::after(timeout);
        self.stdin(Stdio::null());
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        let mut captured = Captured::default();
        let (status, timed_out) = run(&mut child, &mut captured, deadline)?;
        Ok(TimedOutput {
            status,
            stdout: captured.stdout,
            stderr: captured.stderr,
            timed_out,
        })
    }
}

/// Collects the output until the child exits, and kills it at the deadline. Returns the status, and
/// whether the deadline passed first.
fn run(
    child: &mut Child,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<(ExitStatus, bool)> {
    // Opened and verified before anything is done to it, so that no other process is killed.
    let process = match child::open(child) {
        Ok(Opened::Running(process)) => process,
        Ok(Opened::Reaped(status)) => {
            captured.streams(child).drain(true, deadline)?;
            return Ok((status?, false));
        }
        Ok(Opened::Exiting) => {
            let status = child::output(child, captured, Deadline::Never)?;
            return Ok((status.expect("there is no deadline"), false));
        }
        Err(error) => {
            // Kills by pid: the child is running, and keeps its pid until it is reaped.
            if let Ok(None) = sys::try_wait(child) {
                let _ = child.kill();
                let _ = child.wait();
            }
            return Err(error);
        }
    };
    let in_time = child::output_of(child, &process, captured, deadline);
    if let Ok(Some(status)) = in_time {
        return Ok((status, false));
    }
    if let Err(refused) = process.signal(KILL) {
        // Unless it has exited just now, it keeps running, and cannot be reaped.
        return match child::output_of(child, &process, captured, Deadline::Now) {
            Ok(Some(status)) => in_time.map(|_| (status, true)),
            _ => Err(refused.into()),
        };
    }
    let killed = in_time.and_then(|_| child::output_of(child, &process, captured, Deadline::Never));
    if killed.is_err() {
        let _ = reap(child, &process);
    }
    Ok((killed?.expect("there is no deadline"), true))
}

/// Reaps a killed child whose output cannot be read.
fn reap(child: &mut Child, process: &OpenProcess) -> io::Result<()> {
    process.wait_until(Deadline::Never)?;
    child::reap(child, process, ExitEvent::Exited, Deadline::Never).map(drop)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Command {}
}
