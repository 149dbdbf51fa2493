//! A directory that memory moved to a name where others made one.

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::cold::host_files::Spot;
use crate::io::tree::TreeStat;
use crate::journal::Record;
use crate::namespace::inode::Inode;
use crate::persist::mirror::OnExternalChange;

use super::Merge;

impl Merge<'_> {
    /// Takes their directory in, and hands the names of ours over to it.
    pub(super) fn unite(
        &mut self,
        above: &Arc<Inode>,
        spot: Spot,
        path: Vec<u8>,
        stat: TreeStat,
        ours: Arc<Inode>,
    ) -> Result<(), Fault> {
        self.take_name(above, &spot)?;
        self.bring(above, spot.clone(), path, stat)?;
        let Some((_, theirs)) = self.ours(&spot) else {
            return Ok(());
        };
        let mut open = vec![(ours, theirs)];
        while let Some((from, to)) = open.pop() {
            let names: Vec<(Box<[u8]>, Arc<Inode>)> = match from.read().directory() {
                Some(map) => map
                    .iter_from(0)
                    .map(|(name, child, _)| (name.into(), child.clone()))
                    .collect(),
                None => Vec::new(),
            };
            for (name, child) in names {
                if let Some(theirs) = self.hand_over(&from, &to, name, &child)? {
                    open.push((child, theirs));
                }
            }
            self.end(&from)?;
        }
        Ok(())
    }

    /// Moves one name; of two directories none is moved: theirs comes back.
    fn hand_over(
        &mut self,
        from: &Arc<Inode>,
        to: &Arc<Inode>,
        name: Box<[u8]>,
        child: &Arc<Inode>,
    ) -> Result<Option<Arc<Inode>>, Fault> {
        let there = to
            .read()
            .directory()
            .and_then(|map| map.get(&name).cloned());
        let (was, is): (Spot, Spot) = ((from.number(), name.clone()), (to.number(), name));
        if let Some(there) = there {
            if there.is_directory() && child.is_directory() {
                self.take_name(from, &was)?;
                return Ok(Some(there));
            }
            if self.rule != OnExternalChange::Keep || there.is_directory() {
                self.report.lost += u64::from(self.is_dirty(child));
                self.detach(from, &was)?;
                return Ok(None);
            }
            self.detach(to, &is)?;
        }
        self.take_name(from, &was)?;
        self.attach(to, &is, child)?;
        if let Some(map) = child.write_quietly().directory_mut() {
            map.parent = Arc::downgrade(to);
        }
        Ok(None)
    }

    /// A directory without names ends.
    fn end(&mut self, directory: &Arc<Inode>) -> Result<(), Fault> {
        let mut state = directory.write_quietly();
        directory.name_removed(&mut state);
        if let Some(map) = state.directory_mut() {
            map.removed = true;
        }
        state.links = 0;
        drop(state);
        let number = directory.number();
        self.live.remove(&number);
        self.batch.names.push(&Record::NodeGone { number })
    }
}
