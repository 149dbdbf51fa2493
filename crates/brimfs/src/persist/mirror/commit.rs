//! One commit: what changed in memory becomes what the host has.

mod settle;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::base::sync::atomic::Ordering;
use crate::cold::host_files::{Stamp, external_change};
use crate::cold::segment::Extent;
use crate::io::tree::{SIDE, TreeFile, TreeKind, TreeStat};
use crate::journal::{Counters, Group, HostStamp, Record};
use crate::memory::chunk::CHUNK;
use crate::memory::tier::Residents;
use crate::mover::Mover;
use crate::namespace::changes::Batch;
use crate::namespace::inode::FileType;

use super::super::{Core, Fresh, Persistence, keep};
use super::look::{Job, Look, Piece, changed_names};
use super::merge::{Scope, merge};
use super::names::Names;
use super::plan::{Check, Expected, Plan, plan};
use super::steps::{self, Step, on_host, stat, temporary, time};
use super::write::{self, WrittenFile};
use super::{ExternalChanges, Mirror, OnExternalChange};
use settle::settle;

/// So often a commit looks at what others did before it gives up.
const TURNS: usize = 4;

/// A file of the host by its number, open.
type KeptOpen = (u32, Arc<dyn TreeFile>);

/// What is written of a commit, before any of it is in its place.
#[derive(Debug)]
struct Prepared {
    plan: Plan,
    /// Files that were written, by the numbers of their nodes.
    written: BTreeMap<u64, WrittenFile>,
    /// Temporary files by number, and the inodes that they have.
    inodes: BTreeMap<u64, u64>,
    /// Files of the host that lose their name and are wanted still.
    kept: Vec<KeptOpen>,
}

/// A commit that is durable in the journal, and that the host's tree does not show yet.
#[derive(Debug)]
pub(super) struct Undone {
    prepared: Prepared,
    looked: Looked,
}

pub(super) fn host_stamp(stamp: &Stamp) -> HostStamp {
    HostStamp {
        inode: stamp.inode,
        len: stamp.len,
        modified: time(stamp.modified),
        changed: time(stamp.changed),
    }
}

impl Persistence {
    /// Commits, after what others did was taken in if `scope` asks for that.
    ///
    /// # Errors
    /// [`ErrorKind::ExternalChange`] where memory and others changed the same and nobody says who wins; those of the disk.
    pub(in super::super) fn commit_mirror(
        &self,
        core: &mut Core,
        mirror: &Mirror,
        rule: OnExternalChange,
        mut scope: Option<Scope>,
    ) -> Result<ExternalChanges, Fault> {
        let mut turns = 0;
        let mut noticed = ExternalChanges::default();
        loop {
            let done = self.try_commit(core, mirror, rule, scope, &mut noticed);
            turns += 1;
            match done {
                Err(fault)
                    if fault.kind() == ErrorKind::ExternalChange
                        && rule != OnExternalChange::Raise
                        && turns < TURNS =>
                {
                    scope = Some(Scope::All {
                        lenient: false,
                        is_opening: false,
                    });
                }
                done => {
                    if let Some(mover) = self.mover() {
                        mover.charge_tables(mirror.names.lock().footprint());
                    }
                    return done.map(|()| noticed);
                }
            }
        }
    }

    fn try_commit(
        &self,
        core: &mut Core,
        mirror: &Mirror,
        rule: OnExternalChange,
        scope: Option<Scope>,
        noticed: &mut ExternalChanges,
    ) -> Result<(), Fault> {
        let (Some(changes), Some(mover)) = (self.changes(), self.mover()) else {
            return Ok(());
        };
        if core.writer.is_none() && !self.read_only {
            return Err(ErrorKind::Closed.into());
        }
        mirror.check_poison()?;
        self.finish(core, mirror, None)?;
        let moves = scope.map(|_| self.volume.moves.lock());
        let closed = changes.close();
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let mut batch = closed.take();
        let merged = match (scope, self.root.upgrade()) {
            (Some(scope), Some(root)) => merge(mirror, mover, &root, rule, scope, &mut batch),
            _ => Ok(ExternalChanges::default()),
        };
        match merged {
            Ok(report) => noticed.add(&report),
            Err(fault) => {
                drop(closed);
                drop(moves);
                changes.put_back(batch);
                return Err(fault);
            }
        }
        if self.read_only || (batch.is_empty() && core.nameless.is_empty()) {
            drop(closed);
            changes.settle_owed();
            self.durable.store(number, Ordering::Release);
            return Ok(());
        }
        let names = mirror.names.lock();
        let stage_bytes = changes.pending_max() as usize / 2;
        let mut look = Look::new(mover, &self.segments, &names, stage_bytes);
        let looked = look.at(&batch, &core.nameless);
        let next_node = self.volume.next_number();
        drop(closed);
        drop(moves);
        let Look {
            group,
            nodes,
            traits,
            jobs,
            buffer,
            held,
            ..
        } = look;
        drop(names);
        let outcome = looked;
        let looked = Looked {
            group,
            traits,
            jobs,
            buffer,
            next_node,
        };
        let done = outcome.and_then(|()| self.carry_out(core, mirror, mover, looked, &batch, rule));
        self.release_all(held);
        match done {
            Ok(()) => {
                self.durable.store(number, Ordering::Release);
                core.nameless.clear();
                changes.settle_owed();
                Ok(())
            }
            Err(fault) => {
                self.put_back(changes, batch, nodes);
                Err(fault)
            }
        }
    }

    /// Has the host's tree show what is durable in the journal, if it does not yet. Units learn of their new copies only while the
    /// commit holds those of before.
    ///
    /// # Errors
    /// Those of the disk: it is as if it had not been tried then. [`ErrorKind::ExternalChange`] where others were in the way.
    fn finish(&self, core: &mut Core, mirror: &Mirror, mover: Option<&Mover>) -> Result<(), Fault> {
        let mut undone = mirror.undone.lock();
        let Some(commit) = &*undone else {
            return Ok(());
        };
        let steps = &commit.prepared.plan.steps;
        let mut touched = BTreeSet::new();
        let mut group = Group::new();
        let mut names = mirror.names.lock();
        let hold = mirror.files.hold();
        let in_vain = steps::apply(mirror, steps, &mut touched)?;
        let missed = settle(
            mirror,
            &mut names,
            &commit.prepared,
            &commit.looked,
            &mut group,
        )?;
        drop(hold);
        drop(names);
        steps::sync(mirror, &touched)?;
        if let Some(mover) = mover {
            self.hand_over(mirror, mover, &commit.looked.jobs);
        }
        if !steps.is_empty() {
            group.push(&Record::Applied)?;
        }
        *undone = None;
        drop(undone);
        if !group.is_empty() {
            let writer = core.writer.as_mut().ok_or(ErrorKind::Closed)?;
            writer.append(&group)?;
            core.appended += group.len();
        }
        match (in_vain, missed) {
            (Some(fault), _) => Err(fault),
            (None, Some(path)) => Err(external_change(&path, "somebody else was faster")),
            (None, None) => Ok(()),
        }
    }

    fn carry_out(
        &self,
        core: &mut Core,
        mirror: &Mirror,
        mover: &Mover,
        mut looked: Looked,
        batch: &Batch,
        rule: OnExternalChange,
    ) -> Result<(), Fault> {
        let changed = changed_names(&batch.names)?;
        let names = mirror.names.lock();
        let count = (changed.len() + looked.jobs.len()) as u64;
        let spots: usize = looked
            .jobs
            .keys()
            .filter_map(|number| names.node(*number))
            .map(|node| node.homes.len())
            .sum();
        let mut first = mirror.take_temporaries(count + spots as u64);
        let mut plan = plan(&names, changed, &looked.traits, &looked.jobs, &mut first);
        check(mirror, &names, &mut plan, rule)?;
        add_attributes(mirror, &names, &mut plan, &looked)?;
        let prepared = self.prepare(mirror, &names, plan, &looked);
        let prepared = prepared.inspect_err(|_| remove_temporaries(mirror))?;
        let group = first_group(mirror, &names, batch, &looked, &prepared);
        let said = group.and_then(|group| {
            let writer = core.writer.as_mut().ok_or(ErrorKind::Closed)?;
            writer.reserve(group.len())?;
            if !prepared.plan.placements.is_empty() {
                mirror.flushed(SIDE, self.directory.sync())?;
            }
            Ok((group, writer))
        });
        let (group, writer) = said.inspect_err(|_| remove_temporaries(mirror))?;
        let appended = writer.append(&group);
        mirror.said(appended.and_then(|_| writer.sync()).map(drop))?;
        core.appended += group.len();
        drop(names);
        looked.buffer = Vec::new();
        *mirror.undone.lock() = Some(Undone { prepared, looked });
        self.finish(core, mirror, Some(mover))
    }

    fn prepare(
        &self,
        mirror: &Mirror,
        names: &Names,
        plan: Plan,
        looked: &Looked,
    ) -> Result<Prepared, Fault> {
        let tree = mirror.tree();
        let mut written: BTreeMap<u64, WrittenFile> = BTreeMap::new();
        let mut inodes = BTreeMap::new();
        let mut first: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for placement in &plan.placements {
            let number = placement.number;
            let Some(traits) = looked.traits.get(&number) else {
                let text = format!("node {number} has a name and was not looked at");
                return Err(super::super::corrupt(text));
            };
            let path = temporary(placement.temporary);
            let attributes = &traits.attributes;
            let home = names.node(number).and_then(|node| node.homes.first());
            if let Some(before) = first.get(&number) {
                write::link(mirror, before, attributes, placement.temporary)?;
            } else if let Some(job) = looked.jobs.get(&number) {
                let (buffer, n) = (&looked.buffer[..], placement.temporary);
                let file = write::write(mirror, &self.segments, job, buffer, attributes, n)?;
                written.insert(number, file);
            } else if traits.kind == FileType::Symlink {
                let made = tree.symlink(&traits.target, &path);
                made.map_err(|error| on_host(&path, error))?;
            } else if let Some((directory, name)) = home {
                let from = names.path(*directory, name);
                write::link(mirror, &from, attributes, placement.temporary)?;
            } else {
                let text = format!("node {number} is new and has no content");
                return Err(super::super::corrupt(text));
            }
            let stat = tree.stat(&path).map_err(|error| on_host(&path, error))?;
            inodes.insert(placement.temporary, stat.inode);
            first.entry(number).or_insert(path);
        }
        let kept = self.keep_wanted(mirror, names, &plan, looked)?;
        Ok(Prepared {
            plan,
            written,
            inodes,
            kept,
        })
    }

    /// Opens the files of the host that lose their last name though units in memory refer to them.
    fn keep_wanted(
        &self,
        mirror: &Mirror,
        names: &Names,
        plan: &Plan,
        looked: &Looked,
    ) -> Result<Vec<KeptOpen>, Fault> {
        let removed = plan.removed.iter();
        let losing = removed.filter_map(|spot| names.child(spot.0, &spot.1));
        let numbers: BTreeSet<u64> = losing.chain(looked.jobs.keys().copied()).collect();
        let mut kept = Vec::new();
        for number in numbers {
            let Some(node) = names.node(number) else {
                continue;
            };
            let (Some(file), Some(home)) = (node.file, node.homes.first()) else {
                continue;
            };
            if mirror.files.references(file) <= 1 {
                continue;
            }
            let path = names.path(home.0, &home.1);
            let is_seen = |found: &TreeStat| Some(Stamp::from(found)) == mirror.files.stamp(file);
            if stat(mirror.tree(), &path)
                .ok()
                .flatten()
                .is_some_and(|found| is_seen(&found))
            {
                let opened = mirror.tree().open(&path);
                let opened = opened.map_err(|error| on_host(&path, error))?;
                kept.push((file, Arc::from(opened)));
            }
        }
        Ok(kept)
    }

    /// Units of the files that were written know their new copies from now on.
    fn hand_over(&self, mirror: &Mirror, mover: &Mover, jobs: &BTreeMap<u64, Job>) {
        for (number, job) in jobs {
            let file = mirror.names.lock().node(*number).and_then(|node| node.file);
            let Some(node) = job.node.upgrade() else {
                continue;
            };
            let holder: Arc<dyn Residents> = node.clone();
            for piece in job.pieces.iter().filter(|piece| !piece.is_little) {
                let Some(extent) = file.and_then(|file| extent_of(file, piece)) else {
                    continue;
                };
                if let Some(copy) = piece.copy {
                    let is_part = job.len > CHUNK as u64;
                    mover.swing_copy(&holder, piece.index, copy, extent, is_part);
                } else {
                    keep(
                        mover,
                        &Fresh {
                            node: job.node.clone(),
                            index: piece.index,
                            identity: piece.identity,
                            extent,
                        },
                    );
                }
            }
        }
    }
}

fn extent_of(file: u32, piece: &Piece) -> Option<Extent> {
    Extent::of_host_file(file, piece.index, piece.len)
}

/// What [`Look`] found, without the locks that it needed.
#[derive(Debug)]
struct Looked {
    group: Group,
    traits: BTreeMap<u64, super::look::Traits>,
    jobs: BTreeMap<u64, Job>,
    buffer: Vec<u8>,
    next_node: u64,
}

/// Temporary files that did not come to be needed.
fn remove_temporaries(mirror: &Mirror) {
    // What is left the next opening removes.
    drop(super::open::clean(mirror.tree()));
}

/// Looks whether the host's tree still is what it was, where it is to change; fills in inodes.
fn check(
    mirror: &Mirror,
    names: &Names,
    plan: &mut Plan,
    rule: OnExternalChange,
) -> Result<(), Fault> {
    let mut in_the_way = Vec::new();
    for check in &std::mem::take(&mut plan.checks) {
        let path = &check.path;
        let found = stat(mirror.tree(), path).map_err(|error| on_host(path, error))?;
        let conflict = find_conflict(mirror, names, check, found.as_ref())?;
        if let Some((what, is_content)) = conflict {
            // What is no directory can be written over.
            if rule != OnExternalChange::Keep || !is_content {
                return Err(external_change(path, what));
            }
        }
        let inode = found.map_or(0, |found| found.inode);
        let step = check.step.and_then(|step| plan.steps.get_mut(step));
        match (&check.expected, step) {
            (Expected::Free, Some(arrival)) if found.is_some() => {
                let path = arrival.path().to_vec();
                in_the_way.push((check.step, Step::Remove { path, inode }));
            }
            (Expected::Free, _) => {}
            (
                _,
                Some(
                    Step::Move { inode: of, .. }
                    | Step::Remove { inode: of, .. }
                    | Step::RemoveDirectory { inode: of, .. },
                ),
            ) => *of = inode,
            _ => {}
        }
    }
    // From the last on, so that the places of those before stay.
    in_the_way.sort_by_key(|(place, _)| Reverse(*place));
    for (place, step) in in_the_way {
        plan.steps.insert(place.unwrap_or_default(), step);
    }
    Ok(())
}

/// What is wrong, and whether memory's version could be put in its place all the same.
fn find_conflict(
    mirror: &Mirror,
    names: &Names,
    check: &Check,
    found: Option<&TreeStat>,
) -> Result<Option<(&'static str, bool)>, Fault> {
    let number = match (&check.expected, found) {
        (Expected::Free, None) => return Ok(None),
        (Expected::Free, Some(found)) => {
            let can_replace = found.kind != TreeKind::Directory;
            return Ok(Some(("somebody else put it there", can_replace)));
        }
        (Expected::Node(number) | Expected::Dying(number), _) => *number,
    };
    let Some(node) = names.node(number) else {
        return Ok(None);
    };
    let Some(found) = found else {
        let can_replace = node.kind != FileType::Directory;
        return Ok(Some(("somebody else removed it", can_replace)));
    };
    let is_kind = match node.kind {
        FileType::File => found.kind == TreeKind::File,
        FileType::Directory => found.kind == TreeKind::Directory,
        FileType::Symlink => found.kind == TreeKind::Symlink,
    };
    if !is_kind {
        let can_replace = found.kind != TreeKind::Directory && node.kind != FileType::Directory;
        return Ok(Some(("somebody else replaced it", can_replace)));
    }
    let seen = node.file.and_then(|file| mirror.files.stamp(file));
    if seen.is_some_and(|seen| seen != Stamp::from(found)) {
        return Ok(Some(("somebody else changed it", true)));
    }
    // Otherwise it stays with what is in it, and is found with the next look at the tree.
    if let (Expected::Dying(_), OnExternalChange::Raise) = (&check.expected, mirror.rule()) {
        let listed = mirror.tree().list(&check.path);
        let listed = listed.map_err(|error| on_host(&check.path, error))?;
        if listed
            .iter()
            .any(|listed| names.child(number, &listed.name).is_none())
        {
            return Ok(Some(("somebody else put something into it", true)));
        }
    }
    Ok(None)
}

/// Adds steps for attributes that the host has otherwise.
fn add_attributes(
    mirror: &Mirror,
    names: &Names,
    plan: &mut Plan,
    looked: &Looked,
) -> Result<(), Fault> {
    for (number, path) in std::mem::take(&mut plan.attributes) {
        let Some(traits) = looked.traits.get(&number) else {
            continue;
        };
        let wanted = traits.attributes;
        let home = names.node(number).and_then(|node| node.homes.first());
        let inode = match home {
            None => 0,
            Some(home) => {
                let was = names.path(home.0, &home.1);
                let found = stat(mirror.tree(), &was).map_err(|error| on_host(&was, error))?;
                let Some(found) = found else { continue };
                let is_same = found.mode == wanted.mode
                    && found.owner == wanted.owner
                    && wanted.modified.is_none_or(|time| time == found.modified);
                if is_same {
                    continue;
                }
                found.inode
            }
        };
        plan.steps.push(Step::Attributes {
            path,
            inode,
            attributes: wanted,
        });
    }
    Ok(())
}

fn first_group(
    mirror: &Mirror,
    names: &Names,
    batch: &Batch,
    looked: &Looked,
    prepared: &Prepared,
) -> Result<Group, Fault> {
    let mut group = Group::new();
    // No commit begins before the one before it is done; besides, this tells the layout.
    group.push(&Record::Applied)?;
    group.append(&looked.group);
    group.append(&batch.names);
    for (number, traits) in &looked.traits {
        if traits.kind != FileType::File {
            continue;
        }
        let file = names.node(*number).and_then(|node| node.file);
        match (prepared.written.get(number), file) {
            (Some(written), _) => say_seen(&mut group, *number, &written.stamp, &written.sums)?,
            (None, Some(file)) => {
                if let Some(stamp) = mirror.files.stamp(file) {
                    say_seen(&mut group, *number, &stamp, &mirror.files.sums(file))?;
                }
            }
            (None, None) => {}
        }
    }
    for step in &prepared.plan.steps {
        group.push(&Record::Redo(step.as_redo()))?;
    }
    group.push(&Record::Counters(Counters {
        next_node: looked.next_node,
        next_segment: 0,
    }))?;
    Ok(group)
}

fn say_seen(group: &mut Group, node: u64, stamp: &Stamp, sums: &[u32]) -> Result<(), Fault> {
    let stamp = host_stamp(stamp);
    group.push(&Record::Seen { node, stamp })?;
    for (first, sums) in super::open::parts(sums) {
        group.push(&Record::Sums {
            node,
            first,
            sums: &sums,
        })?;
    }
    Ok(())
}
