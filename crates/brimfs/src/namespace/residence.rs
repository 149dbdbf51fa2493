//! A file as the holder of units that a cold tier moves.
//!
//! Finds the unit behind an inode's lock and leaves the rest to `memory`. What a unit gives up
//! is freed after the lock is released. Never waits for anything but that lock, and where it is
//! taken for evicting only tries it.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::memory::chunk::CHUNK;
use crate::memory::content::Content;
use crate::memory::residence::NEVER_MAX;
use crate::memory::small::Who;
use crate::memory::tier::{
    Cold, Filled, Identity, Installed, Location, Residents, Slot, Staged, Unit, Worth,
};
use crate::namespace::inode::{Inode, State};
use crate::namespace::walk::Cursor;
use crate::namespace::watch;
use crate::policy::PRIORITY_DEFAULT;

impl Inode {
    pub(crate) fn who(&self, state: &State) -> Who<'_> {
        Who {
            identity: Identity {
                owner: self.number(),
                index: self.account().id,
                version: u64::from(state.generation() as u32),
            },
            account: self.account(),
            worth: Worth {
                priority: state.kept_priority(),
                accesses: state.accesses(),
            },
        }
    }

    pub(crate) fn unit(self: &Arc<Self>, index: u64) -> Unit {
        let holder: Arc<dyn Residents> = self.clone();
        Unit {
            holder: Arc::downgrade(&holder),
            index,
        }
    }

    /// Tells the tier, if there is one, about a change of `len` bytes at `offset`.
    #[inline]
    pub(crate) fn track(self: &Arc<Self>, state: &mut State, offset: u64, len: u64) {
        if self.account().budget.is_tracking() {
            self.track_slowly(state, offset, len);
        }
    }

    fn track_slowly(self: &Arc<Self>, state: &mut State, offset: u64, len: u64) {
        let Some(tier) = self.account().budget.active_tier() else {
            return;
        };
        let who = self.who(state);
        let chunk = CHUNK as u64;
        let range = (offset / chunk, offset.saturating_add(len).div_ceil(chunk));
        if let Some(content) = state.content_mut() {
            content.track(tier, &who, range, |index| self.unit(index));
        }
    }

    /// As [`Residents::admit_existing`], for a caller that has the state.
    pub(crate) fn introduce(self: &Arc<Self>, state: &mut State) {
        let Some(tier) = self.account().budget.active_tier() else {
            return;
        };
        let who = self.who(state);
        if let Some(content) = state.content_mut() {
            content.introduce(tier, &who, |index| self.unit(index));
        }
        // Content that was built aside was admitted like anybody's.
        if state.kept_priority() != PRIORITY_DEFAULT {
            self.tell_priority(state);
        }
    }

    /// As [`Inode::introduce`], for a file that was just made, if there is a tier; tells the next commit of its content.
    #[inline]
    pub(crate) fn introduce_new(self: &Arc<Self>) {
        if self.account().budget.is_tracking() {
            let mut state = self.write_quietly();
            self.introduce(&mut state);
            let len = state.content().map_or(0, Content::len);
            self.note_content(&mut state, len);
        }
    }

    /// Tells the tier, if there is one, that this file was given the content of another.
    pub(crate) fn note_copy_of(self: &Arc<Self>, source: &Arc<Self>) {
        let Some(tier) = self.account().budget.tier() else {
            return;
        };
        let len = self.read().content().map_or(0, |content| content.len());
        if len > NEVER_MAX as u64 {
            let (from, to): (Arc<dyn Residents>, Arc<dyn Residents>) =
                (source.clone(), self.clone());
            tier.copied(&from, &to);
        }
    }

    fn evict(
        self: &Arc<Self>,
        slot: Slot,
        index: u64,
        staged: Option<(Identity, Location)>,
    ) -> bool {
        self.evict_if(slot, index, |_| staged)
    }

    /// Evicts a unit that still is what is said of it in view of the name of the whole file's bytes.
    fn evict_if(
        self: &Arc<Self>,
        slot: Slot,
        index: u64,
        staged: impl FnOnce(Identity) -> Option<(Identity, Location)>,
    ) -> bool {
        let Some(mut state) = self.try_write() else {
            return false;
        };
        let who = self.who(&state);
        let staged = staged(who.identity);
        let freed = state
            .content_mut()
            .and_then(|content| content.evict(slot, index, &who, staged));
        if freed.is_some() && state.accesses() > 0 {
            // From here on what the policy remembers of the unit counts.
            state.set_accesses(0);
            if let Some(changes) = &self.volume().changes {
                changes.cooled.lock().push(Arc::downgrade(self));
            }
        }
        if freed.is_some() {
            watch::spilled(self);
        }
        drop(state);
        freed.is_some()
    }
}

impl Residents for Inode {
    fn stage(&self, slot: Slot, index: u64, to: &mut [u8]) -> Staged {
        let Some(state) = self.try_read() else {
            return Staged::Busy;
        };
        match state.content() {
            Some(content) => content.stage(slot, index, &self.who(&state), to),
            None => Staged::Gone,
        }
    }

    fn commit_cold(
        self: Arc<Self>,
        slot: Slot,
        index: u64,
        identity: Identity,
        location: Location,
    ) -> bool {
        self.evict(slot, index, Some((identity, location)))
    }

    fn evict_clean(self: Arc<Self>, slot: Slot, index: u64) -> bool {
        self.evict(slot, index, None)
    }

    fn evict_known(self: Arc<Self>, slot: Slot, version: u32, location: Location) -> bool {
        self.evict_if(slot, 0, |who| {
            let version = u64::from(version);
            Some((Identity { version, ..who }, location))
        })
    }

    fn forget_copy(&self, slot: Slot, index: u64) -> bool {
        // Nobody looks at the chunk meanwhile without its lock.
        let Some(state) = self.try_write() else {
            return false;
        };
        let content = state.content();
        content.is_some_and(|content| content.forget_copy(slot, index))
    }

    fn cold(&self, index: u64) -> Option<Cold> {
        let state = self.read();
        let who = self.who(&state).identity;
        state.content()?.cold(index, who)
    }

    fn next_cold(&self, from: u64) -> Option<(u64, Cold)> {
        let state = self.read();
        let who = self.who(&state).identity;
        state.content()?.next_cold(from, who)
    }

    fn room(&self, len: usize) -> Result<Filled, Fault> {
        Filled::new(self.account(), len)
    }

    fn install(self: Arc<Self>, index: u64, identity: Identity, bytes: Filled) -> Installed {
        let mut state = self.write_quietly();
        let who = self.who(&state);
        let installed = match state.content_mut() {
            Some(content) => content.install_cold(index, identity, &who, bytes),
            None => Err(bytes),
        };
        let small = match installed {
            Ok(small) => small,
            Err(unused) => {
                drop(state);
                drop(unused);
                return Installed::Stale;
            }
        };
        let is_as_staged = identity == who.identity;
        self.track(&mut state, index * CHUNK as u64, 1);
        let slot = state.content().and_then(|content| content.slot_of(index));
        let Some(location) = small else {
            return Installed::Chunk(slot);
        };
        if let Some(tier) = self.account().budget.tier() {
            match slot.filter(|_| is_as_staged) {
                Some(slot) => tier.keep(slot, identity, location),
                None => tier.forget(location),
            }
        }
        Installed::Small(slot)
    }

    fn relocate(&self, index: u64, old: Location, new: Location) -> bool {
        let Some(mut state) = self.try_write() else {
            return false;
        };
        state
            .content_mut()
            .is_some_and(|content| content.relocate(index, old, new))
    }

    fn swing(&self, index: u64, to: &mut dyn FnMut(Location) -> Option<Location>) {
        let mut state = self.write_quietly();
        if let Some(content) = state.content_mut() {
            content.swing(index, to);
        }
    }

    fn admit_existing(self: Arc<Self>) {
        let mut pending = vec![self];
        while let Some(node) = pending.pop() {
            match Cursor::new(node.clone()) {
                Ok(names) => {
                    for (_, child) in names {
                        match child.is_directory() {
                            true => pending.push(child),
                            false => child.introduce(&mut child.write_quietly()),
                        }
                    }
                }
                Err(_) => node.introduce(&mut node.write_quietly()),
            }
        }
    }
}
