//! The bytes of a child's streams: its input, and its output up to a limit, beyond which it is
//! discarded.

#[cfg(windows)]
use super::windows::PendingWrite;
use std::io;
#[cfg(unix)]
use std::{mem::MaybeUninit, slice};

#[derive(Debug)]
pub(crate) struct OutputBuffer<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    /// The most that `bytes` may hold.
    pub(crate) limit: usize,
    /// How many bytes did not fit.
    pub(crate) discarded: &'a mut u64,
}

/// The most that is read at once.
pub(crate) const MAX_READ: usize = 64 * 1024;

/// What is to be written to the standard input of a child.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer {
    bytes: Vec<u8>,
    written: usize,
    /// Whether the child has had a pipe for it.
    has_had_pipe: bool,
    /// A write that the system has not completed when a call returned.
    #[cfg(windows)]
    pub(super) pending: Option<PendingWrite>,
}

impl InputBuffer {
    pub(crate) fn new(bytes: Vec<u8>) -> InputBuffer {
        InputBuffer {
            bytes,
            ..InputBuffer::default()
        }
    }

    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub(super) fn written(&self) -> usize {
        self.written
    }

    pub(super) fn advance(&mut self, written: usize) {
        assert!(written <= self.unwritten().len());
        self.written += written;
    }

    /// An error if there is input, and the child has never had a pipe for it.
    pub(super) fn require_pipe(&mut self, has_pipe: bool) -> io::Result<()> {
        self.has_had_pipe |= has_pipe;
        if self.has_had_pipe || self.unwritten().is_empty() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the child's standard input is not a pipe, so the input cannot be written",
        ))
    }
}

impl OutputBuffer<'_> {
    /// How many more bytes are kept.
    fn remaining(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// Lets `read` write at most `max` bytes: straight into the vector, unless its limit is near.
    /// A pipe in packet mode (O_DIRECT, pipe(2)) loses what does not fit into a read.
    ///
    /// The outer error is a lack of memory; then nothing was read.
    ///
    /// # Safety
    ///
    /// `read` returns how many bytes it has written, from the first one on.
    #[cfg(unix)]
    pub(crate) unsafe fn read_from<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
    ) -> io::Result<Result<usize, E>> {
        /// The longest packet where pages have 4 KiB (fs/pipe.c, pipe_write). If they are larger, a
        /// longer packet is cut off.
        const PACKET: usize = 4 * 1024;
        let (length, remaining) = (self.bytes.len(), self.remaining());
        if self.bytes.capacity() - length < PACKET.min(remaining) {
            self.bytes.try_reserve((2 * PACKET).min(remaining))?;
        }
        if remaining < PACKET {
            let mut buffer = [MaybeUninit::uninit(); 4 * PACKET];
            let max = max.min(buffer.len());
            let result = read(&mut buffer[..max]);
            if let Ok(count) = result {
                let bytes = &buffer[..count];
                // SAFETY: `read` has written these bytes.
                self.append(unsafe { slice::from_raw_parts(bytes.as_ptr().cast(), count) })?;
            }
            return Ok(result);
        }
        let spare = self.bytes.spare_capacity_mut();
        let max = max.min(spare.len()).min(remaining);
        let result = read(&mut spare[..max]);
        if let Ok(count) = result {
            assert!(count <= max);
            // SAFETY: `read` has written so many bytes behind the old ones.
            unsafe { self.bytes.set_len(length + count) };
        }
        Ok(result)
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (kept, discarded) = bytes.split_at(bytes.len().min(self.remaining()));
        self.bytes.try_reserve(kept.len())?;
        self.bytes.extend_from_slice(kept);
        *self.discarded += discarded.len() as u64;
        Ok(())
    }
}
