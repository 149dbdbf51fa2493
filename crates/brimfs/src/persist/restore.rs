//! The tree of an image: nodes, names and content that is cold, checked as they are put together.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;
use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak};
use crate::cold::segment::{Extent, Id, Layer, Stack, Store};
use crate::journal::{self, NodeKind, Time};
use crate::memory::chunk::{CHUNK, Chunk};
use crate::memory::content::Content;
use crate::memory::delta::ColdForm;
use crate::memory::residence::NEVER_MAX;
use crate::memory::tier::{Identity, Location, Residents};
use crate::mover::Mover;
use crate::namespace::directory::Directory;
use crate::namespace::inode::{Body, Inode};
use crate::namespace::restored::Restored;
use crate::namespace::times::Timestamp;
use crate::namespace::volume::{ROOT, Volume};

use super::corrupt;
use super::image::{About, Entry, Image, NODE_MAX, Names, Node, Patches};
use super::known::{self, Known, Units};
use super::numbers::Numbers;

/// One extent that was read, as the segment store and memory know it.
pub(super) struct Placed {
    index: u64,
    pub(super) extent: Extent,
    pub(super) form: Form,
}

/// What a cold unit is, but for where it lies.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) identity: Identity,
    data_end: usize,
    blocks: u64,
}

/// All extents of an image that a node with a name may have: one for each reference.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for an extent that can lie nowhere.
pub(super) fn live(image: &Image) -> Result<Vec<Extent>, Fault> {
    let mut live = Vec::new();
    for (number, node) in image.nodes.iter() {
        for extent in &node.extents {
            live.push(extent_of(number, extent)?);
            for overlay in node.overlays_at(extent.offset) {
                live.push(layer_of(number, extent, overlay)?.extent);
            }
        }
    }
    Ok(live)
}

/// A record that lies over an extent.
pub(super) fn layer_of(
    number: u64,
    base: &journal::Extent,
    overlay: &journal::Overlay,
) -> Result<Layer, Fault> {
    let record = overlay.record_over(base).ok_or_else(|| {
        corrupt(format!(
            "layer {} of node {number} at {} has pages that it does not lie over",
            overlay.layer, base.offset
        ))
    })?;
    Ok(Layer {
        id: id_of(&record),
        extent: extent_of(number, &record)?,
        pages: overlay.pages,
    })
}

/// The name that the record of an extent has.
pub(super) fn id_of(extent: &journal::Extent) -> Id {
    Id {
        inode: extent.owner,
        index: extent.index,
        generation: extent.generation,
    }
}

pub(super) fn extent_of(number: u64, extent: &journal::Extent) -> Result<Extent, Fault> {
    Extent::from_parts(
        extent.segment,
        extent.place,
        extent.stored,
        extent.record_len,
    )
    .ok_or_else(|| {
        corrupt(format!(
            "content of node {number} is said to lie where none can: {extent:?}"
        ))
    })
}

/// What came of an image.
pub(super) struct Tree {
    pub(super) known: Known,
    /// Nodes that no name leads to.
    pub(super) nameless: Vec<u64>,
    pub(super) patched: Vec<Patched>,
}

/// Builds the tree below the root of a new volume. O(nodes).
///
/// # Errors
/// [`ErrorKind::Corrupt`] where records contradict each other; the limits of the filesystem where what is
/// there is more.
pub(super) fn restore(
    mut image: Image,
    live: Vec<Extent>,
    root: &Arc<Inode>,
    (mover, segments): (&Mover, &Store),
) -> Result<Tree, Fault> {
    if let Some((_, text)) = image.bad_numbers(NODE_MAX).next() {
        return Err(corrupt(text));
    }
    let volume = root.volume();
    let mut tree = Tree {
        known: Known::default(),
        nameless: Vec::new(),
        patched: Vec::new(),
    };
    volume.go_on_from(image.next_node);
    let Some(about) = image.nodes.remove(ROOT).and_then(|node| node.about) else {
        // A store that was made and nothing more.
        return match image.nodes.is_empty() {
            true => Ok(tree),
            false => Err(corrupt("there are nodes and no root".into())),
        };
    };
    if about.kind != NodeKind::Directory {
        return Err(corrupt("the root is no directory".into()));
    }
    let Image {
        nodes, directories, ..
    } = image;
    let mut builder = Builder {
        directories,
        nodes: Numbers::default(),
        volume,
        mover,
        segments,
        shared: shared(live),
        stacks: HashMap::default(),
        tree: &mut tree,
    };
    builder.traits(root, &about)?;
    builder.tree.known.add(ROOT);
    builder.nodes(nodes)?;
    builder.names(root)?;
    Ok(tree)
}

/// Nodes are made in the order of their numbers, in which they lie in memory; names are given afterwards.
struct Builder<'a> {
    /// Names that no node got yet.
    directories: HashMap<u64, Names, FixedState>,
    /// All nodes with a name, but the root.
    nodes: Numbers<Arc<Inode>>,
    volume: &'a Arc<Volume>,
    mover: &'a Mover,
    segments: &'a Store,
    /// Chunks of more than one file, once they are there.
    shared: Shared,
    /// Stacks of more than one file.
    stacks: HashMap<Stack, Extent, FixedState>,
    tree: &'a mut Tree,
}

/// A file, and bytes that take precedence over what it has.
pub(super) type Patched = (Arc<Inode>, Patches);

/// Chunks of more than one file, and the first file.
type Shared = HashMap<Extent, Option<(Arc<Chunk>, Arc<Inode>)>, FixedState>;

/// The extents that occur more than once.
fn shared(mut live: Vec<Extent>) -> Shared {
    live.sort_unstable_by_key(|extent| extent.to_raw());
    let pairs = live.windows(2).filter(|pair| pair[0] == pair[1]);
    pairs.map(|pair| (pair[0], None)).collect()
}

impl Builder<'_> {
    fn nodes(&mut self, nodes: Numbers<Node>) -> Result<(), Fault> {
        let names = self.directories.values().flat_map(Names::values);
        let mut children: Vec<u64> = names.map(|entry| entry.child).collect();
        children.sort_unstable();
        let mut children = &children[..];
        for (number, node) in nodes.into_sorted() {
            // Those of numbers that no node has come to light when names are given.
            let before = children.iter().take_while(|child| **child < number);
            children = &children[before.count()..];
            match children
                .iter()
                .take_while(|child| **child == number)
                .count()
            {
                0 => self.nameless(number, &node)?,
                names => {
                    let node = self.node(number, node, names)?;
                    self.nodes.insert(number, node);
                }
            }
        }
        Ok(())
    }

    /// Makes a node that has so many names.
    fn node(&mut self, number: u64, node: Node, names: usize) -> Result<Arc<Inode>, Fault> {
        let Some(about) = node.about.as_ref() else {
            return Err(corrupt(format!(
                "{} leads to node {number}, of which only content is known",
                self.name_of(number)
            )));
        };
        let body = match about.kind {
            NodeKind::Directory if names > 1 => {
                return Err(corrupt(format!(
                    "{} leads to directory {number}, which has another name already",
                    self.name_of(number)
                )));
            }
            NodeKind::Directory => Body::Directory(Box::new(Directory::new(Weak::new()))),
            NodeKind::Symlink => Body::Symlink(about.target.clone()),
            NodeKind::File => Body::File(Content::Empty),
        };
        let inode = self.volume.restore_node(body, number)?;
        self.traits(&inode, about)?;
        if about.kind == NodeKind::File {
            let len = about.len;
            let units = self.content(&inode, node, len)?;
            let generation = inode.read().generation();
            let content = known::Content { generation, units };
            self.tree.known.replace(number, content, &mut Vec::new());
        } else {
            self.tree.known.add(number);
        }
        if names > 1 {
            inode.write_quietly().links = names as u32;
        }
        Ok(inode)
    }

    /// A name that leads to a node, for a message. O(names).
    fn name_of(&self, number: u64) -> String {
        let names = self.directories.iter().flat_map(|(directory, names)| {
            let names = names.iter().filter(|(_, entry)| entry.child == number);
            names.map(|(name, _)| (*directory, name))
        });
        // The same each time, and for a directory the later one.
        match names.max() {
            Some((directory, name)) => format!(
                "the name {:?} in directory {directory}",
                String::from_utf8_lossy(name)
            ),
            None => "no name".to_owned(),
        }
    }

    /// What no name leads to counts as if a commit had had it: the next one says that it is gone.
    fn nameless(&mut self, number: u64, node: &Node) -> Result<(), Fault> {
        let mut units = Units::new();
        for extent in &node.extents {
            units.push(self.unseen(number, node, extent)?);
        }
        let content = known::Content {
            generation: 0,
            units,
        };
        self.tree.nameless.push(number);
        self.tree.known.replace(number, content, &mut Vec::new());
        Ok(())
    }

    fn names(&mut self, root: &Arc<Inode>) -> Result<(), Fault> {
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            let Some(names) = self.directories.remove(&directory.number()) else {
                continue;
            };
            let below = self.fill(&directory, names)?;
            for child in &below {
                if let Some(map) = child.write_quietly().directory_mut() {
                    map.parent = Arc::downgrade(&directory);
                }
            }
            open.extend(below);
        }
        // A directory that is removed is empty, so what is left has lost the name that led to it.
        match self.directories.keys().min() {
            Some(number) => Err(corrupt(format!(
                "directory {number} has names in it, and no path leads to it or it is none"
            ))),
            None => Ok(()),
        }
    }

    /// Gives a directory its names; returns the directories among them.
    fn fill(&self, directory: &Arc<Inode>, names: Names) -> Result<Vec<Arc<Inode>>, Fault> {
        let number = directory.number();
        let budget = &directory.account().budget;
        let mut below = Vec::new();
        let mut names: Vec<(Box<[u8]>, Entry)> = names.into_iter().collect();
        names.sort_unstable_by_key(|(_, entry)| entry.serial);
        let mut state = directory.write_quietly();
        for (name, entry) in names {
            check_name(number, &name)?;
            let Some(child) = self.nodes.get(entry.child) else {
                return Err(corrupt(format!(
                    "the name {:?} in directory {number} leads to node {}, which is not there",
                    String::from_utf8_lossy(&name),
                    entry.child
                )));
            };
            if let Some(map) = state.directory_mut() {
                map.reserve(&name, budget)?;
                map.insert(&name, child.clone());
                if child.is_directory() {
                    map.subdirectories += 1;
                    below.push(child.clone());
                }
            }
        }
        state.links += below.len() as u32;
        Ok(below)
    }

    /// Sets everything but names and content.
    fn traits(&self, node: &Arc<Inode>, about: &About) -> Result<(), Fault> {
        let time = |time: Time| Timestamp {
            seconds: time.seconds,
            nanos: time.nanos,
        };
        node.restore(Restored {
            mode: about.mode,
            owner: about.owner,
            times: about.times.map(time),
            priority: about.priority,
            pinned: about.pinned,
            accesses: about.accesses,
            xattrs: &about.xattrs,
        })
    }

    /// Gives a file its content, cold; says where it lies.
    fn content(&mut self, node: &Arc<Inode>, image: Node, len: u64) -> Result<Units, Fault> {
        let number = node.number();
        let account = node.account();
        if image.extents.is_empty() {
            let stored: u64 = image
                .patches
                .iter()
                .map(|(_, bytes)| bytes.len() as u64)
                .sum();
            let is_little = stored <= NEVER_MAX as u64;
            let mut state = node.write_quietly();
            if let Body::File(content) = &mut state.body {
                if is_little {
                    for (offset, bytes) in image.patches.iter() {
                        content.write(offset, bytes, account)?;
                    }
                }
                if is_little || stored != len {
                    content.set_len(len, account)?;
                }
            }
            state.set_generation(1);
            drop(state);
            if !is_little {
                self.tree.patched.push((node.clone(), image.patches));
            }
            return Ok(Units::new());
        }
        let mut placed = Vec::with_capacity(image.extents.len());
        for extent in &image.extents {
            if extent.offset < len {
                let mut unit = place(number, extent, len)?;
                let layers = image.overlays_at(extent.offset);
                if !layers.is_empty() {
                    (unit.form.identity.version, unit.extent) =
                        self.pile(number, extent, unit.extent, layers)?;
                }
                placed.push(unit);
            }
        }
        let mut units: Units = placed
            .iter()
            .map(|unit| (unit.index, unit.extent))
            .collect();
        // What lies behind the end is nothing to see, and has its references until a commit says otherwise.
        for extent in image.extents.iter().filter(|extent| extent.offset >= len) {
            units.push(self.unseen(number, &image, extent)?);
        }
        let (content, generation) = match &placed[..] {
            [unit] if unit.is_whole(number, len) => {
                let version = unit.form.identity.version as u32;
                let location = self.locate(node, unit, false)?;
                let content = Content::cold_whole(len as usize, version, location, account)?;
                (content, u64::from(version))
            }
            _ => {
                let mut chunks = Vec::with_capacity(placed.len());
                for unit in &placed {
                    chunks.push((unit.index, self.chunk(node, unit)?));
                }
                (Content::of_chunks(chunks, len, account)?, 1)
            }
        };
        let mut state = node.write_quietly();
        state.body = Body::File(content);
        state.set_generation(generation);
        drop(state);
        if !image.patches.is_empty() {
            self.tree.patched.push((node.clone(), image.patches));
        }
        Ok(units)
    }
}

impl Builder<'_> {
    /// Where a part of a file lies that nobody sees.
    fn unseen(
        &mut self,
        number: u64,
        node: &Node,
        extent: &journal::Extent,
    ) -> Result<(u64, Extent), Fault> {
        let lies = extent_of(number, extent)?;
        let lies = match node.overlays_at(extent.offset) {
            [] => lies,
            layers => self.pile(number, extent, lies, layers)?.1,
        };
        Ok((extent.offset / CHUNK as u64, lies))
    }

    /// Has the records of a chunk count as one: how they are read together, and the last version of the chunk.
    fn pile(
        &mut self,
        number: u64,
        extent: &journal::Extent,
        base: Extent,
        overlays: &[journal::Overlay],
    ) -> Result<(u64, Extent), Fault> {
        let layers = overlays
            .iter()
            .map(|overlay| layer_of(number, extent, overlay));
        let stack = Stack {
            id: id_of(extent),
            base,
            layers: layers.collect::<Result<_, Fault>>()?,
        };
        let generations = stack.layers.iter().map(|layer| layer.id.generation);
        let version = generations.fold(stack.id.generation, u64::max);
        let is_shared = stack
            .records()
            .all(|record| self.shared.contains_key(&record));
        if let Some(piled) = self.stacks.get(&stack).copied()
            && self.segments.retain(piled)
        {
            // The records have a reference for each file; a stack needs one.
            for record in stack.records() {
                self.segments.release(record);
            }
            return Ok((version, piled));
        }
        let piled = self.segments.pile(stack.clone())?;
        if is_shared {
            self.stacks.insert(stack, piled);
            self.shared.insert(piled, None);
        }
        Ok((version, piled))
    }

    fn locate(&self, node: &Arc<Inode>, unit: &Placed, is_part: bool) -> Result<Location, Fault> {
        let location = self
            .mover
            .locate(node.unit(unit.index), unit.extent, is_part);
        location.ok_or_else(|| {
            corrupt(format!(
                "content of node {} lies where too much else does: {:?}",
                node.number(),
                unit.extent
            ))
        })
    }

    fn chunk(&mut self, node: &Arc<Inode>, unit: &Placed) -> Result<Arc<Chunk>, Fault> {
        if let Some(Some((chunk, first))) = self.shared.get(&unit.extent) {
            if !Arc::ptr_eq(first, node) {
                let (first, other): (Arc<dyn Residents>, Arc<dyn Residents>) =
                    (first.clone(), node.clone());
                self.mover.note_shared(&first, &other);
            }
            return Ok(chunk.clone());
        }
        if !unit.form.identity.is_chunk() {
            return Err(corrupt(format!(
                "content of node {} at chunk {} is that of a small file",
                node.number(),
                unit.index
            )));
        }
        let form = ColdForm {
            identity: unit.form.identity,
            location: self.locate(node, unit, true)?,
            len: unit.extent.len(),
            data_end: unit.form.data_end,
            blocks: unit.form.blocks,
        };
        let chunk = Arc::new(Chunk::cold_from(form, node.account())?);
        if let Some(shared) = self.shared.get_mut(&unit.extent) {
            *shared = Some((chunk.clone(), node.clone()));
        }
        Ok(chunk)
    }
}

impl Placed {
    /// Whether this is all of a file, under the file's own name.
    pub(super) fn is_whole(&self, number: u64, len: u64) -> bool {
        let is_dense = Chunk::blocks_of(0, self.form.data_end) == Some(self.form.blocks);
        let Identity {
            owner,
            index,
            version,
        } = self.form.identity;
        // A small file keeps no more than this of the name of its content.
        let is_own = (owner, index) == (number, 0) && u32::try_from(version).is_ok();
        !self.form.identity.is_chunk()
            && is_own
            && self.index == 0
            && is_dense
            && self.form.data_end as u64 == len
    }
}

pub(super) fn place(number: u64, extent: &journal::Extent, file_len: u64) -> Result<Placed, Fault> {
    let bad = |what: &str| {
        corrupt(format!(
            "content of node {number} at {}: {what}",
            extent.offset
        ))
    };
    let chunk = CHUNK as u64;
    if !extent.offset.is_multiple_of(chunk) {
        return Err(bad("not at the beginning of a chunk"));
    }
    if extent.len == 0 || extent.len > chunk || extent.len > extent.record_len {
        return Err(bad("a length that no chunk has"));
    }
    let data_end = extent.len.min(file_len - extent.offset) as usize;
    let blocks = Chunk::blocks_of(extent.blocks, extent.len as usize)
        .and_then(|blocks| match data_end as u64 == extent.len {
            true => Some(blocks),
            false => None,
        })
        .ok_or_else(|| bad("blocks that it does not have"))?;
    Ok(Placed {
        index: extent.offset / chunk,
        extent: extent_of(number, extent)?,
        form: Form {
            identity: Identity {
                owner: extent.owner,
                index: extent.index,
                version: extent.generation,
            },
            data_end,
            blocks,
        },
    })
}

pub(super) fn check_name(directory: u64, name: &[u8]) -> Result<(), Fault> {
    let is_plain = (1..=255).contains(&name.len())
        && !name.contains(&b'/')
        && !name.contains(&0)
        && name != b"."
        && name != b"..";
    if is_plain {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    Err(corrupt(format!(
        "directory {directory} has the name {name:?}"
    )))
}
