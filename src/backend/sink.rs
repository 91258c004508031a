//! Where what is read of a stream goes: into a vector up to a limit, and beyond it nowhere.

use std::io;

#[derive(Debug)]
pub(crate) struct Sink<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    /// Of the vector's length.
    pub(crate) limit: usize,
    /// How many bytes were beyond it.
    pub(crate) discarded: &'a mut u64,
}

impl Sink<'_> {
    /// How many more bytes are kept.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// Makes room for more in a vector that is full.
    #[cfg(unix)]
    pub(crate) fn reserve(&mut self) -> io::Result<()> {
        const LEAST: usize = 4 * 1024;
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.try_reserve(LEAST.min(self.room()))?;
        }
        Ok(())
    }

    /// Takes what was read elsewhere.
    #[cfg(windows)]
    pub(crate) fn take(&mut self, read: &[u8]) -> io::Result<()> {
        let (kept, discarded) = read.split_at(read.len().min(self.room()));
        self.bytes.try_reserve(kept.len())?;
        self.bytes.extend_from_slice(kept);
        self.discard(discarded.len());
        Ok(())
    }

    pub(crate) fn discard(&mut self, bytes: usize) {
        *self.discarded += bytes as u64;
    }
}
