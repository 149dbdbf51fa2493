//! The gate while nobody changes anything, and what was noted until then.

use std::mem;

use crate::base::sync::RwLockWriteGuard;
use crate::base::sync::atomic::Ordering;

use super::{Batch, Changes};

/// A closed gate, until it is dropped.
pub(crate) struct Closed<'a> {
    pub(super) changes: &'a Changes,
    pub(super) _gate: RwLockWriteGuard<'a, ()>,
}

impl Closed<'_> {
    /// Everything that was noted; from now on it counts as not changed.
    pub(crate) fn take(&self) -> Batch {
        let mut batch = Batch::default();
        for shard in &self.changes.shards {
            let mut shard = shard.lock();
            batch.names.append(&mem::take(&mut shard.names));
            batch.nodes.append(&mut shard.nodes);
            batch.gone.append(&mut shard.gone);
        }
        self.changes.pending.store(0, Ordering::Relaxed);
        self.changes.owed.take();
        batch
    }
}
