//! What was there before the tier was needed: found by a walk, and admitted.
//!
//! As long as memory is plenty nobody is told of a unit, and so nothing is spent on them. When the
//! limit comes into sight everything that is there is admitted at once, in the background.

use std::time::Duration;

use crate::base::clock;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Mutex, thread};
use crate::memory::budget::Budget;

use super::Mover;
use super::reclaim::Staging;
use super::streams::Streams;
use super::tickets::Tickets;

/// A walk that may find nothing is not made again for so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Time between two looks at what a walk that somebody else makes has found.
pub(super) const NAP: Duration = Duration::from_millis(1);

/// Whether the tier is awake, and what was looked at since.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Held by whoever wakes the tier or lays it to rest: nobody sees it half awake.
    waking: Mutex<()>,
    /// Nobody has looked for content since the tier woke.
    is_due: AtomicBool,
    /// When the last walk ended. Held while one is under way.
    ended: Mutex<Option<Duration>>,
}

/// What a walk led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There are units that were not known before.
    More,
    /// Everything was known, or was known a moment ago.
    Nothing,
    /// Somebody else is looking.
    Busy,
}

impl Mover {
    /// Tracks units from now on, and pays for the buffers, which are needed when there is no memory
    /// left. Does nothing the second time.
    pub(super) fn activate(&self) {
        self.activate_if(|_| true);
    }

    /// As [`Mover::activate`], if there is still a reason: the filesystem may have been emptied, and the
    /// tier laid to rest, since somebody called.
    pub(super) fn activate_if_due(&self) {
        self.activate_if(Budget::is_tier_due);
    }

    fn activate_if(&self, is_due: impl FnOnce(&Budget) -> bool) {
        if self.is_awake() {
            return;
        }
        let _waking = self.census.waking.lock();
        if let Some(budget) = self.budget.upgrade()
            && !self.is_awake()
            && is_due(&budget)
        {
            self.census.is_due.store(true, Ordering::Relaxed);
            // What was looked for before is not what is there now.
            self.stuck_until.store(0, Ordering::Relaxed);
            budget.start_tracking();
            self.charged.store(budget.claim_aside(), Ordering::Release);
        }
    }

    /// Whether units are tracked, and buffers paid for.
    pub(super) fn is_awake(&self) -> bool {
        self.charged.load(Ordering::Acquire) > 0
    }

    /// Goes back to sleep if nothing is stored: memory, disk and tables are given back. An empty
    /// filesystem costs what it cost before it was filled.
    pub(super) fn rest(&self) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        if !self.is_awake() {
            return;
        }
        // A walk and a batch that are under way hold files: they end first.
        let _walk = self.census.ended.lock();
        let mut staging = self.staging.lock();
        let _waking = self.census.waking.lock();
        let charged = self.charged.load(Ordering::Relaxed);
        let (mut books, mut tickets) = (self.books.lock(), self.tickets.lock());
        if charged == 0 || tickets.count() > 0 || !books.start_over() {
            return;
        }
        if budget.lay_aside_again(charged, self.fixed) {
            *staging = Staging::default();
            *tickets = Tickets::default();
            self.charged.store(0, Ordering::Release);
            *self.streams.lock() = Streams::default();
            self.store.lock().take();
        }
    }

    /// Admits all content of all filesystems that is not known yet. Units that move from a place
    /// that the walk has yet to see to one that it has seen are found by the next one.
    pub(super) fn take_census(&self) -> Found {
        let census = &self.census;
        let Some(budget) = self.budget.upgrade() else {
            return Found::Nothing;
        };
        let Some(mut ended) = census.ended.try_lock() else {
            return Found::Busy;
        };
        let now = clock::monotonic();
        let is_due = census.is_due.swap(false, Ordering::Relaxed);
        if !is_due && ended.is_some_and(|ended| now < ended + AGAIN_AFTER) {
            return Found::Nothing;
        }
        let before = self.books.lock().admissions();
        for root in budget.roots() {
            root.admit_existing();
        }
        *ended = Some(clock::monotonic());
        match self.books.lock().admissions() > before {
            true => Found::More,
            false => Found::Nothing,
        }
    }

    /// As [`Mover::take_census`]; waits for a walk that somebody else makes.
    pub(super) fn await_census(&self) {
        while self.take_census() == Found::Busy {
            thread::sleep(NAP);
        }
    }

    /// Whether nobody has looked for content since the tier woke.
    pub(super) fn lacks_census(&self) -> bool {
        self.census.is_due.load(Ordering::Relaxed)
    }
}
