//! What a handle is of, which decides how it can be read and written within a deadline.

use std::{
    fs::File,
    mem::ManuallyDrop,
    os::windows::io::{AsHandle, AsRawHandle as _, FromRawHandle as _},
};
use windows_sys::{
    Wdk::Storage::FileSystem::{
        FILE_MODE_INFORMATION, FILE_SYNCHRONOUS_IO_ALERT, FILE_SYNCHRONOUS_IO_NONALERT,
        FileModeInformation, NtQueryInformationFile,
    },
    Win32::{
        Foundation::HANDLE,
        Storage::FileSystem::{FILE_TYPE_CHAR, FILE_TYPE_DISK, GetFileType},
        System::IO::IO_STATUS_BLOCK,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileType {
    OverlappedPipe,
    SynchronousPipe,
    /// A disk file, opened without `FILE_FLAG_OVERLAPPED`.
    File,
    Other,
}

impl FileType {
    pub(super) fn of(handle: &impl AsHandle) -> FileType {
        let is_overlapped = is_overlapped(handle);
        // SAFETY: the handle is open, as it is borrowed.
        match unsafe { GetFileType(handle.as_handle().as_raw_handle()) } {
            FILE_TYPE_DISK if !is_overlapped => FileType::File,
            // An overlapped file has no position of its own. A character device, such as NUL
            // or a console, cannot be peeked at, and a read of one can block.
            FILE_TYPE_DISK | FILE_TYPE_CHAR => FileType::Other,
            _ if is_overlapped => FileType::OverlappedPipe,
            _ => FileType::SynchronousPipe,
        }
    }
}

/// Whether an operation can be started without waiting for its completion. False if that is unknown.
fn is_overlapped(pipe: &impl AsHandle) -> bool {
    let mut mode = FILE_MODE_INFORMATION::default();
    let mut status = IO_STATUS_BLOCK::default();
    let pipe: HANDLE = pipe.as_handle().as_raw_handle();
    // SAFETY: the handle is open, `status` and `mode` are live, and `size` is that of `mode`.
    let result = unsafe {
        let size = size_of_val(&mode) as u32;
        let mode = (&raw mut mode).cast();
        NtQueryInformationFile(pipe, &mut status, mode, size, FileModeInformation)
    };
    const SYNCHRONOUS: u32 = FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT;
    result >= 0 && mode.Mode & SYNCHRONOUS == 0
}

pub(super) fn as_file(handle: &impl AsHandle) -> ManuallyDrop<File> {
    // SAFETY: the handle is open, as it is borrowed, and the file is not dropped, so it does not
    // close it. No caller keeps the file for longer than the handle is borrowed.
    ManuallyDrop::new(unsafe { File::from_raw_handle(handle.as_handle().as_raw_handle()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::windows::io::OwnedHandle,
        process::{Command, Stdio},
        ptr,
    };
    use windows_sys::Win32::System::Pipes::CreatePipe;

    #[test]
    fn overlapped_and_synchronous_pipes() {
        let mut command = Command::new("cmd");
        let command = command.args(["/c", "exit"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        assert!(is_overlapped(child.stdin.as_ref().unwrap()));
        assert!(is_overlapped(child.stdout.as_ref().unwrap()));
        child.wait().unwrap();

        let mut ends = [ptr::null_mut(); 2];
        let [reader, writer] = &mut ends;
        // SAFETY: `ends` is live.
        assert_ne!(unsafe { CreatePipe(reader, writer, ptr::null(), 0) }, 0);
        // SAFETY: they were just made, and nothing else owns them.
        let ends = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
        assert!(!is_overlapped(&ends[0]) && !is_overlapped(&ends[1]));
    }
}
