//! `Captured`: what a child writes, read while its exit is waited for.

use crate::{
    Process,
    deadline::{Deadline, Pace, Turn, When},
    sys::{Sink, Streams},
};
use std::{io, process::Child, time::Duration};

/// The output of a child, as read by
/// [`ChildExt::output_timeout`](crate::ChildExt::output_timeout).
///
/// Use one per child: each call appends to it. You can take bytes out between calls.
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::{Captured, ChildExt as _};
/// use std::{process::{Command, Stdio}, time::Duration};
///
/// let mut child = Command::new("echo").arg("hi").stdout(Stdio::piped()).spawn()?;
/// let mut captured = Captured::default();
/// child.output_timeout(&mut captured, Duration::from_secs(60))?;
/// println!("{}", String::from_utf8_lossy(&captured.stdout));
/// # assert_eq!(captured.stdout, b"hi\n");
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Captured {
    /// From standard output.
    pub stdout: Vec<u8>,
    /// From standard error.
    pub stderr: Vec<u8>,
    limit: Option<usize>,
    /// From one and the other.
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
    ///
    /// ```
    /// assert_eq!(procwait::Captured::with_limit(1024).discarded(), 0);
    /// ```
    pub fn discarded(&self) -> u64 {
        self.discarded.iter().sum()
    }

    fn streams<'a>(&'a mut self, child: &'a mut Child) -> Streams<'a> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let [of_stdout, of_stderr] = &mut self.discarded;
        let sink = |bytes, discarded| Sink {
            bytes,
            limit,
            discarded,
        };
        Streams::new(
            (&mut child.stdout, sink(&mut self.stdout, of_stdout)),
            (&mut child.stderr, sink(&mut self.stderr, of_stderr)),
        )
    }
}

/// Reads what the child has written and has not been read. For what is still under way, which
/// only happens in sockets, it waits until the deadline at most.
pub(crate) fn drain(
    child: &mut Child,
    captured: &mut Captured,
    has_exited: bool,
    deadline: Deadline,
) -> io::Result<()> {
    captured.streams(child).drain(has_exited, deadline)
}

/// Reads until the child has exited (true) or the deadline has passed.
///
/// The writes of the child were complete when it exited, so all that it wrote is in the streams
/// then. Other processes may write more, which is not waited for.
pub(crate) fn read_until_exit(
    child: &mut Child,
    process: &Process,
    captured: &mut Captured,
    deadline: Deadline,
) -> io::Result<bool> {
    let mut streams = captured.streams(child);
    let has_exited = wait_and_read(process, &mut streams, deadline)?;
    streams.drain(has_exited, deadline)?;
    Ok(has_exited)
}

fn wait_and_read(
    process: &Process,
    streams: &mut Streams<'_>,
    deadline: Deadline,
) -> io::Result<bool> {
    /// For exits of which there is no event, as there may be on macOS.
    const LOOK_AGAIN: Duration = Duration::from_secs(60);
    let mut pace = Pace::default();
    loop {
        #[cfg(unix)]
        let event = process.as_event_fd();
        #[cfg(windows)]
        let event = process.as_event_handle();
        let event = event.filter(|_| streams.can_wait());
        let pause = match event {
            Some(_) => LOOK_AGAIN,
            None => pace.until_due(),
        };
        let is_told = streams.read(event, deadline.within(pause))?;
        let is_over = deadline.has_passed();
        let when = match is_told || is_over {
            true => When::Now,
            false => When::Due,
        };
        if let Turn::Found(_) = pace.turn(when, || process.try_wait())? {
            return Ok(true);
        }
        if is_over {
            return Ok(false);
        }
    }
}
