//! Names that a merge gives and takes, in memory and in the batch of the next commit.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::cold::host_files::Spot;
use crate::journal::Record;
use crate::namespace::inode::Inode;
use crate::namespace::watch;

use super::Merge;

impl Merge<'_> {
    pub(super) fn attach(
        &mut self,
        directory: &Arc<Inode>,
        spot: &Spot,
        node: &Arc<Inode>,
    ) -> Result<(), Fault> {
        let budget = &self.volume.account.budget;
        let mut state = directory.write_quietly();
        if let Some(map) = state.directory_mut() {
            map.reserve(&spot.1, budget)?;
            map.insert(&spot.1, node.clone());
            if node.is_directory() {
                map.subdirectories += 1;
                state.links += 1;
            }
        }
        watch::created(directory, &spot.1, node);
        drop(state);
        self.note_name(spot, Some(node.number()))?;
        self.note(node);
        Ok(())
    }

    /// Takes a name out of memory, and nothing that it leads to.
    pub(super) fn take_name(
        &mut self,
        directory: &Arc<Inode>,
        spot: &Spot,
    ) -> Result<Option<Arc<Inode>>, Fault> {
        let budget = &self.volume.account.budget;
        let mut state = directory.write_quietly();
        let node = state
            .directory_mut()
            .and_then(|map| map.remove(&spot.1, budget));
        let Some(node) = node else {
            return Ok(None);
        };
        if node.is_directory() {
            state.links -= 1;
            if let Some(map) = state.directory_mut() {
                map.subdirectories -= 1;
            }
        }
        watch::removed(directory, &spot.1, &node);
        drop(state);
        self.note_name(spot, None)?;
        Ok(Some(node))
    }

    /// Takes a name out of memory, and all below it.
    pub(super) fn detach(&mut self, directory: &Arc<Inode>, spot: &Spot) -> Result<(), Fault> {
        let Some(node) = self.take_name(directory, spot)? else {
            return Ok(());
        };
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let mut state = node.write_quietly();
            node.name_removed(&mut state);
            match state.directory_mut() {
                Some(map) => {
                    map.removed = true;
                    open.extend(map.iter_from(0).map(|(_, child, _)| child.clone()));
                    state.links = 0;
                }
                None => state.links = state.links.saturating_sub(1),
            }
            if state.links == 0 {
                self.live.remove(&node.number());
                let number = node.number();
                drop(state);
                self.batch.names.push(&Record::NodeGone { number })?;
            }
        }
        Ok(())
    }

    /// Forgets what was seen at a name and below it.
    pub(super) fn forget(&mut self, spot: &Spot) {
        let mut open: Vec<u64> = self.names.remove(spot.0, &spot.1).into_iter().collect();
        while let Some(number) = open.pop() {
            let below = self.names.children(number);
            let below: Vec<Box<[u8]>> = below.map(|(name, _)| name.into()).collect();
            for name in below {
                open.extend(self.names.remove(number, &name));
            }
            if let Some(file) = self.names.forget(number) {
                self.mirror.files.set_nameless(file, None);
                self.mirror.files.release(file);
            }
        }
    }
}
