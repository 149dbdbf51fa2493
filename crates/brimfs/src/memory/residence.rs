//! Where the bytes of a chunk are: in memory, in a cold tier, or in both.
//!
//! A chunk that goes cold keeps its identity and everything but its bytes, so that whoever shares
//! it goes on sharing it. Who may look at the bytes:
//!
//! | who | how |
//! |---|---|
//! | the only owner of a chunk, for writing | `get_mut`, no lock |
//! | a reader whose file is the only way to the chunk | no lock: evicting needs the inode's lock for writing |
//! | any other reader | the chunk's lock, shared, while it copies |
//! | a view | a pin: nothing is evicted while one is there |
//! | whoever evicts | the inode's lock for writing **and** the chunk's, tried |
//!
//! Owns the chunk's lock and the pins. Never waits and never touches a disk.

mod tracked;

use std::fmt;
use std::ops::Deref;

use crate::base::pages::Pages;
use crate::base::sync::atomic::{Ordering, fence};
use crate::base::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::memory::account::Account;
use crate::memory::chunk::{Adopted, Chunk, Memory};
use crate::memory::delta::Delta;
use crate::memory::run::Run;
use crate::memory::survey::Place;
use crate::memory::tier::{Cold, Filled, Identity, Location, Slot, Staged, Tier, Unit, Worth};

pub(super) use tracked::{NEXT_SERIAL, Stored, Tracked};

/// Content of at most this many bytes is never evicted: knowing where it is costs as much.
pub(crate) const NEVER_MAX: usize = 128;

/// What of a chunk changes when it goes and comes.
pub(crate) struct Hold {
    pub(super) memory: Memory,
    /// Resident bytes that the memory is charged with; a slice is charged as a whole elsewhere.
    pub(super) charged: u64,
    /// Only of chunks that a tier knows.
    pub(super) tracked: Option<Box<Tracked>>,
}

impl Hold {
    pub(super) fn new(memory: Memory, charged: u64) -> Self {
        Hold {
            memory,
            charged,
            tracked: None,
        }
    }

    pub(crate) fn is_cold(&self) -> bool {
        matches!(self.memory, Memory::Cold)
    }

    fn is_clean(&self) -> bool {
        self.tracked
            .as_ref()
            .is_some_and(|tracked| tracked.stored.is_some())
    }

    /// The adopted buffer that the chunk is a slice of, and where in it.
    pub(crate) fn slice_of(&self) -> Option<(&Arc<Adopted>, usize)> {
        match &self.memory {
            Memory::Slice(adopted, start, _) => Some((adopted, *start)),
            _ => None,
        }
    }

    /// The cold bytes of a chunk that is cold.
    pub(crate) fn cold(&self) -> Option<Cold> {
        let tracked = self.tracked.as_ref().filter(|_| self.is_cold())?;
        tracked.cold()
    }

    /// To be called whenever bytes in memory are about to change, from the first to the second place.
    #[inline]
    pub(super) fn changed(&mut self, account: &Account, (start, end): (usize, usize)) {
        debug_assert!(!self.is_cold(), "the only copy would be forgotten");
        if let Some(tracked) = &mut self.tracked {
            let version = tracked.version;
            tracked.version += 1;
            if let Some(tier) = account.budget.tier() {
                if let Some(stored) = tracked.stored.take() {
                    tier.forget(stored.location);
                    // A copy of more than there is now is no base.
                    tracked.delta = Delta {
                        base: (stored.version == version).then_some(stored.location),
                        version,
                        is_pure: stored.is_pure,
                        ..Delta::default()
                    };
                }
                tracked.have_own_name();
                if tracked.delta.base.is_some() {
                    tracked.delta.dirty.add(Pages::touched(start, end));
                }
                if let Some(slot) = tracked.slot {
                    tier.changed(slot, tracked.identity(tracked.version));
                }
            }
        }
    }

    /// To be called when content was cut off or made a hole: a cold copy that the chunk knows stays
    /// good for the rest.
    #[inline]
    pub(super) fn narrowed(&mut self, account: &Account) {
        if let Some(tracked) = &mut self.tracked {
            tracked.version += 1;
            tracked.have_own_name();
            tracked.delta.base = None;
            self.end_kept_copy(account);
        }
    }

    /// A copy that the tier kept is that of a whole file, and this is none or not the same.
    fn end_kept_copy(&self, account: &Account) {
        if let Some(tracked) = &self.tracked
            && tracked.stored.is_none()
            && let Some(slot) = tracked.slot
            && let Some(tier) = account.budget.tier()
        {
            tier.changed(slot, tracked.identity(tracked.version));
        }
    }

    #[cold]
    fn touch(&self, account: &Account) {
        if let Some(tracked) = &self.tracked
            && let Some(slot) = tracked.slot
            && let Some(tier) = account.budget.tier()
        {
            tier.touch(slot);
        }
    }
}

/// A lock around what may go, which a reader need not take who knows that nothing can.
pub(crate) struct Guarded(RwLock<Hold>);

/// A look at a chunk's hold.
pub(crate) enum Seen<'a> {
    #[cfg(not(feature = "shuttle"))]
    Alone(&'a Hold),
    Locked(RwLockReadGuard<'a, Hold>),
}

impl Deref for Seen<'_> {
    type Target = Hold;

    #[inline]
    fn deref(&self) -> &Hold {
        match self {
            #[cfg(not(feature = "shuttle"))]
            Seen::Alone(hold) => hold,
            Seen::Locked(guard) => guard,
        }
    }
}

/// Whether what is looked at has one owner, whose lock the looker holds: then nobody evicts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone(bool);

impl Alone {
    /// Somebody else may have a way to it.
    pub(crate) const NO: Alone = Alone(false);
    /// Nothing is between the content and the chunk.
    pub(crate) const ONLY: Alone = Alone(true);

    /// Looks whether there is one reference only. Whoever asks has borrowed that one from content
    /// that he owns, or from an inode whose lock he holds as long as he looks.
    #[inline]
    pub(crate) fn of<T>(owner: &Arc<T>) -> Alone {
        Alone(Arc::strong_count(owner) == 1)
    }

    #[inline]
    fn and<T>(self, owner: &Arc<T>) -> bool {
        if self.0 && Arc::strong_count(owner) == 1 {
            // What other owners did before they went is seen from here on.
            fence(Ordering::Acquire);
            return true;
        }
        false
    }
}

impl Guarded {
    pub(super) fn new(hold: Hold) -> Self {
        Guarded(RwLock::new(hold))
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut Hold {
        self.0.get_mut()
    }

    pub(super) fn lock(&self) -> RwLockReadGuard<'_, Hold> {
        self.0.read()
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Hold> {
        self.0.write()
    }

    fn try_write(&self) -> Option<RwLockWriteGuard<'_, Hold>> {
        self.0.try_write()
    }

    #[inline]
    fn look(&self, alone: bool) -> Seen<'_> {
        if !alone {
            return Seen::Locked(self.0.read());
        }
        #[cfg(not(feature = "shuttle"))]
        {
            // SAFETY: `Alone` says that the only reference to the chunk is the one that `self` was
            // borrowed through, from content that the caller owns or whose inode's lock he holds.
            // Writing needs `&mut` to that content, or (evicting) that inode's lock for writing.
            Seen::Alone(unsafe { &*self.0.data_ptr() })
        }
        #[cfg(feature = "shuttle")]
        {
            // The schedules look whether that is true.
            let guard = self.0.try_read();
            Seen::Locked(guard.expect("nobody evicts what has one owner under that owner's lock"))
        }
    }
}

/// Keeps what a view shows in memory until it is dropped.
#[derive(Debug)]
pub(crate) enum Pin {
    /// Of a chunk that the owner of the pin keeps alive.
    Chunk(Arc<Chunk>),
    Run(Arc<Run>),
    /// There is no tier.
    Unneeded,
}

impl Drop for Pin {
    fn drop(&mut self) {
        match self {
            Pin::Chunk(chunk) => {
                chunk.pins.fetch_sub(1, Ordering::Release);
            }
            Pin::Run(run) => run.unpin(),
            Pin::Unneeded => {}
        }
    }
}

impl Chunk {
    /// The bytes, for a reader; `outer` says whether what holds the chunk has one owner.
    #[inline]
    pub(crate) fn look(this: &Arc<Chunk>, outer: Alone) -> Seen<'_> {
        let seen = this.body.look(outer.and(this));
        if seen.tracked.is_some() {
            seen.touch(this.account());
        }
        seen
    }

    /// Keeps a resident chunk in memory.
    pub(crate) fn pin(this: &Arc<Chunk>) -> Option<Pin> {
        let hold = this.body.lock();
        if hold.is_cold() {
            return None;
        }
        this.pins.fetch_add(1, Ordering::Relaxed);
        drop(hold);
        Some(Pin::Chunk(this.clone()))
    }

    /// Keeps the whole run that the chunk belongs to in memory.
    pub(crate) fn pin_run(&self) -> Option<Pin> {
        let run = self.run.as_ref()?;
        run.pin().then(|| Pin::Run(run.clone()))
    }

    /// Whether no chunk of its run went so far.
    pub(crate) fn is_whole_run(&self) -> bool {
        self.run.as_ref().is_some_and(|run| !run.is_broken())
    }

    /// The cold bytes of a chunk that is cold.
    pub(crate) fn cold(&self) -> Option<Cold> {
        self.body.lock().cold()
    }

    /// Where the bytes are, and how a tier knows them.
    pub(super) fn place(&self, is_whole: bool) -> Place {
        let hold = self.body.lock();
        let tracked = hold.tracked.as_ref();
        let stored = tracked.and_then(|tracked| tracked.stored);
        let stored = stored.map(|stored| stored.location);
        match (hold.is_cold(), stored) {
            (true, Some(location)) => Place::Cold(location),
            _ => Place::Resident {
                slot: tracked.and_then(|tracked| tracked.slot),
                stored,
                is_whole,
                is_viewed: self.is_pinned() || self.run.as_ref().is_some_and(|run| run.is_pinned()),
            },
        }
    }

    /// As [`Tier::admit`], unless the chunk is too small or known already.
    pub(crate) fn admit(&self, tier: &dyn Tier, unit: impl FnOnce() -> Unit, worth: Worth) {
        if self.data_end() <= NEVER_MAX {
            return;
        }
        let Some(mut hold) = self.body.try_write() else {
            return;
        };
        if hold.is_cold() {
            return;
        }
        // What evicting it frees; for a slice that is not known.
        let size = hold.charged.max(self.data_end() as u64) as u32;
        if let Some(slot) = hold.tracked.as_ref().and_then(|tracked| tracked.slot) {
            tier.resize(slot, size);
            return;
        }
        let unit = unit();
        let tracked = hold.tracked.get_or_insert_with(|| Tracked::new(unit.index));
        tracked.slot = tier.admit(unit, tracked.identity(tracked.version), size, worth);
    }

    /// Says that the chunk can be reached here.
    pub(crate) fn tell_owner(&self, tier: &dyn Tier, unit: impl FnOnce() -> Unit) {
        let hold = self.body.lock();
        let Some(tracked) = &hold.tracked else { return };
        match (tracked.slot, tracked.stored) {
            (Some(slot), _) => tier.owned(slot, unit()),
            (None, Some(stored)) if hold.is_cold() => tier.owned_cold(stored.location, unit()),
            _ => {}
        }
    }

    /// To be called when the chunk is about to be one of a table.
    pub(super) fn becomes_part(&self) {
        self.body.lock().end_kept_copy(self.account());
    }

    pub(crate) fn slot(&self) -> Option<Slot> {
        self.body.lock().tracked.as_ref()?.slot
    }

    /// Whether a cold copy is known under the name of the chunk.
    pub(crate) fn is_kept_cold(&mut self) -> bool {
        let hold = self.body.get_mut();
        hold.is_cold() || hold.is_clean()
    }

    /// Whether a view shows the chunk by itself.
    fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) > 0
    }

    /// See [`crate::memory::tier::Residents::stage`]. The inode's lock is held.
    pub(crate) fn stage(&self, slot: Slot, to: &mut [u8]) -> Staged {
        let hold = self.body.lock();
        let Some(tracked) = hold.tracked.as_ref().filter(|t| t.slot == Some(slot)) else {
            return Staged::Gone;
        };
        if self.is_pinned() || self.run.as_ref().is_some_and(|run| run.is_pinned()) {
            return Staged::Pinned;
        }
        if hold.is_clean() {
            return Staged::Clean;
        }
        let len = self.data_end();
        let (Some(bytes), Some(to)) = (hold.memory.bytes(), to.get_mut(..len)) else {
            return Staged::Busy;
        };
        for extent in self.extents(0, len) {
            let range = extent.start..extent.end;
            match extent.data {
                true => to[range.clone()].copy_from_slice(&bytes[range]),
                false => to[range].fill(0),
            }
        }
        Staged::Dirty {
            identity: tracked.identity(tracked.version),
            len,
        }
    }

    /// Makes the chunk cold if it is as it was staged, or (`None`) if it is clean. Returns the
    /// memory, to be dropped when no lock is held any more. The inode's lock is held for writing.
    pub(crate) fn evict(
        &self,
        slot: Slot,
        staged: Option<(Identity, Location)>,
    ) -> Option<Evicted> {
        let mut hold = self.body.try_write()?;
        let hold = &mut *hold;
        let tracked = hold.tracked.as_mut().filter(|t| t.slot == Some(slot))?;
        let known = match staged {
            None => tracked.stored.is_some(),
            Some((identity, _)) => tracked.identity(tracked.version) == identity,
        };
        let free = !self.is_pinned() && !matches!(hold.memory, Memory::Cold);
        if !known || !free || !self.run.as_ref().is_none_or(|run| run.break_up()) {
            return None;
        }
        let account = self.account();
        if let Some((_, location)) = staged {
            let stored = Stored {
                location,
                version: tracked.version,
                len: self.data_end() as u32,
                is_pure: self.is_dense(),
            };
            if let Some(old) = tracked.stored.replace(stored)
                && let Some(tier) = account.budget.tier()
            {
                tier.forget(old.location);
            }
        }
        tracked.slot = None;
        Some(Evicted {
            memory: std::mem::replace(&mut hold.memory, Memory::Cold),
            charged: std::mem::take(&mut hold.charged),
            account: account.clone(),
            slot: Some(slot),
        })
    }

    /// Takes bytes back that were read from where the chunk lies. Says whether it did; the chunk
    /// is to be admitted then.
    pub(crate) fn install(&self, identity: Identity, bytes: Filled) -> Result<(), Filled> {
        let Some(mut hold) = self.body.try_write() else {
            return Err(bytes);
        };
        let fits = bytes.len >= self.data_end();
        if !fits || hold.cold().is_none_or(|cold| cold.identity != identity) {
            return Err(bytes);
        }
        let Filled {
            memory, mut charge, ..
        } = bytes;
        hold.memory = memory;
        hold.charged = charge.take_resident();
        Ok(())
    }

    /// See [`crate::memory::tier::Residents::forget_copy`]. The inode's lock is held for writing.
    pub(crate) fn forget_copy(&self, slot: Slot) -> bool {
        let Some(mut hold) = self.body.try_write() else {
            return false;
        };
        if hold.is_cold() {
            return false;
        }
        let Some(tracked) = hold.tracked.as_mut().filter(|t| t.slot == Some(slot)) else {
            return false;
        };
        let stored = tracked.stored.take();
        if let Some(stored) = stored
            && let Some(tier) = self.account().budget.tier()
        {
            tier.forget(stored.location);
            tracked.have_own_name();
            tier.changed(slot, tracked.identity(tracked.version));
        }
        stored.is_some()
    }

    /// See [`crate::memory::tier::Residents::swing`].
    pub(crate) fn swing(&self, to: &mut dyn FnMut(Location) -> Option<Location>) {
        let mut hold = self.body.write();
        let stored = hold.tracked.as_mut().and_then(|t| t.stored.as_mut());
        if let Some(stored) = stored
            && let Some(new) = to(stored.location)
        {
            stored.location = new;
        }
    }

    pub(crate) fn relocate(&self, old: Location, new: Location) -> bool {
        let Some(mut hold) = self.body.try_write() else {
            return false;
        };
        let stored = hold.tracked.as_mut().and_then(|t| t.stored.as_mut());
        match stored {
            Some(stored) if stored.location == old => {
                stored.location = new;
                true
            }
            _ => false,
        }
    }
}

/// Memory that a unit gave up. Dropping it frees it, then its charge, then the slot.
pub(crate) struct Evicted {
    pub(super) memory: Memory,
    pub(super) charged: u64,
    pub(super) account: Arc<Account>,
    pub(super) slot: Option<Slot>,
}

impl Drop for Evicted {
    fn drop(&mut self) {
        drop(std::mem::replace(&mut self.memory, Memory::Cold));
        self.account.budget.release(self.charged);
        if let Some(slot) = self.slot
            && let Some(tier) = self.account.budget.tier()
        {
            tier.remove(slot);
        }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
