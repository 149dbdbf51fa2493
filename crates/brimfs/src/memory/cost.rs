//! How much a commit may have to write of content that changes: what its space on the disk is kept by.
//!
//! Bounds from above, in bytes of content. What counted once since the last commit counts no more than it grows,
//! as far as that is known without looking far.

use crate::base::sync::Arc;
use crate::memory::chunk::{CHUNK, Chunk};
use crate::memory::content::Content;
use crate::memory::shared::Shared;
use crate::memory::table::{Piece, Table, pieces};

/// What a commit says of a chunk, beside its content.
const CHUNK_RECORD: u64 = 96;
/// And of a node, beside names, attributes and content.
pub(crate) const NODE_RECORD: u64 = 256;

impl Content {
    /// What counts when the node is noted for the next commit, whatever is going to be changed: all of content that is
    /// written as a whole.
    pub(crate) fn cost_when_noted(&self) -> u64 {
        match self {
            Content::Table(_) => 0,
            content => content.len(),
        }
    }

    /// All of it, of a file that no commit knows yet.
    pub(crate) fn cost_when_new(&self) -> u64 {
        match self {
            Content::Table(table) => table.chunks().map(|(_, chunk)| whole(chunk)).sum(),
            content => content.len(),
        }
    }

    /// What a change of so many bytes from `offset` on adds. The inode's lock is held for writing, and the node is
    /// noted. `epoch` is the number of the commit to come.
    pub(crate) fn cost_of_change(&self, offset: u64, len: u64, epoch: u32) -> u64 {
        // What is too long is refused later.
        if len == 0 || offset.checked_add(len).is_none() {
            return 0;
        }
        let cost = |piece: Piece| match self {
            Content::Table(table) => {
                let is_alone = Arc::strong_count(table) == 1;
                match table.chunk(piece.index) {
                    Some(chunk) => chunk_cost(chunk, piece.end, epoch, is_alone),
                    None => piece.end as u64,
                }
            }
            content => {
                let had = content.len().saturating_sub(piece.index * CHUNK as u64);
                (piece.end as u64).saturating_sub(had)
            }
        };
        let with_record = |piece| cost(piece) + CHUNK_RECORD;
        pieces(offset, len).map(with_record).sum()
    }
}

impl Shared {
    /// What a commit writes of it for one file more. `is_committed` says that the file that it is from is known as
    /// it is.
    pub(crate) fn cost_of_copy(&self, is_committed: bool) -> u64 {
        NODE_RECORD
            + match self {
                Shared::Chunk(chunk) => whole(chunk),
                Shared::Table(table) => cost_of_copy(table, is_committed),
            }
    }
}

fn whole(chunk: &Chunk) -> u64 {
    chunk.data_end() as u64 + CHUNK_RECORD
}

fn cost_of_copy(table: &Table, is_committed: bool) -> u64 {
    let cost = |chunk: &Arc<Chunk>| match is_committed && chunk.knows_copy() {
        true => CHUNK_RECORD,
        false => whole(chunk),
    };
    table.chunks().map(|(_, chunk)| cost(chunk)).sum()
}

/// What a change up to `end` adds.
fn chunk_cost(chunk: &Arc<Chunk>, end: usize, epoch: u32, is_alone: bool) -> u64 {
    let had = chunk.data_end();
    // What others share is copied, and the copy counts as a whole.
    let is_own = is_alone && Arc::strong_count(chunk) == 1;
    match is_own && chunk.counts_for(epoch) {
        true => end.saturating_sub(had) as u64,
        false => had.max(end) as u64,
    }
}
