//! Space of the disk comes back: live rests of mostly dead segments move, and short segments together.
//!
//! Records are copied while changes go on; only commits wait. One group of the journal says the new places, after
//! they are durable, and what lay at the old ones is released after that. So a crash finds the old places or
//! the new ones, and the same bytes at both.

use crate::base::error::{ErrorKind, Fault};
use crate::base::trace;
use crate::cold::segment::{Extent, StoreStats};
use crate::journal::Group;
use crate::mover::{Keeper, Moves};

use super::overlay::{self, Restacks};
use super::reserve::{JOURNAL_BYTES, is_short_of_disk};
use super::{Asked, Core, Persistence};

/// What is copied while commits wait, in bytes, about.
const ROUND: u64 = 16 << 20;
/// Copies of what is in memory that are given up at once when the disk is short, in bytes.
const COPIES: u64 = 64 << 20;
/// Dead space is given back when it is more than this share of the live bytes, and so many bytes, or this share of
/// a small disk limit.
const DEAD_SHARE: u64 = 2;
const DEAD_LEAST: u64 = 64 << 20;
const DEAD_LEAST_SHARE: u64 = 8;
/// So often a commit that finds no space tries again after some came back.
const COMMITS_MAX: u32 = 16;

/// A unit of a node whose content lies elsewhere.
struct Swing {
    node: u64,
    index: u64,
    old: Extent,
    new: Extent,
}

impl Persistence {
    /// Compacts if much of the store is dead, or many segments are short. Commits wait for a part of it at most.
    pub(super) fn compact_if_due(&self) {
        self.compact_while(|core| self.is_compaction_due(core));
    }

    /// Compacts if many segments are short.
    pub(super) fn merge_if_due(&self) {
        self.compact_while(|_| self.segments.has_many_short());
    }

    fn compact_while(&self, is_due: impl Fn(&Core) -> bool) {
        let mut rounds = self.segments.stats().disk_bytes / ROUND + 1;
        let mut core = self.core.lock();
        while rounds > 0 && is_due(&core) {
            match self.compact_round(&mut core) {
                // Whoever needs the space hears of errors.
                Ok(false) | Err(_) => break,
                Ok(true) => rounds -= 1,
            }
            drop(core);
            core = self.core.lock();
        }
        // What could not be moved now is not tried again before there is more.
        core.vain = match is_due(&core) {
            true => self.segments.stats().dead_bytes,
            false => 0,
        };
    }

    pub(super) fn is_compaction_due(&self, core: &Core) -> bool {
        if core.writer.is_none() {
            return false;
        }
        let stats = self.segments.stats();
        let segment = self.segments.segment_bytes();
        if core.vain > 0 && stats.dead_bytes < core.vain + segment {
            return false;
        }
        is_mostly_dead(&stats, segment, self.capacity) || self.segments.has_many_short()
    }

    /// Commits, and compacts when the disk is short.
    pub(super) fn commit_making_room(&self, core: &mut Core) -> Result<(), Fault> {
        for _ in 0..COMMITS_MAX {
            let done = self.commit_locked(core);
            match done {
                Err(fault) if is_short_of_disk(&fault) && self.give_space_back(core) => {}
                done => return done,
            }
        }
        self.commit_locked(core)
    }

    /// Gives space back whatever that costs. Whether some came back.
    pub(super) fn give_space_back(&self, core: &mut Core) -> bool {
        if self.give_back(core) {
            return true;
        }
        if self.commit_moving(core) && self.give_back(core) {
            return true;
        }
        // Copies of what is in memory may be all that lives in a segment.
        let given = self.mover().map_or(0, |mover| mover.give_up_copies(COPIES));
        given > 0 && self.give_back(core)
    }

    /// Has a commit move content from the journal to segments. A chunk that was evicted since its pages went with the journal lies
    /// there as a whole, and what the pages lie over is dead then; one in memory needs no more for that than its pages. Where
    /// there is no room for those either, they stay. Whether there was any content.
    fn commit_moving(&self, core: &mut Core) -> bool {
        if core.inlined.is_empty() {
            return false;
        }
        let mut commit = |asked| {
            core.asked = asked;
            let done = self.commit_once(core);
            core.asked = Asked::Nothing;
            done.is_ok()
        };
        commit(Asked::Move) || commit(Asked::LookAgain)
    }

    fn give_back(&self, core: &mut Core) -> bool {
        let before = self.segments.stats().disk_bytes;
        let is_less = || self.segments.stats().disk_bytes < before;
        // More would be in vain: nothing is moved twice.
        let most = 2 * before / ROUND.min(self.segments.segment_bytes()) + 2;
        for _ in 0..most {
            let has_moved = self.compact_round(core);
            if is_less() {
                return true;
            }
            if !matches!(has_moved, Ok(true)) {
                return false;
            }
        }
        false
    }

    /// Moves some records. Whether there were any.
    ///
    /// # Errors
    /// Those of the disk, if nothing was moved or it cannot be made durable.
    fn compact_round(&self, core: &mut Core) -> Result<bool, Fault> {
        trace::span!("compact");
        let Some(mover) = self.mover().filter(|_| core.writer.is_some()) else {
            return Ok(false);
        };
        let budget = ROUND.min(self.segments.segment_bytes());
        let (mut moves, mut done) = mover.move_records(&self.segments, budget);
        while moves.is_empty()
            && done.as_ref().is_err_and(is_short_of_disk)
            && self.lend(core, budget)
        {
            (moves, done) = mover.move_records(&self.segments, budget);
        }
        if moves.is_empty() {
            return done.map(|()| false);
        }
        let kept = self.keep_moves(core, &moves);
        if kept.is_ok() {
            mover.swing(&self.segments, &moves);
        }
        moves.release(&self.segments);
        self.settle_room(core);
        kept.map(|()| true)
    }

    /// Makes the new places durable, and releases the old ones.
    fn keep_moves(&self, core: &mut Core, moves: &Moves) -> Result<(), Fault> {
        let swings = self.swings(core, moves);
        let restacks = Restacks::of(&self.segments, moves);
        let mut is_said = false;
        let said = self.say_moves(core, &swings, &restacks, &mut is_said);
        if said.is_err() {
            // A group that the journal was given may be durable.
            if !is_said {
                for swing in &swings {
                    self.segments.release(swing.new);
                }
                restacks.give_up(&self.segments);
            }
            return said;
        }
        restacks.apply(&self.segments);
        for inlined in &core.inlined {
            inlined.swing(|base| moves.get(base));
        }
        for swing in swings {
            let old = core.known.swing(swing.node, swing.index, swing.new);
            debug_assert_eq!(old, Some(swing.old), "nobody else changes what is known");
            self.segments.release(swing.old);
        }
        Ok(())
    }

    /// What is known to lie where records were moved from, each with a reference to the new place.
    fn swings(&self, core: &Core, moves: &Moves) -> Vec<Swing> {
        let mut swings = Vec::new();
        core.known.each(|node, index, old| {
            // What has as many references as can be counted stays.
            if let Some(new) = moves.get(old)
                && self.segments.retain(new)
            {
                swings.push(Swing {
                    node,
                    index,
                    old,
                    new,
                });
            }
        });
        swings
    }

    fn say_moves(
        &self,
        core: &mut Core,
        swings: &[Swing],
        restacks: &Restacks,
        is_said: &mut bool,
    ) -> Result<(), Fault> {
        let mut group = Group::new();
        for swing in swings {
            group.push(&overlay::moved(swing.node, swing.index, swing.new))?;
        }
        restacks.say(&core.known, &mut group)?;
        if group.is_empty() {
            // Only units in memory know what was moved.
            return Ok(());
        }
        let writer = core.writer.as_mut().ok_or(ErrorKind::Closed)?;
        core.reserve
            .spend(group.len() + JOURNAL_BYTES, || writer.reserve(group.len()))?;
        self.segments.sync()?;
        *is_said = true;
        writer.append(&group)?;
        writer.sync()?;
        core.appended += group.len();
        Ok(())
    }
}

fn is_mostly_dead(stats: &StoreStats, segment: u64, capacity: u64) -> bool {
    let least = DEAD_LEAST.min(capacity / DEAD_LEAST_SHARE);
    let is_pressed = stats.disk_bytes + 2 * segment > stats.disk_limit;
    let is_much = stats.dead_bytes >= least && stats.dead_bytes >= stats.live_bytes / DEAD_SHARE;
    is_much || is_pressed && stats.dead_bytes >= segment
}

impl Keeper for Persistence {
    fn make_disk_room(&self) -> bool {
        let before = self.segments.stats().disk_bytes;
        let is_less = || self.segments.stats().disk_bytes < before;
        let mut core = self.core.lock();
        if is_less() || self.give_back(&mut core) || self.give_up_room(&mut core) {
            return true;
        }
        // What was replaced since is dead when a commit has said so. An error of that is for the next one to meet.
        let is_committed = self.commit_moving(&mut core) || self.commit_locked(&mut core).is_ok();
        let is_more = is_less() || is_committed && self.give_back(&mut core);
        if !is_more {
            // The commit kept room anew that was given up before it: no more than there was.
            self.give_up_room(&mut core);
        }
        is_more
    }
}
