//! What of a node outlives the process, beside its names and content: read as a whole, set as a whole.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::namespace::inode::{HAS_FAR_TIMES, HAS_XATTRS, Inode, PERMISSIONS, State};
use crate::namespace::times::{Times, Timestamp};

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

impl Inode {
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
