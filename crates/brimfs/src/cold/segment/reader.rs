//! Reading: the blocks that a range touches are read, verified and opened, and no others.
//!
//! No lock is held during I/O. A segment that dies meanwhile stays open for those who read it.

use std::fmt;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::base::sync::atomic::Ordering;
use crate::cold::host_files::HostReadError;
use crate::io::disk::{ALIGNMENT, DiskFile, read_full};

use super::crew;
use super::crypt::TAG;
use super::format::{
    BLOCK, Extent, FIRST, HEADER, Header, Id, SEALED_HEADER, block_len, blocks, plain_units,
    table_bytes,
};
use super::index::Segment;
use super::pack::unpack;
use super::{Counters, Store};

/// Neighbours with no more than this between them are read by one call, in bytes.
const GAP: u64 = 32 << 10;
/// Less than this is not worth another thread, in bytes.
const ALONE_BYTES: usize = 256 << 10;

/// Why a read has no result.
#[derive(Debug)]
pub enum ReadError {
    /// The extent's segment is no longer there: the record was released, or compaction moved it
    /// and its owner has the new extent. Whoever holds the current extent never sees this.
    Gone,
    /// [`ErrorKind::Corrupt`] if what lies there is not what was written, [`ErrorKind::Io`] if
    /// the disk fails, [`ErrorKind::InvalidArgument`] for a range outside the extent.
    Fault(Fault),
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        ReadError::Fault(fault)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Gone => f.write_str("the record was released or moved"),
            ReadError::Fault(fault) => write!(f, "{:?}", fault.kind()),
        }
    }
}

impl std::error::Error for ReadError {}

/// One of several reads that are done together.
#[derive(Debug)]
pub struct Read<'a> {
    /// Whose content it is.
    pub id: Id,
    /// Where it lies.
    pub extent: Extent,
    /// Where the range begins in the content, in bytes.
    pub offset: usize,
    /// The range; filled if the read succeeds, unspecified otherwise.
    pub into: &'a mut [u8],
}

#[cold]
pub(super) fn corrupt(text: &'static str) -> Fault {
    Fault::text(ErrorKind::Corrupt, text)
}

const BLOCK_BROKEN: &str = "a block of a spilled chunk fails its check";
const HEADER_BROKEN: &str = "the header of a spilled chunk fails its check";

/// A range of one record's content, and where its bytes go.
struct Wanted<'a> {
    header: Header,
    extent: Extent,
    offset: usize,
    into: &'a mut [u8],
}

impl Wanted<'_> {
    fn first_block(&self) -> usize {
        self.offset / BLOCK
    }

    /// Behind the last block of the range, which is not empty.
    fn end_block(&self) -> usize {
        (self.offset + self.into.len()).div_ceil(BLOCK)
    }

    /// The part of `into` that a block has the bytes for, and where in the block they begin.
    fn part(&mut self, block: usize) -> (&mut [u8], usize) {
        let start = block * BLOCK;
        let end = (start + BLOCK).min(self.offset + self.into.len());
        let from = start.max(self.offset);
        (
            &mut self.into[from - self.offset..end - self.offset],
            from - start,
        )
    }
}

/// A part of a file in a buffer.
pub(super) struct Window<'a> {
    pub(super) bytes: &'a mut [u8],
    /// Place of the first byte in the file.
    pub(super) place: u64,
}

impl Window<'_> {
    fn slice(&mut self, place: u64, len: usize) -> &mut [u8] {
        let start = (place - self.place) as usize;
        &mut self.bytes[start..start + len]
    }
}

/// Reads a range into a buffer that has room for it, grown to transfer boundaries.
pub(super) fn fetch<'a>(
    file: &dyn DiskFile,
    buffer: &'a mut [u8],
    start: u64,
    end: u64,
    counters: &Counters,
) -> Result<Window<'a>, Fault> {
    let place = start - start % ALIGNMENT as u64;
    let len = (end.next_multiple_of(ALIGNMENT as u64) - place) as usize;
    let bytes = &mut buffer[..len];
    read_full(file, place, bytes).map_err(Fault::disk)?;
    counters.reads.fetch_add(1, Ordering::Relaxed);
    counters.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
    Ok(Window { bytes, place })
}

impl Store {
    pub(super) fn read_one(&self, read: Read<'_>) -> Result<(), ReadError> {
        let Read {
            id,
            extent,
            offset,
            into,
        } = read;
        if into.is_empty() {
            return Ok(());
        }
        if let Some((files, file, base)) = self.host_file(extent) {
            let read = files.read(file, base + offset as u64, into);
            self.counters.reads.fetch_add(1, Ordering::Relaxed);
            return read.map_err(|error| match error {
                HostReadError::Gone => ReadError::Gone,
                HostReadError::Fault(fault) => ReadError::Fault(fault),
            });
        }
        if let Some(number) = extent.stack() {
            return self.read_stack(number, offset, into);
        }
        let segment = self.segment_of(extent, offset, into.len())?;
        let wanted = Wanted {
            header: Header::new(id, extent, self.sealer.seals()),
            extent,
            offset,
            into,
        };
        self.read_from(&segment, wanted).map_err(ReadError::Fault)
    }

    fn segment_of(
        &self,
        extent: Extent,
        offset: usize,
        len: usize,
    ) -> Result<Arc<Segment>, ReadError> {
        if offset.checked_add(len).is_none_or(|end| end > extent.len()) {
            let text = "the range is not inside the extent";
            return Err(Fault::text(ErrorKind::InvalidArgument, text).into());
        }
        let end = extent.place() + extent.stored_bytes();
        let smallest = SEALED_HEADER as u64;
        if extent.place() < FIRST || end > self.longest || extent.stored_bytes() < smallest {
            return Err(corrupt("an extent that no segment has room for").into());
        }
        self.find(extent.serial()).ok_or(ReadError::Gone)
    }

    /// Whole content of a record in an open segment.
    pub(super) fn read_whole(
        &self,
        segment: &Segment,
        id: Id,
        extent: Extent,
        into: &mut [u8],
    ) -> Result<(), Fault> {
        let wanted = Wanted {
            header: Header::new(id, extent, self.sealer.seals()),
            extent,
            offset: 0,
            into,
        };
        self.read_from(segment, wanted)
    }

    fn read_from(&self, segment: &Segment, wanted: Wanted<'_>) -> Result<(), Fault> {
        let file = &*segment.file.file;
        let mut lease = self.buffers.take();
        if wanted.extent.units() != plain_units(wanted.extent.len(), self.sealer.seals()) {
            return self.read_packed(file, &mut lease, wanted);
        }
        self.read_plain(file, &mut lease, wanted)
    }

    fn read_plain(
        &self,
        file: &dyn DiskFile,
        buffer: &mut [u8],
        mut wanted: Wanted<'_>,
    ) -> Result<(), Fault> {
        let at_once = (buffer.len() - 2 * ALIGNMENT) / self.stride();
        let end = wanted.end_block();
        let mut first = wanted.first_block();
        while first < end {
            let last = end.min(first + at_once);
            let (start, stop) = self.plain_range(wanted.extent, first, last);
            let mut window = fetch(file, buffer, start, stop, &self.counters)?;
            self.open_plain(&mut window, &mut wanted, first, last)?;
            first = last;
        }
        Ok(())
    }

    /// Bytes from one block of an uncompressed record to the next.
    fn stride(&self) -> usize {
        BLOCK + self.sealer.seals().block_tag()
    }

    /// Where the blocks `first..last` lie in the file.
    fn plain_range(&self, extent: Extent, first: usize, last: usize) -> (u64, u64) {
        let base = extent.place() + SEALED_HEADER as u64;
        let end = (last * BLOCK).min(extent.len()) + last * self.sealer.seals().block_tag();
        (base + (first * self.stride()) as u64, base + end as u64)
    }

    fn open_plain(
        &self,
        window: &mut Window<'_>,
        wanted: &mut Wanted<'_>,
        first: usize,
        last: usize,
    ) -> Result<(), Fault> {
        for block in first..last {
            let (start, end) = self.plain_range(wanted.extent, block, block + 1);
            let sealed = window.slice(start, (end - start) as usize);
            let len = block_len(wanted.extent.len(), block);
            let (data, tag) = sealed.split_at_mut(len);
            let header = wanted.header.of_block(block as u32);
            self.sealer
                .open(header, data, tag)
                .map_err(|_| corrupt(BLOCK_BROKEN))?;
            let (into, from) = wanted.part(block);
            into.copy_from_slice(&data[from..from + into.len()]);
        }
        Ok(())
    }

    /// A compressed record: its table says where the blocks are, and is verified first.
    fn read_packed(
        &self,
        file: &dyn DiskFile,
        buffer: &mut [u8],
        mut wanted: Wanted<'_>,
    ) -> Result<(), Fault> {
        let extent = wanted.extent;
        let (place, stop) = (extent.place(), extent.place() + extent.stored_bytes());
        let head = SEALED_HEADER + table_bytes(extent.len());
        // What fits is fetched as a whole, else the table first.
        let whole = extent.stored_bytes() as usize + 2 * ALIGNMENT <= buffer.len();
        let end = if whole {
            stop
        } else {
            stop.min(place + head as u64)
        };
        let mut window = fetch(file, buffer, place, end, &self.counters)?;
        let sealed = window.slice(place, head.min((end - place) as usize));
        let ends = self.block_ends(wanted.header, extent, sealed)?;
        let base = place + head as u64;
        for block in wanted.first_block()..wanted.end_block() {
            let start = block.checked_sub(1).map_or(0, |before| ends[before]);
            let (start, end) = (base + u64::from(start), base + u64::from(ends[block]));
            if !whole {
                window = fetch(file, buffer, start, end, &self.counters)?;
            }
            let sealed = window.slice(start, (end - start) as usize);
            let tag = self.sealer.seals().block_tag();
            let (packed, tag) = sealed.split_at_mut(sealed.len() - tag);
            self.sealer
                .open(wanted.header.of_block(block as u32), packed, tag)
                .map_err(|_| corrupt(BLOCK_BROKEN))?;
            let mut plain = [0; BLOCK];
            let plain = &mut plain[..block_len(extent.len(), block)];
            unpack(packed, plain).ok_or_else(|| corrupt(BLOCK_BROKEN))?;
            let (into, from) = wanted.part(block);
            into.copy_from_slice(&plain[from..from + into.len()]);
        }
        Ok(())
    }

    /// Where each sealed block of a compressed record ends, counted from the first. Verified, and
    /// within the record.
    fn block_ends(&self, header: Header, extent: Extent, sealed: &[u8]) -> Result<Vec<u32>, Fault> {
        let broken = || corrupt(HEADER_BROKEN);
        let len = extent.len();
        let table = sealed.get(SEALED_HEADER..SEALED_HEADER + table_bytes(len));
        let table = table.ok_or_else(broken)?;
        let seal: &[u8; TAG] = sealed[HEADER..SEALED_HEADER]
            .try_into()
            .map_err(|_| broken())?;
        if sealed[..HEADER] != header.0 || self.sealer.open_header(header, table, seal).is_err() {
            return Err(broken());
        }
        let mut end = 0;
        let mut ends = Vec::with_capacity(blocks(len));
        for (block, size) in table.chunks_exact(2).take(blocks(len)).enumerate() {
            let size = usize::from(u16::from_le_bytes([size[0], size[1]]));
            if !(1..=block_len(len, block)).contains(&size) {
                return Err(broken());
            }
            end += (size + self.sealer.seals().block_tag()) as u32;
            ends.push(end);
        }
        let room = extent.stored_bytes() - (SEALED_HEADER + table_bytes(len)) as u64;
        if u64::from(end) > room {
            Err(broken())
        } else {
            Ok(ends)
        }
    }

    pub(super) fn read_all(&self, reads: Vec<Read<'_>>) -> Vec<Result<(), ReadError>> {
        let count = reads.len();
        let bytes: usize = reads.iter().map(|read| read.into.len()).sum();
        let groups = self.groups(reads);
        let helpers = if bytes > ALONE_BYTES {
            groups.len().saturating_sub(1)
        } else {
            0
        };
        let groups: Vec<_> = groups
            .into_iter()
            .map(|group| crew::Slot::new(Some(group)))
            .collect();
        let done = crew::share(&self.helpers, helpers, groups.len(), &|number| {
            let group = groups[number].lock().take();
            group.map_or_else(Vec::new, |group| self.read_group(group))
        });
        let mut results: Vec<Result<(), ReadError>> = (0..count).map(|_| Ok(())).collect();
        for (number, result) in done.into_iter().flatten() {
            results[number] = result;
        }
        results
    }

    /// Reads that one call of the disk serves, with their numbers. In the order of their places.
    fn groups<'a>(&self, reads: Vec<Read<'a>>) -> Vec<Vec<(usize, Read<'a>)>> {
        let mut sorted: Vec<(usize, Read<'a>)> = reads.into_iter().enumerate().collect();
        sorted.sort_by_key(|(_, read)| (read.extent.serial(), read.extent.unit(), read.offset));
        let most = (self.buffers.size() - 2 * ALIGNMENT) as u64;
        let mut groups: Vec<Vec<(usize, Read<'a>)>> = Vec::new();
        let mut open: Option<(u32, u64, u64)> = None;
        for read in sorted {
            let span = self.span(&read.1);
            let joined = match (open, span) {
                (Some((serial, start, end)), Some((next, stop)))
                    if serial == read.1.extent.serial()
                        && next <= end + GAP
                        && stop.max(end) - start <= most =>
                {
                    Some((serial, start, stop.max(end)))
                }
                _ => None,
            };
            match (joined, groups.last_mut()) {
                (Some(_), Some(group)) => {
                    open = joined;
                    group.push(read);
                }
                _ => {
                    open = span.map(|(start, end)| (read.1.extent.serial(), start, end));
                    groups.push(vec![read]);
                }
            }
        }
        groups
    }

    /// Where the blocks of a read lie; nothing for what is read by itself.
    fn span(&self, read: &Read<'_>) -> Option<(u64, u64)> {
        let extent = read.extent;
        let end = read.offset.checked_add(read.into.len())?;
        let plain = extent.units() == plain_units(extent.len(), self.sealer.seals());
        if read.into.is_empty() || end > extent.len() || !plain {
            return None;
        }
        Some(self.plain_range(extent, read.offset / BLOCK, end.div_ceil(BLOCK)))
    }

    fn read_group(&self, group: Vec<(usize, Read<'_>)>) -> Vec<(usize, Result<(), ReadError>)> {
        let mut results = Vec::with_capacity(group.len());
        let mut alone = group;
        if alone.len() > 1
            && let Some((start, end, segment)) = self.read_together(alone.iter())
        {
            let mut lease = self.buffers.take();
            let fetched = fetch(&*segment.file.file, &mut lease, start, end, &self.counters);
            // If that fails, some of them may still be readable alone.
            if let Ok(mut window) = fetched {
                alone = self.open_group(&mut window, alone, &mut results);
            }
        }
        results.extend(
            alone
                .into_iter()
                .map(|(number, read)| (number, self.read_one(read))),
        );
        results
    }

    /// The range that covers a group, if its segment is there and it lies inside.
    fn read_together<'a, 'b: 'a>(
        &self,
        group: impl Iterator<Item = &'a (usize, Read<'b>)>,
    ) -> Option<(u64, u64, Arc<Segment>)> {
        let mut range: Option<(u64, u64, Arc<Segment>)> = None;
        for (_, read) in group {
            let segment = self
                .segment_of(read.extent, read.offset, read.into.len())
                .ok()?;
            let (start, end) = self.span(read)?;
            range = Some(match range {
                Some((from, to, segment)) => (from.min(start), to.max(end), segment),
                None => (start, end, segment),
            });
        }
        range
    }

    /// Opens a group that was fetched. Returns the reads that have to be done alone: a block is opened
    /// in place, so a second read of it cannot use the same bytes.
    fn open_group<'a>(
        &self,
        window: &mut Window<'_>,
        group: Vec<(usize, Read<'a>)>,
        results: &mut Vec<(usize, Result<(), ReadError>)>,
    ) -> Vec<(usize, Read<'a>)> {
        let mut alone = Vec::new();
        let mut opened: Option<(Extent, usize)> = None;
        for (number, read) in group {
            let first = read.offset / BLOCK;
            if opened.is_some_and(|(extent, end)| extent == read.extent && first < end) {
                alone.push((number, read));
                continue;
            }
            let mut wanted = Wanted {
                header: Header::new(read.id, read.extent, self.sealer.seals()),
                extent: read.extent,
                offset: read.offset,
                into: read.into,
            };
            let last = wanted.end_block();
            opened = Some((read.extent, last));
            let result = self.open_plain(window, &mut wanted, first, last);
            results.push((number, result.map_err(ReadError::Fault)));
        }
        alone
    }
}
