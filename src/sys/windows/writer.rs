//! Writes to the standard input of a child.
//!
//! A write to an overlapped pipe is complete once the pipe has room for all of it. Until then it is
//! pending, and may go on after the call: if it were cancelled, it would not be known how much of it
//! the child has read. A disk file is written directly. A write to anything else can block, so that
//! is refused.

use super::{
    file_type::{FileType, as_file},
    overlapped::PendingWrite,
};
use crate::sys::InputBuffer;
use std::{
    io::{self, Write as _},
    os::windows::io::{AsHandle as _, BorrowedHandle, OwnedHandle},
};

#[derive(Debug)]
pub(in crate::sys) struct Input<'a> {
    /// `None` once everything was written, or the child no longer reads.
    pipe: Option<OwnedHandle>,
    buffer: &'a mut InputBuffer,
    file_type: FileType,
}

impl<'a> Input<'a> {
    /// Closes it if there is nothing to write.
    pub(in crate::sys) fn new(pipe: Option<OwnedHandle>, buffer: &'a mut InputBuffer) -> Input<'a> {
        let pipe = pipe.filter(|_| !buffer.unwritten().is_empty());
        Input {
            file_type: pipe.as_ref().map_or(FileType::Other, FileType::of),
            pipe,
            buffer,
        }
    }

    pub(in crate::sys) fn written(&self) -> u64 {
        self.buffer.written() as u64
    }

    /// Gives it back, unless it is closed.
    pub(in crate::sys) fn close(&mut self) -> Option<OwnedHandle> {
        // It may have become complete since the last round. An error has closed the pipe.
        let _ = self.finish();
        self.pipe.take()
    }

    /// Refuses what cannot be written within a deadline, until the input is replaced.
    pub(super) fn refuse_unwritable(&self) -> io::Result<()> {
        let is_writable = matches!(self.file_type, FileType::OverlappedPipe | FileType::File);
        if is_writable || self.pipe.is_none() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "cannot write the child's input with a timeout: the handle is neither an overlapped \
             pipe, as std makes them, nor a disk file opened without FILE_FLAG_OVERLAPPED",
        ))
    }

    /// Is signaled once the pending write is complete.
    pub(super) fn write_event(&self) -> Option<BorrowedHandle<'_>> {
        self.pipe.as_ref()?;
        self.buffer.pending.as_ref()?.event()
    }

    /// Whether no event reports it as writable.
    pub(super) fn needs_backoff(&self) -> bool {
        self.file_type == FileType::File && self.pipe.is_some()
    }

    /// Starts a write to an overlapped pipe, unless one is pending.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        if self.file_type != FileType::OverlappedPipe || self.write_event().is_some() {
            return Ok(());
        }
        let mut pending = match self.buffer.pending.take() {
            Some(pending) => pending,
            None => PendingWrite::new()?,
        };
        let started = pending.start(pipe.as_handle(), self.buffer.unwritten());
        self.buffer.pending = Some(pending);
        match started {
            // ERROR_BROKEN_PIPE or ERROR_NO_DATA: the child does not want the rest.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.end(),
            started => started?,
        }
        Ok(())
    }

    /// Takes the result of the pending write.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let (Some(_), Some(pending)) = (&self.pipe, &mut self.buffer.pending) else {
            return Ok(());
        };
        match pending.finish() {
            Ok(Some(written)) => self.advance(written),
            Ok(None) => {}
            // The next write fails as well, and ends the input; unless this one was to the pipe of
            // a child before.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return self.start(),
            // How much was written is not known, so nothing more can be.
            Err(error) => {
                self.end();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes once to a disk file, at its own position. Returns whether anything was written.
    pub(super) fn write_file(&mut self) -> io::Result<bool> {
        /// The deadline is checked after each write.
        const MAX_WRITE: usize = 1024 * 1024;
        let Some(handle) = self.pipe.as_ref().filter(|_| self.needs_backoff()) else {
            return Ok(false);
        };
        let bytes = self.buffer.unwritten();
        let written = as_file(handle).write(&bytes[..bytes.len().min(MAX_WRITE)])?;
        self.advance(written);
        Ok(written > 0)
    }

    fn advance(&mut self, written: usize) {
        self.buffer.advance(written);
        if self.buffer.unwritten().is_empty() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.buffer.pending = None;
        self.pipe = None;
    }
}
