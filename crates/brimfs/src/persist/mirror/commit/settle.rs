//! What is known of the host's tree after the steps of a commit.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::cold::host_files::{HostFiles, Stamp};
use crate::io::tree::{TreeFile, TreeStat};
use crate::journal::Group;
use crate::namespace::inode::FileType;
use crate::persist::mirror::Mirror;
use crate::persist::mirror::look::Job;
use crate::persist::mirror::names::Names;
use crate::persist::mirror::plan::Placement;
use crate::persist::mirror::steps::{Step, on_host, stat};
use crate::persist::mirror::write::WrittenFile;

use super::{Looked, Prepared, say_seen};

/// The steps are done: what the host has from now on. Says so in records, and returns a path that did not come to be.
pub(super) fn settle(
    mirror: &Mirror,
    names: &mut Names,
    prepared: &Prepared,
    looked: &Looked,
    group: &mut Group,
) -> Result<Option<Vec<u8>>, Fault> {
    let plan = &prepared.plan;
    let files = &mirror.files;
    let mut missed = None;
    let mut kept: BTreeMap<u32, Arc<dyn TreeFile>> = prepared
        .kept
        .iter()
        .map(|(file, open)| (*file, open.clone()))
        .collect();
    let mut lose = |file: u32| {
        files.set_nameless(file, kept.remove(&file));
        files.release(file);
    };
    // Nodes that keep a name under another one are known until that is entered.
    let mut nameless = Vec::new();
    for spot in &plan.removed {
        nameless.extend(names.remove(spot.0, &spot.1));
    }
    for (number, spot) in &plan.directories {
        names.add(spot.0, &spot.1, *number, FileType::Directory);
    }
    let mut changed: BTreeSet<u64> = looked.traits.keys().copied().collect();
    for placement in &plan.placements {
        let (number, spot) = (placement.number, &placement.spot);
        let path = &placement.path;
        let found = stat(mirror.tree(), path).map_err(|error| on_host(path, error))?;
        let wanted = prepared.inodes.get(&placement.temporary);
        let Some(found) = found.filter(|found| Some(&found.inode) == wanted) else {
            missed.get_or_insert_with(|| path.clone());
            continue;
        };
        let Some(traits) = looked.traits.get(&number) else {
            continue;
        };
        names.add(spot.0, &spot.1, number, traits.kind);
        changed.insert(number);
        if let Some(written) = prepared.written.get(&number)
            && let Some(job) = looked.jobs.get(&number)
            && let Some(old) = enter_written(files, names, placement, written, job, &found)?
        {
            lose(old);
        }
        if !prepared.written.contains_key(&number) {
            take_over(files, names, number, &found);
        }
        if let Some(node) = names.node(number)
            && let (Some(file), Some(home)) = (node.file, node.homes.first())
        {
            files.set_spot(file, home.clone());
        }
    }
    for number in nameless {
        let is_gone = names.node(number).is_some_and(|node| node.homes.is_empty());
        if is_gone && let Some(file) = names.forget(number) {
            lose(file);
        }
    }
    refresh_stamps(mirror, names, &changed, prepared, group)?;
    Ok(missed)
}

/// Where the host has no hard links a copy takes the place of a file that gets another name: the same bytes under another stamp.
fn take_over(files: &HostFiles, names: &Names, number: u64, found: &TreeStat) {
    let file = names.node(number).and_then(|node| node.file);
    if let Some(file) = file
        && files
            .stamp(file)
            .is_some_and(|seen| seen.inode != found.inode)
    {
        files.set_stamp(file, Stamp::from(found));
    }
}

/// The file that was written is the one that mirrors its node. Returns the one that was.
fn enter_written(
    files: &HostFiles,
    names: &mut Names,
    placement: &Placement,
    written: &WrittenFile,
    job: &Job,
    found: &TreeStat,
) -> Result<Option<u32>, Fault> {
    let number = placement.number;
    let is_entered = names
        .node(number)
        .is_some_and(|node| node.generation == job.generation && node.file.is_some());
    if is_entered {
        return Ok(None);
    }
    let is_same = Stamp {
        changed: found.changed,
        ..written.stamp
    } == Stamp::from(found);
    let sums = match is_same {
        true => written.sums.clone(),
        false => Vec::new(),
    };
    let file = files.add(placement.spot.clone(), Stamp::from(found), sums)?;
    let Some(node) = names.node_mut(number) else {
        return Ok(None);
    };
    node.generation = job.generation;
    Ok(node.file.replace(file))
}

/// Names and attributes that changed have changed stamps, of the same content.
fn refresh_stamps(
    mirror: &Mirror,
    names: &Names,
    changed: &BTreeSet<u64>,
    prepared: &Prepared,
    group: &mut Group,
) -> Result<(), Fault> {
    let files = &mirror.files;
    let attributes: BTreeSet<&[u8]> = prepared
        .plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Attributes { path, .. } => Some(&path[..]),
            _ => None,
        })
        .collect();
    for number in changed {
        let Some(node) = names.node(*number) else {
            continue;
        };
        let (Some(file), Some(home)) = (node.file, node.homes.first()) else {
            continue;
        };
        let Some(seen) = files.stamp(file) else {
            continue;
        };
        let path = names.path(home.0, &home.1);
        let found = stat(mirror.tree(), &path).map_err(|error| on_host(&path, error))?;
        let Some(found) = found.map(|found| Stamp::from(&found)) else {
            continue;
        };
        let is_set = attributes.contains(&path[..]);
        let expected = Stamp {
            changed: found.changed,
            modified: if is_set {
                found.modified
            } else {
                seen.modified
            },
            ..seen
        };
        if expected == found {
            files.set_stamp(file, found);
            say_seen(group, *number, &found, &files.sums(file))?;
        }
    }
    Ok(())
}
