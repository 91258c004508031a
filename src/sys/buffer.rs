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

/// The most that is read at once. More would need more stack, and is not faster.
#[cfg(unix)]
pub(crate) const MAX_READ: usize = 32 * 1024;

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

    /// Lets `read` write at most `max` bytes, also where fewer are kept: a pipe in packet mode
    /// (O_DIRECT, pipe(2)) loses what does not fit into a read.
    ///
    /// Not straight into the vector. The pages of a pipe begin at offset 0 of a page, a large
    /// allocation of glibc at offset 16 of one. Where the processor takes a store for one that the
    /// next load depends on, as their addresses differ by a multiple of 4 KiB, such a copy takes
    /// two to three times as long (measured on AMD EPYC of family 25). A buffer in the middle of a
    /// page has neither offset, and stays in the cache.
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
        const MIDDLE: usize = 2 * 1024;
        #[repr(align(4096))]
        struct Aligned([MaybeUninit<u8>; MIDDLE + MAX_READ]);

        self.bytes.try_reserve(max.min(self.remaining()))?;
        let mut aligned = Aligned([MaybeUninit::uninit(); MIDDLE + MAX_READ]);
        let buffer = &mut aligned.0[MIDDLE..][..max];
        let result = read(buffer);
        if let Ok(count) = result {
            let bytes = &buffer[..count];
            // SAFETY: `read` has written these bytes.
            self.append(unsafe { slice::from_raw_parts(bytes.as_ptr().cast(), count) })?;
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
