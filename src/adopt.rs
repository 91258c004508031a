//! Processes that another program has opened.

use crate::{Error, Process, open_process::OpenProcess, sys::Handle};
#[cfg(not(windows))]
use std::os::fd::OwnedFd;
#[cfg(windows)]
use std::os::windows::io::OwnedHandle;

impl Process {
    /// Adopts a process by its pidfd, which refers to this very process: one that came from
    /// `SO_PEERPIDFD` (the process at the other end of a UNIX socket), from `clone3`, from systemd,
    /// or over a socket.
    ///
    /// The pidfd is made close-on-exec. If its number is below 3, it gets another one. On an error,
    /// it is closed.
    ///
    /// The process may have exited, and may have been reaped: then its status is known if the kernel
    /// still reports it, on Linux 6.15 and later. [`pid`](Process::pid) is 0
    /// - if the process has been reaped,
    /// - if it is in a pid namespace that cannot be seen from this one (signals to it fail, too),
    /// - before Linux 6.13 if `/proc` is not mounted for this pid namespace, and before Linux 5.5.
    ///
    /// Such a process can be waited for. But it cannot be [inserted](crate::WaitSet::insert_process)
    /// into a set or signaled as a [group](Process::send_signal_to_group), and has no
    /// [identity](Process::identity). If events fail, it cannot be polled.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] of the kind [`InvalidInput`](std::io::ErrorKind::InvalidInput) if the descriptor
    /// is not a pidfd, or that of a thread (`PIDFD_THREAD`). (A pidfd that is opened with this flag
    /// for the first thread of a process becomes readable when that thread ends, and not when the
    /// process exits.)
    ///
    /// ```
    /// use procwait::Process;
    /// use std::{os::fd::AsFd as _, process::Command};
    ///
    /// # let mut child = Command::new("true").spawn()?;
    /// # let Ok(opened) = Process::open_with(child.id(), procwait::Backend::PidFd) else { return Ok(()) };
    /// # let pidfd = opened.as_event_fd().unwrap().try_clone_to_owned()?;
    /// // `pidfd` came over a socket.
    /// let process = Process::from_pidfd(pidfd)?;
    /// println!("process {}: {}", process.pid(), process.wait()?);
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(not(windows))]
    pub fn from_pidfd(pidfd: OwnedFd) -> Result<Process, Error> {
        let handle = Handle::adopt(pidfd).map_err(|error| Error::os("from_pidfd", None, error))?;
        Ok(adopt(handle))
    }

    /// Adopts a process by a handle, which refers to this very process: one that it got from
    /// `CreateProcess`, was duplicated into this process, or was inherited.
    ///
    /// The handle needs the right `SYNCHRONIZE`. Without `PROCESS_QUERY_LIMITED_INFORMATION`, the exit
    /// status is unknown and [`pid`](Process::pid) is 0. Such a process can be waited for, and killed
    /// if the handle has the right `PROCESS_TERMINATE`. But it cannot be
    /// [inserted](crate::WaitSet::insert_process) into a set, and has no
    /// [identity](Process::identity).
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if it is not the handle of a process, or has no right to wait. Then it is closed.
    /// The pseudo handle that `GetCurrentProcess` returns is refused, too: an invalid handle, of a
    /// call that failed, has the same value.
    ///
    /// ```
    /// use procwait::Process;
    /// use std::process::Command;
    ///
    /// # if cfg!(windows) {
    /// let child = Command::new("cmd").args(["/c", "exit 3"]).spawn()?;
    /// let process = Process::from_handle(child.into())?;
    /// assert_eq!(process.wait()?.code(), Some(3));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(windows)]
    pub fn from_handle(handle: OwnedHandle) -> Result<Process, Error> {
        let handle =
            Handle::adopt(handle).map_err(|error| Error::os("from_handle", None, error))?;
        Ok(adopt(handle))
    }
}

fn adopt(handle: Handle) -> Process {
    OpenProcess::new(handle.pid(), Some(handle), true).into()
}
