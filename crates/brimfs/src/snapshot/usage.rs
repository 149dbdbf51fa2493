//! Which content a tree has for itself, and which it shares with its snapshots and branches.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::base::sync::Arc;
use crate::memory::chunk::Chunk;
use crate::memory::content::Content;
use crate::memory::table::Table;
use crate::namespace::inode::{Body, Inode};
use crate::namespace::walk::Walk;

/// Content of a filesystem, in bytes of its quota. See [`FileSystem::usage`](crate::FileSystem::usage).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What nobody else has: closing the filesystem gives it back.
    pub private: u64,
    /// What a snapshot or a branch has too, or whoever it was branched from.
    pub shared: u64,
}

/// How often the tree has something, and one of it.
type Counts<T> = HashMap<*const T, (usize, Arc<T>), FixedState>;

#[derive(Default)]
struct Parts {
    usage: Usage,
    tables: Counts<Table>,
    chunks: Counts<Chunk>,
    /// Chunks of a table that others have.
    others: HashSet<*const Chunk, FixedState>,
}

/// Counts the content below `root`. O(nodes and chunks). Readers, views and calls in progress count as others.
pub(crate) fn usage(root: &Arc<Inode>) -> Usage {
    let mut parts = Parts::default();
    let mut linked = HashSet::<u64, FixedState>::default();
    let mut walk = Walk::new(root.clone(), b"/");
    while let Some((node, _)) = walk.advance() {
        let state = node.read();
        if let Body::File(content) = &state.body
            && (state.links < 2 || linked.insert(node.number()))
        {
            parts.add(content);
        }
    }
    parts.sum()
}

fn note<T>(counts: &mut Counts<T>, part: &Arc<T>) {
    let known = counts.entry(Arc::as_ptr(part));
    known.or_insert_with(|| (0, part.clone())).0 += 1;
}

/// Whether only those references are there, and the one that is counted with.
fn is_own<T>((count, part): &(usize, Arc<T>)) -> bool {
    Arc::strong_count(part) <= count + 1
}

impl Parts {
    fn add(&mut self, content: &Content) {
        match content {
            Content::Chunk(chunk) => note(&mut self.chunks, chunk),
            Content::Table(table) => note(&mut self.tables, table),
            other => self.usage.private += other.charge().0,
        }
    }

    fn sum(mut self) -> Usage {
        for counted in self.tables.values() {
            let is_own = is_own(counted);
            for (_, chunk) in counted.1.chunks() {
                note(&mut self.chunks, chunk);
                if !is_own {
                    self.others.insert(Arc::as_ptr(chunk));
                }
            }
        }
        for (at, counted) in &self.chunks {
            let usage = &mut self.usage;
            let sum = match is_own(counted) && !self.others.contains(at) {
                true => &mut usage.private,
                false => &mut usage.shared,
            };
            *sum += counted.1.quota();
        }
        self.usage
    }
}
