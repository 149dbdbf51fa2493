//! S3-FIFO: a small queue, a main queue, and ghosts of the small one.
//!
//! J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vinayak: "FIFO Queues are All You Need
//! for Cache Eviction", SOSP 2023. A tenth of the capacity is for new chunks. What
//! was accessed at least twice there moves on to the main queue, the rest goes and is remembered
//! for as long as the main queue is large; who comes back then enters the main
//! queue at once. In the main queue up to three accesses count, one turn each.

use crate::policy::ghost::{Bound, Ghosts};
use crate::policy::managed::Order;
use crate::policy::shelf::Shelf;
use crate::policy::table::{Place, Slot};
use crate::policy::{PolicyKind, Settings};

const SMALL: usize = 0;
const MAIN: usize = 1;
/// The small queue's share of the capacity is one in so many.
const SMALL_SHARE: u64 = 10;
/// Accesses that lead from the small queue to the main one.
const PROVEN: u8 = 2;
/// Accesses that count in the main queue.
const FREQUENCY_MAX: u8 = 3;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct S3Fifo {
    ghosts: Ghosts,
    /// Bytes of the chunks in the small queue.
    small: u64,
}

fn bound(shelf: &Shelf) -> Bound {
    Bound {
        places: shelf.table.len() as usize,
        window: shelf.capacity - shelf.capacity / SMALL_SHARE,
    }
}

impl S3Fifo {
    fn queued(&mut self, shelf: &mut Shelf, slot: Slot, main: bool) {
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_key(0);
        entry.set_main(main);
        entry.set_place(Place::Queued);
        if !main {
            self.small += u64::from(entry.size);
        }
    }

    fn push(&mut self, shelf: &mut Shelf, slot: Slot, main: bool) {
        let ring = if main { MAIN } else { SMALL };
        shelf.rings.push_tail(&mut shelf.table, ring, slot);
        self.queued(shelf, slot, main);
    }

    /// Adds the accesses since the last look. The frequency after that.
    fn count(shelf: &mut Shelf, slot: Slot) -> u8 {
        let count = shelf.look(slot).count;
        let entry = shelf.table.entry_mut(slot.get());
        let frequency = entry.frequency().saturating_add(count).min(FREQUENCY_MAX);
        entry.set_frequency(frequency);
        frequency
    }
}

impl Order for S3Fifo {
    const KIND: PolicyKind = PolicyKind::S3Fifo;
    const RINGS: usize = 2;

    fn new(_: Settings) -> Self {
        S3Fifo {
            ghosts: Ghosts::default(),
            small: 0,
        }
    }

    fn enter(&mut self, shelf: &mut Shelf, slot: Slot) {
        let entry = shelf.table.entry(slot.get());
        let (id, is_proven) = (entry.id, entry.warmth() >= PROVEN);
        let known = self.ghosts.recall(id, bound(shelf).window).is_some();
        self.push(shelf, slot, known || is_proven);
    }

    fn take(&mut self, shelf: &mut Shelf, slot: Slot) {
        shelf.rings.unlink(&mut shelf.table, slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_place(Place::Leaving);
        if !entry.is_main() {
            self.small -= u64::from(entry.size);
        }
    }

    fn pick(&mut self, shelf: &mut Shelf) -> Option<Slot> {
        let mut chances = u64::from(shelf.table.len()) * u64::from(FREQUENCY_MAX + 1);
        loop {
            let from_small = self.small >= shelf.capacity / SMALL_SHARE;
            let heads = [shelf.rings.head(SMALL), shelf.rings.head(MAIN)];
            let slot = if from_small {
                heads[0].or(heads[1])?
            } else {
                heads[1].or(heads[0])?
            };
            self.take(shelf, slot);
            let frequency = Self::count(shelf, slot);
            let entry = shelf.table.entry_mut(slot.get());
            let stays = if entry.is_main() {
                frequency > 0
            } else {
                frequency >= PROVEN
            };
            if chances == 0 || !stays {
                return Some(slot);
            }
            chances -= 1;
            // The main queue takes one access for a turn; the way there costs all of them.
            let left = if entry.is_main() { frequency - 1 } else { 0 };
            entry.set_frequency(left);
            self.push(shelf, slot, true);
        }
    }

    fn restore(&mut self, shelf: &mut Shelf, slot: Slot) {
        let main = shelf.table.entry(slot.get()).is_main();
        let ring = if main { MAIN } else { SMALL };
        shelf.rings.push_head(&mut shelf.table, ring, slot);
        self.queued(shelf, slot, main);
    }

    fn renew(&mut self, shelf: &mut Shelf, slot: Slot) {
        let main = shelf.table.entry(slot.get()).is_main();
        self.push(shelf, slot, main);
    }

    fn remember(&mut self, shelf: &Shelf, slot: Slot) {
        let entry = shelf.table.entry(slot.get());
        if !entry.is_main() {
            self.ghosts.remember(entry, bound(shelf));
        }
    }

    fn resized(&mut self, shelf: &Shelf, slot: Slot, before: u32) {
        let entry = shelf.table.entry(slot.get());
        if !entry.is_main() {
            self.small = self.small - u64::from(before) + u64::from(entry.size);
        }
    }

    fn footprint(&self) -> u64 {
        self.ghosts.footprint()
    }
}
