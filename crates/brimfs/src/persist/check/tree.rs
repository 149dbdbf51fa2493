//! Whether names lead to nodes, and every node to the root.

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::journal::NodeKind;
use crate::namespace::volume::ROOT;

use super::super::image::{Image, Names};
use super::super::restore::check_name;
use super::report::Problem;

/// A directory and a name in it.
type Place<'a> = (u64, &'a [u8]);

/// Where the nodes of an image are: all that a path from the root leads to.
pub(super) struct Places<'a> {
    up: HashMap<u64, SmallVec<[Place<'a>; 1]>, FixedState>,
}

impl<'a> Places<'a> {
    /// Walks the names from the root on. O(names).
    pub(super) fn of(image: &'a Image, problems: &mut Vec<Problem>) -> Self {
        let mut places = Places {
            up: HashMap::default(),
        };
        match image.nodes.get(ROOT).and_then(|node| node.about.as_ref()) {
            Some(root) if root.kind == NodeKind::Directory => {
                places.up.insert(ROOT, SmallVec::new());
                let mut open = vec![ROOT];
                while let Some(directory) = open.pop() {
                    if let Some(names) = image.directories.get(&directory) {
                        places.fill(image, directory, names, &mut open, problems);
                    }
                }
            }
            Some(_) => problems.push(Problem::of_store("the root is no directory".into())),
            // A store that was made and nothing more.
            None if image.nodes.is_empty() && image.directories.is_empty() => {}
            None => problems.push(Problem::of_store("there are nodes and no root".into())),
        }
        places.look_for_others(image, problems);
        places
    }

    fn fill(
        &mut self,
        image: &'a Image,
        directory: u64,
        names: &'a Names,
        open: &mut Vec<u64>,
        problems: &mut Vec<Problem>,
    ) {
        let mut names: Vec<(&[u8], u64, u64)> = names
            .iter()
            .map(|(name, entry)| (&name[..], entry.child, entry.serial))
            .collect();
        names.sort_unstable_by_key(|(_, _, serial)| *serial);
        for (name, child, _) in names {
            let mut bad = |text: String| {
                problems.push(Problem {
                    paths: vec![self.path((directory, name))],
                    ino: Some(child),
                    range: None,
                    text,
                });
            };
            if let Err(fault) = check_name(directory, name) {
                bad(fault.says());
            }
            let Some(node) = image.nodes.get(child) else {
                bad(format!(
                    "the name leads to node {child}, which is not there"
                ));
                continue;
            };
            let Some(about) = &node.about else {
                bad(format!(
                    "the name leads to node {child}, of which only content is known"
                ));
                continue;
            };
            let is_directory = about.kind == NodeKind::Directory;
            if is_directory && self.has(child) {
                bad(format!(
                    "the name leads to directory {child}, which has another name already"
                ));
                continue;
            }
            self.up.entry(child).or_default().push((directory, name));
            if is_directory {
                open.push(child);
            }
        }
    }

    /// What no path leads to may be what was removed while it was open, but not if it has names in it.
    fn look_for_others(&self, image: &Image, problems: &mut Vec<Problem>) {
        let directories: BTreeSet<u64> = image.directories.keys().copied().collect();
        for number in directories {
            let kind = image.nodes.get(number).and_then(|node| node.about.as_ref());
            let text = match kind.map(|about| about.kind) {
                None => format!("directory {number} has names and is not there"),
                Some(NodeKind::Directory) if self.has(number) => continue,
                Some(NodeKind::Directory) => {
                    let names = image.directories[&number].len();
                    format!("it has names in it ({names}), and no path leads to it")
                }
                Some(_) => "it has names in it and is no directory".to_owned(),
            };
            problems.push(Problem {
                paths: self.paths(number),
                ino: kind.map(|_| number),
                range: None,
                text,
            });
        }
    }

    /// Whether a path leads to the node.
    pub(super) fn has(&self, number: u64) -> bool {
        self.up.contains_key(&number)
    }

    /// All paths of a node, in the order in which they are found.
    pub(super) fn paths(&self, number: u64) -> Vec<Vec<u8>> {
        match self.up.get(&number) {
            Some(_) if number == ROOT => vec![b"/".to_vec()],
            Some(places) => places.iter().map(|place| self.path(*place)).collect(),
            None => Vec::new(),
        }
    }

    /// Whether a name is the first one that leads to its node.
    pub(super) fn is_first(&self, place: Place<'_>, child: u64) -> bool {
        let places = self.up.get(&child);
        places.and_then(|places| places.first()) == Some(&place)
    }

    /// The last component of the first path of a node; nothing of the root and of what has no path.
    pub(super) fn name(&self, number: u64) -> Option<&'a [u8]> {
        self.up.get(&number)?.first().map(|(_, name)| *name)
    }

    pub(super) fn path(&self, place: Place<'_>) -> Vec<u8> {
        let (mut directory, name) = place;
        let mut names = vec![name];
        // A directory is placed once, below one that was placed before it.
        while let Some((above, name)) = self.up.get(&directory).and_then(|up| up.first()) {
            names.push(name);
            directory = *above;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}
