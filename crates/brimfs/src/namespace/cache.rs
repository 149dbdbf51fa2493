//! Full paths found before, in front of the directories: one probe at any depth.
//!
//! The key is the path as the caller wrote it, so a hit needs no parsing. An
//! entry is right as long as two stamps stand: the volume's epoch, which every
//! move of a directory and every removal of a symbolic link changes, and the
//! node's own stamp, which every removal or move of one of its names changes.
//! While a directory moves the epoch is odd, and the cache neither answers nor
//! learns. Equality of the path is always checked, never the hash alone.
//!
//! The cache is bounded and charged to the budget; it gives way to anything
//! that needs the memory. Its locks are leaves: nothing is locked under them.

use crate::base::hash::hash_bytes;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak};
use crate::memory::budget::Budget;
use crate::namespace::inode::{FileType, Inode};

const SHARDS: usize = 32;
/// Places that one path can be in: their tags fill half a line of the processor's cache.
const WAYS: usize = 8;
/// Longer paths are not worth their memory, in bytes.
const PATH_MAX: usize = 4096;
/// The most the whole cache may take, in bytes, and as a share of the memory limit.
const CACHE_MAX: u64 = 16 << 20;
const LIMIT_SHARE: u64 = 16;
/// Bytes that a shard pays for at once.
const CHARGE_STEP: u64 = 1 << 10;
/// Places of a shard when it is first used.
const FIRST_PLACES: usize = 16;
/// What a path's buffer costs beside its bytes, on average.
const PATH_OVERHEAD: u64 = 16;

struct Entry {
    node: Weak<Inode>,
    path: Box<[u8]>,
    /// The epoch, and in the lowest bit (epochs of entries are even) whether the last component
    /// was a symbolic link that was followed.
    epoch_and_link: u64,
    names_stamp: u32,
}

impl Entry {
    fn epoch(&self) -> u64 {
        self.epoch_and_link & !1
    }

    fn via_link(&self) -> bool {
        self.epoch_and_link & 1 == 1
    }

    fn cost(&self) -> u64 {
        self.path.len() as u64 + PATH_OVERHEAD
    }
}

#[derive(Default)]
struct Shard {
    /// A power of two of places, or none; a path is in one of `WAYS` neighbours.
    places: Vec<Option<Entry>>,
    /// A part of each entry's hash, looked at before the entry; meaningless where there is none.
    tags: Vec<u32>,
    used: usize,
    /// What places and paths take, and what is reserved for them and more to come.
    taken: u64,
    charged: u64,
    /// Which of the neighbours is given up next.
    turn: u8,
}

/// See the module's documentation.
pub(crate) struct PathCache {
    shards: [Mutex<Shard>; SHARDS],
    epoch: AtomicU64,
    bytes: AtomicU64,
    budget: Budget,
}

/// What was true when a path was resolved; see [`PathCache::stamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) epoch: u64,
    pub(crate) names: u32,
}

/// While it lives, directories are moving.
pub(crate) struct Moving<'a>(&'a AtomicU64);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

fn stands_alone(epoch: u64) -> bool {
    epoch.is_multiple_of(2)
}

/// The part of a hash that a shard goes by; the shard itself goes by the rest.
#[inline]
fn tag_of(hash: u64) -> u32 {
    hash as u32
}

impl PathCache {
    pub(crate) fn new(budget: Budget) -> Self {
        PathCache {
            shards: std::array::from_fn(|_| Mutex::new(Shard::default())),
            epoch: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            budget,
        }
    }

    /// The epoch to resolve a path under, before the first directory is looked at.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Makes every path miss from now until the guard is dropped, and all older ones for ever.
    ///
    /// The caller holds the volume's `moves`.
    pub(crate) fn begin_move(&self) -> Moving<'_> {
        let before = self.epoch.fetch_add(1, Ordering::AcqRel);
        debug_assert!(stands_alone(before), "two moves at once");
        Moving(&self.epoch)
    }

    /// Whether what was resolved under `stamp` is still what the path leads to.
    #[inline]
    pub(crate) fn stands(&self, stamp: Stamp, node: &Inode) -> bool {
        stands_alone(stamp.epoch)
            && stamp.epoch == self.epoch()
            && stamp.names == node.names_stamp.load(Ordering::Acquire)
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 59) as usize % SHARDS]
    }

    /// The node that `path` was found to lead to, if that still stands.
    #[inline]
    pub(crate) fn get(&self, path: &[u8], follow: bool) -> Option<(Arc<Inode>, Stamp)> {
        let hash = hash_bytes(path);
        let epoch = self.epoch();
        let shard = self.shard(hash).lock();
        let entry = shard.find(hash, path)?;
        // The epoch of an entry is even, so one that is odd now never matches.
        if entry.epoch() != epoch || (entry.via_link() && !follow) {
            return None;
        }
        let node = entry.node.upgrade()?;
        let names = entry.names_stamp;
        drop(shard);
        if names != node.names_stamp.load(Ordering::Acquire) {
            return None;
        }
        // Found by somebody who wanted the link itself.
        if follow && node.kind() == FileType::Symlink {
            return None;
        }
        Some((node, Stamp { epoch, names }))
    }

    /// Remembers where `path` leads, as found under `stamp`. Does nothing where memory is short.
    pub(crate) fn put(&self, path: &[u8], node: &Arc<Inode>, stamp: Stamp, via_link: bool) {
        if path.len() > PATH_MAX || !self.stands(stamp, node) {
            return;
        }
        let hash = hash_bytes(path);
        let cost = path.len() as u64 + PATH_OVERHEAD;
        let mut shard = self.shard(hash).lock();
        if !shard.make_room(cost, self) {
            return;
        }
        let entry = Entry {
            node: Arc::downgrade(node),
            path: path.into(),
            epoch_and_link: stamp.epoch | u64::from(via_link),
            names_stamp: stamp.names,
        };
        let freed = shard.store(tag_of(hash), entry);
        self.uncharge(&mut shard, freed);
    }

    /// Forgets one path.
    pub(crate) fn remove(&self, path: &[u8]) {
        let hash = hash_bytes(path);
        let mut shard = self.shard(hash).lock();
        let Some(place) = shard.position(tag_of(hash), path) else {
            return;
        };
        shard.places[place] = None;
        shard.used -= 1;
        self.uncharge(&mut shard, path.len() as u64 + PATH_OVERHEAD);
    }

    /// Forgets everything and gives its memory back. Returns how many bytes that were.
    pub(crate) fn clear(&self) -> u64 {
        let before = self.bytes();
        for shard in &self.shards {
            self.empty(&mut shard.lock());
        }
        before.saturating_sub(self.bytes())
    }

    /// Bytes that the cache is charged for.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn empty(&self, shard: &mut Shard) {
        shard.places = Vec::new();
        shard.tags = Vec::new();
        shard.used = 0;
        shard.taken = 0;
        self.uncharge_steps(shard);
    }

    /// Pays for more bytes of a shard, in steps, so that most paths come and go without a look at
    /// the budget.
    #[inline]
    fn charge(&self, shard: &mut Shard, bytes: u64) -> bool {
        if shard.taken + bytes <= shard.charged {
            shard.taken += bytes;
            return true;
        }
        self.charge_step(shard, bytes)
    }

    #[cold]
    fn charge_step(&self, shard: &mut Shard, bytes: u64) -> bool {
        let limit = CACHE_MAX.min(self.budget.limit() / LIMIT_SHARE) / SHARDS as u64;
        let step = (shard.taken + bytes - shard.charged).next_multiple_of(CHARGE_STEP);
        if shard.charged + step > limit || self.budget.reserve_spare(step).is_err() {
            return false;
        }
        shard.charged += step;
        shard.taken += bytes;
        self.bytes.fetch_add(step, Ordering::Relaxed);
        true
    }

    #[inline]
    fn uncharge(&self, shard: &mut Shard, bytes: u64) {
        shard.taken -= bytes;
        if shard.charged - shard.taken > 4 * CHARGE_STEP {
            self.uncharge_steps(shard);
        }
    }

    fn uncharge_steps(&self, shard: &mut Shard) {
        let kept = shard.taken.next_multiple_of(CHARGE_STEP);
        let given_back = shard.charged - kept;
        shard.charged = kept;
        self.bytes.fetch_sub(given_back, Ordering::Relaxed);
        self.budget.release(given_back);
    }
}

impl Shard {
    #[inline]
    fn set_of(&self, tag: u32) -> std::ops::Range<usize> {
        let sets = self.places.len() / WAYS;
        if sets == 0 {
            return 0..0;
        }
        let start = (tag as usize & (sets - 1)) * WAYS;
        start..start + WAYS
    }

    #[inline]
    fn position(&self, tag: u32, path: &[u8]) -> Option<usize> {
        self.set_of(tag).find(|place| {
            self.tags[*place] == tag
                && self.places[*place]
                    .as_ref()
                    .is_some_and(|entry| *entry.path == *path)
        })
    }

    #[inline]
    fn find(&self, hash: u64, path: &[u8]) -> Option<&Entry> {
        self.places[self.position(tag_of(hash), path)?].as_ref()
    }

    /// Pays for one more path, growing the shard if it is getting full.
    ///
    /// At the limit a path is still let in if it will take the place of another.
    fn make_room(&mut self, cost: u64, cache: &PathCache) -> bool {
        if self.used * 8 >= self.places.len() * 7 {
            self.grow(cache);
        }
        if self.places.is_empty() {
            return false;
        }
        if cache.charge(self, cost) {
            return true;
        }
        self.give_up_one(cache);
        cache.charge(self, cost)
    }

    /// Gives up paths at the turn until one was found, so that a full cache keeps learning.
    fn give_up_one(&mut self, cache: &PathCache) {
        let len = self.places.len();
        for _ in 0..len.min(64) {
            self.turn = self.turn.wrapping_add(1);
            let place = (self.turn as usize).wrapping_mul(37) % len;
            if let Some(entry) = self.places[place].take() {
                self.used -= 1;
                cache.uncharge(self, entry.cost());
                return;
            }
        }
    }

    fn grow(&mut self, cache: &PathCache) {
        let old_len = self.places.len();
        let len = (old_len * 2).max(FIRST_PLACES);
        let place_cost = (size_of::<Option<Entry>>() + size_of::<u32>()) as u64;
        // Both exist while entries move over.
        if !cache.charge(self, len as u64 * place_cost) {
            return;
        }
        let mut places = Vec::new();
        places.resize_with(len, || None);
        let old = std::mem::replace(&mut self.places, places);
        let old_tags = std::mem::replace(&mut self.tags, vec![0; len]);
        let epoch = cache.epoch();
        self.used = 0;
        let mut freed = old_len as u64 * place_cost;
        for (tag, entry) in old_tags.into_iter().zip(old) {
            let Some(entry) = entry else { continue };
            if entry.epoch() == epoch && entry.node.strong_count() > 0 {
                freed += self.store(tag, entry);
            } else {
                freed += entry.cost();
            }
        }
        cache.uncharge(self, freed);
    }

    /// Puts an entry in; returns what the entry that it replaces was charged.
    fn store(&mut self, tag: u32, entry: Entry) -> u64 {
        let set = self.set_of(tag);
        let same = self.position(tag, &entry.path);
        let epoch = entry.epoch();
        // Whether the node of an entry is gone is not looked at: that would touch its memory.
        let stale = |place: &usize| {
            self.places[*place]
                .as_ref()
                .is_none_or(|old| old.epoch() != epoch)
        };
        let place = same.or_else(|| set.clone().find(stale)).unwrap_or_else(|| {
            self.turn = self.turn.wrapping_add(1);
            set.start + self.turn as usize % WAYS
        });
        self.tags[place] = tag;
        match self.places[place].replace(entry) {
            Some(old) => old.cost(),
            None => {
                self.used += 1;
                0
            }
        }
    }
}

impl Drop for PathCache {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let shard = shard.get_mut();
            shard.places = Vec::new();
            self.budget.release(shard.charged);
        }
    }
}

impl std::fmt::Debug for PathCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PathCache({} bytes)", self.bytes())
    }
}
