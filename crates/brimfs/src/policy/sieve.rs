//! SIEVE: one queue, and a hand that walks from the oldest to the newest.
//!
//! Y. Zhang, J. Yang, Y. Yue, Y. Vigfusson, K. V. Rashmi: "SIEVE is Simpler than
//! LRU", NSDI 2024. A chunk that the hand finds touched stays where it is and is
//! taken as untouched from then on; the first untouched one goes. New chunks enter at the
//! end. The counter of accesses serves as the paper's bit.

use crate::policy::managed::Order;
use crate::policy::shelf::Shelf;
use crate::policy::table::{Place, Slot};
use crate::policy::{PolicyKind, Settings};

const RING: usize = 0;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Sieve {
    /// Where the hand looks next; `None` is the oldest.
    hand: Option<Slot>,
}

impl Order for Sieve {
    const KIND: PolicyKind = PolicyKind::Sieve;
    const RINGS: usize = 1;

    fn new(_: Settings) -> Self {
        Sieve { hand: None }
    }

    fn enter(&mut self, shelf: &mut Shelf, slot: Slot) {
        shelf.rings.push_tail(&mut shelf.table, RING, slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_key(0);
        entry.set_place(Place::Queued);
    }

    fn take(&mut self, shelf: &mut Shelf, slot: Slot) {
        if self.hand == Some(slot) {
            self.hand = shelf.rings.after(&shelf.table, slot);
        }
        shelf.rings.unlink(&mut shelf.table, slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_place(Place::Leaving);
    }

    fn pick(&mut self, shelf: &mut Shelf) -> Option<Slot> {
        let mut chances = shelf.table.len();
        loop {
            let slot = self.hand.or_else(|| shelf.rings.head(RING))?;
            if chances == 0 || shelf.look(slot).count == 0 {
                self.hand = Some(slot);
                self.take(shelf, slot);
                return Some(slot);
            }
            chances -= 1;
            self.hand = shelf.rings.after(&shelf.table, slot);
        }
    }

    /// Right under the hand, wherever that is now.
    fn restore(&mut self, shelf: &mut Shelf, slot: Slot) {
        match self.hand {
            Some(hand) => shelf.rings.push_before(&mut shelf.table, hand, slot),
            // Either end is next to a hand that is about to start over; the old one is looked at first.
            None => shelf.rings.push_head(&mut shelf.table, RING, slot),
        }
        self.hand = Some(slot);
        let entry = shelf.table.entry_mut(slot.get());
        entry.set_place(Place::Queued);
    }

    fn renew(&mut self, shelf: &mut Shelf, slot: Slot) {
        self.enter(shelf, slot);
    }
}
