//! Ghosts: what is remembered of chunks that went, 12 bytes each.
//!
//! A table of sets of eight places. A chunk's identity is mixed; the highest
//! bits choose the set and 40 of them are kept, so two chunks are taken for
//! one once in 2^40 questions per ghost. A full set gives up its oldest. The age
//! of a ghost is the bytes that went after it from the same queue: by so much that queue
//! was too small for the chunk.
//!
//! Bounded twice: a ghost older than the window (in bytes) is none, and there are never
//! more places than the policy allows for the chunks it has. The table starts empty and
//! grows by a half whenever a set would have to give up a ghost that is young enough.

use crate::policy::table::{Entry, FREQUENCY_MAX};

/// Places of a set.
pub(crate) const WAYS: usize = 8;
/// Sets of the first table.
const FIRST_SETS: usize = 8;
/// A table grows by at least one in so many of its sets.
const STEP_MIN: usize = 8;

const TAG_BITS: u32 = 40;
const FREQUENCY_BITS: u32 = 4;
const STAMP_BITS: u32 = 96 - TAG_BITS - FREQUENCY_BITS - 2;
const STAMP_MASK: u64 = (1 << STAMP_BITS) - 1;

/// One ghost or none, in 96 bits.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
struct Record {
    /// The upper 32 bits of the tag.
    tag: u32,
    /// The lower bits of the tag, present, main, frequency, stamp, from the top.
    rest: u64,
}

const PRESENT_BIT: u64 = 1 << (STAMP_BITS + FREQUENCY_BITS + 1);
const MAIN_BIT: u64 = 1 << (STAMP_BITS + FREQUENCY_BITS);
const LOW_TAG_SHIFT: u32 = STAMP_BITS + FREQUENCY_BITS + 2;

impl Record {
    fn new(tag: u64, stamp: u64, frequency: u8, main: bool) -> Self {
        let frequency = u64::from(frequency.min(FREQUENCY_MAX));
        Record {
            tag: (tag >> (TAG_BITS - 32)) as u32,
            rest: (tag << LOW_TAG_SHIFT)
                | PRESENT_BIT
                | if main { MAIN_BIT } else { 0 }
                | (frequency << STAMP_BITS)
                | (stamp & STAMP_MASK),
        }
    }

    fn is_present(self) -> bool {
        self.rest & PRESENT_BIT != 0
    }

    fn tag(self) -> u64 {
        (u64::from(self.tag) << (TAG_BITS - 32)) | (self.rest >> LOW_TAG_SHIFT)
    }

    fn frequency(self) -> u8 {
        (self.rest >> STAMP_BITS) as u8 & FREQUENCY_MAX
    }

    fn is_main(self) -> bool {
        self.rest & MAIN_BIT != 0
    }

    /// Bytes that went from its queue since; right for 2^50 of them.
    fn age(self, gone: [u64; 2]) -> u64 {
        gone[usize::from(self.is_main())].wrapping_sub(self.rest) & STAMP_MASK
    }
}

/// What is remembered of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) frequency: u8,
    pub(crate) main: bool,
    /// Bytes that went from its queue after the chunk.
    pub(crate) age: u64,
}

/// What bounds the ghosts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The most places the table grows to; never fewer than `FIRST_SETS * WAYS`.
    pub(crate) places: usize,
    /// The highest age that counts, in bytes.
    pub(crate) window: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Ghosts {
    /// Sets of `WAYS`, one after the other.
    records: Vec<Record>,
    /// Bytes that went so far, from probation and from main.
    gone: [u64; 2],
}

/// The 64-bit finaliser of MurmurHash3 (public domain).
fn mix(mut id: u64) -> u64 {
    id ^= id >> 33;
    id = id.wrapping_mul(0xff51_afd7_ed55_8ccd);
    id ^= id >> 33;
    id = id.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    id ^ (id >> 33)
}

fn tag_of(id: u64) -> u64 {
    mix(id) >> (u64::BITS - TAG_BITS)
}

fn set_among(sets: usize, tag: u64) -> usize {
    ((u128::from(tag) * sets as u128) >> TAG_BITS) as usize
}

/// The set of the smallest table that a chunk belongs to.
#[cfg(test)]
pub(crate) fn first_set(id: u64) -> usize {
    set_among(FIRST_SETS, tag_of(id))
}

impl Ghosts {
    /// The set follows from the tag alone, so that a table can be rebuilt from its records.
    fn set_of(&self, tag: u64) -> std::ops::Range<usize> {
        let start = set_among(self.records.len() / WAYS, tag) * WAYS;
        start..start + WAYS.min(self.records.len())
    }

    /// Remembers the chunk of an entry, which goes now.
    pub(crate) fn remember(&mut self, entry: &Entry, bound: Bound) {
        let main = entry.is_main();
        let gone = &mut self.gone[usize::from(main)];
        *gone = gone.wrapping_add(u64::from(entry.size));
        let record = Record::new(tag_of(entry.id), *gone, entry.frequency(), main);
        let Bound { places, window } = bound;
        if self.put(record, window, false) {
            return;
        }
        let sets = self.records.len() / WAYS;
        let allowed = (places / WAYS).max(FIRST_SETS);
        let grown = (sets + sets.div_ceil(2)).max(FIRST_SETS).min(allowed);
        // By steps that are a share of what there is: rebuilding costs O(places).
        if grown > sets + sets / STEP_MIN || allowed < sets / 2 {
            self.rebuild(grown, window);
        }
        self.put(record, window, true);
    }

    /// Whether the record found a place: that of none, of itself, or of one too old to count. With
    /// `force`, that of the oldest.
    fn put(&mut self, record: Record, window: u64, force: bool) -> bool {
        let gone = self.gone;
        let set = self.set_of(record.tag());
        let set = &mut self.records[set];
        // A place that is free is older than any ghost.
        let age = |old: &Record| {
            if old.is_present() && old.tag() != record.tag() {
                old.age(gone)
            } else {
                u64::MAX
            }
        };
        match set.iter_mut().max_by_key(|old| age(old)) {
            Some(oldest) if force || age(oldest) > window => {
                *oldest = record;
                true
            }
            _ => false,
        }
    }

    fn rebuild(&mut self, sets: usize, window: u64) {
        let records = vec![Record::default(); sets * WAYS];
        let mut old = std::mem::replace(&mut self.records, records);
        let gone = self.gone;
        old.retain(|record| record.is_present() && record.age(gone) <= window);
        // The youngest come last and so stay where a set of a smaller table overflows.
        old.sort_unstable_by_key(|record| std::cmp::Reverse(record.age(gone)));
        for record in old {
            self.put(record, window, true);
        }
    }

    /// What is remembered of a chunk that comes back, and forgets it.
    pub(crate) fn recall(&mut self, id: u64, window: u64) -> Option<Memory> {
        let tag = tag_of(id);
        let set = self.set_of(tag);
        let record = self.records[set]
            .iter_mut()
            .find(|record| record.is_present() && record.tag() == tag)?;
        let found = std::mem::take(record);
        let age = found.age(self.gone);
        (age <= window).then_some(Memory {
            frequency: found.frequency(),
            main: found.is_main(),
            age,
        })
    }

    /// Memory that the table takes, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        (self.records.capacity() * size_of::<Record>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Bound = Bound {
        places: 1 << 20,
        window: STAMP_MASK,
    };

    fn chunk(id: u64, size: u32, main: bool) -> Entry {
        let mut entry = Entry::default();
        entry.id = id;
        entry.size = size;
        entry.set_frequency((id % 16) as u8);
        entry.set_main(main);
        entry
    }

    #[test]
    fn a_ghost_takes_12_bytes() {
        assert_eq!(size_of::<Record>(), 12);
    }

    #[test]
    fn what_went_is_recalled_once_and_exactly() {
        let mut ghosts = Ghosts::default();
        for id in 0..10_000 {
            ghosts.remember(&chunk(id, 3, id % 2 == 0), ANY);
        }
        for id in (0..10_000).rev() {
            let memory = Memory {
                frequency: (id % 16) as u8,
                main: id % 2 == 0,
                age: (9_999 - id) / 2 * 3,
            };
            assert_eq!(ghosts.recall(id, u64::MAX), Some(memory));
            assert_eq!(ghosts.recall(id, u64::MAX), None);
        }
    }

    #[test]
    fn who_went_twice_is_remembered_as_of_the_second_time() {
        let mut ghosts = Ghosts::default();
        for id in [1, 2, 1] {
            ghosts.remember(&chunk(id, 10, false), ANY);
        }
        assert_eq!(ghosts.recall(1, 100).map(|memory| memory.age), Some(0));
        assert_eq!(ghosts.recall(1, 100), None);
    }

    #[test]
    fn the_window_and_the_places_bound_what_is_remembered() {
        let mut ghosts = Ghosts::default();
        let bound = Bound {
            places: 4_096,
            window: 20_000,
        };
        for id in 0..1_000_000 {
            ghosts.remember(&chunk(id, 10, false), bound);
        }
        assert!(ghosts.records.len() <= 4_096);
        // 2,000 are young enough; a set of the table may have had to give up one of them.
        let found = (0..1_000_000)
            .filter(|id| ghosts.recall(*id, 20_000).is_some())
            .count();
        assert!((1_900..=2_001).contains(&found), "{found}");
    }

    #[test]
    fn places_that_grow_one_by_one_rebuild_rarely() {
        let mut ghosts = Ghosts::default();
        let mut rebuilt = 0;
        for id in 0..200_000 {
            let before = ghosts.records.as_ptr();
            let bound = Bound {
                places: id as usize / 2,
                window: u64::MAX,
            };
            ghosts.remember(&chunk(id, 1, false), bound);
            rebuilt += u32::from(ghosts.records.as_ptr() != before);
        }
        assert!((5..100).contains(&rebuilt), "{rebuilt}");
    }

    #[test]
    fn places_follow_the_chunks_down() {
        let mut ghosts = Ghosts::default();
        let bound = |places| Bound {
            places,
            window: u64::MAX,
        };
        for id in 0..100_000 {
            ghosts.remember(&chunk(id, 1, false), bound(50_000));
        }
        let high = ghosts.footprint();
        for id in 0..100_000 {
            ghosts.remember(&chunk(id, 1, false), bound(100));
        }
        assert!(ghosts.footprint() < high / 8, "{}", ghosts.footprint());
        assert!(ghosts.recall(99_999, u64::MAX).is_some());
    }
}
