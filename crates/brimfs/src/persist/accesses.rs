//! Counts of accesses, which outlive the process as far as the policy knows them when it ends.
//!
//! While a filesystem is used its policy counts, unit by unit, and files hear nothing of it. With a checkpoint, and when
//! the filesystem is closed, the files that were accessed most are told; their records say it, and the file tells the policy
//! of the next life when content of it comes in. No access makes a commit, and nothing is refused or held back for
//! these counts: where the disk has no room for them they are as they were.

use std::any::Any;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::journal::{Group, Record};
use crate::memory::tier::Residents;
use crate::mover::Warm;
use crate::namespace::inode::{Inode, NOTED, State};

use super::image::Image;
use super::mirror::Mirror;
use super::node_record::node_record;
use super::reserve::is_short_of_disk;
use super::{Core, Persistence};

/// So many files are told at the most; with a small memory limit one for so many bytes that may wait for a commit.
const FILES_MAX: u64 = 100_000;
const BYTES_EACH: u64 = 256;

impl Persistence {
    /// Tells files how often they were accessed, and calls `visit` for those whose records say something else.
    fn tell_accesses(&self, mut visit: impl FnMut(&Arc<Inode>, &State)) {
        let (Some(changes), Some(mover)) = (self.changes(), self.mover()) else {
            return;
        };
        // Before anything is told: what goes from now on is for the next time.
        let cooled = std::mem::take(&mut *changes.cooled.lock());
        let most = FILES_MAX.min(changes.pending_max() / BYTES_EACH);
        for Warm { file, accesses } in mover.warmest(most as usize) {
            let Some(node) = file.upgrade().and_then(inode) else {
                continue;
            };
            // Files of snapshots and branches share units and numbers, and are not in the journal.
            let own = node.volume().changes.as_deref();
            if !own.is_some_and(|own| std::ptr::eq(own, changes)) {
                continue;
            }
            let mut state = node.write_quietly();
            if state.accesses() != accesses {
                state.set_accesses(accesses);
                visit(&node, &state);
            }
        }
        for node in cooled {
            let Some(node) = node.upgrade() else { continue };
            let state = node.read();
            if state.accesses() == 0 {
                visit(&node, &state);
            }
        }
    }

    /// Has an image say how often its files were accessed.
    pub(super) fn count_accesses(&self, image: &mut Image) {
        self.tell_accesses(|node, state| {
            let node = image.nodes.get_mut(node.number());
            if let Some(about) = node.and_then(|node| node.about.as_mut()) {
                about.accesses = state.accesses();
            }
        });
    }

    /// Appends how often files were accessed to a journal that is about to be closed, which makes it durable.
    ///
    /// # Errors
    /// Those of the disk, but for one that is full.
    pub(super) fn append_accesses(&self, core: &mut Core) -> Result<(), Fault> {
        let Core { writer, known, .. } = core;
        let Some(writer) = writer else {
            return Ok(());
        };
        // Before the first lock of a node.
        let in_mirror = self.mirror.as_ref().map(Mirror::known);
        let is_known = |number| match &in_mirror {
            Some(is_known) => is_known(number),
            None => known.contains(number),
        };
        let bytes_max = FILES_MAX * BYTES_EACH;
        let mut group = Group::new();
        let mut said = Ok(());
        if self.mirror.is_some() {
            // As each commit of a mirror begins.
            group.push(&Record::Applied)?;
        }
        let empty = group.len();
        self.tell_accesses(|node, state| {
            // What changed since the last commit is not to be said in part.
            let is_durable = state.mode & NOTED == 0 && state.links > 0 && is_known(node.number());
            if said.is_ok() && is_durable && group.len() < bytes_max {
                said = node_record(&mut group, node, state);
            }
        });
        said?;
        if group.len() == empty {
            return Ok(());
        }
        match writer.append(&group) {
            Err(fault) if is_short_of_disk(&fault) => Ok(()),
            appended => appended.map(drop),
        }
    }
}

fn inode(file: Arc<dyn Residents>) -> Option<Arc<Inode>> {
    let file: Arc<dyn Any + Send + Sync> = file;
    file.downcast().ok()
}
