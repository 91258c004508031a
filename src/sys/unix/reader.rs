//! Unix: what a stream is, and how to read from it without blocking.

use super::poll::revents;
use rustix::{
    event::PollFlags,
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{FileType, fstat, tell},
    io::{Errno, ioctl_fionread, retry_on_intr},
};
use std::{mem::MaybeUninit, time::Duration};

/// For a stream that was not polled.
pub(super) const NOT_POLLED: PollFlags = PollFlags::empty();

/// What the descriptor of a stream refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
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
pub(super) struct Rest {
    /// At most. Other processes may go on writing, for ever.
    pub(super) bytes: u64,
    /// The rest has been read if nothing arrives for so long.
    pub(super) quiet: Duration,
}

impl Rest {
    /// How long data that is under way is waited for at most, however slowly it arrives.
    pub(super) const LONGEST: Duration = Duration::from_secs(3);
    /// The child's end of a socket is on this machine, so data arrives at once, but for packets
    /// that get lost: they are sent again after 200 ms (include/net/tcp.h, TCP_RTO_MIN).
    const QUIET: Duration = Duration::from_millis(300);
    /// More than the send and the receive buffer of a TCP connection, which have 4 MiB and up to
    /// 32 MiB on Linux (tcp(7), tcp_wmem and tcp_rmem).
    const IN_SOCKETS: u64 = 64 * 1024 * 1024;
    /// More than a terminal has: on Linux 4 KiB (drivers/tty/n_tty.c, N_TTY_BUF_SIZE) and about
    /// twice 8 KiB behind them (drivers/tty/pty.c, tty_buffer_set_limit). Also what a pipe has at
    /// most (pipe(7), pipe-max-size), unless root has made it larger.
    pub(super) const IN_OTHERS: u64 = 1024 * 1024;

    pub(super) fn available(fd: BorrowedFd<'_>) -> Rest {
        Rest {
            bytes: ioctl_fionread(fd).unwrap_or(Rest::IN_OTHERS),
            quiet: Duration::ZERO,
        }
    }

    pub(super) fn at_most(self, bytes: u64) -> Rest {
        Rest {
            bytes: self.bytes.min(bytes),
            ..self
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
pub(super) struct Reader {
    method: Method,
    /// `None` until it matters, which for most pipes it does not.
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
    /// It is a file: a read does not wait for others.
    File,
    /// It may block.
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

    /// Whether it can be read again without a poll. If not known yet, the first read tells.
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
        room: &mut [MaybeUninit<u8>],
        revents: PollFlags,
    ) -> Result<usize, Errno> {
        let is_unchecked = |reader: &Reader| reader.may_block() && revents.is_empty();
        if is_unchecked(self) && !is_readable(fd)? {
            return Err(Errno::AGAIN);
        }
        if let Method::Unknown = self.method {
            let result = sys::read(fd, room, sys::NO_FLAG);
            self.method = if result == Err(Errno::OPNOTSUPP) {
                Method::Flag
            } else {
                self.without_flag(fd)
            };
            // gVisor ignores the flags for pipes. (If this is 0, a sandbox may have made it up.)
            if let Ok(1..) = result {
                return result;
            }
        }
        if let Method::Flag = self.method {
            match sys::read(fd, room, sys::NOWAIT) {
                Err(Errno::OPNOTSUPP) => {
                    self.method = self.without_flag(fd);
                    if is_unchecked(self) && !is_readable(fd)? {
                        return Err(Errno::AGAIN);
                    }
                }
                result => return result,
            }
        }
        let read = match &self.method {
            Method::Reopened(own) => rustix::io::read(own, room),
            _ => rustix::io::read(fd, room),
        };
        Ok(read?.0.len())
    }

    /// Linux before 6.4 refuses `RWF_NOWAIT` for pipes. Later kernels refuse it once a process
    /// has spliced from the pipe (fs/splice.c, pipe_clear_nowait).
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
    pub(super) fn ends_for_good(&mut self, fd: BorrowedFd<'_>, revents: PollFlags) -> bool {
        // A pipe or a socket, as poll does not report POLLHUP of a file, and terminals do not
        // have the flag. This saves fstat.
        let is_known = matches!(self.method, Method::Flag) && revents.contains(PollFlags::HUP);
        is_known || !matches!(self.kind(fd), Kind::File | Kind::Device)
    }

    /// Whether it is a file, which reads as empty although `poll` has reported it.
    pub(super) fn is_unread_file(&mut self, fd: BorrowedFd<'_>, revents: PollFlags) -> bool {
        let is_contradiction = matches!(self.method, Method::Flag) && !revents.is_empty();
        is_contradiction && self.kind(fd) == Kind::File
    }

    /// What the stream holds of the output of a child that has exited.
    pub(super) fn rest(&mut self, fd: BorrowedFd<'_>) -> Rest {
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
pub(super) fn revents_now(fd: BorrowedFd<'_>, events: PollFlags) -> Result<PollFlags, Errno> {
    retry_on_intr(|| revents(fd, events, Some(Duration::ZERO)))
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
