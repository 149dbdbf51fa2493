//! Write-through: what a thread makes in memory that is kept back goes to the disk before that thread
//! goes on, so that pinned content and views stop nobody.
//!
//! The units that the borrower had admitted are held: nobody else takes them away, and they wait for
//! their end here. Other units are looked at only if that was not enough.

use crate::base::error::Fault;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Mutex, thread};
use crate::memory::tier::Slot;

use super::Mover;
use super::explain::SpillCause;
use super::gc::Choice;
use super::reclaim::{Candidate, Staging};

/// What is kept back, in bytes, where the limit allows: a chunk that comes back to be changed, the
/// copy that is changed in its place if others share it, and [`SLACK`].
const KEPT: u64 = (2 << 20) + 2 * SLACK;
/// What may stay of what was lent, in bytes: tables of files, which do not go.
const SLACK: u64 = 64 << 10;
/// How often a unit that somebody looks at just now is tried again.
const TURNS: u32 = 64;

/// What to keep back of a limit that has so many bytes left.
pub(super) fn kept(left: u64) -> u64 {
    KEPT.min(left / 2)
}

/// The units that were made with what is lent now.
#[derive(Debug, Default)]
pub(super) struct Lent {
    is_on: AtomicBool,
    units: Mutex<Vec<(Slot, u32)>>,
}

impl Mover {
    /// Follows an admission: holds the unit if the borrower had it admitted.
    #[inline]
    pub(super) fn note_lent(&self, slot: Slot, size: u32) {
        if self.lent.is_on.load(Ordering::Relaxed) {
            self.hold_lent(slot, size);
        }
    }

    #[cold]
    fn hold_lent(&self, slot: Slot, size: u32) {
        let budget = self.budget.upgrade();
        if budget.is_some_and(|budget| budget.is_lent_to_caller()) {
            self.books.lock().hold(slot);
            self.lent.units.lock().push((slot, size));
        }
    }

    /// See [`Tier::lend`](crate::memory::tier::Tier::lend).
    pub(super) fn make_ready(&self) -> Result<(), Fault> {
        self.settle_overdraft()?;
        self.lent.is_on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// See [`Tier::collect`](crate::memory::tier::Tier::collect).
    pub(super) fn collect_lent(&self) {
        self.lent.is_on.store(false, Ordering::Relaxed);
        let units = std::mem::take(&mut *self.lent.units.lock());
        let left = self.evict_lent(units);
        let mut books = self.books.lock();
        left.iter().for_each(|(slot, _)| books.release(*slot));
        drop(books);
        // Whoever borrows next hears of an error of the disk.
        drop(self.settle_overdraft());
    }

    /// Evicts units; returns those that stay.
    fn evict_lent(&self, mut units: Vec<(Slot, u32)>) -> Vec<(Slot, u32)> {
        let mut staging = self.staging.lock();
        for turn in 0..TURNS {
            if turn > 0 {
                thread::yield_now();
            }
            units.retain(|unit| !self.evict_unit(&mut staging, *unit));
            if units.is_empty() {
                break;
            }
        }
        self.settle_charge();
        drop(staging);
        units
    }

    /// Evicts one unit; whether it is resident no more.
    fn evict_unit(&self, staging: &mut Staging, (slot, size): (Slot, u32)) -> bool {
        let Some(unit) = self.books.lock().unit(slot) else {
            return true;
        };
        let mut choice = Choice::One(Some(Candidate { slot, size, unit }));
        // What the disk says is said again to whoever borrows next.
        let evicted = self.evict_batch(staging, 1, &mut choice);
        evicted.is_ok() && self.books.lock().unit(slot).is_none()
    }

    /// Evicts others if too much of what is kept back is taken.
    fn settle_overdraft(&self) -> Result<(), Fault> {
        let Some(budget) = self.budget.upgrade() else {
            return Ok(());
        };
        match budget.overdraft() {
            over if over > SLACK => {
                let enough = |_| budget.overdraft() == 0;
                self.evict_if_hopeful(SpillCause::Demand, over, enough)
                    .map(drop)
            }
            _ => Ok(()),
        }
    }
}
