//! `Captured`: the output of a child, read while waiting for its exit.

use crate::{
    backoff::{Attempt, Backoff},
    deadline::Deadline,
    open_process::OpenProcess,
    sys::{Handle, OutputBuffer, ProcessHandle as _, Streams},
};
use std::{io, process::Child};

/// The output of a child, as read by
/// [`ChildExt::output_timeout`](crate::ChildExt::output_timeout).
///
/// Use one per child: each call appends to it. You can take bytes out between calls.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Captured {
    /// From standard output.
    pub stdout: Vec<u8>,
    /// From standard error.
    pub stderr: Vec<u8>,
    limit: Option<usize>,
    /// The bytes of stdout and stderr that were discarded.
    discarded: [u64; 2],
}

impl Captured {
    /// Keeps at most `bytes` bytes of each stream. The rest is still read, so that the child
    /// does not block, but discarded and counted. [`Captured::default`] has no limit.
    ///
    /// The limit applies to the present length of [`stdout`](Captured::stdout) and
    /// [`stderr`](Captured::stderr): bytes that you take out make room for more.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, ChildExt as _};
    /// use std::{process::{Command, Stdio}, time::Duration};
    ///
    /// let mut child = Command::new("echo").arg("too long").stdout(Stdio::piped()).spawn()?;
    /// let mut captured = Captured::with_limit(3);
    /// child.output_timeout(&mut captured, Duration::MAX)?;
    /// assert_eq!(captured.stdout, b"too");
    /// assert_eq!(captured.discarded(), 6);
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_limit(bytes: usize) -> Captured {
        Captured {
            limit: Some(bytes),
            ..Captured::default()
        }
    }

    /// The number of bytes discarded, of both streams.
    pub fn discarded(&self) -> u64 {
        self.discarded.iter().sum()
    }

    pub(crate) fn streams<'a>(&'a mut self, child: &'a mut Child) -> Streams<'a> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let [stdout_discarded, stderr_discarded] = &mut self.discarded;
        let buffer = |bytes, discarded| OutputBuffer {
            bytes,
            limit,
            discarded,
        };
        let stdout = buffer(&mut self.stdout, stdout_discarded);
        let stderr = buffer(&mut self.stderr, stderr_discarded);
        Streams::new(child, [stdout, stderr])
    }
}

/// Reads until the child has exited (true), or until the deadline.
///
/// The child's writes were complete when it exited, so the streams then hold all its output. This
/// does not wait for other processes that may write more.
pub(crate) fn read_until_exit(
    child: &mut Child,
    process: &OpenProcess,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<bool> {
    let mut streams = captured.streams(child);
    let has_exited = wait_and_read(process, &mut streams, deadline)?;
    streams.drain(has_exited, deadline)?;
    Ok(has_exited)
}

fn wait_and_read(
    process: &OpenProcess,
    streams: &mut Streams<'_>,
    deadline: Deadline,
) -> io::Result<bool> {
    let mut backoff = Backoff::default();
    loop {
        let event = process.as_event().filter(|_| streams.can_poll());
        let next_check = if event.is_some() {
            Handle::recheck_interval()
        } else {
            Some(backoff.remaining())
        };
        let read_until = next_check.map_or(deadline, |delay| deadline.capped(delay));
        let has_event = streams.read(event, read_until)?;
        let is_over = deadline.has_passed();
        let attempt =
            backoff.attempt(has_event || is_over, || process.wait_until(Deadline::Now))?;
        if let Attempt::Done(_) = attempt {
            return Ok(true);
        }
        if is_over {
            return Ok(false);
        }
    }
}
