//! Reads the output of a child while waiting for its exit.
//!
//! `O_NONBLOCK` belongs to every process that shares the pipe, so this crate never sets it. It
//! reads when `poll` reports data. Another reader can take that data before the read. So on Linux
//! the read itself does not block either: by `RWF_NOWAIT`, or on an open file description of our
//! own.
//!
//! A stream need not be a pipe: see `Kind`.

use super::{
    poll::{poll_within, revents},
    reader::{Kind, NOT_POLLED, Reader, Rest, is_hung_up, revents_now},
};
use crate::{
    backoff::Backoff,
    deadline::{Deadline, sleep_until},
    sys::{MAX_READ, OutputBuffer, Streams, streams::Read},
};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::{Errno, ioctl_fionread},
};
use std::{
    io::{self, IsTerminal as _},
    mem::MaybeUninit,
    time::Duration,
};

impl Streams<'_> {
    /// Reads until the event, or until it may have happened (true), or until the deadline.
    pub(crate) fn read(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        deadline.sleep(|timeout| {
            if self.can_poll {
                self.poll_and_read(event, timeout)
            } else {
                let delay = self.read_with_backoff(|_| true)?;
                sleep_until(Deadline::from_timeout(timeout).capped(delay));
                Ok(false)
            }
        })
    }

    fn poll_and_read(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let is_suspended = self.streams.iter().any(|stream| stream.is_suspended);
        let retry_after = is_suspended.then(|| self.backoff.remaining());
        let timeout = timeout.into_iter().chain(retry_after).min();
        let [stdout, stderr] = &mut self.streams;
        let [event, stdout_revents, stderr_revents] =
            match poll([event, stdout.fd_to_poll(), stderr.fd_to_poll()], timeout) {
                Ok(revents) => revents,
                Err(Errno::INTR) => return Err(Errno::INTR.into()),
                // A sandbox denies poll, or the descriptor limit is below the number of
                // descriptors.
                Err(_) => {
                    self.can_poll = false;
                    return Ok(true);
                }
            };
        let has_read = stdout.read_if(stdout_revents)?;
        if has_read && !stderr_revents.is_empty() && stderr.reader.may_block() {
            // Both can be the same terminal, and the first read has taken everything.
            stderr.read_now()?;
        } else {
            stderr.read_if(stderr_revents)?;
        }
        // The program has closed the event, or macOS cannot poll one of them.
        if (event | stdout_revents | stderr_revents).contains(PollFlags::NVAL) {
            self.can_poll = false;
            return Ok(true);
        }
        if is_suspended && self.backoff.is_due() {
            self.read_with_backoff(|stream| stream.is_suspended)?;
        }
        Ok(!event.is_empty())
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
    // Each of them once: macOS reports only one of two equal descriptors.
    let mut polled = [(); 3].map(|()| PollFd::from_borrowed_fd(*first, PollFlags::IN));
    let mut count = 0;
    let indices = fds.map(|fd| {
        polled[count] = PollFd::from_borrowed_fd(fd?, PollFlags::IN);
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
    /// Whether the child has exited: then every EOF is final.
    has_exited: bool,
}

impl<'a> Stream<'a> {
    pub(in crate::sys) fn new(fd: Option<OwnedFd>, buffer: OutputBuffer<'a>) -> Stream<'a> {
        Stream {
            fd,
            buffer,
            reader: Reader::default(),
            is_suspended: false,
            has_exited: false,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd)
    }

    fn fd_to_poll(&self) -> Option<BorrowedFd<'_>> {
        self.fd().filter(|_| !self.is_suspended)
    }

    /// Gives the stream up. `None` once its EOF was read.
    pub(in crate::sys) fn close(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }

    pub(in crate::sys) fn read_now(&mut self) -> io::Result<Read> {
        self.read_available(NOT_POLLED)
    }

    /// Whether anything was read.
    fn read_if(&mut self, revents: PollFlags) -> io::Result<bool> {
        if revents.is_empty() {
            return Ok(false);
        }
        let read = self.read_available(revents.difference(PollFlags::NVAL))?;
        Ok(matches!(read, Read::Some(_)))
    }

    /// Reads what the stream holds, and what is written meanwhile, which saves a `poll` for each
    /// write; but not forever, as the deadline must be checked. The first read is small: it makes
    /// room in a full pipe, so that the writer can go on while the rest is read.
    fn read_available(&mut self, revents: PollFlags) -> io::Result<Read> {
        const FIRST_READ: usize = 8 * 1024;
        const MAX_READS: u32 = 16;
        if !self.reader.can_repeat() {
            return self.read(MAX_READ, revents);
        }
        let first = self.read(FIRST_READ, revents)?;
        let mut read = first;
        for doubled in 1..MAX_READS {
            if !matches!(read, Read::Some(_)) || !self.reader.can_repeat() {
                break;
            }
            read = self.read(MAX_READ.min(FIRST_READ << doubled), NOT_POLLED)?;
        }
        Ok(first)
    }

    /// Reads once, without blocking. `revents` is what `poll` has just reported.
    fn read(&mut self, max: usize, mut revents: PollFlags) -> io::Result<Read> {
        loop {
            let Some(fd) = self.fd.as_ref().map(OwnedFd::as_fd) else {
                return Ok(Read::WouldBlock);
            };
            self.is_suspended = false;
            let reader = &mut self.reader;
            let read = |room: &mut [MaybeUninit<u8>]| reader.read(fd, room, revents);
            // SAFETY: it returns how many bytes the kernel has written.
            let result = unsafe { self.buffer.read_from(max, read) }?;
            let is_final = match result {
                Ok(0) => self.has_exited || reader.is_eof_final(fd, revents),
                // On Linux: no process has the slave of this terminal open any more.
                Err(Errno::IO) if is_hung_up(fd) || fd.is_terminal() => self.has_exited,
                // The peer of a UNIX socket closed it with unread input. What the peer had sent
                // has been read by then (net/unix/af_unix.c, unix_stream_read_generic). TCP
                // discards data in flight, so there it is an error.
                Err(Errno::CONNRESET) if reader.kind(fd) == Kind::UnixSocket => true,
                Ok(read) => return Ok(Read::Some(read)),
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

    pub(in crate::sys) fn drain(&mut self, has_exited: bool, deadline: Deadline) -> io::Result<()> {
        self.has_exited = has_exited;
        let Some(fd) = self.fd.as_ref().map(OwnedFd::as_fd) else {
            return Ok(());
        };
        let Rest { mut bytes, quiet } = if has_exited {
            self.reader.rest(fd)
        } else {
            // A file can hold any amount, and the deadline has passed or is about to.
            let Rest { bytes, quiet } = Rest::available(fd);
            let bytes = bytes.min(Rest::MAX_BUFFERED);
            Rest { bytes, quiet }
        };
        let deadline = if quiet.is_zero() {
            Deadline::Now
        } else {
            deadline.capped(Rest::MAX_WAIT)
        };
        while bytes > 0 {
            match self.read(MAX_READ, NOT_POLLED)? {
                Read::Some(read) => bytes = bytes.saturating_sub(read as u64),
                Read::WouldBlock if self.wait_for_more(deadline, quiet) => {}
                Read::WouldBlock => break,
                Read::Eof => return Ok(()),
            }
        }
        // Reads the EOF, if no other process holds the stream open.
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

    /// Sleeps until there is more to read (true), or nothing has arrived for that long.
    fn wait_for_more(&self, deadline: Deadline, quiet: Duration) -> bool {
        let Some(fd) = self.fd().filter(|_| !deadline.has_passed()) else {
            return false;
        };
        let deadline = deadline.capped(quiet);
        let polled = deadline.sleep(|timeout| {
            let revents = revents(fd, PollFlags::IN, timeout)?;
            if revents.contains(PollFlags::NVAL) {
                return Err(io::ErrorKind::Unsupported.into());
            }
            Ok(!revents.is_empty())
        });
        polled.unwrap_or_else(|_| {
            // A sandbox denies poll, or macOS cannot poll this device.
            let has_some = || ioctl_fionread(fd).map(|count| (count > 0).then_some(()));
            let found = deadline.poll(&mut Backoff::default(), has_some);
            found.is_ok_and(|found| found.is_some())
        })
    }
}
