//! How a store is set up, and what it says about itself.

use std::path::PathBuf;

use crate::base::error::{ErrorKind, Fault};
use crate::io::disk::ALIGNMENT;

use super::format::{BLOCK, RECORD_MAX, SEGMENT_BYTES_MAX};

/// The smallest segment: one record of the largest size fits.
pub const SEGMENT_BYTES_MIN: u64 = 2 << 20;
/// The largest segment that is chosen when none is asked for.
const SEGMENT_BYTES_DEFAULT_MAX: u64 = 1 << 30;
/// Segments that a disk limit is divided into when their size is not given.
const SEGMENTS: u64 = 128;
/// The smallest buffer: a block with its tag, at any place.
const BUFFER_BYTES_MIN: usize = BLOCK + 3 * ALIGNMENT;

/// How blocks are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// AES-256-GCM under a random key that exists in memory only.
    Encrypted,
    /// CRC32C: damage is noticed, nothing is hidden.
    Checksummed,
}

/// How blocks are packed before they are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4, where that makes the record smaller.
    Lz4,
}

/// How a [`Store`](super::Store) is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where segments are created. Unused where they have names: their directory is given by itself.
    pub directory: PathBuf,
    /// The most bytes on disk, dead space included. One segment of it is kept free for compaction.
    pub disk_limit: u64,
    /// Size of a segment in bytes, a multiple of 4 KiB; `None` chooses one by the disk limit.
    pub segment_bytes: Option<u64>,
    /// How blocks are packed.
    pub compression: Compression,
    /// How blocks are sealed.
    pub protection: Protection,
    /// Number of buffers, two at least: as many transfers run at a time.
    pub buffers: usize,
    /// Size of a buffer in bytes, a multiple of 4 KiB, 28 KiB at least.
    pub buffer_bytes: usize,
    /// Threads that help a caller to seal, verify and transfer what is more than a few buffers. They
    /// exist for the call only and are shared by all callers. With 0 every call does its own work
    /// alone and in order.
    pub helpers: usize,
}

impl Options {
    /// The usual set-up: encrypted, not compressed, 4 MiB of buffers, two helpers.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, disk_limit: u64) -> Self {
        Options {
            directory: directory.into(),
            disk_limit,
            segment_bytes: None,
            compression: Compression::None,
            protection: Protection::Encrypted,
            buffers: 4,
            // A record of the largest size at any place, so that it is written and read by one call.
            buffer_bytes: 1036 << 10,
            helpers: 2,
        }
    }

    /// Looks whether these options go together.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with a text that names the limit.
    pub fn check(&self) -> Result<(), Fault> {
        self.checked_segment_bytes().map(drop)
    }

    /// The size of a segment that these options lead to.
    pub(super) fn checked_segment_bytes(&self) -> Result<u64, Fault> {
        let refuse = |text: String| Err(Fault::text(ErrorKind::InvalidArgument, text));
        if self.buffers < 2 {
            return refuse(format!("{} buffers are fewer than 2", self.buffers));
        }
        let aligned = self.buffer_bytes.is_multiple_of(ALIGNMENT);
        if self.buffer_bytes < BUFFER_BYTES_MIN || !aligned {
            return refuse(format!(
                "a buffer of {} bytes is not a multiple of {ALIGNMENT} from {BUFFER_BYTES_MIN} on",
                self.buffer_bytes
            ));
        }
        let chosen = self.segment_bytes.unwrap_or_else(|| {
            let share = (self.disk_limit / SEGMENTS).checked_next_power_of_two();
            share.map_or(SEGMENT_BYTES_DEFAULT_MAX, |share| {
                share.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_DEFAULT_MAX)
            })
        });
        let aligned = chosen.is_multiple_of(ALIGNMENT as u64);
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&chosen) || !aligned {
            return refuse(format!(
                "a segment of {chosen} bytes is not a multiple of {ALIGNMENT} from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            ));
        }
        if self.disk_limit < 2 * chosen {
            return refuse(format!(
                "a disk limit of {} bytes is less than two segments of {chosen}",
                self.disk_limit
            ));
        }
        Ok(chosen)
    }
}

/// What a store holds and has done. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Reserved on disk, whatever lies in it.
    pub disk_bytes: u64,
    /// The limit of that.
    pub disk_limit: u64,
    /// In live records, with their headers and seals.
    pub live_bytes: u64,
    /// In records that died, failed batches and padding, until compaction or the death of the last
    /// live record of the segment.
    pub dead_bytes: u64,
    /// Live records, by number.
    pub live_records: u64,
    /// Segments with records, by number.
    pub segments: u64,
    /// Calls of the disk that read, by number.
    pub reads: u64,
    /// Calls of the disk that wrote, by number.
    pub writes: u64,
    /// Read from the disk.
    pub bytes_read: u64,
    /// Written to the disk.
    pub bytes_written: u64,
    /// Files that had a name for a moment because the filesystem cannot do without, by number.
    pub unlinked_files: u64,
    /// Files with names that are dead and could not be removed yet, by number. They count as reserved.
    pub leftover_files: u64,
}

/// Memory that a store takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The most that buffers and compaction take; does not change. Compression takes as much as
    /// the content of a batch on top while it is appended.
    pub fixed: u64,
    /// The index of live and dead records, four bytes each.
    pub index: u64,
}

impl Footprint {
    /// Both together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.fixed + self.index
    }
}

/// What [`Store::compact`](super::Store::compact) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of records that were copied.
    pub copied: u64,
    /// Records that moved, by number.
    pub moved: u64,
    /// Records that cannot be read and stayed where they are, by number.
    pub damaged: u64,
    /// Segments that became empty and were given back or reused, by number. Where files have names that is
    /// when their owners have released what was moved, which is mostly after the call.
    pub freed_segments: u64,
}

const _: () = assert!(SEGMENT_BYTES_MIN > (RECORD_MAX + (1 << 16)) as u64);
