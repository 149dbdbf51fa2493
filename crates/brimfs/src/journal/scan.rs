//! Reading a file of the journal from front to back, in whole blocks.

use std::io;

use super::buffer::Aligned;
use super::format::{BLOCK, GROUP_HEADER, GroupHeader, group_bytes};
use crate::io::directory::{Access, Directory};
use crate::io::disk::{DiskFile, read_full};

/// Memory for transfers, in bytes.
const BUFFER: u64 = 256 << 10;

/// An open file and a window on it. Reads nothing twice that is read in order. At first it reads no more than one
/// block: often nobody asks for another.
#[derive(Debug)]
pub(super) struct Scanner {
    file: Box<dyn DiskFile>,
    len: u64,
    buffer: Aligned,
    start: u64,
    filled: u64,
}

impl Scanner {
    pub(super) fn open(directory: &dyn Directory, name: &str) -> io::Result<Self> {
        let file = directory.open(name, Access::Read)?;
        let len = file.len()?;
        let len = len - len % BLOCK;
        Ok(Scanner {
            file,
            len,
            buffer: Aligned::new(len.min(BLOCK) as usize),
            start: 0,
            filled: 0,
        })
    }

    /// The block that begins at `offset`, a multiple of [`BLOCK`]; `None` behind the end.
    pub(super) fn block(&mut self, offset: u64) -> io::Result<Option<&[u8]>> {
        if offset >= self.len {
            return Ok(None);
        }
        self.load(offset)?;
        let at = (offset - self.start) as usize;
        Ok(Some(&self.buffer[at..at + BLOCK as usize]))
    }

    /// How long the file is, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// As [`Scanner::block`], where the medium may fail: what cannot be read is nothing, and hides no neighbour.
    pub(super) fn block_or_none(&mut self, offset: u64) -> Option<&[u8]> {
        if offset >= self.len {
            return None;
        }
        if self.load(offset).is_err() {
            let one = &mut self.buffer[..BLOCK as usize];
            read_full(&*self.file, offset, one).ok()?;
            (self.start, self.filled) = (offset, BLOCK);
        }
        self.block(offset).ok().flatten()
    }

    /// Reads `len` bytes from any `offset` on into `into`, which is emptied before. False if the file
    /// ends before; nothing is allocated for them then.
    pub(super) fn read(&mut self, offset: u64, len: u64, into: &mut Vec<u8>) -> io::Result<bool> {
        into.clear();
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.len) else {
            return Ok(false);
        };
        into.reserve_exact(len as usize);
        let mut offset = offset;
        while offset < end {
            self.load(offset - offset % BLOCK)?;
            let window_end = (self.start + self.filled).min(end);
            let (from, to) = (offset - self.start, window_end - self.start);
            into.extend_from_slice(&self.buffer[from as usize..to as usize]);
            offset = window_end;
        }
        Ok(true)
    }

    /// Brings the block at `offset` into the window, and what follows it.
    fn load(&mut self, offset: u64) -> io::Result<()> {
        if (self.start..self.start + self.filled).contains(&offset) {
            return Ok(());
        }
        if offset > 0 && self.buffer.len() as u64 == BLOCK {
            self.buffer = Aligned::new(self.len.min(BUFFER) as usize);
        }
        let len = (self.len - offset).min(self.buffer.len() as u64);
        self.filled = 0;
        read_full(&*self.file, offset, &mut self.buffer[..len as usize])?;
        (self.start, self.filled) = (offset, len);
        Ok(())
    }

    /// The header that stands at `offset`, and its checksum. The payload is not verified.
    pub(super) fn group_header(&mut self, offset: u64) -> io::Result<Option<(GroupHeader, u32)>> {
        Ok(self.block(offset)?.and_then(GroupHeader::decode))
    }

    /// Reads the payload of the group at `offset` and verifies it.
    pub(super) fn payload(
        &mut self,
        offset: u64,
        header: &GroupHeader,
        into: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let whole = offset
            .checked_add(group_bytes(header.len))
            .is_some_and(|end| end <= self.len);
        let read = whole && self.read(offset + GROUP_HEADER as u64, header.len, into)?;
        Ok(read && crc32c::crc32c(into) == header.payload)
    }

    /// The first header from `offset` on that `wanted` says yes to, and where it stands.
    pub(super) fn find(
        &mut self,
        offset: u64,
        wanted: impl Fn(&GroupHeader) -> bool,
    ) -> io::Result<Option<(GroupHeader, u64)>> {
        let mut at = offset;
        while let Some(block) = self.block(at)? {
            if let Some((header, _)) = GroupHeader::decode(block)
                && wanted(&header)
            {
                return Ok(Some((header, at)));
            }
            at += BLOCK;
        }
        Ok(None)
    }
}
