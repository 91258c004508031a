//! Unix: reads the output of a child while it waits for the exit.
//!
//! `O_NONBLOCK` belongs to every process that shares the pipe, so this crate never sets it. It
//! reads when `poll` says that there is something. Another reader can take that before the
//! read. So on Linux the read itself does not block either: by `RWF_NOWAIT`, or by an open file
//! description of our own.
//!
//! A stream need not be a pipe: see `Kind`.

use super::{
    poll::{poll_within, revents},
    reader::{Kind, NOT_POLLED, Reader, Rest, is_hung_up, revents_now},
};
use crate::{
    deadline::{Deadline, Pace, sleep_until},
    sys::sink::{MOST, Sink},
};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd},
    io::{Errno, ioctl_fionread},
};
use std::{
    io::{self, IsTerminal as _},
    mem::MaybeUninit,
    process::{ChildStderr, ChildStdout},
    time::Duration,
};

/// Both streams of a child, as far as the `Child` holds them.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    stdout: Stream<'a, ChildStdout>,
    stderr: Stream<'a, ChildStderr>,
    can_poll: bool,
    /// When to retry the streams that `poll` is of no use for.
    pace: Pace,
}

impl<'a> Streams<'a> {
    pub(crate) fn new(
        stdout: (&'a mut Option<ChildStdout>, Sink<'a>),
        stderr: (&'a mut Option<ChildStderr>, Sink<'a>),
    ) -> Streams<'a> {
        Streams {
            stdout: Stream::new(stdout),
            stderr: Stream::new(stderr),
            can_poll: true,
            pace: Pace::default(),
        }
    }

    /// Whether an event can be waited for beside them.
    pub(crate) fn can_wait(&self) -> bool {
        self.can_poll
    }

    /// Reads until the event is reported, or may have been (true), or until the deadline.
    pub(crate) fn read(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        deadline.sleep(|timeout| {
            if self.can_poll {
                self.poll_and_read(event, timeout)
            } else {
                self.read_and_pause(timeout)
            }
        })
    }

    fn poll_and_read(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let retry_after = self.is_suspended().then(|| self.pace.until_due());
        let timeout = timeout.into_iter().chain(retry_after).min();
        let fds = [event, self.stdout.fd_to_poll(), self.stderr.fd_to_poll()];
        let [event, stdout, stderr] = match poll(fds, timeout) {
            Ok(revents) => revents,
            Err(Errno::INTR) => return Err(Errno::INTR.into()),
            // A sandbox denies poll, or the descriptor limit is below the number of descriptors.
            Err(_) => {
                self.can_poll = false;
                return Ok(true);
            }
        };
        let has_read = self.stdout.read_if(stdout)?;
        if has_read && !stderr.is_empty() && self.stderr.reader.may_block() {
            // Both can be the same terminal, of which the first read has taken all.
            self.stderr.read_on(NOT_POLLED)?;
        } else {
            self.stderr.read_if(stderr)?;
        }
        // The program has closed the event, or macOS cannot poll one of them.
        if (event | stdout | stderr).contains(PollFlags::NVAL) {
            self.can_poll = false;
            return Ok(true);
        }
        self.retry_suspended()?;
        Ok(!event.is_empty())
    }

    fn is_suspended(&self) -> bool {
        self.stdout.is_suspended || self.stderr.is_suspended
    }

    fn retry_suspended(&mut self) -> io::Result<()> {
        if !self.is_suspended() || !self.pace.is_due() {
            return Ok(());
        }
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let (stdout, stderr) = (self.pace).round(|| (stdout.retry(), stderr.retry()));
        if !matches!((stdout?, stderr?), (Read::Nothing, Read::Nothing)) {
            self.pace.restart();
        }
        Ok(())
    }

    fn read_and_pause(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let (stdout, stderr) =
            (self.pace).round(|| (stdout.read_on(NOT_POLLED), stderr.read_on(NOT_POLLED)));
        match (stdout?, stderr?) {
            (Read::Nothing, Read::Nothing) => {
                let pause = self.pace.until_due();
                sleep_until(Deadline::from_timeout(timeout).within(pause));
            }
            _ => self.pace.restart(),
        }
        Ok(false)
    }

    /// Reads what the streams hold now, and no more: other processes may write for ever. Once
    /// the child has exited, that is all that it wrote and that has not been read.
    pub(crate) fn drain(&mut self, has_exited: bool, deadline: Deadline) -> io::Result<()> {
        let stdout = self.stdout.drain(has_exited, deadline);
        self.stderr.drain(has_exited, deadline).and(stdout)
    }
}

/// Polls those that are `Some`.
fn poll(
    fds: [Option<BorrowedFd<'_>>; 3],
    timeout: Option<Duration>,
) -> Result<[PollFlags; 3], Errno> {
    let Some(first) = fds.iter().flatten().next() else {
        sleep_until(Deadline::from_timeout(timeout));
        return Ok([PollFlags::empty(); 3]);
    };
    // Each of them once: macOS answers for one of the two only.
    let mut polled = [(); 3].map(|()| PollFd::from_borrowed_fd(*first, PollFlags::IN));
    let mut count = 0;
    let places = fds.map(|fd| {
        polled[count] = PollFd::from_borrowed_fd(fd?, PollFlags::IN);
        count += 1;
        Some(count - 1)
    });
    poll_within(&mut polled[..count], timeout)?;
    Ok(places.map(|place| place.map_or(PollFlags::empty(), |place| polled[place].revents())))
}

#[derive(Debug)]
struct Stream<'a, F> {
    /// `None` once it was read to its end.
    pipe: &'a mut Option<F>,
    sink: Sink<'a>,
    reader: Reader,
    /// It is at an end that may not be final. `poll` reports such a stream as readable at once,
    /// for ever, so it is not polled, but retried by a timer.
    is_suspended: bool,
    /// Whether the child has exited: then every end is final.
    has_exited: bool,
}

#[derive(Clone, Copy, Debug)]
enum Read {
    Some(usize),
    Nothing,
    End,
}

impl<'a, F: AsFd> Stream<'a, F> {
    fn new((pipe, sink): (&'a mut Option<F>, Sink<'a>)) -> Stream<'a, F> {
        Stream {
            pipe,
            sink,
            reader: Reader::default(),
            is_suspended: false,
            has_exited: false,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(F::as_fd)
    }

    fn fd_to_poll(&self) -> Option<BorrowedFd<'_>> {
        self.fd().filter(|_| !self.is_suspended)
    }

    /// Whether it has read anything.
    fn read_if(&mut self, revents: PollFlags) -> io::Result<bool> {
        if revents.is_empty() {
            return Ok(false);
        }
        let read = self.read_on(revents.difference(PollFlags::NVAL))?;
        Ok(matches!(read, Read::Some(_)))
    }

    fn retry(&mut self) -> io::Result<Read> {
        if self.is_suspended {
            self.read_on(NOT_POLLED)
        } else {
            Ok(Read::Nothing)
        }
    }

    /// Reads what the stream holds, and what is written meanwhile, as that saves a `poll` for
    /// each write; but not for ever, as the deadline must be checked. The first read is small:
    /// it makes room in a full pipe, so that the writer goes on while we read the rest.
    fn read_on(&mut self, revents: PollFlags) -> io::Result<Read> {
        const SMALL: usize = 8 * 1024;
        const TIMES: u32 = 16;
        if !self.reader.can_repeat() {
            return self.read(MOST, revents);
        }
        let first = self.read(SMALL, revents)?;
        let mut read = first;
        for doubled in 1..TIMES {
            if !matches!(read, Read::Some(_)) || !self.reader.can_repeat() {
                break;
            }
            read = self.read(MOST.min(SMALL << doubled), NOT_POLLED)?;
        }
        Ok(first)
    }

    /// Reads once, without blocking. `revents` is what `poll` has just reported.
    fn read(&mut self, most: usize, mut revents: PollFlags) -> io::Result<Read> {
        loop {
            let Some(fd) = self.pipe.as_ref().map(F::as_fd) else {
                return Ok(Read::Nothing);
            };
            self.is_suspended = false;
            let reader = &mut self.reader;
            let read = |room: &mut [MaybeUninit<u8>]| reader.read(fd, room, revents);
            // SAFETY: it returns what the kernel does: how many bytes it has written.
            let result = unsafe { self.sink.fill(most, read) }?;
            let is_final = match result {
                Ok(0) => self.has_exited || reader.ends_for_good(fd, revents),
                // On Linux: no process has the slave of this terminal open, or had until now.
                Err(Errno::IO) if is_hung_up(fd) || fd.is_terminal() => self.has_exited,
                // The peer closed a UNIX socket before it had read all that we sent. What it
                // sent has been read by then (net/unix/af_unix.c, unix_stream_read_generic).
                // TCP discards what is under way: there it is an error.
                Err(Errno::CONNRESET) if reader.kind(fd) == Kind::UnixSocket => true,
                Ok(read) => return Ok(Read::Some(read)),
                // If another reader has taken the data, the next read must not block.
                Err(Errno::INTR) => {
                    revents = NOT_POLLED;
                    continue;
                }
                // RWF_NOWAIT does not read from the disk.
                Err(Errno::AGAIN) if reader.is_unread_file(fd, revents) => continue,
                Err(Errno::AGAIN) => return Ok(Read::Nothing),
                Err(error) => return Err(error.into()),
            };
            if !is_final {
                self.is_suspended = true;
                return Ok(Read::Nothing);
            }
            *self.pipe = None;
            self.reader = Reader::default(); // It can hold another descriptor of the pipe.
            return Ok(Read::End);
        }
    }

    fn drain(&mut self, has_exited: bool, deadline: Deadline) -> io::Result<()> {
        self.has_exited = has_exited;
        let Some(fd) = self.pipe.as_ref().map(F::as_fd) else {
            return Ok(());
        };
        let Rest { mut bytes, quiet } = if has_exited {
            self.reader.rest(fd)
        } else {
            // A file can hold any amount, and the deadline has passed or is about to.
            Rest::available(fd).at_most(Rest::IN_OTHERS)
        };
        let deadline = if quiet.is_zero() {
            Deadline::Now
        } else {
            deadline.within(Rest::LONGEST)
        };
        while bytes > 0 {
            match self.read(MOST, NOT_POLLED)? {
                Read::Some(read) => bytes = bytes.saturating_sub(read as u64),
                Read::Nothing if self.gets_more(deadline, quiet) => {}
                Read::Nothing => break,
                Read::End => return Ok(()),
            }
        }
        // To see its end, if no other process holds it.
        loop {
            let Some(fd) = self.fd() else { return Ok(()) };
            let revents = match revents_now(fd, PollFlags::IN) {
                Ok(revents) if revents.is_empty() => return Ok(()),
                Ok(revents) => revents.difference(PollFlags::NVAL),
                Err(_) => NOT_POLLED,
            };
            let is_held = !revents.contains(PollFlags::HUP);
            match self.read(MOST, revents)? {
                Read::Some(_) if !is_held => {}
                _ => return Ok(()),
            }
        }
    }

    /// Sleeps until there is more to read (true), or it was quiet for that long.
    fn gets_more(&self, deadline: Deadline, quiet: Duration) -> bool {
        let Some(fd) = self.fd().filter(|_| !deadline.has_passed()) else {
            return false;
        };
        let deadline = deadline.within(quiet);
        let polled = deadline.sleep(|timeout| {
            let revents = revents(fd, PollFlags::IN, timeout)?;
            if revents.contains(PollFlags::NVAL) {
                return Err(io::ErrorKind::Unsupported.into());
            }
            Ok(!revents.is_empty())
        });
        polled.unwrap_or_else(|_| {
            // A sandbox denies poll, or macOS cannot poll this device.
            let has_some = || Ok::<_, Errno>(ioctl_fionread(fd)?.gt(&0).then_some(()));
            let found = deadline.poll(&mut Pace::default(), has_some);
            found.is_ok_and(|found| found.is_some())
        })
    }
}
