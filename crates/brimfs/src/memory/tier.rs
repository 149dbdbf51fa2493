//! What a cold tier plugs into: the hooks that it offers and the functions that it may call.
//!
//! Owns no bytes and takes no lock. `memory` cannot see whoever moves content to a disk and
//! back, so both directions are traits: [`Tier`] is installed in a budget and called from here,
//! [`Residents`] is implemented by inodes and called by the tier.
//!
//! A *unit* is what goes and comes as a whole: all of a small file, or one chunk. Its *slot* is
//! the tier's number for it while it is resident; its *location* is where its bytes lie while
//! they are cold. Neither means anything here.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU32;

use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak};
use crate::memory::account::{Account, Charge};
use crate::memory::chunk::Memory;

/// The tier's number for a resident unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(NonZeroU32);

impl Slot {
    /// Any number but zero.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Slot)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

/// Where a cold unit lies. Only the tier knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location(pub [u64; 2]);

/// Names the bytes of a unit as they were when they were staged: no two different contents ever
/// have the same one.
///
/// A small file is `(inode number, number of the filesystem, generation)`. A chunk is
/// `(CHUNK_OWNER | serial number, place in its first file, version)`, because copies share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// See above.
    pub owner: u64,
    /// See above.
    pub index: u32,
    /// Changes with the bytes.
    pub version: u64,
}

impl Identity {
    /// Set in the owner of a chunk; inode numbers stay below it.
    pub const CHUNK_OWNER: u64 = 1 << 63;

    /// Whether this names a chunk and not a small file.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        self.owner & Self::CHUNK_OWNER != 0
    }
}

/// What its file says for a unit that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    /// 0 to 10.
    pub priority: u8,
    /// Accesses that an earlier life of the filesystem remembered of the file.
    pub accesses: u8,
}

/// How to get at a unit: 24 bytes to keep.
#[derive(Clone)]
pub struct Unit {
    /// The file that it belongs to.
    pub holder: Weak<dyn Residents>,
    /// The number of the chunk; 0 for a small file.
    pub index: u64,
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unit({})", self.index)
    }
}

/// The bytes of a cold unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cold {
    /// Whose bytes they are.
    pub identity: Identity,
    /// Where they lie.
    pub location: Location,
    /// How many were staged.
    pub len: u32,
}

/// A part of a cold unit that somebody wants to read.
#[derive(Debug)]
pub struct ColdPart<'a> {
    /// The number of the unit.
    pub index: u64,
    /// The unit's cold bytes.
    pub cold: Cold,
    /// Where in them the part begins.
    pub offset: usize,
    /// Where the part is wanted, which says how long it is. Unspecified unless it was read.
    pub to: &'a mut [u8],
    /// Whether it was read. Nothing if the bytes lie elsewhere by now; an error counts only if they
    /// do not, which is for the reader to look at.
    pub result: Option<Result<(), Fault>>,
}

impl<'a> ColdPart<'a> {
    /// A part that was not read yet.
    pub fn new(index: u64, cold: Cold, offset: usize, to: &'a mut [u8]) -> Self {
        ColdPart {
            index,
            cold,
            offset,
            to,
            result: None,
        }
    }
}

/// What [`Residents::stage`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    /// The first `len` bytes of the buffer are the unit's.
    Dirty {
        /// To be handed to [`Residents::commit_cold`].
        identity: Identity,
        /// Number of bytes.
        len: usize,
    },
    /// A cold copy is known already: [`Residents::evict_clean`] costs no I/O.
    Clean,
    /// A view shows it.
    Pinned,
    /// Somebody works on it just now, or the buffer is too small for it.
    Busy,
    /// It is not behind this holder (any more): removed, overwritten, or left to a copy.
    Gone,
}

/// What [`Residents::install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// Nothing: the unit is no longer cold, or other bytes are. The location is whose it was.
    Stale,
    /// A small file is resident, tracked if it has a slot. The tier has its location again: see
    /// [`Tier::keep`].
    Small(Option<Slot>),
    /// A chunk is resident and remembers its location until it changes.
    Chunk(Option<Slot>),
}

impl Installed {
    /// Of a unit that is resident now and tracked.
    pub(crate) fn slot(self) -> Option<Slot> {
        match self {
            Installed::Stale => None,
            Installed::Small(slot) | Installed::Chunk(slot) => slot,
        }
    }
}

/// A cold tier, as the layers above a disk see it.
///
/// Up to [`Tier::owned_cold`] they are called with locks of inodes and chunks held: an implementation may
/// take only locks under which nothing else is locked and no [`Residents`] is called. The others
/// are called without any lock but file locks, and may wait.
pub trait Tier: Any + Send + Sync + fmt::Debug {
    /// Whether units are to be tracked from the start. Asked once, when the tier is installed.
    fn is_active(&self) -> bool;

    /// Memory begins to fill: the tier will be needed before long. Called once.
    fn prepare(&self) {}

    /// The tier is needed at once: tracks units from now on. Called without any lock but file locks.
    fn wake(&self) {}

    /// Everything may be gone: the tier gives back what it took, if that is so.
    fn rest(&self) {}

    /// Takes a resident unit, and the bytes of memory that it takes, into the policy; `None` leaves it
    /// untracked, and resident.
    fn admit(&self, unit: Unit, identity: Identity, size: u32, worth: Worth) -> Option<Slot>;

    /// The unit is gone, or cold. The slot is free for others from here on.
    fn remove(&self, slot: Slot);

    /// The unit has another size now.
    fn resize(&self, slot: Slot, size: u32);

    /// The unit was read. Lock-free.
    fn touch(&self, slot: Slot);

    /// This names the bytes of the unit now: a copy by another name is stale. Called after every
    /// change, and now and then without one.
    fn changed(&self, slot: Slot, identity: Identity);

    /// A cold copy is no longer needed.
    fn forget(&self, location: Location);

    /// A small file is resident again. Where it lay, perhaps not where its bytes were read from, is the
    /// tier's: to be freed, or to be kept until the slot is removed or [`Tier::changed`] tells of
    /// another name, and used by [`Residents::evict_known`] until then.
    fn keep(&self, _slot: Slot, _identity: Identity, location: Location) {
        self.forget(location);
    }

    /// The file of the unit has another priority now.
    fn prioritize(&self, slot: Slot, priority: u8);

    /// A tracked unit can be reached here (too): its first file may be gone.
    fn owned(&self, slot: Slot, unit: Unit);

    /// A cold unit can be reached here (too).
    fn owned_cold(&self, location: Location, unit: Unit);

    /// One file was given the content of another, chunk for chunk: what is known by one of both can be
    /// reached through the other. Called without any lock but file locks.
    fn copied(&self, _from: &Arc<dyn Residents>, _to: &Arc<dyn Residents>) {}

    /// Makes a unit resident: see [`Residents::cold`] and [`Residents::install`].
    ///
    /// Success is asked for again if the unit went once more before the caller came back.
    fn fault_in(&self, holder: &Arc<dyn Residents>, index: u64) -> Result<(), Fault>;

    /// Reads parts of cold units of one file straight to where they are wanted, in the order of the
    /// file, and sets the result of each.
    fn read_cold(&self, holder: &Arc<dyn Residents>, parts: &mut [ColdPart<'_>]);

    /// Makes room for so many bytes, or says why that is impossible.
    fn reclaim(&self, bytes: u64) -> Result<(), Fault>;

    /// Takes content away until no more than so many bytes are in use, if that is possible.
    ///
    /// # Errors
    /// What the disk says if it takes no more.
    fn shrink(&self, _used: u64) -> Result<(), Fault> {
        Ok(())
    }

    /// The memory limit is another now.
    fn limit_changed(&self) {}
    /// As [`Tier::reclaim`], for a caller that can do without: says no as soon as nothing goes.
    fn try_reclaim(&self, bytes: u64) -> Result<(), Fault> {
        self.reclaim(bytes)
    }

    /// A thread is about to borrow the memory that the budget keeps back: as far as possible it has to be free.
    ///
    /// An error of the disk here is one of content that was accepted before and could not go.
    fn lend(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// That thread is done: the units that it had admitted go now, before any others.
    fn collect(&self) {}

    /// Runs something while the tier takes nothing away and is charged nothing else.
    fn while_still(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// What the tier's own buffers and tables are charged to the budget, in bytes.
    fn charged(&self) -> u64 {
        0
    }

    /// What the tier has and did.
    fn stats(&self) -> TierStats {
        TierStats::default()
    }
}

/// What the tier has and did since it was made. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    /// Content of which there is a copy on the disk; of what came back and was not changed since, beside
    /// that in memory, as long as the disk has room for both.
    pub cold_bytes: u64,
    /// Those copies, by number: of small files and of chunks of larger ones.
    pub cold_units: u64,
    /// Files that they are of, by number.
    pub cold_files: u64,
    /// Units that left memory, by number.
    pub evictions: u64,
    /// Those among them that had to be written, by number.
    pub swaps_out: u64,
    /// Their bytes.
    pub swapped_out: u64,
    /// Units that came back, by number.
    pub swaps_in: u64,
    /// Their bytes.
    pub swapped_in: u64,
    /// Those among them that [`FileSystem::preload`](crate::FileSystem::preload) brought in, by number.
    pub preloads: u64,
    /// Their bytes.
    pub preloaded: u64,
    /// Those among them that came back before anybody asked for them, by number.
    pub reads_ahead: u64,
    /// Parts of cold units that were read without coming back, by number.
    pub reads_through: u64,
    /// Their bytes.
    pub read_through: u64,
    /// Calls that had to wait for memory, by number.
    pub stalls: u64,
    /// How long they waited altogether, in nanoseconds.
    pub stalled: u64,
    /// How long the longest waited, in nanoseconds.
    pub longest_stall: u64,
    /// The disk, once it was needed.
    pub disk: Option<DiskUse>,
}

/// What a tier takes on its disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Reserved, whatever lies in it.
    pub bytes: u64,
    /// The limit of that.
    pub limit: u64,
    /// In use by copies of content, with headers and seals.
    pub live: u64,
    /// Given up and not yet used again.
    pub dead: u64,
    /// Written since the tier was made.
    pub written: u64,
    /// Read since the tier was made.
    pub read: u64,
}

/// A file, as a tier sees it. Every function returns promptly: where somebody holds a lock that
/// he may hold for long, it says no.
pub trait Residents: Any + Send + Sync {
    /// Copies the bytes of the unit with this slot out.
    fn stage(&self, slot: Slot, index: u64, to: &mut [u8]) -> Staged;

    /// Makes the unit cold, if its bytes are those that were staged. The location is the file's
    /// then, and the slot is removed.
    fn commit_cold(
        self: Arc<Self>,
        slot: Slot,
        index: u64,
        identity: Identity,
        location: Location,
    ) -> bool;

    /// Makes a unit cold that knows its cold copy.
    fn evict_clean(self: Arc<Self>, slot: Slot, index: u64) -> bool;

    /// Makes a small file cold whose copy the tier kept, if the bytes are still those of that version. The
    /// location is the file's then, and the slot is removed.
    fn evict_known(self: Arc<Self>, slot: Slot, version: u32, location: Location) -> bool;

    /// Has a unit that is resident give its cold copy up, if it knows one.
    fn forget_copy(&self, slot: Slot, index: u64) -> bool;

    /// The unit's cold bytes, if it is cold.
    fn cold(&self, index: u64) -> Option<Cold>;

    /// The first unit from number `from` on that is cold, and its cold bytes.
    fn next_cold(&self, from: u64) -> Option<(u64, Cold)>;

    /// Memory for a unit of `len` bytes, charged; `MemoryLimit` if there is none.
    fn room(&self, len: usize) -> Result<Filled, Fault>;

    /// Puts bytes back that were read from a location.
    fn install(self: Arc<Self>, index: u64, identity: Identity, bytes: Filled) -> Installed;

    /// The cold copy lies elsewhere from now on.
    fn relocate(&self, index: u64, old: Location, new: Location) -> bool;

    /// Asks for a unit that has a cold copy, resident or not, whether that lies elsewhere from now on, and where.
    fn swing(&self, _index: u64, _to: &mut dyn FnMut(Location) -> Option<Location>) {}

    /// Admits all units of the file, or of all files below a directory, that the tier does not
    /// know, and says of all others that they are here.
    fn admit_existing(self: Arc<Self>);
}

/// Charged memory that is to become a unit's.
pub struct Filled {
    pub(crate) memory: Memory,
    pub(crate) len: usize,
    pub(crate) charge: Charge,
}

impl Filled {
    pub(crate) fn new(account: &Arc<Account>, len: usize) -> Result<Self, Fault> {
        let charge = Charge::reserve(account, 0, Memory::cost(len) as u64)?;
        Ok(Filled {
            memory: Memory::alloc(len)?,
            len,
            charge,
        })
    }

    /// Where to put the bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        match self.memory.writable() {
            Some(bytes) => &mut bytes[..len],
            None => &mut [],
        }
    }
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filled({} bytes)", self.len)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_per_unit_stays_small() {
        assert_eq!(size_of::<Unit>(), 24);
        assert_eq!(size_of::<Option<Slot>>(), 4);
        assert_eq!(size_of::<Location>(), 16);
    }
}
