//! What a journal says, gathered: nodes, names and where content lies. Believes nothing about how they fit together.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::journal::{Content, Extent, Moved, NodeKind, Record, Time, Visitor};
use crate::memory::chunk::CHUNK;
use crate::memory::delta::PAGE;
use crate::namespace::restored::XattrPairs;

use super::corrupt;

/// A node as its last record has it, and its content.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Nothing before its first record: content may be told before it.
    pub(super) about: Option<About>,
    /// In the order of the file, one at each offset.
    pub(super) extents: Vec<Extent>,
    /// Bytes that take precedence over extents, by where they begin.
    pub(super) patches: BTreeMap<u64, Box<[u8]>>,
}

#[derive(Debug)]
pub(super) struct About {
    pub(super) kind: NodeKind,
    pub(super) priority: u8,
    pub(super) pinned: bool,
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
    pub(super) nodes: HashMap<u64, Node, FixedState>,
    pub(super) directories: HashMap<u64, Names, FixedState>,
    /// The smallest number that no node ever had.
    pub(super) next_node: u64,
    serial: u64,
}

impl Image {
    fn node(&mut self, number: u64) -> &mut Node {
        self.next_node = self.next_node.max(number.saturating_add(1));
        self.nodes.entry(number).or_default()
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
        node.patches.retain(|offset, _| {
            let chunk = offset / CHUNK as u64 * CHUNK as u64;
            match (find(&before, chunk), find(extents, chunk)) {
                (Ok(old), Ok(new)) => before[old] == extents[new],
                _ => false,
            }
        });
    }
}

impl Image {
    fn moved(&mut self, moved: Moved) -> Result<(), Fault> {
        let node = self.nodes.get_mut(&moved.node);
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

fn find(extents: &[Extent], offset: u64) -> Result<usize, usize> {
    extents.binary_search_by_key(&offset, |extent| extent.offset)
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
                self.nodes.remove(&number);
            }
            Record::Entry {
                directory,
                name,
                child,
            } => {
                self.serial += 1;
                let entry = Entry {
                    child,
                    serial: self.serial,
                };
                let names = self.directories.entry(directory).or_default();
                match names.get_mut(name) {
                    Some(known) => known.child = child,
                    None => drop(names.insert(name.into(), entry)),
                }
            }
            Record::EntryGone { directory, name } => {
                if let Some(names) = self.directories.get_mut(&directory) {
                    names.remove(name);
                    if names.is_empty() {
                        self.directories.remove(&directory);
                    }
                }
            }
            Record::Content(content) => self.content(content),
            Record::Inline {
                node,
                offset,
                bytes,
            } => {
                let node = self.node(node);
                if node.extents.is_empty() {
                    node.patches.insert(offset, bytes.into());
                } else {
                    // Page by page, so that what is written later replaces what was there.
                    for (page, bytes) in bytes.chunks(PAGE).enumerate() {
                        let offset = offset.saturating_add((page * PAGE) as u64);
                        node.patches.insert(offset, bytes.into());
                    }
                }
            }
            Record::Hole { node, offset, len } => {
                let gone = offset..offset.saturating_add(len);
                let node = self.node(node);
                node.extents.retain(|extent| !gone.contains(&extent.offset));
                node.patches.retain(|offset, _| !gone.contains(offset));
            }
            Record::Counters(counters) => {
                self.next_node = self.next_node.max(counters.next_node);
            }
            Record::Moved(moved) => self.moved(moved)?,
            // What segments there are is known by what lies in them.
            Record::Segment(_) | Record::SegmentGone { .. } => {}
        }
        Ok(())
    }

    fn group(&mut self, _number: u64) -> Result<(), Fault> {
        Ok(())
    }
}
