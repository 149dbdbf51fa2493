//! What is in a segment: the place and the state of every record, four bytes each.

use crate::base::sync::{Mutex, MutexGuard};

use super::format::{Extent, FIRST, UNIT};
use super::space::SegmentFile;

const PENDING: u32 = 1 << 31;
const DEAD: u32 = 1 << 30;
const PLACE: u32 = (1 << 28) - 1;

/// One segment: a file with records.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) serial: u32,
    pub(super) file: SegmentFile,
    index: Mutex<Index>,
}

/// Guarded by the segment's lock, which is never held during I/O.
#[derive(Debug)]
pub(super) struct Index {
    /// Units of the records in order, with their state in the two highest bits.
    entries: Vec<u32>,
    /// End of the last record's batch, in bytes.
    used: u64,
    live_bytes: u64,
    live: u32,
    pending_bytes: u64,
    pending: u32,
    /// A record of it cannot be read: moving the rest would not empty it.
    pub(super) damaged: bool,
}

impl Segment {
    pub(super) fn new(serial: u32, file: SegmentFile) -> Self {
        let index = Index {
            entries: Vec::new(),
            used: FIRST,
            live_bytes: 0,
            live: 0,
            pending_bytes: 0,
            pending: 0,
            damaged: false,
        };
        Segment {
            serial,
            file,
            index: Mutex::new(index),
        }
    }

    /// No more records come: gives back room for them. Called under the lock of the tail.
    pub(super) fn close(&self) {
        let mut index = self.index.lock();
        index.entries.shrink_to_fit();
        let used = index.used;
        drop(index);
        self.file.cut(used);
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

impl Index {
    /// Notes a record that is being written. Places only grow.
    pub(super) fn announce(&mut self, extent: Extent) {
        debug_assert!(
            self.entries
                .last()
                .is_none_or(|last| last & PLACE < extent.unit())
        );
        self.entries.push(extent.unit() | PENDING);
        self.pending += 1;
        self.pending_bytes += extent.stored_bytes();
    }

    pub(super) fn set_used(&mut self, used: u64) {
        self.used = used;
    }

    /// The record is written, or (`live` false) will never be.
    pub(super) fn settle(&mut self, extent: Extent, live: bool) {
        let Some(at) = self.position(extent.unit()) else {
            debug_assert!(false, "{extent:?} was not announced");
            return;
        };
        self.pending -= 1;
        self.pending_bytes -= extent.stored_bytes();
        if live {
            self.entries[at] = extent.unit();
            self.live += 1;
            self.live_bytes += extent.stored_bytes();
        } else {
            self.entries[at] = extent.unit() | DEAD;
        }
    }

    /// A live record dies. False if there is none.
    pub(super) fn kill(&mut self, extent: Extent) -> bool {
        let Some(at) = self.position(extent.unit()) else {
            return false;
        };
        let fits = self.end_of(at) >= extent.place() + extent.stored_bytes();
        if self.entries[at] & !PLACE != 0 || !fits {
            return false;
        }
        self.entries[at] |= DEAD;
        self.live -= 1;
        self.live_bytes -= extent.stored_bytes();
        true
    }

    fn position(&self, unit: u32) -> Option<usize> {
        self.entries
            .binary_search_by_key(&unit, |entry| entry & PLACE)
            .ok()
    }

    /// Where the record at `position` ends at the latest, in bytes.
    fn end_of(&self, position: usize) -> u64 {
        match self.entries.get(position + 1) {
            Some(next) => u64::from(next & PLACE) * UNIT as u64,
            None => self.used,
        }
    }

    /// The first live record from `unit` on, and where it ends at the latest, in bytes.
    pub(super) fn next_live(&self, unit: u32) -> Option<(u32, u64)> {
        let from = self.entries.partition_point(|entry| entry & PLACE < unit);
        let live = self.entries[from..]
            .iter()
            .position(|entry| entry & !PLACE == 0)?;
        let at = from + live;
        Some((self.entries[at], self.end_of(at)))
    }

    /// No record is live or being written.
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0 && self.pending == 0
    }

    pub(super) fn is_settled(&self) -> bool {
        self.pending == 0
    }

    pub(super) fn live_records(&self) -> u64 {
        u64::from(self.live)
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// What lies between live records and can only be had back by moving them, in bytes.
    pub(super) fn dead_bytes(&self) -> u64 {
        self.used - FIRST - self.live_bytes - self.pending_bytes
    }

    /// Bytes in which records and dead space lie.
    pub(super) fn filled(&self) -> u64 {
        self.used - FIRST
    }

    /// Memory that the index takes, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        (self.entries.capacity() * size_of::<u32>()) as u64
    }
}
