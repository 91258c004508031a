//! What kind of file a stream is, and how to read from it without blocking.

use super::{
    file::{file_type, fstat, offset},
    poll::revents,
};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use crate::sys::linux::nonblocking;
use rustix::{
    event::PollFlags,
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    io::{Errno, ioctl_fionread, retry_on_intr},
};
use std::{
    mem::MaybeUninit,
    time::{Duration, Instant},
};

/// For a stream that was not polled.
pub(super) const NOT_POLLED: PollFlags = PollFlags::empty();

/// What the descriptor of a stream refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// FIONREAD counts everything that it holds. Its EOF is final.
    Pipe,
    /// FIONREAD counts everything that it holds. Its EOF is final.
    UnixSocket,
    /// Usually TCP. FIONREAD counts what has arrived. What an exited process has written can
    /// still be in its send buffer (tcp(7)). Its EOF is final.
    OtherSocket,
    /// `poll` always reports it as readable (poll(2)). A read of 0 bytes is not final: the child
    /// may write more.
    File,
    /// A terminal; or another device, or unknown, as a sandbox denies fstat.
    ///
    /// FIONREAD of a terminal counts the 4,095 bytes at most that the line discipline buffers.
    /// More can be in the flip buffer behind it, from which reads and `poll` refill it
    /// (drivers/tty/n_tty.c: n_tty_read and n_tty_poll call tty_buffer_flush_work).
    ///
    /// A terminal hangs up when no process has its slave open. That is not final: the child can
    /// open the slave again, as long as the master is open.
    Device,
}

impl Kind {
    fn of(fd: BorrowedFd<'_>) -> Kind {
        let Ok(stat) = fstat(fd) else {
            return Kind::Device;
        };
        match file_type(&stat) {
            libc::S_IFIFO => Kind::Pipe,
            libc::S_IFREG => Kind::File,
            libc::S_IFSOCK if is_unix_socket(fd) => Kind::UnixSocket,
            libc::S_IFSOCK => Kind::OtherSocket,
            _ => Kind::Device,
        }
    }
}

/// `getsockname`: `SO_DOMAIN` does not exist on macOS.
fn is_unix_socket(fd: BorrowedFd<'_>) -> bool {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel writes to `address` and `size`, which are live, and `size` is the size
    // of `address`.
    let result =
        unsafe { libc::getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &mut size) };
    // SAFETY: any bytes are valid in a C structure of integers.
    let family = unsafe { address.assume_init() }.ss_family;
    result == 0 && libc::c_int::from(family) == libc::AF_UNIX
}

/// What a stream holds of the output of a child that has exited.
#[derive(Debug)]
pub(super) struct Rest {
    /// At most, as other processes may go on writing forever.
    pub(super) bytes: u64,
    in_flight: Option<InFlight>,
}

/// Data that has been written, and cannot be read yet.
#[derive(Debug)]
struct InFlight {
    since: Instant,
    last_arrival: Instant,
}

impl InFlight {
    /// The longest time to wait for data in flight, however slowly it arrives.
    const MAX_WAIT: Duration = Duration::from_secs(3);
    /// Everything has arrived if nothing does for this long. The child's end of a socket is on this
    /// machine, so data arrives at once. Lost packets are sent again after 200 ms
    /// (include/net/tcp.h, TCP_RTO_MIN).
    const QUIET: Duration = Duration::from_millis(300);

    fn new(since: Instant) -> InFlight {
        let last_arrival = Instant::now();
        InFlight {
            since,
            last_arrival,
        }
    }
}

impl Rest {
    /// More than the send and the receive buffer of a TCP connection, which have 4 MiB and up to
    /// 32 MiB on Linux (tcp(7), tcp_wmem and tcp_rmem).
    const MAX_IN_SOCKETS: u64 = 64 * 1024 * 1024;
    /// More than a terminal holds: on Linux 4 KiB (drivers/tty/n_tty.c, N_TTY_BUF_SIZE) and about
    /// twice 8 KiB in its flip buffer (drivers/tty/pty.c, tty_buffer_set_limit). Also the most
    /// that a pipe holds (pipe(7), pipe-max-size), unless root has made it larger.
    pub(super) const MAX_BUFFERED: u64 = 1024 * 1024;

    /// How many bytes the stream holds, as far as the system tells.
    pub(super) fn available(fd: BorrowedFd<'_>) -> u64 {
        ioctl_fionread(fd).unwrap_or(Rest::MAX_BUFFERED)
    }

    pub(super) fn record(&mut self, read: usize) {
        self.bytes = self.bytes.saturating_sub(read as u64);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.last_arrival = Instant::now();
        }
    }

    /// How long to wait for data in flight. `None` if there is none any more.
    pub(super) fn time_until_quiet(&self) -> Option<Duration> {
        let InFlight {
            since,
            last_arrival,
        } = self.in_flight.as_ref()?;
        let quiet = InFlight::QUIET.checked_sub(last_arrival.elapsed())?;
        let remaining = InFlight::MAX_WAIT.checked_sub(since.elapsed())?;
        Some(quiet.min(remaining))
    }

    fn of_buffered(fd: BorrowedFd<'_>) -> Rest {
        Rest {
            bytes: Rest::available(fd),
            in_flight: None,
        }
    }

    fn of_socket(exited_at: Instant) -> Rest {
        Rest {
            bytes: Rest::MAX_IN_SOCKETS,
            in_flight: Some(InFlight::new(exited_at)),
        }
    }

    fn of_file(fd: BorrowedFd<'_>) -> Rest {
        let size = fstat(fd).map_or(u64::MAX, |stat| stat.st_size as u64);
        Rest {
            bytes: size.saturating_sub(offset(fd).unwrap_or(0)),
            in_flight: None,
        }
    }

    fn of_device(fd: BorrowedFd<'_>, exited_at: Instant) -> Rest {
        let revents = revents_now(fd, PollFlags::IN);
        let can_poll = revents.is_ok_and(|revents| !revents.contains(PollFlags::NVAL));
        Rest {
            bytes: Rest::available(fd).max(Rest::MAX_BUFFERED),
            // Where `poll` does not work, FIONREAD does not count what the line discipline has not
            // taken yet, which it does soon after the write.
            in_flight: (!can_poll).then(|| InFlight::new(exited_at)),
        }
    }
}

/// Knows how to read from a descriptor without blocking.
#[derive(Debug, Default)]
pub(super) struct Reader {
    method: Method,
    /// Whether `Method::Flag` has had a result that a sandbox does not feign.
    has_flag_worked: bool,
    /// `None` until it matters. For most pipes it never does.
    kind: Option<Kind>,
}

/// How to read without blocking, although another reader can take the data between the poll
/// and the read.
#[derive(Debug, Default)]
enum Method {
    #[default]
    Unknown,
    /// By `RWF_NOWAIT` (preadv2(2)).
    Flag,
    /// By `O_NONBLOCK`, on an open file description of our own.
    Reopened(OwnedFd),
    /// It is a file: a read does not wait for a writer.
    File,
    /// None: a read may block.
    None,
}

impl Reader {
    pub(super) fn kind(&mut self, fd: BorrowedFd<'_>) -> Kind {
        let kind = *self.kind.get_or_insert_with(|| Kind::of(fd));
        if kind == Kind::File {
            self.method = Method::File;
        }
        kind
    }

    /// Whether it can be read again without a poll. The first read finds out.
    pub(super) fn can_repeat(&self) -> bool {
        !matches!(self.method, Method::None)
    }

    /// Whether a read that was not polled for just now could block.
    pub(super) fn may_block(&self) -> bool {
        matches!(self.method, Method::Unknown | Method::None)
    }

    pub(super) fn read(
        &mut self,
        fd: BorrowedFd<'_>,
        buffer: &mut [MaybeUninit<u8>],
        revents: PollFlags,
    ) -> Result<usize, Errno> {
        if let Method::Unknown = self.method {
            self.method = if nonblocking::has_flag_for_pipes() {
                Method::Flag
            } else {
                self.without_flag(fd)
            };
        }
        if let Method::Flag = self.method {
            let result = nonblocking::preadv2(fd, buffer);
            let is_plausible = match result {
                Ok(0) => self.has_flag_worked || is_at_eof(fd, revents),
                Err(error) => !is_refusal(error),
                Ok(_) => true,
            };
            if is_plausible {
                self.has_flag_worked |= result != Ok(0);
                return result;
            }
            self.method = self.without_flag(fd);
        }
        let is_unpolled = matches!(self.method, Method::None) && revents.is_empty();
        if is_unpolled && !is_readable(fd)? {
            return Err(Errno::AGAIN);
        }
        let read = match &self.method {
            Method::Reopened(own) => rustix::io::read(own, buffer),
            _ => rustix::io::read(fd, buffer),
        };
        Ok(read?.0.len())
    }

    /// Linux before 6.4 refuses `RWF_NOWAIT` for pipes. Later kernels refuse it once a process
    /// has spliced from the pipe (fs/splice.c, pipe_clear_nowait). A sandbox can refuse the call, or
    /// feign success, with 0.
    fn without_flag(&mut self, fd: BorrowedFd<'_>) -> Method {
        match self.kind(fd) {
            Kind::Pipe => {
                nonblocking::reopen(fd, libc::O_RDONLY).map_or(Method::None, Method::Reopened)
            }
            Kind::File => Method::File,
            _ => Method::None,
        }
    }

    /// Whether a read of 0 bytes is final while the child is still running.
    pub(super) fn is_eof_final(&mut self, fd: BorrowedFd<'_>, revents: PollFlags) -> bool {
        // This saves fstat: it must be a pipe or a socket, as poll does not report POLLHUP for a
        // file, and terminals do not support RWF_NOWAIT.
        let is_known = matches!(self.method, Method::Flag) && revents.contains(PollFlags::HUP);
        is_known || !matches!(self.kind(fd), Kind::File | Kind::Device)
    }

    /// Whether it is a file that reads as empty although `poll` has reported it as readable.
    pub(super) fn is_unread_file(&mut self, fd: BorrowedFd<'_>, revents: PollFlags) -> bool {
        let is_contradiction = matches!(self.method, Method::Flag) && !revents.is_empty();
        is_contradiction && self.kind(fd) == Kind::File
    }

    /// What the stream holds of the output of a child that has exited.
    pub(super) fn rest(&mut self, fd: BorrowedFd<'_>, exited_at: Instant) -> Rest {
        match self.kind(fd) {
            Kind::Pipe | Kind::UnixSocket => Rest::of_buffered(fd),
            Kind::OtherSocket => Rest::of_socket(exited_at),
            Kind::File => Rest::of_file(fd),
            Kind::Device => Rest::of_device(fd, exited_at),
        }
    }
}

/// Whether the kernel does not transfer with `RWF_NOWAIT` (EOPNOTSUPP: not this file), or a sandbox
/// denies the call. No read or write of a stream fails with these.
pub(super) fn is_refusal(error: Errno) -> bool {
    use Errno as E;
    matches!(
        error,
        E::OPNOTSUPP | E::NOSYS | E::PERM | E::ACCESS | E::INVAL
    )
}

/// Does not wait, so a signal need not interrupt it.
pub(super) fn revents_now(fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Errno> {
    retry_on_intr(|| revents(fd, events, Some(Duration::ZERO)))
}

/// Whether `poll` reports, or has just reported, that a pipe is at its EOF.
fn is_at_eof(fd: BorrowedFd<'_>, mut revents: PollFlags) -> bool {
    if revents.is_empty() {
        revents = revents_now(fd, PollFlags::IN).unwrap_or(NOT_POLLED);
    }
    revents == PollFlags::HUP
}

pub(super) fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let revents = revents_now(fd, PollFlags::empty());
    revents.is_ok_and(|revents| revents.contains(PollFlags::HUP))
}

/// By `poll`, as FIONREAD of a UNIX socket also counts an out-of-band byte, which `read` does not
/// return. By FIONREAD where `poll` is denied, and for what macOS cannot poll.
fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    match revents_now(fd, PollFlags::IN) {
        Ok(revents) if !revents.contains(PollFlags::NVAL) => Ok(!revents.is_empty()),
        _ => Ok(ioctl_fionread(fd)? > 0),
    }
}

/// Other systems have no read or write that never blocks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) mod nonblocking {
    use rustix::{
        fd::{BorrowedFd, OwnedFd},
        io::Errno,
    };
    use std::mem::MaybeUninit;

    pub(crate) fn has_flag_for_pipes() -> bool {
        false
    }

    pub(crate) fn preadv2(_: BorrowedFd<'_>, _: &mut [MaybeUninit<u8>]) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    pub(crate) fn pwritev2(_: BorrowedFd<'_>, _: &[u8]) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    pub(crate) fn reopen(_: BorrowedFd<'_>, _: libc::c_int) -> Option<OwnedFd> {
        None
    }
}
