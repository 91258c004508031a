//! Writes the input of a child and reads its output while waiting for its exit.
//!
//! `O_NONBLOCK` belongs to every process that shares the pipe, so this crate never sets it. It
//! reads when `poll` reports data. Another reader can take that data before the read. So on Linux
//! the read itself does not block either: by `RWF_NOWAIT`, or on an open file description of our
//! own. The same goes for writes.
//!
//! A stream need not be a pipe: see `Kind`.

use super::{
    poll::poll_within,
    reader::{Kind, NOT_POLLED, Reader, Rest, is_hung_up, revents_now},
};
use crate::{
    deadline::{Deadline, sleep_until},
    sys::{Drained, Interest, MAX_READ, OutputBuffer, Streams, streams::Read},
};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{
    io::{self, IsTerminal as _},
    mem::MaybeUninit,
    time::{Duration, Instant},
};

impl Streams<'_> {
    /// Sleeps until a stream is ready, or until the event, for at most `timeout`; then writes and
    /// reads. Returns whether the event has happened, or may have.
    pub(crate) fn round(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        if self.can_poll {
            return self.poll_and_transfer(event, timeout);
        }
        let delay = self.attempt_all()?;
        sleep_until(Deadline::from_timeout(timeout).capped(delay));
        Ok(false)
    }

    /// Writes and reads without `poll`. Returns when to do it again.
    fn attempt_all(&mut self) -> io::Result<Duration> {
        self.attempt_with_backoff(|input, outputs| {
            let mut has_transferred = input.write(NOT_POLLED)?;
            for stream in outputs {
                has_transferred |= stream.read_now()? != Read::WouldBlock;
            }
            Ok(has_transferred)
        })
    }

    fn poll_and_transfer(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let retry_after = self.time_until_retry();
        let timeout = timeout.into_iter().chain(retry_after).min();
        let [event, stdin, stdout_revents, stderr_revents] = match poll(self.events(event), timeout)
        {
            Ok(revents) => revents,
            Err(Errno::INTR) => return Err(Errno::INTR.into()),
            // A sandbox denies poll, or the descriptor limit is below the number of descriptors.
            Err(_) => {
                self.can_poll = false;
                // The deadline may pass before the next round.
                self.attempt_all()?;
                return Ok(true);
            }
        };
        let [stdout, stderr] = &mut self.outputs;
        // Output first: the child may be unable to read its input before it can write.
        let has_read = stdout.read_if(stdout_revents)?;
        if has_read && stderr_revents.contains(PollFlags::IN) && stderr.reader.may_block() {
            // Both can be the same terminal, and the first read has taken everything.
            stderr.read_now()?;
        } else {
            stderr.read_if(stderr_revents)?;
        }
        if !stdin.is_empty() {
            self.input.write(stdin.difference(PollFlags::NVAL))?;
        }
        // The program has closed the event, or macOS cannot poll one of them.
        if (event | stdin | stdout_revents | stderr_revents).contains(PollFlags::NVAL) {
            self.can_poll = false;
            return Ok(true);
        }
        if retry_after.is_some() && self.backoff.is_due() {
            self.attempt_with_backoff(|input, outputs| {
                input.resume();
                let mut has_read = false;
                for stream in outputs.iter_mut().filter(|stream| stream.is_suspended) {
                    has_read |= stream.read_now()? != Read::WouldBlock;
                }
                Ok(has_read)
            })?;
        }
        Ok(!event.is_empty())
    }

    /// When to try again what no event reports as ready. `None` if there is nothing of the kind.
    pub(crate) fn time_until_retry(&self) -> Option<Duration> {
        let is_suspended =
            self.input.is_suspended() || self.outputs.iter().any(|stream| stream.is_suspended);
        (is_suspended || !self.can_poll).then(|| self.backoff.remaining())
    }

    /// Whether a stream is at an EOF that is final only once the child has exited.
    pub(crate) fn awaits_exit(&self) -> bool {
        self.outputs.iter().any(|stream| stream.is_suspended)
    }

    /// What becomes ready when a round can go on, and `event`.
    pub(crate) fn events<'e>(
        &'e self,
        event: Option<BorrowedFd<'e>>,
    ) -> [Option<(BorrowedFd<'e>, Interest)>; 4] {
        let [stdout, stderr] = &self.outputs;
        let events = [
            event.map(|fd| (fd, Interest::Readable)),
            self.input.fd_to_poll().map(|fd| (fd, Interest::Writable)),
            stdout.fd_to_poll().map(|fd| (fd, Interest::Readable)),
            stderr.fd_to_poll().map(|fd| (fd, Interest::Readable)),
        ];
        events.map(|event| event.filter(|_| self.can_poll))
    }
}

/// Polls those that are `Some`.
fn poll(
    fds: [Option<(BorrowedFd<'_>, Interest)>; 4],
    timeout: Option<Duration>,
) -> Result<[PollFlags; 4], Errno> {
    let Some(&(first, _)) = fds.iter().flatten().next() else {
        sleep_until(Deadline::from_timeout(timeout));
        return Ok([PollFlags::empty(); 4]);
    };
    // Each of them once: macOS reports only one of two equal descriptors.
    let mut polled = [(); 4].map(|()| PollFd::from_borrowed_fd(first, PollFlags::IN));
    let mut count = 0;
    let indices = fds.map(|fd| {
        let (fd, interest) = fd?;
        let events = match interest {
            Interest::Readable => PollFlags::IN,
            Interest::Writable => PollFlags::OUT,
        };
        polled[count] = PollFd::from_borrowed_fd(fd, events);
        count += 1;
        Some(count - 1)
    });
    poll_within(&mut polled[..count], timeout)?;
    let revents = |index: usize| polled[index].revents();
    Ok(indices.map(|index| index.map_or(PollFlags::empty(), revents)))
}

#[derive(Debug)]
pub(in crate::sys) struct Stream<'a> {
    /// `None` once its EOF was read.
    fd: Option<OwnedFd>,
    buffer: OutputBuffer<'a>,
    reader: Reader,
    /// It is at an EOF that may not be final. `poll` always reports such a stream as readable, so
    /// it is read again with backoff instead.
    is_suspended: bool,
    /// Whether the last read has filled the room that it had, so that there may be more.
    may_hold_more: bool,
    /// What it holds of the child's output, once the child has exited. Then every EOF is final.
    rest: Option<Rest>,
}

impl<'a> Stream<'a> {
    pub(in crate::sys) fn new(fd: Option<OwnedFd>, buffer: OutputBuffer<'a>) -> Stream<'a> {
        Stream {
            fd,
            buffer,
            reader: Reader::default(),
            is_suspended: false,
            may_hold_more: false,
            rest: None,
        }
    }

    pub(in crate::sys) fn buffer(&self) -> &OutputBuffer<'a> {
        &self.buffer
    }

    pub(in crate::sys) fn is_at_eof(&self) -> bool {
        self.fd.is_none()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    fn kind(&mut self) -> Option<Kind> {
        let fd = self.fd.as_ref()?.as_fd();
        Some(self.reader.kind(fd))
    }

    fn fd_to_poll(&self) -> Option<BorrowedFd<'_>> {
        self.fd().filter(|_| !self.is_suspended)
    }

    /// Gives the stream up. `None` once its EOF was read.
    pub(in crate::sys) fn close(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }

    pub(in crate::sys) fn read_now(&mut self) -> io::Result<Read> {
        self.read_repeatedly(NOT_POLLED)
    }

    /// Whether anything was read.
    fn read_if(&mut self, revents: PollFlags) -> io::Result<bool> {
        if revents.is_empty() {
            return Ok(false);
        }
        let read = self.read_repeatedly(revents.difference(PollFlags::NVAL))?;
        Ok(matches!(read, Read::Some(_)))
    }

    /// Reads what the stream holds, and what is written meanwhile, which saves a `poll` for each
    /// write; but not forever, as the deadline must be checked. The first read is small: it makes
    /// room in a full pipe, so that the writer can go on while the rest is read.
    fn read_repeatedly(&mut self, revents: PollFlags) -> io::Result<Read> {
        const FIRST_READ: usize = 8 * 1024;
        const MAX_READS: u32 = 16;
        if !self.reader.can_repeat() {
            return self.read(MAX_READ, revents);
        }
        let first = self.read(FIRST_READ, revents)?;
        let mut read = first;
        // A stream remains hung up, and after its data comes its EOF.
        let revents = revents & PollFlags::HUP;
        for doubled in 1..MAX_READS {
            let is_before_eof = !revents.is_empty() && matches!(read, Read::Some(_));
            let has_more = self.may_hold_more || is_before_eof;
            if !has_more || !self.reader.can_repeat() {
                break;
            }
            read = self.read(MAX_READ.min(FIRST_READ << doubled), revents)?;
        }
        Ok(first)
    }

    /// Reads once, without blocking. `revents` is what `poll` has just reported.
    fn read(&mut self, max: usize, mut revents: PollFlags) -> io::Result<Read> {
        self.may_hold_more = false;
        loop {
            let Some(fd) = self.fd.as_ref().map(OwnedFd::as_fd) else {
                return Ok(Read::WouldBlock);
            };
            self.is_suspended = false;
            let (reader, mut room_len) = (&mut self.reader, 0);
            let read = |room: &mut [MaybeUninit<u8>]| {
                room_len = room.len();
                reader.read(fd, room, revents)
            };
            // SAFETY: it returns how many bytes the kernel has written.
            let result = unsafe { self.buffer.read_from(max, read) }?;
            let is_final = match result {
                Ok(0) => self.rest.is_some() || reader.is_eof_final(fd, revents),
                // On Linux: no process has the slave of this terminal open any more.
                Err(Errno::IO) if is_hung_up(fd) || fd.is_terminal() => self.rest.is_some(),
                // The peer of a UNIX socket closed it with unread input. What the peer had sent
                // has been read by then (net/unix/af_unix.c, unix_stream_read_generic). TCP
                // discards data in flight, so there it is an error.
                Err(Errno::CONNRESET) if reader.kind(fd) == Kind::UnixSocket => true,
                Ok(read) => {
                    self.may_hold_more = read == room_len;
                    if let Some(rest) = &mut self.rest {
                        rest.record(read);
                    }
                    return Ok(Read::Some(read));
                }
                // If another reader has taken the data, the next read must not block.
                Err(Errno::INTR) => {
                    revents = NOT_POLLED;
                    continue;
                }
                // RWF_NOWAIT does not read from the disk.
                Err(Errno::AGAIN) if reader.is_unread_file(fd, revents) => continue,
                Err(Errno::AGAIN) => return Ok(Read::WouldBlock),
                Err(error) => return Err(error.into()),
            };
            if !is_final {
                self.is_suspended = true;
                return Ok(Read::WouldBlock);
            }
            self.fd = None;
            self.reader = Reader::default(); // It can own another descriptor of the pipe.
            return Ok(Read::Eof);
        }
    }

    pub(in crate::sys) fn read_available(&mut self) -> io::Result<()> {
        let Some(fd) = self.fd() else { return Ok(()) };
        // A file can hold any amount, and the deadline has passed.
        let mut bytes = Rest::available(fd).min(Rest::MAX_BUFFERED);
        while bytes > 0 {
            match self.read(MAX_READ, NOT_POLLED)? {
                Read::Some(read) => bytes = bytes.saturating_sub(read as u64),
                Read::WouldBlock => break,
                Read::Eof => return Ok(()),
            }
        }
        self.read_eof()
    }

    pub(in crate::sys) fn drain(&mut self, exited_at: Instant) -> io::Result<Drained> {
        /// A file can hold any amount, and there may be a deadline.
        const MAX_BYTES: u64 = 16 * 1024 * 1024;
        if self.rest.is_none() && self.kind() == Some(Kind::Pipe) {
            // Usually it is at its end after two reads, and need not be asked what it holds.
            for _ in 0..2 {
                match self.read(MAX_READ, NOT_POLLED)? {
                    Read::Some(_) => {}
                    Read::WouldBlock | Read::Eof => return Ok(Drained::Completely),
                }
            }
        }
        let mut bytes = 0;
        loop {
            let Some(fd) = self.fd.as_ref().map(OwnedFd::as_fd) else {
                return Ok(Drained::Completely);
            };
            let rest = self
                .rest
                .get_or_insert_with(|| self.reader.rest(fd, exited_at));
            if rest.bytes == 0 {
                break;
            }
            if bytes >= MAX_BYTES {
                return Ok(Drained::No);
            }
            match self.read(MAX_READ, NOT_POLLED)? {
                Read::Some(read) => bytes += read as u64,
                Read::WouldBlock => match self.rest.as_ref().and_then(Rest::time_until_quiet) {
                    Some(quiet) => return Ok(Drained::UnlessMoreArrives(quiet)),
                    None => break,
                },
                Read::Eof => {}
            }
        }
        self.read_eof()?;
        Ok(Drained::Completely)
    }

    /// Reads the EOF, if no other process holds the stream open.
    fn read_eof(&mut self) -> io::Result<()> {
        loop {
            let Some(fd) = self.fd() else { return Ok(()) };
            let revents = match revents_now(fd, PollFlags::IN) {
                Ok(revents) if revents.is_empty() => return Ok(()),
                Ok(revents) => revents.difference(PollFlags::NVAL),
                Err(_) => NOT_POLLED,
            };
            let is_held = !revents.contains(PollFlags::HUP);
            match self.read(MAX_READ, revents)? {
                Read::Some(_) if !is_held => {}
                _ => return Ok(()),
            }
        }
    }
}
