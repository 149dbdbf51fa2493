//! What a damaged journal says, gathered: the last state before the first hole, and what is known of later ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::error::Fault;
use crate::io::directory::Directory;
use crate::journal::{self, NodeKind, Piece, Record, Salvaged, Visitor};

use super::super::image::{About, Image, Node};

/// A later state of a file or a symbolic link, all of which is known.
#[derive(Debug)]
pub(super) struct Version {
    /// The last group that it counts.
    pub(super) group: u64,
    pub(super) node: Node,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The state that counts.
    pub(super) image: Image,
    /// Files of which records may be missing: those beside a hole in a checkpoint.
    pub(super) suspects: BTreeSet<u64>,
    /// Later states of nodes, where they are other ones.
    pub(super) versions: BTreeMap<u64, Version>,
    /// Names that were given later: directory and name by node.
    pub(super) later_names: BTreeMap<u64, (u64, Box<[u8]>)>,
    /// Parts of the checkpoint that this builds on are missing.
    pub(super) has_gaps: bool,
    /// The last node that a record was about.
    last: Option<u64>,
    /// The checkpoint is over.
    is_in_groups: bool,
    is_behind: bool,
    later: Image,
    /// The nodes of `later` whose content does not depend on what is missing.
    known: BTreeSet<u64>,
    group: u64,
}

/// Reads all that is whole.
///
/// # Errors
/// Where nothing can be found out: another format, a directory that cannot be read.
pub(super) fn salvage(directory: &dyn Directory) -> Result<(Gathered, Salvaged), Fault> {
    let mut gathered = Gathered::default();
    let found = journal::salvage(directory, &mut |piece| gathered.take(piece))?;
    gathered.stash();
    gathered.forget_what_is_the_same();
    Ok((gathered, found))
}

impl Gathered {
    pub(super) fn of(image: Image) -> Self {
        Gathered {
            image,
            ..Self::default()
        }
    }

    fn take(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        match piece {
            Piece::Restart => *self = Gathered::default(),
            Piece::Group(number) => (self.group, self.is_in_groups) = (number, true),
            Piece::Gap if self.is_behind => self.stash(),
            Piece::Gap => {
                self.has_gaps = true;
                self.suspects.extend(self.last.take());
            }
            Piece::Behind => self.is_behind = true,
            Piece::Record(record) if self.is_behind => self.later(record)?,
            Piece::Record(record) => {
                self.last = node_of(&record);
                if let Some(number) = self.last {
                    match is_whole(&record) {
                        true => drop(self.suspects.remove(&number)),
                        false if self.builds_on_a_gap(number, &record) => {
                            self.suspects.insert(number);
                        }
                        false => {}
                    }
                }
                if self.has_gaps && lies_over_nothing(&self.image, &record) {
                    // What it lies over is missing, which the node is suspected of.
                    self.suspects.extend(self.last);
                    return Ok(());
                }
                self.image.record(record)?;
            }
        }
        Ok(())
    }

    /// Whether a record adds to content that may be missing.
    fn builds_on_a_gap(&self, number: u64, record: &Record<'_>) -> bool {
        let node = self.image.nodes.get(number);
        let is_new = node.is_none_or(|node| node.about.is_none());
        let is_part = match record {
            Record::Node(node) => {
                // In a checkpoint it comes first, in a group before the content that it has.
                self.is_in_groups && node.kind == NodeKind::File && node.len > 0
            }
            _ => true,
        };
        self.has_gaps && is_new && is_part
    }

    fn later(&mut self, record: Record<'_>) -> Result<(), Fault> {
        match (node_of(&record), record) {
            (Some(number), Record::NodeGone { .. }) => {
                self.known.remove(&number);
                self.versions.remove(&number);
                self.later_names.remove(&number);
            }
            (Some(number), record) if is_whole(&record) => {
                self.known.insert(number);
            }
            (
                None,
                Record::Entry {
                    directory,
                    name,
                    child,
                },
            ) => {
                self.later_names.insert(child, (directory, name.into()));
            }
            _ => {}
        }
        if lies_over_nothing(&self.later, &record) {
            // Of content that is not known in full.
            if let Some(number) = node_of(&record) {
                self.known.remove(&number);
            }
            return Ok(());
        }
        self.later.record(record)
    }

    /// Keeps what is known in full: what comes may build on something that is missing.
    fn stash(&mut self) {
        let group = self.group;
        for number in std::mem::take(&mut self.known) {
            let is_content = |about: &About| about.kind != NodeKind::Directory;
            if let Some(node) = self.later.nodes.remove(number)
                && node.about.as_ref().is_some_and(is_content)
            {
                self.versions.insert(number, Version { group, node });
            }
        }
        self.later = Image::default();
    }

    fn forget_what_is_the_same(&mut self) {
        let nodes = &self.image.nodes;
        self.versions.retain(|number, version| {
            let len = |node: &Node| node.about.as_ref().map(|about| about.len);
            let target = |node: &Node| node.about.as_ref().map(|about| about.target.clone());
            nodes.get(*number).is_none_or(|node| {
                let is_same = node.extents == version.node.extents
                    && node.overlays == version.node.overlays
                    && node.patches == version.node.patches
                    && (len(node), target(node)) == (len(&version.node), target(&version.node));
                !is_same
            })
        });
    }
}

/// Whether a record is about content that the image has not.
fn lies_over_nothing(image: &Image, record: &Record<'_>) -> bool {
    let node = |number| image.nodes.get(number);
    match record {
        Record::Overlay(overlay) => !node(overlay.node).is_some_and(|node| node.takes(overlay)),
        Record::Moved(moved) => {
            let found = node(moved.node).and_then(|node| node.extent_at(moved.offset));
            found.is_none()
        }
        _ => false,
    }
}

fn node_of(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Node(node) => Some(node.number),
        Record::NodeGone { number } => Some(*number),
        Record::Content(content) => Some(content.node),
        Record::Overlay(overlay) => Some(overlay.node),
        Record::Inline { node, .. } | Record::Hole { node, .. } => Some(*node),
        _ => None,
    }
}

/// Whether the content of the node is all that this record and later ones say.
fn is_whole(record: &Record<'_>) -> bool {
    match record {
        Record::Content(content) => content.whole,
        Record::Node(node) => node.kind == NodeKind::Symlink,
        Record::NodeGone { .. } => true,
        _ => false,
    }
}
