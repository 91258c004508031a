//! Windows: a process handle, which is signalled once the process has exited.
//! As long as it is open, the pid is not given to another process.

use crate::{
    Backend, Error, Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{self, Child, ExitEvent, Sight},
};
use std::{
    io,
    os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    time::Duration,
};
use windows_sys::Win32::{
    Foundation::{STILL_ACTIVE, WAIT_OBJECT_0, WAIT_TIMEOUT},
    System::Threading::{
        GetExitCodeProcess, GetProcessId, INFINITE, OpenProcess, PROCESS_ACCESS_RIGHTS,
        PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
        TerminateProcess, WaitForSingleObject,
    },
};

#[derive(Debug)]
pub(crate) struct Handle {
    handle: OwnedHandle,
    pid: Pid,
}

impl Handle {
    pub(crate) const BACKEND: Option<Backend> = Some(Backend::Handle);
    pub(crate) const OPEN: &str = "OpenProcess";
    pub(crate) const WAIT: &str = "WaitForSingleObject";

    pub(crate) fn open(pid: Pid) -> io::Result<Handle> {
        let handle = match open(pid, PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION) {
            // The exit is worth having without the status.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open(pid, PROCESS_SYNCHRONIZE)?
            }
            opened => opened?,
        };
        // Windows takes the three numbers after a pid for that pid.
        //
        // SAFETY: the handle is open.
        let is_this = match unsafe { GetProcessId(handle.as_raw_handle()) } {
            // We may not ask.
            0 => matches!(sys::sight(pid)?, Sight::Seen { .. }),
            opened => opened == pid.get(),
        };
        if is_this {
            Ok(Handle { handle, pid })
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// What is refused is this process.
    pub(crate) fn is_unavailable(_: &io::Error) -> bool {
        false
    }

    pub(crate) fn wait(&self, deadline: Deadline) -> io::Result<bool> {
        deadline.sleep(|longest| {
            let milliseconds = longest.map_or(INFINITE, milliseconds);
            // SAFETY: the handle is open, and stays so as we borrow it.
            match unsafe { WaitForSingleObject(self.handle.as_raw_handle(), milliseconds) } {
                WAIT_OBJECT_0 => Ok(true),
                WAIT_TIMEOUT => Ok(false),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }

    pub(crate) fn wait_event(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        Ok(self.wait(deadline)?.then_some(ExitEvent::Exited))
    }

    /// Any code may be an exit code, 259 (`STILL_ACTIVE`) as well: to be asked
    /// once the handle was signalled.
    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        Ok(Some(self.code().map_or(Exit::UNKNOWN, Exit::from_raw)))
    }

    /// `None`: we are not told.
    fn code(&self) -> Option<u32> {
        let mut code = 0;
        // SAFETY: the handle is open, and the code is written to a place that
        // outlives the call.
        let told = unsafe { GetExitCodeProcess(self.handle.as_raw_handle(), &mut code) };
        (told != 0).then_some(code)
    }

    /// The handle keeps the pid from being another's, so that it may be opened again.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        let pid = self.pid;
        let Err(denied) = open_to_kill(pid).and_then(|process| terminate(process, pid)) else {
            return Ok(());
        };
        // So it is of one that is ending already, whose code is known by then.
        if self.code().is_some_and(|code| code != STILL_ACTIVE as u32) {
            Ok(())
        } else {
            Err(denied)
        }
    }

    /// Windows reports no more to parents than to others.
    pub(crate) fn child_state(&self) -> Option<Child> {
        None
    }

    pub(crate) fn is_reaped(&self) -> Option<bool> {
        Some(false)
    }
}

impl AsHandle for Handle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

/// Kills a polled process. The pid is opened first, and keeps its meaning from then on: so
/// `check` then answers for the process that was opened.
pub(crate) fn kill_checked(
    pid: Pid,
    check: impl FnOnce() -> io::Result<Option<Exit>>,
) -> Result<(), Error> {
    let process = open_to_kill(pid)?;
    match check().map_err(Error::os(sys::CALL, pid.get()))? {
        None => terminate(process, pid),
        Some(_) => Ok(()),
    }
}

fn open_to_kill(pid: Pid) -> Result<OwnedHandle, Error> {
    open(pid, PROCESS_TERMINATE).map_err(Error::os("OpenProcess", pid.get()))
}

/// As `std::process::Child::kill` does it.
fn terminate(process: OwnedHandle, pid: Pid) -> Result<(), Error> {
    const CODE: u32 = 1;
    // SAFETY: the handle is open.
    match unsafe { TerminateProcess(process.as_raw_handle(), CODE) } {
        0 => Err(Error::os("TerminateProcess", pid.get())(
            io::Error::last_os_error(),
        )),
        _ => Ok(()),
    }
}

fn open(pid: Pid, access: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    const DO_NOT_INHERIT: i32 = 0;
    // SAFETY: takes numbers only.
    let handle = unsafe { OpenProcess(access, DO_NOT_INHERIT, pid.get()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened, is closed by `CloseHandle`, and nobody
    // else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Rounded up, so that no wait is too short. (What does not fit is cut: the wait
/// is then done in several.)
pub(super) fn milliseconds(duration: Duration) -> u32 {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    u32::try_from(milliseconds).map_or(INFINITE - 1, |it| it.min(INFINITE - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up_and_never_infinite() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(20)), 20);
        assert_eq!(milliseconds(Duration::from_nanos(20_000_001)), 21);
        assert_eq!(
            milliseconds(Duration::from_millis(u32::MAX.into())),
            INFINITE - 1
        );
        assert_eq!(milliseconds(Duration::MAX), INFINITE - 1);
    }
}
