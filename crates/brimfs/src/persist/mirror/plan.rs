//! What has to be done with the host's tree so that it is what memory has: pure, from what was last seen and what changed.
//!
//! Directories that change places move aside first and then, from the top down, to where they belong. Files and links
//! take their places from temporary ones, so that a name leads to the old or the new file and never to none. What is gone is
//! removed last, unless its name is needed for something that cannot replace it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::cold::host_files::Spot;
use crate::io::tree::join;
use crate::namespace::inode::FileType;
use crate::namespace::volume::ROOT;

use super::look::{Job, Traits};
use super::names::Names;
use super::steps::{Step, waiting};

/// A name that is to lead to a file or link from a temporary one.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) number: u64,
    pub(super) spot: Spot,
    pub(super) path: Vec<u8>,
    /// Number of the temporary file.
    pub(super) temporary: u64,
}

/// What a path has to lead to before the steps are done, or somebody else changed it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing.
    Free,
    /// The file or link that this node is.
    Node(u64),
    /// The directory that this node is, which is removed with all of its names.
    Dying(u64),
}

#[derive(Debug)]
pub(super) struct Check {
    pub(super) path: Vec<u8>,
    pub(super) expected: Expected,
    /// The step that names the inode that is found, or, where nothing is expected, brings a directory.
    pub(super) step: Option<usize>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) checks: Vec<Check>,
    pub(super) placements: Vec<Placement>,
    /// Names that lead nowhere afterwards, or to something else.
    pub(super) removed: Vec<Spot>,
    /// Directories and where they are afterwards: those that are new or moved.
    pub(super) directories: Vec<(u64, Spot)>,
    /// Nodes that may need other attributes, and where they are afterwards.
    pub(super) attributes: Vec<(u64, Vec<u8>)>,
}

struct Planner<'a> {
    names: &'a Names,
    traits: &'a BTreeMap<u64, Traits>,
    changed: BTreeMap<Spot, Option<u64>>,
    /// Directories that are new or moved, and where they are then.
    arriving: BTreeMap<u64, Spot>,
    plan: Plan,
}

/// Plans a commit. Temporary files are numbered from `*temporary` on.
pub(super) fn plan(
    names: &Names,
    changed: BTreeMap<Spot, Option<u64>>,
    traits: &BTreeMap<u64, Traits>,
    jobs: &BTreeMap<u64, Job>,
    temporary: &mut u64,
) -> Plan {
    let mut planner = Planner {
        names,
        traits,
        changed,
        arriving: BTreeMap::new(),
        plan: Plan::default(),
    };
    planner.settle_names();
    planner.place(jobs, temporary);
    planner.order();
    planner.plan
}

impl Planner<'_> {
    fn kind(&self, number: u64) -> Option<FileType> {
        let known = self.names.node(number).map(|node| node.kind);
        self.traits.get(&number).map(|traits| traits.kind).or(known)
    }

    fn is_directory(&self, number: u64) -> bool {
        self.kind(number) == Some(FileType::Directory)
    }

    fn old(&self, spot: &Spot) -> Option<u64> {
        self.names.child(spot.0, &spot.1)
    }

    /// Keeps what really changed, adds what goes with directories that are gone, and drops what never came to be.
    fn settle_names(&mut self) {
        let names = self.names;
        self.changed
            .retain(|spot, new| names.child(spot.0, &spot.1) != *new);
        let arriving: Vec<(u64, Spot)> = self
            .changed
            .iter()
            .filter_map(|(spot, new)| Some(((*new)?, spot.clone())))
            .filter(|(number, _)| self.is_directory(*number))
            .collect();
        self.arriving = arriving.into_iter().collect();
        let mut alive = BTreeMap::from([(ROOT, true)]);
        let dead: Vec<Spot> = self
            .changed
            .iter()
            .filter(|(_, new)| new.is_some())
            .map(|(spot, _)| spot.clone())
            .filter(|spot| !self.is_alive(spot.0, &mut alive))
            .collect();
        for spot in dead {
            if let Some(Some(number)) = self.changed.insert(spot.clone(), None)
                && self.arriving.get(&number) == Some(&spot)
            {
                self.arriving.remove(&number);
            }
        }
        self.changed
            .retain(|spot, new| names.child(spot.0, &spot.1) != *new);
        // A directory that is removed as a whole takes its names with it.
        let mut going: Vec<u64> = self.dying().collect();
        while let Some(directory) = going.pop() {
            for (name, child) in self.names.children(directory) {
                let spot: Spot = (directory, name.into());
                if self.changed.contains_key(&spot) {
                    continue;
                }
                self.changed.insert(spot, None);
                if self.is_directory(child) && !self.arriving.contains_key(&child) {
                    going.push(child);
                }
            }
        }
    }

    /// Directories that lose their name and get none.
    fn dying(&self) -> impl Iterator<Item = u64> {
        self.changed
            .keys()
            .filter_map(|spot| self.old(spot))
            .filter(|old| self.is_directory(*old) && !self.arriving.contains_key(old))
    }

    fn home(&self, directory: u64) -> Option<Spot> {
        let arriving = self.arriving.get(&directory).cloned();
        arriving.or_else(|| self.names.node(directory)?.homes.first().cloned())
    }

    /// Whether a directory is part of the tree afterwards.
    fn is_alive(&self, directory: u64, alive: &mut BTreeMap<u64, bool>) -> bool {
        let mut way = Vec::new();
        let mut at = directory;
        let is_alive = loop {
            if let Some(known) = alive.get(&at) {
                break *known;
            }
            way.push(at);
            let Some(home) = self.home(at) else {
                break false;
            };
            let there = self.changed.get(&home).copied();
            if there.unwrap_or_else(|| self.old(&home)) != Some(at) {
                break false;
            }
            at = home.0;
        };
        alive.extend(way.into_iter().map(|number| (number, is_alive)));
        is_alive
    }

    /// Where a directory is afterwards; one that is gone, where it is before it goes.
    fn path_then(&self, directory: u64) -> Vec<u8> {
        self.path_by(directory, |number| self.home(number).map(Ok))
    }

    /// Where a directory is while those that move wait.
    fn path_meanwhile(&self, directory: u64) -> Vec<u8> {
        self.path_by(directory, |number| {
            let home = self.names.node(number)?.homes.first().cloned()?;
            Some(match self.arriving.contains_key(&number) {
                true => Err(waiting(number)),
                false => Ok(home),
            })
        })
    }

    fn path_by(
        &self,
        directory: u64,
        home: impl Fn(u64) -> Option<Result<Spot, Vec<u8>>>,
    ) -> Vec<u8> {
        let mut below: Vec<Box<[u8]>> = Vec::new();
        let mut at = directory;
        let mut path = Vec::new();
        while at != ROOT {
            match home(at) {
                Some(Ok((above, name))) => {
                    below.push(name);
                    at = above;
                }
                Some(Err(fixed)) => {
                    path = fixed;
                    break;
                }
                None => break,
            }
        }
        for name in below.iter().rev() {
            path = join(&path, name);
        }
        path
    }

    /// Which names get files and links, and who may need other attributes.
    fn place(&mut self, jobs: &BTreeMap<u64, Job>, temporary: &mut u64) {
        let mut spots: BTreeSet<(Spot, u64)> = BTreeSet::new();
        for (spot, new) in &self.changed {
            if let Some(new) = new
                && !self.is_directory(*new)
            {
                spots.insert((spot.clone(), *new));
            }
        }
        for number in jobs.keys() {
            for home in self
                .names
                .node(*number)
                .into_iter()
                .flat_map(|node| &node.homes)
            {
                if !self.changed.contains_key(home) {
                    spots.insert((home.clone(), *number));
                }
            }
        }
        let mut placed = BTreeSet::new();
        for (spot, number) in spots {
            let path = join(&self.path_then(spot.0), &spot.1);
            // Content brings its attributes along.
            if !jobs.contains_key(&number) && placed.insert(number) {
                self.plan.attributes.push((number, path.clone()));
            }
            placed.insert(number);
            self.plan.placements.push(Placement {
                number,
                spot,
                path,
                temporary: *temporary,
            });
            *temporary += 1;
        }
        for (number, traits) in self.traits {
            if placed.contains(number) || *number == ROOT || traits.kind == FileType::Symlink {
                continue;
            }
            let home = match traits.kind {
                FileType::Directory => self.home(*number),
                _ => self.staying(*number),
            };
            if let Some((directory, name)) = home {
                let path = join(&self.path_then(directory), &name);
                self.plan.attributes.push((*number, path));
            }
        }
    }

    /// A name that a file keeps.
    fn staying(&self, number: u64) -> Option<Spot> {
        let homes = &self.names.node(number)?.homes;
        homes
            .iter()
            .find(|home| !self.changed.contains_key(*home))
            .cloned()
    }

    fn push(&mut self, step: Step, check: Option<(Vec<u8>, Expected)>) {
        if let Some((path, expected)) = check {
            self.plan.checks.push(Check {
                path,
                expected,
                step: Some(self.plan.steps.len()),
            });
        }
        self.plan.steps.push(step);
    }

    fn order(&mut self) {
        let moved: Vec<u64> = self
            .arriving
            .keys()
            .copied()
            .filter(|number| self.names.node(*number).is_some())
            .collect();
        let removed: Vec<(Spot, u64)> = self
            .changed
            .keys()
            .filter_map(|spot| Some((spot.clone(), self.old(spot)?)))
            .collect();
        let is_early = removed.iter().any(|(spot, old)| {
            let new = self.changed.get(spot).copied().flatten();
            let stays = self.arriving.contains_key(old);
            !stays && new.is_some_and(|new| self.is_directory(new) || self.is_directory(*old))
        });
        if is_early {
            self.remove_files(&removed, true);
        }
        let direct = self.direct(&moved);
        self.set_aside(&moved, direct);
        if is_early {
            self.remove_directories(&removed, true);
        }
        self.arrive(direct);
        for placement in &self.plan.placements {
            let was = self.names.child(placement.spot.0, &placement.spot.1);
            let path = self.names.path(placement.spot.0, &placement.spot.1);
            let expected = match was {
                Some(was) if !self.is_directory(was) => Expected::Node(was),
                Some(_) => continue,
                // In a directory that is new or moves there can be no strangers that it does not bring along.
                None if self.arriving.contains_key(&placement.spot.0) => continue,
                None => Expected::Free,
            };
            self.plan.checks.push(Check {
                path,
                expected,
                step: None,
            });
        }
        for placement in &self.plan.placements {
            self.plan.steps.push(Step::Place {
                temporary: placement.temporary,
                to: placement.path.clone(),
            });
        }
        if !is_early {
            self.remove_files(&removed, false);
            self.remove_directories(&removed, false);
        }
        self.plan.removed = removed.into_iter().map(|(spot, _)| spot).collect();
        self.plan.directories = std::mem::take(&mut self.arriving).into_iter().collect();
    }

    /// The one directory that moves and can do so at once.
    fn direct(&self, moved: &[u64]) -> Option<u64> {
        let [only] = moved else { return None };
        let to = self.arriving.get(only)?;
        let is_free = self.old(to).is_none() && self.names.node(to.0).is_some();
        is_free.then_some(*only)
    }

    /// What moves waits beside the tree, the innermost first; or goes where it belongs, if that is possible at once.
    fn set_aside(&mut self, moved: &[u64], direct: Option<u64>) {
        let old = |number: &u64| {
            let home = self.names.node(*number)?.homes.first()?;
            Some(self.names.path(home.0, &home.1))
        };
        let mut from: Vec<(Vec<u8>, u64)> = moved
            .iter()
            .filter_map(|number| Some((old(number)?, *number)))
            .collect();
        from.sort_by_key(|(path, _)| Reverse(depth(path)));
        for (from, number) in from {
            let to = match direct {
                Some(_) => self.path_then(number),
                None => waiting(number),
            };
            if let (Some(_), Some(spot)) = (direct, self.arriving.get(&number).cloned()) {
                self.expect_free(&spot);
            }
            let check = Some((from.clone(), Expected::Node(number)));
            let inode = 0;
            self.push(Step::Move { from, to, inode }, check);
        }
    }

    /// The next step brings a directory to a name that was nobody's.
    fn expect_free(&mut self, spot: &Spot) {
        // In a directory that is new or moves there can be no strangers that it does not bring along.
        if self.old(spot).is_none() && !self.arriving.contains_key(&spot.0) {
            self.plan.checks.push(Check {
                path: self.names.path(spot.0, &spot.1),
                expected: Expected::Free,
                step: Some(self.plan.steps.len()),
            });
        }
    }

    /// New directories, and those that wait, from the top down.
    fn arrive(&mut self, direct: Option<u64>) {
        let mut arriving: Vec<(Vec<u8>, u64)> = self
            .arriving
            .keys()
            .filter(|number| direct != Some(**number))
            .map(|number| (self.path_then(*number), *number))
            .collect();
        arriving.sort_by_key(|(path, _)| depth(path));
        for (path, number) in arriving {
            let spot = self.arriving[&number].clone();
            self.expect_free(&spot);
            if self.names.node(number).is_some() {
                let homes = self.names.node(number).map(|node| &node.homes[..]);
                let was = homes.and_then(<[Spot]>::first);
                let was = was.map(|home| self.names.path(home.0, &home.1));
                let from = waiting(number);
                let (to, inode) = (path, 0);
                let check = was.map(|was| (was, Expected::Node(number)));
                self.push(Step::Move { from, to, inode }, check);
                continue;
            }
            let mode = self
                .traits
                .get(&number)
                .map(|traits| traits.attributes.mode);
            let mode = mode.unwrap_or(0o755) | 0o700;
            self.plan.steps.push(Step::MakeDirectory { path, mode });
        }
    }

    fn remove_files(&mut self, removed: &[(Spot, u64)], is_early: bool) {
        for (spot, old) in removed {
            let new = self.changed.get(spot).copied().flatten();
            let is_replaced = new.is_some_and(|new| !self.is_directory(new));
            if self.is_directory(*old) || is_replaced {
                continue;
            }
            let was = self.names.path(spot.0, &spot.1);
            let path = match is_early {
                true => was.clone(),
                false => join(&self.path_then(spot.0), &spot.1),
            };
            let check = Some((was, Expected::Node(*old)));
            self.push(Step::Remove { path, inode: 0 }, check);
        }
    }

    fn remove_directories(&mut self, removed: &[(Spot, u64)], is_early: bool) {
        let mut dying: Vec<(Vec<u8>, Vec<u8>, u64)> = removed
            .iter()
            .filter(|(_, old)| self.is_directory(*old) && !self.arriving.contains_key(old))
            .map(|(spot, old)| {
                let directory = match is_early {
                    true => self.path_meanwhile(spot.0),
                    false => self.path_then(spot.0),
                };
                let was = self.names.path(spot.0, &spot.1);
                (join(&directory, &spot.1), was, *old)
            })
            .collect();
        dying.sort_by_key(|(path, _, _)| Reverse(depth(path)));
        for (path, was, number) in dying {
            let check = Some((was, Expected::Dying(number)));
            self.push(Step::RemoveDirectory { path, inode: 0 }, check);
        }
    }
}

fn depth(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count()
}
