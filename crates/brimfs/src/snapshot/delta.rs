//! What one side changed of a tree that it was copied from: nodes by number, and names by directory.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::base::sync::Arc;
use crate::namespace::inode::Inode;

use super::diff::is_same;

pub(super) type ByNumber<T> = HashMap<u64, T, FixedState>;
/// What names of a directory stand for now; nothing where one is gone.
pub(super) type Names = HashMap<Box<[u8]>, Option<Arc<Inode>>, FixedState>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Nodes of the older tree that are others now, have other names, or are gone; with what they are on this side.
    pub(super) touched: ByNumber<Option<Arc<Inode>>>,
    /// By the number of a directory that both sides have or the older one had.
    pub(super) names: ByNumber<Names>,
    /// Directories of the older tree that are not there any more.
    pub(super) gone: HashSet<u64, FixedState>,
    /// All directories of this side.
    pub(super) directories: ByNumber<Arc<Inode>>,
    /// How many directories the older tree has.
    pub(super) known: usize,
}

impl Delta {
    /// What became of the tree below `before` until it was the one below `after`; nobody changes either meanwhile.
    /// O(nodes).
    pub(super) fn of(before: &Arc<Inode>, after: &Arc<Inode>) -> Self {
        let mut delta = Delta::default();
        delta.list_directories(after);
        if !is_same(before, after) {
            delta.touch(before, Some(after));
        }
        let mut rest = vec![before.clone()];
        while let Some(directory) = rest.pop() {
            delta.known += 1;
            delta.compare_names(&directory, &mut rest);
        }
        delta.find_moved(before.volume().next_number());
        delta
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.names.is_empty()
    }

    fn list_directories(&mut self, root: &Arc<Inode>) {
        let mut rest = vec![root.clone()];
        while let Some(directory) = rest.pop() {
            let state = directory.read();
            let names = state.directory().into_iter();
            let nodes = names.flat_map(|names| names.iter_from(0).map(|(_, node, _)| node));
            rest.extend(nodes.filter(|node| node.is_directory()).cloned());
            drop(state);
            self.directories.insert(directory.number(), directory);
        }
    }

    fn touch(&mut self, node: &Inode, now: Option<&Arc<Inode>>) {
        let touched = self.touched.entry(node.number()).or_default();
        if now.is_some() {
            *touched = now.cloned();
        }
    }

    /// Compares the names of a directory of the older tree, and adds the directories in it to `rest`.
    fn compare_names(&mut self, directory: &Arc<Inode>, rest: &mut Vec<Arc<Inode>>) {
        let after = self.directories.get(&directory.number()).cloned();
        if after.is_none() {
            self.gone.insert(directory.number());
        }
        let before = directory.read();
        let after = after.as_ref().map(|after| after.read());
        let after = after.as_ref().and_then(|state| state.directory());
        let mut changed = Names::default();
        for (name, old, _) in before
            .directory()
            .into_iter()
            .flat_map(|names| names.iter_from(0))
        {
            let new = after.and_then(|names| names.get(name));
            match new {
                Some(new) if new.number() == old.number() => {
                    if !is_same(old, new) {
                        self.touch(old, Some(new));
                    }
                }
                _ => {
                    self.touch(old, None);
                    changed.insert(name.into(), new.cloned());
                }
            }
            if old.is_directory() {
                rest.push(old.clone());
            }
        }
        for (name, new, _) in after.into_iter().flat_map(|names| names.iter_from(0)) {
            let was_there = before
                .directory()
                .is_some_and(|names| names.get(name).is_some());
            if !was_there {
                changed.insert(name.into(), Some(new.clone()));
            }
        }
        if !changed.is_empty() {
            self.names.insert(directory.number(), changed);
        }
    }

    /// Finds the nodes of the older tree, all with numbers below `next`, under the names that are new.
    fn find_moved(&mut self, next: u64) {
        let mut moved = Vec::new();
        let mut note = |node: &Arc<Inode>| {
            if node.number() < next {
                moved.push(node.clone());
            }
        };
        let named = self
            .names
            .values()
            .flat_map(|names| names.values().flatten());
        named.for_each(&mut note);
        let new = self
            .directories
            .iter()
            .filter(|(number, _)| **number >= next);
        for (_, directory) in new {
            let state = directory.read();
            let names = state
                .directory()
                .into_iter()
                .flat_map(|names| names.iter_from(0));
            names.for_each(|(_, node, _)| note(node));
        }
        for node in moved {
            self.touch(&node, Some(&node));
        }
    }
}
