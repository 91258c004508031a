//! Overlapped reads and writes: the system carries them out, and signals an event when they are
//! complete.

use super::wake_event::Event;
use std::{
    io,
    os::windows::io::{AsHandle as _, AsRawHandle as _, BorrowedHandle},
    ptr::{self, NonNull},
    slice,
};
use windows_sys::Win32::{
    Foundation::{
        ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, ERROR_MORE_DATA, ERROR_OPERATION_ABORTED, HANDLE,
        STATUS_PENDING,
    },
    Storage::FileSystem::{ReadFile, WriteFile},
    System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED},
};

/// The most that is read or written at once: as much as a pipe of std's holds
/// (library/std/src/sys/process/windows/child_pipe.rs).
pub(super) const CAPACITY: usize = 64 * 1024;

/// A read that the system may be carrying out.
#[derive(Debug)]
pub(super) struct OverlappedRead(Operation);

/// A write that the system may be carrying out. It outlives the call that started it, as a write
/// that is cancelled does not report how much the reader has taken.
#[derive(Debug)]
pub(crate) struct PendingWrite(Operation);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Only if it is complete.
    No,
    Cancel,
}

impl OverlappedRead {
    pub(super) fn new() -> io::Result<OverlappedRead> {
        Operation::new().map(OverlappedRead)
    }

    pub(super) fn event(&self) -> Option<BorrowedHandle<'_>> {
        self.0.event()
    }

    /// Starts a read of at most `max` bytes, unless one is pending. It may be complete by the time
    /// this returns.
    pub(super) fn start(&mut self, pipe: BorrowedHandle<'_>, max: usize) -> io::Result<()> {
        let max = max.min(CAPACITY) as u32;
        self.0.start(pipe, |pipe, bytes, overlapped| {
            // SAFETY: `start` lends what the system may write to until the read is complete, and
            // `max` is cut to its size.
            unsafe { ReadFile(pipe, bytes.cast(), max, ptr::null_mut(), overlapped) }
        })
    }

    /// What was read. `None` if no read was pending, it is not complete, or it was cancelled.
    pub(super) fn finish(&mut self, wait: Wait) -> io::Result<Option<&[u8]>> {
        let is_cancelled = wait == Wait::Cancel && self.0.cancel();
        let Some((read, result)) = self.0.finish(is_cancelled) else {
            return Ok(None);
        };
        match result {
            // The buffer holds the start of a message.
            Err(error) if is(&error, ERROR_MORE_DATA) => {}
            Err(error) if is(&error, ERROR_OPERATION_ABORTED) && read == 0 => return Ok(None),
            Err(error) if is(&error, ERROR_OPERATION_ABORTED) => {}
            result => result?,
        }
        // SAFETY: the read is complete, and has filled so many bytes, which the buffer has room
        // for. They are not changed before the next read starts, which needs `&mut self`.
        Ok(Some(unsafe {
            slice::from_raw_parts(self.0.bytes().cast_const(), read)
        }))
    }
}

impl PendingWrite {
    pub(super) fn new() -> io::Result<PendingWrite> {
        Operation::new().map(PendingWrite)
    }

    pub(super) fn event(&self) -> Option<BorrowedHandle<'_>> {
        self.0.event()
    }

    /// Starts a write of the first of these bytes, unless one is pending. It may be complete by the
    /// time this returns.
    pub(super) fn start(&mut self, pipe: BorrowedHandle<'_>, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len().min(CAPACITY);
        self.0.start(pipe, |pipe, buffer, overlapped| {
            // SAFETY: `start` lends a buffer of `CAPACITY` bytes, which nothing else uses. The
            // system may read it until the write is complete.
            unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, len);
                WriteFile(pipe, buffer, len as u32, ptr::null_mut(), overlapped)
            }
        })
    }

    /// How much was written. `None` if no write was pending, or it is not complete.
    pub(super) fn finish(&mut self) -> io::Result<Option<usize>> {
        match self.0.finish(false) {
            None => Ok(None),
            Some((written, Ok(()))) => Ok(Some(written)),
            // std would give this error the kind `TimedOut`.
            Some((_, Err(error))) if is(&error, ERROR_OPERATION_ABORTED) => Err(io::Error::other(
                "a write of the child's input was cancelled, perhaps because the thread that \
                     had started it has exited",
            )),
            Some((_, Err(error))) => Err(error),
        }
    }
}

/// A read or write. The system cancels it if the thread that has started it exits (ExitThread).
#[derive(Debug)]
struct Operation {
    buffer: NonNull<Buffer>,
    event: Event,
    /// Of the last operation. It may have been closed, and another object may have it since then.
    /// That matters to none of the functions that get it: `GetOverlappedResult` waits for the event
    /// instead, and `CancelIoEx` cancels only what was started with the same `OVERLAPPED`. A
    /// duplicate would keep the pipe open after its owner has closed it, so that the child would
    /// not read EOF.
    pipe: HANDLE,
    is_pending: bool,
}

/// The system uses it while an operation is pending.
struct Buffer {
    overlapped: OVERLAPPED,
    bytes: [u8; CAPACITY],
}

// SAFETY: it owns the buffer. Any thread may cancel an operation by `CancelIoEx`, and wait for it.
unsafe impl Send for Operation {}

// SAFETY: a shared reference gives access to the event only.
unsafe impl Sync for Operation {}

impl Operation {
    fn new() -> io::Result<Operation> {
        let buffer = Box::new(Buffer {
            overlapped: OVERLAPPED::default(),
            bytes: [0; CAPACITY],
        });
        Ok(Operation {
            event: Event::new()?,
            // Not a box, as the system uses it as well.
            buffer: NonNull::from(Box::leak(buffer)),
            pipe: ptr::null_mut(),
            is_pending: false,
        })
    }

    /// Is signaled once the pending operation is complete.
    fn event(&self) -> Option<BorrowedHandle<'_>> {
        self.is_pending.then(|| self.event.as_handle())
    }

    fn overlapped(&self) -> *mut OVERLAPPED {
        // SAFETY: the buffer is allocated. This takes an address, and does not read.
        unsafe { &raw mut (*self.buffer.as_ptr()).overlapped }
    }

    fn bytes(&self) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.buffer.as_ptr()).bytes).cast() }
    }

    /// Calls `call` with the pipe and the buffer, unless an operation is pending. From then on the
    /// buffer belongs to the system, until `finish` has the result.
    fn start(
        &mut self,
        pipe: BorrowedHandle<'_>,
        call: impl FnOnce(HANDLE, *mut u8, *mut OVERLAPPED) -> i32,
    ) -> io::Result<()> {
        if self.is_pending {
            return Ok(());
        }
        self.pipe = pipe.as_raw_handle();
        // SAFETY: no operation is pending, so nothing else uses the buffer.
        unsafe {
            self.overlapped().write(OVERLAPPED {
                hEvent: self.event.as_handle().as_raw_handle(),
                ..OVERLAPPED::default()
            });
        }
        if call(self.pipe, self.bytes(), self.overlapped()) == 0 {
            let error = io::Error::last_os_error();
            // MORE_DATA: the buffer was filled with the start of a message.
            if !is(&error, ERROR_IO_PENDING) && !is(&error, ERROR_MORE_DATA) {
                return Err(error);
            }
        }
        self.is_pending = true;
        Ok(())
    }

    /// Returns whether an operation was pending. It may be complete all the same.
    fn cancel(&self) -> bool {
        // SAFETY: nothing is cancelled but an operation with this `OVERLAPPED`, which is ours.
        self.is_pending && unsafe { CancelIoEx(self.pipe, self.overlapped()) } != 0
    }

    /// How much was transferred, also by an operation that has failed. `None` if no operation was
    /// pending, or it is not complete.
    fn finish(&mut self, wait: bool) -> Option<(usize, io::Result<()>)> {
        if !self.is_pending {
            return None;
        }
        let mut transferred = 0;
        // SAFETY: an operation was started with this `OVERLAPPED`, which is still there, as is its
        // event.
        let result = match unsafe {
            GetOverlappedResult(self.pipe, self.overlapped(), &mut transferred, wait.into())
        } {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        };
        if matches!(&result, Err(error) if is(error, ERROR_IO_INCOMPLETE)) {
            // It may be complete since, but its result was not fetched.
            return None;
        }
        // SAFETY: the address is that of a live field. The system may be writing to it, so the read
        // is volatile.
        let status = unsafe { (&raw const (*self.overlapped()).Internal).read_volatile() };
        self.is_pending = status == STATUS_PENDING as usize;
        Some((transferred as usize, result))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let is_cancelled = self.cancel();
        self.finish(is_cancelled);
        // If it cannot be cancelled, because the pipe was closed, its buffer is leaked.
        if !self.is_pending {
            // SAFETY: it was leaked from a box, and the system no longer uses it.
            drop(unsafe { Box::from_raw(self.buffer.as_ptr()) });
        }
    }
}

pub(super) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}
