//! The host's tree as it was last seen, by the numbers of the nodes that mirror it.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::base::sync::Arc;
use crate::cold::host_files::{HostFiles, Spot, heap_bytes};
use crate::cold::segment::Extent;
use crate::namespace::inode::FileType;
use crate::namespace::volume::ROOT;

/// The content of a file is not known to memory yet, or is to be written whatever it is.
pub(super) const STALE: u64 = u64::MAX;
/// What an entry of a sorted map takes beside the name itself, in bytes: half empty nodes, and the links between them.
const ENTRY_BYTES: u64 = 40;

/// A node that the host has.
#[derive(Debug)]
pub(super) struct HostNode {
    pub(super) kind: FileType,
    /// Its names; a directory has one, the root none.
    pub(super) homes: SmallVec<[Spot; 1]>,
    /// Of a file: its number among the host's files.
    pub(super) file: Option<u32>,
    /// Of a file: the generation of the content in memory that the host has.
    pub(super) generation: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Names {
    nodes: HashMap<u64, HostNode, FixedState>,
    children: HashMap<u64, BTreeMap<Box<[u8]>, u64>, FixedState>,
    /// What names take, in bytes: each is in its directory and with its node.
    heap: u64,
    files: Arc<HostFiles>,
}

fn name_bytes(name: &[u8]) -> u64 {
    2 * heap_bytes(name.len()) + ENTRY_BYTES
}

impl Names {
    /// A root without names.
    pub(super) fn new(files: Arc<HostFiles>) -> Self {
        let mut names = Names {
            nodes: HashMap::default(),
            children: HashMap::default(),
            heap: 0,
            files,
        };
        names.nodes.insert(ROOT, HostNode::new(FileType::Directory));
        names
    }

    pub(super) fn node(&self, number: u64) -> Option<&HostNode> {
        self.nodes.get(&number)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Option<&mut HostNode> {
        self.nodes.get_mut(&number)
    }

    /// Calls `visit` with the number of every file of the host.
    pub(super) fn each_file(&self, visit: impl FnMut(u32)) {
        self.nodes
            .values()
            .filter_map(|node| node.file)
            .for_each(visit);
    }

    pub(super) fn child(&self, directory: u64, name: &[u8]) -> Option<u64> {
        self.children.get(&directory)?.get(name).copied()
    }

    /// The names in a directory.
    pub(super) fn children(&self, directory: u64) -> impl Iterator<Item = (&[u8], u64)> {
        let names = self.children.get(&directory).into_iter().flatten();
        names.map(|(name, child)| (&name[..], *child))
    }

    /// Whether the bytes of a copy can be had: others may have taken a file of the host away.
    pub(super) fn is_kept(&self, copy: Extent) -> bool {
        copy.host_file()
            .is_none_or(|(file, _)| self.files.is_kept(file))
    }

    /// The path of a name, as it was last seen.
    pub(super) fn path(&self, directory: u64, name: &[u8]) -> Vec<u8> {
        self.files.path(directory, name)
    }

    /// A node has one more name. What had it before has lost it.
    pub(super) fn add(&mut self, directory: u64, name: &[u8], number: u64, kind: FileType) {
        let spot: Spot = (directory, name.into());
        let node = self
            .nodes
            .entry(number)
            .or_insert_with(|| HostNode::new(kind));
        if kind == FileType::Directory {
            node.homes.clear();
            self.files.set_directory(number, spot.clone());
        }
        if !node.homes.contains(&spot) {
            node.homes.push(spot);
        }
        let names = self.children.entry(directory).or_default();
        if names.insert(name.into(), number).is_none() {
            self.heap += name_bytes(name);
        }
    }

    /// A name is gone. Returns the node that has none left; whoever asks forgets it.
    pub(super) fn remove(&mut self, directory: u64, name: &[u8]) -> Option<u64> {
        let number = self.children.get_mut(&directory)?.remove(name)?;
        self.heap -= name_bytes(name);
        let node = self.nodes.get_mut(&number)?;
        node.homes
            .retain(|home| (home.0, &home.1[..]) != (directory, name));
        if let (Some(file), Some(home)) = (node.file, node.homes.first()) {
            self.files.set_spot(file, home.clone());
        }
        node.homes.is_empty().then_some(number)
    }

    /// A node without names is no more. Returns its file.
    pub(super) fn forget(&mut self, number: u64) -> Option<u32> {
        let node = self.nodes.remove(&number)?;
        if node.kind == FileType::Directory {
            let names = self.children.remove(&number).unwrap_or_default();
            self.heap -= names.keys().map(|name| name_bytes(name)).sum::<u64>();
            self.files.forget_directory(number);
        }
        node.file
    }

    /// What all of this takes, in bytes; what of it is mostly empty is given back before.
    pub(super) fn footprint(&mut self) -> u64 {
        if self.nodes.len() < self.nodes.capacity() / 8 {
            self.nodes.shrink_to(2 * self.nodes.len());
        }
        if self.children.len() < self.children.capacity() / 8 {
            self.children.shrink_to(2 * self.children.len());
        }
        let maps = self.nodes.allocation_size() + self.children.allocation_size();
        maps as u64 + self.heap
    }
}

impl HostNode {
    fn new(kind: FileType) -> Self {
        HostNode {
            kind,
            homes: SmallVec::new(),
            file: None,
            generation: STALE,
        }
    }
}
