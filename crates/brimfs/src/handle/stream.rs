//! The standard library's traits for open files.

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

use crate::base::error::ErrorKind;
use crate::base::error::Fault;
use crate::base::sync::atomic::Ordering;
use crate::handle::file::File;
use crate::handle::view::View;

/// What one look of `fill_buf` covers, in bytes.
const WINDOW: usize = 1 << 20;

impl Read for &File {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let at = self.position();
        let count = self.read_at(at, to)?;
        self.position.store(at + count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn read_to_end(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        let start = to.len();
        let left = self.len().saturating_sub(self.position());
        let left = usize::try_from(left).map_err(|_| io::ErrorKind::OutOfMemory)?;
        to.try_reserve(left + 1)?;
        loop {
            let at = to.len();
            to.resize(to.capacity().max(at + 32), 0);
            let count = Read::read(self, &mut to[at..]);
            to.truncate(at + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                return Ok(to.len() - start);
            }
        }
    }
}

impl Write for &File {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if from.is_empty() {
            return Ok(self.write_at(self.position(), from)?);
        }
        if self.is_append() {
            let end = self.append(from)? + from.len() as u64;
            self.position.store(end, Ordering::Relaxed);
            return Ok(from.len());
        }
        let at = self.position();
        let count = self.write_at(at, from)?;
        self.position.store(at + count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for &File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let refuse = |text: &str| {
            let fault = Fault::text(ErrorKind::InvalidArgument, text);
            io::Error::from(fault.at("seek", self.path()))
        };
        let (base, offset) = match to {
            SeekFrom::Start(offset) => (0, i128::from(offset)),
            SeekFrom::Current(offset) => (self.position(), i128::from(offset)),
            SeekFrom::End(offset) => (self.len(), i128::from(offset)),
        };
        let target = i128::from(base) + offset;
        if target < 0 {
            return Err(refuse("the position would be negative"));
        }
        let target = i64::try_from(target)
            .map_err(|_| refuse("the position would be beyond 2^63 - 1"))?
            .unsigned_abs();
        self.position.store(target, Ordering::Relaxed);
        Ok(target)
    }
}

impl Read for File {
    #[inline]
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, to)
    }

    fn read_to_end(&mut self, to: &mut Vec<u8>) -> io::Result<usize> {
        Read::read_to_end(&mut &*self, to)
    }
}

impl Write for File {
    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        // A window that was looked through would make the chunk shared, and copied.
        self.buffered = None;
        Write::write(&mut &*self, from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.buffered = None;
        Seek::seek(&mut &*self, to)
    }
}

impl BufRead for File {
    /// The bytes at the position: of a file in one piece all that is left of it.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let (at, first) = (self.position(), self.buffered_at);
        let seen = self.buffered.as_ref().map(|view| first + view.len() as u64);
        if seen.is_none_or(|seen| at < first || at >= seen && self.len() > seen) {
            self.buffered = None;
            let (view, first) = self.reading(
                "view",
                |(view, _): &(View, u64)| view.len() as u64,
                || self.node().window(at, WINDOW),
            )?;
            (self.buffered, self.buffered_at) = (Some(view), first);
        }
        let at = usize::try_from(at - self.buffered_at).unwrap_or(usize::MAX);
        let bytes: &[u8] = self.buffered.as_deref().unwrap_or(&[]);
        let start = at.min(bytes.len());
        let end = bytes.len().min(start.saturating_add(WINDOW));
        Ok(&bytes[start..end])
    }

    fn consume(&mut self, count: usize) {
        self.position.fetch_add(count as u64, Ordering::Relaxed);
    }
}
