//! Content that comes and goes as a whole: small files.
//!
//! A small file is a unit of its own: its bytes are named by the inode's number and generation.
//! A chunk that is all of a file and that nobody shares counts as one too, so that a million
//! cold files keep no chunks. Calls the tier for slots and locations, never for bytes.

use crate::base::error::{ErrorKind, Fault};
use crate::base::long_wait::long_wait;
use crate::base::sync::{Arc, thread};
use crate::memory::account::Account;
use crate::memory::chunk::{CHUNK, Chunk, Memory, Owner};
use crate::memory::content::{BUF_MAX, Content, copy_from};
use crate::memory::residence::{Alone, Evicted, NEVER_MAX};
use crate::memory::tier::{Cold, Filled, Identity, Location, Slot, Staged, Tier, Unit, Worth};

/// What names the bytes of a small file now, and how to find it.
#[derive(Debug)]
pub(crate) struct Who<'a> {
    pub(crate) identity: Identity,
    pub(crate) account: &'a Arc<Account>,
    pub(crate) worth: Worth,
}

/// What a unit gave up when it went cold: to be dropped when no lock is held any more.
#[allow(dead_code, reason = "held for the sake of being dropped")]
pub(crate) enum Freed {
    Unit(Evicted),
    Chunk(Arc<Chunk>),
}

impl Content {
    /// As [`Content::read`], of what may be cold.
    #[inline(never)]
    pub(super) fn read_chunks(&self, offset: u64, to: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Content::Chunk(chunk) => {
                let hold = Chunk::look(chunk, Alone::ONLY);
                match chunk.dense_bytes(&hold) {
                    Some(bytes) => Ok(copy_from(bytes, offset, to)),
                    None => Err(Fault::miss(0)),
                }
            }
            Content::Table(table) => {
                let read = table.read(Alone::of(table), offset, to);
                read.map_err(|missing| Fault::miss(missing.index))
            }
            _ => Err(Fault::miss(0)),
        }
    }

    /// Tells the tier that this content is about to be no more.
    #[inline]
    pub(crate) fn untrack(&mut self, account: &Account) {
        match self {
            Content::Buf(_, slot) | Content::Foreign(_, slot) => {
                if let (Some(slot), Some(tier)) = (slot.take(), account.budget.tier()) {
                    tier.remove(slot);
                }
            }
            Content::Cold { location, .. } => {
                if let Some(tier) = account.budget.tier() {
                    tier.forget(*location);
                }
            }
            _ => {}
        }
    }

    /// Notes a read of a small file that is tracked.
    #[inline]
    pub(crate) fn touch<'a>(&self, account: impl FnOnce() -> &'a Arc<Account>) {
        if let Content::Buf(_, Some(slot)) | Content::Foreign(_, Some(slot)) = self {
            touch_slowly(account(), *slot);
        }
    }

    /// The slot of a small file in one buffer.
    pub(crate) fn slot(&self) -> Option<Slot> {
        match self {
            Content::Buf(_, slot) | Content::Foreign(_, slot) => *slot,
            Content::Chunk(chunk) => chunk.slot(),
            _ => None,
        }
    }

    /// Tells the tier about all units that a change of `first..end` (numbers of chunks) touched.
    pub(crate) fn track(
        &mut self,
        tier: &dyn Tier,
        who: &Who<'_>,
        (first, end): (u64, u64),
        unit: impl Fn(u64) -> Unit,
    ) {
        if let Content::Foreign(foreign, _) = self
            && foreign.len() > CHUNK
        {
            // Without room for the table it stays one piece, which never goes.
            drop(self.share_owned(who.account));
        }
        let len = self.len();
        // What evicting it frees.
        let size = self.charge().1 as u32;
        match self {
            Content::Buf(_, Some(slot)) | Content::Foreign(_, Some(slot)) => {
                tier.changed(*slot, who.identity);
                tier.resize(*slot, size);
            }
            Content::Buf(_, slot) | Content::Foreign(_, slot) if len > NEVER_MAX as u64 => {
                *slot = tier.admit(unit(0), who.identity, size, who.worth);
            }
            Content::Chunk(chunk) => chunk.admit(tier, || unit(0), who.worth),
            Content::Table(table) => table.each_in(first, end, |index, chunk| {
                chunk.admit(tier, || unit(index), who.worth);
            }),
            _ => {}
        }
    }

    /// Admits what the tier does not know, and says of the rest that it is here.
    pub(crate) fn introduce(&mut self, tier: &dyn Tier, who: &Who<'_>, unit: impl Fn(u64) -> Unit) {
        match self {
            Content::Buf(_, Some(slot)) | Content::Foreign(_, Some(slot)) => {
                tier.owned(*slot, unit(0));
            }
            Content::Cold { location, .. } => tier.owned_cold(*location, unit(0)),
            Content::Chunk(chunk) => chunk.tell_owner(tier, || unit(0)),
            Content::Table(table) => table
                .chunks()
                .for_each(|(index, chunk)| chunk.tell_owner(tier, || unit(index))),
            _ => {}
        }
        if self.slot().is_none() || matches!(self, Content::Chunk(_)) {
            self.track(tier, who, (0, u64::MAX), unit);
        }
    }

    /// The slot of one unit.
    pub(crate) fn slot_of(&self, index: u64) -> Option<Slot> {
        match self {
            Content::Table(table) => table.chunk(index)?.slot(),
            other => other.slot(),
        }
    }

    /// Calls `visit` with the slot of every unit that has one.
    pub(crate) fn each_slot(&self, mut visit: impl FnMut(Slot)) {
        match self {
            Content::Table(table) => table
                .chunks()
                .filter_map(|(_, chunk)| chunk.slot())
                .for_each(visit),
            other => {
                if let Some(slot) = other.slot() {
                    visit(slot);
                }
            }
        }
    }

    /// See [`crate::memory::tier::Residents::stage`].
    pub(crate) fn stage(&self, slot: Slot, index: u64, who: &Who<'_>, to: &mut [u8]) -> Staged {
        let staged = match self {
            Content::Buf(..) | Content::Foreign(..) if self.slot() != Some(slot) || index > 0 => {
                Staged::Gone
            }
            Content::Buf(buf, _) => copy_out(buf, who, to),
            Content::Foreign(foreign, _) => copy_out(foreign, who, to),
            Content::Chunk(chunk) if index == 0 => chunk.stage(slot, to),
            Content::Table(table) => match table.chunk(index) {
                Some(chunk) => chunk.stage(slot, to),
                None => Staged::Gone,
            },
            _ => Staged::Gone,
        };
        match (self, staged) {
            (Content::Chunk(chunk), Staged::Dirty { len, .. }) if is_whole_file(chunk) => {
                let identity = who.identity;
                Staged::Dirty { identity, len }
            }
            (_, staged) => staged,
        }
    }

    /// See [`crate::memory::tier::Residents::commit_cold`]; without an identity and location
    /// [`crate::memory::tier::Residents::evict_clean`].
    pub(crate) fn evict(
        &mut self,
        slot: Slot,
        index: u64,
        who: &Who<'_>,
        staged: Option<(Identity, Location)>,
    ) -> Option<Freed> {
        match (&mut *self, staged) {
            (Content::Table(table), _) => {
                let chunk = table.chunk(index)?;
                chunk.evict(slot, staged).map(Freed::Unit)
            }
            (_, Some((identity, location))) if identity == who.identity && index == 0 => {
                self.evict_whole(slot, who, location)
            }
            (Content::Chunk(chunk), _) if index == 0 => chunk.evict(slot, staged).map(Freed::Unit),
            _ => None,
        }
    }

    fn evict_whole(&mut self, slot: Slot, who: &Who<'_>, location: Location) -> Option<Freed> {
        if self.slot() != Some(slot) {
            return None;
        }
        if let Content::Chunk(chunk) = self {
            let chunk = Arc::get_mut(chunk)?;
            if !chunk.is_dense() || chunk.is_kept_cold() {
                return None;
            }
            // From here on the inode pays for the quota itself.
            chunk.charge_mut().take_quota();
        }
        let resident = self.charge().1;
        let cold = Content::Cold {
            len: cold_len_bytes(self.len() as u32),
            version: who.identity.version as u32,
            location,
        };
        let memory = match std::mem::replace(self, cold) {
            Content::Buf(buf, _) => Memory::Buf(buf),
            Content::Foreign(foreign, _) => Memory::Owned(Owner::Foreign(foreign)),
            Content::Chunk(chunk) => return Some(Freed::Chunk(chunk)),
            _ => Memory::Cold,
        };
        Some(Freed::Unit(Evicted {
            memory,
            charged: resident,
            account: who.account.clone(),
            slot: Some(slot),
        }))
    }

    /// The cold bytes of a unit that is cold. The version of `who` does not matter.
    pub(crate) fn cold(&self, index: u64, who: Identity) -> Option<Cold> {
        match self {
            Content::Cold {
                version, location, ..
            } if index == 0 => Some(Cold {
                identity: Identity {
                    version: u64::from(*version),
                    ..who
                },
                location: *location,
                len: self.len() as u32,
            }),
            Content::Chunk(chunk) if index == 0 => chunk.cold(),
            Content::Table(table) => table.chunk(index)?.cold(),
            _ => None,
        }
    }

    /// See [`crate::memory::tier::Residents::install`]. Says where it lay if it was a small file; gives
    /// back what it did not take.
    pub(crate) fn install_cold(
        &mut self,
        index: u64,
        identity: Identity,
        who: &Who<'_>,
        bytes: Filled,
    ) -> Result<Option<Location>, Filled> {
        let wanted = self.cold(index, who.identity);
        if wanted.is_none_or(|cold| cold.identity != identity) {
            return Err(bytes);
        }
        match self {
            Content::Chunk(chunk) => chunk.install(identity, bytes)?,
            Content::Table(table) => match table.chunk(index) {
                Some(chunk) => chunk.install(identity, bytes)?,
                None => return Err(bytes),
            },
            _ => {
                let Content::Cold { location, .. } = *self else {
                    return Err(bytes);
                };
                let len = self.len() as usize;
                if bytes.len < len {
                    return Err(bytes);
                }
                let Filled {
                    memory, mut charge, ..
                } = bytes;
                *self = match memory {
                    Memory::Buf(mut buf) if len <= BUF_MAX => {
                        buf.set_len(len);
                        charge.take_resident();
                        Content::Buf(buf, None)
                    }
                    memory => {
                        // The quota goes over to the chunk.
                        charge.add_reserved_quota(len as u64);
                        Content::Chunk(Arc::new(Chunk::dense(memory, len, charge)))
                    }
                };
                return Ok(Some(location));
            }
        }
        Ok(None)
    }

    /// See [`crate::memory::tier::Residents::forget_copy`].
    pub(crate) fn forget_copy(&self, slot: Slot, index: u64) -> bool {
        match self {
            Content::Chunk(chunk) if index == 0 => chunk.forget_copy(slot),
            Content::Table(table) => table
                .chunk(index)
                .is_some_and(|chunk| chunk.forget_copy(slot)),
            _ => false,
        }
    }

    /// See [`crate::memory::tier::Residents::swing`]. The inode's lock is held for writing.
    pub(crate) fn swing(&mut self, index: u64, to: &mut dyn FnMut(Location) -> Option<Location>) {
        match self {
            Content::Cold { location, .. } if index == 0 => {
                if let Some(new) = to(*location) {
                    *location = new;
                }
            }
            Content::Chunk(chunk) if index == 0 => chunk.swing(to),
            Content::Table(table) => {
                if let Some(chunk) = table.chunk(index) {
                    chunk.swing(to);
                }
            }
            _ => {}
        }
    }

    /// See [`crate::memory::tier::Residents::relocate`].
    pub(crate) fn relocate(&mut self, index: u64, old: Location, new: Location) -> bool {
        match self {
            Content::Cold { location, .. } if index == 0 && *location == old => {
                *location = new;
                true
            }
            Content::Chunk(chunk) if index == 0 => chunk.relocate(old, new),
            Content::Table(table) => match table.chunk(index) {
                Some(chunk) => chunk.relocate(old, new),
                None => false,
            },
            _ => false,
        }
    }
}

#[cold]
fn touch_slowly(account: &Account, slot: Slot) {
    if let Some(tier) = account.budget.tier() {
        tier.touch(slot);
    }
}

/// Whether a chunk that is a file's content is to go as a small file does.
pub(super) fn is_whole_file(chunk: &Arc<Chunk>) -> bool {
    Arc::strong_count(chunk) == 1 && chunk.is_dense()
}

fn copy_out(from: &[u8], who: &Who<'_>, to: &mut [u8]) -> Staged {
    match to.get_mut(..from.len()) {
        Some(to) => {
            to.copy_from_slice(from);
            let (identity, len) = (who.identity, from.len());
            Staged::Dirty { identity, len }
        }
        None => Staged::Busy,
    }
}

/// So often room is made for one operation, for others to take it, before it is given up.
const TURNS: usize = 256;

/// Runs what needs memory until it has it, as long as the tier can make room.
#[inline]
pub(crate) fn with_reclaim<R>(
    account: &Account,
    may_wait: bool,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    match attempt() {
        Err(fault) => with_reclaim_slowly(account, may_wait, fault, attempt),
        done => done,
    }
}

#[cold]
fn with_reclaim_slowly<R>(
    account: &Account,
    may_wait: bool,
    mut fault: Fault,
    mut attempt: impl FnMut() -> Result<R, Fault>,
) -> Result<R, Fault> {
    let mut wish = Wish::default();
    for turn in 0..TURNS {
        if turn > 0 {
            thread::yield_now();
        }
        wish.reclaim(account, may_wait, fault, |tier, bytes| tier.reclaim(bytes))?;
        fault = match attempt() {
            Err(fault) => fault,
            done => return done,
        };
    }
    Err(fault)
}

/// What a tier is asked for by a call that is tried again and again, in bytes. A call that takes memory in pieces gives
/// back what it has when it meets the end: so where there is room for the piece, it is asked for more.
#[derive(Debug, Default)]
pub(crate) struct Wish(u64);

impl Wish {
    /// Makes room if that is what was missing and a tier can; else gives the fault back.
    #[cold]
    pub(crate) fn reclaim(
        &mut self,
        account: &Account,
        may_wait: bool,
        fault: Fault,
        how: fn(&dyn Tier, u64) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let budget = &account.budget;
        let (Some(bytes), Some(tier)) = (fault.short_of_memory(), budget.tier()) else {
            return Err(fault);
        };
        if !may_wait {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Wish(wish) = self;
        *wish = bytes.max(*wish);
        if budget.spare() >= *wish {
            *wish = wish.saturating_mul(2).min(budget.usable());
        }
        long_wait(|| how(tier, *wish)).map_err(|refused| match refused.short_of_memory() {
            Some(_) => fault,
            None => refused,
        })
    }
}

pub(super) fn cold_len(len: [u8; 3]) -> u32 {
    u32::from_le_bytes([len[0], len[1], len[2], 0])
}

pub(super) fn cold_len_bytes(len: u32) -> [u8; 3] {
    let [first, second, third, _] = len.to_le_bytes();
    [first, second, third]
}
