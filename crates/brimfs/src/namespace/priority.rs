//! How much a file is worth keeping in memory, as its owner sees it.
//!
//! Lives in the spare bits of the content's stamp; the tier is told at once, so that units in
//! memory count anew. Waits for nothing but the node's lock.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::namespace::inode::{Inode, State};
use crate::policy::{PRIORITY_MAX, PRIORITY_PINNED};

/// Fails for a priority that there is not.
pub(crate) fn check_priority(priority: u8) -> Result<(), Fault> {
    if priority > PRIORITY_MAX {
        let text = format!("priority {priority} is above {PRIORITY_MAX}, the highest");
        return Err(Fault::text(ErrorKind::InvalidArgument, text));
    }
    Ok(())
}

impl State {
    /// The priority that the tier is told: a pin counts as the highest.
    pub(crate) fn kept_priority(&self) -> u8 {
        if self.has_pin() {
            PRIORITY_MAX
        } else {
            self.priority()
        }
    }

    /// Whether the file is to stay in memory, by a pin or by its priority.
    pub(crate) fn is_pinned(&self) -> bool {
        self.kept_priority() >= PRIORITY_PINNED
    }
}

impl Inode {
    /// As it was set: 0 to 10, 5 if nobody did.
    pub(crate) fn priority(&self) -> u8 {
        self.read().priority()
    }

    /// See [`State::is_pinned`].
    pub(crate) fn is_pinned(&self) -> bool {
        self.read().is_pinned()
    }

    /// Sets [`Inode::priority`], which [`check_priority`] has seen. O(units in memory).
    pub(crate) fn set_priority(self: &Arc<Self>, priority: u8) {
        self.revalue(|state| state.set_priority(priority));
    }

    /// Pins the file beside its priority, or takes that back. O(units in memory).
    pub(crate) fn set_pin(self: &Arc<Self>, pinned: bool) {
        self.revalue(|state| state.set_pin(pinned));
    }

    fn revalue(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut state = self.write();
        let before = state.kept_priority();
        change(&mut state);
        if state.kept_priority() != before {
            self.tell_priority(&state);
        }
    }

    /// Tells the tier of all units that it knows what they are worth.
    pub(crate) fn tell_priority(&self, state: &State) {
        let priority = state.kept_priority();
        if let (Some(content), Some(tier)) = (state.content(), self.account().budget.tier()) {
            content.each_slot(|slot| tier.prioritize(slot, priority));
        }
    }
}
