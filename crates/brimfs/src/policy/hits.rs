//! Counters of accesses, two bytes per slot, that need no lock.
//!
//! Shared between the policy, which reads and clears them under its lock, and
//! whoever accesses chunks. Counters live in segments that are allocated once
//! and never move, so growth disturbs nobody.
//!
//! A counter holds the number of accesses since the policy last looked, up to a
//! ceiling, and the *epoch* of the last: a coarse time that the policy sets, some
//! ten times while its main queue turns over. A touch is two relaxed loads, and a store only if
//! the counter changes: the line of a hot chunk in the processor's cache stays shared.
//!
//! Two touches at once may count as one, and a touch that meets the policy's
//! look may be forgotten or fall to the slot's next chunk. Neither harms: these are
//! statistics, and no decision of safety rests on them.

use std::sync::OnceLock;

use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use crate::policy::table::Slot;

/// Counters of the first segment; each further one doubles the table.
const FIRST: u32 = 1 << FIRST_BITS;
const FIRST_BITS: u32 = 12;
const SEGMENTS: usize = (u32::BITS - FIRST_BITS + 1) as usize;

#[derive(Debug)]
struct Shared {
    segments: [OnceLock<Box<[AtomicU16]>>; SEGMENTS],
    epoch: AtomicU8,
    ceiling: u8,
}

/// The accesses to one chunk since the policy last looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touches {
    pub(crate) count: u8,
    /// The epoch of the last one.
    pub(crate) epoch: u8,
}

impl Touches {
    fn of(counter: u16) -> Self {
        let [epoch, count] = counter.to_be_bytes();
        Touches { count, epoch }
    }
}

/// The counters of a policy; a clone is another handle on the same ones.
#[derive(Clone, Debug)]
pub struct Hits(Arc<Shared>);

/// Segment 0 has the numbers below `FIRST`, segment k those of k more bits.
#[inline]
fn locate(number: u32) -> (usize, usize) {
    let bits = u32::BITS - (number >> FIRST_BITS).leading_zeros();
    let start = if bits == 0 { 0 } else { FIRST << (bits - 1) };
    (bits as usize, (number - start) as usize)
}

fn length_of(segment: usize) -> usize {
    (FIRST as usize) << segment.saturating_sub(1)
}

impl Hits {
    pub(crate) fn new(ceiling: u8) -> Self {
        Hits(Arc::new(Shared {
            segments: std::array::from_fn(|_| OnceLock::new()),
            epoch: AtomicU8::new(0),
            ceiling: ceiling.max(1),
        }))
    }

    #[inline]
    fn counter(&self, slot: Slot) -> Option<&AtomicU16> {
        let (segment, place) = locate(slot.get());
        self.0.segments[segment].get()?.get(place)
    }

    /// Notes an access to the chunk of `slot`. A slot that was never given out is ignored.
    ///
    /// Any thread, at any time, without the policy's lock: O(1), waits for nothing.
    #[inline]
    pub fn touch(&self, slot: Slot) {
        let Some(counter) = self.counter(slot) else {
            return;
        };
        let before = counter.load(Ordering::Relaxed);
        let count = Touches::of(before).count;
        let count = count + u8::from(count < self.0.ceiling);
        let after = u16::from_be_bytes([self.0.epoch.load(Ordering::Relaxed), count]);
        if after != before {
            counter.store(after, Ordering::Relaxed);
        }
    }

    /// Accesses since the policy last looked at the slot, up to the ceiling.
    pub fn count(&self, slot: Slot) -> u8 {
        let counter = self.counter(slot);
        counter.map_or(0, |counter| {
            Touches::of(counter.load(Ordering::Relaxed)).count
        })
    }

    /// Reads the counter and sets it to 0.
    pub(crate) fn take(&self, slot: Slot) -> Touches {
        match self.counter(slot) {
            // Most chunks were not touched: leave their line alone.
            Some(counter) if counter.load(Ordering::Relaxed) != 0 => {
                Touches::of(counter.swap(0, Ordering::Relaxed))
            }
            _ => Touches::default(),
        }
    }

    /// The epoch of accesses from now on.
    pub(crate) fn set_epoch(&self, epoch: u8) {
        self.0.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Makes sure that there is a counter for `slot`, and that it is 0.
    pub(crate) fn reset(&self, slot: Slot) {
        let (segment, _) = locate(slot.get());
        self.0.segments[segment].get_or_init(|| {
            let counters = std::iter::repeat_with(|| AtomicU16::new(0));
            counters.take(length_of(segment)).collect()
        });
        self.take(slot);
    }

    /// Memory that the counters take, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        let segments = self.0.segments.iter().enumerate();
        let counters: usize = segments
            .filter(|(_, segment)| segment.get().is_some())
            .map(|(number, _)| length_of(number))
            .sum();
        (counters * size_of::<AtomicU16>() + size_of::<Shared>()) as u64
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn slot(number: u32) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn segments_follow_each_other_without_a_gap() {
        let mut expected = (0, 0);
        for number in 0..100_000 {
            assert_eq!(locate(number), expected);
            expected.1 += 1;
            if expected.1 == length_of(expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
        let (segment, place) = locate(u32::MAX);
        assert!(segment < SEGMENTS && place < length_of(segment));
    }

    #[test]
    fn counts_saturate_and_are_taken_once() {
        let hits = Hits::new(3);
        hits.touch(slot(9_999_999));
        hits.reset(slot(5));
        for _ in 0..7 {
            hits.clone().touch(slot(5));
        }
        assert_eq!(hits.count(slot(5)), 3);
        hits.set_epoch(9);
        hits.touch(slot(5));
        let touches = Touches { count: 3, epoch: 9 };
        assert_eq!(hits.take(slot(5)), touches);
        assert_eq!(hits.take(slot(5)), Touches::default());
    }

    #[test]
    fn growth_keeps_what_was_counted() {
        let hits = Hits::new(200);
        for number in 1..200_000 {
            hits.reset(slot(number));
            hits.touch(slot(number));
        }
        assert!((1..200_000).all(|number| hits.count(slot(number)) == 1));
        assert_eq!(hits.footprint() / (512 << 10), 1);
    }
}
