//! Windows: a snapshot of all processes, for those that we may not open.

use crate::{pid::Pid, sys::Sight};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io, mem,
    os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle},
};
use windows_sys::Win32::{
    Foundation::{ERROR_NO_MORE_FILES, INVALID_HANDLE_VALUE},
    System::Diagnostics::ToolHelp::{
        CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW,
        TH32CS_SNAPPROCESS,
    },
};

pub(crate) const CALL: &str = "CreateToolhelp32Snapshot";

/// The snapshot has no start time, but parent and program stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    parent: u32,
    program: u64,
}

/// A process is in the snapshot until it has exited, or a little longer.
pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    // SAFETY: takes numbers only.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened, is closed by `CloseHandle`, and nobody
    // else has it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: mem::size_of::<PROCESSENTRY32W>() as u32,
        ..Default::default()
    };
    // SAFETY: the handle is a snapshot's and open, and the entry says its size.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &mut entry) };
    while more != 0 {
        if entry.th32ProcessID == pid.get() {
            return Ok(Sight::Seen {
                mark: Some(mark(&entry)),
                is_ours: false, // Nobody is told more of his own.
                exit: None,
            });
        }
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &mut entry) };
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(code) if code as u32 == ERROR_NO_MORE_FILES => Ok(Sight::Gone),
        _ => Err(error),
    }
}

fn mark(entry: &PROCESSENTRY32W) -> Mark {
    let mut program = DefaultHasher::new();
    let name = entry.szExeFile.split(|&unit| unit == 0).next();
    name.hash(&mut program);
    Mark {
        parent: entry.th32ParentProcessID,
        program: program.finish(),
    }
}

/// No child is running for its parent alone.
pub(crate) fn is_sure_to_live(_: Pid) -> bool {
    true
}

/// Windows tells parents no more than others.
pub(crate) mod child {
    use crate::{pid::Pid, sys::Child};
    use std::{io, process};

    pub(crate) fn peek_child(_: Pid) -> Child {
        Child::NotOurs
    }

    pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
        child.try_wait()
    }
}
