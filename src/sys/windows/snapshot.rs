//! A snapshot of all processes, for those that we may not open.

use crate::{pid::Pid, sys::Snapshot};
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

pub(crate) const SNAPSHOT_CALL: &str = "CreateToolhelp32Snapshot";

/// The snapshot has no start time, but a process keeps its parent and its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    parent: u32,
    program: u64,
}

impl Fingerprint {
    pub(crate) fn start_time(self) -> Option<u64> {
        None
    }
}

/// A process is in the snapshot until it has exited, or a little longer.
pub(crate) fn snapshot(pid: Pid) -> io::Result<Option<Snapshot<Fingerprint>>> {
    // SAFETY: it takes integers.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was just opened, nothing else owns it, and `CloseHandle` closes it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: mem::size_of::<PROCESSENTRY32W>() as u32,
        ..Default::default()
    };
    // SAFETY: the handle is a snapshot's and open, and `entry` has its size set.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &mut entry) };
    while more != 0 {
        if entry.th32ProcessID == pid.get() {
            return Ok(Some(Snapshot {
                fingerprint: Some(fingerprint(&entry)),
                is_child: false, // It is only needed without a fingerprint.
                exit: None,
            }));
        }
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &mut entry) };
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(code) if code as u32 == ERROR_NO_MORE_FILES => Ok(None),
        _ => Err(error),
    }
}

fn fingerprint(entry: &PROCESSENTRY32W) -> Fingerprint {
    let mut program = DefaultHasher::new();
    let name = entry.szExeFile.split(|&unit| unit == 0).next();
    name.hash(&mut program);
    Fingerprint {
        parent: entry.th32ParentProcessID,
        program: program.finish(),
    }
}
