//! Compares the copies that are counted with those that units know. For tests.

use std::collections::HashSet;

use crate::base::sync::Arc;
use crate::cold::segment::{References, Store};
use crate::memory::tier::Location;

use super::{Mover, split};

impl Mover {
    /// Adds the references of all copies to `held`: those that units know, each once, and those that are kept here. Says in
    /// which store they lie, once there is one.
    ///
    /// # Errors
    /// A sentence that says what is wrong with a copy.
    pub(crate) fn audit(
        &self,
        known: &[Location],
        held: &mut References,
    ) -> Result<Option<Arc<Store>>, String> {
        let tickets = self.tickets.lock();
        let mut seen = HashSet::new();
        for location in known {
            let (ticket, extent) = split(*location);
            if tickets.unit(ticket).is_none() {
                return Err(format!(
                    "a unit knows {extent:?} by {ticket:?}, which nobody took"
                ));
            }
            if !seen.insert(ticket.number()) {
                return Err(format!("two units know {extent:?} by {ticket:?}"));
            }
            held.add(extent);
        }
        let mut count = seen.len() as u64;
        for extent in tickets.extents_beside() {
            count += 1;
            held.add(extent);
        }
        if count != tickets.count() {
            let all = tickets.count();
            return Err(format!(
                "there are {all} copies, of which {count} are known"
            ));
        }
        drop(tickets);
        Ok(self.opened())
    }
}
