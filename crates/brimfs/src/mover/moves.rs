//! Compaction of a store that outlives the mover: records move, whoever commits says so where it lasts, and then
//! the units in memory are told.
//!
//! Never gives a record up that somebody else counts on: each unit swings its own reference.

use std::cell::Cell;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::sync::{Arc, Mutex, Weak};
use crate::cold::segment::{Extent, Store};
use crate::memory::tier::{Location, Residents, Unit};

use super::tickets::Ticket;
use super::{Mover, location, split};

/// So many copies are looked at under one lock.
const LOOKS: usize = 1024;

/// Whoever can give space of the disk back that commits count on.
pub(crate) trait Keeper: Send + Sync {
    /// Tries to. Called with no locks but those of files and of whoever evicts. Whether some came back.
    fn make_disk_room(&self) -> bool;
}

/// Who is asked for space on the disk.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<Weak<dyn Keeper>>>);

impl Kept {
    pub(super) fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.0.lock().as_ref()?.upgrade()
    }
}

/// Records that were copied, by their old places. Each has one reference at the new place, which is its owner's.
#[derive(Debug, Default)]
pub(crate) struct Moves(HashMap<Extent, Extent, FixedState>);

impl Moves {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a record lies now that lay there.
    pub(crate) fn get(&self, old: Extent) -> Option<Extent> {
        self.0.get(&old).copied()
    }

    /// Gives back what each was copied with: those that nobody wanted are dead then.
    pub(crate) fn release(self, store: &Store) {
        for new in self.0.into_values() {
            store.release(new);
        }
    }
}

impl Mover {
    /// Says who is asked for space when the disk is short.
    pub(crate) fn set_keeper(&self, keeper: Weak<dyn Keeper>) {
        *self.kept.0.lock() = Some(keeper);
    }

    /// Copies the live rest of mostly dead segments, or of many short ones, up to about `budget` bytes. What was
    /// moved before an error counts. Nothing that was moved before may wait for its owner.
    pub(crate) fn move_records(&self, store: &Store, budget: u64) -> (Moves, Result<(), Fault>) {
        let mut moves = Moves::default();
        store.offer_again();
        let done = store.compact(budget, &mut |_, old, new| {
            moves.0.insert(old, new);
            true
        });
        (moves, done.map(drop))
    }

    /// Tells all units that know a copy that was moved.
    pub(crate) fn swing(&self, store: &Store, moves: &Moves) {
        let mut swing = |old: Extent| {
            let new = moves.get(old)?;
            store.retain(new).then_some(new)
        };
        let mut left = self.tickets.lock().swing_beside(&mut swing);
        let mut next = 0;
        loop {
            let (units, end) = self.tickets.lock().some_units(next, LOOKS);
            if end == next {
                break;
            }
            next = end;
            for (ticket, unit) in units {
                left.extend(self.swing_unit(ticket, &unit, &mut swing));
            }
        }
        for old in left {
            store.release(old);
        }
    }

    /// Has one unit know the new place of its copy; says the old one.
    fn swing_unit(
        &self,
        ticket: Ticket,
        unit: &Unit,
        swing: &mut dyn FnMut(Extent) -> Option<Extent>,
    ) -> Option<Extent> {
        let mut left = None;
        let is_found = Cell::new(false);
        let mut to = |place: Location| {
            let (own, old) = split(place);
            if own != ticket {
                // What is there now has a ticket of its own.
                return None;
            }
            is_found.set(true);
            let new = swing(old)?;
            left = Some(old);
            Some(location(ticket, new))
        };
        let first = unit.holder.upgrade();
        if let Some(first) = first {
            first.swing(unit.index, &mut to);
        }
        if !is_found.get() {
            for holder in self.kin_of(unit) {
                holder.swing(unit.index, &mut to);
                if is_found.get() {
                    break;
                }
            }
        }
        left
    }

    /// Notes that two files share content, as was found when they were opened.
    pub(crate) fn note_shared(&self, one: &Arc<dyn Residents>, other: &Arc<dyn Residents>) {
        self.note_copied(one, other);
    }
}
