//! Content that is written before a commit wants it: that of larger files, while everybody goes on changing things.
//!
//! What is written here is no part of any commit. The units know it as a copy of theirs, as they know what was spilled;
//! the next commit finds it good, or writes what was changed since. So a commit has little to write itself, writers are
//! held back by the disk and not by commits, and the gate is closed for as long as it takes to copy the rest aside.
//!
//! Content is copied once, to where it is written from. Where there is much of it threads fill, seal and write several
//! buffers side by side, so that the disk has something to do at any time.

use std::time::Duration;

use crate::base::clock;
use crate::base::error::Fault;
use crate::base::sync::{Arc, Mutex, Weak, spawn_scoped, thread};
use crate::cold::segment::{Extent, Load, Store};
use crate::memory::chunk::CHUNK;
use crate::memory::tier::Identity;
use crate::memory::written::{Look, UnitLook};
use crate::mover::Mover;
use crate::mover::kept::lasting_id;
use crate::namespace::inode::{AHEAD, AHEAD_OVER, Inode};

use super::capture::{PATCH_PAGES, name_of};
use super::staging::Fresh;
use super::{Persistence, keep};

/// So many buffers are filled and written at the same time at the most.
const BUFFERS_MAX: u64 = 3;
/// For each of them so much may wait for a commit, in bytes.
const PENDING_EACH: u64 = 4 << 20;
/// So many times what may wait for a commit is written without one: the thread that commits has checkpoints and compaction to
/// look after, too.
const UNCOMMITTED: u64 = 4;

/// How many buffers there are where so much may wait for a commit.
fn buffers(pending_max: u64) -> u64 {
    (pending_max / PENDING_EACH).clamp(1, BUFFERS_MAX)
}

/// What buffers take at the most, in bytes, where so much may wait for a commit.
pub(super) fn buffer_bytes(pending_max: u64) -> u64 {
    buffers(pending_max) * Load::BYTES
}

/// What is written together.
#[derive(Default)]
pub(super) struct Batch {
    load: Load,
    /// Whose records these are, in their order.
    units: Vec<Unit>,
}

struct Unit {
    node: Weak<Inode>,
    index: u64,
    identity: Identity,
}

/// Batches for as many threads as may write ahead.
pub(super) fn batches(pending_max: u64) -> Vec<Batch> {
    (0..buffers(pending_max))
        .map(|_| Batch::default())
        .collect()
}

/// Files of which content is to be written.
struct Source<'a> {
    mover: &'a Mover,
    segments: &'a Store,
    nodes: std::vec::IntoIter<Weak<Inode>>,
    /// The one that is at hand, and the unit to go on with.
    rest: Option<(Weak<Inode>, u64)>,
    /// Bytes that were written. With the first thing that fails all is over.
    done: Result<u64, Fault>,
}

impl Persistence {
    /// Writes content ahead of the next commit, which is due at a time anyhow, while much waits for it. Says whether so
    /// little is left that none is needed before.
    pub(super) fn is_writing_ahead_enough(&self, due: Duration) -> bool {
        let Some(changes) = self.changes() else {
            return true;
        };
        let most = changes.pending_max().saturating_mul(UNCOMMITTED);
        let mut written = 0;
        while written < most && clock::monotonic() < due {
            match self.write_ahead() {
                Err(_) => return false,
                Ok(_) if !changes.is_commit_due() => return true,
                // What is left is nothing that could be written ahead.
                Ok(0) => return false,
                Ok(bytes) => written += bytes,
            }
        }
        false
    }

    /// Writes what is there of the content of larger files without a good copy. Says how much that was, in bytes.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn write_ahead(&self) -> Result<u64, Fault> {
        let (Some(changes), Some(mover)) = (self.changes(), self.mover()) else {
            return Ok(0);
        };
        if self.mirror.is_some() {
            // Its commits write whole files; a copy in a segment would be written twice.
            drop(changes.take_ahead());
            return Ok(0);
        }
        // A commit would write what another thread is writing.
        let mut batches = self.ahead.lock();
        let wanted = (changes.pending() / PENDING_EACH).min(batches.len() as u64);
        let source = Mutex::new(Source {
            mover,
            segments: &self.segments,
            nodes: changes.take_ahead().into_iter(),
            rest: None,
            done: Ok(0),
        });
        let (own, others) = batches.split_at_mut(1);
        let helpers = others.iter_mut().take((wanted as usize).saturating_sub(1));
        thread::scope(|scope| {
            let start = |batch| spawn_scoped(scope, || self.write_from(&source, mover, batch));
            let started: Vec<_> = helpers.map_while(start).collect();
            own.iter_mut()
                .for_each(|batch| self.write_from(&source, mover, batch));
            for helper in started {
                helper.join().expect("whoever writes does not panic");
            }
        });
        source.into_inner().done
    }

    /// Fills a batch and writes it, again and again, until nothing is left or something failed.
    fn write_from(&self, source: &Mutex<Source<'_>>, mover: &Mover, batch: &mut Batch) {
        loop {
            source.lock().fill(batch);
            if batch.load.is_empty() {
                return;
            }
            let written = self.write_batch(mover, batch);
            source.lock().count(written);
        }
    }

    /// Leaves the batch empty, however that ends.
    fn write_batch(&self, mover: &Mover, batch: &mut Batch) -> Result<u64, Fault> {
        let bytes = batch.load.content_bytes();
        let written = self.segments.write_load(&mut batch.load);
        let units = batch.units.drain(..);
        for (unit, extent) in units.zip(written?) {
            keep(mover, &unit.written_to(extent));
            self.segments.release(extent);
        }
        if let Some(changes) = self.changes() {
            changes.note_written(bytes);
        }
        Ok(bytes)
    }
}

impl Source<'_> {
    /// Copies content of files into a batch, until it is full or nothing is left.
    fn fill(&mut self, batch: &mut Batch) {
        while self.done.is_ok() && batch.load.has_room(AHEAD_OVER as usize + 1) {
            let next = || self.nodes.next().map(|node| (node, 0));
            let Some((node, from)) = self.rest.take().or_else(next) else {
                return;
            };
            match self.look(&node, from, batch) {
                Ok(rest) => self.rest = rest.map(|from| (node, from)),
                Err(fault) => self.count(Err(fault)),
            }
            if self.rest.is_some() {
                return;
            }
        }
    }

    fn count(&mut self, written: Result<u64, Fault>) {
        if let Ok(done) = &self.done {
            self.done = written.map(|more| done + more);
        }
    }

    /// Copies units of a file, from a number on, while the batch has room. Says where to go on.
    fn look(&self, node: &Weak<Inode>, from: u64, batch: &mut Batch) -> Result<Option<u64>, Fault> {
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
        let looked = content.look_written_from(&who, from, &mut |look| {
            if let Look::Unit(unit) = look
                && is_worth_it(&unit, is_large, self.mover)
            {
                if !batch.load.has_room(unit.len) {
                    next = Some(unit.index);
                    return Err(None);
                }
                batch.add(self.segments, &node, &unit);
            }
            Ok(())
        });
        match looked {
            Err(Some(fault)) => Err(fault),
            Ok(()) | Err(None) => Ok(next),
        }
    }
}

impl Batch {
    fn add(&mut self, segments: &Store, node: &Arc<Inode>, unit: &UnitLook<'_>) {
        let identity = name_of(unit);
        let id = lasting_id(identity);
        segments.load(&mut self.load, id, unit.len, |start, to| {
            unit.bytes.copy_to(start, to);
        });
        self.units.push(Unit {
            node: Arc::downgrade(node),
            index: unit.index,
            identity,
        });
    }
}

impl Unit {
    fn written_to(self, extent: Extent) -> Fresh {
        Fresh {
            node: self.node,
            index: self.index,
            identity: self.identity,
            extent,
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
    let is_there = unit.bytes.are_there() && unit.len as u64 > AHEAD_OVER;
    is_there && !is_growing && !has_copy && !goes_in_pages
}
