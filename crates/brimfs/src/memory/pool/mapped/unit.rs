//! A unit of address space, and which of its pages are free and which are backed.
//!
//! Pure bookkeeping on bitmaps: whoever calls holds the pool's lock and makes
//! the system calls.

use std::ops::AddAssign;

use super::directory::Directory;
use crate::base::sync::Arc;
use crate::memory::pool::SLOT;

/// Address space is mapped, aligned and unmapped in multiples of this.
pub(super) const UNIT: usize = 64 << 20;
/// What spans are made of.
pub(super) const PAGE: usize = 64 << 10;
pub(super) const PAGES: usize = UNIT / PAGE;
pub(super) const SLOTS: usize = UNIT / SLOT;
pub(super) const SLOT_PAGES: usize = SLOT / PAGE;
/// Pages that one huge page of the kernel backs together.
pub(super) const BLOCK_PAGES: usize = BLOCK / PAGE;
pub(super) const BLOCK: usize = 2 << 20;

const WORDS: usize = PAGES / 64;
const WORD_SLOTS: usize = 64 / SLOT_PAGES;
/// The two blocks of a word.
const BLOCKS: [u64; 2] = [0xffff_ffff, 0xffff_ffff << 32];
const _: () = assert!(SLOTS == 64 && WORD_SLOTS == 4 && BLOCK_PAGES == 32);

/// How the pool's counters change, in pages.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    pub(super) backed: isize,
    pub(super) recycled: isize,
}

impl AddAssign for Change {
    fn add_assign(&mut self, other: Change) {
        self.backed += other.backed;
        self.recycled += other.recycled;
    }
}

/// 64 MiB. A live page is neither free nor cold; a free page is warm (recycled)
/// or cold (not backed); a page on its way to the kernel is not free for as long.
pub(super) struct Unit {
    /// Slots of which every page is free.
    pub(super) slots_free: u64,
    /// Slots of which every page is free and warm.
    pub(super) slots_warm: u64,
    pub(super) base: usize,
    free_pages: usize,
    pub(super) huge: bool,
    free: [u64; WORDS],
    warm: [u64; WORDS],
    /// Owned here, registered by address.
    _directory: Arc<Directory>,
}

impl Unit {
    /// A unit that was mapped just now: all free, all cold.
    pub(super) fn new(base: usize, huge: bool, directory: Arc<Directory>) -> Self {
        Unit {
            slots_free: u64::MAX,
            slots_warm: 0,
            base,
            free_pages: PAGES,
            huge,
            free: [u64::MAX; WORDS],
            warm: [0; WORDS],
            _directory: directory,
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.free_pages == PAGES
    }

    pub(super) fn warm_pages(&self) -> usize {
        self.warm
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    pub(super) fn has_recycled(&self) -> bool {
        let mut words = self.free.iter().zip(&self.warm);
        words.any(|(free, warm)| free & warm != 0)
    }

    /// Takes pages that are free. Cold ones become backed, and with the first
    /// page of an unbacked block the kernel backs all of it.
    pub(super) fn take(&mut self, first: usize, count: usize) -> Change {
        let mut change = Change::default();
        for (word, mask) in masks(first, count) {
            debug_assert_eq!(self.free[word] & mask, mask, "taken twice");
            let warm = self.warm[word];
            let mut gained = mask & !warm;
            if self.huge {
                for block in BLOCKS {
                    if mask & block != 0 && warm & block == 0 {
                        gained |= block;
                    }
                }
            }
            self.free[word] &= !mask;
            self.warm[word] |= gained;
            change.backed += ones(gained);
            change.recycled += ones(gained & !mask) - ones(mask & warm);
            self.refresh(word);
        }
        self.free_pages -= count;
        change
    }

    /// Takes live pages back. They stay warm.
    pub(super) fn put(&mut self, first: usize, count: usize) -> Change {
        self.restore(first, count);
        Change {
            backed: 0,
            recycled: count as isize,
        }
    }

    /// Makes pages unavailable while the kernel takes them.
    pub(super) fn withdraw(&mut self, first: usize, count: usize) {
        for (word, mask) in masks(first, count) {
            debug_assert_eq!(self.free[word] & mask, mask, "withdrawn twice");
            self.free[word] &= !mask;
            self.refresh(word);
        }
        self.free_pages -= count;
    }

    /// Ends [`withdraw`](Unit::withdraw): the pages are free again, and cold if the kernel took them.
    pub(super) fn return_withdrawn(&mut self, first: usize, count: usize, taken: bool) -> Change {
        let mut cooled = 0;
        if taken {
            for (word, mask) in masks(first, count) {
                cooled -= ones(self.warm[word] & mask);
                self.warm[word] &= !mask;
            }
        }
        self.restore(first, count);
        Change {
            backed: cooled,
            recycled: cooled,
        }
    }

    fn restore(&mut self, first: usize, count: usize) {
        for (word, mask) in masks(first, count) {
            debug_assert_eq!(self.free[word] & mask, 0, "given back twice");
            self.free[word] |= mask;
            self.refresh(word);
        }
        self.free_pages += count;
    }

    /// Free pages beside live ones in one slot.
    #[inline]
    pub(super) fn loose_pages(&self) -> usize {
        self.free_pages - self.slots_free.count_ones() as usize * SLOT_PAGES
    }

    /// `count` free pages (at most a slot's) beside live ones in one slot, so
    /// that slots that are whole stay whole.
    pub(super) fn find_loose(&self, count: usize, warm_only: bool) -> Option<usize> {
        if self.loose_pages() < count {
            return None;
        }
        let starts = SLOT_STARTS * ((1 << (SLOT_PAGES - count + 1)) - 1);
        (0..WORDS).find_map(|word| {
            let mut run = self.free[word] & !spread(self.slots_free >> (word * WORD_SLOTS));
            if warm_only {
                run &= self.warm[word];
            }
            for _ in 1..count {
                run &= run >> 1;
            }
            run &= starts;
            (run != 0).then(|| word * 64 + run.trailing_zeros() as usize)
        })
    }

    /// Whether every page of a block is free.
    pub(super) fn block_is_free(&self, block: usize) -> bool {
        let (word, mask) = block_mask(block);
        self.free[word] & mask == mask
    }

    /// The last run of recycled pages in a block: its first page and its length.
    pub(super) fn last_recycled(&self, block: usize) -> Option<(usize, usize)> {
        let (word, mask) = block_mask(block);
        let run = self.free[word] & self.warm[word] & mask;
        if run == 0 {
            return None;
        }
        let above = run.leading_zeros() as usize;
        let count = (run << above).leading_ones() as usize;
        Some((word * 64 + 64 - above - count, count))
    }

    /// Brings the slot masks up to date with one word of pages.
    fn refresh(&mut self, word: usize) {
        let shift = word * WORD_SLOTS;
        let free = whole_slots(self.free[word]);
        let warm = whole_slots(self.free[word] & self.warm[word]);
        let others = !(0b1111 << shift);
        self.slots_free = self.slots_free & others | free << shift;
        self.slots_warm = self.slots_warm & others | warm << shift;
    }
}

const SLOT_STARTS: u64 = 0x0001_0001_0001_0001;

/// Which of the four slots of a word have every bit set.
fn whole_slots(word: u64) -> u64 {
    (0..WORD_SLOTS)
        .filter(|slot| word >> (slot * SLOT_PAGES) & 0xffff == 0xffff)
        .fold(0, |found, slot| found | 1 << slot)
}

/// All page bits of each of the four lowest slots of `slots`.
fn spread(slots: u64) -> u64 {
    let starts = slots & 1 | (slots & 2) << 15 | (slots & 4) << 30 | (slots & 8) << 45;
    starts * 0xffff
}

/// The word that a block lies in, and its bits there.
fn block_mask(block: usize) -> (usize, u64) {
    (block / 2, BLOCKS[block % 2])
}

fn ones(word: u64) -> isize {
    word.count_ones() as isize
}

/// The words that a range of pages touches, with its bits in each.
fn masks(first: usize, count: usize) -> impl Iterator<Item = (usize, u64)> {
    debug_assert!(count > 0 && first + count <= PAGES);
    let end = first + count;
    (first / 64..end.div_ceil(64)).map(move |word| {
        let from = first.max(word * 64) - word * 64;
        let to = end.min(word * 64 + 64) - word * 64;
        (word, u64::MAX << from & u64::MAX >> (64 - to))
    })
}
