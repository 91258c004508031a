//! `CommandExt`: `Command::output` with a timeout.

use crate::{
    Captured, Error, Progress, child_process,
    deadline::Deadline,
    open_process::OpenProcess,
    sys::{self, KILL},
    transfer::{Transfer, Until},
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
    /// - If it is killed, and leads a process group of its own (by std's [`process_group(0)`], or by
    ///   `setsid`), the whole group is killed: everything that it has started, unless that has left the
    ///   group.
    /// - Standard input is null, standard output and standard error are pipes, whatever they
    ///   were set to. These settings remain on the `Command`.
    ///
    /// The timeout does not cover the spawn itself, which can block, for example in a
    /// `pre_exec` hook. After the kill, this call waits for the exit, which is immediate unless
    /// the process is traced, in uninterruptible sleep, or in a frozen cgroup.
    ///
    /// To give it input, or to limit how much output is kept, use
    /// [`output_timeout_with`](CommandExt::output_timeout_with). To go on after the timeout, use
    /// [`ChildExt::output_timeout`].
    ///
    /// [`process_group(0)`]: https://doc.rust-lang.org/std/os/unix/process/trait.CommandExt.html#tymethod.process_group
    ///
    /// # Errors
    ///
    /// - Errors of [`Command::spawn`], such as `NotFound` if there is no such program.
    /// - Errors from reading or waiting; the child is then killed and reaped, with its group as above.
    /// - On Unix, `ECHILD` if the child was reaped elsewhere (for example because `SIGCHLD` is
    ///   ignored) and the OS does not report its status. Linux 6.15 and later do, unless the
    ///   child had exited before it was opened.
    /// - An error from the kill, of kind `PermissionDenied` if the command runs as another user by
    ///   then. The child keeps running, and is not reaped.
    ///
    /// The output is lost with an error. [`output_timeout_with`](CommandExt::output_timeout_with)
    /// keeps it.
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
    ///
    /// On Unix, with all that it has started:
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::CommandExt as _;
    /// use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};
    ///
    /// let output = Command::new("sh")
    ///     .args(["-c", "sleep 60 & wait"])
    ///     .process_group(0)
    ///     .output_timeout(Duration::from_millis(500))?;
    /// assert!(output.timed_out); // Neither the shell nor its `sleep` is running any more.
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn output_timeout(&mut self, timeout: Duration) -> io::Result<TimedOutput>;

    /// Runs the command as [`output_timeout`](CommandExt::output_timeout) does, with the
    /// [input](Captured::input) and the [limit](Captured::with_limit) of `captured`, to which the output
    /// is appended. What was read stays there, even if this fails.
    ///
    /// With input, standard input is a pipe; without, it is null.
    ///
    /// # Errors
    ///
    /// As for [`output_timeout`](CommandExt::output_timeout), and errors from writing. A command that does
    /// not read all of its input is no error: see [`unwritten`](Captured::unwritten).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, CommandExt as _};
    /// use std::{process::Command, time::Duration};
    ///
    /// let mut captured = Captured::with_limit(1024 * 1024).input("hello");
    /// let mut command = Command::new("tr");
    /// command.args(["a-z", "A-Z"]);
    /// let result = command.output_timeout_with(&mut captured, Duration::from_secs(10))?;
    /// assert!(result.status.success() && !result.timed_out);
    /// assert_eq!(captured.stdout, b"HELLO");
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn output_timeout_with(
        &mut self,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<TimedStatus>;
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

/// The result of [`CommandExt::output_timeout_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimedStatus {
    /// The exit status of the command.
    pub status: ExitStatus,
    /// As in [`TimedOutput`].
    pub timed_out: bool,
}

impl CommandExt for Command {
    fn output_timeout(&mut self, timeout: Duration) -> io::Result<TimedOutput> {
        let mut captured = Captured::default();
        let TimedStatus { status, timed_out } = self.output_timeout_with(&mut captured, timeout)?;
        Ok(TimedOutput {
            status,
            stdout: captured.stdout,
            stderr: captured.stderr,
            timed_out,
        })
    }

    fn output_timeout_with(
        &mut self,
        captured: &mut Captured,
        timeout: Duration,
    ) -> io::Result<TimedStatus> {
        let deadline = Deadline::after(timeout);
        let has_input = !captured.unwritten().is_empty();
        self.stdin(if has_input {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        run(&mut self.spawn()?, captured, deadline)
    }
}

/// Runs the command until it exits, and kills it at the deadline, and after an error.
fn run(child: &mut Child, captured: &mut Captured, deadline: Deadline) -> io::Result<TimedStatus> {
    // Opened and verified before anything is done to it, so that no other process is killed.
    let opened = match child_process::open(child) {
        Ok(opened) => opened,
        Err(error) => {
            // By its pid, which a child that is running keeps until it is reaped.
            if let Ok(None) = sys::try_wait(child) {
                let _ = child.kill();
                let _ = child.wait();
            }
            return Err(error);
        }
    };
    let mut transfer = Transfer::of_opened(opened, child, captured)?;
    let in_time = transfer.run(Until::Exit, deadline);
    if let Ok(Progress::Exited(status)) = in_time {
        let timed_out = false;
        return Ok(TimedStatus { status, timed_out });
    }
    let process = transfer.process();
    // Otherwise it has exited, and its output was not read in time.
    let timed_out = process.is_some();
    if let Some(Err(refused)) = process.map(kill) {
        // Unless it has exited just now, it keeps running, and cannot be reaped.
        return match transfer.run(Until::Exit, Deadline::Now) {
            Ok(Progress::Exited(status)) => in_time.map(|_| TimedStatus { status, timed_out }),
            _ => Err(refused.into()),
        };
    }
    match in_time.and_then(|_| transfer.run(Until::Exit, Deadline::Never)) {
        Ok(progress) => {
            let status = progress.status().expect("there is no deadline");
            Ok(TimedStatus { status, timed_out })
        }
        Err(error) => {
            let _ = transfer.reap();
            Err(error)
        }
    }
}

/// Kills the command, and the process group that it leads, if it leads one.
fn kill(process: &OpenProcess) -> Result<(), Error> {
    #[cfg(unix)]
    let _ = process.signal_group(KILL);
    process.signal(KILL).map(drop)
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Command {}
}
