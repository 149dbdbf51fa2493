//! The reference model: what a filesystem means, with nothing made fast.
//!
//! Inodes by number in a map, directories as lists, content as blocks. Every
//! operation that may fail for want of room is tried on a clone of the whole
//! model and taken back when it passes a limit, so "all or nothing" holds by
//! construction. The answers follow Linux as tmpfs gives them; where brimfs
//! differs by design, the refusal says so (`Refusal::by_design`) and only
//! brimfs is compared.

mod content;
mod files;
mod handles;
mod names;
mod resolve;
mod trees;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub use content::{BLOCK, CHUNK, Content};

use crate::op::{Answer, Counters, Kind, Op, Outcome, Raw, SLOTS, Stamp, Stat};
use resolve::Last;

/// An inode number. Never used again.
pub type Ino = u64;
/// The root directory.
pub const ROOT: Ino = 1;
/// The longest file.
pub const MAX_LEN: u64 = i64::MAX as u64;
/// Files beyond this are never read or copied as a whole by a workload.
const TOO_BIG_TO_READ: u64 = 24 << 20;

/// Limits that the model enforces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of content, by the charging rule of [`Content`].
    pub quota: Option<u64>,
    /// Files, directories and symbolic links, the root included.
    pub max_nodes: Option<u64>,
}

/// Why an operation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The errno.
    pub errno: i32,
    /// Linux would answer something else.
    pub by_design: bool,
}

impl Refusal {
    fn by_design(errno: i32) -> Self {
        Refusal {
            errno,
            by_design: true,
        }
    }
}

impl From<i32> for Refusal {
    fn from(errno: i32) -> Self {
        Refusal {
            errno,
            by_design: false,
        }
    }
}

/// What the model expects, and of whom.
#[derive(Debug)]
pub enum Verdict {
    /// Everybody answers this.
    All(Answer),
    /// brimfs answers this; Linux differs by design.
    BrimfsOnly(Answer),
    /// Not to be tried at all: it would take too long, or nothing is promised.
    Skip,
}

/// An inode.
#[derive(Clone, Debug)]
struct Node {
    body: Body,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Names of a file or link; unused for directories.
    names: u64,
    xattrs: BTreeMap<Raw, Vec<u8>>,
    modified: Stamp,
}

#[derive(Clone, Debug)]
enum Body {
    File(Content),
    Dir(Dir),
    Link(Vec<u8>),
}

/// A directory: entries in the order in which they were made.
#[derive(Clone, Debug)]
struct Dir {
    parent: Ino,
    entries: Vec<(Vec<u8>, Ino)>,
}

impl Dir {
    fn get(&self, name: &[u8]) -> Option<Ino> {
        let found = self.entries.iter().find(|entry| entry.0 == name);
        found.map(|entry| entry.1)
    }

    fn name_of(&self, ino: Ino) -> &[u8] {
        let found = self.entries.iter().find(|entry| entry.1 == ino);
        &found.expect("a directory is listed in its parent").0
    }

    fn remove(&mut self, name: &[u8]) {
        self.entries.retain(|entry| entry.0 != name);
    }

    fn add(&mut self, name: &[u8], ino: Ino) {
        self.entries.push((name.to_vec(), ino));
    }
}

/// An open file.
#[derive(Clone, Copy, Debug)]
struct Handle {
    ino: Ino,
    at: u64,
    read: bool,
    write: bool,
    append: bool,
}

/// A filesystem.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Limits,
    nodes: BTreeMap<Ino, Node>,
    next_ino: Ino,
    slots: [Option<Handle>; SLOTS],
    views: [Option<View>; SLOTS],
}

/// A view: the bytes as they were, and the chunks that stay charged for them.
#[derive(Clone, Debug)]
struct View {
    content: Content,
}

impl Model {
    /// An empty filesystem whose root has mode 0755 and belongs to user 0.
    pub fn new(limits: Limits) -> Self {
        let mut model = Model {
            limits,
            nodes: BTreeMap::new(),
            next_ino: ROOT,
            slots: [None; SLOTS],
            views: Default::default(),
        };
        model.add_node(
            Body::Dir(Dir {
                parent: ROOT,
                entries: Vec::new(),
            }),
            0o755,
        );
        model
    }

    /// Does what `op` says and answers what everybody should answer.
    pub fn apply(&mut self, op: &Op) -> Verdict {
        if self.takes_too_long(op) || self.has_two_mistakes(op) {
            return Verdict::Skip;
        }
        let mut tried = self.clone();
        let result = tried
            .run(op)
            .and_then(|outcome| tried.check_limits(self).map(|()| outcome));
        match result {
            Ok(outcome) => {
                *self = tried;
                Verdict::All(Ok(outcome))
            }
            Err(refusal) if refusal.by_design => Verdict::BrimfsOnly(Err(refusal.errno.into())),
            Err(refusal) => Verdict::All(Err(refusal.errno.into())),
        }
    }

    /// What the counters must say now.
    pub fn counters(&self) -> Counters {
        let count = |kind| {
            self.nodes
                .values()
                .filter(|n| kind_of(&n.body) == kind)
                .count() as u64
        };
        Counters {
            quota_used: self.quota_used(),
            files: count(Kind::File),
            directories: count(Kind::Dir),
            symlinks: count(Kind::Link),
            open_handles: self.slots.iter().flatten().count() as u64,
            views: self.views.iter().flatten().count() as u64,
        }
    }

    /// Every path but the root's, with what it is and how long; parents first.
    pub fn paths(&self) -> Vec<(Raw, Kind)> {
        self.tree_below(ROOT, b"/")
    }

    /// Whether all content has a path: no view is alive, no unlinked file is open.
    pub fn all_is_reachable(&self) -> bool {
        let is_named = |handle: &Handle| self.node(handle.ino).names > 0;
        self.views.iter().all(Option::is_none) && self.slots.iter().flatten().all(is_named)
    }

    /// Whether a file is open in the slot.
    pub fn is_open(&self, slot: usize) -> bool {
        self.slots[slot].is_some()
    }

    /// Whether the bytes of the file at `path` may be read as a whole.
    pub fn is_readable_as_a_whole(&self, path: &[u8]) -> bool {
        let Ok(ino) = self.lookup(path, Last::Follow) else {
            return true;
        };
        match &self.node(ino).body {
            Body::File(content) => content.len <= TOO_BIG_TO_READ,
            _ => true,
        }
    }

    fn takes_too_long(&self, op: &Op) -> bool {
        match op {
            Op::ReadAll { path } => !self.is_readable_as_a_whole(path.as_ref()),
            Op::View { path, .. } => {
                let path = path.as_ref();
                !self.is_readable_as_a_whole(path) || self.is_large_and_shared(path)
            }
            Op::Copy { from, .. } => !self.is_readable_as_a_whole(from.as_ref()),
            Op::CopyTree { .. } => self.nodes.values().any(|node| match &node.body {
                Body::File(content) => content.len > TOO_BIG_TO_READ,
                _ => false,
            }),
            _ => false,
        }
    }

    /// Two mistakes in one call: which is reported first is open.
    fn has_two_mistakes(&self, op: &Op) -> bool {
        let paths = op.paths();
        let is_too_long = |path: &Raw| {
            let mut names = path.0.split(|byte| *byte == b'/');
            names.any(|name| name.len() > 255)
        };
        if let Op::MkdirAll { path } = op {
            let goes_up = path.0.split(|byte| *byte == b'/').any(|name| name == b"..");
            return (self.limits.max_nodes.is_some() && is_too_long(path))
                || (goes_up && self.clone().run(op).is_err());
        }
        let [first, second] = paths[..] else {
            return false;
        };
        let is_bad = |path: &Raw| path.0.contains(&0) || is_too_long(path);
        if is_bad(first) || is_bad(second) {
            return true;
        }
        let mistakes = [first, second].map(|path| self.place(&path.0, Last::Entry).err());
        mistakes.iter().flatten().any(|mistake| mistake.by_design)
    }

    /// Whether a view of the file may need a copy or not, depending on how its
    /// chunks came about, which the model does not know.
    fn is_large_and_shared(&self, path: &[u8]) -> bool {
        let Ok(ino) = self.lookup(path, Last::Follow) else {
            return false;
        };
        match &self.node(ino).body {
            Body::File(content) => content.len > CHUNK && content.is_shared(),
            _ => false,
        }
    }

    /// Charged bytes: every chunk that a file or a view refers to, once.
    fn quota_used(&self) -> u64 {
        let of_files = self.nodes.values().filter_map(|node| match &node.body {
            Body::File(content) => Some(content),
            _ => None,
        });
        let of_views = self.views.iter().flatten().map(|view| &view.content);
        let mut seen = HashSet::new();
        of_files
            .chain(of_views)
            .flat_map(|content| content.chunks.values())
            .filter(|chunk| seen.insert(Arc::as_ptr(chunk)))
            .map(|chunk| chunk.charge())
            .sum()
    }

    /// An operation that takes nothing more succeeds even beyond a limit.
    fn check_limits(&self, before: &Model) -> Result<(), Refusal> {
        if let Some(limit) = self.limits.max_nodes {
            let count = self.nodes.len() as u64;
            if count > limit && count > before.nodes.len() as u64 {
                return Err(Refusal::by_design(libc::ENOSPC));
            }
        }
        if let Some(limit) = self.limits.quota {
            let used = self.quota_used();
            if used > limit && used > before.quota_used() {
                return Err(Refusal::by_design(libc::ENOSPC));
            }
        }
        Ok(())
    }

    fn node(&self, ino: Ino) -> &Node {
        &self.nodes[&ino]
    }

    fn node_mut(&mut self, ino: Ino) -> &mut Node {
        self.nodes.get_mut(&ino).expect("a live inode")
    }

    fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.node(ino).body, Body::Dir(_))
    }

    fn dir(&self, ino: Ino) -> &Dir {
        match &self.node(ino).body {
            Body::Dir(dir) => dir,
            other => panic!("{ino} is no directory: {other:?}"),
        }
    }

    /// A directory about to change: its modification time moves.
    fn dir_mut(&mut self, ino: Ino) -> &mut Dir {
        let node = self.node_mut(ino);
        node.modified = Stamp::Moved;
        match &mut node.body {
            Body::Dir(dir) => dir,
            other => panic!("{ino} is no directory: {other:?}"),
        }
    }

    fn add_node(&mut self, body: Body, mode: u32) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        self.nodes.insert(
            ino,
            Node {
                body,
                mode,
                uid: 0,
                gid: 0,
                names: 1,
                xattrs: BTreeMap::new(),
                modified: Stamp::Moved,
            },
        );
        ino
    }

    /// One name less; the inode goes with its last name and its last handle.
    fn drop_name(&mut self, ino: Ino) {
        self.node_mut(ino).names -= 1;
        self.reap(ino);
    }

    fn reap(&mut self, ino: Ino) {
        let open = self.slots.iter().flatten().any(|handle| handle.ino == ino);
        if self.node(ino).names == 0 && !open {
            self.nodes.remove(&ino);
        }
    }

    fn stat(&self, ino: Ino) -> Stat {
        let node = self.node(ino);
        let (nlink, len) = match &node.body {
            Body::File(content) => (node.names, content.len),
            Body::Link(target) => (node.names, target.len() as u64),
            Body::Dir(dir) => {
                let below = dir.entries.iter().filter(|entry| self.is_dir(entry.1));
                (2 + below.count() as u64, 0)
            }
        };
        Stat {
            kind: kind_of(&node.body),
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            nlink,
            len,
            ino,
            modified: node.modified,
        }
    }
}

fn kind_of(body: &Body) -> Kind {
    match body {
        Body::File(_) => Kind::File,
        Body::Dir(_) => Kind::Dir,
        Body::Link(_) => Kind::Link,
    }
}

type Reply = Result<Outcome, Refusal>;

fn refuse<T>(errno: i32) -> Result<T, Refusal> {
    Err(errno.into())
}
