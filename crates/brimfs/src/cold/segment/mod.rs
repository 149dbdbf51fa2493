//! The segment store: content that left memory, in a few large files.
//!
//! Owns the segments of one filesystem, their space on disk and the key that seals them. Knows
//! nothing of files, chunks in memory or policy: whoever spills keeps the [`Extent`] of each
//! record and is asked to swing it when compaction moves the record. Every read is
//! verified, block by block, against the identity that the reader names.
//!
//! Locks, in the order in which they are taken: `compacting`, `tail`, `table`, the index of one
//! segment, the buffers. Only `compacting` and `tail` are held during I/O, and reading needs neither.

mod buffers;
mod cipher;
mod compact;
mod crew;
mod crypt;
mod format;
mod index;
mod options;
mod pack;
mod reader;
mod space;
mod stream;
mod writer;

use std::path::PathBuf;

use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::base::sync::{Arc, Mutex, RwLock};
use crate::io::disk::Disk;

pub use format::{BLOCK, Extent, Id, RECORD_MAX, SEGMENT_BYTES_MAX};
pub use options::{
    Compacted, Compression, Footprint, Options, Protection, SEGMENT_BYTES_MIN, StoreStats,
};
pub use reader::{Read, ReadError};
pub use writer::Record;

use buffers::Buffers;
use crypt::{Sealer, Seals};
use index::Segment;
use space::Space;
use writer::{Purpose, Tail};

/// Who keeps the extents: told that a record has a new one, says whether the record still lives.
pub type Owner<'a> = &'a mut dyn FnMut(Id, Extent, Extent) -> bool;

#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    unlinked_files: AtomicU64,
}

/// See the module's documentation. Volatile: everything is gone when it is dropped.
///
/// All methods can be called from many threads at once.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    compression: Compression,
    sealer: Sealer,
    space: Arc<Space>,
    buffers: Buffers,
    /// Helpers that are free.
    helpers: AtomicUsize,
    tail: Mutex<Tail>,
    table: RwLock<HashMap<u32, Arc<Segment>, foldhash::fast::RandomState>>,
    compacting: Mutex<()>,
    counters: Counters,
}

impl Store {
    /// An empty store. Touches no disk: the first append creates the first segment.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for options that
    /// contradict each other, [`ErrorKind::Io`](crate::ErrorKind::Io) where the system has no randomness.
    pub fn new(disk: Arc<dyn Disk>, options: Options) -> Result<Self, Fault> {
        let segment_bytes = options.checked_segment_bytes()?;
        let seals = match options.protection {
            Protection::Encrypted => Seals::Encrypted,
            Protection::Checksummed => Seals::Checksummed,
        };
        Ok(Store {
            disk,
            directory: options.directory,
            segment_bytes,
            compression: options.compression,
            sealer: Sealer::new(seals).map_err(Fault::disk)?,
            space: Space::new(options.disk_limit),
            buffers: Buffers::new(options.buffer_bytes, options.buffers),
            helpers: AtomicUsize::new(options.helpers),
            tail: Mutex::new(Tail::new()),
            table: RwLock::new(HashMap::default()),
            compacting: Mutex::new(()),
            counters: Counters::default(),
        })
    }

    /// Writes a batch and says where each record lies, in the order of `records`. All or nothing.
    ///
    /// The records are in the hands of the operating system then, not durable. A batch pays
    /// for padding to 4 KiB and for one call of the disk at least, so batches of 256 KiB and more are
    /// cheap, and from 1 MiB on helpers seal and write along. O(bytes).
    ///
    /// # Errors
    /// [`DiskLimit`](crate::ErrorKind::DiskLimit) if the limit has no room: dead space counts, so
    /// [`Store::compact`] may help. [`DiskFull`](crate::ErrorKind::DiskFull) if the disk has none,
    /// [`Io`](crate::ErrorKind::Io) if it fails; [`InvalidArgument`](crate::ErrorKind::InvalidArgument)
    /// for a record that is empty or longer than [`RECORD_MAX`]. Nothing of the batch is stored then;
    /// what a failing disk wrote of it counts as dead space.
    pub fn append(&self, records: &[Record<'_>]) -> Result<Vec<Extent>, Fault> {
        self.append_for(records, Purpose::Spill)
    }

    /// Reads `into.len()` bytes of a record from `offset` on, verified.
    ///
    /// Costs one call of the disk for each buffer that the touched blocks of 16 KiB fill; two for
    /// a compressed record that is longer than a buffer, and one for each further block of it.
    ///
    /// # Errors
    /// See [`ReadError`]. `into` is unspecified then.
    pub fn read(
        &self,
        id: Id,
        extent: Extent,
        offset: usize,
        into: &mut [u8],
    ) -> Result<(), ReadError> {
        self.read_one(Read {
            id,
            extent,
            offset,
            into,
        })
    }

    /// Does several reads, neighbours on the disk by one call, and lets helpers verify along. Results
    /// are in the order of `reads`; each fails alone, as [`Store::read`] does.
    pub fn read_many(&self, reads: Vec<Read<'_>>) -> Vec<Result<(), ReadError>> {
        self.read_all(reads)
    }

    /// The record is no longer needed. False if there is no live record at this extent, which is
    /// an error of the caller and changes nothing.
    ///
    /// O(log n) in the records of the segment; the last one gives the segment's space back.
    pub fn release(&self, extent: Extent) -> bool {
        let Some(segment) = self.find(extent.serial()) else {
            return false;
        };
        let mut index = segment.index();
        let killed = index.kill(extent);
        let empty = killed && index.is_empty();
        drop(index);
        if empty {
            self.retire(segment);
        }
        killed
    }

    /// Copies the live rest of mostly dead segments, up to about `budget` bytes, so that their space comes
    /// back. One call at a time works, others wait for it.
    ///
    /// `owner` is told identity, old and new extent of every record that was copied. If it returns
    /// true it has swung its reference, and the store releases the old extent. If the
    /// record died meanwhile it returns false: the store releases the new extent, and whoever
    /// ended the record releases (or has released) the old one. No lock is held during the call
    /// but the one that keeps compactions apart.
    ///
    /// Records that cannot be read stay where they are and are counted.
    ///
    /// # Errors
    /// [`DiskLimit`](crate::ErrorKind::DiskLimit), [`DiskFull`](crate::ErrorKind::DiskFull) or
    /// [`Io`](crate::ErrorKind::Io). Every record is where its owner thinks it is then.
    pub fn compact(&self, budget: u64, owner: Owner<'_>) -> Result<Compacted, Fault> {
        self.compact_some(budget, owner)
    }

    /// What the store holds and has done. O(segments).
    pub fn stats(&self) -> StoreStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = StoreStats {
            disk_bytes: self.space.used(),
            disk_limit: self.space.limit,
            reads: count(&self.counters.reads),
            writes: count(&self.counters.writes),
            bytes_read: count(&self.counters.bytes_read),
            bytes_written: count(&self.counters.bytes_written),
            unlinked_files: count(&self.counters.unlinked_files),
            ..StoreStats::default()
        };
        for segment in self.table.read().values() {
            let index = segment.index();
            stats.live_bytes += index.live_bytes();
            stats.dead_bytes += index.dead_bytes();
            stats.live_records += index.live_records();
            stats.segments += 1;
        }
        stats
    }

    /// The fixed part of [`Store::footprint`] for so many buffers of this size.
    #[must_use]
    pub fn fixed_bytes(buffers: usize, buffer_bytes: usize) -> u64 {
        Buffers::bytes_of(buffers, buffer_bytes) + Self::COMPACTION_BYTES
    }

    /// Memory that the store takes. O(segments).
    pub fn footprint(&self) -> Footprint {
        let indexes = self.table.read();
        Footprint {
            fixed: self.buffers.bytes() + Self::COMPACTION_BYTES,
            index: indexes
                .values()
                .map(|segment| segment.index().footprint())
                .sum(),
        }
    }

    fn find(&self, serial: u32) -> Option<Arc<Segment>> {
        self.table.read().get(&serial).cloned()
    }
}
