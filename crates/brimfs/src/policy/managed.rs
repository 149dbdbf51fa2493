//! What all policies have in common: one implementation of the trait over an order.
//!
//! An [`Order`] decides who goes next. Everything around it (slots, bytes,
//! leaving and parked chunks, calls on slots that nobody has) is here and
//! the same for all of them.

use std::fmt::Debug;

use crate::policy::shelf::Shelf;
use crate::policy::table::{Place, Slot};
use crate::policy::{
    Chunk, Explained, Hits, Policy, PolicyKind, Queue, Settings, Standing, Victim,
};

/// The heart of a policy: queues of chunks and who is next.
///
/// A chunk outside the queues is at [`Place::Leaving`] when these are called and when they return one.
pub(crate) trait Order: Debug + Send + Sized {
    const KIND: PolicyKind;
    /// How many rings it needs.
    const RINGS: usize;

    fn new(settings: Settings) -> Self;

    /// Queues a chunk that became resident.
    fn enter(&mut self, shelf: &mut Shelf, slot: Slot);

    /// Takes a queued chunk out.
    fn take(&mut self, shelf: &mut Shelf, slot: Slot);

    /// Takes the chunk out that should go next.
    fn pick(&mut self, shelf: &mut Shelf) -> Option<Slot>;

    /// Queues a chunk where it was before it was picked.
    fn restore(&mut self, shelf: &mut Shelf, slot: Slot);

    /// Queues a chunk that was resident all along as if it were new in its queue.
    fn renew(&mut self, shelf: &mut Shelf, slot: Slot);

    /// A chunk outside the queues goes, and its slot with it.
    fn remember(&mut self, _shelf: &Shelf, _slot: Slot) {}

    /// A queued chunk was given another size, where sizes do not decide about places.
    fn resized(&mut self, _shelf: &Shelf, _slot: Slot, _before: u32) {}

    /// A queued chunk was accessed, by a caller that holds the lock.
    fn hit(&mut self, _shelf: &mut Shelf, _slot: Slot) {}

    /// Whether size and priority decide about a chunk's place.
    const VALUES: bool = false;

    /// The value and what is left of it.
    fn value(&self, _shelf: &Shelf, _slot: Slot) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn footprint(&self) -> u64 {
        0
    }
}

/// A policy that follows an order.
#[derive(Debug)]
pub(crate) struct Managed<O> {
    pub(crate) shelf: Shelf,
    pub(crate) order: O,
    settings: Settings,
}

impl<O: Order> Managed<O> {
    pub(crate) fn new(settings: Settings) -> Self {
        Managed {
            shelf: Shelf::new(settings, O::RINGS),
            order: O::new(settings),
            settings,
        }
    }

    /// Takes a chunk out of wherever it is; whether there was one.
    fn take_out(&mut self, slot: Slot) -> bool {
        match self.shelf.place(slot) {
            Place::Free => return false,
            Place::Queued => self.order.take(&mut self.shelf, slot),
            Place::Parked => self.shelf.unpark(slot),
            Place::Leaving => {}
        }
        true
    }

    /// Changes what a chunk's value rests on; whether there is such a chunk.
    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Shelf)) -> bool {
        let place = self.shelf.place(slot);
        match place {
            Place::Free => return false,
            Place::Queued if O::VALUES => {
                self.order.take(&mut self.shelf, slot);
                change(&mut self.shelf);
                self.pin_or_renew(slot);
            }
            Place::Parked if self.shelf.is_pinned(slot) => {
                self.shelf.unpark(slot);
                change(&mut self.shelf);
                self.pin_or_renew(slot);
            }
            Place::Queued => change(&mut self.shelf),
            Place::Leaving | Place::Parked => {
                change(&mut self.shelf);
                self.shelf.forget_place(slot);
            }
        }
        true
    }

    fn pin_or_renew(&mut self, slot: Slot) {
        if !self.shelf.pin(slot) {
            self.order.renew(&mut self.shelf, slot);
        }
    }

    fn put_back(&mut self, slot: Slot) {
        if self.shelf.has_forgotten_place(slot) {
            self.pin_or_renew(slot);
        } else {
            self.order.restore(&mut self.shelf, slot);
        }
    }
}

impl<O: Order> Policy for Managed<O> {
    fn kind(&self) -> PolicyKind {
        O::KIND
    }

    fn hits(&self) -> &Hits {
        &self.shelf.hits
    }

    fn admit(&mut self, chunk: Chunk) -> Slot {
        let slot = self.shelf.admit(chunk);
        if !self.shelf.pin(slot) {
            self.order.enter(&mut self.shelf, slot);
        }
        slot
    }

    fn on_hit(&mut self, slot: Slot) {
        if self.shelf.place(slot) == Place::Queued {
            self.order.hit(&mut self.shelf, slot);
        }
    }

    fn victim(&mut self) -> Option<Victim> {
        while let Some(slot) = self.shelf.pinned_too_many() {
            self.shelf.unpark(slot);
            self.order.renew(&mut self.shelf, slot);
        }
        loop {
            let slot = self.order.pick(&mut self.shelf)?;
            // There may be room now that there was not when it was queued.
            if !self.shelf.pin(slot) {
                return Some(self.shelf.victim(slot));
            }
        }
    }

    fn pinned_victim(&mut self) -> Option<Victim> {
        let slot = self.shelf.last_pinned()?;
        self.shelf.unpark(slot);
        Some(self.shelf.victim(slot))
    }

    fn evicted(&mut self, slot: Slot) -> bool {
        let found = self.take_out(slot);
        if found {
            self.order.remember(&self.shelf, slot);
            self.shelf.table.free(slot);
        }
        found
    }

    fn refuse(&mut self, slot: Slot) -> bool {
        let found = self.shelf.place(slot) == Place::Leaving;
        if found {
            self.shelf.park_refused(slot);
        }
        found
    }

    fn hold(&mut self, slot: Slot) -> bool {
        let found = self.take_out(slot);
        if found {
            self.shelf.forget_place(slot);
            self.shelf.park_held(slot);
        }
        found
    }

    fn release(&mut self, slot: Slot) -> bool {
        let found = self.shelf.place(slot) == Place::Parked;
        if found {
            self.shelf.unpark(slot);
            self.put_back(slot);
        }
        found
    }

    fn release_refused(&mut self) {
        // The last one first: each goes to the front.
        while let Some(slot) = self.shelf.last_refused() {
            self.shelf.unpark(slot);
            self.put_back(slot);
        }
    }

    fn remove(&mut self, slot: Slot) -> bool {
        let found = self.take_out(slot);
        if found {
            self.shelf.table.free(slot);
        }
        found
    }

    fn resize(&mut self, slot: Slot, size: u32) -> bool {
        let before = self.shelf.table.live(slot).map_or(0, |entry| entry.size);
        let was_queued = self.shelf.place(slot) == Place::Queued;
        let found = self.change(slot, |shelf| shelf.table.resize(slot, size));
        if was_queued && !O::VALUES {
            self.order.resized(&self.shelf, slot, before);
        }
        found
    }

    fn set_priority(&mut self, slot: Slot, priority: u8) -> bool {
        self.change(slot, |shelf| {
            shelf.table.entry_mut(slot.get()).set_priority(priority);
        })
    }

    fn set_clean(&mut self, slot: Slot, clean: bool) -> bool {
        let found = self.shelf.place(slot) != Place::Free;
        if found {
            self.shelf.table.entry_mut(slot.get()).set_clean(clean);
        }
        found
    }

    fn set_capacity(&mut self, bytes: u64) {
        self.shelf.capacity = bytes;
    }

    fn start_over(&mut self) {
        let settings = Settings {
            capacity: self.shelf.capacity,
            ..self.settings
        };
        let hits = self.shelf.hits.clone();
        self.shelf = Shelf::with_hits(settings, O::RINGS, hits);
        self.order = O::new(settings);
    }

    fn set_pin_ceiling(&mut self, bytes: u64) {
        self.shelf.pin_ceiling = bytes;
    }

    fn len(&self) -> u32 {
        self.shelf.table.len()
    }

    fn bytes(&self) -> u64 {
        self.shelf.table.bytes()
    }

    fn footprint(&self) -> u64 {
        self.shelf.footprint() + self.order.footprint() + size_of::<Self>() as u64
    }

    fn explain(&self, slot: Slot) -> Option<Explained> {
        let entry = self.shelf.table.live(slot)?;
        let standing = match entry.place() {
            Place::Free => return None,
            Place::Queued => Standing::Queued,
            Place::Leaving => Standing::Leaving,
            Place::Parked if self.shelf.is_pinned(slot) => Standing::Pinned,
            Place::Parked => Standing::Parked,
        };
        let (value, left) = self.order.value(&self.shelf, slot);
        Some(Explained {
            size: entry.size,
            standing,
            queue: if entry.is_main() {
                Queue::Main
            } else {
                Queue::Probation
            },
            frequency: entry.frequency(),
            accesses: self.shelf.accesses(slot),
            priority: entry.priority(),
            priority_counted: self.shelf.counted_priority(slot),
            priority_expected: self.shelf.expected_priority(slot),
            clean: entry.is_clean(),
            value,
            left,
        })
    }
}
