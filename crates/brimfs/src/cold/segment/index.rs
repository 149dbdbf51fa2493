//! What is in a segment: the place and the state of every record, four bytes each.

use hashbrown::HashMap;

use crate::base::sync::{Mutex, MutexGuard};

use super::format::{Extent, FIRST, UNIT};
use super::space::SegmentFile;

const PENDING: u32 = 1 << 31;
const DEAD: u32 = 1 << 30;
/// References beyond the first: 0, 1 or 2, or all bits where `shared` has their number.
const MORE: u32 = 0b11 << 28;
const ONE_MORE: u32 = 1 << 28;
/// The smallest number of references beyond the first that `shared` has.
const SHARED_MIN: u32 = MORE / ONE_MORE;
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
    /// Units of the records in order, with their state in the four highest bits.
    entries: Vec<u32>,
    /// References beyond the first, by unit, of records that have more than an entry can count.
    shared: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// End of the last record's batch, in bytes.
    used: u64,
    live_bytes: u64,
    live: u32,
    pending_bytes: u64,
    pending: u32,
    /// A record of it cannot be read: moving the rest would not empty it.
    pub(super) damaged: bool,
    /// Unit from which on compaction goes on: what lies before it was moved already, and is live only
    /// until its owners release it. Stays 0 where compaction itself releases what it moved.
    pub(super) swept: u32,
}

impl Segment {
    pub(super) fn new(serial: u32, file: SegmentFile) -> Self {
        Segment {
            serial,
            file,
            index: Mutex::new(Index::new(FIRST)),
        }
    }

    /// A segment whose file was there, of `used` bytes, with these records in the order of their places. One that
    /// occurs n times has n references. Where two records overlap, the place of the second comes back.
    pub(super) fn found(
        serial: u32,
        file: SegmentFile,
        used: u64,
        live: &[Extent],
    ) -> Result<Self, u64> {
        let mut index = Index::new(used);
        let distinct = live.chunk_by(|one, next| one == next).count();
        index.entries.reserve_exact(distinct);
        let mut end = FIRST;
        for same in live.chunk_by(|one, next| one == next) {
            let extent = same[0];
            if extent.place() < end || extent.place() + extent.stored_bytes() > used {
                return Err(extent.place());
            }
            end = extent.place() + extent.stored_bytes();
            index.enter(extent);
            for _ in 1..same.len() {
                if !index.retain(extent) {
                    return Err(extent.place());
                }
            }
        }
        Ok(Segment {
            serial,
            file,
            index: Mutex::new(index),
        })
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
    fn new(used: u64) -> Self {
        Index {
            entries: Vec::new(),
            shared: HashMap::default(),
            used,
            live_bytes: 0,
            live: 0,
            pending_bytes: 0,
            pending: 0,
            damaged: false,
            swept: 0,
        }
    }

    /// Adds a live record behind all others.
    fn enter(&mut self, extent: Extent) {
        self.entries.push(extent.unit());
        self.live += 1;
        self.live_bytes += extent.stored_bytes();
    }

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

    /// One more reference to a live record. False if there is none, or if no more can be counted.
    pub(super) fn retain(&mut self, extent: Extent) -> bool {
        let Some(at) = self.live_at(extent) else {
            return false;
        };
        if self.entries[at] & MORE == MORE {
            let count = self.shared.get_mut(&extent.unit());
            let count = count.expect("a full entry has its number beside it");
            let Some(more) = count.checked_add(1) else {
                return false;
            };
            *count = more;
            return true;
        }
        self.entries[at] += ONE_MORE;
        if self.entries[at] & MORE == MORE {
            self.shared.insert(extent.unit(), SHARED_MIN);
        }
        true
    }

    /// A live record loses a reference, and dies with the last one. False if there is none.
    pub(super) fn release(&mut self, extent: Extent) -> bool {
        let Some(at) = self.live_at(extent) else {
            return false;
        };
        match self.entries[at] & MORE {
            0 => {
                self.entries[at] |= DEAD;
                self.live -= 1;
                self.live_bytes -= extent.stored_bytes();
            }
            MORE => {
                let count = self.shared.get_mut(&extent.unit());
                let count = count.expect("a full entry has its number beside it");
                *count -= 1;
                if *count < SHARED_MIN {
                    self.shared.remove(&extent.unit());
                    self.entries[at] -= ONE_MORE;
                }
            }
            _ => self.entries[at] -= ONE_MORE,
        }
        true
    }

    fn live_at(&self, extent: Extent) -> Option<usize> {
        let at = self.position(extent.unit())?;
        let fits = self.end_of(at) >= extent.place() + extent.stored_bytes();
        (is_live(self.entries[at]) && fits).then_some(at)
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
            .position(|entry| is_live(*entry))?;
        let at = from + live;
        Some((self.entries[at] & PLACE, self.end_of(at)))
    }

    /// The references of each live record, by unit. For tests.
    ///
    /// # Errors
    /// A number beside an entry that is none of one.
    pub(super) fn counts(&self) -> Result<Vec<(u32, u32)>, String> {
        let mut beside = self.shared.len();
        let mut counts = Vec::new();
        for entry in self.entries.iter().filter(|entry| is_live(**entry)) {
            let unit = entry & PLACE;
            let more = match entry & MORE {
                MORE => {
                    beside -= 1;
                    self.shared[&unit]
                }
                few => few / ONE_MORE,
            };
            counts.push((unit, more + 1));
        }
        match beside {
            0 => Ok(counts),
            _ => Err(format!("{beside} records that are dead have references")),
        }
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

    /// End of the last batch, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.used
    }

    /// Bytes in which records and dead space lie.
    pub(super) fn filled(&self) -> u64 {
        self.used - FIRST
    }

    /// Memory that the index takes, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        (self.entries.capacity() * size_of::<u32>() + self.shared.allocation_size()) as u64
    }
}

fn is_live(entry: u32) -> bool {
    entry & (PENDING | DEAD) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: u32 = 12;

    fn extent(unit: u32) -> Extent {
        Extent::new(1, unit, 100, UNITS)
    }

    fn index() -> Index {
        let mut index = Index::new(1 << 20);
        for unit in [256, 256 + UNITS, 1000] {
            index.enter(extent(unit));
        }
        index
    }

    #[test]
    fn a_record_dies_with_its_last_reference() {
        for references in 1..20 {
            let mut index = index();
            let middle = extent(256 + UNITS);
            assert!((1..references).all(|_| index.retain(middle)));
            for left in (0..references).rev() {
                assert_eq!(index.live_records(), 3);
                assert!(index.release(middle));
                assert_eq!(index.shared.len(), usize::from(left > 3));
            }
            assert_eq!(index.live_records(), 2);
            assert_eq!(index.live_bytes(), 2 * middle.stored_bytes());
            assert!(!index.release(middle) && !index.retain(middle));
            assert_eq!(index.next_live(257), Some((1000, 1 << 20)));
        }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let mut index = index();
        let first = extent(256);
        assert!((0..3).all(|_| index.retain(first)));
        index.shared.insert(256, u32::MAX - 1);
        assert!(index.retain(first));
        assert!(!index.retain(first));
        assert_eq!(index.shared[&256], u32::MAX, "a refusal changes nothing");
        assert!(index.release(first) && index.retain(first));
    }

    #[test]
    fn a_record_that_is_being_written_has_no_references_yet() {
        let mut index = index();
        let last = extent(1100);
        index.announce(last);
        assert!(!index.retain(last) && !index.release(last));
        index.settle(last, true);
        assert!(index.retain(last));
    }
}
