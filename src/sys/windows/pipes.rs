//! Writes the input of a child and reads its output while waiting for its exit.
//!
//! The pipes that std makes are overlapped (library/std/src/sys/process/windows/child_pipe.rs): we
//! start a read, and the system completes it when there is data. Before a call returns, it cancels
//! the read and keeps what it has read. Other pipes can be synchronous: a read of one blocks. We
//! peek at such a pipe, with backoff, and read it once it holds data. A disk file is read with
//! backoff, too: a read of it does not block, and reports its present end, behind which the child
//! may write more. Nothing else can be read within a deadline, so it is refused.

use super::{
    file_type::{FileType, as_file},
    handle::milliseconds,
    overlapped::{CAPACITY, OverlappedRead, Wait, is},
};
use crate::{
    deadline::{Deadline, sleep_until},
    sys::{Drained, Interest, OutputBuffer, Streams, streams::Read},
};
use std::{
    io::{self, Read as _, Seek as _},
    os::windows::io::{AsHandle as _, AsRawHandle as _, BorrowedHandle, OwnedHandle},
    ptr,
    time::{Duration, Instant},
};
use windows_sys::Win32::{
    Foundation::{
        ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED,
        WAIT_FAILED, WAIT_OBJECT_0,
    },
    System::{
        Pipes::PeekNamedPipe,
        Threading::{INFINITE, WaitForMultipleObjects},
    },
};

impl Streams<'_> {
    /// Sleeps until a read or write is complete, or until the event, for at most `timeout`. Returns
    /// whether the event has happened.
    pub(crate) fn round(
        &mut self,
        event: Option<BorrowedHandle<'_>>,
        mut timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let [stdout, stderr] = self.outputs.each_mut().map(Stream::refuse_unreadable);
        self.input.refuse_unwritable().and(stderr).and(stdout)?;
        for stream in &mut self.outputs {
            if stream.start()? == Read::Eof {
                // That may be what the caller waits for.
                timeout = Some(Duration::ZERO);
            }
        }
        self.input.start()?;
        if let Some(mut delay) = self.time_until_retry() {
            if delay.is_zero() {
                delay = self.attempt_with_backoff(|input, outputs| {
                    let mut has_transferred = input.write_file()?;
                    for stream in outputs {
                        has_transferred |= stream.read_now()? != Read::WouldBlock;
                    }
                    Ok(has_transferred)
                })?;
            }
            timeout = timeout.into_iter().chain([delay]).min();
        }
        let has_event = self.wait(event, timeout)?;
        for stream in &mut self.outputs {
            // A process has written 0 bytes, which are neither data nor the EOF.
            if stream.finish(Wait::No)? == Read::Some(0) {
                stream.start()?;
            }
        }
        self.input.finish()?;
        Ok(has_event)
    }

    /// Returns whether the event has happened.
    fn wait(
        &self,
        event: Option<BorrowedHandle<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let (mut handles, mut count) = ([ptr::null_mut(); 4], 0);
        for (event, _) in self.events(event).into_iter().flatten() {
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

    /// When to try again what no event reports as ready. `None` if there is nothing of the kind.
    pub(crate) fn time_until_retry(&self) -> Option<Duration> {
        let is_needed =
            self.input.needs_backoff() || self.outputs.iter().any(Stream::needs_backoff);
        is_needed.then(|| self.backoff.remaining())
    }

    /// Whether a stream is at an EOF that is final only once the child has exited.
    pub(crate) fn awaits_exit(&self) -> bool {
        self.outputs.iter().any(Stream::is_file)
    }

    /// What is signaled when a round can go on, and `event`.
    pub(crate) fn events<'e>(
        &'e self,
        event: Option<BorrowedHandle<'e>>,
    ) -> [Option<(BorrowedHandle<'e>, Interest)>; 4] {
        let [stdout, stderr] = &self.outputs;
        [
            event.map(|event| (event, Interest::Readable)),
            (self.input.write_event()).map(|event| (event, Interest::Writable)),
            stdout.read_event().map(|event| (event, Interest::Readable)),
            stderr.read_event().map(|event| (event, Interest::Readable)),
        ]
    }
}

#[derive(Debug)]
pub(in crate::sys) struct Stream<'a> {
    /// `None` once its EOF was read.
    pipe: Option<OwnedHandle>,
    buffer: OutputBuffer<'a>,
    file_type: FileType,
    /// `None` until the first read.
    overlapped: Option<OverlappedRead>,
    /// What a file holds of the child's output, once the child has exited.
    rest: Option<u64>,
}

impl<'a> Stream<'a> {
    pub(in crate::sys) fn new(pipe: Option<OwnedHandle>, buffer: OutputBuffer<'a>) -> Stream<'a> {
        Stream {
            file_type: pipe.as_ref().map_or(FileType::Other, FileType::of),
            pipe,
            buffer,
            overlapped: None,
            rest: None,
        }
    }

    pub(in crate::sys) fn buffer(&self) -> &OutputBuffer<'a> {
        &self.buffer
    }

    pub(in crate::sys) fn is_at_eof(&self) -> bool {
        self.pipe.is_none()
    }

    fn is_file(&self) -> bool {
        self.file_type == FileType::File && self.pipe.is_some()
    }

    /// Is signaled once the pending read is complete.
    fn read_event(&self) -> Option<BorrowedHandle<'_>> {
        self.pipe.as_ref()?;
        self.overlapped.as_ref()?.event()
    }

    /// Starts a read of an overlapped pipe, unless one is pending.
    fn start(&mut self) -> io::Result<Read> {
        match self.file_type {
            FileType::OverlappedPipe => self.start_read(CAPACITY),
            _ => Ok(Read::WouldBlock),
        }
    }

    /// Returns `Read::Eof`, or `Read::WouldBlock`, even if the read is complete already.
    fn start_read(&mut self, max: usize) -> io::Result<Read> {
        let Some(pipe) = &self.pipe else {
            return Ok(Read::WouldBlock);
        };
        let overlapped = match &mut self.overlapped {
            Some(overlapped) => overlapped,
            none => none.insert(OverlappedRead::new()?),
        };
        match overlapped.start(pipe.as_handle(), max) {
            Err(error) if is_eof(&error) => {
                self.pipe = None;
                Ok(Read::Eof)
            }
            started => started.map(|()| Read::WouldBlock),
        }
    }

    /// Takes the result of the pending read.
    fn finish(&mut self, wait: Wait) -> io::Result<Read> {
        let (Some(_), Some(overlapped)) = (&self.pipe, &mut self.overlapped) else {
            return Ok(Read::WouldBlock);
        };
        match overlapped.finish(wait) {
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
        // What a pending read has read is kept.
        let _ = self.finish(Wait::Cancel);
        self.pipe.take()
    }

    /// Refuses, once, what cannot be read within a deadline. Later calls go on without it.
    fn refuse_unreadable(&mut self) -> io::Result<()> {
        if self.file_type != FileType::Other || self.pipe.is_none() {
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
        self.is_file() || self.file_type == FileType::SynchronousPipe && self.pipe.is_some()
    }

    /// Reads a stream that needs backoff, if it holds data.
    fn read_now(&mut self) -> io::Result<Read> {
        match self.file_type {
            FileType::SynchronousPipe => match self.available()? {
                0 => Ok(Read::WouldBlock),
                available => self.read(available),
            },
            FileType::File => self.read_file(),
            FileType::OverlappedPipe | FileType::Other => Ok(Read::WouldBlock),
        }
    }

    /// Reads a disk file once, at its own position. `Read::WouldBlock` at its present end.
    fn read_file(&mut self) -> io::Result<Read> {
        let Some(handle) = &self.pipe else {
            return Ok(Read::WouldBlock);
        };
        let mut bytes = [0; 16 * 1024];
        match as_file(handle).read(&mut bytes)? {
            0 => Ok(Read::WouldBlock),
            read => {
                self.buffer.append(&bytes[..read])?;
                self.rest = self.rest.map(|rest| rest.saturating_sub(read as u64));
                Ok(Read::Some(read))
            }
        }
    }

    /// Reads once, without waiting if it is overlapped.
    fn read(&mut self, max: usize) -> io::Result<Read> {
        self.start_read(max)?;
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
                self.file_type = FileType::Other;
                self.refuse_unreadable().and(Ok(0))
            }
            available => available,
        }
    }

    pub(in crate::sys) fn read_available(&mut self) -> io::Result<()> {
        if self.is_file() {
            // The deadline has passed.
            let end = self.remaining_of_file()?.min(MAX_FROM_FILE);
            return self.read_file_until(end).map(drop);
        }
        self.read_pipe()
    }

    pub(in crate::sys) fn drain(&mut self, _: Instant) -> io::Result<Drained> {
        self.refuse_unreadable()?;
        if !self.is_file() {
            self.read_pipe()?;
            return Ok(Drained::Completely);
        }
        let rest = match self.rest {
            Some(rest) => rest,
            None => self.remaining_of_file()?,
        };
        self.rest = Some(rest);
        if !self.read_file_until(rest.min(MAX_FROM_FILE))? && self.rest > Some(0) {
            return Ok(Drained::No);
        }
        if self.read_file()? == Read::WouldBlock {
            self.pipe = None;
        }
        Ok(Drained::Completely)
    }

    /// Reads what the pipe holds.
    fn read_pipe(&mut self) -> io::Result<()> {
        self.finish(Wait::Cancel)?;
        // The second time for its EOF, if no other process holds the pipe.
        for _ in 0..2 {
            let mut remaining = self.available()?;
            while remaining > 0 {
                match self.read(remaining)? {
                    Read::Some(read) => remaining = remaining.saturating_sub(read),
                    Read::WouldBlock | Read::Eof => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// How much of the file has not been read.
    fn remaining_of_file(&self) -> io::Result<u64> {
        let Some(handle) = &self.pipe else {
            return Ok(0);
        };
        let file = as_file(handle);
        let len = file.metadata()?.len();
        Ok(len.saturating_sub((&*file).stream_position()?))
    }

    /// Reads so many bytes of the file, and perhaps more. Returns whether its present end came first.
    fn read_file_until(&mut self, mut remaining: u64) -> io::Result<bool> {
        while remaining > 0 {
            match self.read_file()? {
                Read::Some(read) => remaining = remaining.saturating_sub(read as u64),
                Read::WouldBlock | Read::Eof => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// The most that is read from a file at once, as there may be a deadline.
const MAX_FROM_FILE: u64 = 16 * 1024 * 1024;

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
