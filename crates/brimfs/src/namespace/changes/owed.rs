//! Space of the disk that is kept for what waits for a commit.
//!
//! Whoever changes something says first how much a commit may have to write because of it, at the most. If the
//! space that is kept does not suffice for that and for all that waits, nothing is changed. So what was accepted
//! can be written, whatever happens to the rest of the disk.

use crate::base::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a change without content may take: records of a node or two, and names.
pub(crate) const CHANGE: u64 = 1 << 10;

/// See the module's documentation. In bytes of the disk.
#[derive(Debug)]
pub(super) struct Owed {
    /// By what waits for the next commit. Only grows between two commits.
    waiting: AtomicU64,
    /// By what the commit under way has in hand.
    taken: AtomicU64,
    /// For both together.
    room: AtomicU64,
    /// The commit to come. What counted for another one counts anew.
    epoch: AtomicU32,
    /// What bytes of content take on the disk, in 1024ths.
    share: AtomicU64,
}

impl Owed {
    /// Without bounds until somebody says how much is kept.
    pub(super) fn new() -> Self {
        Owed {
            waiting: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            room: AtomicU64::new(u64::MAX),
            epoch: AtomicU32::new(1),
            share: AtomicU64::new(1024),
        }
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn next_epoch(&self) {
        // 0 stands for none.
        if self.epoch.fetch_add(1, Ordering::Relaxed) == u32::MAX {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn set_share(&self, share: u64) {
        self.share.store(share, Ordering::Relaxed);
    }

    /// What so much content takes on the disk.
    pub(super) fn on_disk(&self, content: u64) -> u64 {
        if content == 0 {
            return 0;
        }
        let more = self.share.load(Ordering::Relaxed).saturating_sub(1024);
        content.saturating_add((content / 1024 + 1).saturating_mul(more))
    }

    /// What waits and is in hand.
    pub(super) fn total(&self) -> u64 {
        self.waiting
            .load(Ordering::SeqCst)
            .saturating_add(self.taken.load(Ordering::SeqCst))
    }

    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn room(&self) -> u64 {
        self.room.load(Ordering::SeqCst)
    }

    /// Whether there is room for so much more.
    pub(super) fn has_room(&self, cost: u64) -> bool {
        self.total().saturating_add(cost) <= self.room()
    }

    /// Has so much more wait, if there is room. Within the gate. The orderings go with those of
    /// [`Owed::withdraw`]: of two who would not both fit one at least sees the other.
    #[inline]
    pub(super) fn try_add(&self, cost: u64) -> bool {
        let before = self.waiting.fetch_add(cost, Ordering::SeqCst);
        let total = before
            .saturating_add(cost)
            .saturating_add(self.taken.load(Ordering::SeqCst));
        if total <= self.room.load(Ordering::SeqCst) {
            return true;
        }
        self.waiting.fetch_sub(cost, Ordering::SeqCst);
        // What was marked as counted is not.
        self.next_epoch();
        false
    }

    /// Has so much more wait, room or not: what is little, and cannot be refused any more.
    #[inline]
    pub(super) fn add(&self, cost: u64) {
        self.waiting.fetch_add(cost, Ordering::SeqCst);
    }

    /// A commit has in hand what waits. The gate is closed.
    pub(super) fn take(&self) {
        let waiting = self.waiting.load(Ordering::SeqCst);
        // Never missing from both.
        self.taken.store(waiting, Ordering::SeqCst);
        self.waiting.fetch_sub(waiting, Ordering::SeqCst);
        self.next_epoch();
    }

    /// What was in hand is durable. The room for it was used up, which is to be said before.
    pub(super) fn settle(&self) {
        self.taken.store(0, Ordering::SeqCst);
    }

    /// What was in hand waits again.
    pub(super) fn put_back(&self) {
        let taken = self.taken.load(Ordering::SeqCst);
        self.waiting.fetch_add(taken, Ordering::SeqCst);
        self.taken.store(0, Ordering::SeqCst);
    }

    /// So much is kept from now on, or as much as was promised to what waits.
    pub(super) fn set_room(&self, room: u64) {
        loop {
            let promised = self.waiting.load(Ordering::SeqCst).max(room);
            self.room.store(promised, Ordering::SeqCst);
            // Somebody may have looked at the room before it became less.
            if self.waiting.load(Ordering::SeqCst) <= promised {
                return;
            }
        }
    }

    /// So much less is kept from now on, if nothing that waits needs it.
    pub(super) fn withdraw(&self, bytes: u64) -> bool {
        let before = self.room.fetch_sub(bytes, Ordering::SeqCst);
        if bytes <= before && self.total() <= before - bytes {
            return true;
        }
        self.room.fetch_add(bytes, Ordering::SeqCst);
        false
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_added_that_has_no_room() {
        let owed = Owed::new();
        assert!(owed.try_add(u64::MAX / 2));
        owed.take();
        owed.settle();
        owed.set_room(100);
        assert!(owed.try_add(60) && !owed.try_add(41) && owed.try_add(40));
        owed.take();
        assert!(!owed.try_add(1), "the commit is under way");
        owed.put_back();
        assert_eq!(owed.waiting(), 100);
        owed.take();
        owed.settle();
        assert!(owed.try_add(50) && owed.withdraw(50) && !owed.withdraw(1));
        assert!(!owed.try_add(1));
    }

    #[test]
    fn what_was_counted_counts_again_for_another_commit() {
        let owed = Owed::new();
        let before = owed.epoch();
        owed.take();
        assert_ne!(owed.epoch(), before);
        owed.set_room(0);
        let before = owed.epoch();
        assert!(!owed.try_add(1));
        assert_ne!(owed.epoch(), before, "it was refused");
    }

    #[test]
    fn content_takes_no_less_on_the_disk() {
        let owed = Owed::new();
        owed.set_share(1040);
        assert_eq!(owed.on_disk(0), 0);
        for content in [1, 1023, 1024, 1 << 20, u64::MAX] {
            assert!(owed.on_disk(content) >= content, "{content}");
        }
    }
}
