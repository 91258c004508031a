//! Unix: the output of a child, read while its exit is waited for.
//!
//! `O_NONBLOCK` is not for us to set: it belongs to all who share the pipe. So a pipe is read
//! when `poll` says that there is something, and where the kernel has a read that does not
//! wait, by that: somebody else may have been faster.

use super::{
    poll::{poll_within, revents},
    sink::{MOST, Sink},
};
use crate::deadline::{Deadline, Pace, sleep_until};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd},
    io::{Errno, ioctl_fionread},
};
use std::{
    io,
    mem::MaybeUninit,
    process::{ChildStderr, ChildStdout},
    time::Duration,
};

/// Both streams of a child, as far as they are pipes that we hold.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    stdout: Stream<'a, ChildStdout>,
    stderr: Stream<'a, ChildStderr>,
    can_poll: bool,
    /// When they are read again, where they cannot be polled.
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

    /// Reads until there is the event (true), or perhaps is, or the deadline has passed.
    pub(crate) fn read(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        deadline.sleep(|longest| match self.can_poll {
            true => self.poll_and_read(event, longest),
            false => self.read_and_pause(longest),
        })
    }

    fn poll_and_read(
        &mut self,
        event: Option<BorrowedFd<'_>>,
        longest: Option<Duration>,
    ) -> io::Result<bool> {
        let fds = [event, self.stdout.fd(), self.stderr.fd()];
        let [event, stdout, stderr] = match poll(fds, longest) {
            Ok(revents) => revents,
            Err(Errno::INTR) => return Err(Errno::INTR.into()),
            // A sandbox denies it, or the limit of descriptors is below their number.
            Err(_) => {
                self.can_poll = false;
                return Ok(true);
            }
        };
        self.stdout.read_if(stdout)?;
        self.stderr.read_if(stderr)?;
        // Somebody has closed the event, or it is something that macOS does not poll.
        if (event | stdout | stderr).contains(PollFlags::NVAL) {
            self.can_poll = false;
            return Ok(true);
        }
        Ok(!event.is_empty())
    }

    fn read_and_pause(&mut self, longest: Option<Duration>) -> io::Result<bool> {
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let (stdout, stderr) = (self.pace).round(|| (stdout.read_on(false), stderr.read_on(false)));
        match (stdout?, stderr?) {
            (Read::Nothing, Read::Nothing) => {
                let pause = self.pace.until_due();
                sleep_until(Deadline::from_timeout(longest).within(pause));
            }
            _ => self.pace.restart(),
        }
        Ok(false)
    }

    /// Reads what is there now, and no more: others may go on writing for ever.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        let stdout = self.stdout.drain();
        self.stderr.drain().and(stdout)
    }
}

/// Polls those that there are.
fn poll(
    fds: [Option<BorrowedFd<'_>>; 3],
    longest: Option<Duration>,
) -> Result<[PollFlags; 3], Errno> {
    let Some(first) = fds.iter().flatten().next() else {
        sleep_until(Deadline::from_timeout(longest));
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
    poll_within(&mut polled[..count], longest)?;
    Ok(places.map(|place| place.map_or(PollFlags::empty(), |place| polled[place].revents())))
}

#[derive(Debug)]
struct Stream<'a, F> {
    /// `None` once it was read to its end.
    pipe: &'a mut Option<F>,
    sink: Sink<'a>,
    /// Whether there is a read that does not wait. `None`: that is to be seen.
    has_nowait: Option<bool>,
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
            has_nowait: None,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(F::as_fd)
    }

    fn read_if(&mut self, revents: PollFlags) -> io::Result<()> {
        if !revents.is_empty() {
            self.read_on(!revents.contains(PollFlags::NVAL))?;
        }
        Ok(())
    }

    /// Reads what is there, and what comes meanwhile, as that saves a `poll` for each; but not
    /// for ever, so that the clock is looked at. Little at first: there is room in a full pipe
    /// then, and its writer awake, while the rest is being read.
    fn read_on(&mut self, is_ready: bool) -> io::Result<Read> {
        const LITTLE: usize = 8 * 1024;
        const TIMES: u32 = 16;
        if self.has_nowait == Some(false) {
            return self.read(MOST, is_ready);
        }
        let first = self.read(LITTLE, is_ready)?;
        let mut read = first;
        for doubled in 1..TIMES {
            if !matches!(read, Read::Some(_)) || self.has_nowait != Some(true) {
                break;
            }
            read = self.read(MOST.min(LITTLE << doubled), false)?;
        }
        Ok(first)
    }

    /// Reads once, and does not wait. It is ready if somebody has just said so.
    fn read(&mut self, most: usize, is_ready: bool) -> io::Result<Read> {
        let Some(fd) = self.pipe.as_ref().map(F::as_fd) else {
            return Ok(Read::Nothing);
        };
        let has_nowait = &mut self.has_nowait;
        let read = |room: &mut [MaybeUninit<u8>]| {
            if *has_nowait != Some(true) && !is_ready && !is_readable(fd)? {
                return Err(Errno::AGAIN);
            }
            if has_nowait.is_none() {
                let answer = sys::read(fd, room, sys::NO_FLAG);
                *has_nowait = Some(answer == Err(Errno::OPNOTSUPP));
                // gVisor minds no flags of pipes. (None read: a sandbox may feign that.)
                if let Ok(1..) = answer {
                    return answer;
                }
            }
            if *has_nowait == Some(true) {
                match sys::read(fd, room, sys::NOWAIT) {
                    Err(Errno::OPNOTSUPP) => *has_nowait = Some(false),
                    answer => return answer,
                }
            }
            Ok(rustix::io::read(fd, room)?.0.len())
        };
        // SAFETY: it answers what the kernel does, which has written so many bytes.
        let answer = unsafe { self.sink.fill(most, read) }?;
        match answer {
            Ok(0) => {
                *self.pipe = None;
                Ok(Read::End)
            }
            Ok(read) => Ok(Read::Some(read)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Read::Nothing),
            // So ends a terminal, on Linux.
            Err(Errno::IO) if hangs_up(fd) => {
                *self.pipe = None;
                Ok(Read::End)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        let Some(fd) = self.fd() else { return Ok(()) };
        // Without that number, what a pipe has room for, unless root has made it larger.
        let mut left = ioctl_fionread(fd).map_or(1024 * 1024, |bytes| bytes as usize);
        while left > 0 {
            match self.read(MOST, false)? {
                Read::Some(read) => left = left.saturating_sub(read),
                Read::Nothing => break,
                Read::End => return Ok(()),
            }
        }
        // To see its end, if nobody else holds it.
        loop {
            let Some(fd) = self.fd() else { return Ok(()) };
            let is_held = match revents(fd, PollFlags::IN, Some(Duration::ZERO)) {
                Ok(revents) if revents.is_empty() => return Ok(()),
                Ok(revents) => !revents.contains(PollFlags::HUP),
                Err(_) => true,
            };
            match self.read(MOST, false)? {
                Read::Some(_) if !is_held => {}
                _ => return Ok(()),
            }
        }
    }
}

fn hangs_up(fd: BorrowedFd<'_>) -> bool {
    let revents = revents(fd, PollFlags::empty(), Some(Duration::ZERO));
    revents.is_ok_and(|revents| revents.contains(PollFlags::HUP))
}

fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let there = ioctl_fionread(fd);
    match there {
        Ok(1..) => return Ok(true),
        Err(Errno::BADF) => return Err(Errno::BADF),
        Ok(0) | Err(_) => {}
    }
    match revents(fd, PollFlags::IN, Some(Duration::ZERO)) {
        Ok(revents) => Ok(!revents.is_empty() && !revents.contains(PollFlags::NVAL)),
        // If nobody tells how much there is, that is no reason to say that all was read.
        Err(error) if there.is_err() => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod sys {
    use rustix::{
        fd::{AsRawFd as _, BorrowedFd},
        io::Errno,
    };
    use std::{io, mem::MaybeUninit};

    /// `RWF_NOWAIT`: for pipes since Linux 6.4.
    pub(super) const NOWAIT: libc::c_long = 8;
    /// Not yet, that is. A kernel that minds flags refuses it.
    pub(super) const NO_FLAG: libc::c_long = 1 << 30;

    /// `preadv2`.
    pub(super) fn read(
        fd: BorrowedFd<'_>,
        into: &mut [MaybeUninit<u8>],
        flag: libc::c_long,
    ) -> Result<usize, Errno> {
        /// The file's own offset, in two halves.
        const CURRENT: libc::c_long = -1;
        let vector = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        // SAFETY: the one vector is borrowed for as long as the call takes, and so is the room
        // that it describes, where the kernel writes bytes. (rustix asks for bytes that are
        // initialized, and older C libraries lack the function.)
        let read = unsafe {
            let fd = libc::c_long::from(fd.as_raw_fd());
            let (preadv2, count): (_, libc::c_long) = (libc::SYS_preadv2, 1);
            libc::syscall(
                preadv2,
                fd,
                &raw const vector,
                count,
                CURRENT,
                CURRENT,
                flag,
            )
        };
        match usize::try_from(read) {
            Ok(read) => Ok(read),
            Err(_) => {
                let error = io::Error::last_os_error();
                Err(Errno::from_io_error(&error).unwrap_or(Errno::NOSYS))
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod sys {
    use rustix::{fd::BorrowedFd, io::Errno};
    use std::mem::MaybeUninit;

    pub(super) const NOWAIT: () = ();
    pub(super) const NO_FLAG: () = ();

    pub(super) fn read(
        _: BorrowedFd<'_>,
        _: &mut [MaybeUninit<u8>],
        (): (),
    ) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }
}
