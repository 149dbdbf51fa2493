//! How much space of the disk is kept: for what waits for a commit, and for moving records.
//!
//! Of the reserve a part is the *base*: room for the live rest of a segment and what a commit takes beside content.
//! The rest is the room that changes are accepted for. It grows ahead of need, by the thread that commits, and goes
//! back when it was not needed for a while.
//!
//! A mirror keeps none, and its changes are never asked to wait for any.

use crate::base::error::{ErrorKind, Fault};
use crate::namespace::changes::Changes;

use super::reserve::is_short_of_disk;
use super::{Core, Persistence};

/// One part in so many of the disk, or of the disk limit, is enough for what commits take beside content,
const SLACK_SHARE: u64 = 64;
const SLACK: (u64, u64) = (64 << 10, 256 << 10);
/// and the least that is kept for what waits,
const LEAST: (u64, u64) = (64 << 10, 1 << 20);
/// and this share of it the most, if nothing needs more at once.
const MOST_SHARE: u64 = 4;
const MOST: (u64, u64) = (64 << 10, 1 << 30);
/// One part in so many of what is stored is kept for moving records, up to a segment.
const MOVES_SHARE: u64 = 4;
/// What was needed counts for less with each commit, by one part in so many.
const DECAY: u64 = 64;
/// So often space is looked for when there is none.
const TURNS: u32 = 16;

/// How much is kept, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    pub(super) slack: u64,
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Shares {
    /// On a disk of this size, or within this limit.
    pub(super) fn of(capacity: u64) -> Self {
        let share = |part: u64, (least, most): (u64, u64)| part.clamp(least, most) / 4096 * 4096;
        Shares {
            slack: share(capacity / SLACK_SHARE, SLACK),
            least: share(capacity / SLACK_SHARE, LEAST),
            most: share(capacity / MOST_SHARE, MOST),
        }
    }
}

impl Persistence {
    /// What is kept beside the room for changes.
    pub(super) fn base(&self) -> u64 {
        let moves = self.segments.disk_bytes() / MOVES_SHARE;
        self.shares.slack + moves.min(self.segments.segment_bytes())
    }

    /// Keeps room for so much, on the disk.
    fn grow(&self, core: &mut Core, changes: &Changes, room: u64) -> Result<(), Fault> {
        let base = self.base();
        let grown = core.reserve.grow(base + room, base);
        changes.set_room(core.reserve.room(base));
        grown
    }

    /// To be called when a commit or a move has ended: keeps as much as was needed lately, or what the disk has.
    pub(super) fn settle_room(&self, core: &mut Core) {
        let has_room = core.writer.is_some() && self.mirror.is_none();
        let Some(changes) = self.changes().filter(|_| has_room) else {
            return;
        };
        // What the commit had in hand is written, or waits again.
        let owed = changes.waiting();
        core.needed = owed.max(core.needed - core.needed / DECAY);
        let Shares { least, most, .. } = self.shares;
        let room = core.needed.saturating_mul(2).clamp(least, most).max(owed);
        let spare = core.reserve.len().saturating_sub(self.base() + room);
        if spare > room {
            core.reserve.give_up(spare);
        }
        let wanted = [room, owed.max(least), owed];
        let _ = wanted
            .iter()
            .any(|room| self.grow(core, changes, *room).is_ok());
    }

    /// Keeps more room before there is none, or says that a commit is due instead.
    pub(super) fn is_room_ahead(&self) -> bool {
        let Some(changes) = self.changes() else {
            return true;
        };
        let (owed, room) = (changes.owed(), changes.room());
        if owed < room / 2 {
            return true;
        }
        if owed > self.shares.most / 4 * 3 {
            return false;
        }
        let wanted = owed.saturating_mul(2).min(self.shares.most);
        let mut core = self.core.lock();
        core.writer.is_some() && self.grow(&mut core, changes, wanted).is_ok()
    }

    /// See [`Commits::make_room`](crate::namespace::changes::Commits::make_room).
    pub(super) fn find_room(&self, cost: u64) -> Result<(), Fault> {
        let mut core = self.core.lock();
        let Some(changes) = self.changes() else {
            return Ok(());
        };
        if core.writer.is_none() {
            return Err(ErrorKind::Closed.into());
        }
        let wanted = changes.owed().saturating_add(cost);
        let ample = wanted.saturating_mul(2).min(self.shares.most);
        let is_grown = wanted <= self.shares.most
            && (self.grow(&mut core, changes, ample).is_ok()
                || self.grow(&mut core, changes, wanted).is_ok());
        if changes.has_room(cost) || is_grown {
            return Ok(());
        }
        // What waited needs no room any more when it is durable.
        let done = self.commit_making_room(&mut core);
        self.note_problem(done.as_ref().err());
        match done {
            Err(fault) if !is_short_of_disk(&fault) => return Err(fault),
            _ => {}
        }
        self.segments.trim();
        for _ in 0..TURNS {
            let wanted = changes.owed().saturating_add(cost);
            let fault = match self.grow(&mut core, changes, wanted) {
                _ if changes.has_room(cost) => return Ok(()),
                Ok(()) => continue,
                Err(fault) => fault,
            };
            if !self.give_space_back(&mut core) {
                return Err(self.refuse(fault, cost));
            }
        }
        Err(self.refuse(ErrorKind::DiskFull.into(), cost))
    }

    #[cold]
    fn refuse(&self, fault: Fault, cost: u64) -> Fault {
        if fault.kind() != ErrorKind::DiskFull {
            return fault;
        }
        let text = match self.directory.place() {
            Ok(place) => format!(
                "{cost} bytes more may not fit the disk of the store, of which {} of {} bytes are free",
                place.free, place.total
            ),
            Err(_) => format!("{cost} bytes more may not fit the disk of the store"),
        };
        Fault::text(ErrorKind::DiskFull, text)
    }

    /// Gives the room up that is kept ahead for changes to come, but for the least of it: content that was accepted
    /// comes first. Whether there was any.
    pub(super) fn give_up_room(&self, core: &mut Core) -> bool {
        let Some(changes) = self.changes() else {
            return false;
        };
        let room = core.reserve.room(self.base()).min(changes.room());
        let spare = room.saturating_sub(changes.owed().max(self.shares.least)) / 4096 * 4096;
        // Else it would give up more than it was asked for.
        spare >= super::reserve::STEP && changes.withdraw(spare) && core.reserve.give_up(spare)
    }

    /// Gives a part of the reserve up for moving records, as far as nothing that waits needs it. Whether there
    /// was any.
    pub(super) fn lend(&self, core: &mut Core, bytes: u64) -> bool {
        let Some(changes) = self.changes() else {
            return false;
        };
        let len = core.reserve.len();
        let base = len.saturating_sub(changes.room());
        let mut spare = base.saturating_sub(self.shares.slack);
        if spare < bytes && changes.withdraw(bytes - spare) {
            spare = bytes;
        }
        let bytes = bytes.min(spare) / 4096 * 4096;
        // Else it would give up more than it was asked for.
        bytes >= super::reserve::STEP && core.reserve.lend(bytes)
    }
}
