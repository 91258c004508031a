//! Windows: reads the output of a child while it waits for the exit.
//!
//! The pipes that std makes are overlapped: we start a read, and the system completes it when
//! there is data. Before we return, we cancel it and keep what it has read. Other pipes can be
//! synchronous: a read of one blocks. We peek at such a pipe, with backoff, and read it once it
//! holds data. A disk file is read with backoff, too: a read of it does not block, and reports
//! its present end, behind which the child may write more. Nothing else can be read within a
//! deadline, so it is refused.

use super::handle::milliseconds;
use crate::{
    deadline::{Deadline, Pace, sleep_until},
    sys::sink::{MOST, Sink},
};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    mem::ManuallyDrop,
    os::windows::io::{
        AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle,
    },
    process::{ChildStderr, ChildStdout},
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

/// Both streams of a child, as far as they are pipes that we hold.
#[derive(Debug)]
pub(crate) struct Streams<'a> {
    stdout: Stream<'a, ChildStdout>,
    stderr: Stream<'a, ChildStderr>,
    /// When synchronous ones are looked at again.
    pace: Pace,
}

impl<'a> Streams<'a> {
    pub(crate) fn new(
        stdout: (&'a mut Option<ChildStdout>, Sink<'a>),
        stderr: (&'a mut Option<ChildStderr>, Sink<'a>),
    ) -> Streams<'a> {
        Streams {
            stdout: Stream::new(stdout),
            stderr: Stream::new(stderr),
            pace: Pace::default(),
        }
    }

    /// Whether an event can be waited for beside them.
    pub(crate) fn can_wait(&self) -> bool {
        true
    }

    /// Reads until the event is signaled (true) or the deadline has passed.
    pub(crate) fn read(
        &mut self,
        event: Option<BorrowedHandle<'_>>,
        deadline: Deadline,
    ) -> io::Result<bool> {
        let stdout = self.stdout.refuse_unreadable();
        self.stderr.refuse_unreadable().and(stdout)?;
        deadline.sleep(|longest| {
            self.stdout.start()?;
            self.stderr.start()?;
            let longest = self.look_and_pause(longest)?;
            let is_told = self.wait(event, longest)?;
            self.stdout.finish(Finish::IfDone)?;
            self.stderr.finish(Finish::IfDone)?;
            Ok(is_told)
        })
    }

    /// Reads what must be looked at first. How long to sleep is the answer.
    fn look_and_pause(&mut self, longest: Option<Duration>) -> io::Result<Option<Duration>> {
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        if !stdout.needs_backoff() && !stderr.needs_backoff() {
            return Ok(longest);
        }
        let (stdout, stderr) = self.pace.round(|| (stdout.look(), stderr.look()));
        let pause = match (stdout?, stderr?) {
            (Read::Nothing, Read::Nothing) => self.pace.until_due(),
            _ => {
                self.pace.restart();
                Duration::ZERO
            }
        };
        Ok(Some(longest.map_or(pause, |longest| longest.min(pause))))
    }

    fn wait(
        &self,
        event: Option<BorrowedHandle<'_>>,
        longest: Option<Duration>,
    ) -> io::Result<bool> {
        let (mut handles, mut count) = ([ptr::null_mut(); 3], 0);
        let events = [event, self.stdout.started(), self.stderr.started()];
        for event in events.into_iter().flatten() {
            handles[count] = event.as_raw_handle();
            count += 1;
        }
        if count == 0 {
            sleep_until(Deadline::from_timeout(longest));
            return Ok(false);
        }
        let milliseconds = longest.map_or(INFINITE, milliseconds);
        // SAFETY: so many handles are in the array, and open, as they are borrowed.
        match unsafe { WaitForMultipleObjects(count as u32, handles.as_ptr(), 0, milliseconds) } {
            WAIT_FAILED => Err(io::Error::last_os_error()),
            // Of several it names the first.
            first => Ok(event.is_some() && first == WAIT_OBJECT_0),
        }
    }

    /// Reads what the streams hold now, and no more: other processes may write for ever. Once
    /// the child has exited, that is all that it wrote and that has not been read.
    pub(crate) fn drain(&mut self, has_exited: bool, _: Deadline) -> io::Result<()> {
        let stdout = self.stdout.drain(has_exited);
        self.stderr.drain(has_exited).and(stdout)
    }
}

#[derive(Debug)]
struct Stream<'a, F: AsHandle> {
    /// `None` once it was read to its end.
    pipe: &'a mut Option<F>,
    sink: Sink<'a>,
    kind: Kind,
    /// `None` as long as nothing was read.
    reading: Option<Reading>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some(usize),
    Nothing,
    End,
}

enum Finish {
    IfDone,
    CallOff,
}

impl<'a, F: AsHandle> Stream<'a, F> {
    fn new((pipe, sink): (&'a mut Option<F>, Sink<'a>)) -> Stream<'a, F> {
        Stream {
            kind: pipe.as_ref().map_or(Kind::Unreadable, Kind::of),
            pipe,
            sink,
            reading: None,
        }
    }

    /// What is signalled once the read that was started is done.
    fn started(&self) -> Option<BorrowedHandle<'_>> {
        let reading = self.reading.as_ref().filter(|it| it.is_started)?;
        Some(reading.done.as_handle())
    }

    /// Starts a read of an overlapped pipe, unless there is one.
    fn start(&mut self) -> io::Result<()> {
        if self.kind == Kind::OverlappedPipe && self.started().is_none() {
            self.start_of(MOST)?;
        }
        Ok(())
    }

    fn start_of(&mut self, most: usize) -> io::Result<()> {
        let Some(pipe) = &*self.pipe else {
            return Ok(());
        };
        let reading = match &mut self.reading {
            Some(reading) => reading,
            none => none.insert(Reading::new()?),
        };
        match reading.start(pipe.as_handle(), most) {
            Err(error) if is_end(&error) => {
                *self.pipe = None;
                Ok(())
            }
            started => started,
        }
    }

    /// Takes what the read that was started has read.
    fn finish(&mut self, finish: Finish) -> io::Result<Read> {
        let (Some(pipe), Some(reading)) = (&*self.pipe, &mut self.reading) else {
            return Ok(Read::Nothing);
        };
        match reading.finish(pipe.as_handle(), finish) {
            Ok(Some(bytes)) => {
                self.sink.take(bytes)?;
                Ok(Read::Some(bytes.len()))
            }
            Ok(None) => Ok(Read::Nothing),
            Err(error) if is_end(&error) => {
                *self.pipe = None;
                Ok(Read::End)
            }
            Err(error) => Err(error),
        }
    }

    /// Refuses, once, what cannot be read within a deadline. Later calls go on without it.
    fn refuse_unreadable(&mut self) -> io::Result<()> {
        if self.kind != Kind::Unreadable || self.pipe.is_none() {
            return Ok(());
        }
        *self.pipe = None;
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "cannot read the child's output with a timeout: the handle is neither a pipe nor a \
             disk file opened without FILE_FLAG_OVERLAPPED",
        ))
    }

    /// Whether nothing signals that it can be read.
    fn needs_backoff(&self) -> bool {
        matches!(self.kind, Kind::SynchronousPipe | Kind::File) && self.pipe.is_some()
    }

    /// Reads what needs backoff, if it holds data.
    fn look(&mut self) -> io::Result<Read> {
        match self.kind {
            Kind::SynchronousPipe => match self.there()? {
                0 => Ok(Read::Nothing),
                there => self.read(there),
            },
            Kind::File => self.read_file(),
            Kind::OverlappedPipe | Kind::Unreadable => Ok(Read::Nothing),
        }
    }

    /// Reads a disk file once, from its own position on. At its present end: `Read::Nothing`.
    fn read_file(&mut self) -> io::Result<Read> {
        let Some(handle) = &*self.pipe else {
            return Ok(Read::Nothing);
        };
        let mut bytes = [0; MOST / 4];
        match as_file(handle).read(&mut bytes)? {
            0 => Ok(Read::Nothing),
            read => {
                self.sink.take(&bytes[..read])?;
                Ok(Read::Some(read))
            }
        }
    }

    /// Reads once, and does not wait if it is overlapped.
    fn read(&mut self, most: usize) -> io::Result<Read> {
        self.start_of(most.min(MOST))?;
        self.finish(Finish::CallOff)
    }

    /// How much there is to be read.
    fn there(&mut self) -> io::Result<usize> {
        let Some(pipe) = &*self.pipe else {
            return Ok(0);
        };
        match there(pipe.as_handle()) {
            Err(error) if is_end(&error) => {
                *self.pipe = None;
                Ok(0)
            }
            // A socket, which GetFileType reports as a pipe. (The second error is Wine's.)
            Err(error) if is(&error, ERROR_INVALID_FUNCTION) || is(&error, ERROR_NOT_SUPPORTED) => {
                self.kind = Kind::Unreadable;
                self.refuse_unreadable().and(Ok(0))
            }
            there => there,
        }
    }

    fn drain(&mut self, has_exited: bool) -> io::Result<()> {
        self.refuse_unreadable()?;
        if self.kind == Kind::File {
            return self.drain_file(has_exited);
        }
        self.finish(Finish::CallOff)?;
        // The second time for its end, if nobody holds it.
        for _ in 0..2 {
            let mut left = self.there()?;
            while left > 0 {
                match self.read(left)? {
                    Read::Some(read) => left -= read,
                    Read::Nothing | Read::End => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn drain_file(&mut self, has_exited: bool) -> io::Result<()> {
        let Some(handle) = &*self.pipe else {
            return Ok(());
        };
        let file = as_file(handle);
        let mut left = file.metadata()?.len();
        left = left.saturating_sub((&*file).stream_position()?);
        while left > 0 {
            match self.read_file()? {
                Read::Some(read) => left = left.saturating_sub(read as u64),
                Read::Nothing | Read::End => break,
            }
        }
        if has_exited && self.read_file()? == Read::Nothing {
            *self.pipe = None;
        }
        Ok(())
    }
}

impl<F: AsHandle> Drop for Stream<'_, F> {
    /// After an error, that is: what was read is kept all the same.
    fn drop(&mut self) {
        let _ = self.finish(Finish::CallOff);
    }
}

/// A read that the system may be carrying out.
#[derive(Debug)]
struct Reading {
    place: NonNull<Place>,
    done: OwnedHandle,
    is_started: bool,
}

/// What the system writes to meanwhile.
struct Place {
    overlapped: OVERLAPPED,
    bytes: [u8; MOST],
}

impl Reading {
    fn new() -> io::Result<Reading> {
        let (manual_reset, not_set) = (1, 0);
        // SAFETY: neither attributes nor a name need be given.
        let done = unsafe { CreateEventW(ptr::null(), manual_reset, not_set, ptr::null()) };
        if done.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the event was just made, is closed by `CloseHandle`, and nobody else has it.
        let done = unsafe { OwnedHandle::from_raw_handle(done) };
        let place = Box::new(Place {
            overlapped: OVERLAPPED::default(),
            bytes: [0; MOST],
        });
        Ok(Reading {
            // A box must not be written to by others.
            place: NonNull::from(Box::leak(place)),
            done,
            is_started: false,
        })
    }

    /// Starts a read, which may be done by the time this returns. None has been started.
    fn start(&mut self, pipe: BorrowedHandle<'_>, most: usize) -> io::Result<()> {
        assert!(!self.is_started);
        let place = self.place.as_ptr();
        // SAFETY: the place is ours alone as long as no read is started, and the system's from
        // then on, until `finish` has its result; it is not freed before. The event is open as
        // long. `most` is cut to what there is room for.
        let is_done = unsafe {
            (*place).overlapped = OVERLAPPED {
                hEvent: self.done.as_raw_handle(),
                ..OVERLAPPED::default()
            };
            let bytes = (&raw mut (*place).bytes).cast();
            let overlapped = &raw mut (*place).overlapped;
            let most = most.min(MOST) as u32;
            ReadFile(
                pipe.as_raw_handle(),
                bytes,
                most,
                ptr::null_mut(),
                overlapped,
            ) != 0
        };
        if !is_done {
            let error = io::Error::last_os_error();
            // More of the same message, that is: it was read as far as there was room.
            if !is(&error, ERROR_IO_PENDING) && !is(&error, ERROR_MORE_DATA) {
                return Err(error);
            }
        }
        self.is_started = true;
        Ok(())
    }

    /// What was read. `None`: nothing was started, it is not done, or it was called off.
    fn finish(&mut self, pipe: BorrowedHandle<'_>, finish: Finish) -> io::Result<Option<&[u8]>> {
        if !self.is_started {
            return Ok(None);
        }
        let place = self.place.as_ptr();
        let is_called_off = matches!(finish, Finish::CallOff);
        let mut read = 0;
        // SAFETY: the handle is open, and the read was started on it with this `OVERLAPPED`,
        // which is still there. One that is done already is not called off any more. While the
        // system may write to it, the state is read as what may change.
        let answer = unsafe {
            let (pipe, overlapped) = (pipe.as_raw_handle(), &raw const (*place).overlapped);
            if is_called_off {
                CancelIoEx(pipe, overlapped);
            }
            let answer = GetOverlappedResult(pipe, overlapped, &mut read, is_called_off.into());
            let state = (&raw const (*overlapped).Internal).read_volatile();
            self.is_started = state == STATUS_PENDING as usize;
            answer
        };
        if answer == 0 {
            let error = io::Error::last_os_error();
            match error.raw_os_error().map(|code| code as u32) {
                Some(ERROR_IO_INCOMPLETE) => {
                    // It may be done since: its result is still to be fetched.
                    self.is_started = true;
                    return Ok(None);
                }
                Some(ERROR_OPERATION_ABORTED) if read == 0 => return Ok(None),
                Some(ERROR_OPERATION_ABORTED | ERROR_MORE_DATA) => {}
                _ => return Err(error),
            }
        }
        // SAFETY: the system has done with the place, and has written so many bytes, and no
        // more than there is room for. They are ours until the next read starts, for which
        // this must not be borrowed.
        Ok(Some(unsafe {
            slice::from_raw_parts((&raw const (*place).bytes).cast(), read as usize)
        }))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // What the system may still write to is lost rather than freed. (A stream finishes its
        // reads, so there is none.)
        if !self.is_started {
            // SAFETY: it was leaked from a box, and nobody uses it any more.
            drop(unsafe { Box::from_raw(self.place.as_ptr()) });
        }
    }
}

fn as_file(handle: &impl AsHandle) -> ManuallyDrop<File> {
    // SAFETY: the handle is open, as it is borrowed, and the file does not close it, as it is
    // not dropped. Nobody keeps the file for longer than the handle is borrowed.
    ManuallyDrop::new(unsafe { File::from_raw_handle(handle.as_handle().as_raw_handle()) })
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// Nobody else holds the pipe any more, and it is empty. (To read no bytes is no end: somebody
/// may have written none.)
fn is_end(error: &io::Error) -> bool {
    is(error, ERROR_BROKEN_PIPE) || is(error, ERROR_HANDLE_EOF)
}

fn there(pipe: BorrowedHandle<'_>) -> io::Result<usize> {
    let (mut there, none) = (0, ptr::null_mut::<u32>());
    let pipe = pipe.as_raw_handle();
    // SAFETY: the handle is open, the one answer that is asked for is written to a place that
    // outlives the call, and the others may be left out.
    match unsafe { PeekNamedPipe(pipe, none.cast(), 0, none, &mut there, none) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(there as usize),
    }
}

/// Whether a read of it can be started without a wait for its end. If nobody tells, it is
/// treated as if it could not.
fn is_overlapped(pipe: &impl AsHandle) -> bool {
    let mut mode = FILE_MODE_INFORMATION::default();
    let mut status = IO_STATUS_BLOCK::default();
    let pipe: HANDLE = pipe.as_handle().as_raw_handle();
    // SAFETY: the handle is open, and both answers are written to places that outlive the call,
    // one of which has the size that is told.
    let answer = unsafe {
        let size = size_of_val(&mode) as u32;
        let mode = (&raw mut mode).cast();
        NtQueryInformationFile(pipe, &mut status, mode, size, FileModeInformation)
    };
    const SYNCHRONOUS: u32 = FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT;
    answer >= 0 && mode.Mode & SYNCHRONOUS == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use windows_sys::Win32::System::Pipes::CreatePipe;

    #[test]
    fn synchronous_handles_are_told_apart() {
        let mut command = Command::new("cmd");
        let child = command.args(["/c", "exit"]).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        assert!(is_overlapped(child.stdout.as_ref().unwrap()));
        child.wait().unwrap();

        let mut ends = [ptr::null_mut(); 2];
        let [ours, theirs] = &mut ends;
        // SAFETY: both handles are written to places that outlive the call.
        assert_ne!(unsafe { CreatePipe(ours, theirs, ptr::null(), 0) }, 0);
        // SAFETY: they were just made, and nobody else has them.
        let ends = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
        assert!(!is_overlapped(&ends[0]));
    }
}
