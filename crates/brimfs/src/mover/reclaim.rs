//! Memory → cold: victims of the policy are copied out, written in batches, and let go.
//!
//! One thread evicts at a time. Whoever finds no memory waits for it, looks
//! again, and evicts for himself what is still missing, so nobody waits for
//! more than a batch that helps him, and everybody for the disk's speed.

use std::time::Duration;

use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::sync::{Arc, thread};
use crate::cold::segment::{Extent, RECORD_MAX, Record, Store};
use crate::memory::budget::Budget;
use crate::memory::chunk::Memory;
use crate::memory::tier::{Identity, Slot, Staged, Unit};
use crate::policy::Victim;

use super::census::Found;
use super::explain::SpillCause;
use super::gc::{Choice, Evicted};
use super::stats::Stall;
use super::tickets::Ticket;
use super::{Mover, id, location, split};

/// A batch is written when it holds so many bytes, or this many units.
const BATCH_BYTES: usize = RECORD_MAX;
const BATCH_UNITS: usize = 1024;
/// How often a direct reclaim that frees nothing lets others run before it gives up.
pub(super) const PATIENCE: u32 = 64;
/// Time between two looks at what a walk that somebody else makes has found.
const CENSUS_NAP: Duration = Duration::from_millis(1);

/// The buffer that victims are copied to; kept from one batch to the next.
#[derive(Debug, Default)]
pub(super) struct Staging {
    bytes: Vec<u8>,
}

impl Staging {
    /// Memory of the buffer, in bytes.
    pub(super) const BYTES: u64 = BATCH_BYTES as u64;

    fn bytes(&mut self) -> Result<&mut [u8], Fault> {
        if self.bytes.is_empty() {
            let room = self.bytes.try_reserve_exact(BATCH_BYTES);
            room.map_err(|_| ErrorKind::OutOfMemory)?;
            self.bytes.resize(BATCH_BYTES, 0);
        }
        Ok(&mut self.bytes)
    }
}

/// A victim whose bytes are in the staging buffer.
struct Copied {
    slot: Slot,
    unit: Unit,
    identity: Identity,
    start: usize,
    len: usize,
}

/// What became of one victim.
enum Fate {
    /// Bytes that are free now.
    Gone(u64),
    Copied(Copied),
    Stays,
}

impl Mover {
    /// Frees memory until `bytes` fit, for a caller who then tries again.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if that can never be, or if nothing can be evicted; what the disk
    /// says if it takes no more.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), Fault> {
        let Some(budget) = self.budget.upgrade() else {
            return Ok(());
        };
        let _stall = Stall::begin(&self.counters);
        self.activate();
        let mut idle = 0;
        while budget.spare() < bytes {
            if bytes > budget.limit() {
                return Err(refusal(&budget, bytes));
            }
            let wanted = bytes.max(BATCH_BYTES as u64);
            let freed = self.evict(SpillCause::Demand, wanted, |spare| spare >= bytes)?;
            idle = if freed == 0 { idle + 1 } else { 0 };
            if idle > PATIENCE {
                match self.take_census() {
                    Found::More => idle = 0,
                    Found::Busy => thread::sleep(CENSUS_NAP),
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
        self.take_census();
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
        enough: impl Fn(u64) -> bool,
    ) -> Result<u64, Fault> {
        let mut staging = self.staging.lock();
        self.tickets.lock().spill_for(cause);
        let spare = || {
            self.budget
                .upgrade()
                .map_or(u64::MAX, |budget| budget.spare())
        };
        let mut freed = 0;
        let mut result = Ok(());
        while freed < wanted && !enough(spare()) {
            match self.evict_batch(&mut staging, wanted - freed, &mut Choice::Any) {
                Ok(batch) if batch.bytes() == 0 => break,
                Ok(batch) => freed += batch.bytes(),
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

    /// Gives up victims whose memory is `wanted` bytes, or one batch of them.
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
            let Some((victim, slot, unit)) = choice.next(&mut self.books.lock()) else {
                break;
            };
            if victim.size as usize > staging.len() - used && used > 0 {
                // It goes first in the next batch.
                choice.put_back(&mut self.books.lock(), slot);
                break;
            }
            match self.take(victim, slot, unit, &mut staging[used..]) {
                Fate::Gone(bytes) => evicted.dropped.add(bytes),
                Fate::Copied(mut copied) => {
                    copied.start = used;
                    used += copied.len;
                    batch.push(copied);
                }
                Fate::Stays => {
                    self.books.lock().refuse(slot);
                    continue;
                }
            }
            planned += Memory::cost(victim.size as usize) as u64;
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
            if let Some(bytes) = self.let_go(copied, ticket, extent) {
                evicted.written.add(bytes);
            }
        }
        Ok(evicted)
    }

    /// Copies a victim out, or lets it go at once if its cold copy is known.
    fn take(&self, victim: Victim, slot: Slot, unit: Unit, to: &mut [u8]) -> Fate {
        let Some(holder) = unit.holder.upgrade() else {
            return Fate::Stays;
        };
        match holder.stage(slot, unit.index, to) {
            Staged::Dirty { identity, len } => Fate::Copied(Copied {
                slot,
                unit,
                identity,
                start: 0,
                len,
            }),
            Staged::Clean => {
                self.books.lock().set_leaving(slot);
                if holder.evict_clean(slot, unit.index) {
                    if let Some(cold) = holder.cold(unit.index) {
                        self.tickets.lock().spilled_again(split(cold.location).0);
                    }
                    self.counters.evicted(u64::from(victim.size), false);
                    Fate::Gone(u64::from(victim.size))
                } else {
                    Fate::Stays
                }
            }
            Staged::Pinned | Staged::Busy | Staged::Gone => Fate::Stays,
        }
    }

    /// Writes a batch; a full store is compacted once and asked again.
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
                id: id(copied.identity, *ticket),
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

    fn append(&self, store: &Arc<Store>, records: &[Record<'_>]) -> Result<Vec<Extent>, Fault> {
        match store.append(records) {
            Err(fault) if fault.kind() == ErrorKind::DiskLimit => {
                self.compact_for(store)?;
                store.append(records)
            }
            result => result,
        }
    }

    /// Asks the file to let the memory go. Returns how many bytes of content went.
    fn let_go(&self, copied: Copied, ticket: Ticket, extent: Extent) -> Option<u64> {
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
            return Some(len as u64);
        }
        // It changed meanwhile, or is no more.
        self.forget_location(location);
        self.books.lock().refuse(slot);
        None
    }
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
