//! What is known of a chunk that a tier knows: its name, its slot, its copy.

use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::memory::account::Account;
use crate::memory::delta::Delta;
use crate::memory::tier::{Cold, Identity, Location, Slot};

/// What a tier needs to know about a chunk.
pub(crate) struct Tracked {
    /// The owner that its copies are named by: a serial number of chunks, or a file's whose only unit it was when it was
    /// copied.
    pub(in crate::memory) owner: u64,
    pub(in crate::memory) index: u32,
    /// Grows with every change of the bytes.
    pub(in crate::memory) version: u64,
    pub(in crate::memory) slot: Option<Slot>,
    /// A cold copy: all the chunk has while it is cold, and what makes it clean while it is not.
    pub(in crate::memory) stored: Option<Stored>,
    pub(in crate::memory) delta: Delta,
    /// The commit to come for which all of the chunk counts; 0 for none.
    pub(in crate::memory) counted: u32,
}

/// A cold copy. What lies in blocks without data, or beyond `data_end`, is none of the content.
#[derive(Clone, Copy)]
pub(in crate::memory) struct Stored {
    pub(in crate::memory) location: Location,
    pub(in crate::memory) version: u64,
    pub(in crate::memory) len: u32,
    /// It has nothing that the chunk had not in that version.
    pub(in crate::memory) is_pure: bool,
}

/// The serial number of the next chunk that a tier gets to know.
pub(in crate::memory) static NEXT_SERIAL: AtomicU64 = AtomicU64::new(1);

impl Tracked {
    pub(in crate::memory) fn new(index: u64) -> Box<Self> {
        Box::new(Tracked {
            owner: Identity::CHUNK_OWNER | NEXT_SERIAL.fetch_add(1, Ordering::Relaxed),
            index: index as u32,
            version: 0,
            slot: None,
            stored: None,
            delta: Delta::default(),
            counted: 0,
        })
    }

    pub(in crate::memory) fn identity(&self, version: u64) -> Identity {
        Identity {
            owner: self.owner,
            index: self.index,
            version,
        }
    }

    /// Without a copy that has the name of a file, the chunk has one of its own.
    pub(super) fn have_own_name(&mut self) {
        if self.stored.is_none() && self.owner & Identity::CHUNK_OWNER == 0 {
            self.owner = Identity::CHUNK_OWNER | NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn cold(&self) -> Option<Cold> {
        let stored = self.stored?;
        Some(Cold {
            identity: self.identity(stored.version),
            location: stored.location,
            len: stored.len,
        })
    }

    /// Tells the tier that the chunk is no more.
    pub(in crate::memory) fn leave(&mut self, account: &Account) {
        if let Some(tier) = account.budget.tier() {
            if let Some(slot) = self.slot.take() {
                tier.remove(slot);
            }
            if let Some(stored) = self.stored.take() {
                tier.forget(stored.location);
            }
        }
    }
}
