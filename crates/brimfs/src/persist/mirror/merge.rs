//! What others did with the host's tree, found and taken into memory: a merge of what was last seen, what memory has and
//! what is there. Runs while the gate is closed, and says in the batch of the next commit what it did.

mod compare;
mod entries;
mod unite;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::sync::{Arc, MutexGuard};
use crate::cold::host_files::{Spot, Stamp, external_change};
use crate::io::tree::{TreeKind, TreeStat, join};
use crate::journal::Record;
use crate::mover::Mover;
use crate::namespace::changes::Batch;
use crate::namespace::directory::Directory;
use crate::namespace::inode::{Body, FileType, Inode, NOTED};
use crate::namespace::volume::{ROOT, Volume};
use crate::namespace::watch;

use super::names::{Names, STALE};
use super::steps::on_host;
use super::{ExternalChanges, Mirror, OnExternalChange, adopt};
use compare::kind_of;

/// How much of the tree is compared, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Scope {
    /// Everything. `lenient` takes a file for the one that was seen if only the time of its last change differs: steps of a
    /// commit were done again. `is_opening` counts nothing: there is nobody who could have had another version.
    All { lenient: bool, is_opening: bool },
    /// The names of one node.
    Node(u64),
}

impl Scope {
    fn is_opening(self) -> bool {
        matches!(
            self,
            Scope::All {
                is_opening: true,
                ..
            }
        )
    }

    fn is_same(self, seen: &Stamp, found: &Stamp) -> bool {
        let lenient = matches!(self, Scope::All { lenient: true, .. });
        let changed = if lenient { found.changed } else { seen.changed };
        Stamp { changed, ..*seen } == *found
    }
}

#[derive(Debug)]
enum What {
    Added(TreeStat),
    Removed,
    /// Another state of a node of the same kind.
    Changed(TreeStat),
    /// As it was last seen, and memory has yet to be told.
    Known(TreeStat),
}

#[derive(Debug)]
struct Difference {
    spot: Spot,
    path: Vec<u8>,
    what: What,
}

type Live = HashMap<u64, Arc<Inode>, FixedState>;

/// See the module's documentation.
pub(super) struct Merge<'a> {
    mirror: &'a Mirror,
    names: MutexGuard<'a, Names>,
    mover: &'a Mover,
    volume: &'a Arc<Volume>,
    rule: OnExternalChange,
    scope: Scope,
    batch: &'a mut Batch,
    live: Live,
    /// Files with several names, by the inode of the host.
    linked: HashMap<u64, Arc<Inode>, FixedState>,
    report: ExternalChanges,
}

/// Compares the tree of the host with what was last seen, and has memory and the batch follow it. The gate is closed and
/// no directory moves.
///
/// # Errors
/// [`ErrorKind::ExternalChange`](crate::ErrorKind::ExternalChange) under [`OnExternalChange::Raise`], naming the first
/// difference: nothing has changed then. Those of the disk and the limits: what was taken until then stays.
pub(super) fn merge(
    mirror: &Mirror,
    mover: &Mover,
    root: &Arc<Inode>,
    rule: OnExternalChange,
    scope: Scope,
    batch: &mut Batch,
) -> Result<ExternalChanges, Fault> {
    let volume = root.volume();
    let mut merge = Merge {
        mirror,
        names: mirror.names.lock(),
        mover,
        volume,
        rule,
        scope,
        batch,
        live: live_nodes(root),
        linked: HashMap::default(),
        report: ExternalChanges::default(),
    };
    let found = match scope {
        Scope::All { .. } => merge.compare()?,
        Scope::Node(number) => merge.compare_node(number)?,
    };
    let first = found
        .iter()
        .find(|difference| !matches!(difference.what, What::Known(_)));
    if let (OnExternalChange::Raise, Some(first), false) = (rule, first, merge.is_first_look()) {
        let what = match first.what {
            What::Added(_) => "somebody else put it there",
            What::Removed => "somebody else removed it",
            _ => "somebody else changed it",
        };
        return Err(external_change(&first.path, what));
    }
    let _moving = volume.cache.begin_move();
    found
        .into_iter()
        .try_for_each(|difference| merge.take(difference))?;
    let report = merge.report;
    drop(merge);
    mirror.noticed.lock().add(&report);
    Ok(report)
}

/// All nodes that names lead to, by number.
fn live_nodes(root: &Arc<Inode>) -> Live {
    let mut live = Live::default();
    let mut open = vec![root.clone()];
    while let Some(node) = open.pop() {
        if let Some(map) = node.read().directory() {
            open.extend(map.iter_from(0).map(|(_, child, _)| child.clone()));
        }
        live.insert(node.number(), node);
    }
    live
}

impl Merge<'_> {
    /// Nothing was ever seen of the tree: all of it is new, and nobody changed it.
    fn is_first_look(&self) -> bool {
        self.scope.is_opening() && self.names.children(ROOT).next().is_none()
    }

    fn take(&mut self, difference: Difference) -> Result<(), Fault> {
        let Difference { spot, path, what } = difference;
        let child = self.names.child(spot.0, &spot.1);
        match (what, child) {
            (What::Known(stat), Some(child)) => self.tell(child, &stat),
            (What::Added(stat), _) => {
                self.report.added += u64::from(!self.scope.is_opening());
                self.added(spot, path, stat)
            }
            (What::Removed, Some(child)) => {
                self.report.removed += 1;
                self.removed(&spot, child)
            }
            (What::Changed(stat), Some(child)) => {
                self.report.changed += 1;
                self.changed(spot, path, child, stat)
            }
            (_, None) => Ok(()),
        }
    }

    /// Memory is told where the content of a file lies that is as it was last seen.
    fn tell(&mut self, child: u64, stat: &TreeStat) -> Result<(), Fault> {
        let file = self.names.node(child).and_then(|node| node.file);
        let (Some(node), Some(file)) = (self.live.get(&child).cloned(), file) else {
            return Ok(());
        };
        self.mirror.files.set_stamp(file, Stamp::from(stat));
        let generation = adopt::content(self.mover, &node, file, stat.len)?;
        if let Some(seen) = self.names.node_mut(child) {
            seen.generation = generation;
        }
        Ok(())
    }

    fn note(&mut self, node: &Arc<Inode>) {
        node.write_quietly().mode |= NOTED;
        self.batch.nodes.push(Arc::downgrade(node));
    }

    fn note_name(&mut self, spot: &Spot, child: Option<u64>) -> Result<(), Fault> {
        let (directory, name) = (spot.0, &spot.1[..]);
        self.batch.names.push(&match child {
            Some(child) => Record::Entry {
                directory,
                name,
                child,
            },
            None => Record::EntryGone { directory, name },
        })
    }

    /// Whether memory has changes of a file that are not durable.
    fn is_dirty(&self, node: &Arc<Inode>) -> bool {
        let seen = self.names.node(node.number()).map(|seen| seen.generation);
        node.kind() == FileType::File && seen != Some(node.read().generation())
    }

    fn added(&mut self, spot: Spot, path: Vec<u8>, stat: TreeStat) -> Result<(), Fault> {
        // What was put into a directory that memory removed stays on the host, and comes back with the directory.
        let Some(directory) = self.live.get(&spot.0).cloned() else {
            return Ok(());
        };
        let ours = directory
            .read()
            .directory()
            .and_then(|map| map.get(&spot.1).cloned());
        if let Some(ours) = ours {
            let is_theirs_directory = stat.kind == TreeKind::Directory;
            if ours.is_directory() && is_theirs_directory {
                if self.names.node(ours.number()).is_some() {
                    return self.unite(&directory, spot, path, stat, ours);
                }
                // Two directories become one.
                self.names
                    .add(spot.0, &spot.1, ours.number(), FileType::Directory);
                return self.added_below(&ours, &path);
            } else if self.rule == OnExternalChange::Keep && !is_theirs_directory {
                // Memory's version comes with the next commit. It takes no directory of others away.
                return Ok(());
            }
            self.report.lost += u64::from(self.is_dirty(&ours));
            self.detach(&directory, &spot)?;
        }
        self.bring(&directory, spot, path, stat)
    }

    fn added_below(&mut self, directory: &Arc<Inode>, path: &[u8]) -> Result<(), Fault> {
        for listed in self.list(path)?.unwrap_or_default() {
            let path = join(path, &listed.name);
            self.added((directory.number(), listed.name), path, listed.stat)?;
        }
        Ok(())
    }

    /// Makes nodes of what the host has at a name, and of all below it.
    fn bring(
        &mut self,
        directory: &Arc<Inode>,
        spot: Spot,
        path: Vec<u8>,
        stat: TreeStat,
    ) -> Result<(), Fault> {
        let mut open = vec![(directory.clone(), spot, path, stat)];
        while let Some((directory, spot, path, stat)) = open.pop() {
            let Some(node) = self.bring_one(&directory, &spot, &path, &stat)? else {
                continue;
            };
            if node.is_directory() {
                for listed in self.list(&path)?.unwrap_or_default() {
                    let path = join(&path, &listed.name);
                    let spot = (node.number(), listed.name);
                    open.push((node.clone(), spot, path, listed.stat));
                }
            }
        }
        Ok(())
    }

    fn bring_one(
        &mut self,
        directory: &Arc<Inode>,
        spot: &Spot,
        path: &[u8],
        stat: &TreeStat,
    ) -> Result<Option<Arc<Inode>>, Fault> {
        let Some(kind) = kind_of(stat.kind) else {
            return Ok(None);
        };
        let is_linked = kind == FileType::File && stat.links > 1;
        let known = is_linked.then(|| self.linked_to(stat.inode)).flatten();
        let node = match known {
            Some(node) => {
                node.write_quietly().links += 1;
                node
            }
            None => {
                let body = match kind {
                    FileType::File => Body::File(crate::memory::content::Content::Empty),
                    FileType::Directory => {
                        Body::Directory(Box::new(Directory::new(Arc::downgrade(directory))))
                    }
                    FileType::Symlink => {
                        let target = self.mirror.tree().read_link(path);
                        let target = target.map_err(|error| on_host(path, error))?;
                        Body::Symlink(target.into())
                    }
                };
                let number = self.volume.take_number();
                let node = self.volume.restore_node(body, number)?;
                adopt::attributes(&node, stat, true)?;
                node
            }
        };
        self.attach(directory, spot, &node)?;
        self.names.add(spot.0, &spot.1, node.number(), kind);
        let has_file = self
            .names
            .node(node.number())
            .is_some_and(|seen| seen.file.is_some());
        if kind == FileType::File && !has_file {
            self.give_content(&node, spot, stat)?;
            if is_linked {
                self.linked.insert(stat.inode, node.clone());
            }
        }
        self.live.insert(node.number(), node.clone());
        Ok(Some(node))
    }

    /// The file that the host has under another name too.
    fn linked_to(&mut self, inode: u64) -> Option<Arc<Inode>> {
        if let Some(known) = self.linked.get(&inode) {
            return Some(known.clone());
        }
        if self.scope.is_opening() && self.is_first_look() {
            return None;
        }
        let found = self.live.values().find(|node| {
            let file = self.names.node(node.number()).and_then(|seen| seen.file);
            let seen = file.and_then(|file| self.mirror.files.stamp(file));
            seen.is_some_and(|seen| seen.inode == inode)
        });
        let found = found.cloned()?;
        self.linked.insert(inode, found.clone());
        Some(found)
    }

    /// A file has the content that the host has from now on.
    fn give_content(
        &mut self,
        node: &Arc<Inode>,
        spot: &Spot,
        stat: &TreeStat,
    ) -> Result<(), Fault> {
        let files = &self.mirror.files;
        let file = files.add(spot.clone(), Stamp::from(stat), Vec::new())?;
        let generation = match adopt::content(self.mover, node, file, stat.len) {
            Ok(generation) => generation,
            Err(fault) => {
                files.release(file);
                return Err(fault);
            }
        };
        let mut old = None;
        if let Some(seen) = self.names.node_mut(node.number()) {
            old = seen.file.replace(file);
            seen.generation = generation;
        }
        if let Some(old) = old {
            files.set_nameless(old, None);
            files.release(old);
        }
        self.note(node);
        Ok(())
    }

    /// The node that memory has at a name, and its directory.
    fn ours(&self, spot: &Spot) -> Option<(Arc<Inode>, Arc<Inode>)> {
        let directory = self.live.get(&spot.0)?;
        let node = directory.read().directory()?.get(&spot.1)?.clone();
        Some((directory.clone(), node))
    }

    fn removed(&mut self, spot: &Spot, child: u64) -> Result<(), Fault> {
        let ours = self.ours(spot).filter(|(_, node)| node.number() == child);
        let Some((directory, node)) = ours else {
            self.forget(spot);
            return Ok(());
        };
        if self.rule == OnExternalChange::Keep {
            return self.keep(spot, &directory, node);
        }
        let mut lost = 0;
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            lost += u64::from(self.is_dirty(&node));
            if let Some(map) = node.read().directory() {
                open.extend(map.iter_from(0).map(|(_, child, _)| child.clone()));
            }
        }
        self.report.lost += lost;
        self.forget(spot);
        self.detach(&directory, spot)
    }

    /// Has the next commit write what others removed, as far as memory has it.
    fn keep(&mut self, spot: &Spot, above: &Arc<Inode>, node: Arc<Inode>) -> Result<(), Fault> {
        self.forget(spot);
        let mut open = vec![(above.clone(), spot.clone(), node)];
        while let Some((above, spot, node)) = open.pop() {
            if node.kind() == FileType::File && !adopt::is_own(&node) {
                self.detach(&above, &spot)?;
                continue;
            }
            self.note_name(&spot, Some(node.number()))?;
            self.note(&node);
            if let Some(map) = node.read().directory() {
                open.extend(map.iter_from(0).map(|(name, child, _)| {
                    (node.clone(), (node.number(), name.into()), child.clone())
                }));
            }
        }
        Ok(())
    }

    fn changed(
        &mut self,
        spot: Spot,
        path: Vec<u8>,
        child: u64,
        stat: TreeStat,
    ) -> Result<(), Fault> {
        let (kind, links, file) = match self.names.node(child) {
            Some(seen) => (seen.kind, seen.homes.len(), seen.file),
            None => return Ok(()),
        };
        let seen = file.and_then(|file| self.mirror.files.stamp(file));
        let is_other_file = links > 1 && seen.is_some_and(|seen| seen.inode != stat.inode);
        if kind_of(stat.kind) != Some(kind) || is_other_file {
            return self.replaced(spot, path, child, stat);
        }
        let Some(node) = self.live.get(&child).cloned() else {
            // Memory removed what others changed.
            if self.rule == OnExternalChange::Keep {
                if let Some(file) = file {
                    self.mirror.files.set_stamp(file, Stamp::from(&stat));
                }
                return Ok(());
            }
            self.report.lost += 1;
            self.forget(&spot);
            return self.added(spot, path, stat);
        };
        let is_kept = self.rule == OnExternalChange::Keep;
        if kind == FileType::Symlink {
            if is_kept {
                self.forget(&spot);
                self.note_name(&spot, Some(child))?;
            } else {
                let target = self.mirror.tree().read_link(&path);
                let target = target.map_err(|error| on_host(&path, error))?;
                let mut state = node.write_quietly();
                state.body = Body::Symlink(target.into());
                watch::modified(&node);
            }
            self.note(&node);
            return Ok(());
        }
        if is_kept && adopt::is_own(&node) {
            let files = &self.mirror.files;
            let new = files.add(spot, Stamp::from(&stat), Vec::new())?;
            if let Some(seen) = self.names.node_mut(child) {
                seen.file = Some(new);
                seen.generation = STALE;
            }
            if let Some(old) = file {
                files.set_nameless(old, None);
                files.release(old);
            }
            self.note(&node);
            return Ok(());
        }
        let is_told = self
            .names
            .node(child)
            .is_some_and(|seen| seen.generation != STALE);
        self.report.lost += u64::from(is_told && self.is_dirty(&node));
        self.give_content(&node, &spot, &stat)?;
        adopt::attributes(&node, &stat, false)
    }

    /// Something of another kind has the name now.
    fn replaced(
        &mut self,
        spot: Spot,
        path: Vec<u8>,
        child: u64,
        stat: TreeStat,
    ) -> Result<(), Fault> {
        let ours = self.ours(&spot).filter(|(_, node)| node.number() == child);
        let is_kept = self.rule == OnExternalChange::Keep && stat.kind != TreeKind::Directory;
        if let Some((directory, node)) = &ours
            && is_kept
            && kind_of(stat.kind).is_some()
        {
            return self.keep(&spot, directory, node.clone());
        }
        if let Some((_, node)) = &ours {
            self.report.lost += u64::from(self.is_dirty(node));
        }
        self.forget(&spot);
        if let Some((directory, _)) = ours {
            self.detach(&directory, &spot)?;
        }
        match kind_of(stat.kind) {
            Some(_) => self.added(spot, path, stat),
            None => Ok(()),
        }
    }
}
