//! The standard streams of a child, written and read while waiting for its exit. Each system has
//! an `Input` and a `Stream` (for output), and waits in `Streams::round`.

#[cfg(unix)]
use super::unix::{Input, Stream};
#[cfg(windows)]
use super::windows::{Input, Stream};
use crate::{
    backoff::Backoff,
    sys::{InputBuffer, OutputBuffer},
};
#[cfg(unix)]
use std::os::fd::OwnedFd as Owned;
#[cfg(windows)]
use std::os::windows::io::OwnedHandle as Owned;
use std::{
    io,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

/// The standard streams of a child, which gets them back at the end, unless they are done: all of
/// the input was written, or the EOF was read.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    child: &'a mut Child,
    pub(super) input: Input<'a>,
    pub(super) outputs: [Stream<'a>; 2],
    /// Whether an event can be waited for together with the streams.
    pub(super) can_poll: bool,
    /// When to try streams again that no event reports as ready.
    pub(super) backoff: Backoff,
}

/// The result of a read that does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Some(usize),
    WouldBlock,
    Eof,
}

/// Whether all output of a child that has exited has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drained {
    Completely,
    /// Unless something arrives within this time.
    #[allow(dead_code)] // Windows refuses the streams that have data in flight.
    UnlessMoreArrives(Duration),
    /// There is more, but this round has read enough.
    No,
}

/// What to wait for until a stream is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
}

impl<'a> Streams<'a> {
    /// Fails, and takes nothing, if there is input and no pipe to write it to.
    pub(crate) fn new(
        child: &'a mut Child,
        input: &'a mut InputBuffer,
        outputs: [OutputBuffer<'a>; 2],
    ) -> io::Result<Streams<'a>> {
        input.require_pipe(child.stdin.is_some())?;
        let stdin = child.stdin.take().map(Owned::from);
        let stdout = child.stdout.take().map(Owned::from);
        let stderr = child.stderr.take().map(Owned::from);
        let [to_stdout, to_stderr] = outputs;
        Ok(Streams {
            child,
            input: Input::new(stdin, input),
            outputs: [
                Stream::new(stdout, to_stdout),
                Stream::new(stderr, to_stderr),
            ],
            can_poll: true,
            backoff: Backoff::default(),
        })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.child
    }

    pub(crate) fn can_poll(&self) -> bool {
        self.can_poll
    }

    /// How many bytes of output the caller's vectors hold.
    pub(crate) fn kept(&self) -> usize {
        self.outputs
            .iter()
            .map(|stream| stream.buffer().bytes.len())
            .sum()
    }

    /// How many bytes have been written and read, since some time.
    pub(crate) fn transferred(&self) -> u64 {
        let read = self.outputs.iter().map(|stream| {
            let buffer = stream.buffer();
            buffer.bytes.len() as u64 + *buffer.discarded
        });
        read.sum::<u64>() + self.input.written()
    }

    pub(crate) fn are_at_eof(&self) -> bool {
        self.outputs.iter().all(Stream::is_at_eof)
    }

    /// Makes an attempt at what no event reports as ready. `attempt` returns whether that has
    /// transferred anything. Returns when to make the next one.
    pub(super) fn attempt_with_backoff(
        &mut self,
        attempt: impl FnOnce(&mut Input<'a>, &mut [Stream<'a>; 2]) -> io::Result<bool>,
    ) -> io::Result<Duration> {
        let (input, outputs) = (&mut self.input, &mut self.outputs);
        if self.backoff.run_timed(|| attempt(input, outputs))? {
            self.backoff.restart();
            return Ok(Duration::ZERO);
        }
        Ok(self.backoff.remaining())
    }

    /// Reads what the streams hold now, and no more, as a process may write forever.
    pub(crate) fn read_available(&mut self) -> io::Result<()> {
        let [stdout, stderr] = &mut self.outputs;
        let stdout = stdout.read_available();
        stderr.read_available().and(stdout)
    }

    /// Reads what the streams hold of the output of a child that has exited: not all at once, and
    /// no more, as other processes may write forever. `exited_at`: when its exit was noticed.
    pub(crate) fn drain(&mut self, exited_at: Instant) -> io::Result<Drained> {
        let [stdout, stderr] = &mut self.outputs;
        let stdout = stdout.drain(exited_at);
        Ok(stderr.drain(exited_at)?.max(stdout?))
    }
}

impl Drop for Streams<'_> {
    fn drop(&mut self) {
        let [stdout, stderr] = &mut self.outputs;
        self.child.stdin = self.input.close().map(ChildStdin::from);
        self.child.stdout = stdout.close().map(ChildStdout::from);
        self.child.stderr = stderr.close().map(ChildStderr::from);
    }
}
