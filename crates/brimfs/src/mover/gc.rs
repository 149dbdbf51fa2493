//! Memory → cold down to a target, because somebody says so.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::base::error::Fault;
use crate::base::sync::thread;
use crate::base::trace;
use crate::memory::budget::Budget;
use crate::memory::tier::Slot;

use super::Mover;
use super::books::Books;
use super::explain::SpillCause;
use super::reclaim::{Candidate, PATIENCE};

/// Units and the bytes of content in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Small files, and chunks (at most 1 MiB) of larger ones, by number.
    pub units: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Moved {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.units += 1;
        self.bytes += bytes;
    }

    fn merge(&mut self, other: Moved) {
        self.units += other.units;
        self.bytes += other.bytes;
    }
}

/// What left memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evicted {
    pub(crate) written: Moved,
    /// There was a good copy on the disk.
    pub(crate) dropped: Moved,
    /// Memory that is free now, in bytes.
    pub(crate) freed: u64,
}

impl Evicted {
    pub(super) fn written(&mut self, content: u64, memory: u32) {
        self.written.add(content);
        self.freed += u64::from(memory);
    }

    pub(super) fn dropped(&mut self, content: u64, memory: u32) {
        self.dropped.add(content);
        self.freed += u64::from(memory);
    }

    pub(crate) fn units(&self) -> u64 {
        self.written.units + self.dropped.units
    }

    fn merge(&mut self, other: Evicted) {
        self.written.merge(other.written);
        self.dropped.merge(other.dropped);
        self.freed += other.freed;
    }
}

/// Which units are to go.
pub(super) enum Choice {
    /// Whichever the policy offers.
    Any,
    /// Whichever the policy offers, but no pinned ones.
    Unpinned,
    /// These pinned ones.
    Pinned(VecDeque<Slot>),
    /// This one.
    One(Option<Candidate>),
}

impl Choice {
    pub(super) fn next(&mut self, books: &mut Books) -> Option<Candidate> {
        match self {
            Choice::Any => books.victim(),
            Choice::Unpinned => books.unpinned_victim(),
            Choice::One(candidate) => candidate.take(),
            Choice::Pinned(slots) => loop {
                let slot = slots.pop_front()?;
                if let Some(found) = books.pinned_victim(slot) {
                    return Some(found);
                }
            },
        }
    }

    /// The unit is the next one again.
    pub(super) fn put_back(&mut self, books: &mut Books, slot: Slot) {
        match self {
            Choice::Any | Choice::Unpinned | Choice::One(_) => books.put_back(slot),
            Choice::Pinned(slots) => slots.push_front(slot),
        }
    }
}

/// What [`FileSystem::gc`](crate::FileSystem::gc) did. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// What was to be resident at most.
    pub target: u64,
    /// Resident when it began, of all filesystems that share the budget.
    pub resident_before: u64,
    /// Resident when it ended.
    pub resident_after: u64,
    /// Content that was written to the disk.
    pub written: Moved,
    /// Content that left memory without being written, because a good copy was on the disk.
    pub dropped: Moved,
    /// How many of those units were pinned.
    pub pinned_units: u64,
    /// What the caches of paths gave back.
    pub caches: u64,
    /// Freed memory that went back to the operating system. Was not resident.
    pub recycled: u64,
    /// How long it took.
    pub duration: Duration,
}

impl GcReport {
    /// Whether no more is resident than was to be. Nodes, names and content of up to 128 bytes do
    /// not leave memory, nor does what views show.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.resident_after <= self.target
    }
}

impl fmt::Display for GcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} bytes are resident, {} were to be: {} bytes in {} units written to the disk, \
             {} in {} that were there already",
            self.resident_after,
            self.resident_before,
            self.target,
            self.written.bytes,
            self.written.units,
            self.dropped.bytes,
            self.dropped.units,
        )?;
        if self.pinned_units > 0 {
            write!(f, " ({} of them pinned)", self.pinned_units)?;
        }
        write!(
            f,
            "; {} given back by caches, {} to the operating system; {:.1} ms",
            self.caches,
            self.recycled,
            self.duration.as_secs_f64() * 1e3
        )
    }
}

impl Mover {
    /// Spills until no more than `target` bytes of the budget are in use, or nothing is left that
    /// can go; pinned units last. Says what went, and how many pinned units were among it.
    pub(crate) fn spill_down(&self, budget: &Budget, target: u64) -> Result<(Evicted, u64), Fault> {
        trace::span!("gc", target);
        self.activate();
        self.await_census();
        let mut all = self.spill_chosen(budget, target, &mut Choice::Unpinned)?;
        let mut pinned = 0;
        if budget.used() > target {
            let slots = self.books.lock().pinned();
            let more = self.spill_chosen(budget, target, &mut Choice::Pinned(slots))?;
            pinned = more.units();
            all.merge(more);
        }
        Ok((all, pinned))
    }

    fn spill_chosen(
        &self,
        budget: &Budget,
        target: u64,
        choice: &mut Choice,
    ) -> Result<Evicted, Fault> {
        let mut all = Evicted::default();
        let mut idle = 0;
        while idle <= PATIENCE {
            let Some(wanted) = budget.used().checked_sub(target).filter(|over| *over > 0) else {
                break;
            };
            let batch = {
                let mut staging = self.staging.lock();
                self.tickets.lock().spill_for(SpillCause::Gc);
                let batch = self.evict_batch(&mut staging, wanted, choice);
                self.books.lock().release_refused();
                self.settle_charge();
                batch?
            };
            if batch.units() == 0 {
                // Others hold what could go: writes in flight, units that come in.
                idle += 1;
                thread::yield_now();
            } else {
                idle = 0;
                all.merge(batch);
            }
        }
        Ok(all)
    }
}
