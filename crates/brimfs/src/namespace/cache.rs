//! Full paths found before, in front of the directories: one probe at any depth.
//!
//! The key is the path as the caller wrote it, so a hit needs no parsing. An
//! entry is right as long as two stamps stand: the volume's epoch, which every
//! move of a directory and every removal of a symbolic link changes, and the
//! node's own stamp, which every removal or move of one of its names changes.
//! While a directory moves the epoch is odd, and the cache neither answers nor
//! learns. Equality of the path is always checked, never the hash alone.
//!
//! At random over many paths a probe costs what memory costs, so it touches
//! little of it: one line for a set of tags and pointers, and behind a pointer
//! the stamps and the path in one piece. A path may be in two neighbouring sets.
//!
//! The cache is bounded and charged to the budget; it gives way to anything
//! that needs the memory. New files fill a part of it, looked-up ones all of it.
//! Its locks are leaves, held for a probe: only the gate of a budget is locked under them, and what can be
//! allocated or freed without them is.

use triomphe::ThinArc;

use crate::base::hash::hash_bytes;
use crate::base::spin::SpinLock;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Arc, Weak};
use crate::memory::budget::Budget;
use crate::namespace::inode::{FileType, Inode};

const SHARDS: usize = 32;
/// Entries of a set: with their tags they fill a line of the processor's cache.
const WAYS: usize = 6;
/// Longer paths are not worth their memory, in bytes.
const PATH_MAX: usize = 4096;
/// The most the whole cache may take, in bytes, and as a share of the memory limit.
const CACHE_MAX: u64 = 32 << 20;
const LIMIT_SHARE: u64 = 16;
/// The share of that which paths fill by being created: most files are not looked up soon.
const CREATED_SHARE: u64 = 32;
/// Bytes that a shard pays for at once.
const CHARGE_STEP: u64 = 1 << 10;
/// Sets of a shard when it is first used.
const FIRST_SETS: usize = 2;

/// Why a path is to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Created,
    LookedUp,
}

struct Target {
    node: Weak<Inode>,
    /// The epoch, and in the lowest bit (epochs of entries are even) whether the last component
    /// was a symbolic link that was followed.
    epoch_and_link: u64,
    names_stamp: u32,
}

impl Target {
    fn epoch(&self) -> u64 {
        self.epoch_and_link & !1
    }

    fn via_link(&self) -> bool {
        self.epoch_and_link & 1 == 1
    }
}

/// Where a path leads, and the path, in one allocation.
type Entry = ThinArc<Target, u8>;

/// What an entry takes, as an allocator with eight bytes of overhead and steps of sixteen lays
/// it out: a count, the target, the length and the path.
fn cost_of(path_len: usize) -> u64 {
    (8 + size_of::<Target>() + 8 + path_len + 8).next_multiple_of(16) as u64
}

#[derive(Default)]
#[repr(align(64))]
struct Set {
    entries: [Option<Entry>; WAYS],
    /// A part of each entry's hash, looked at before the entry; meaningless where there is none.
    tags: [u16; WAYS],
    /// Which entry is given up next.
    turn: u8,
}

const _: () = assert!(size_of::<Set>() == 64);

impl Set {
    #[inline]
    fn position(&self, tag: u16, path: &[u8]) -> Option<usize> {
        (0..WAYS).find(|way| {
            self.tags[*way] == tag
                && self.entries[*way]
                    .as_ref()
                    .is_some_and(|entry| entry.slice == *path)
        })
    }

    fn free(&self) -> Option<usize> {
        self.entries.iter().position(Option::is_none)
    }
}

#[derive(Default)]
struct Shard {
    /// A power of two of sets, or none.
    sets: Vec<Set>,
    used: usize,
    /// What sets and entries take, and what is reserved for them and more to come.
    taken: u64,
    charged: u64,
}

/// See the module's documentation.
pub(crate) struct PathCache {
    shards: [SpinLock<Shard>; SHARDS],
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

/// The part of a hash that tells the entries of a set apart; set and shard go by others.
#[inline]
fn tag_of(hash: u64) -> u16 {
    (hash >> 40) as u16
}

impl PathCache {
    pub(crate) fn new(budget: Budget) -> Self {
        PathCache {
            shards: std::array::from_fn(|_| SpinLock::new(Shard::default())),
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
    fn shard(&self, hash: u64) -> &SpinLock<Shard> {
        &self.shards[(hash >> 59) as usize % SHARDS]
    }

    /// The node that `path` was found to lead to, if that still stands.
    #[inline]
    pub(crate) fn get(&self, path: &[u8], follow: bool) -> Option<(Arc<Inode>, Stamp)> {
        let hash = hash_bytes(path);
        let epoch = self.epoch();
        let shard = self.shard(hash).lock();
        let (set, way) = shard.position(hash, path)?;
        let entry = &shard.sets[set].entries[way].as_ref()?.header.header;
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
    pub(crate) fn put(
        &self,
        path: &[u8],
        node: &Arc<Inode>,
        stamp: Stamp,
        via_link: bool,
        why: Why,
    ) {
        if path.len() > PATH_MAX || !self.stands(stamp, node) {
            return;
        }
        let hash = hash_bytes(path);
        let limit = self.shard_limit(why);
        let target = Target {
            node: Arc::downgrade(node),
            epoch_and_link: stamp.epoch | u64::from(via_link),
            names_stamp: stamp.names,
        };
        let entry = ThinArc::from_header_and_slice(target, path);
        let mut shard = self.shard(hash).lock();
        let Some((set, way)) = shard.room(hash, path, limit, why, self) else {
            drop(shard);
            return;
        };
        let place = &mut shard.sets[set];
        place.tags[way] = tag_of(hash);
        let old = place.entries[way].replace(entry);
        drop(shard);
        drop(old);
    }

    /// Forgets one path.
    pub(crate) fn remove(&self, path: &[u8]) {
        let hash = hash_bytes(path);
        let mut shard = self.shard(hash).lock();
        let found = shard.position(hash, path);
        let entry = found.and_then(|(set, way)| shard.give_up(set, way, self));
        drop(shard);
        drop(entry);
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
        shard.sets = Vec::new();
        shard.used = 0;
        shard.taken = 0;
        self.uncharge_steps(shard);
    }

    /// The most that one shard may take, in bytes.
    fn shard_limit(&self, why: Why) -> u64 {
        let limit = CACHE_MAX.min(self.budget.limit() / LIMIT_SHARE) / SHARDS as u64;
        match why {
            Why::LookedUp => limit,
            Why::Created => limit / CREATED_SHARE,
        }
    }

    /// Pays for more bytes of a shard, in steps, so that most paths come and go without a look at
    /// the budget.
    #[inline]
    fn charge(&self, shard: &mut Shard, bytes: u64, limit: u64) -> bool {
        if shard.taken + bytes > limit {
            return false;
        }
        if shard.taken + bytes <= shard.charged {
            shard.taken += bytes;
            return true;
        }
        self.charge_step(shard, bytes)
    }

    #[cold]
    fn charge_step(&self, shard: &mut Shard, bytes: u64) -> bool {
        let step = (shard.taken + bytes - shard.charged).next_multiple_of(CHARGE_STEP);
        if self.budget.reserve_spare(step).is_err() {
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
    /// The first of the two sets that a path can be in; the other is its neighbour.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.sets.len() - 1)
    }

    #[inline]
    fn position(&self, hash: u64, path: &[u8]) -> Option<(usize, usize)> {
        if self.sets.is_empty() {
            return None;
        }
        let tag = tag_of(hash);
        let home = self.home(hash);
        [home, home ^ 1]
            .into_iter()
            .find_map(|set| Some((set, self.sets[set].position(tag, path)?)))
    }

    /// A place that nobody has in one of the two sets that a path can be in.
    fn free(&self, hash: u64) -> Option<(usize, usize)> {
        let home = self.home(hash);
        [home, home ^ 1]
            .into_iter()
            .find_map(|set| Some((set, self.sets[set].free()?)))
    }

    /// A paid place for a path: its own, a free one, or that of a path that is given up for it.
    ///
    /// A new file's path takes no other's place.
    fn room(
        &mut self,
        hash: u64,
        path: &[u8],
        limit: u64,
        why: Why,
        cache: &PathCache,
    ) -> Option<(usize, usize)> {
        let cost = cost_of(path.len());
        if let Some(known) = self.position(hash, path) {
            return Some(known);
        }
        if self.used * 4 >= self.sets.len() * WAYS * 3 {
            self.grow(limit, cache);
        }
        if self.sets.is_empty() {
            return None;
        }
        let mut free = self.free(hash);
        // One crowded pair of sets is bad luck, which room for all of them cures.
        if free.is_none() && self.used * 8 >= self.sets.len() * WAYS * 3 {
            self.grow(limit, cache);
            free = self.free(hash);
        }
        if let Some(place) = free
            && cache.charge(self, cost, limit)
        {
            self.used += 1;
            return Some(place);
        }
        if why == Why::Created {
            return None;
        }
        let home = self.home(hash);
        let way = self.next_to_go(home)?;
        self.give_up(home, way, cache);
        if !cache.charge(self, cost, limit) {
            return None;
        }
        self.used += 1;
        Some((home, way))
    }

    /// The entry of a set whose turn it is to go.
    fn next_to_go(&mut self, set: usize) -> Option<usize> {
        let set = &mut self.sets[set];
        for _ in 0..WAYS {
            let way = set.turn as usize % WAYS;
            set.turn = set.turn.wrapping_add(1) % WAYS as u8;
            if set.entries[way].is_some() {
                return Some(way);
            }
        }
        None
    }

    fn give_up(&mut self, set: usize, way: usize, cache: &PathCache) -> Option<Entry> {
        let entry = self.sets[set].entries[way].take()?;
        self.used -= 1;
        cache.uncharge(self, cost_of(entry.slice.len()));
        Some(entry)
    }

    /// Twice as many sets, without the entries that no longer stand.
    fn grow(&mut self, limit: u64, cache: &PathCache) {
        let old_len = self.sets.len();
        let len = (old_len * 2).max(FIRST_SETS);
        let set_cost = size_of::<Set>() as u64;
        // Both exist while entries move over.
        if !cache.charge(self, len as u64 * set_cost, limit) {
            return;
        }
        let mut sets = Vec::new();
        sets.resize_with(len, Set::default);
        let old = std::mem::replace(&mut self.sets, sets);
        let epoch = cache.epoch();
        self.used = 0;
        let mut freed = old_len as u64 * set_cost;
        for entry in old.into_iter().flat_map(|set| set.entries).flatten() {
            let target = &entry.header.header;
            let stands = target.epoch() == epoch && target.node.strong_count() > 0;
            let hash = hash_bytes(&entry.slice);
            match self.free(hash) {
                Some((set, way)) if stands => {
                    self.sets[set].tags[way] = tag_of(hash);
                    self.sets[set].entries[way] = Some(entry);
                    self.used += 1;
                }
                _ => freed += cost_of(entry.slice.len()),
            }
        }
        cache.uncharge(self, freed);
    }
}

impl Drop for PathCache {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            // In a forked child the lock may be held for ever.
            let shard = shard.get_mut();
            shard.sets = Vec::new();
            self.budget.release(shard.charged);
        }
    }
}

impl std::fmt::Debug for PathCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PathCache({} bytes)", self.bytes())
    }
}
