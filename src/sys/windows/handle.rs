//! A process handle, which is signaled once the process has exited. While it is open, the pid is
//! not reused.

use super::snapshot::snapshot;
use crate::{
    Backend, Error, Exit,
    deadline::Deadline,
    pid::Pid,
    sys::{BorrowedEvent, ExitEvent, ProcessHandle, Scope},
};
use std::{
    io,
    os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle},
    time::Duration,
};
use windows_sys::Win32::{
    Foundation::{
        ERROR_INVALID_HANDLE, FILETIME, INVALID_HANDLE_VALUE, STILL_ACTIVE, WAIT_OBJECT_0,
        WAIT_TIMEOUT,
    },
    System::Threading::{
        GetExitCodeProcess, GetProcessId, GetProcessTimes, INFINITE, OpenProcess,
        PROCESS_ACCESS_RIGHTS, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
        PROCESS_TERMINATE, TerminateProcess, WaitForSingleObject,
    },
};

#[derive(Debug)]
pub(crate) struct Handle {
    handle: OwnedHandle,
    /// `None` if it was adopted, and we may not ask.
    pid: Option<Pid>,
}

/// Windows has only `TerminateProcess`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal;

pub(crate) const KILL: Signal = Signal;

impl ProcessHandle for Handle {
    const BACKEND: Option<Backend> = Some(Backend::Handle);
    const OPEN_CALL: &str = "OpenProcess";
    const WAIT_CALL: &str = "WaitForSingleObject";
    const SIGNAL_CALL: &str = "TerminateProcess";

    fn open(pid: Pid) -> io::Result<Handle> {
        let handle = match open(pid, PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION) {
            // Then the exit can be waited for, but its code is unknown.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open(pid, PROCESS_SYNCHRONIZE)?
            }
            opened => opened?,
        };
        // Windows ignores the two lowest bits of a pid
        // (https://devblogs.microsoft.com/oldnewthing/20080606-00/?p=22043).
        let is_pid = match process_id(&handle) {
            Ok(opened) => opened == pid,
            // We may not ask.
            Err(_) => snapshot(pid).is_ok_and(|found| found.is_some()),
        };
        if is_pid {
            let pid = Some(pid);
            Ok(Handle { handle, pid })
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn wait(&self, deadline: Deadline) -> io::Result<Option<ExitEvent>> {
        let is_signaled = deadline.sleep(|timeout| wait(self.as_handle(), timeout))?;
        Ok(is_signaled.then_some(ExitEvent::Exited))
    }

    /// Any code can be an exit code, also 259 (`STILL_ACTIVE`). So only the event shows whether it
    /// has exited.
    fn exit(&self) -> io::Result<Option<Exit>> {
        Ok(Some(self.code().map_or(Exit::UNKNOWN, Exit::from_raw)))
    }

    /// An adopted handle may have the right. The handle keeps the pid from being reused, so the
    /// process can be opened again.
    fn signal(&self, _: Signal) -> io::Result<()> {
        let killed = terminate(&self.handle).or_else(|error| {
            let pid = self.pid.ok_or(error)?;
            terminate(&open(pid, PROCESS_TERMINATE)?)
        });
        // Access is also denied if the process is already exiting. Then its code is set.
        let is_exiting = || self.code().is_some_and(|code| code != STILL_ACTIVE as u32);
        if killed.is_err() && is_exiting() {
            Ok(())
        } else {
            killed
        }
    }

    fn is_reaped(&self) -> Option<bool> {
        Some(false)
    }

    /// Both are open, which keeps the pid from being reused.
    fn is_same_process(&self, other: &Handle) -> Option<bool> {
        Some(self.pid? == other.pid?)
    }

    /// In units of 100 ns since 1601. It does not move when the clock is set
    /// (<https://learn.microsoft.com/windows-hardware/drivers/ddi/ntddk/nf-ntddk-psgetprocesscreatetimequadpart>).
    fn start_time(&self) -> Option<u64> {
        let mut times = [FILETIME::default(); 4];
        let [created, exited, kernel, user] = &mut times;
        // SAFETY: the handle is open, and the four are live.
        let result =
            unsafe { GetProcessTimes(self.handle.as_raw_handle(), created, exited, kernel, user) };
        let time = u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime);
        (result != 0).then_some(time)
    }

    fn as_event(&self) -> Option<BorrowedEvent<'_>> {
        Some(self.as_handle())
    }
}

impl Handle {
    /// The process of a handle that another program has opened.
    pub(crate) fn adopt(handle: OwnedHandle) -> io::Result<Handle> {
        // It also is the pseudo handle of the current process.
        if handle.as_raw_handle() == INVALID_HANDLE_VALUE {
            return Err(io::Error::from_raw_os_error(ERROR_INVALID_HANDLE as i32));
        }
        let pid = match process_id(&handle) {
            Ok(pid) => Some(pid),
            // It is a process: the type of an object is checked before the access (ReactOS,
            // ntoskrnl/ob/obref.c, ObReferenceObjectByHandle; Wine, server/handle.c,
            // get_handle_obj).
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(error),
        };
        // An error if it has no right to wait. (To wait for a mutex would acquire it.)
        wait(handle.as_handle(), Some(Duration::ZERO))?;
        Ok(Handle { handle, pid })
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// Does not wait.
    pub(super) fn check(&self) -> io::Result<Option<Exit>> {
        match self.wait(Deadline::Now)? {
            Some(_) => self.exit(),
            None => Ok(None),
        }
    }

    /// `None` if we may not ask.
    fn code(&self) -> Option<u32> {
        let mut code = 0;
        // SAFETY: the handle is open, and `code` is live.
        let result = unsafe { GetExitCodeProcess(self.handle.as_raw_handle(), &mut code) };
        (result != 0).then_some(code)
    }
}

impl AsHandle for Handle {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

pub(crate) fn scope() -> Option<Scope> {
    Some(Scope::NOTHING_BUT_TIME)
}

/// The process is opened first, which keeps the pid from being reused. So `has_exited` then shows
/// about the process that was opened.
pub(crate) fn signal_pid(
    pid: Pid,
    _: Signal,
    has_exited: impl Fn() -> Result<bool, Error>,
) -> Result<bool, Error> {
    let killed = match open(pid, PROCESS_TERMINATE) {
        Ok(_) if has_exited()? => return Ok(false),
        Ok(process) => terminate(&process).map_err(|error| ("TerminateProcess", error)),
        Err(error) => Err(("OpenProcess", error)),
    };
    match killed {
        Ok(()) => Ok(true),
        Err(_) if has_exited()? => Ok(false),
        Err((call, error)) => Err(Error::os(call, pid, error)),
    }
}

fn process_id(process: &OwnedHandle) -> io::Result<Pid> {
    // SAFETY: the handle is open.
    let pid = unsafe { GetProcessId(process.as_raw_handle()) };
    Pid::new(pid).map_err(|_| io::Error::last_os_error())
}

/// With the exit code that `std::process::Child::kill` uses.
fn terminate(process: &OwnedHandle) -> io::Result<()> {
    const CODE: u32 = 1;
    // SAFETY: the handle is open.
    match unsafe { TerminateProcess(process.as_raw_handle(), CODE) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn open(pid: Pid, access: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    const DO_NOT_INHERIT: i32 = 0;
    // SAFETY: it takes integers.
    let handle = unsafe { OpenProcess(access, DO_NOT_INHERIT, pid.get()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened, nothing else owns it, and `CloseHandle` closes it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Whether the object is signaled within `timeout`.
pub(super) fn wait(object: BorrowedHandle<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.map_or(INFINITE, milliseconds);
    // SAFETY: the handle is open, and stays so as it is borrowed.
    match unsafe { WaitForSingleObject(object.as_raw_handle(), timeout) } {
        WAIT_OBJECT_0 => Ok(true),
        WAIT_TIMEOUT => Ok(false),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Rounded up, so that no wait is too short, and cut below `INFINITE`: `Deadline::sleep` waits
/// again for the rest.
pub(super) fn milliseconds(duration: Duration) -> u32 {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    u32::try_from(milliseconds).map_or(INFINITE - 1, |milliseconds| milliseconds.min(INFINITE - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up_and_never_infinite() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_nanos(20_000_001)), 21);
        let infinite = Duration::from_millis(INFINITE.into());
        assert_eq!(milliseconds(infinite), INFINITE - 1);
        assert_eq!(milliseconds(Duration::MAX), INFINITE - 1);
    }
}
