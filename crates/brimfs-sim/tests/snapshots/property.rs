//! Random operations, with snapshots, branches and restores between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use brimfs::face::check_directory;
use brimfs::{Diff, Durability, ErrorKind, FileSystem};
use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::medium::Medium;
use brimfs_sim::model::Limits;
use brimfs_sim::op::{Op, SLOTS, System};
use brimfs_sim::run::{Plan, explore};

use super::remove_all;
use super::seen::{Seen, Tree, tree};

/// What `diff` must agree with, as far as paths tell it.
fn check_diff(diff: &Diff, before: &Tree, after: &Tree) -> Result<(), String> {
    let renamed: BTreeMap<&[u8], &[u8]> = diff
        .renamed
        .iter()
        .map(|(from, to)| (&to[..], &from[..]))
        .collect();
    // Where a path of the newer tree was before, through the nearest directory that moved.
    let origin = |path: &[u8]| -> Vec<u8> {
        let mut end = path.len();
        loop {
            if let Some(from) = renamed.get(&path[..end]) {
                return [from, &path[end..]].concat();
            }
            match path[..end].iter().rposition(|byte| *byte == b'/') {
                Some(at) => end = at,
                None => return path.to_vec(),
            }
        }
    };
    let added: BTreeSet<&[u8]> = diff.added.iter().map(|path| &path[..]).collect();
    let changed: BTreeSet<&[u8]> = diff.changed.iter().map(|path| &path[..]).collect();
    let mut kept = BTreeSet::new();
    for (path, seen) in after {
        if added.contains(&path[..]) {
            continue;
        }
        let from = origin(path);
        let Some(old) = before.get(&from) else {
            return Err(format!(
                "{} came from nowhere",
                String::from_utf8_lossy(path)
            ));
        };
        kept.insert(from);
        let same = Seen {
            links: seen.links,
            ..old.clone()
        };
        // Bytes that are the same may have been written anew.
        if same != *seen && !changed.contains(&path[..]) {
            let path = String::from_utf8_lossy(path);
            return Err(format!("{path} changed: {old:?} then, {seen:?} now"));
        }
    }
    let removed: BTreeSet<Vec<u8>> = diff.removed.iter().cloned().collect();
    let gone: BTreeSet<Vec<u8>> = before
        .keys()
        .filter(|path| !kept.contains(*path))
        .cloned()
        .collect();
    match gone == removed {
        true => Ok(()),
        false => Err(format!("{gone:?} are gone, and {removed:?} are said to be")),
    }
}

pub(super) fn same(what: &str, expected: &Tree, found: &Tree) -> Result<(), String> {
    for path in expected.keys().chain(found.keys()) {
        let (expected, found) = (expected.get(path), found.get(path));
        if expected != found {
            let path = String::from_utf8_lossy(path);
            return Err(format!(
                "{what}: {path} is {found:?} instead of {expected:?}"
            ));
        }
    }
    Ok(())
}

/// A filesystem, and snapshots with what it was when they were made.
struct World {
    system: Brimfs,
    snapshots: Vec<(FileSystem, Tree)>,
}

impl World {
    fn fs(&self) -> &FileSystem {
        self.system.fs()
    }

    fn take(&mut self) -> Result<(), String> {
        let before = tree(self.fs());
        match self.fs().snapshot() {
            Ok(snapshot) => {
                same("the snapshot", &before, &tree(&snapshot))?;
                same("the filesystem", &before, &tree(self.fs()))?;
                let diff = self
                    .fs()
                    .diff(&snapshot)
                    .map_err(|error| error.to_string())?;
                if !diff.is_empty() {
                    return Err(format!("at once {diff:?}"));
                }
                self.snapshots.push((snapshot, before));
            }
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => {}
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }

    fn restore(&mut self, number: usize) -> Result<(), String> {
        let (snapshot, expected) = &self.snapshots[number];
        let before = tree(self.fs());
        match self.fs().restore(snapshot) {
            Ok(()) => {
                same("what was restored", expected, &tree(self.fs()))?;
                let diff = self
                    .fs()
                    .diff(snapshot)
                    .map_err(|error| error.to_string())?;
                match diff.is_empty() {
                    true => Ok(()),
                    false => Err(format!("after restoring {diff:?}")),
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::QuotaExceeded | ErrorKind::NodeLimit
                ) =>
            {
                same("what could not be restored", &before, &tree(self.fs()))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn branch(&self, ops: &[Op]) -> Result<(), String> {
        let before = tree(self.fs());
        let (parent, expected) = match self.snapshots.last() {
            Some((snapshot, tree)) => (snapshot, tree),
            None => (self.fs(), &before),
        };
        let branch = match parent.branch() {
            Ok(branch) => branch,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::QuotaExceeded | ErrorKind::NodeLimit
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        same("the branch", expected, &tree(&branch))?;
        for path in expected.keys() {
            // What is refused is refused on this side only too.
            let _ = branch.append(path, b"more");
            let _ = branch.remove_file([&path[..], b"x"].concat());
        }
        let _ = branch.write("/only here", vec![b'x'; ops.len() * 300]);
        same("beside the branch", &before, &tree(self.fs()))?;
        drop(branch);
        same("without the branch", &before, &tree(self.fs()))
    }

    fn check(&self) -> Result<(), String> {
        for (number, (snapshot, expected)) in self.snapshots.iter().enumerate() {
            same(&format!("snapshot {number}"), expected, &tree(snapshot))?;
            let diff = self
                .fs()
                .diff(snapshot)
                .map_err(|error| error.to_string())?;
            check_diff(&diff, expected, &tree(self.fs()))
                .map_err(|why| format!("{why}; {diff:?}"))?;
        }
        Ok(())
    }

    fn audit(&self) -> Result<(), String> {
        let twins: Vec<FileSystem> = self.snapshots.iter().map(|(fs, _)| fs.clone()).collect();
        let mut patience = 2000;
        loop {
            match self.fs().audit_with(&twins) {
                Err(_) if patience > 0 => patience -= 1,
                done => return done,
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Nothing is read as a whole that is nearly all hole.
pub(super) fn is_worth_trying(fs: &FileSystem, op: &Op) -> bool {
    match op {
        Op::CheckAll => false,
        Op::ReadAll { path } | Op::View { path, .. } => {
            let found = fs.metadata(&path.0);
            found.is_ok_and(|found| found.len() <= 24 << 20)
        }
        _ => true,
    }
}

/// Applies operations, and between them makes, checks, restores and drops snapshots.
fn work(world: &mut World, seed: u64, ops: &[Op]) -> Result<(), String> {
    for (number, op) in ops.iter().enumerate() {
        if is_worth_trying(world.fs(), op) {
            drop(world.system.apply(op));
        }
        let turn = seed.wrapping_mul(31).wrapping_add(number as u64) % 40;
        let chosen = number % world.snapshots.len().max(1);
        let done = match turn {
            0 | 20 if world.snapshots.len() < 4 => world.take(),
            0 => {
                world.snapshots.remove(chosen);
                Ok(())
            }
            10 if !world.snapshots.is_empty() => world.restore(chosen),
            15 => world.branch(ops),
            25 | 35 => world.check(),
            _ => Ok(()),
        };
        done.map_err(|why| format!("behind operation {number}: {why}"))?;
    }
    world.check()?;
    for slot in 0..SLOTS {
        drop(world.system.apply(&Op::Close { slot }));
        drop(world.system.apply(&Op::DropView { slot }));
    }
    world.audit()
}

fn trial(seed: u64, ops: &[Op], system: Brimfs) -> Result<(), String> {
    let mut world = World {
        system,
        snapshots: Vec::new(),
    };
    work(&mut world, seed, ops)?;
    while let Some((snapshot, _)) = world.snapshots.pop() {
        let own = snapshot.usage().map_err(|error| error.to_string())?.private;
        let before = world.fs().stats().quota_used;
        drop(snapshot);
        world.audit()?;
        let given = before - world.fs().stats().quota_used;
        if given != own {
            return Err(format!(
                "a snapshot said {own} bytes are its own, and gave {given} back"
            ));
        }
    }
    let alone = world.fs().usage().map_err(|error| error.to_string())?;
    let used = world.fs().stats().quota_used;
    if (alone.private, alone.shared) != (used, 0) {
        return Err(format!("{alone:?} of {used} bytes that nobody else has"));
    }
    remove_all(world.fs()).map_err(|error| error.to_string())?;
    world.audit()?;
    let stats = world.fs().stats();
    match (stats.quota_used, stats.files) {
        (0, 0) => Ok(()),
        left => Err(format!("{left:?} are left")),
    }
}

/// The same in a directory, which must have what was restored when it is opened again.
fn trial_in_store(seed: u64, ops: &[Op]) -> Result<(), String> {
    let medium = Medium::new();
    let builder = FileSystem::builder()
        .memory_limit(64 << 20)
        .durability(match seed % 2 {
            0 => Durability::Manual,
            _ => Durability::Interval(Duration::from_millis(1)),
        });
    let directory = Arc::new(medium.clone());
    let mut world = World {
        system: Brimfs::with_store(limits_of(seed), builder.clone(), directory)?,
        snapshots: Vec::new(),
    };
    work(&mut world, seed, ops)?;
    let last = tree(world.fs());
    world.fs().close().map_err(|error| error.to_string())?;
    drop(world);
    let directory = Arc::new(medium.clone());
    let report = check_directory(directory.clone(), &mut |_| {});
    let report = report.map_err(|fault| format!("{fault:?}"))?;
    if !report.is_sound() {
        return Err(format!("{report:?}"));
    }
    let fs = builder
        .open_in(directory)
        .map_err(|error| error.to_string())?;
    same("what was opened again", &last, &tree(&fs))
}

pub(super) fn limits_of(seed: u64) -> Limits {
    Limits {
        quota: [None, Some(1 << 20), Some(64 << 10)][(seed % 3) as usize],
        max_nodes: [None, None, Some(9)][(seed / 3 % 3) as usize],
    }
}

#[test]
fn snapshots_stay_what_the_filesystem_was_and_it_becomes_that_again() {
    explore("snapshots", Plan::from_env(400), 120, |seed, ops| {
        trial(seed, ops, Brimfs::new(limits_of(seed))?)
    });
}

#[test]
fn snapshots_stay_what_the_filesystem_was_when_everything_is_spilled() {
    explore("snapshots", Plan::from_env(100), 120, |seed, ops| {
        trial(seed, ops, Brimfs::with_disk(limits_of(seed))?)
    });
}

#[test]
fn a_store_keeps_what_was_restored() {
    explore("snapshots", Plan::from_env(150), 120, trial_in_store);
}
