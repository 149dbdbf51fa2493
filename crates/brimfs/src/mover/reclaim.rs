//! Memory → cold: victims of the policy are copied out, written in batches, and let go.
//!
//! One thread evicts at a time. Whoever finds no memory waits for it, looks
//! again, and evicts for himself what is still missing, so nobody waits for
//! more than a batch that helps him, and everybody for the disk's speed.

use std::time::Duration;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::sync::atomic::Ordering;
use crate::base::sync::{Arc, thread};
use crate::base::trace;
use crate::cold::segment::{Extent, RECORD_MAX, Record, Store};
use crate::memory::budget::Budget;
use crate::memory::tier::{Identity, Residents, Slot, Staged, Unit};

use super::census::{self, Found};
use super::compact::ROUND;
use super::explain::SpillCause;
use super::gc::{Choice, Evicted};
use super::settings::PIN_SHARE;
use super::stats::Stall;
use super::tickets::Ticket;
use super::{Mover, location, split};

/// A batch is written when it holds so many bytes, or this many units.
const BATCH_BYTES: usize = RECORD_MAX;
const BATCH_UNITS: usize = 1024;
/// How often a direct reclaim that frees nothing lets others run before it gives up.
pub(super) const PATIENCE: u32 = 64;
/// The same for a caller that can do without.
const HASTE: u32 = 4;
/// After looking for victims in vain nobody looks who can do without, for so many times as long.
const STUCK: u32 = 8;

/// The buffer that victims are copied to; kept from one batch to the next.
#[derive(Debug, Default)]
pub(super) struct Staging {
    bytes: Vec<u8>,
}

impl Staging {
    /// Memory of the buffer, in bytes.
    pub(super) const BYTES: u64 = BATCH_BYTES as u64;

    pub(super) fn bytes(&mut self) -> Result<&mut [u8], Fault> {
        if self.bytes.is_empty() {
            let room = self.bytes.try_reserve_exact(BATCH_BYTES);
            room.map_err(|_| ErrorKind::OutOfMemory)?;
            self.bytes.resize(BATCH_BYTES, 0);
        }
        Ok(&mut self.bytes)
    }
}

/// A unit that may go.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) slot: Slot,
    /// The memory that it takes, in bytes.
    pub(super) size: u32,
    pub(super) unit: Unit,
}

/// A victim whose bytes are in the staging buffer.
struct Copied {
    slot: Slot,
    unit: Unit,
    identity: Identity,
    size: u32,
    start: usize,
    len: usize,
}

/// What became of one victim.
enum Fate {
    /// Bytes of content that left memory.
    Gone(u64),
    Copied(Copied),
    /// Somebody works on it, or the buffer has no room for it.
    Busy,
    Stays,
}

impl Mover {
    /// Frees memory until `bytes` fit, for a caller who then tries again.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if that can never be, or if nothing can be evicted; what the disk
    /// says if it takes no more.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), Fault> {
        self.make_room_within(bytes, PATIENCE)
    }

    /// As [`Mover::make_room`], for a caller that can do without. Where much is pinned or viewed, all
    /// of it is looked at now and then only.
    pub(super) fn try_make_room(&self, bytes: u64) -> Result<(), Fault> {
        let budget = self.budget.upgrade();
        match budget.filter(|budget| budget.spare() < bytes) {
            Some(budget) if self.is_stuck() => Err(refusal(&budget, bytes)),
            _ => self.make_room_within(bytes, HASTE),
        }
    }

    /// Whether nothing went just now of all that is there.
    pub(crate) fn is_stuck(&self) -> bool {
        let until = self.stuck_until.load(Ordering::Relaxed);
        until > 0
            && self.is_awake()
            && !self.lacks_census()
            && (clock::monotonic().as_nanos() as u64) < until
    }

    /// Remembers for a while that nothing went though it was tried since `begun`.
    pub(crate) fn note_stuck(&self, begun: Duration) {
        let now = clock::monotonic();
        let until = now + now.saturating_sub(begun) * STUCK;
        let until = until.as_nanos() as u64;
        self.stuck_until.store(until, Ordering::Relaxed);
    }

    fn make_room_within(&self, bytes: u64, patience: u32) -> Result<(), Fault> {
        let Some(budget) = self.budget.upgrade() else {
            return Ok(());
        };
        let _stall = Stall::begin(&self.counters);
        self.activate();
        let mut idle = 0;
        while budget.spare() < bytes {
            if bytes > budget.usable() {
                return Err(refusal(&budget, bytes));
            }
            let wanted = bytes.max(BATCH_BYTES as u64);
            // There may be enough by the time that it is our turn, and others may be faster to take it:
            // that is no sign of nothing being left to evict.
            let mut had_enough = false;
            let freed = self.evict(SpillCause::Demand, wanted, |spare| {
                had_enough |= spare >= bytes;
                had_enough
            })?;
            idle = if freed == 0 && !had_enough {
                idle + 1
            } else {
                0
            };
            if idle > patience {
                match self.take_census() {
                    Found::More => idle = 0,
                    Found::Busy => thread::sleep(census::NAP),
                    Found::Nothing => return Err(refusal(&budget, bytes)),
                }
            }
            if idle > 0 {
                // Others hold what could go: views, writes in flight, units that come in.
                thread::yield_now();
            }
        }
        Ok(())
    }

    /// Frees memory until no more than `target` bytes are in use, or nothing can be evicted.
    ///
    /// # Errors
    /// What the disk says if it takes no more.
    pub(super) fn shrink_to(&self, target: u64) -> Result<(), Fault> {
        let Some(budget) = self.budget.upgrade() else {
            return Ok(());
        };
        if budget.used() <= target {
            return Ok(());
        }
        self.activate();
        self.await_census();
        loop {
            let excess = budget.used().saturating_sub(target);
            if excess == 0
                || self.evict(SpillCause::Limit, excess, |_| budget.used() <= target)? == 0
            {
                return Ok(());
            }
        }
    }

    /// Evicts until `wanted` bytes were freed, or until `enough` says of the spare bytes that
    /// there are enough. Returns how many were freed: fewer if there is nothing left that can go.
    pub(super) fn evict(
        &self,
        cause: SpillCause,
        wanted: u64,
        mut enough: impl FnMut(u64) -> bool,
    ) -> Result<u64, Fault> {
        trace::span!("reclaim", ?cause, wanted);
        let mut staging = self.staging.lock();
        let Some(budget) = self.budget.upgrade() else {
            return Ok(0);
        };
        self.tickets.lock().spill_for(cause);
        self.set_limits(&budget);
        let begun = clock::monotonic();
        let mut freed = 0;
        let mut result = Ok(());
        while freed < wanted && !enough(budget.spare()) {
            match self.evict_batch(&mut staging, wanted - freed, &mut Choice::Any) {
                Ok(batch) if batch.freed == 0 => {
                    if freed == 0 {
                        self.note_stuck(begun);
                    }
                    break;
                }
                Ok(batch) => {
                    self.stuck_until.store(0, Ordering::Relaxed);
                    freed += batch.freed;
                }
                Err(fault) => {
                    result = Err(fault);
                    break;
                }
            }
        }
        self.books.lock().release_refused();
        self.settle_charge();
        result.map(|()| freed)
    }

    /// Tells the policy what units may take, and pinned ones of it.
    pub(super) fn set_limits(&self, budget: &Budget) {
        let ceiling = self.pin_ceiling(budget);
        self.books.lock().set_limits(budget.limit(), ceiling);
    }

    /// What pinned units may take: half of the limit. Where that is small, what the tier takes itself
    /// leaves less; an eighth of the rest is then for nodes.
    fn pin_ceiling(&self, budget: &Budget) -> u64 {
        let content = budget
            .usable()
            .saturating_sub(self.charged.load(Ordering::Relaxed));
        (budget.limit() / PIN_SHARE).min(content - content / 8)
    }

    /// Gives up units whose memory is `wanted` bytes, or one batch of them.
    pub(super) fn evict_batch(
        &self,
        staging: &mut Staging,
        wanted: u64,
        choice: &mut Choice,
    ) -> Result<Evicted, Fault> {
        let staging = staging.bytes()?;
        let mut batch: Vec<Copied> = Vec::new();
        let mut evicted = Evicted::default();
        let (mut planned, mut used) = (0, 0);
        while batch.len() < BATCH_UNITS && planned < wanted {
            let Some(candidate) = choice.next(&mut self.books.lock()) else {
                break;
            };
            let (slot, size) = (candidate.slot, candidate.size);
            let may_not_fit = used > 0 && size as usize > staging.len() - used;
            match self.take(candidate, &mut staging[used..]) {
                Fate::Busy if may_not_fit => {
                    // It goes first in the next batch.
                    choice.put_back(&mut self.books.lock(), slot);
                    break;
                }
                Fate::Gone(content) => evicted.dropped(content, size),
                Fate::Copied(mut copied) => {
                    copied.start = used;
                    used += copied.len;
                    batch.push(copied);
                }
                Fate::Busy | Fate::Stays => {
                    self.books.lock().refuse(slot);
                    continue;
                }
            }
            planned += u64::from(size);
        }
        if batch.is_empty() {
            return Ok(evicted);
        }
        let written = self.write_batch(&batch, staging);
        if written.is_err() {
            let mut books = self.books.lock();
            batch.iter().for_each(|copied| books.refuse(copied.slot));
        }
        for (copied, (ticket, extent)) in batch.into_iter().zip(written?) {
            let (len, size) = (copied.len, copied.size);
            if self.let_go(copied, ticket, extent) {
                evicted.written(len as u64, size);
            }
        }
        Ok(evicted)
    }

    /// Copies a victim out, or lets it go at once if its cold copy is known.
    fn take(&self, candidate: Candidate, to: &mut [u8]) -> Fate {
        let Candidate { slot, size, unit } = candidate;
        if let Some(content) = self.let_go_clean(slot, &unit) {
            return Fate::Gone(content);
        }
        let Some((staged, unit, holder)) = self.stage(slot, unit, to) else {
            return Fate::Stays;
        };
        match staged {
            Staged::Dirty { identity, len } => {
                // One that was good is good no more, or its file was at work just now.
                let copy = self.books.lock().take_copy(slot);
                self.drop_copy(copy);
                Fate::Copied(Copied {
                    slot,
                    unit,
                    identity,
                    size,
                    start: 0,
                    len,
                })
            }
            Staged::Clean => {
                self.books.lock().set_leaving(slot);
                if holder.clone().evict_clean(slot, unit.index) {
                    Fate::Gone(self.note_dropped(&*holder, &unit))
                } else {
                    Fate::Stays
                }
            }
            Staged::Busy => Fate::Busy,
            Staged::Pinned | Staged::Gone => Fate::Stays,
        }
    }

    /// Notes that a unit went whose copy was good; returns its content, in bytes.
    fn note_dropped(&self, holder: &dyn Residents, unit: &Unit) -> u64 {
        let cold = holder.cold(unit.index);
        let bytes = cold.map_or(0, |cold| u64::from(cold.len));
        if let Some(cold) = cold {
            self.tickets.lock().spilled_again(split(cold.location).0);
        }
        self.counters.evicted(bytes, false);
        bytes
    }

    /// Copies a unit out, through whichever file still has it.
    fn stage(
        &self,
        slot: Slot,
        mut unit: Unit,
        to: &mut [u8],
    ) -> Option<(Staged, Unit, Arc<dyn Residents>)> {
        if let Some(holder) = unit.holder.upgrade() {
            let staged = holder.stage(slot, unit.index, to);
            if staged != Staged::Gone {
                return Some((staged, unit, holder));
            }
        }
        for holder in self.kin_of(&unit) {
            let staged = holder.stage(slot, unit.index, to);
            if staged != Staged::Gone {
                unit.holder = Arc::downgrade(&holder);
                let copy = self.books.lock().found(slot, unit.clone());
                self.drop_copy(copy);
                return Some((staged, unit, holder));
            }
        }
        None
    }

    /// Writes a batch, for which room is made in a store that is full.
    fn write_batch(
        &self,
        batch: &[Copied],
        staging: &[u8],
    ) -> Result<Vec<(Ticket, Extent)>, Fault> {
        let store = self.store()?;
        let tickets: Vec<Ticket> = {
            let mut tickets = self.tickets.lock();
            let take = |copied: &Copied| {
                let is_part = copied.identity.is_chunk();
                tickets.take(copied.unit.clone(), copied.len, is_part)
            };
            batch.iter().map(take).collect()
        };
        let parts: Vec<[&[u8]; 1]> = batch
            .iter()
            .map(|copied| [&staging[copied.start..copied.start + copied.len]])
            .collect();
        let records: Vec<Record<'_>> = batch
            .iter()
            .zip(&tickets)
            .zip(&parts)
            .map(|((copied, ticket), parts)| Record {
                id: self.naming.id(copied.identity, *ticket),
                parts,
            })
            .collect();
        match self.append(&store, &records) {
            Ok(extents) => Ok(tickets.into_iter().zip(extents).collect()),
            Err(fault) => {
                let mut table = self.tickets.lock();
                tickets.into_iter().for_each(|ticket| table.free(ticket));
                Err(fault)
            }
        }
    }

    /// Appends records. Where the disk is short, copies of what is resident go, and dead space is given
    /// back; when there are no such copies any more that is tried once.
    fn append(&self, store: &Arc<Store>, records: &[Record<'_>]) -> Result<Vec<Extent>, Fault> {
        let mut is_last = false;
        loop {
            let fault = match store.append(records) {
                Err(fault) if !is_last && is_short_of_disk(&fault) => fault,
                result => return result,
            };
            if self
                .kept
                .keeper()
                .is_some_and(|keeper| keeper.make_disk_room())
            {
                continue;
            }
            is_last = self.give_up_copies(ROUND) == 0;
            if is_last && fault.kind() == ErrorKind::DiskFull {
                return Err(fault);
            }
            let compacted = self.compact_for(store);
            if is_last {
                compacted?;
            }
            // Else the next attempt meets what is wrong, or there is room all the same.
        }
    }

    /// Asks the file to let the memory go. Whether it did.
    fn let_go(&self, copied: Copied, ticket: Ticket, extent: Extent) -> bool {
        let Copied {
            slot,
            unit,
            identity,
            len,
            ..
        } = copied;
        let location = location(ticket, extent);
        self.books.lock().set_leaving(slot);
        let holder = unit.holder.upgrade();
        let gone =
            holder.is_some_and(|holder| holder.commit_cold(slot, unit.index, identity, location));
        if gone {
            self.counters.evicted(len as u64, true);
            return true;
        }
        // It changed meanwhile, or is no more.
        self.forget_location(location);
        self.books.lock().refuse(slot);
        false
    }
}

fn is_short_of_disk(fault: &Fault) -> bool {
    matches!(fault.kind(), ErrorKind::DiskLimit | ErrorKind::DiskFull)
}

#[cold]
fn refusal(budget: &Budget, requested: u64) -> Fault {
    Fault::limit(
        ErrorKind::MemoryLimit,
        LimitInfo {
            requested,
            used: budget.used(),
            limit: budget.limit(),
        },
    )
}
