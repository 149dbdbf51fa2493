//! Content that is written before a commit wants it: that of larger files, while everybody goes on changing things.
//!
//! What is written here is no part of any commit. The units know it as a copy of theirs, as they know what was spilled;
//! the next commit finds it good, or writes what was changed since. So a commit has little to write itself, writers are
//! held back by the disk and not by commits, and the gate is closed for as long as it takes to copy the rest aside.

use crate::base::error::Fault;
use crate::base::sync::{Arc, Weak, spawn_scoped, thread};
use crate::memory::chunk::CHUNK;
use crate::memory::written::{Look, UnitLook};
use crate::mover::Mover;
use crate::namespace::inode::{AHEAD, AHEAD_OVER, Inode};

use super::capture::{PATCH_PAGES, name_of};
use super::staging::{Staged, write};
use super::{Persistence, keep};

/// So much is copied aside before it is written, in bytes; or half of what a commit copies, if that is less. While it is
/// written as much again is copied.
const BATCH_BYTES: u64 = 8 << 20;

/// How much is copied aside before it is written, in bytes, where so much may wait for a commit.
fn batch_bytes(pending_max: u64) -> u64 {
    BATCH_BYTES.min(pending_max / 4)
}

/// What batches take at the most, in bytes, where so much may wait for a commit.
pub(super) fn buffer_bytes(pending_max: u64) -> u64 {
    2 * batch_bytes(pending_max)
}

/// What is copied aside, and written together.
#[derive(Default)]
pub(super) struct Batch {
    buffer: Vec<u8>,
    staged: Vec<Staged>,
}

/// Files of which content is to be written, and where in the next one to go on.
struct Source {
    nodes: std::vec::IntoIter<Weak<Inode>>,
    rest: Option<(Weak<Inode>, u64)>,
}

impl Persistence {
    /// Writes what is there of the content of larger files without a good copy.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn write_ahead(&self) -> Result<(), Fault> {
        let (Some(changes), Some(mover)) = (self.changes(), self.mover()) else {
            return Ok(());
        };
        if self.mirror.is_some() {
            // Its commits write whole files; a copy in a segment would be written twice.
            drop(changes.take_ahead());
            return Ok(());
        }
        // A commit would write what another thread is writing.
        let mut batches = self.ahead.lock();
        let mut source = Source {
            nodes: changes.take_ahead().into_iter(),
            rest: None,
        };
        let enough = batch_bytes(changes.pending_max()) as usize;
        let [writing, filling] = &mut *batches;
        writing.fill(&mut source, mover, enough)?;
        while !writing.staged.is_empty() {
            self.write_while(mover, writing, || filling.fill(&mut source, mover, enough))?;
            std::mem::swap(writing, filling);
        }
        Ok(())
    }

    /// Writes a batch while something else is done, or before it where there is no thread to be had.
    fn write_while(
        &self,
        mover: &Mover,
        batch: &mut Batch,
        other: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut written = Ok(());
        let done = thread::scope(|scope| {
            let writer = spawn_scoped(scope, || written = self.write_batch(mover, batch));
            let done = other();
            if let Some(writer) = writer {
                writer.join().expect("whoever writes does not panic");
            }
            done
        });
        // Nothing is left where a thread wrote it.
        written
            .and_then(|()| self.write_batch(mover, batch))
            .and(done)
    }

    /// Leaves the batch empty, however that ends.
    fn write_batch(&self, mover: &Mover, batch: &mut Batch) -> Result<(), Fault> {
        let Batch { buffer, staged } = batch;
        let written = write(&self.segments, buffer, staged);
        staged.clear();
        let len = buffer.len();
        buffer.clear();
        for fresh in written? {
            keep(mover, &fresh);
            self.segments.release(fresh.extent);
        }
        if let Some(changes) = self.changes() {
            changes.note_written(len as u64);
        }
        Ok(())
    }
}

impl Batch {
    /// Copies content of files aside until there is `enough`, in bytes, or none left.
    fn fill(&mut self, source: &mut Source, mover: &Mover, enough: usize) -> Result<(), Fault> {
        while self.buffer.len() < enough {
            let next = || source.nodes.next().map(|node| (node, 0));
            let Some((node, from)) = source.rest.take().or_else(next) else {
                break;
            };
            let rest = self.look(&node, mover, from, enough)?;
            source.rest = rest.map(|from| (node, from));
        }
        Ok(())
    }

    /// Copies units of a file aside, from number `from` on, until there are `enough` bytes. Says where to go on.
    fn look(
        &mut self,
        node: &Weak<Inode>,
        mover: &Mover,
        from: u64,
        enough: usize,
    ) -> Result<Option<u64>, Fault> {
        let Some(node) = node.upgrade() else {
            return Ok(None);
        };
        let mut state = node.write_quietly();
        state.mode &= !AHEAD;
        let is_removed = state.links == 0;
        let who = node.who(&state);
        let Some(content) = state.content_mut().filter(|_| !is_removed) else {
            return Ok(None);
        };
        let is_large = content.len() > CHUNK as u64;
        let mut next = None;
        content.look_written(&who, &mut |look| {
            if let Look::Unit(unit) = look
                && unit.index >= from
                && next.is_none()
                && is_worth_it(&unit, is_large, mover)
            {
                match self.buffer.len() < enough {
                    true => self.stage(&node, &unit),
                    false => next = Some(unit.index),
                }
            }
            Ok(())
        })?;
        Ok(next)
    }

    fn stage(&mut self, node: &Arc<Inode>, unit: &UnitLook<'_>) {
        let start = self.buffer.len();
        if unit.bytes.append_to(&mut self.buffer) {
            self.staged.push(Staged {
                node: Arc::downgrade(node),
                index: unit.index,
                identity: name_of(unit),
                start,
                len: unit.len,
                under: None,
            });
        }
    }
}

/// Whether a unit has no good copy, and will be what it is for a while.
fn is_worth_it(unit: &UnitLook<'_>, is_large: bool, mover: &Mover) -> bool {
    // What ends within a chunk is likely to grow.
    let is_growing = is_large && unit.len < CHUNK;
    let is_kept = |slot| mover.copy_of(slot, unit.identity.version).is_some();
    let has_copy =
        unit.copy.is_some() || !unit.identity.is_chunk() && unit.slot.is_some_and(is_kept);
    let goes_in_pages = unit
        .patch
        .is_some_and(|patch| patch.pages.count() <= PATCH_PAGES);
    unit.len as u64 > AHEAD_OVER && !is_growing && !has_copy && !goes_in_pages
}
