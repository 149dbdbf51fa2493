//! Least recently used.
//!
//! Exact where every access is reported with `on_hit`, as the simulator does.
//! Where accesses are only counted, a chunk that was touched moves to the end when
//! its turn comes: that is CLOCK, whose order of recency is as fine as one turn.

use crate::policy::managed::Order;
use crate::policy::shelf::Shelf;
use crate::policy::table::{Place, Slot};
use crate::policy::{PolicyKind, Settings};

const RING: usize = 0;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Lru;

impl Order for Lru {
    const KIND: PolicyKind = PolicyKind::Lru;
    const RINGS: usize = 1;

    fn new(_: Settings) -> Self {
        Lru
    }

    fn enter(&mut self, shelf: &mut Shelf, slot: Slot) {
        shelf.rings.push_tail(&mut shelf.table, RING, slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_key(0);
        entry.set_place(Place::Queued);
    }

    fn take(&mut self, shelf: &mut Shelf, slot: Slot) {
        shelf.rings.unlink(&mut shelf.table, slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_place(Place::Leaving);
    }

    fn pick(&mut self, shelf: &mut Shelf) -> Option<Slot> {
        let mut chances = shelf.table.len();
        loop {
            let slot = shelf.rings.head(RING)?;
            self.take(shelf, slot);
            if chances == 0 || shelf.look(slot).count == 0 {
                return Some(slot);
            }
            chances -= 1;
            self.enter(shelf, slot);
        }
    }

    fn restore(&mut self, shelf: &mut Shelf, slot: Slot) {
        shelf.rings.push_head(&mut shelf.table, RING, slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_place(Place::Queued);
    }

    fn renew(&mut self, shelf: &mut Shelf, slot: Slot) {
        self.enter(shelf, slot);
    }

    fn hit(&mut self, shelf: &mut Shelf, slot: Slot) {
        shelf.hits.take(slot);
        self.take(shelf, slot);
        self.enter(shelf, slot);
    }
}
