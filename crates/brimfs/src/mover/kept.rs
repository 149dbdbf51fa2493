//! A store that outlives the mover: content of a persistent filesystem.
//!
//! A record of such a store is referred to by the unit that it is a copy of, and by the last commits
//! that count on it. Each reference is given back by itself. The mover owns those of units only.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::base::sync::atomic::Ordering;
use crate::cold::segment::{Extent, Id, Store};
use crate::memory::budget::Budget;
use crate::memory::tier::{Identity, Location, Residents, Slot, Unit};

use super::settings::TierSettings;
use super::{Mover, location, split, write_through};

/// The part of the owner's content, as the header of a record has it: what it is now may differ.
pub(super) fn lasting_index(identity: Identity) -> u32 {
    match identity.is_chunk() {
        true => identity.index,
        false => 0,
    }
}

/// The name that a record of a kept store has.
pub(crate) fn lasting_id(identity: Identity) -> Id {
    Id {
        inode: identity.owner,
        index: lasting_index(identity),
        generation: identity.version,
    }
}

/// Where the record lies that a unit knows.
pub(crate) fn extent_of(location: Location) -> Extent {
    split(location).1
}

/// The same for a record that was moved.
pub(crate) fn moved(location: Location, new: Extent) -> Location {
    super::location(split(location).0, new)
}

impl Mover {
    /// Gives a budget of its own to a filesystem whose content is kept in `store`, and tracks all
    /// units from the start. So many `more` bytes are put aside for buffers of whoever commits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the limit has no room for buffers,
    /// [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) if the machine has none.
    pub(crate) fn install_kept(
        settings: TierSettings,
        budget: &Budget,
        store: Arc<Store>,
        more: u64,
    ) -> Result<(), Fault> {
        settings.check_limit(budget.limit())?;
        let mover = Mover::new(settings, budget, Some(store), more);
        let fixed = mover.fixed;
        if budget.install_frugal_tier(mover, fixed)? {
            budget.keep_back(write_through::kept(budget.limit().saturating_sub(fixed)));
        }
        if let Some(tier) = budget.tier() {
            tier.wake();
        }
        Ok(())
    }

    /// The good copy of a small file that is resident.
    pub(crate) fn copy_of(&self, slot: Slot, version: u64) -> Option<Extent> {
        let ticket = self.books.lock().copy(slot)?;
        self.tickets.lock().extent_beside(ticket, version)
    }

    /// A small file that is resident has this copy from now on, as it was with that identity: one reference more. Its
    /// inode's lock is held.
    pub(crate) fn keep_written(&self, unit: Unit, slot: Slot, identity: Identity, extent: Extent) {
        let had = self.books.lock().take_copy(slot);
        self.drop_copy(had);
        if let Some(location) = self.locate(unit, extent, false) {
            self.keep_copy(slot, identity, location);
        }
    }

    /// What a unit keeps that has this copy: one reference more. Nothing if there are as many as can be
    /// counted, or none.
    pub(crate) fn locate(&self, unit: Unit, extent: Extent, is_part: bool) -> Option<Location> {
        if !self.opened()?.retain(extent) {
            return None;
        }
        let ticket = self.tickets.lock().take(unit, extent.len(), is_part);
        Some(location(ticket, extent))
    }

    /// A copy that no unit came to know is given up.
    pub(crate) fn forget_unused(&self, location: Location) {
        self.forget_location(location);
    }

    /// The copy that a unit knows lies elsewhere from now on, if it still knows that one.
    pub(crate) fn swing_copy(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
        old: Location,
        extent: Extent,
        is_part: bool,
    ) {
        let unit = Unit {
            holder: Arc::downgrade(holder),
            index,
        };
        let Some(new) = self.locate(unit, extent, is_part) else {
            return;
        };
        let gone = match holder.relocate(index, old, new) {
            true => old,
            false => new,
        };
        self.forget_location(gone);
    }

    /// What the tables of whoever commits take, in bytes, is charged with the mover's own, as far as there is room.
    pub(crate) fn charge_tables(&self, bytes: u64) {
        self.tables_of_commits.store(bytes, Ordering::Relaxed);
        // Else whoever evicts does it in a moment.
        if let Some(_staging) = self.staging.try_lock() {
            self.settle_charge();
        }
    }

    /// A chunk that is resident has a copy from now on.
    pub(crate) fn note_clean(&self, slot: Slot) {
        self.books.lock().set_clean(slot, true);
    }
}
