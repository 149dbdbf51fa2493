//! What tells two trees apart that were one once.
//!
//! A node is the same on both sides if it has the same number and was created at the same moment, so a
//! renamed file is found again. Content is compared by what it is made of, never by its bytes: a file
//! that was written anew with what it had counts as changed.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::namespace::inode::{Body, HAS_XATTRS, Inode, PERMISSIONS, State};
use crate::namespace::path;
use crate::namespace::walk::{Cursor, Walk};

/// What changed since a snapshot, by full path, each list in the order of paths. See
/// [`FileSystem::diff`](crate::FileSystem::diff).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diff {
    /// What was not there, directories with all that is in them.
    pub added: Vec<Vec<u8>>,
    /// Other content, permissions, owner, attributes or time of modification; of a directory the names in it do not count.
    pub changed: Vec<Vec<u8>>,
    /// What is not there any more, directories with all that was in them.
    pub removed: Vec<Vec<u8>>,
    /// What has another path, the old one first. What moved with its directory is not listed by itself. What stayed where it
    /// was, in a directory that is another one now, is: with the same path twice.
    pub renamed: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Diff {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.changed.is_empty()
            && self.removed.is_empty()
            && self.renamed.is_empty()
    }
}

/// What a node is on either side: its number, and when it was created.
pub(super) type Origin = (u64, i64);

pub(super) fn origin(node: &Inode) -> Origin {
    (node.number(), node.read().times.created)
}

/// Whether a node has what another one has that it was copied from, or the other way round, beside names.
pub(super) fn is_same(one: &Inode, other: &Inode) -> bool {
    let (own, others) = (one.read(), other.read());
    is_same_body(&own, &others) && traits(one, &own) == traits(other, &others)
}

pub(super) fn is_same_body(one: &State, other: &State) -> bool {
    match (&one.body, &other.body) {
        (Body::File(one), Body::File(other)) => one.is_twin_of(other),
        (Body::Symlink(one), Body::Symlink(other)) => one == other,
        (Body::Directory(_), Body::Directory(_)) => true,
        _ => false,
    }
}

/// What a user sets of a node.
fn traits(node: &Inode, state: &State) -> impl PartialEq + use<> {
    let modified = match &state.body {
        Body::Directory(_) => None,
        _ => Some(state.times.modified),
    };
    let xattrs = match state.mode & HAS_XATTRS {
        0 => Vec::new(),
        _ => node.xattrs_of(state),
    };
    let owner = node.volume().owner(state.owner);
    let worth = (state.priority(), state.has_pin());
    (state.mode & PERMISSIONS, owner, modified, xattrs, worth)
}

/// A node by its path on one side.
struct Named {
    path: Vec<u8>,
    node: Arc<Inode>,
}

#[derive(Default)]
struct Sides {
    diff: Diff,
    /// Nodes that are not where they were, of the older side.
    gone: Vec<Named>,
    /// The same of the newer one, each directory before what is in it.
    come: Vec<Named>,
}

/// What became of `before` until it was `after`; nobody changes either meanwhile. O(nodes).
///
/// # Errors
/// None that names have; those of a tree that is being closed.
pub(crate) fn diff(before: &Arc<Inode>, after: &Arc<Inode>) -> Result<Diff, Fault> {
    let mut sides = Sides::default();
    sides.compare(b"/", before, after);
    let mut pairs = vec![(Vec::from(b"/"), before.clone(), after.clone())];
    while let Some((path, before, after)) = pairs.pop() {
        sides.names(&path, &before, &after, &mut pairs)?;
    }
    sides.match_moved();
    let Diff {
        added,
        changed,
        removed,
        renamed,
    } = &mut sides.diff;
    for paths in [added, changed, removed] {
        paths.sort_unstable();
    }
    renamed.sort_unstable();
    Ok(sides.diff)
}

impl Sides {
    fn compare(&mut self, path: &[u8], before: &Inode, after: &Inode) {
        if !is_same(before, after) {
            self.diff.changed.push(path.to_vec());
        }
    }

    /// Compares the names of a directory that both sides have.
    fn names(
        &mut self,
        path: &[u8],
        before: &Arc<Inode>,
        after: &Arc<Inode>,
        pairs: &mut Vec<(Vec<u8>, Arc<Inode>, Arc<Inode>)>,
    ) -> Result<(), Fault> {
        for (name, old) in Cursor::new(before.clone())? {
            let path = path::join(path, &name);
            let new = after
                .read()
                .directory()
                .and_then(|names| names.get(&name).cloned());
            match new {
                Some(new) if origin(&new) == origin(&old) => {
                    self.compare(&path, &old, &new);
                    if old.is_directory() {
                        pairs.push((path, old, new));
                    }
                }
                Some(new) => {
                    all_below(&mut self.come, new, &path);
                    all_below(&mut self.gone, old, &path);
                }
                None => all_below(&mut self.gone, old, &path),
            }
        }
        for (name, new) in Cursor::new(after.clone())? {
            let is_known = before
                .read()
                .directory()
                .is_some_and(|names| names.get(&name).is_some());
            if !is_known {
                all_below(&mut self.come, new, &path::join(path, &name));
            }
        }
        Ok(())
    }

    /// Finds out what moved, what was replaced, and what came or went.
    fn match_moved(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        let mut by_origin: HashMap<Origin, Vec<usize>, FixedState> = HashMap::default();
        for (at, named) in gone.iter().enumerate().rev() {
            by_origin.entry(origin(&named.node)).or_default().push(at);
        }
        let mut gone: Vec<Option<Named>> = gone.into_iter().map(Some).collect();
        // The old path by the new one.
        let mut moved = Moved::default();
        let mut new = Vec::new();
        for named in std::mem::take(&mut self.come) {
            let at = by_origin.get_mut(&origin(&named.node)).and_then(Vec::pop);
            let Some(old) = at.and_then(|at| gone[at].take()) else {
                new.push(named);
                continue;
            };
            self.compare(&named.path, &old.node, &named.node);
            if path_before(&moved, &named.path) != old.path {
                moved.insert(named.path, old.path);
            }
        }
        let mut left: HashMap<Vec<u8>, Arc<Inode>, FixedState> = gone
            .into_iter()
            .flatten()
            .map(|named| (named.path, named.node))
            .collect();
        for named in new {
            match left.remove(&path_before(&moved, &named.path)) {
                Some(old) if old.kind() == named.node.kind() => {
                    self.compare(&named.path, &old, &named.node);
                }
                old => {
                    let path = path_before(&moved, &named.path);
                    self.diff.removed.extend(old.map(|_| path));
                    self.diff.added.push(named.path);
                }
            }
        }
        self.diff.removed.extend(left.into_keys());
        let pairs = moved.into_iter().map(|(to, from)| (from, to));
        self.diff.renamed.extend(pairs);
    }
}

type Moved = HashMap<Vec<u8>, Vec<u8>, FixedState>;

/// Where what has this path now was before, if it went along with the nearest directory that moved.
fn path_before(moved: &Moved, path: &[u8]) -> Vec<u8> {
    let mut end = path.len();
    while end > 0 {
        if let Some(from) = moved.get(&path[..end]) {
            return [from, &path[end..]].concat();
        }
        end = path[..end]
            .iter()
            .rposition(|byte| *byte == b'/')
            .unwrap_or(0);
    }
    path.to_vec()
}

/// A node and all below it, a directory before what is in it.
fn all_below(to: &mut Vec<Named>, node: Arc<Inode>, path: &[u8]) {
    let mut walk = Walk::new(node, path);
    while let Some((node, _)) = walk.advance() {
        let path = walk.current_path().to_vec();
        to.push(Named { path, node });
    }
}
