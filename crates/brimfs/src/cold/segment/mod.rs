//! The segment store: content that left memory, in a few large files.
//!
//! Owns the segments of one filesystem, their space on disk and the key that seals them. Knows
//! nothing of files, chunks in memory or policy: whoever spills keeps the [`Extent`] of each
//! record and is asked to swing it when compaction moves the record. Every read is
//! verified, block by block, against the identity that the reader names.
//!
//! Its files have no names and are gone with it ([`Store::new`]), or have names and stay
//! ([`Store::named`]). A store with names knows no more of its records after it was opened than what
//! it was told then: what lives is written down elsewhere. docs/format.md draws its files.
//!
//! Locks, in the order in which they are taken: `compacting`, `tail`, `table`, the index of one
//! segment, those of `home`, the stacks, the buffers. Only `compacting`, `tail` and `home`'s `syncing` are held during I/O, and
//! reading needs none of them.

mod audit;
mod buffers;
mod cipher;
mod compact;
mod crew;
mod crypt;
mod file_header;
mod format;
mod home;
mod index;
mod load;
mod opening;
mod options;
mod pack;
mod reader;
mod space;
mod stack;
mod stream;
mod writer;

use hashbrown::HashMap;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::base::sync::{Arc, Mutex, RwLock};
use crate::cold::host_files::HostFiles;
use crate::io::directory::Directory;
use crate::io::disk::{ALIGNMENT, Disk};

pub(crate) use audit::{References, Rule};
pub(crate) use file_header::{file_header, serial_of};
pub use format::{BLOCK, Extent, Id, RECORD_MAX, SEGMENT_BYTES_MAX};
pub use load::Load;
pub use options::{
    Compacted, Compression, Footprint, Options, Protection, SEGMENT_BYTES_MIN, StoreStats,
};
pub use reader::{Read, ReadError};
pub(crate) use stack::{Layer, Stack};
pub use writer::Record;

use buffers::Buffers;
use crypt::{Sealer, Seals};
use home::{Home, Named};
use index::Segment;
use space::Space;
use stack::Stacks;
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

impl Counters {
    fn count_write(&self, bytes: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }
}

type Table = HashMap<u32, Arc<Segment>, foldhash::fast::RandomState>;

/// See the module's documentation.
///
/// All methods can be called from many threads at once.
#[derive(Debug)]
pub struct Store {
    home: Home,
    segment_bytes: u64,
    /// Length of the longest segment that there can be: one that was found may be longer than new ones.
    longest: u64,
    compression: Compression,
    sealer: Sealer,
    space: Arc<Space>,
    buffers: Buffers,
    /// Helpers that are free.
    helpers: AtomicUsize,
    tail: Mutex<Tail>,
    table: RwLock<Table>,
    compacting: Mutex<()>,
    counters: Counters,
    /// Content that lies in files of the host.
    host_files: Option<Arc<HostFiles>>,
    stacks: Stacks,
}

impl Store {
    /// An empty, volatile store: everything is gone when it is dropped. Touches no disk: the first append
    /// creates the first segment.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for options that
    /// contradict each other, [`ErrorKind::Io`](crate::ErrorKind::Io) where the system has no randomness.
    pub fn new(disk: Arc<dyn Disk>, options: Options) -> Result<Self, Fault> {
        options.check()?;
        let seals = match options.protection {
            Protection::Encrypted => Seals::Encrypted,
            Protection::Checksummed => Seals::Checksummed,
        };
        let home = Home::Nameless {
            disk,
            directory: options.directory.clone(),
        };
        let sealer = Sealer::new(seals).map_err(Fault::disk)?;
        let space = Space::new(options.disk_limit);
        Self::with(home, sealer, space, options)
    }

    /// Opens the store that has its segments in a directory, or begins one. `live` are the extents that its
    /// owner still wants, in any order; who occurs n times is wanted n times. `identity` is a random
    /// number of the store that its files and seals bear.
    ///
    /// Files of segments in which nothing lives are removed. So whatever a later opening could be told, after a
    /// crash too, has to be in `live`: what was read of a journal is made durable first. Files that stay are only read
    /// from; what is appended goes to new ones, whose numbers are greater than all that were seen.
    ///
    /// Each file is kept open, and its first block read and verified; content is verified when it is read. O(files)
    /// calls of the disk, O(n log n) in the extents.
    ///
    /// Nobody else may have the directory open for writing. The disk limit counts what is found, and may be
    /// exceeded by it: appends are refused then.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for a file that is missing, too short for what lives in it, or not this
    /// store's; the text names it and the place. [`Unsupported`](crate::ErrorKind::Unsupported) for another format,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for options that contradict each other and for any protection
    /// but checksums, [`Io`](crate::ErrorKind::Io) where the disk fails. Nothing but files without live extents has
    /// changed then.
    pub fn named(
        directory: Arc<dyn Directory>,
        options: Options,
        identity: [u8; 16],
        live: &[Extent],
    ) -> Result<Self, Fault> {
        Self::open(directory, options, identity, live, false)
    }

    /// As [`Store::named`], for reading: creates and removes nothing. Appending and compacting fail with
    /// [`NotPermitted`](crate::ErrorKind::NotPermitted).
    ///
    /// # Errors
    /// As [`Store::named`].
    pub fn named_read_only(
        directory: Arc<dyn Directory>,
        options: Options,
        identity: [u8; 16],
        live: &[Extent],
    ) -> Result<Self, Fault> {
        Self::open(directory, options, identity, live, true)
    }

    fn with(
        home: Home,
        sealer: Sealer,
        space: Arc<Space>,
        options: Options,
    ) -> Result<Self, Fault> {
        let segment_bytes = options.checked_segment_bytes()?;
        Ok(Store {
            home,
            segment_bytes,
            longest: segment_bytes,
            compression: options.compression,
            sealer,
            space,
            buffers: Buffers::new(options.buffer_bytes, options.buffers),
            helpers: AtomicUsize::new(options.helpers),
            tail: Mutex::new(Tail::new()),
            table: RwLock::new(Table::default()),
            compacting: Mutex::new(()),
            counters: Counters::default(),
            host_files: None,
            stacks: Stacks::default(),
        })
    }

    /// The same store, through which files of the host are read too.
    pub(crate) fn beside(mut self, host_files: Arc<HostFiles>) -> Self {
        self.host_files = Some(host_files);
        self
    }

    /// The host's files, if the extent lies in one of them.
    fn host_file(&self, extent: Extent) -> Option<(&HostFiles, u32, u64)> {
        let (file, base) = extent.host_file()?;
        Some((self.host_files.as_deref()?, file, base))
    }

    /// Writes a batch and says where each record lies, in the order of `records`. All or nothing.
    ///
    /// The records are in the hands of the operating system then, and durable after [`Store::sync`] at best. A batch pays
    /// for padding to 4 KiB and for one call of the disk at least, so batches of 256 KiB and more are
    /// cheap, and from 1 MiB on helpers seal and write along. O(bytes).
    ///
    /// # Errors
    /// [`DiskLimit`](crate::ErrorKind::DiskLimit) if the limit has no room: dead space counts, so
    /// [`Store::compact`] may help. [`DiskFull`](crate::ErrorKind::DiskFull) if the disk has none,
    /// [`Io`](crate::ErrorKind::Io) if it fails; [`InvalidArgument`](crate::ErrorKind::InvalidArgument)
    /// for a record that is empty or longer than [`RECORD_MAX`]. Nothing of the batch is stored then;
    /// what a failing disk wrote of it counts as dead space. After a [`Store::sync`] that failed
    /// it is always [`Io`](crate::ErrorKind::Io).
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

    /// One more reference to a live record, which has one when it is appended. False if there is no live
    /// record at this extent, or if it has 2^32 references: whoever wants another one writes a copy.
    ///
    /// O(log n) in the records of the segment. Up to three references take no memory.
    #[must_use]
    pub fn retain(&self, extent: Extent) -> bool {
        if let Some((files, file, _)) = self.host_file(extent) {
            return files.retain(file);
        }
        if let Some(number) = extent.stack() {
            return self.stacks.retain(number);
        }
        let segment = self.find(extent.serial());
        segment.is_some_and(|segment| segment.index().retain(extent))
    }

    /// A reference to the record is no longer needed; with the last one the record dies. False if there is no live
    /// record at this extent, which is an error of the caller and changes nothing.
    ///
    /// O(log n) in the records of the segment; the last one gives the segment's space back. If it has a name
    /// its file is removed, so the caller makes sure before that nobody asks for the record after a
    /// crash. A file that cannot be removed is counted ([`StoreStats::leftover_files`]) and tried again with the
    /// next one.
    pub fn release(&self, extent: Extent) -> bool {
        if let Some((files, file, _)) = self.host_file(extent) {
            return files.release(file);
        }
        if let Some(number) = extent.stack() {
            return self.release_stack(number);
        }
        let Some(segment) = self.find(extent.serial()) else {
            return false;
        };
        let mut index = segment.index();
        let released = index.release(extent);
        let empty = released && index.is_empty();
        drop(index);
        if empty {
            self.retire(segment);
        }
        released
    }

    /// Makes durable every record whose append has returned, and the names of the files. Flushes those files that have
    /// records since the last sync, and the directory if some were created; nothing if nothing was appended. One call at a
    /// time works, others wait for it; appends go on.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io): it is not known what is durable, and never will be of what was appended since the last
    /// success. The store refuses appends and syncs until it is opened anew; reading goes on.
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a volatile store.
    pub fn sync(&self) -> Result<(), Fault> {
        match &self.home {
            Home::Named(named) => named.sync(),
            Home::Nameless { .. } => {
                let text = "a volatile store makes nothing durable";
                Err(Fault::text(ErrorKind::Unsupported, text))
            }
        }
    }

    /// Makes everything durable and gives back what is reserved behind the last record. To be called before the store is
    /// dropped; without it a file stays as long as it was reserved. What is appended later goes to a
    /// new segment.
    ///
    /// # Errors
    /// As [`Store::sync`].
    pub fn close(&self) -> Result<(), Fault> {
        if let Home::Named(named) = &self.home {
            named.check_poison()?;
            let mut tail = self.tail.lock();
            if let Some(active) = tail.active.take() {
                active.close();
                named.mark(&active);
            }
        }
        self.sync()
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
    /// Where files have names the store does not release what was moved: the owner does, when his new reference is
    /// durable. Until then the record has both extents, and space comes back after the call. An owner with
    /// several references to a record is asked once; he swings those that he will release, and calls [`Store::retain`]
    /// for all but one of them. A record that was moved is not moved from there again.
    ///
    /// Records that cannot be read stay where they are and are counted.
    ///
    /// # Errors
    /// [`DiskLimit`](crate::ErrorKind::DiskLimit), [`DiskFull`](crate::ErrorKind::DiskFull) or
    /// [`Io`](crate::ErrorKind::Io). Every record is where its owner thinks it is then.
    pub fn compact(&self, budget: u64, owner: Owner<'_>) -> Result<Compacted, Fault> {
        self.compact_some(budget, owner)
    }

    /// Lets records that were moved before be moved once more, those that their owners could not release. To be
    /// called when nothing that was moved waits for its owner.
    pub fn offer_again(&self) {
        for segment in self.table.read().values() {
            segment.index().swept = 0;
        }
    }

    /// Takes bytes of the disk limit that are not the store's, for whoever keeps them on the disk elsewhere.
    ///
    /// # Errors
    /// [`DiskLimit`](crate::ErrorKind::DiskLimit) if there is no room.
    pub fn set_aside(&self, bytes: u64) -> Result<(), Fault> {
        self.space.set_aside(bytes, self.ceiling(Purpose::Spill))
    }

    /// Gives bytes back that were set aside.
    pub fn give_aside(&self, bytes: u64) {
        self.space.give_aside(bytes);
    }

    /// Gives space back that is reserved ahead in the segment that is being filled.
    pub fn trim(&self) {
        // Nothing is being appended while the lock is held that did not get its place before.
        let tail = self.tail.lock();
        if let Some(active) = &tail.active {
            let end = active.index().end();
            active.file.cut(end);
        }
    }

    /// The most that so much content takes on the disk when it is appended in whatever batches of a buffer or more, in
    /// 1024ths of it.
    #[must_use]
    pub fn share_of_content(&self) -> u64 {
        // Of two runs that follow each other at least a buffer is full, and each may be padded by a page; seals take 4
        // bytes of 16 KiB, a header and its padding less than the 1024th part that is left.
        let padding = (2 * ALIGNMENT as u64 * 1024).div_ceil(self.buffers.size() as u64);
        1024 + padding + 2
    }

    /// Size of a segment, in bytes.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Bytes that are reserved on disk, as [`StoreStats::disk_bytes`]. O(1).
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.space.used()
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
            leftover_files: self.home.named().map_or(0, Named::leftovers),
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
                .sum::<u64>()
                + self
                    .host_files
                    .as_ref()
                    .map_or(0, |files| files.footprint())
                + self.stacks.footprint(),
        }
    }

    fn find(&self, serial: u32) -> Option<Arc<Segment>> {
        self.table.read().get(&serial).cloned()
    }
}
