//! Records that are put together before it is known where they will lie: their content is copied once, to where it is
//! sealed and written from.

use std::fmt;

use crate::base::error::Fault;
use crate::io::disk::{ALIGNMENT, write_full};

use super::buffers::Aligned;
use super::crypt::{Seals, TAG};
use super::format::{
    BLOCK, Extent, HEADER, Header, RECORD_MAX, SEALED_HEADER, UNIT, block_len, blocks, plain_units,
};
use super::options::Compression;
use super::pack::{self, Packed};
use super::writer::{Purpose, Size};
use super::{Id, Store};

/// What holds the largest record, in bytes.
const BUFFER: usize =
    (SEALED_HEADER + RECORD_MAX + RECORD_MAX / BLOCK * TAG).next_multiple_of(ALIGNMENT);

/// A buffer that records are put into, for [`Store::write_load`].
///
/// It lies with the one who fills it: whoever holds one may wait for the lock of a file, as those must not who have one
/// of the store's own.
#[derive(Default)]
pub struct Load {
    /// Made when it is first needed.
    buffer: Option<Aligned>,
    filled: usize,
    records: Vec<Loaded>,
}

/// A record in the buffer: its header will lie at `start`, its blocks lie behind with room for their seals.
#[derive(Clone, Copy)]
struct Loaded {
    id: Id,
    start: usize,
    len: usize,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records in {} bytes", self.records.len(), self.filled)
    }
}

impl Load {
    /// Memory that one takes, in bytes, once it was used.
    pub const BYTES: u64 = (BUFFER + ALIGNMENT) as u64;

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record with so much content fits beside what is there. One does where there is nothing.
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        // Whatever the seals: those of a store are never longer.
        let units = plain_units(len, Seals::Encrypted) as usize;
        len <= RECORD_MAX && self.filled + units * UNIT <= BUFFER
    }

    /// The content of all records, in bytes.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.records.iter().map(|record| record.len as u64).sum()
    }
}

impl Store {
    /// Puts a record into a buffer that has room for it. `copy` fills the bytes that it is given with those of the content
    /// from an offset on.
    pub fn load(
        &self,
        load: &mut Load,
        id: Id,
        len: usize,
        mut copy: impl FnMut(usize, &mut [u8]),
    ) {
        debug_assert!(len > 0 && load.has_room(len));
        let tag = self.sealer.seals().block_tag();
        let buffer = load.buffer.get_or_insert_with(|| Aligned::new(BUFFER));
        let start = load.filled;
        let mut at = start + SEALED_HEADER;
        for block in 0..blocks(len) {
            let data = block_len(len, block);
            copy(block * BLOCK, &mut buffer[at..at + data]);
            at += data + tag;
        }
        load.filled = pad(buffer, at, UNIT);
        load.records.push(Loaded { id, start, len });
    }

    /// Writes the records of a buffer, as [`Store::append`] does, in the order in which they came. The buffer is empty
    /// then, however that ends. By one call of the disk and the calling thread alone.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn write_load(&self, load: &mut Load) -> Result<Vec<Extent>, Fault> {
        let mut records = std::mem::take(&mut load.records);
        load.filled = 0;
        let Some(buffer) = load.buffer.as_mut().filter(|_| !records.is_empty()) else {
            return Ok(Vec::new());
        };
        self.home.check_writable()?;
        let tables = self.pack_load(buffer, &mut records);
        let seals = self.sealer.seals();
        let units = |record: &Loaded, packed: &Option<Packed>| {
            let packed = packed.as_ref().map(|packed| packed.units);
            packed.unwrap_or(plain_units(record.len, seals))
        };
        let sizes: Vec<Size> = records
            .iter()
            .zip(&tables)
            .map(|(record, packed)| Size {
                len: record.len,
                units: units(record, packed),
            })
            .collect();
        let (runs, extents) = self.place(&sizes, buffer.len(), Purpose::Spill)?;
        let run = runs.first().expect("there are records");
        for ((record, packed), extent) in records.iter().zip(&tables).zip(&extents) {
            self.seal_loaded(buffer, record, packed.as_ref(), *extent);
        }
        let end = records.last().map_or(0, |last| last.start)
            + sizes.last().map_or(0, |last| last.units as usize * UNIT);
        let end = pad(buffer, end, ALIGNMENT);
        debug_assert_eq!(end as u64, run.len);
        let file = &*run.segment.file.file;
        let written = write_full(file, run.start, &buffer[..end]).map_err(Fault::disk);
        if written.is_ok() {
            self.counters.count_write(run.len);
        }
        self.settle(runs, &extents, written.is_ok());
        written.map(|()| extents)
    }

    /// Compresses the records if the store does, and moves them together.
    fn pack_load(&self, buffer: &mut [u8], records: &mut [Loaded]) -> Vec<Option<Packed>> {
        if self.compression == Compression::None {
            return records.iter().map(|_| None).collect();
        }
        let seals = self.sealer.seals();
        let tag = seals.block_tag();
        let mut end = 0;
        let mut pack_one = |record: &mut Loaded| {
            let first = record.start + SEALED_HEADER;
            let parts: Vec<&[u8]> = (0..blocks(record.len))
                .map(|block| (first + block * (BLOCK + tag), block_len(record.len, block)))
                .map(|(at, len)| &buffer[at..at + len])
                .collect();
            let packed = pack::pack(&parts, record.len, self.compression, seals);
            let from = record.start;
            record.start = end;
            let Some(packed) = packed else {
                let len = plain_units(record.len, seals) as usize * UNIT;
                buffer.copy_within(from..from + len, end);
                end += len;
                return None;
            };
            let mut at = end + SEALED_HEADER;
            buffer[at..at + packed.table.len()].copy_from_slice(&packed.table);
            at += packed.table.len();
            for block in 0..blocks(record.len) {
                let bytes = packed.block(block);
                buffer[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len() + tag;
            }
            end = pad(buffer, at, UNIT);
            Some(packed)
        };
        records.iter_mut().map(&mut pack_one).collect()
    }

    fn seal_loaded(
        &self,
        buffer: &mut [u8],
        record: &Loaded,
        packed: Option<&Packed>,
        extent: Extent,
    ) {
        let seals = self.sealer.seals();
        let tag = seals.block_tag();
        let table = packed.map_or(&[][..], |packed| &packed.table);
        let header = Header::new(record.id, extent, seals);
        let place = &mut buffer[record.start..];
        place[..HEADER].copy_from_slice(&header.0);
        place[HEADER..SEALED_HEADER].copy_from_slice(&self.sealer.seal_header(header, table));
        let mut rest = &mut place[SEALED_HEADER + table.len()..];
        for block in 0..blocks(record.len) {
            let plain = block_len(record.len, block);
            let len = packed.map_or(plain, |packed| packed.block(block).len());
            let (data, behind) = rest.split_at_mut(len);
            let (seal, behind) = behind.split_at_mut(tag);
            self.sealer.seal(header.of_block(block as u32), data, seal);
            rest = behind;
        }
    }
}

/// Zeros from `at` up to a multiple of `unit`, which is returned.
fn pad(buffer: &mut [u8], at: usize, unit: usize) -> usize {
    let end = at.next_multiple_of(unit);
    buffer[at..end].fill(0);
    end
}
