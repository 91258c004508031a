//! `Captured`: the output of a child, and its input.

use crate::sys::{InputBuffer, OutputBuffer, Streams};
use std::{
    io,
    process::{Child, ExitStatus},
    time::Instant,
};

/// The output of a child, as read by
/// [`ChildExt::output_timeout`](crate::ChildExt::output_timeout) and the like, and its
/// [`input`](Captured::input).
///
/// Use one per child: each call appends to it. You can take bytes out between calls.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Captured {
    /// From standard output.
    pub stdout: Vec<u8>,
    /// From standard error.
    pub stderr: Vec<u8>,
    input: InputBuffer,
    limit: Option<usize>,
    /// The child, once it was reaped. std does not know the status of a child that was reaped elsewhere.
    reaped: Option<Reaped>,
    /// The bytes of stdout and stderr that were discarded.
    discarded: [u64; 2],
}

/// A child that has been reaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    pub(crate) pid: u32,
    pub(crate) status: ExitStatus,
    pub(crate) at: Instant,
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

    /// What to write to the child's standard input, which is then closed. It is written while the
    /// output is read, so that neither blocks the other. Without input, standard input is closed at
    /// once. This replaces the input that was set before.
    ///
    /// The child's standard input must be a pipe ([`Stdio::piped`](std::process::Stdio::piped)).
    /// [`CommandExt::output_timeout_with`](crate::CommandExt::output_timeout_with) sees to that.
    ///
    /// If the child exits or closes its standard input before it has read everything, that is not
    /// an error: see [`unwritten`](Captured::unwritten).
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::{Captured, CommandExt as _};
    /// use std::{process::Command, time::Duration};
    ///
    /// let mut captured = Captured::default().input("b\na\n");
    /// Command::new("sort").output_timeout_with(&mut captured, Duration::from_secs(10))?;
    /// assert_eq!(captured.stdout, b"a\nb\n");
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Captured {
        Captured {
            input: InputBuffer::new(bytes.into()),
            ..self
        }
    }

    /// What of the input has not been written: not yet, or never, if the child has exited or closed
    /// its standard input. The child may not have read all that was written.
    ///
    /// On Windows, a write of up to 64 KiB of this can be under way between calls. It ends when you
    /// replace the [`input`](Captured::input) or drop the `Captured`, or if the thread that made the
    /// last call exits; then the next call fails, as it is not known how much was written.
    pub fn unwritten(&self) -> &[u8] {
        self.input.unwritten()
    }

    /// Also returns where to keep what becomes of the child.
    pub(crate) fn streams<'a>(
        &'a mut self,
        child: &'a mut Child,
    ) -> io::Result<(Streams<'a>, &'a mut Option<Reaped>)> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let [stdout_discarded, stderr_discarded] = &mut self.discarded;
        let buffer = |bytes, discarded| OutputBuffer {
            bytes,
            limit,
            discarded,
        };
        let stdout = buffer(&mut self.stdout, stdout_discarded);
        let stderr = buffer(&mut self.stderr, stderr_discarded);
        let streams = Streams::new(child, &mut self.input, [stdout, stderr])?;
        Ok((streams, &mut self.reaped))
    }
}
