//! What every policy stands on: entries, rings, counters, and the chunks that are parked.

use crate::policy::hits::Touches;
use crate::policy::ring::Rings;
use crate::policy::score::{PRIORITY_BOOSTED_MAX, PRIORITY_PINNED, Scale};
use crate::policy::table::{KEY_MAX, KEY_PINNED, Place, Slot, Table};
use crate::policy::{Chunk, Hits, Settings, Victim};

/// Accesses between two looks that any policy tells apart.
const ACCESSES_COUNTED: u8 = 3;

/// The accesses to remember after a look that found so many more.
fn warmer(warmth: u8, accesses: u8) -> u8 {
    (warmth / 2).saturating_add(accesses)
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) table: Table,
    pub(crate) rings: Rings,
    pub(crate) hits: Hits,
    pub(crate) scale: Scale,
    /// Bytes that chunks may take.
    pub(crate) capacity: u64,
    /// As in [`Settings`].
    pub(crate) dirty_counts: bool,
    boost_threshold: Option<u8>,
    /// As in [`Settings`].
    pub(crate) pin_ceiling: u64,
    /// Bytes of the pinned chunks.
    pinned: u64,
    /// The ring of refused chunks; those of held and of pinned ones are the next.
    refused: usize,
}

impl Shelf {
    pub(crate) fn new(settings: Settings, rings: usize) -> Self {
        let threshold = settings.boost_threshold.unwrap_or(1);
        let hits = Hits::new(threshold.max(ACCESSES_COUNTED));
        Self::with_hits(settings, rings, hits)
    }

    /// As [`Shelf::new`], with counters that were those of another one.
    pub(crate) fn with_hits(settings: Settings, rings: usize, hits: Hits) -> Self {
        Shelf {
            table: Table::new(),
            rings: Rings::new(rings + 3),
            hits,
            scale: Scale::new(settings.swap_in_cost),
            capacity: settings.capacity,
            dirty_counts: settings.dirty_counts,
            boost_threshold: settings.boost_threshold.map(|threshold| threshold.max(1)),
            pin_ceiling: settings.pin_ceiling,
            pinned: 0,
            refused: rings,
        }
    }

    /// A slot for a chunk that is in no ring yet.
    pub(crate) fn admit(&mut self, chunk: Chunk) -> Slot {
        let slot = self.table.insert(chunk.id, chunk.size);
        let entry = self.table.entry_mut(slot.get());
        entry.set_priority(chunk.priority);
        entry.set_clean(chunk.clean);
        entry.set_warmth(chunk.accesses);
        self.hits.reset(slot);
        slot
    }

    pub(crate) fn place(&self, slot: Slot) -> Place {
        self.table
            .live(slot)
            .map_or(Place::Free, |entry| entry.place())
    }

    /// The accesses since the last look, which this is.
    pub(crate) fn look(&mut self, slot: Slot) -> Touches {
        let touches = self.hits.take(slot);
        let entry = self.table.entry_mut(slot.get());
        entry.set_warmth(warmer(entry.warmth(), touches.count));
        touches
    }

    /// The priority that counts: one higher while the chunk is warm, and that of a pinned chunk
    /// that is one too many.
    pub(crate) fn counted_priority(&self, slot: Slot) -> u8 {
        let entry = self.table.entry(slot.get());
        self.boosted(entry.priority(), entry.warmth())
    }

    /// The priority that will count when the chunk is looked at.
    pub(crate) fn expected_priority(&self, slot: Slot) -> u8 {
        let entry = self.table.entry(slot.get());
        self.boosted(entry.priority(), self.expected_warmth(slot))
    }

    fn expected_warmth(&self, slot: Slot) -> u8 {
        let entry = self.table.entry(slot.get());
        warmer(entry.warmth(), self.hits.count(slot))
    }

    /// See [`Explained::accesses`](crate::policy::Explained::accesses).
    pub(crate) fn accesses(&self, slot: Slot) -> u8 {
        let entry = self.table.entry(slot.get());
        entry.warmth().max(self.expected_warmth(slot))
    }

    fn boosted(&self, priority: u8, warmth: u8) -> u8 {
        match self.boost_threshold {
            _ if self.pin_ceiling > 0 && priority >= PRIORITY_PINNED => PRIORITY_BOOSTED_MAX,
            Some(threshold) if warmth >= threshold && priority < PRIORITY_BOOSTED_MAX => {
                priority + 1
            }
            _ => priority,
        }
    }

    pub(crate) fn victim(&self, slot: Slot) -> Victim {
        let entry = self.table.entry(slot.get());
        Victim {
            slot,
            id: entry.id,
            size: entry.size,
            clean: entry.is_clean(),
        }
    }

    pub(crate) fn park_refused(&mut self, slot: Slot) {
        self.park(slot, self.refused);
    }

    pub(crate) fn park_held(&mut self, slot: Slot) {
        self.park(slot, self.refused + 1);
    }

    fn park(&mut self, slot: Slot, ring: usize) {
        self.table.entry_mut(slot.get()).set_place(Place::Parked);
        self.rings.push_tail(&mut self.table, ring, slot);
    }

    /// Takes a parked chunk out of its ring.
    pub(crate) fn unpark(&mut self, slot: Slot) {
        if self.is_pinned(slot) {
            self.pinned -= u64::from(self.table.entry(slot.get()).size);
            self.forget_place(slot);
        }
        self.rings.unlink(&mut self.table, slot);
        self.table.entry_mut(slot.get()).set_place(Place::Leaving);
    }

    /// Parks a chunk outside the queues among the pinned ones, if it is to be and there is room for it.
    pub(crate) fn pin(&mut self, slot: Slot) -> bool {
        let entry = self.table.entry_mut(slot.get());
        let after = self.pinned + u64::from(entry.size);
        let may_be = self.pin_ceiling > 0 && entry.priority() >= PRIORITY_PINNED;
        if !may_be || after > self.pin_ceiling {
            return false;
        }
        entry.set_key(KEY_PINNED);
        self.pinned = after;
        self.park(slot, self.refused + 2);
        true
    }

    pub(crate) fn is_pinned(&self, slot: Slot) -> bool {
        let entry = self.table.entry(slot.get());
        entry.place() == Place::Parked && entry.key() == KEY_PINNED
    }

    /// The chunk that was pinned last.
    pub(crate) fn last_pinned(&self) -> Option<Slot> {
        self.rings.tail(self.refused + 2)
    }

    /// As [`Shelf::last_pinned`], if the pinned chunks are too many.
    pub(crate) fn pinned_too_many(&self) -> Option<Slot> {
        let excess = self.pinned > self.pin_ceiling;
        self.last_pinned().filter(|_| excess)
    }

    /// The chunk that was refused last and is still parked.
    pub(crate) fn last_refused(&self) -> Option<Slot> {
        self.rings.tail(self.refused)
    }

    /// A chunk outside the queues has no place to go back to, or changed too much for it. The
    /// highest keys, which no queue gives, say so.
    pub(crate) fn forget_place(&mut self, slot: Slot) {
        self.table.entry_mut(slot.get()).set_key(KEY_MAX);
    }

    pub(crate) fn has_forgotten_place(&self, slot: Slot) -> bool {
        self.table.entry(slot.get()).key() >= KEY_PINNED
    }

    /// The memory that all of this takes, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        self.table.footprint() + self.rings.footprint() + self.hits.footprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boost_comes_with_accesses_and_decays_without() {
        let mut shelf = Shelf::new(Settings::new(1), 0);
        let slot = shelf.admit(Chunk {
            id: 1,
            size: 1,
            priority: 5,
            clean: true,
            accesses: 0,
        });
        let mut look = |accesses: u32| {
            for _ in 0..accesses {
                shelf.hits.touch(slot);
            }
            shelf.look(slot);
            shelf.counted_priority(slot)
        };
        assert_eq!(look(9), 5);
        // 9 / 2 + 6.
        assert_eq!(look(6), 6);
        assert_eq!(look(5), 6);
        assert_eq!(look(4), 5);
        assert_eq!(look(1_000), 6);
        assert_eq!((look(0), look(0)), (5, 5));
        for priority in 0..=10u8 {
            shelf.table.entry_mut(slot.get()).set_priority(priority);
            shelf.table.entry_mut(slot.get()).set_warmth(255);
            let expected = if priority < 8 { priority + 1 } else { priority };
            assert_eq!(shelf.counted_priority(slot), expected);
        }
    }

    #[test]
    fn the_boost_can_be_off() {
        let mut shelf = Shelf::new(
            Settings {
                boost_threshold: None,
                ..Settings::new(1)
            },
            0,
        );
        let slot = shelf.admit(Chunk {
            id: 1,
            size: 1,
            priority: 5,
            clean: true,
            accesses: 0,
        });
        shelf.table.entry_mut(slot.get()).set_warmth(255);
        assert_eq!(shelf.counted_priority(slot), 5);
    }
}
