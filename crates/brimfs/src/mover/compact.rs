//! Gives dead space of the store back: the live rest of mostly dead segments moves, and its files
//! are told.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::base::trace;
use crate::cold::segment::{Extent, Id, Store};

use super::tickets::Ticket;
use super::{Mover, Naming, location};

/// What one round copies at the most, in bytes.
pub(super) const ROUND: u64 = 64 << 20;
/// Dead space is given back when it is more than this share of the live bytes, and this many bytes.
const DEAD_SHARE: u64 = 2;
const DEAD_LEAST: u64 = 64 << 20;

impl Mover {
    /// Makes room in a store that is full.
    pub(super) fn compact_for(&self, store: &Arc<Store>) -> Result<(), Fault> {
        if self.naming == Naming::Lasting {
            // What a journal knows moves with whoever writes that.
            return Ok(());
        }
        trace::span!("compact");
        store
            .compact(ROUND, &mut |id, old, new| self.relocate(id, old, new))
            .map(drop)
    }

    /// Compacts if much of the store is dead. Called in the background.
    pub(super) fn compact_if_due(&self) -> Result<(), Fault> {
        let Some(store) = self.opened() else {
            return Ok(());
        };
        let stats = store.stats();
        if stats.dead_bytes < DEAD_LEAST || stats.dead_bytes < stats.live_bytes / DEAD_SHARE {
            return Ok(());
        }
        self.compact_for(&store)
    }

    fn relocate(&self, id: Id, old: Extent, new: Extent) -> bool {
        let ticket = Ticket::new(id.index);
        let unit = {
            let mut tickets = self.tickets.lock();
            if tickets.relocate_beside(ticket, old, new) {
                return true;
            }
            tickets.unit(ticket)
        };
        let Some(unit) = unit else {
            return false;
        };
        let (old, new) = (location(ticket, old), location(ticket, new));
        let first = unit.holder.upgrade();
        if first.is_some_and(|holder| holder.relocate(unit.index, old, new)) {
            return true;
        }
        let kin = self.kin_of(&unit);
        kin.iter()
            .any(|holder| holder.relocate(unit.index, old, new))
    }
}
