//! Unix: reads the output of a child while it waits for the exit.
//!
//! `O_NONBLOCK` belongs to every process that shares the pipe, so this crate never sets it. It
//! reads when `poll` says that there is something. Another reader can take that before the
//! read. So on Linux the read itself does not block either: by `RWF_NOWAIT`, or by an open file
//! description of our own.
//!
//! A stream need not be a pipe. See `Kind`.

use super::{
    poll::{poll_within, revents},
    sink::{MOST, Sink},
};
use crate::deadline::{Deadline, Pace, sleep_until};
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{FileType, fstat, tell},
    io::{Errno, ioctl_fionread, retry_on_intr},
};
use std::{
    io::{self, IsTerminal as _},
    mem::MaybeUninit,
    process::{ChildStderr, ChildStdout},
    time::Duration,
};

/// For a stream that was not polled.
const NOT_POLLED: PollFlags = PollFlags::empty();

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
        self.stdout.read_if(stdout)?;
        self.stderr.read_if(stderr)?;
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

    fn read_if(&mut self, revents: PollFlags) -> io::Result<()> {
        if !revents.is_empty() {
            self.read_on(revents.difference(PollFlags::NVAL))?;
        }
        Ok(())
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
            Rest::available(fd)
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

/// What the descriptor of a stream refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// FIONREAD counts all that it holds. Its end is final.
    Pipe,
    /// FIONREAD counts all that it holds. Its end is final.
    UnixSocket,
    /// TCP, as a rule. FIONREAD counts what has arrived. What an exited process has written can
    /// still be in its send buffer (tcp(7)). Its end is final.
    OtherSocket,
    /// `poll` always reports it as readable (poll(2)). A read of 0 bytes is not its end: the
    /// child may write more.
    File,
    /// A terminal; or another device, or unknown, as a sandbox denies fstat.
    ///
    /// FIONREAD of a terminal counts the 4,095 bytes at most that the line discipline buffers.
    /// More can be in the buffer behind that one. A read moves it up, and `poll` takes it into
    /// account (drivers/tty/n_tty.c: n_tty_read and n_tty_poll call tty_buffer_flush_work).
    ///
    /// A terminal hangs up when no process has its slave open. That is not its end: the child
    /// can open the slave again, but only as long as the master is open.
    Device,
}

impl Kind {
    fn of(fd: BorrowedFd<'_>) -> Kind {
        let Ok(stat) = fstat(fd) else {
            return Kind::Device;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Kind::Pipe,
            FileType::RegularFile => Kind::File,
            FileType::Socket if is_unix_socket(fd) => Kind::UnixSocket,
            FileType::Socket => Kind::OtherSocket,
            _ => Kind::Device,
        }
    }
}

/// `getsockname`: `SO_DOMAIN` does not exist on macOS.
fn is_unix_socket(fd: BorrowedFd<'_>) -> bool {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: both are written to places that outlive the call, and `size` is the size of the
    // first one.
    let result =
        unsafe { libc::getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &mut size) };
    // SAFETY: it is a C structure of integers, for which all bytes are valid.
    let family = unsafe { address.assume_init() }.ss_family;
    result == 0 && libc::c_int::from(family) == libc::AF_UNIX
}

/// What a stream holds of the output of a child that has exited.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// At most. Other processes may go on writing, for ever.
    bytes: u64,
    /// The rest has been read if nothing arrives for so long.
    quiet: Duration,
}

impl Rest {
    /// How long data that is under way is waited for at most, however slowly it arrives.
    const LONGEST: Duration = Duration::from_secs(3);
    /// The child's end of a socket is on this machine, so data arrives at once, but for packets
    /// that get lost: they are sent again after 200 ms (include/net/tcp.h, TCP_RTO_MIN).
    const QUIET: Duration = Duration::from_millis(300);
    /// More than the send and the receive buffer of a TCP connection, which have 4 MiB and up to
    /// 32 MiB on Linux (tcp(7), tcp_wmem and tcp_rmem).
    const IN_SOCKETS: u64 = 64 * 1024 * 1024;
    /// More than a terminal has: 640 KiB and 4 KiB on Linux (drivers/tty/tty_buffer.c,
    /// TTYB_DEFAULT_MEM_LIMIT; drivers/tty/n_tty.c, N_TTY_BUF_SIZE). And what a pipe has at most
    /// (pipe(7), pipe-max-size), unless root has made it larger.
    const IN_OTHERS: u64 = 1024 * 1024;

    fn available(fd: BorrowedFd<'_>) -> Rest {
        Rest {
            bytes: ioctl_fionread(fd).unwrap_or(Rest::IN_OTHERS),
            quiet: Duration::ZERO,
        }
    }

    fn of_file(fd: BorrowedFd<'_>) -> Rest {
        let size = fstat(fd).map_or(u64::MAX, |stat| stat.st_size as u64);
        Rest {
            bytes: size.saturating_sub(tell(fd).unwrap_or(0)),
            quiet: Duration::ZERO,
        }
    }

    fn of_device(fd: BorrowedFd<'_>) -> Rest {
        let revents = revents_now(fd, PollFlags::IN);
        let quiet = if revents.is_ok_and(|revents| !revents.contains(PollFlags::NVAL)) {
            Duration::ZERO
        } else {
            // FIONREAD must do. The kernel moves the data up soon after the write.
            Rest::QUIET
        };
        let bytes = Rest::available(fd).bytes.max(Rest::IN_OTHERS);
        Rest { bytes, quiet }
    }
}

/// Knows how to read from a descriptor without blocking.
#[derive(Debug, Default)]
struct Reader {
    method: Method,
    /// `None` until it matters, which for most pipes it does not.
    kind: Option<Kind>,
}

/// How a read does not block although another reader takes the data between the poll and the
/// read.
#[derive(Debug, Default)]
enum Method {
    #[default]
    Unknown,
    /// By `RWF_NOWAIT` (preadv2(2)).
    Flag,
    /// By `O_NONBLOCK`, on an open file description of our own.
    Reopened(OwnedFd),
    /// It is a file: a read does not wait for others.
    File,
    /// It may block.
    None,
}

impl Reader {
    fn kind(&mut self, fd: BorrowedFd<'_>) -> Kind {
        let kind = *self.kind.get_or_insert_with(|| Kind::of(fd));
        if kind == Kind::File {
            self.method = Method::File;
        }
        kind
    }

    /// Whether it can be read again without a poll. If not known yet, the first read tells.
    fn can_repeat(&self) -> bool {
        !matches!(self.method, Method::None)
    }

    fn read(
        &mut self,
        fd: BorrowedFd<'_>,
        room: &mut [MaybeUninit<u8>],
        revents: PollFlags,
    ) -> Result<usize, Errno> {
        let may_block = matches!(self.method, Method::Unknown | Method::None);
        if may_block && revents.is_empty() && !is_readable(fd)? {
            return Err(Errno::AGAIN);
        }
        if let Method::Unknown = self.method {
            let result = sys::read(fd, room, sys::NO_FLAG);
            self.method = if result == Err(Errno::OPNOTSUPP) {
                Method::Flag
            } else {
                self.without_flag(fd)
            };
            // gVisor ignores the flags for pipes. (Not for 0 bytes: a sandbox may feign them.)
            if let Ok(1..) = result {
                return result;
            }
        }
        if let Method::Flag = self.method {
            match sys::read(fd, room, sys::NOWAIT) {
                Err(Errno::OPNOTSUPP) => self.method = self.without_flag(fd),
                result => return result,
            }
        }
        let read = match &self.method {
            Method::Reopened(own) => rustix::io::read(own, room),
            _ => rustix::io::read(fd, room),
        };
        Ok(read?.0.len())
    }

    /// Linux before 6.4 has no `RWF_NOWAIT` for pipes, and later ones have none any more once a
    /// process has spliced from the pipe (fs/splice.c, splice_file_to_pipe and others clear
    /// FMODE_NOWAIT).
    fn without_flag(&mut self, fd: BorrowedFd<'_>) -> Method {
        if !sys::CAN_REOPEN {
            return Method::None;
        }
        match self.kind(fd) {
            Kind::Pipe => sys::reopen(fd).map_or(Method::None, Method::Reopened),
            Kind::File => Method::File,
            _ => Method::None,
        }
    }

    /// Whether a read of 0 bytes is the end, also while the child is running.
    fn ends_for_good(&mut self, fd: BorrowedFd<'_>, revents: PollFlags) -> bool {
        // A pipe or a socket, as poll does not report POLLHUP of a file, and terminals do not
        // have the flag. This saves fstat.
        let is_known = matches!(self.method, Method::Flag) && revents.contains(PollFlags::HUP);
        is_known || !matches!(self.kind(fd), Kind::File | Kind::Device)
    }

    /// Whether it is a file, which reads as empty although `poll` has reported it.
    fn is_unread_file(&mut self, fd: BorrowedFd<'_>, revents: PollFlags) -> bool {
        let is_contradiction = matches!(self.method, Method::Flag) && !revents.is_empty();
        is_contradiction && self.kind(fd) == Kind::File
    }

    /// What the stream holds of the output of a child that has exited.
    fn rest(&mut self, fd: BorrowedFd<'_>) -> Rest {
        match self.kind(fd) {
            Kind::Pipe | Kind::UnixSocket => Rest::available(fd),
            Kind::OtherSocket => Rest {
                bytes: Rest::IN_SOCKETS,
                quiet: Rest::QUIET,
            },
            Kind::File => Rest::of_file(fd),
            Kind::Device => Rest::of_device(fd),
        }
    }
}

/// A signal does not make a poll for what there is now less certain.
fn revents_now(fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Errno> {
    retry_on_intr(|| revents(fd, events, Some(Duration::ZERO)))
}

fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let revents = revents_now(fd, PollFlags::empty());
    revents.is_ok_and(|revents| revents.contains(PollFlags::HUP))
}

fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let available = ioctl_fionread(fd);
    match available {
        Ok(1..) => return Ok(true),
        Err(Errno::BADF) => return Err(Errno::BADF),
        Ok(0) | Err(_) => {}
    }
    match revents_now(fd, PollFlags::IN) {
        Ok(revents) => Ok(!revents.is_empty() && !revents.contains(PollFlags::NVAL)),
        // If both calls are denied, nothing says that all was read.
        Err(error) if available.is_err() => Err(error),
        Err(_) => Ok(false),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod sys {
    use rustix::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        fs::{Mode, OFlags, fstat, open},
        io::{Errno, fcntl_dupfd_cloexec},
    };
    use std::{
        ffi::CStr,
        io::{self, Write as _},
        mem::MaybeUninit,
    };

    /// `RWF_NOWAIT`: for pipes since Linux 6.4.
    pub(super) const NOWAIT: libc::c_long = 8;
    /// No kernel has this flag yet. One that checks the flags refuses it.
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

    pub(super) const CAN_REOPEN: bool = true;

    /// Opens the pipe again. The new open file description has an `O_NONBLOCK` that no other
    /// process shares. (A terminal must not be opened so: for a master that makes a new terminal.)
    pub(super) fn reopen(pipe: BorrowedFd<'_>) -> Option<OwnedFd> {
        let mut path = [0; 40];
        // Threads can have descriptor tables of their own: CLONE_FILES, clone(2).
        write!(&mut path[..], "/proc/thread-self/fd/{}\0", pipe.as_raw_fd()).ok()?;
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mut opened = open(path, flags, Mode::empty()).ok()?;
        // The program may be about to open its standard streams again.
        if opened.as_raw_fd() < 3 {
            opened = fcntl_dupfd_cloexec(&opened, 3).ok()?;
        }
        // Another file system can be mounted at /proc.
        let (pipe, opened_pipe) = (fstat(pipe).ok()?, fstat(&opened).ok()?);
        let is_same = (pipe.st_dev, pipe.st_ino) == (opened_pipe.st_dev, opened_pipe.st_ino);
        is_same.then_some(opened)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod sys {
    use rustix::{
        fd::{BorrowedFd, OwnedFd},
        io::Errno,
    };
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

    pub(super) const CAN_REOPEN: bool = false;

    pub(super) fn reopen(_: BorrowedFd<'_>) -> Option<OwnedFd> {
        None
    }
}
