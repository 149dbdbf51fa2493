//! The page heap: hands out spans of pages and runs of slots from the units.
//!
//! Warm memory first, then whatever is free, then a new unit; the lowest
//! address within each, so that the highest units become free as a whole.

use super::directory::{self, Directory};
use super::ready::{Kind, Ready};
use super::unit::{Change, PAGE, PAGES, SLOT_PAGES, SLOTS, UNIT, Unit};
use super::{Pool, os};
use crate::memory::pool::{OutOfMemory, SLOT};

/// Everything that the heap's lock protects.
#[derive(Default)]
pub(super) struct State {
    /// Sorted by address. Neighbours may be adjacent, and runs reach across them.
    pub(super) units: Vec<Unit>,
    /// Pages that are live or recycled.
    pub(super) backed: usize,
    /// Pages that are free and still backed.
    pub(super) recycled: usize,
    ready: Ready,
}

/// A place in the heap: an index into the units and a page of that unit.
type Place = (usize, usize);

impl State {
    pub(super) fn apply(&mut self, change: Change) {
        let apply = |pages: usize, by| pages.checked_add_signed(by).expect("counted before");
        self.backed = apply(self.backed, change.backed);
        self.recycled = apply(self.recycled, change.recycled);
    }

    /// Where the unit that contains `address` is. It must be mapped.
    pub(super) fn find(&self, address: usize) -> Place {
        let after = self.units.partition_point(|unit| unit.base <= address);
        let at = after
            .checked_sub(1)
            .expect("addresses come from mapped units");
        (at, (address - self.units[at].base) / PAGE)
    }

    #[inline]
    fn note(&mut self, at: usize) {
        let unit = &self.units[at];
        let has = [
            unit.loose_pages() > 0,
            unit.slots_warm > 0,
            unit.slots_free > 0,
        ];
        self.ready.note(at, has);
    }

    /// Notes everything again, after units came, went or changed behind the index.
    pub(super) fn note_all(&mut self) {
        self.ready.reset(self.units.len());
        (0..self.units.len()).for_each(|at| self.note(at));
    }

    /// Takes pages that may reach into the units that follow.
    fn take(&mut self, (mut at, mut first): Place, count: usize) -> usize {
        let address = self.units[at].base + first * PAGE;
        let mut left = count;
        let mut change = Change::default();
        while left > 0 {
            let here = left.min(PAGES - first);
            change += self.units[at].take(first, here);
            self.note(at);
            left -= here;
            first = 0;
            at += 1;
        }
        self.apply(change);
        address
    }

    fn find_loose(&self, count: usize, warm_only: bool) -> Option<Place> {
        let find = |at: usize| Some((at, self.units[at].find_loose(count, warm_only)?));
        self.ready.units(Kind::Loose).find_map(find)
    }

    fn find_warm_slot(&self) -> Option<Place> {
        let at = self.ready.units(Kind::WarmSlot).next()?;
        Some((at, first_slot(self.units[at].slots_warm)))
    }

    fn find_free_slot(&self) -> Option<Place> {
        let at = self.ready.units(Kind::FreeSlot).next()?;
        Some((at, first_slot(self.units[at].slots_free)))
    }

    /// First fit for consecutive slots.
    fn find_run(&self, count: usize, slots: impl Fn(&Unit) -> u64) -> Option<Place> {
        let mut start = (0, 0);
        let mut found = 0;
        let mut next = 0;
        for (at, unit) in self.units.iter().enumerate() {
            if unit.base != next {
                found = 0;
            }
            next = unit.base + UNIT;
            let mask = slots(unit);
            let mut slot = 0;
            while slot < SLOTS {
                let ones = (mask >> slot).trailing_ones() as usize;
                if ones == 0 {
                    found = 0;
                    // The shift brings in zeros: a mask without further slots gives 64.
                    slot += (mask >> slot).trailing_zeros() as usize;
                    continue;
                }
                if found == 0 {
                    start = (at, slot * SLOT_PAGES);
                }
                found += ones;
                slot += ones;
                if found >= count {
                    return Some(start);
                }
            }
        }
        None
    }

    /// Maps `count` consecutive units and gives the first page of them.
    fn grow(&mut self, pool: &'static Pool, count: usize) -> Result<Place, OutOfMemory> {
        // Below the lowest unit, so that units become neighbours.
        let wish = self
            .units
            .first()
            .and_then(|unit| unit.base.checked_sub(count * UNIT));
        let mapping = os::map(count, wish).ok_or(OutOfMemory)?;
        let at = self.units.partition_point(|unit| unit.base < mapping.base);
        let new = (0..count).map(|i| {
            let base = mapping.base + i * UNIT;
            let directory = Directory::new(pool);
            directory::register(base, &directory);
            Unit::new(base, mapping.huge, directory)
        });
        self.units.splice(at..at, new);
        self.note_all();
        Ok((at, 0))
    }
}

/// The first page of the first of some slots.
fn first_slot(slots: u64) -> usize {
    slots.trailing_zeros() as usize * SLOT_PAGES
}

impl Pool {
    /// Takes `count` consecutive pages, at most half a slot's, for a span.
    pub(super) fn alloc_pages(&'static self, count: usize) -> Result<usize, OutOfMemory> {
        debug_assert!(count <= SLOT_PAGES / 2);
        self.take(count, |state| {
            let place = state
                .find_loose(count, true)
                .or_else(|| state.find_warm_slot())
                .or_else(|| state.find_loose(count, false))
                .or_else(|| state.find_free_slot());
            place.map_or_else(|| state.grow(self, 1), Ok)
        })
    }

    /// Takes `count` consecutive slots.
    pub(super) fn take_slots(&'static self, count: usize) -> Result<usize, OutOfMemory> {
        self.take(count * SLOT_PAGES, |state| {
            let place = if count == 1 {
                state.find_warm_slot().or_else(|| state.find_free_slot())
            } else {
                state
                    .find_run(count, |unit| unit.slots_warm)
                    .or_else(|| state.find_run(count, |unit| unit.slots_free))
            };
            place.map_or_else(|| state.grow(self, count.div_ceil(SLOTS)), Ok)
        })
    }

    /// Takes what `find` finds, and makes room under the ceiling before it can be touched.
    fn take(
        &'static self,
        pages: usize,
        find: impl Fn(&mut State) -> Result<Place, OutOfMemory>,
    ) -> Result<usize, OutOfMemory> {
        let mut state = self.state.lock();
        let place = match find(&mut state) {
            Ok(place) => place,
            Err(OutOfMemory) => {
                // Free units in the wrong place may hold the address space that is needed.
                drop(state);
                self.trim(0);
                state = self.state.lock();
                find(&mut state)?
            }
        };
        let backed = state.backed;
        let address = state.take(place, pages);
        if state.backed > backed && self.is_over(&state) {
            drop(state);
            self.enforce_ceiling(address..address + pages * PAGE);
        }
        Ok(address)
    }

    /// Takes pages back. True if more is backed than may be.
    pub(super) fn recycle_pages(&self, address: usize, count: usize) -> bool {
        let mut state = self.state.lock();
        let (at, first) = state.find(address);
        let change = state.units[at].put(first, count);
        state.note(at);
        state.apply(change);
        self.is_over(&state)
    }

    /// Takes a slot back.
    pub(super) fn put_slot(&self, address: usize) {
        debug_assert_eq!(address % SLOT, 0);
        if self.recycle_pages(address, SLOT_PAGES) {
            self.enforce_ceiling(0..0);
        }
    }
}
