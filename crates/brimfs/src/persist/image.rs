//! What a journal says, gathered: nodes, names and where content lies. Believes nothing about how they fit together.

use std::collections::BTreeMap;
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use smallvec::SmallVec;

use crate::base::error::Fault;
use crate::base::pages::PAGE;
use crate::journal::{Content, Extent, Moved, NodeKind, Overlay, Record, Time, Visitor};
use crate::memory::chunk::CHUNK;
use crate::namespace::restored::XattrPairs;

use super::corrupt;
use super::mirror::{Seen, Step};
use super::numbers::Numbers;

/// A node as its last record has it, and its content.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Nothing before its first record: content may be told before it.
    pub(super) about: Option<About>,
    /// In the order of the file, one at each offset.
    pub(super) extents: Vec<Extent>,
    /// Records that lie over extents, by where those begin; later ones take precedence.
    pub(super) overlays: BTreeMap<u64, Vec<Overlay>>,
    /// Bytes that take precedence over both.
    pub(super) patches: Patches,
}

/// Pieces of content by where they begin, in that order. Small files have one and no more, so that one takes no table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Patches(SmallVec<[(u64, Box<[u8]>); 1]>);

impl Patches {
    fn find(&self, offset: u64) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if *last < offset => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&offset, |(offset, _)| *offset),
        }
    }

    /// A piece takes the place of the one that begins where it does.
    fn insert(&mut self, offset: u64, bytes: Box<[u8]>) {
        match self.find(offset) {
            Ok(at) => self.0[at].1 = bytes,
            Err(at) => self.0.insert(at, (offset, bytes)),
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(u64) -> bool) {
        self.0.retain(|(offset, _)| keep(*offset));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.0.iter().map(|(offset, bytes)| (*offset, &bytes[..]))
    }

    /// Those that begin in a range.
    pub(super) fn range(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let start = self.find(range.start).unwrap_or_else(|at| at);
        self.0[start..]
            .iter()
            .take_while(move |(offset, _)| *offset < range.end)
            .map(|(offset, bytes)| (*offset, &bytes[..]))
    }
}

#[derive(Debug)]
pub(super) struct About {
    pub(super) kind: NodeKind,
    pub(super) priority: u8,
    pub(super) pinned: bool,
    pub(super) accesses: u8,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// Accessed, modified, changed, created.
    pub(super) times: [Time; 4],
    pub(super) len: u64,
    pub(super) target: Box<[u8]>,
    pub(super) xattrs: XattrPairs,
}

/// Where a name leads, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) child: u64,
    pub(super) serial: u64,
}

/// The names of one directory.
pub(super) type Names = HashMap<Box<[u8]>, Entry, FixedState>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) nodes: Numbers<Node>,
    pub(super) directories: HashMap<u64, Names, FixedState>,
    /// What was last seen of host files, by the numbers of the nodes that they mirror.
    pub(super) seen: HashMap<u64, Seen, FixedState>,
    /// What may not have been done with the host's tree.
    pub(super) steps: Vec<Step>,
    /// Something was said that only a mirror says.
    pub(super) is_mirror: bool,
    /// The smallest number that no node ever had.
    pub(super) next_node: u64,
    serial: u64,
}

/// The greatest number of a node: in memory there are no bits for more.
pub(super) const NODE_MAX: u64 = (1 << 61) - 1;

impl Image {
    /// What is wrong with numbers if `last` is the greatest, each with the node that has it, if it is one's. 0 is the number of
    /// nodes that nobody finds.
    pub(super) fn bad_numbers(&self, last: u64) -> impl Iterator<Item = (Option<u64>, String)> {
        let numbers = self.nodes.iter().map(|(number, _)| number);
        let bad = numbers.filter(move |number| !(1..=last).contains(number));
        let next = (self.next_node > last).then_some(self.next_node);
        let of_node = |number| {
            (
                Some(number),
                format!("no node can have the number {number}"),
            )
        };
        let of_next = |number| (None, format!("no next node can have the number {number}"));
        bad.map(of_node).chain(next.map(of_next))
    }

    fn node(&mut self, number: u64) -> &mut Node {
        self.next_node = self.next_node.max(number.saturating_add(1));
        self.nodes.get_or_insert_with(number, Node::default)
    }

    fn entry(&mut self, directory: u64, name: &[u8], child: u64) {
        self.serial += 1;
        let serial = self.serial;
        let names = self.directories.entry(directory).or_default();
        match names.entry_ref(name) {
            EntryRef::Occupied(mut known) => known.get_mut().child = child,
            EntryRef::Vacant(place) => {
                place.insert_with_key(name.into(), Entry { child, serial });
            }
        }
    }

    fn content(&mut self, content: Content<'_>) {
        let node = self.node(content.node);
        let before = match content.whole {
            true => std::mem::take(&mut node.extents),
            false => node.extents.clone(),
        };
        for extent in content.extents.iter() {
            match find(&node.extents, extent.offset) {
                Ok(at) => node.extents[at] = extent,
                Err(at) => node.extents.insert(at, extent),
            }
        }
        // What lies over an extent stays as long as that one does.
        let extents = &node.extents;
        let stays = |chunk| match (find(&before, chunk), find(extents, chunk)) {
            (Ok(old), Ok(new)) => before[old] == extents[new],
            _ => false,
        };
        node.overlays.retain(|chunk, _| stays(*chunk));
        node.patches.retain(|offset| stays(chunk_at(offset)));
    }
}

impl Image {
    fn moved(&mut self, moved: Moved) -> Result<(), Fault> {
        let node = self.nodes.get_mut(moved.node);
        let extents = node.map(|node| &mut node.extents);
        let extent = extents.and_then(|extents| {
            let at = find(extents, moved.offset).ok()?;
            extents.get_mut(at)
        });
        let Some(extent) = extent else {
            return Err(corrupt(format!(
                "content of node {} at {} was moved and is not there",
                moved.node, moved.offset
            )));
        };
        extent.segment = moved.segment;
        extent.place = moved.place;
        extent.stored = moved.stored;
        Ok(())
    }
}

/// Where the chunk begins that has this place.
fn chunk_at(offset: u64) -> u64 {
    offset / CHUNK as u64 * CHUNK as u64
}

fn find(extents: &[Extent], offset: u64) -> Result<usize, usize> {
    extents.binary_search_by_key(&offset, |extent| extent.offset)
}

impl Node {
    /// The extent that begins there.
    pub(super) fn extent_at(&self, offset: u64) -> Option<&Extent> {
        find(&self.extents, offset).ok().map(|at| &self.extents[at])
    }

    /// What lies over the extent that begins there, the first layer first.
    pub(super) fn overlays_at(&self, offset: u64) -> &[Overlay] {
        self.overlays.get(&offset).map_or(&[], |layers| layers)
    }

    /// Whether a layer can be said of it now.
    pub(super) fn takes(&self, overlay: &Overlay) -> bool {
        let layers = self.overlays_at(overlay.offset).len();
        overlay.layer as usize <= layers && self.extent_at(overlay.offset).is_some()
    }

    fn put_overlay(&mut self, overlay: Overlay) {
        let layers = self.overlays.entry(overlay.offset).or_default();
        let number = overlay.layer as usize;
        if let Some(layer) = layers.get_mut(number) {
            *layer = overlay;
            return;
        }
        layers.push(overlay);
        // It has the pages that were in the journal.
        self.patches.retain(|offset| {
            let page = (offset - chunk_at(offset)) as usize / PAGE;
            chunk_at(offset) != overlay.offset || !overlay.pages.has(page)
        });
    }
}

impl Image {
    fn overlay(&mut self, overlay: Overlay) -> Result<(), Fault> {
        let node = self.nodes.get_mut(overlay.node);
        match node.filter(|node| node.takes(&overlay)) {
            Some(node) => {
                node.put_overlay(overlay);
                Ok(())
            }
            None => Err(corrupt(format!(
                "layer {} of node {} at {} lies over nothing",
                overlay.layer, overlay.node, overlay.offset
            ))),
        }
    }

    fn entry_gone(&mut self, directory: u64, name: &[u8]) {
        if let Some(names) = self.directories.get_mut(&directory) {
            names.remove(name);
            if names.is_empty() {
                self.directories.remove(&directory);
            }
        }
    }

    fn inline(&mut self, node: u64, offset: u64, bytes: &[u8]) {
        let node = self.node(node);
        if node.extents.is_empty() {
            node.patches.insert(offset, bytes.into());
            return;
        }
        // Page by page, so that what is written later replaces what was there.
        for (page, bytes) in bytes.chunks(PAGE).enumerate() {
            let offset = offset.saturating_add((page * PAGE) as u64);
            node.patches.insert(offset, bytes.into());
        }
    }
}

impl Visitor for Image {
    fn restart(&mut self) {
        *self = Image::default();
    }

    fn record(&mut self, record: Record<'_>) -> Result<(), Fault> {
        match record {
            Record::Node(node) => {
                let pairs = node.xattrs.iter();
                let about = About {
                    kind: node.kind,
                    priority: node.priority,
                    pinned: node.pinned,
                    accesses: u8::try_from(node.accesses).unwrap_or(u8::MAX),
                    mode: node.mode,
                    owner: (node.uid, node.gid),
                    times: [node.accessed, node.modified, node.changed, node.created],
                    len: node.len,
                    target: node.target.into(),
                    xattrs: pairs
                        .map(|(name, value)| (name.into(), value.into()))
                        .collect(),
                };
                self.node(node.number).about = Some(about);
            }
            Record::NodeGone { number } => {
                self.directories.remove(&number);
                self.nodes.remove(number);
                self.seen.remove(&number);
            }
            Record::Entry {
                directory,
                name,
                child,
            } => self.entry(directory, name, child),
            Record::EntryGone { directory, name } => self.entry_gone(directory, name),
            Record::Content(content) => self.content(content),
            Record::Inline {
                node,
                offset,
                bytes,
            } => self.inline(node, offset, bytes),
            Record::Hole { node, offset, len } => {
                let gone = offset..offset.saturating_add(len);
                let node = self.node(node);
                node.extents.retain(|extent| !gone.contains(&extent.offset));
                node.overlays.retain(|offset, _| !gone.contains(offset));
                node.patches.retain(|offset| !gone.contains(&offset));
            }
            Record::Counters(counters) => {
                self.next_node = self.next_node.max(counters.next_node);
            }
            Record::Seen { node, stamp } => {
                let sums = Vec::new();
                self.is_mirror = true;
                self.seen.insert(node, Seen { stamp, sums });
            }
            Record::Sums { node, first, sums } => {
                if let Some(seen) = self.seen.get_mut(&node) {
                    seen.put_sums(first, sums);
                }
            }
            Record::Redo(redo) => {
                self.is_mirror = true;
                self.steps.push(redo.into());
            }
            Record::Applied => {
                self.is_mirror = true;
                self.steps.clear();
            }
            Record::Moved(moved) => self.moved(moved)?,
            Record::Overlay(overlay) => self.overlay(overlay)?,
            // What segments there are is known by what lies in them.
            Record::Segment(_) | Record::SegmentGone { .. } => {}
        }
        Ok(())
    }

    fn group(&mut self, _number: u64) -> Result<(), Fault> {
        Ok(())
    }
}
