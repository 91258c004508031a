//! Reads the output of a child while waiting for its exit.
//!
//! The pipes that std makes are overlapped (library/std/src/sys/process/windows/child_pipe.rs): we
//! start a read, and the system completes it when there is data. Before we return, we cancel it and
//! keep what it has read. Other pipes can be synchronous: a read of one blocks. We peek at such a
//! pipe, with backoff, and read it once it holds data. A disk file is read with backoff, too: a
//! read of it does not block, and reports its present end, behind which the child may write more.
//! Nothing else can be read within a deadline, so it is refused.

use super::handle::milliseconds;
use crate::{
    deadline::{Deadline, sleep_until},
    sys::{MAX_READ, OutputBuffer, Streams, streams::Read},
};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    mem::ManuallyDrop,
    os::windows::io::{
        AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle,
    },
    ptr::{self, NonNull},
    slice,
    time::Duration,
};
use windows_sys::{
    Wdk::Storage::FileSystem::{
        FILE_MODE_INFORMATION, FILE_SYNCHRONOUS_IO_ALERT, FILE_SYNCHRONOUS_IO_NONALERT,
        FileModeInformation, NtQueryInformationFile,
    },
    Win32::{
        Foundation::{
            ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_INVALID_FUNCTION, ERROR_IO_INCOMPLETE,
            ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_NOT_SUPPORTED, ERROR_OPERATION_ABORTED,
            HANDLE, STATUS_PENDING, WAIT_FAILED, WAIT_OBJECT_0,
        },
        Storage::FileSystem::{FILE_TYPE_CHAR, FILE_TYPE_DISK, GetFileType, ReadFile},
        System::{
            IO::{CancelIoEx, GetOverlappedResult, IO_STATUS_BLOCK, OVERLAPPED},
            Pipes::PeekNamedPipe,
            Threading::{CreateEventW, INFINITE, WaitForMultipleObjects},
        },
    },
};

impl Streams<'_> {
    /// Reads until the event (true), or until the deadline (false).
    pub(crate) fn read(
        &mut self,
        event: Option<BorrowedHandle<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        let [stdout, stderr] = self.streams.each_mut().map(Stream::refuse_unreadable);
        stderr.and(stdout)?;
        deadline.sleep(|mut timeout| {
            for stream in &mut self.streams {
                stream.start()?;
            }
            if self.streams.iter().any(Stream::needs_backoff) {
                let delay = self.read_with_backoff(|stream| stream.needs_backoff())?;
                timeout = timeout.into_iter().chain([delay]).min();
            }
            let has_event = self.wait(event, timeout)?;
            for stream in &mut self.streams {
                stream.finish(Wait::No)?;
            }
            Ok(has_event)
        })
    }

    fn wait(
        &self,
        event: Option<BorrowedHandle<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let (mut handles, mut count) = ([ptr::null_mut(); 3], 0);
        let [stdout, stderr] = &self.streams;
        let events = [event, stdout.read_event(), stderr.read_event()];
        for event in events.into_iter().flatten() {
            handles[count] = event.as_raw_handle();
            count += 1;
        }
        if count == 0 {
            sleep_until(Deadline::from_timeout(timeout));
            return Ok(false);
        }
        let timeout = timeout.map_or(INFINITE, milliseconds);
        // SAFETY: so many handles are in the array, and open, as they are borrowed.
        match unsafe { WaitForMultipleObjects(count as u32, handles.as_ptr(), 0, timeout) } {
            WAIT_FAILED => Err(io::Error::last_os_error()),
            // Of several, it returns the first.
            first => Ok(event.is_some() && first == WAIT_OBJECT_0),
        }
    }
}

#[derive(Debug)]
pub(in crate::sys) struct Stream<'a> {
    /// `None` once its EOF was read.
    pipe: Option<OwnedHandle>,
    buffer: OutputBuffer<'a>,
    kind: Kind,
    /// `None` until the first read.
    overlapped: Option<OverlappedRead>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OverlappedPipe,
    SynchronousPipe,
    /// A disk file, opened without `FILE_FLAG_OVERLAPPED`.
    File,
    Unreadable,
}

impl Kind {
    fn of(handle: &impl AsHandle) -> Kind {
        let is_overlapped = is_overlapped(handle);
        // SAFETY: the handle is open, as it is borrowed.
        match unsafe { GetFileType(handle.as_handle().as_raw_handle()) } {
            FILE_TYPE_DISK if !is_overlapped => Kind::File,
            // An overlapped file has no position of its own. A character device, such as NUL
            // or a console, cannot be peeked at, and a read of one can block.
            FILE_TYPE_DISK | FILE_TYPE_CHAR => Kind::Unreadable,
            _ if is_overlapped => Kind::OverlappedPipe,
            _ => Kind::SynchronousPipe,
        }
    }
}

enum Wait {
    /// Only if the read is complete.
    No,
    Cancel,
}

impl<'a> Stream<'a> {
    pub(in crate::sys) fn new(pipe: Option<OwnedHandle>, buffer: OutputBuffer<'a>) -> Stream<'a> {
        Stream {
            kind: pipe.as_ref().map_or(Kind::Unreadable, Kind::of),
            pipe,
            buffer,
            overlapped: None,
        }
    }

    /// Is signaled once the pending read is complete.
    fn read_event(&self) -> Option<BorrowedHandle<'_>> {
        let overlapped = self
            .overlapped
            .as_ref()
            .filter(|overlapped| overlapped.is_pending)?;
        Some(overlapped.event.as_handle())
    }

    /// Starts a read of an overlapped pipe, unless one is pending.
    fn start(&mut self) -> io::Result<()> {
        if self.kind == Kind::OverlappedPipe && self.read_event().is_none() {
            self.start_read(MAX_READ)?;
        }
        Ok(())
    }

    fn start_read(&mut self, max: usize) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let overlapped = match &mut self.overlapped {
            Some(overlapped) => overlapped,
            none => none.insert(OverlappedRead::new()?),
        };
        match overlapped.start(pipe.as_handle(), max) {
            Err(error) if is_eof(&error) => {
                self.pipe = None;
                Ok(())
            }
            started => started,
        }
    }

    /// Takes the result of the pending read.
    fn finish(&mut self, wait: Wait) -> io::Result<Read> {
        let (Some(pipe), Some(overlapped)) = (&self.pipe, &mut self.overlapped) else {
            return Ok(Read::WouldBlock);
        };
        match overlapped.finish(pipe.as_handle(), wait) {
            Ok(Some(bytes)) => {
                self.buffer.append(bytes)?;
                Ok(Read::Some(bytes.len()))
            }
            Ok(None) => Ok(Read::WouldBlock),
            Err(error) if is_eof(&error) => {
                self.pipe = None;
                Ok(Read::Eof)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the stream up. `None` once its EOF was read.
    pub(in crate::sys) fn close(&mut self) -> Option<OwnedHandle> {
        // A read is only pending here after an error. What it has read is kept.
        let _ = self.finish(Wait::Cancel);
        self.pipe.take()
    }

    /// Refuses, once, what cannot be read within a deadline. Later calls go on without it.
    fn refuse_unreadable(&mut self) -> io::Result<()> {
        if self.kind != Kind::Unreadable || self.pipe.is_none() {
            return Ok(());
        }
        self.pipe = None;
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "cannot read the child's output with a timeout: the handle is neither a pipe nor a \
             disk file opened without FILE_FLAG_OVERLAPPED",
        ))
    }

    /// Whether no event reports it as readable.
    fn needs_backoff(&self) -> bool {
        matches!(self.kind, Kind::SynchronousPipe | Kind::File) && self.pipe.is_some()
    }

    /// Reads a stream that needs backoff, if it holds data.
    pub(in crate::sys) fn read_now(&mut self) -> io::Result<Read> {
        match self.kind {
            Kind::SynchronousPipe => match self.available()? {
                0 => Ok(Read::WouldBlock),
                available => self.read(available),
            },
            Kind::File => self.read_file(),
            Kind::OverlappedPipe | Kind::Unreadable => Ok(Read::WouldBlock),
        }
    }

    /// Reads a disk file once, at its own position. `Read::WouldBlock` at its present end.
    fn read_file(&mut self) -> io::Result<Read> {
        let Some(handle) = &self.pipe else {
            return Ok(Read::WouldBlock);
        };
        let mut bytes = [0; MAX_READ / 4];
        match as_file(handle).read(&mut bytes)? {
            0 => Ok(Read::WouldBlock),
            read => {
                self.buffer.append(&bytes[..read])?;
                Ok(Read::Some(read))
            }
        }
    }

    /// Reads once, without waiting if it is overlapped.
    fn read(&mut self, max: usize) -> io::Result<Read> {
        self.start_read(max.min(MAX_READ))?;
        self.finish(Wait::Cancel)
    }

    fn available(&mut self) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else {
            return Ok(0);
        };
        match available(pipe.as_handle()) {
            Err(error) if is_eof(&error) => {
                self.pipe = None;
                Ok(0)
            }
            // A socket, which GetFileType reports as a pipe. (The second error is that of Wine.)
            Err(error) if is(&error, ERROR_INVALID_FUNCTION) || is(&error, ERROR_NOT_SUPPORTED) => {
                self.kind = Kind::Unreadable;
                self.refuse_unreadable().and(Ok(0))
            }
            available => available,
        }
    }

    pub(in crate::sys) fn drain(&mut self, has_exited: bool, _: Deadline) -> io::Result<()> {
        self.refuse_unreadable()?;
        if self.kind == Kind::File {
            return self.drain_file(has_exited);
        }
        self.finish(Wait::Cancel)?;
        // The second time for its EOF, if no other process holds the pipe.
        for _ in 0..2 {
            let mut remaining = self.available()?;
            while remaining > 0 {
                match self.read(remaining)? {
                    Read::Some(read) => remaining -= read,
                    Read::WouldBlock | Read::Eof => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn drain_file(&mut self, has_exited: bool) -> io::Result<()> {
        let Some(handle) = &self.pipe else {
            return Ok(());
        };
        let file = as_file(handle);
        let mut remaining = file.metadata()?.len();
        remaining = remaining.saturating_sub((&*file).stream_position()?);
        while remaining > 0 {
            match self.read_file()? {
                Read::Some(read) => remaining = remaining.saturating_sub(read as u64),
                Read::WouldBlock | Read::Eof => break,
            }
        }
        if has_exited && self.read_file()? == Read::WouldBlock {
            self.pipe = None;
        }
        Ok(())
    }
}

/// A read that the system may be carrying out.
#[derive(Debug)]
struct OverlappedRead {
    buffer: NonNull<ReadBuffer>,
    event: OwnedHandle,
    is_pending: bool,
}

/// What the system writes to while a read is pending.
struct ReadBuffer {
    overlapped: OVERLAPPED,
    bytes: [u8; MAX_READ],
}

impl OverlappedRead {
    fn new() -> io::Result<OverlappedRead> {
        let (manual_reset, not_set) = (1, 0);
        // SAFETY: neither attributes nor a name need be given.
        let event = unsafe { CreateEventW(ptr::null(), manual_reset, not_set, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the event was just made, nothing else owns it, and `CloseHandle` closes it.
        let event = unsafe { OwnedHandle::from_raw_handle(event) };
        let buffer = Box::new(ReadBuffer {
            overlapped: OVERLAPPED::default(),
            bytes: [0; MAX_READ],
        });
        Ok(OverlappedRead {
            // Not a box, as the system writes to it as well.
            buffer: NonNull::from(Box::leak(buffer)),
            event,
            is_pending: false,
        })
    }

    /// Starts a read, which may be complete by the time this returns. None is pending.
    fn start(&mut self, pipe: BorrowedHandle<'_>, max: usize) -> io::Result<()> {
        assert!(!self.is_pending);
        let buffer = self.buffer.as_ptr();
        // SAFETY: the buffer is ours alone while no read is pending. From then on it is the
        // system's, until `finish` has the result; it is not freed before. So long, the event is
        // open. `max` is cut to the size of the buffer.
        let is_complete = unsafe {
            (*buffer).overlapped = OVERLAPPED {
                hEvent: self.event.as_raw_handle(),
                ..OVERLAPPED::default()
            };
            let bytes = (&raw mut (*buffer).bytes).cast();
            let overlapped = &raw mut (*buffer).overlapped;
            let max = max.min(MAX_READ) as u32;
            ReadFile(
                pipe.as_raw_handle(),
                bytes,
                max,
                ptr::null_mut(),
                overlapped,
            ) != 0
        };
        if !is_complete {
            let error = io::Error::last_os_error();
            // MORE_DATA: the buffer was filled with the start of a message.
            if !is(&error, ERROR_IO_PENDING) && !is(&error, ERROR_MORE_DATA) {
                return Err(error);
            }
        }
        self.is_pending = true;
        Ok(())
    }

    /// What was read. `None` if no read was pending, it is not complete, or it was cancelled.
    fn finish(&mut self, pipe: BorrowedHandle<'_>, wait: Wait) -> io::Result<Option<&[u8]>> {
        if !self.is_pending {
            return Ok(None);
        }
        let buffer = self.buffer.as_ptr();
        let is_cancelled = matches!(wait, Wait::Cancel);
        let mut read = 0;
        // SAFETY: the handle is open, and the read was started on it with this `OVERLAPPED`, which
        // is still there. A read that is complete is not cancelled any more. The system may be
        // writing to the state, so that is a volatile read.
        let result = unsafe {
            let (pipe, overlapped) = (pipe.as_raw_handle(), &raw const (*buffer).overlapped);
            if is_cancelled {
                CancelIoEx(pipe, overlapped);
            }
            let result = GetOverlappedResult(pipe, overlapped, &mut read, is_cancelled.into());
            let state = (&raw const (*overlapped).Internal).read_volatile();
            self.is_pending = state == STATUS_PENDING as usize;
            result
        };
        if result == 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error().map(|code| code as u32) {
                Some(ERROR_IO_INCOMPLETE) => {
                    // It may be complete since, but its result was not fetched.
                    self.is_pending = true;
                    return Ok(None);
                }
                Some(ERROR_OPERATION_ABORTED) if read == 0 => return Ok(None),
                Some(ERROR_OPERATION_ABORTED | ERROR_MORE_DATA) => {}
                _ => return Err(error),
            }
        }
        // SAFETY: the system no longer uses the buffer, and has written so many bytes, which it has
        // room for. They are not changed before the next read starts, which needs `&mut self`.
        Ok(Some(unsafe {
            slice::from_raw_parts((&raw const (*buffer).bytes).cast(), read as usize)
        }))
    }
}

impl Drop for OverlappedRead {
    fn drop(&mut self) {
        // What the system may still write to is leaked. (A stream finishes its reads, so no read is
        // pending.)
        if !self.is_pending {
            // SAFETY: it was leaked from a box, and nothing else uses it any more.
            drop(unsafe { Box::from_raw(self.buffer.as_ptr()) });
        }
    }
}

fn as_file(handle: &impl AsHandle) -> ManuallyDrop<File> {
    // SAFETY: the handle is open, as it is borrowed, and the file is not dropped, so it does not
    // close it. No caller keeps the file for longer than the handle is borrowed.
    ManuallyDrop::new(unsafe { File::from_raw_handle(handle.as_handle().as_raw_handle()) })
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// No process holds the other end of the pipe any more, and it is empty. (A read of 0 bytes is not
/// EOF: a process may have written 0 bytes.)
fn is_eof(error: &io::Error) -> bool {
    is(error, ERROR_BROKEN_PIPE) || is(error, ERROR_HANDLE_EOF)
}

/// How many bytes the pipe holds.
fn available(pipe: BorrowedHandle<'_>) -> io::Result<usize> {
    let (mut available, none) = (0, ptr::null_mut::<u32>());
    let pipe = pipe.as_raw_handle();
    // SAFETY: the handle is open, `available` is live, and the other pointers may be null.
    match unsafe { PeekNamedPipe(pipe, none.cast(), 0, none, &mut available, none) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(available as usize),
    }
}

/// Whether a read can be started without waiting for its completion. False if that is unknown.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use windows_sys::Win32::System::Pipes::CreatePipe;

    #[test]
    fn overlapped_and_synchronous_pipes() {
        let mut command = Command::new("cmd");
        let child = command.args(["/c", "exit"]).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        assert!(is_overlapped(child.stdout.as_ref().unwrap()));
        child.wait().unwrap();

        let mut ends = [ptr::null_mut(); 2];
        let [reader, writer] = &mut ends;
        // SAFETY: `ends` is live.
        assert_ne!(unsafe { CreatePipe(reader, writer, ptr::null(), 0) }, 0);
        // SAFETY: they were just made, and nothing else owns them.
        let ends = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
        assert!(!is_overlapped(&ends[0]));
    }
}
