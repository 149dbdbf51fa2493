//! A machine that is short of memory gets some back: the limit counts for less until it is not.

use crate::base::sync::atomic::Ordering;
use crate::memory::guard::{self, Shortage};
use crate::memory::pool;

use super::Mover;
use super::explain::SpillCause;

/// No more than one part in so many of what is usable is withheld.
const WITHHELD_SHARE: u64 = 2;
/// When the machine has enough again, one part in so many of what is withheld comes back at a time.
const RETURN_SHARE: u64 = 4;
/// Less than this comes back at once, in bytes.
const RETURN_LEAST: u64 = 16 << 20;

impl Mover {
    /// Looks at the machine, and follows what it has.
    pub(super) fn follow_machine(&self) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        let held = budget
            .used()
            .saturating_sub(self.charged.load(Ordering::Relaxed));
        self.follow(guard::shortage(held));
    }

    /// See [`Mover::follow_machine`].
    pub(crate) fn follow(&self, shortage: Shortage) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        let withheld = budget.withheld();
        match shortage {
            Shortage::No if withheld > 0 => {
                let back = (withheld / RETURN_SHARE).max(RETURN_LEAST);
                budget.withhold(withheld.saturating_sub(back));
            }
            Shortage::By(bytes) => {
                // What is not in use gives the machine nothing.
                let wanted = budget.spare() + withheld + bytes;
                let usable = budget.usable() + withheld;
                budget.withhold(wanted.min(usable / WITHHELD_SHARE));
                let over = budget.overdraft();
                // Nobody waits for this; whoever meets the disk's error in the foreground hears of it.
                drop(self.evict(SpillCause::Limit, over, |_| budget.overdraft() == 0));
                pool::trim(0);
            }
            Shortage::No | Shortage::Near => {}
        }
    }
}
