//! What is watched: a directory or a name, and the names below it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

/// A name in a directory, by its number.
pub(super) type Spot = (u64, Box<[u8]>);

/// Knows the path of every watched node, as of the changes that it was told.
pub(super) struct Scope {
    /// From the root to the watched directory, or to the one with the watched name: numbers and names.
    chain: Vec<Spot>,
    /// The only name in that directory that is watched.
    only: Option<Box<[u8]>>,
    is_recursive: bool,
    /// Where the directories below are.
    directories: HashMap<u64, Spot>,
    /// Where files and links are.
    files: HashMap<u64, SmallVec<[Spot; 1]>>,
    /// How many of these names are in a directory, if any are.
    counts: HashMap<u64, usize>,
    /// What all that is known costs, in bytes.
    cost: u64,
}

/// What a name takes in the tables, beside itself, in bytes.
const NAME_COST: u64 = 96;

impl Scope {
    pub(super) fn new(chain: Vec<Spot>, only: Option<Box<[u8]>>, is_recursive: bool) -> Self {
        Scope {
            chain,
            only,
            is_recursive,
            directories: HashMap::new(),
            files: HashMap::new(),
            counts: HashMap::new(),
            cost: 0,
        }
    }

    /// The watched directory, or that with the watched name.
    pub(super) fn top(&self) -> u64 {
        self.chain.last().map_or(0, |(number, _)| *number)
    }

    pub(super) fn is_recursive(&self) -> bool {
        self.is_recursive
    }

    pub(super) fn has_only_a_name(&self) -> bool {
        self.only.is_some()
    }

    /// Whether the watched directory is, or is below, this one.
    pub(super) fn is_below(&self, directory: u64) -> bool {
        self.chain.iter().any(|(number, _)| *number == directory)
    }

    pub(super) fn top_path(&self) -> Vec<u8> {
        let mut path = Vec::new();
        for (_, name) in &self.chain[1..] {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    /// The watched directory, or one above it, is elsewhere from now on: below the last of `chain`.
    pub(super) fn move_chain(&mut self, moved: u64, name: &[u8], mut chain: Vec<Spot>) {
        if let Some(at) = self.chain.iter().position(|(number, _)| *number == moved) {
            chain.push((moved, name.into()));
            chain.extend(self.chain.drain(at + 1..));
            self.chain = chain;
        }
    }

    /// The path of a name in a directory, if it is watched.
    pub(super) fn path(&self, directory: u64, name: &[u8]) -> Option<Vec<u8>> {
        let top = self.top();
        if directory == top {
            if self.only.as_deref().is_some_and(|only| only != name) {
                return None;
            }
        } else if !self.directories.contains_key(&directory) {
            return None;
        }
        let mut names: SmallVec<[&[u8]; 8]> = SmallVec::new();
        names.push(name);
        let mut at = directory;
        while at != top {
            let (above, name) = self.directories.get(&at)?;
            names.push(name);
            at = *above;
        }
        let mut path = self.top_path();
        for name in names.iter().rev() {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Some(path)
    }

    /// The paths of a file.
    pub(super) fn paths(&self, file: u64) -> SmallVec<[Vec<u8>; 1]> {
        let spots = self.files.get(&file).into_iter().flatten();
        spots
            .filter_map(|(directory, name)| self.path(*directory, name))
            .collect()
    }

    /// Whether it is known that the name leads to this node.
    pub(super) fn knows(&self, spot: &Spot, node: u64, is_directory: bool) -> bool {
        match is_directory {
            true => self.directories.get(&node) == Some(spot),
            false => self
                .files
                .get(&node)
                .is_some_and(|spots| spots.contains(spot)),
        }
    }

    /// What it costs to know one more name, in bytes.
    pub(super) fn cost(name: &[u8]) -> u64 {
        NAME_COST + name.len() as u64
    }

    /// Knows where a node is.
    pub(super) fn add(&mut self, spot: Spot, node: u64, is_directory: bool) {
        if self.knows(&spot, node, is_directory) {
            return;
        }
        self.cost += Scope::cost(&spot.1);
        *self.counts.entry(spot.0).or_default() += 1;
        if !is_directory {
            self.files.entry(node).or_default().push(spot);
        } else if let Some(old) = self.directories.insert(node, spot) {
            self.discount(&old);
        }
    }

    /// A name that was known is not known any more.
    fn discount(&mut self, (directory, name): &Spot) {
        self.cost -= Scope::cost(name);
        if let Entry::Occupied(mut count) = self.counts.entry(*directory) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Knows no more that a node is there, nor of what is below it: O(1) if nothing is, and O(all that is known) otherwise.
    pub(super) fn remove(&mut self, spot: &Spot, node: u64, is_directory: bool) {
        if !self.knows(spot, node, is_directory) {
            return;
        }
        self.discount(spot);
        if is_directory {
            self.directories.remove(&node);
            if self.counts.contains_key(&node) {
                self.remove_below(node);
            }
        } else if let Some(spots) = self.files.get_mut(&node) {
            spots.retain(|other| other != spot);
            if spots.is_empty() {
                self.files.remove(&node);
            }
        }
    }

    fn remove_below(&mut self, directory: u64) {
        let mut gone = HashSet::from([directory]);
        let mut lost = Vec::new();
        loop {
            let below = |_: &u64, spot: &mut Spot| gone.contains(&spot.0);
            let found: Vec<_> = self.directories.extract_if(below).collect();
            if found.is_empty() {
                break;
            }
            for (number, spot) in found {
                gone.insert(number);
                lost.push(spot);
            }
        }
        self.files.retain(|_, spots| {
            spots.retain(|spot| {
                let stays = !gone.contains(&spot.0);
                if !stays {
                    lost.push(std::mem::take(spot));
                }
                stays
            });
            !spots.is_empty()
        });
        for spot in lost {
            self.discount(&spot);
        }
    }

    /// What all that is known costs, in bytes.
    pub(super) fn footprint(&self) -> u64 {
        self.cost
    }
}
