//! Where what is read of a stream goes: into a vector up to a limit, and beyond it nowhere.

use std::io;
#[cfg(unix)]
use std::{mem::MaybeUninit, slice};

#[derive(Debug)]
pub(crate) struct Sink<'a> {
    pub(crate) bytes: &'a mut Vec<u8>,
    /// Of the vector's length.
    pub(crate) limit: usize,
    /// How many bytes were beyond it.
    pub(crate) discarded: &'a mut u64,
}

/// The most that is read at once.
pub(crate) const MOST: usize = 64 * 1024;

impl Sink<'_> {
    /// How many more bytes are kept.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// Has `read` write so many bytes at most to where there is room, straight into the vector
    /// unless its limit is near: what was written in packets comes in packets, of which all
    /// that does not fit would be lost.
    ///
    /// The outer error is a want of memory, for which nothing was read.
    ///
    /// # Safety
    ///
    /// `read` answers how many bytes it has written, from the first one on.
    #[cfg(unix)]
    pub(crate) unsafe fn fill<E>(
        &mut self,
        most: usize,
        read: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
    ) -> io::Result<Result<usize, E>> {
        /// What a packet has at most, in pages of this size.
        const PACKET: usize = 4 * 1024;
        let (length, room) = (self.bytes.len(), self.room());
        if self.bytes.capacity() - length < PACKET.min(room) {
            self.bytes.try_reserve((2 * PACKET).min(room))?;
        }
        if room < PACKET {
            let mut place = [MaybeUninit::uninit(); 4 * PACKET];
            let most = most.min(place.len());
            let answer = read(&mut place[..most]);
            if let Ok(read) = answer {
                // SAFETY: so many bytes of it were written.
                let read = unsafe { slice::from_raw_parts(place[..read].as_ptr().cast(), read) };
                self.take(read)?;
            }
            return Ok(answer);
        }
        let spare = self.bytes.spare_capacity_mut();
        let most = most.min(spare.len()).min(room);
        let answer = read(&mut spare[..most]);
        if let Ok(read) = answer {
            assert!(read <= most);
            // SAFETY: so many bytes after the old ones were written.
            unsafe { self.bytes.set_len(length + read) };
        }
        Ok(answer)
    }

    /// Takes what was read elsewhere.
    pub(crate) fn take(&mut self, read: &[u8]) -> io::Result<()> {
        let (kept, discarded) = read.split_at(read.len().min(self.room()));
        self.bytes.try_reserve(kept.len())?;
        self.bytes.extend_from_slice(kept);
        *self.discarded += discarded.len() as u64;
        Ok(())
    }
}
