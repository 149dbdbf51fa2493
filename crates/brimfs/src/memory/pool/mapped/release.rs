//! Gives recycled memory back to the operating system: the ceiling and trim.
//!
//! One thread releases at a time. What it has chosen is withdrawn from the heap
//! and still counted, so the heap's lock is free during the system calls and a
//! second thread that is over the ceiling waits instead of going past it.

use std::ops::Range;

use super::heap::State;
use super::unit::{BLOCK, BLOCK_PAGES, PAGE, PAGES, UNIT, Unit};
use super::{Pool, directory, os};
use crate::base::sync::atomic::Ordering;

/// Pages that are withdrawn at once at most, so that others still find some.
const BATCH_MAX: usize = (256 << 20) / PAGE;
/// Pages that the ceiling gives back at least, so that not every call pays a system call.
const BATCH_MIN: usize = (4 << 20) / PAGE;

#[derive(Clone, Copy)]
enum Goal {
    /// Recycled and live pages within the ceiling.
    Ceiling,
    /// At most so many recycled pages.
    Keep(usize),
}

/// What one round gives back.
#[derive(Default)]
struct Batch {
    /// Wholly free units, already out of the heap.
    units: Vec<Unit>,
    /// First address and number of withdrawn pages, sorted and merged.
    runs: Vec<(usize, usize)>,
}

impl Pool {
    /// Sets how many bytes may be backed.
    pub(in crate::memory::pool) fn set_ceiling(&self, bytes: u64) {
        self.ceiling.store(bytes, Ordering::Relaxed);
        self.enforce_ceiling(0..0);
    }

    /// Free bytes that are still backed, the empty spans that classes keep included.
    pub(in crate::memory::pool) fn recycled(&self) -> usize {
        let idle: usize = self.classes.iter().map(|class| class.idle_bytes()).sum();
        idle + self.state.lock().recycled * PAGE
    }

    /// Gives back until at most `keep` recycled bytes remain.
    pub(in crate::memory::pool) fn trim(&self, keep: usize) {
        if self.recycled() > keep {
            self.recycle_idle_spans();
            self.release(Goal::Keep(keep / PAGE), &(0..0));
        }
    }

    /// Whether more is backed than may be.
    pub(super) fn is_over(&self, state: &State) -> bool {
        (state.backed * PAGE) as u64 > self.ceiling.load(Ordering::Relaxed)
    }

    /// Gives recycled memory back until the rest is within the ceiling.
    ///
    /// Blocks that overlap `fresh` stay: they were taken for an allocation that
    /// is not touched yet, and the kernel will back them as a whole.
    pub(super) fn enforce_ceiling(&self, fresh: Range<usize>) {
        let spare = fresh.start / BLOCK * BLOCK..fresh.end.next_multiple_of(BLOCK);
        self.release(Goal::Ceiling, &spare);
        let still_over = self.is_over(&self.state.lock());
        if still_over {
            self.recycle_idle_spans();
            self.release(Goal::Ceiling, &spare);
        }
    }

    fn recycle_idle_spans(&self) {
        for span in self.classes.iter().filter_map(|class| class.take_idle()) {
            self.recycle_span(*span);
        }
    }

    fn release(&self, goal: Goal, spare: &Range<usize>) {
        let _turn = self.releasing.lock();
        loop {
            let mut state = self.state.lock();
            let wanted = self.shortfall(&state, goal).min(BATCH_MAX);
            if wanted == 0 {
                return;
            }
            let batch = state.choose(wanted, spare);
            drop(state);
            if batch.runs.is_empty() && batch.units.is_empty() {
                return;
            }
            let taken = batch.give_back();
            let emptied = self.state.lock().settle(&batch, taken);
            emptied.into_iter().for_each(give_back_unit);
            if taken < batch.runs.len() {
                return;
            }
        }
    }

    fn shortfall(&self, state: &State, goal: Goal) -> usize {
        match goal {
            Goal::Keep(pages) => state.recycled.saturating_sub(pages),
            Goal::Ceiling if self.is_over(state) => {
                let ceiling = self.ceiling.load(Ordering::Relaxed) / PAGE as u64;
                let over = state.backed.saturating_sub(ceiling as usize);
                over.max(BATCH_MIN).min(state.recycled)
            }
            Goal::Ceiling => 0,
        }
    }
}

impl State {
    /// Withdraws about `wanted` recycled pages: whole units first, then whole
    /// blocks, so that few huge pages are broken up, each from the top down.
    fn choose(&mut self, wanted: usize, spare: &Range<usize>) -> Batch {
        let mut batch = Batch::default();
        let mut left = self.choose_units(wanted, &mut batch);
        for whole in [true, false] {
            let units = self.units.iter_mut().rev();
            for unit in units.filter(|unit| unit.has_recycled()) {
                for block in (0..PAGES / BLOCK_PAGES).rev() {
                    if left == 0 {
                        break;
                    }
                    if !spare.contains(&(unit.base + block * BLOCK)) {
                        left = choose_in_block(unit, block, whole, left, &mut batch.runs);
                    }
                }
            }
        }
        self.note_all();
        batch.merge();
        batch
    }

    fn choose_units(&mut self, wanted: usize, batch: &mut Batch) -> usize {
        let mut left = wanted;
        for at in (0..self.units.len()).rev() {
            let unit = &self.units[at];
            if unit.is_free() && unit.warm_pages() <= left {
                left -= unit.warm_pages();
                batch.units.push(self.remove(at));
            }
        }
        left
    }

    fn remove(&mut self, at: usize) -> Unit {
        let unit = self.units.remove(at);
        directory::unregister(unit.base);
        unit
    }

    /// Ends a round of which the kernel took the first `taken` runs. Gives the
    /// units that have nothing in them any more.
    fn settle(&mut self, batch: &Batch, taken: usize) -> Vec<Unit> {
        for unit in &batch.units {
            self.backed -= unit.warm_pages();
            self.recycled -= unit.warm_pages();
        }
        let mut emptied = Vec::new();
        for (i, &(address, pages)) in batch.runs.iter().enumerate() {
            let (mut at, mut first) = self.find(address);
            let mut left = pages;
            while left > 0 {
                let here = left.min(PAGES - first);
                let unit = &mut self.units[at];
                let change = unit.return_withdrawn(first, here, i < taken);
                let empty = unit.is_free() && unit.warm_pages() == 0;
                self.apply(change);
                left -= here;
                first = 0;
                if empty {
                    emptied.push(self.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        self.note_all();
        emptied
    }
}

/// Withdraws recycled pages of one block; gives how many are still wanted.
fn choose_in_block(
    unit: &mut Unit,
    block: usize,
    whole: bool,
    wanted: usize,
    runs: &mut Vec<(usize, usize)>,
) -> usize {
    let mut left = wanted;
    if whole {
        if unit.last_recycled(block).is_some() && unit.block_is_free(block) {
            unit.withdraw(block * BLOCK_PAGES, BLOCK_PAGES);
            runs.push((unit.base + block * BLOCK, BLOCK_PAGES));
            left = left.saturating_sub(BLOCK_PAGES);
        }
        return left;
    }
    while left > 0
        && let Some((start, available)) = unit.last_recycled(block)
    {
        let count = available.min(left);
        let first = start + available - count;
        unit.withdraw(first, count);
        runs.push((unit.base + first * PAGE, count));
        left -= count;
    }
    left
}

impl Batch {
    fn merge(&mut self) {
        self.runs.sort_unstable();
        self.runs.dedup_by(|next, run| {
            let adjacent = run.0 + run.1 * PAGE == next.0;
            if adjacent {
                run.1 += next.1;
            }
            adjacent
        });
    }

    /// How many runs the kernel took. It refuses locked memory, which then stays recycled.
    fn give_back(&self) -> usize {
        for unit in &self.units {
            os::unmap(unit.base, UNIT);
        }
        self.runs
            .iter()
            .position(|&(address, pages)| !os::discard(address, pages * PAGE))
            .unwrap_or(self.runs.len())
    }
}

fn give_back_unit(unit: Unit) {
    os::unmap(unit.base, UNIT);
}
