//! `CommandExt`: `Command::output` with an end.

use crate::{Captured, child, deadline::Deadline};
use std::{
    io,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// Output within a time limit for [`std::process::Command`].
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::CommandExt as _;
/// use std::{process::Command, time::Duration};
///
/// let output = Command::new("echo").arg("hi").output_timeout(Duration::from_secs(60))?;
/// assert!(output.status.success() && !output.timed_out);
/// assert_eq!(output.stdout, b"hi\n");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait CommandExt: sealed::Sealed {
    /// Runs it to its end, but no longer than `timeout`: then it is killed. What it has
    /// written is collected, of a killed one too.
    ///
    /// Like [`Command::output`], but that standard input is null and standard output and
    /// standard error are pipes whatever they were set to, and stay so for later spawns; and
    /// that nobody waits for processes that it leaves behind, even if they hold its output
    /// open. They are not killed, either.
    ///
    /// After the kill it waits for the exit, which takes longer only for a process in an
    /// uninterruptible sleep.
    ///
    /// For a limit on what is kept, or to go on after the time limit, see
    /// [`ChildExt::output_timeout`](crate::ChildExt::output_timeout).
    ///
    /// # Errors
    ///
    /// Those of [`Command::spawn`], `NotFound` if there is no such program; those of
    /// reading and waiting, after which the child is killed; or that the kill is refused, which
    /// leaves the child running.
    fn output_timeout(&mut self, timeout: Duration) -> io::Result<TimedOutput>;
}

/// What came of a command that [`CommandExt::output_timeout`] has run.
#[derive(Debug)]
#[non_exhaustive]
pub struct TimedOutput {
    /// How it exited: of its own accord, or by the kill.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Whether the time had passed before its exit was seen. It was killed then, unless it
    /// exited in that very moment: the status tells.
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

/// With whether the time had passed.
fn run(
    child: &mut Child,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<(ExitStatus, bool)> {
    // Held from the start, so that nobody else can be killed in its place.
    let process = match child::held(child) {
        Ok(Some(process)) => process,
        Ok(None) => return Ok((child.wait()?, false)), // An error: somebody else has reaped it.
        Err(error) => {
            child.kill()?;
            let _ = child.wait();
            return Err(error.into());
        }
    };
    let until_deadline = child::output_of(child, &process, captured, deadline);
    if let Ok(Some(status)) = until_deadline {
        return Ok((status, false));
    }
    process.kill()?;
    if let Err(error) = until_deadline {
        let _ = child.wait();
        return Err(error);
    }
    loop {
        if let Some(status) = child::output_of(child, &process, captured, Deadline::Never)? {
            return Ok((status, true));
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for std::process::Command {}
}
