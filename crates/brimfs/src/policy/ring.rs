//! Rings of entries, and the greedy-dual queue that is made of them.
//!
//! A ring is a list whose two ends meet in one record of [`Rings`]: entries
//! link to each other by number, and a link from [`ENDS`] on names the record.
//! So an entry leaves its ring in O(1) without knowing which it is in.

use crate::policy::score::{CLASSES, Value};
use crate::policy::table::{ENDS, Entry, KEY_MAX, KEY_PINNED, NOWHERE, Place, Slot, Table};

/// The ends of one ring; both name the record itself while the ring is empty.
#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
}

/// Some rings over the entries of one table, numbered from 0.
#[derive(Debug)]
pub(crate) struct Rings(Box<[Ends]>);

impl Rings {
    pub(crate) fn new(count: usize) -> Self {
        let ends = (0..count as u32).map(|ring| Ends {
            head: ENDS + ring,
            tail: ENDS + ring,
        });
        Rings(ends.collect())
    }

    /// The entry that entered first, if there is one.
    #[inline]
    pub(crate) fn head(&self, ring: usize) -> Option<Slot> {
        Self::entry_at(self.0[ring].head)
    }

    /// The entry that entered last, if there is one.
    pub(crate) fn tail(&self, ring: usize) -> Option<Slot> {
        Self::entry_at(self.0[ring].tail)
    }

    /// The entry behind `slot`, nearer to the tail; `None` at the end.
    pub(crate) fn after(&self, table: &Table, slot: Slot) -> Option<Slot> {
        Self::entry_at(table.entry(slot.get()).next)
    }

    fn entry_at(link: u32) -> Option<Slot> {
        if link >= ENDS { None } else { Slot::new(link) }
    }

    pub(crate) fn push_tail(&mut self, table: &mut Table, ring: usize, slot: Slot) {
        let last = self.0[ring].tail;
        self.link(table, last, slot, ENDS + ring as u32);
    }

    pub(crate) fn push_head(&mut self, table: &mut Table, ring: usize, slot: Slot) {
        let first = self.0[ring].head;
        self.link(table, ENDS + ring as u32, slot, first);
    }

    /// Puts an entry in on the older side of another.
    pub(crate) fn push_before(&mut self, table: &mut Table, other: Slot, slot: Slot) {
        let prev = table.entry(other.get()).prev;
        self.link(table, prev, slot, other.get());
    }

    fn link(&mut self, table: &mut Table, prev: u32, slot: Slot, next: u32) {
        let entry = table.entry_mut(slot.get());
        (entry.prev, entry.next) = (prev, next);
        self.set_next(table, prev, slot.get());
        self.set_prev(table, next, slot.get());
    }

    /// Takes an entry out of its ring. Returns the ring if that has a new head.
    pub(crate) fn unlink(&mut self, table: &mut Table, slot: Slot) -> Option<usize> {
        let entry = table.entry_mut(slot.get());
        let (prev, next) = (entry.prev, entry.next);
        (entry.prev, entry.next) = (NOWHERE, NOWHERE);
        self.set_next(table, prev, next);
        self.set_prev(table, next, prev);
        prev.checked_sub(ENDS).map(|ring| ring as usize)
    }

    fn set_next(&mut self, table: &mut Table, link: u32, next: u32) {
        match link.checked_sub(ENDS) {
            Some(ring) => self.0[ring as usize].head = next,
            None => table.entry_mut(link).next = next,
        }
    }

    fn set_prev(&mut self, table: &mut Table, link: u32, prev: u32) {
        match link.checked_sub(ENDS) {
            Some(ring) => self.0[ring as usize].tail = prev,
            None => table.entry_mut(link).prev = prev,
        }
    }

    pub(crate) fn footprint(&self) -> u64 {
        size_of_val(&*self.0) as u64
    }
}

/// Leaves of the tournament: the next power of two.
const LEAVES: usize = CLASSES.next_power_of_two();
/// The key of a ring that is empty.
const NEVER: u64 = u64::MAX;
/// A level above which the keys start over, so that none reaches its field's end.
const LEVEL_MAX: u64 = KEY_MAX / 2;

/// A greedy-dual queue: the entry with the lowest key goes first, and what enters has the key
/// *level + value*, where the level is the key of what went last.
///
/// Values are rounded, and entries of equal value enter in the order of their keys, because the
/// level never falls. So one ring per value is sorted by itself, and the next to go is the lowest of
/// the heads, which a tournament among them knows (as in CAMP, Ghandeharizadeh et al.,
/// Middleware 2014, with a tournament instead of its heap).
#[derive(Debug)]
pub(crate) struct GreedyDual {
    /// The first of this queue's rings.
    base: usize,
    /// Whether its entries have the main bit.
    main: bool,
    level: u64,
    /// By how much the level was lowered so far.
    base_level: u64,
    bytes: u64,
    /// The keys of the heads, by class.
    keys: Box<[u64; LEAVES]>,
    /// Node n has the children 2n and 2n + 1; each knows the class that wins below it.
    winners: Box<[u16; LEAVES]>,
}

impl GreedyDual {
    /// A queue on the rings from `base` on, of which there are [`CLASSES`].
    pub(crate) fn new(base: usize, main: bool) -> Self {
        let mut queue = GreedyDual {
            base,
            main,
            level: 0,
            base_level: 0,
            bytes: 0,
            keys: Box::new([NEVER; LEAVES]),
            winners: Box::new([0; LEAVES]),
        };
        for node in (1..LEAVES).rev() {
            queue.winners[node] = queue.winner_of(node);
        }
        queue
    }

    /// How far the level has risen in all; wraps around.
    pub(crate) fn risen(&self) -> u64 {
        self.base_level.wrapping_add(self.level)
    }

    /// How far the level is from an entry's key.
    pub(crate) fn left(&self, entry: &Entry) -> u64 {
        entry.key().saturating_sub(self.level)
    }

    /// Bytes of the chunks in the queue.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts an entry in behind all of its value.
    pub(crate) fn enqueue(
        &mut self,
        table: &mut Table,
        rings: &mut Rings,
        slot: Slot,
        value: Value,
    ) {
        let key = self.level + value.worth;
        self.enter(table, slot, key);
        let ring = self.base + usize::from(value.class);
        rings.push_tail(table, ring, slot);
        if rings.head(ring) == Some(slot) {
            self.set_key(value.class, key);
        }
    }

    /// Puts an entry back that left with its key: in front of its value's ring, where it was.
    ///
    /// If others have taken the front meanwhile it is due with the first of them.
    pub(crate) fn restore(
        &mut self,
        table: &mut Table,
        rings: &mut Rings,
        slot: Slot,
        value: Value,
    ) {
        let first = self.keys[usize::from(value.class)];
        let key = table.entry(slot.get()).key().min(first);
        self.enter(table, slot, key);
        rings.push_head(table, self.base + usize::from(value.class), slot);
        self.set_key(value.class, key);
    }

    fn enter(&mut self, table: &mut Table, slot: Slot, key: u64) {
        let entry = table.entry_mut(slot.get());
        entry.set_key(key);
        entry.set_main(self.main);
        entry.set_place(Place::Queued);
        self.bytes += u64::from(entry.size);
    }

    /// Takes the entry out that is due, and raises the level to its key.
    pub(crate) fn pop(&mut self, table: &mut Table, rings: &mut Rings) -> Option<Slot> {
        let class = usize::from(self.winners[1]);
        let key = self.keys[class];
        if key == NEVER {
            return None;
        }
        let slot = rings.head(self.base + class)?;
        self.take(table, rings, slot);
        self.level = self.level.max(key);
        if self.level > LEVEL_MAX {
            self.start_over(table);
        }
        Some(slot)
    }

    /// Takes an entry out wherever it is, and leaves it to the caller.
    pub(crate) fn take(&mut self, table: &mut Table, rings: &mut Rings, slot: Slot) {
        if let Some(ring) = rings.unlink(table, slot) {
            let key = rings
                .head(ring)
                .map_or(NEVER, |head| table.entry(head.get()).key());
            self.set_key((ring - self.base) as u16, key);
        }
        let entry = table.entry_mut(slot.get());
        entry.set_place(Place::Leaving);
        self.bytes -= u64::from(entry.size);
    }

    /// Lowers the level and all keys by the same amount: O(entries), once in a long while.
    ///
    /// The level rises by about one value in the time in which the whole queue turns over, and the
    /// highest value is 2^-6 of `LEVEL_MAX`, so this costs every entry less than a look.
    #[cold]
    fn start_over(&mut self, table: &mut Table) {
        let level = std::mem::take(&mut self.level);
        self.base_level = self.base_level.wrapping_add(level);
        let ours = |entry: &&mut Entry| entry.is_main() == self.main;
        for entry in table.all_mut().filter(ours) {
            // These keys say that a parked entry has no place to go back to.
            if entry.key() >= KEY_PINNED {
                continue;
            }
            entry.set_key(entry.key().saturating_sub(level));
        }
        for class in 0..LEAVES {
            if self.keys[class] != NEVER {
                self.set_key(class as u16, self.keys[class].saturating_sub(level));
            }
        }
    }

    fn set_key(&mut self, class: u16, key: u64) {
        self.keys[usize::from(class)] = key;
        let mut node = (LEAVES + usize::from(class)) / 2;
        while node > 0 {
            self.winners[node] = self.winner_of(node);
            node /= 2;
        }
    }

    fn winner_of(&self, node: usize) -> u16 {
        let winner = |child: usize| match child.checked_sub(LEAVES) {
            Some(leaf) => leaf as u16,
            None => self.winners[child],
        };
        let (low, high) = (winner(2 * node), winner(2 * node + 1));
        if self.keys[usize::from(high)] < self.keys[usize::from(low)] {
            high
        } else {
            low
        }
    }

    pub(crate) fn footprint(&self) -> u64 {
        (size_of_val(&*self.keys) + size_of_val(&*self.winners)) as u64
    }
}
