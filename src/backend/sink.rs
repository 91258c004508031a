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

    /// Makes room in the vector for so many bytes, or so many more as are kept.
    pub(crate) fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        Ok(self.bytes.try_reserve(bytes.min(self.room()))?)
    }

    pub(crate) fn discard(&mut self, bytes: usize) {
        *self.discarded += bytes as u64;
    }
}
