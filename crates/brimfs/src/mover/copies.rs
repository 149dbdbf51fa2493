//! Cold copies of what is resident: kept as long as the content is unchanged, so that giving its memory
//! up again costs no write; the first to go where the disk is short.
//!
//! A chunk of a larger file knows its copy itself. That of a small file is kept here: the books have its
//! ticket, the tickets where it lies and of which version of the content it is. A copy that is about to be
//! used is in neither: whoever changes the content meanwhile need not know, and the file itself compares
//! versions before it lets its memory go.

use crate::base::sync::Arc;
use crate::cold::segment::Extent;
use crate::memory::tier::{Identity, Location, Residents, Slot, Unit};

use super::books::Clean;
use super::explain::Spill;
use super::reclaim::Candidate;
use super::tickets::Ticket;
use super::{Mover, location, split};

/// So many slots are looked at under one lock.
const LOOKS: usize = 1024;

impl Mover {
    /// See [`Tier::keep`](crate::memory::tier::Tier::keep).
    pub(super) fn keep_copy(&self, slot: Slot, identity: Identity, location: Location) {
        let (ticket, extent) = split(location);
        let version = identity.version as u32;
        self.tickets.lock().keep_beside(ticket, extent, version);
        let is_kept = self.books.lock().keep_copy(slot, ticket);
        self.drop_copy((!is_kept).then_some(ticket));
    }

    /// See [`Tier::changed`](crate::memory::tier::Tier::changed).
    pub(super) fn compare_copy(&self, slot: Slot, identity: Identity) {
        let ticket = {
            let mut books = self.books.lock();
            let copy = books.copy(slot);
            if copy.is_none() {
                books.take_copy(slot);
            }
            copy
        };
        let Some(ticket) = ticket else { return };
        let is_good =
            !identity.is_chunk() && self.tickets.lock().is_of_version(ticket, identity.version);
        if !is_good {
            let copy = self.books.lock().take_copy(slot);
            self.drop_copy(copy);
        }
    }

    /// Gives a copy up that is in the books no more.
    pub(super) fn drop_copy(&self, copy: Option<Ticket>) -> u64 {
        let Some(ticket) = copy else { return 0 };
        let extent = self.tickets.lock().free_beside(ticket);
        if let (Some(extent), Some(store)) = (extent, self.opened()) {
            store.release(extent);
        }
        extent.map_or(0, Extent::stored_bytes)
    }

    /// Lets a small file go of which there is a good copy. Returns its content, in bytes, if it went.
    pub(super) fn let_go_clean(&self, slot: Slot, unit: &Unit) -> Option<u64> {
        let ticket = self.books.lock().lend_copy(slot)?;
        let beside = self.tickets.lock().take_up(ticket, unit.clone())?;
        self.books.lock().set_leaving(slot);
        let known = location(ticket, beside.extent);
        let holder = unit.holder.upgrade();
        if holder.is_some_and(|holder| holder.evict_known(slot, beside.version, known)) {
            let bytes = beside.extent.len() as u64;
            self.counters.evicted(bytes, false);
            return Some(bytes);
        }
        self.tickets.lock().put_beside(ticket, beside);
        let is_kept = {
            let mut books = self.books.lock();
            books.unset_leaving(slot);
            books.return_copy(slot, ticket)
        };
        self.drop_copy((!is_kept).then_some(ticket));
        None
    }

    /// Gives copies of what is resident up, until about `wanted` bytes of the disk are dead. Returns how
    /// many are. O(slots) at worst.
    pub(crate) fn give_up_copies(&self, wanted: u64) -> u64 {
        let mut given = 0;
        let mut looks = self.books.lock().slots();
        while given < wanted && looks > 0 {
            let found = self.books.lock().some_clean(LOOKS);
            given += found
                .into_iter()
                .map(|unit| self.give_up(unit))
                .sum::<u64>();
            looks = looks.saturating_sub(LOOKS);
        }
        given
    }

    fn give_up(&self, clean: Clean) -> u64 {
        if clean.copy.is_some() {
            return self.drop_copy(clean.copy);
        }
        let Candidate { slot, size, unit } = clean.unit;
        let gives = |holder: &Arc<dyn Residents>| holder.forget_copy(slot, unit.index);
        let given = unit.holder.upgrade().is_some_and(|first| gives(&first))
            || self.kin_of(&unit).iter().any(gives);
        if given { u64::from(size) } else { 0 }
    }

    /// When and why a small file that is resident left memory last, if there is a good copy of it. O(1).
    pub(crate) fn copy_beside(&self, slot: Slot) -> Option<Spill> {
        let ticket = self.books.lock().copy(slot)?;
        self.tickets.lock().spill(ticket)
    }
}
