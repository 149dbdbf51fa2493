//! What of a node outlives the process, beside its names and content: read as a whole, set as a whole.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::memory::budget::Budget;
use crate::namespace::inode::{HAS_FAR_TIMES, HAS_XATTRS, Inode, PERMISSIONS, State};
use crate::namespace::times::{Times, Timestamp};
use crate::namespace::volume::{Extra, Volume};

/// The names and values of extended attributes.
pub(crate) type XattrPairs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What a node that was there before gets back.
pub(crate) struct Restored<'a> {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Accessed, modified, changed, created.
    pub(crate) times: [Timestamp; 4],
    pub(crate) priority: u8,
    pub(crate) pinned: bool,
    pub(crate) accesses: u8,
    pub(crate) xattrs: &'a XattrPairs,
}

/// What a node has that another one is to have, charged where that one is.
pub(crate) struct Traits {
    mode: u16,
    owner: u16,
    times: Times,
    priority: u8,
    pinned: bool,
    accesses: u8,
    extra: Option<Extra>,
}

impl Traits {
    const MODE: u16 = PERMISSIONS | HAS_XATTRS | HAS_FAR_TIMES;

    /// For a node that does not get it after all.
    pub(crate) fn discard(self, budget: &Budget) {
        if let Some(extra) = self.extra {
            extra.discard(budget);
        }
    }
}

impl Inode {
    /// What the node has, for one of this volume. Its state is locked.
    ///
    /// # Errors
    /// As [`Inode::restore`].
    pub(crate) fn traits_for(&self, volume: &Volume, state: &State) -> Result<Traits, Fault> {
        let own = self.volume();
        let extra = match state.mode & (HAS_XATTRS | HAS_FAR_TIMES) {
            0 => None,
            _ => own.extras.copy(self.number(), &volume.account.budget)?,
        };
        Ok(Traits {
            mode: state.mode & Traits::MODE,
            owner: volume.owner_place(own.owner(state.owner))?,
            times: state.times,
            priority: state.priority(),
            pinned: state.has_pin(),
            accesses: state.accesses(),
            extra,
        })
    }

    /// Gives the node what another one has. Its state is locked.
    pub(crate) fn take_traits(&self, state: &mut State, traits: Traits) {
        let volume = self.volume();
        if traits.extra.is_some() || state.mode & (HAS_XATTRS | HAS_FAR_TIMES) != 0 {
            let budget = &volume.account.budget;
            volume.extras.put(self.number(), traits.extra, budget);
        }
        state.mode = state.mode & !Traits::MODE | traits.mode;
        state.owner = traits.owner;
        let changed = state.times.changed.max(traits.times.changed);
        state.times = Times {
            changed,
            ..traits.times
        };
        state.set_priority(traits.priority);
        state.set_pin(traits.pinned);
        state.set_accesses(traits.accesses);
    }

    /// Gives a node that nobody else sees what it had.
    ///
    /// # Errors
    /// [`MemoryLimit`](crate::ErrorKind::MemoryLimit) for attributes,
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) for too many owners.
    pub(crate) fn restore(self: &Arc<Self>, restored: Restored<'_>) -> Result<(), Fault> {
        let volume = self.volume();
        let owner = volume.owner_place(restored.owner)?;
        let fits = |time: &Timestamp| i64::try_from(time.as_nanos()).ok();
        let packed = |time: &Timestamp| {
            let bound = if time.seconds < 0 { i64::MIN } else { i64::MAX };
            fits(time).unwrap_or(bound)
        };
        let [accessed, modified, changed, created] = &restored.times;
        let far = |time: &Timestamp| fits(time).is_none().then_some(*time);
        let far_times = [far(accessed), far(modified)];
        let has_far_times = far_times != [None, None];
        if has_far_times || !restored.xattrs.is_empty() {
            let sizes = restored
                .xattrs
                .iter()
                .map(|(name, value)| name.len() + value.len() + 80);
            let more: usize = sizes.sum();
            let budget = &volume.account.budget;
            volume
                .extras
                .change(self.number(), more as u64, budget, |extra| {
                    extra.far_times = far_times;
                    extra.xattrs.extend(restored.xattrs.iter().cloned());
                    Ok(())
                })?;
        }
        let mut state = self.write_quietly();
        state.mode = state.mode & !PERMISSIONS | restored.mode as u16 & PERMISSIONS;
        if has_far_times {
            state.mode |= HAS_FAR_TIMES;
        }
        if !restored.xattrs.is_empty() {
            state.mode |= HAS_XATTRS;
        }
        state.owner = owner;
        state.times = Times {
            accessed: packed(accessed),
            modified: packed(modified),
            changed: packed(changed),
            created: packed(created),
        };
        state.set_priority(restored.priority);
        state.set_pin(restored.pinned);
        state.set_accesses(restored.accesses);
        Ok(())
    }

    /// The extended attributes, for a caller that has the state.
    pub(crate) fn xattrs_of(&self, state: &State) -> XattrPairs {
        if state.mode & HAS_XATTRS == 0 {
            return Vec::new();
        }
        let pairs = self.volume().extras.read(self.number(), |extra| {
            let pairs = extra.xattrs.iter();
            pairs
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        });
        pairs.unwrap_or_default()
    }
}
