//! The output of a child, read while waiting for its exit. Each system reads a `Stream` in its own
//! way, and waits in `Streams::read`.

#[cfg(unix)]
use super::unix::Stream;
#[cfg(windows)]
use super::windows::Stream;
use crate::{backoff::Backoff, deadline::Deadline, sys::OutputBuffer};
#[cfg(unix)]
use std::os::fd::OwnedFd as Owned;
#[cfg(windows)]
use std::os::windows::io::OwnedHandle as Owned;
use std::{
    io,
    process::{Child, ChildStderr, ChildStdout},
    time::Duration,
};

/// The stdout and stderr of a child, which gets them back at the end, unless their EOF was read.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    child: &'a mut Child,
    pub(super) streams: [Stream<'a>; 2],
    /// Whether an event can be waited for together with the streams.
    pub(super) can_poll: bool,
    /// When to read streams again that no event reports as readable.
    pub(super) backoff: Backoff,
}

/// The result of a read that does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Some(usize),
    WouldBlock,
    Eof,
}

impl<'a> Streams<'a> {
    pub(crate) fn new(child: &'a mut Child, buffers: [OutputBuffer<'a>; 2]) -> Streams<'a> {
        let stdout = child.stdout.take().map(Owned::from);
        let stderr = child.stderr.take().map(Owned::from);
        let [to_stdout, to_stderr] = buffers;
        Streams {
            child,
            streams: [
                Stream::new(stdout, to_stdout),
                Stream::new(stderr, to_stderr),
            ],
            can_poll: true,
            backoff: Backoff::default(),
        }
    }

    pub(crate) fn can_poll(&self) -> bool {
        self.can_poll
    }

    /// Reads the streams for which that is needed. Returns when to do it again.
    pub(super) fn read_with_backoff(
        &mut self,
        is_needed: fn(&Stream<'_>) -> bool,
    ) -> io::Result<Duration> {
        let streams = &mut self.streams;
        let has_read = self.backoff.run_timed(|| {
            let mut has_read = false;
            for stream in streams.iter_mut().filter(|stream| is_needed(stream)) {
                has_read |= stream.read_now()? != Read::WouldBlock;
            }
            Ok::<_, io::Error>(has_read)
        })?;
        if has_read {
            self.backoff.restart();
            return Ok(Duration::ZERO);
        }
        Ok(self.backoff.remaining())
    }

    /// Reads what the streams hold now, and no more, as other processes may write forever. Once
    /// the child has exited, that is the rest of its output.
    pub(crate) fn drain(&mut self, has_exited: bool, deadline: Deadline) -> io::Result<()> {
        let [stdout, stderr] = &mut self.streams;
        let stdout = stdout.drain(has_exited, deadline);
        stderr.drain(has_exited, deadline).and(stdout)
    }
}

impl Drop for Streams<'_> {
    fn drop(&mut self) {
        let [stdout, stderr] = &mut self.streams;
        self.child.stdout = stdout.close().map(ChildStdout::from);
        self.child.stderr = stderr.close().map(ChildStderr::from);
    }
}
