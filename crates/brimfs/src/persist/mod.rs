//! What makes a filesystem outlive the process: commits to a journal and to segments, and the way back.
//!
//! One [`Persistence`] belongs to one filesystem, whose changes it commits:
//!
//! 1. It closes the gate of [`Changes`], so that nothing is half done, and looks at every node that changed.
//!    Content without a good copy is copied aside.
//! 2. The gate is open again. What was copied aside is written to segments, which are then made durable.
//! 3. One group of the journal says all of it. When that is durable, the commit is.
//! 4. What the commit before had and this one has no more is released in the segments.
//!
//! A commit that finds no space changes nothing: all is noted again, and the next one tries once more.
//! After a failed flush nothing is committed any more.
//!
//! Lock order: `core`; `ahead`; the gate; nodes; what lies below them.

mod accesses;
mod ahead;
mod audit;
mod capture;
mod check;
mod checkpoint;
mod clerk;
mod compact;
mod image;
mod known;
mod mirror;
mod node_record;
mod numbers;
mod open;
mod overlay;
mod reserve;
mod restore;
mod room;
mod staging;

use std::fmt;
use std::time::Duration;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak, thread};
use crate::cold::segment::{Extent, Store};
use crate::io::directory::{Directory, DirectoryLock};
use crate::journal::{Counters, Group, Record, Writer};
use crate::memory::content::Content;
use crate::memory::delta::Kept;
use crate::memory::tier::Tier;
use crate::mover::Mover;
use crate::namespace::changes::{Batch, Changes, Commits};
use crate::namespace::inode::{Inode, NOTED};
use crate::namespace::volume::Volume;

use capture::{Capture, Captured, Change, Inlined};
use known::Known;
use mirror::Mirror;
use reserve::{JOURNAL_BYTES, Reserve, is_short_of_disk};
use room::Shares;
use staging::Fresh;

pub use check::{
    CheckProgress, CheckReport, CheckStep, Loss, Problem, RepairReport, check_directory,
    check_store, repair_directory, repair_store,
};
pub(crate) use mirror::Side;
pub use mirror::{ExternalChanges, Layout, OnExternalChange};
pub(crate) use open::{Plan, no_directory, open};

/// When changes become durable.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Durability {
    /// Before the call that makes them returns.
    Sync,
    /// After so long at most, or when they are asked for.
    Interval(Duration),
    /// When they are asked for, or so many that they have to be.
    Manual,
}

impl Default for Durability {
    fn default() -> Self {
        Durability::Interval(Duration::from_secs(1))
    }
}

#[cold]
fn corrupt(text: String) -> Fault {
    Fault::text(ErrorKind::Corrupt, text)
}

/// What only one commit at a time may touch.
struct Core {
    /// Nothing once the filesystem is closed.
    writer: Option<Writer>,
    known: Known,
    /// Nodes of an image that no name leads to: the first commit says so.
    nameless: Vec<u64>,
    /// Of what is known, but not yet released in the segments.
    freed: Vec<Extent>,
    /// Content that is in the journal only, and how much, in bytes.
    inlined: Vec<Inlined>,
    inline_bytes: u64,
    /// Bytes of groups since the last checkpoint, and that one's.
    appended: u64,
    checkpoint_bytes: u64,
    /// Bytes of groups when a checkpoint failed last; 0 if none did since one was written.
    checkpoint_vain: u64,
    /// Space on the disk for what was accepted and is not durable yet.
    reserve: Reserve,
    /// How much of it was needed lately, in bytes.
    needed: u64,
    /// The commit that failed last had content to move from the journal to segments, for which there was no space.
    is_moving_vain: bool,
    /// What the commit to come does with content that the journal has, however little it is.
    asked: Asked,
    /// Dead space when compaction could not give it back, in bytes; 0 if it could.
    vain: u64,
    /// Where commits copy content aside, without content.
    buffer: Vec<u8>,
}

/// What is asked of a commit where the disk is short.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// Content that the journal has moves to segments.
    Move,
    /// The content stays there, but for what left memory and lies in segments as a whole.
    LookAgain,
}

impl Core {
    fn new(reserve: Reserve) -> Self {
        Core {
            writer: None,
            known: Known::default(),
            nameless: Vec::new(),
            freed: Vec::new(),
            inlined: Vec::new(),
            inline_bytes: 0,
            appended: 0,
            checkpoint_bytes: 0,
            checkpoint_vain: 0,
            reserve,
            needed: 0,
            is_moving_vain: false,
            asked: Asked::Nothing,
            vain: 0,
            buffer: Vec::new(),
        }
    }

    /// Content went with the records, and what did before may have moved.
    fn note_inlined(&mut self, is_moved: bool, inlined: Vec<Inlined>, bytes: u64) {
        if is_moved {
            self.inlined.clear();
            self.inline_bytes = 0;
        }
        self.inlined.extend(inlined);
        self.inline_bytes += bytes;
    }

    fn is_checkpoint_due(&self, least: u64) -> bool {
        let again = self.checkpoint_vain + least / 8;
        self.appended > least.max(self.checkpoint_bytes).max(again)
    }
}

/// See the module's documentation.
pub(crate) struct Persistence {
    directory: Arc<dyn Directory>,
    segments: Arc<Store>,
    volume: Arc<Volume>,
    durability: Durability,
    read_only: bool,
    /// Bytes that the disk has, or the disk limit if that is less.
    capacity: u64,
    shares: Shares,
    /// Content that is in the journal moves to segments when it is more than this, in bytes.
    inline_max: u64,
    core: Mutex<Core>,
    /// Held by whoever writes ahead.
    ahead: Mutex<Vec<ahead::Batch>>,
    /// Commits that closed the gate so far, by number.
    begun: AtomicU64,
    /// The last one of them that is durable.
    durable: AtomicU64,
    /// Why the last commit failed, if it did.
    problem: Mutex<Option<(ErrorKind, Box<str>)>>,
    has_failed: AtomicBool,
    called: AtomicBool,
    clerk: Mutex<Option<(thread::Thread, u32)>>,
    /// Of the mirror layout.
    mirror: Option<Mirror>,
    root: Weak<Inode>,
    /// Held as long as the directory is in use.
    lock: Mutex<Option<Box<dyn DirectoryLock>>>,
}

impl Persistence {
    fn changes(&self) -> Option<&Changes> {
        self.volume.changes.as_deref()
    }

    fn mover(&self) -> Option<&Mover> {
        let tier = self.volume.account.budget.tier()?;
        let tier: &dyn std::any::Any = tier;
        tier.downcast_ref::<Mover>()
    }

    /// Makes everything durable that was done before the call.
    ///
    /// # Errors
    /// What the disk says; [`ErrorKind::Closed`].
    pub(crate) fn commit(&self) -> Result<(), Fault> {
        let before = self.begun.load(Ordering::Acquire);
        let mut core = self.core.lock();
        if self.durable.load(Ordering::Acquire) > before {
            // It closed the gate after this call began.
            return Ok(());
        }
        if self.read_only {
            return Ok(());
        }
        let done = self.commit_making_room(&mut core);
        self.note_problem(done.as_ref().err());
        if core.is_checkpoint_due(self.checkpoint_least()) || self.is_compaction_due(&core) {
            self.wake_clerk();
        }
        done
    }

    fn note_problem(&self, fault: Option<&Fault>) {
        let mut problem = self.problem.lock();
        *problem = fault.map(|fault| (fault.kind(), fault.says().into()));
        self.has_failed.store(problem.is_some(), Ordering::Release);
    }

    /// The error of whoever wants to change something after a commit failed.
    #[cold]
    fn refusal(&self) -> Result<(), Fault> {
        match &*self.problem.lock() {
            None => Ok(()),
            Some((kind, text)) => {
                let text =
                    format!("nothing can be made durable until the store is opened anew: {text}");
                Err(Fault::text(*kind, text))
            }
        }
    }

    fn commit_locked(&self, core: &mut Core) -> Result<(), Fault> {
        if let Some(mirror) = &self.mirror {
            return self
                .commit_mirror(core, mirror, mirror.rule(), None)
                .map(drop);
        }
        let done = self.commit_once(core);
        if core.is_moving_vain && done.as_ref().is_err_and(is_short_of_disk) {
            // What waits has its room; moving content out of the journal may take more.
            return self.commit_once(core);
        }
        done
    }

    fn commit_once(&self, core: &mut Core) -> Result<(), Fault> {
        let (Some(changes), Some(mover)) = (self.changes(), self.mover()) else {
            return Ok(());
        };
        if core.writer.is_none() {
            return Err(ErrorKind::Closed.into());
        }
        // What cannot be written now the commit will complain about.
        drop(self.write_ahead());
        let stage_bytes = capture::stage_bytes(changes.pending_max()) as usize;
        let is_due = core.inline_bytes > self.inline_max && !core.is_moving_vain;
        let is_moved = is_due || core.asked == Asked::Move;
        let promised = (!is_moved).then_some(&mut core.reserve);
        let buffer = std::mem::take(&mut core.buffer);
        let mut capture = Capture::new(
            mover,
            &self.segments,
            &core.known,
            promised,
            buffer,
            stage_bytes,
        );
        let mut early = Vec::new();
        let early_done = match is_moved {
            true => Ok(()),
            false => capture.look_early(changes, &mut early),
        };
        let closed = changes.close();
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let mut batch = closed.take();
        batch.nodes.append(&mut early);
        core.needed = core.needed.max(changes.owed());
        let is_nothing = batch.is_empty() && capture.nodes.is_empty() && core.nameless.is_empty();
        if is_nothing && core.asked == Asked::Nothing {
            drop(closed);
            core.buffer = capture.end().buffer;
            changes.settle_owed();
            self.durable.store(number, Ordering::Release);
            return Ok(());
        }
        let moved = early_done.and_then(|()| match core.asked {
            _ if is_moved => capture.move_to_segments(&core.inlined),
            Asked::LookAgain => capture.look_again(&core.inlined),
            _ => Ok(()),
        });
        let looked = moved.and_then(|()| self.look(&mut capture, &batch, &core.nameless));
        let next_node = self.volume.next_number();
        drop(closed);
        let mut is_said = false;
        let done = looked.and_then(|()| capture.finish()).and_then(|()| {
            self.say(
                &mut core.writer,
                &mut capture,
                &batch,
                next_node,
                &mut is_said,
            )
        });
        let mut captured = capture.end();
        core.buffer = std::mem::take(&mut captured.buffer);
        if done.is_ok() {
            self.durable.store(number, Ordering::Release);
            self.keep_commit(core, mover, captured, is_moved);
            changes.settle_owed();
        } else {
            // A group that the journal was given may be durable, whatever the disk says: what it refers to stays
            // until the store is opened anew.
            let held = std::mem::take(&mut captured.held);
            self.release_all(held.into_iter().filter(|_| !is_said));
            captured.inlined.iter().for_each(Inlined::forget_patches);
            self.put_back(changes, batch, captured.nodes);
            core.is_moving_vain = is_moved && done.as_ref().is_err_and(is_short_of_disk);
            self.settle_room(core);
        }
        done
    }

    fn keep_commit(&self, core: &mut Core, mover: &Mover, captured: Captured, is_moved: bool) {
        core.nameless.clear();
        core.note_inlined(is_moved, captured.inlined, captured.inline_bytes);
        core.appended += captured.said;
        self.settle(core, captured.changes);
        for fresh in &captured.fresh {
            keep(mover, fresh);
        }
        core.is_moving_vain = false;
        // Before anything is accepted for the room that was used up.
        self.settle_room(core);
    }

    fn look(
        &self,
        capture: &mut Capture<'_>,
        batch: &Batch,
        nameless: &[u64],
    ) -> Result<(), Fault> {
        for node in &batch.nodes {
            if let Some(node) = node.upgrade() {
                capture.node(node)?;
            }
        }
        for number in batch.gone.iter().chain(nameless) {
            capture.gone(*number)?;
        }
        Ok(())
    }

    /// Writes the group and makes it durable, after what it refers to. `is_said` becomes true before any of
    /// it can be.
    fn say(
        &self,
        writer: &mut Option<Writer>,
        capture: &mut Capture<'_>,
        batch: &Batch,
        next_node: u64,
        is_said: &mut bool,
    ) -> Result<(), Fault> {
        let writer = writer.as_mut().ok_or(ErrorKind::Closed)?;
        let group: &mut Group = &mut capture.group;
        group.append(&batch.names);
        if group.is_empty() {
            // Nodes came and went, or were refused.
            return Ok(());
        }
        group.push(&Record::Counters(Counters {
            next_node,
            next_segment: 0,
        }))?;
        // A full disk is noticed before anything is flushed.
        let (len, need) = (group.len(), group.len() + JOURNAL_BYTES);
        match &mut capture.promised {
            Some(reserve) => reserve.spend(need, || writer.reserve(len))?,
            None => writer.reserve(len)?,
        }
        self.segments.sync()?;
        *is_said = true;
        writer.append(&capture.group)?;
        writer.sync().map(drop)
    }

    /// The commit is durable: what it says is what is known from now on.
    fn settle(&self, core: &mut Core, news: Vec<Change>) {
        let mut freed = std::mem::take(&mut core.freed);
        for change in news {
            match change {
                Change::Node(number) => core.known.add(number),
                Change::Content(number, content) => core.known.replace(number, content, &mut freed),
                Change::Gone(number) => core.known.remove(number, &mut freed),
            }
        }
        self.release_all(freed.drain(..));
        core.freed = freed;
        core.known.shrink();
        if let Some(mover) = self.mover() {
            mover.charge_tables(core.known.footprint());
        }
    }

    fn release_all(&self, extents: impl IntoIterator<Item = Extent>) {
        for extent in extents {
            self.segments.release(extent);
        }
    }

    /// Notes all changes once more, for the next commit.
    fn put_back(&self, changes: &Changes, mut batch: Batch, nodes: Vec<Weak<Inode>>) {
        for node in nodes.iter().filter_map(Weak::upgrade) {
            let mut state = node.write_quietly();
            // Who changed it since has noted it.
            if state.mode & NOTED == 0 {
                state.mode |= NOTED;
                batch.nodes.push(Arc::downgrade(&node));
            }
        }
        changes.put_back(batch);
    }

    /// Commits what is left and lets the directory go. Later commits fail.
    ///
    /// # Errors
    /// As [`Persistence::commit`]: what was not durable before is lost then.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        let mut core = self.core.lock();
        if core.writer.is_none() {
            // Closed before, or opened for reading.
            drop(self.lock.lock().take());
            return Ok(());
        }
        let done = self
            .commit_making_room(&mut core)
            .and_then(|()| self.append_accesses(&mut core));
        let spare = core
            .reserve
            .len()
            .saturating_sub(self.base() + self.shares.least);
        if spare > 0 {
            // What is kept for moving records is what the next opening begins with.
            core.reserve.give_up(spare);
        }
        let closed = match core.writer.take() {
            Some(writer) if done.is_ok() => self.segments.close().and_then(|()| writer.close()),
            _ => Ok(()),
        };
        if let Some(changes) = self.changes() {
            changes.end();
        }
        drop(self.lock.lock().take());
        self.wake_clerk();
        done.and(closed)
    }

    fn is_closed(&self) -> bool {
        self.core.lock().writer.is_none()
    }
}

/// Has a unit know what was written of it, if it did not change since.
fn keep(mover: &Mover, fresh: &Fresh) {
    let Fresh {
        ref node,
        index,
        identity,
        extent,
    } = *fresh;
    let Some(node) = node.upgrade() else {
        return;
    };
    let state = node.write_quietly();
    let Some(content) = state.content() else {
        return;
    };
    if identity == node.who(&state).identity {
        // One that became a chunk meanwhile may be another file's next, which would take the copy for its own.
        if !matches!(content, Content::Chunk(_))
            && let Some(slot) = content.slot()
        {
            mover.keep_written(node.unit(0), slot, identity, extent);
        }
        return;
    }
    let is_part = content.is_table();
    let Some(location) = mover.locate(node.unit(index), extent, is_part) else {
        return;
    };
    match content.keep_written(index, identity, location, extent.len()) {
        Kept::Yes(slot) => {
            if let Some(slot) = slot {
                mover.note_clean(slot);
            }
        }
        Kept::No => mover.forget(location),
    }
}

impl Commits for Persistence {
    fn call(&self) -> bool {
        if !self.called.swap(true, Ordering::AcqRel) {
            self.wake_clerk();
        }
        !self.has_failed.load(Ordering::Acquire)
    }

    fn commit(&self) -> Result<(), Fault> {
        Persistence::commit(self)
    }

    #[inline]
    fn check(&self, is_full: bool) -> Result<(), Fault> {
        if self.read_only {
            return Err(ErrorKind::ReadOnly.into());
        }
        if !self.has_failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let is_short = |kind| {
            matches!(
                kind,
                ErrorKind::DiskFull | ErrorKind::DiskLimit | ErrorKind::ExternalChange
            )
        };
        let kind = self.problem.lock().as_ref().map(|problem| problem.0);
        match kind.is_some_and(is_short) {
            // What waits finds room in memory still.
            true if !is_full => Ok(()),
            true => self.commit(),
            false => self.refusal(),
        }
    }

    fn make_room(&self, cost: u64) -> Result<(), Fault> {
        self.find_room(cost)
    }

    fn reload(&self, node: &Arc<Inode>, fault: Fault) -> Result<(), Fault> {
        Persistence::reload(self, node, fault)
    }

    fn is_each_call_durable(&self) -> bool {
        self.durability == Durability::Sync
    }
}

impl fmt::Debug for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Persistence({:?})", self.durability)
    }
}
