//! What a commit wants of a chunk: which copy of it is good, or how its bytes differ from one that was.
//!
//! Takes the chunk's lock, under the inode's for writing.

use crate::base::error::Fault;
use crate::base::pages::Pages;
use crate::base::sync::Arc;
use crate::base::sync::atomic::Ordering;
use crate::memory::account::{Account, Charge};
use crate::memory::chunk::{Chunk, Memory, block_mask, charge_of};
use crate::memory::residence::{Hold, NEXT_SERIAL, Stored, Tracked};
use crate::memory::tier::{Identity, Location, Slot};

/// How the bytes differ from a copy that was good once, for a commit that need not write all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delta {
    /// That copy; nothing if the chunk is more than that with some blocks changed.
    pub(super) base: Option<Location>,
    /// The chunk's version when it was good.
    pub(super) version: u64,
    /// The copy had nothing that the chunk had not: no holes, no more behind its end.
    pub(super) is_pure: bool,
    /// What was changed since the last commit.
    pub(super) dirty: Pages,
    /// Pages that commits have written since, beside the copy: which, and how many one after the other.
    pub(super) written: Pages,
    pub(super) patches: u32,
}

/// Whether a chunk knows a copy now.
pub(crate) enum Kept {
    /// It does, and has this slot.
    Yes(Option<Slot>),
    No,
}

/// What there is to know of a chunk whose bytes are in a cold tier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColdForm {
    pub(crate) identity: Identity,
    pub(crate) location: Location,
    /// Bytes of the copy.
    pub(crate) len: usize,
    /// Bytes of it that are content, up to the end of the last block that holds data.
    pub(crate) data_end: usize,
    /// The blocks that hold data.
    pub(crate) blocks: u64,
}

/// A good copy of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) location: Location,
    /// The unit is neither shorter now nor has holes where it had none.
    pub(crate) is_exact: bool,
}

/// What a chunk is more than a copy that was good once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patch {
    pub(crate) base: Location,
    /// Those that were changed since the last commit.
    pub(crate) pages: Pages,
    /// So many pages the commits before have written.
    pub(crate) before: u32,
    /// All that are other ones than in the copy.
    pub(crate) all: Pages,
    /// The name of the copy, if it has nothing that the chunk had not when it was good.
    pub(crate) pure: Option<Identity>,
}

impl Chunk {
    /// What a commit needs to know of the chunk, which is number `index` of its file. The inode's lock is
    /// held for writing.
    pub(super) fn look_written<R>(
        &self,
        index: u64,
        look: impl FnOnce(&Hold, Identity, Option<Copied>, Option<Patch>) -> R,
    ) -> R {
        let mut hold = self.body.write();
        let tracked = hold.tracked.get_or_insert_with(|| Tracked::new(index));
        let delta = tracked.delta;
        let patch = delta.base.map(|base| {
            let mut all = delta.written;
            all.add(delta.dirty);
            Patch {
                base,
                pages: delta.dirty,
                before: delta.patches,
                all,
                pure: delta.is_pure.then(|| tracked.identity(delta.version)),
            }
        });
        let version = tracked
            .stored
            .map_or(tracked.version, |stored| stored.version);
        let copy = tracked.stored.map(|stored| Copied {
            location: stored.location,
            is_exact: stored.version == tracked.version,
        });
        let identity = tracked.identity(version);
        look(&hold, identity, copy, patch)
    }

    /// Whether a good copy of it is known.
    pub(super) fn knows_copy(&self) -> bool {
        let hold = self.body.lock();
        let tracked = hold.tracked.as_ref();
        tracked.is_some_and(|tracked| tracked.stored.is_some())
    }

    /// Whether all of the chunk counts for this commit already; from now on it does. The inode's lock is held for
    /// writing.
    pub(super) fn counts_for(&self, commit: u32) -> bool {
        match &mut self.body.write().tracked {
            Some(tracked) => std::mem::replace(&mut tracked.counted, commit) == commit,
            None => false,
        }
    }

    /// A commit has in hand what changed of the chunk since the last one. The inode's lock is held for writing.
    pub(crate) fn take_patch(&self) {
        if let Some(tracked) = &mut self.body.write().tracked {
            tracked.delta.patches += tracked.delta.dirty.count();
            tracked.delta.written.add(tracked.delta.dirty);
            tracked.delta.dirty = Pages::default();
        }
    }

    /// The copy that patches lie over lies elsewhere. The inode's lock is held for writing.
    pub(super) fn swing_base(&self, to: &dyn Fn(Location) -> Option<Location>) {
        if let Some(tracked) = &mut self.body.write().tracked
            && let Some(base) = &mut tracked.delta.base
            && let Some(new) = to(*base)
        {
            *base = new;
        }
    }

    /// The next commit writes all of the chunk. The inode's lock is held for writing.
    pub(crate) fn forget_patches(&self) {
        if let Some(tracked) = &mut self.body.write().tracked {
            tracked.delta.base = None;
        }
    }

    /// The chunk knows a copy of its bytes from now on, if they are the ones with that name. The inode's
    /// lock is held for writing.
    pub(crate) fn keep_written(&self, identity: Identity, cold: Location, len: usize) -> Kept {
        let mut hold = self.body.write();
        let is_cold = hold.is_cold();
        match &mut hold.tracked {
            Some(tracked)
                if !is_cold
                    && tracked.stored.is_none()
                    && tracked.identity(tracked.version) == identity =>
            {
                tracked.stored = Some(Stored {
                    location: cold,
                    version: tracked.version,
                    len: len as u32,
                    is_pure: self.is_dense(),
                });
                Kept::Yes(tracked.slot)
            }
            _ => Kept::No,
        }
    }

    /// A name for the bytes of a chunk that has none yet.
    pub(crate) fn fresh_identity(index: u64) -> Identity {
        Identity {
            owner: Identity::CHUNK_OWNER | NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            // A name only: what tells chunks apart is the serial number.
            index: index as u32,
            version: 1,
        }
    }

    /// A chunk that is cold from the start. Takes its quota.
    pub(crate) fn cold_from(form: ColdForm, account: &Arc<Account>) -> Result<Self, Fault> {
        let mut charge = Charge::reserve(account, 0, 0)?;
        charge.grow_quota(charge_of(form.blocks, form.data_end), &mut 0)?;
        // A copy of more than there is now says nothing of what it had when it was written.
        let is_pure = form.data_end == form.len && form.blocks == block_mask(0, form.len);
        Ok(Self::cold_charged(form, charge, is_pure))
    }

    /// As [`Chunk::cold_from`], of a file of `len` bytes without holes that was no chunk until now. The quota is taken already.
    pub(super) fn cold_file(
        identity: Identity,
        location: Location,
        len: usize,
        account: &Arc<Account>,
    ) -> Self {
        let form = ColdForm {
            identity,
            location,
            len,
            data_end: len,
            blocks: block_mask(0, len),
        };
        let charge = Charge::from_reserved(account, len as u64, 0);
        // The file may have been cut since the copy was written.
        Self::cold_charged(form, charge, false)
    }

    fn cold_charged(form: ColdForm, charge: Charge, is_pure: bool) -> Self {
        let ColdForm {
            identity,
            location,
            len,
            data_end,
            blocks,
        } = form;
        if identity.is_chunk() {
            let serial = identity.owner & !Identity::CHUNK_OWNER;
            NEXT_SERIAL.fetch_max(serial.saturating_add(1), Ordering::Relaxed);
        }
        let mut chunk = Chunk::build(Memory::Cold, data_end, blocks, charge);
        chunk.body.get_mut().tracked = Some(Box::new(Tracked {
            owner: identity.owner,
            index: identity.index,
            version: identity.version,
            slot: None,
            stored: Some(Stored {
                location,
                version: identity.version,
                len: len as u32,
                is_pure,
            }),
            delta: Delta::default(),
            counted: 0,
        }));
        chunk
    }

    /// The blocks that hold data, the first in the lowest bit; 0 if all do.
    pub(super) fn holes(&self) -> u64 {
        if self.is_dense() { 0 } else { self.blocks }
    }

    /// The opposite of [`Chunk::holes`] for a chunk with `len` bytes of data; nothing if there is no such chunk.
    pub(crate) fn blocks_of(holes: u64, len: usize) -> Option<u64> {
        let all = block_mask(0, len);
        match holes {
            0 => Some(all),
            some => {
                (some & !all == 0 && some.leading_zeros() == all.leading_zeros()).then_some(some)
            }
        }
    }

    /// Appends all bytes up to the end of the data; what no block holds is zeros. Nothing if they are cold.
    pub(super) fn append_to(&self, hold: &Hold, to: &mut Vec<u8>) -> bool {
        let Some(bytes) = hold.memory.bytes() else {
            return false;
        };
        for extent in self.extents(0, self.data_end()) {
            match extent.data {
                true => to.extend_from_slice(&bytes[extent.start..extent.end]),
                false => to.resize(to.len() + extent.end - extent.start, 0),
            }
        }
        true
    }

    /// A part of the bytes, all of it data, as far as that reaches. Nothing if they are cold.
    pub(super) fn part<'a>(&self, hold: &'a Hold, (start, end): (usize, usize)) -> &'a [u8] {
        let end = end.min(self.data_end());
        let bytes = hold.memory.bytes().unwrap_or_default();
        bytes.get(start..end).unwrap_or_default()
    }
}
