//! Bytes on their way into a file through one aligned buffer.

use std::io;

use crate::io::disk::{ALIGNMENT, DiskFile, write_full};

use super::Counters;

pub(super) struct Stream<'a> {
    file: &'a dyn DiskFile,
    buffer: &'a mut [u8],
    filled: usize,
    /// Where the buffer's first byte goes; aligned.
    place: u64,
    counters: &'a Counters,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        file: &'a dyn DiskFile,
        buffer: &'a mut [u8],
        place: u64,
        counters: &'a Counters,
    ) -> Self {
        Stream {
            file,
            buffer,
            filled: 0,
            place,
            counters,
        }
    }

    /// The next `len` bytes, to be filled by the caller: at most a buffer less one boundary.
    pub(super) fn room(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if self.filled + len > self.buffer.len() {
            self.write_out(self.filled - self.filled % ALIGNMENT)?;
        }
        let room = &mut self.buffer[self.filled..self.filled + len];
        self.filled += len;
        Ok(room)
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Zeros up to a multiple of `unit`.
    pub(super) fn pad(&mut self, unit: usize) -> io::Result<()> {
        let missing = self.filled.next_multiple_of(unit) - self.filled;
        self.room(missing)?.fill(0);
        Ok(())
    }

    /// Writes what is left, padded to a boundary.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.pad(ALIGNMENT)?;
        self.write_out(self.filled)
    }

    fn write_out(&mut self, len: usize) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        write_full(self.file, self.place, &self.buffer[..len])?;
        self.counters.count_write(len as u64);
        self.buffer.copy_within(len..self.filled, 0);
        self.filled -= len;
        self.place += len as u64;
        Ok(())
    }
}
