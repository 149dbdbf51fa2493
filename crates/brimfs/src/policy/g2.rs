//! G2: greedy-dual in two stages. The default.
//!
//! New chunks stand on probation. Who is touched there, or is remembered when it
//! comes back, or was accessed before it came, moves to the main queue. Each queue is a greedy-dual one over rounded
//! values (see `score`), so small chunks outlast large ones, frequent ones rare ones,
//! and a file that streams through chunk by chunk flushes nothing but what is worth less.
//!
//! **Second looks.** Nothing moves at an access. The chunk that is due is looked at: untouched,
//! it goes; touched, its frequency grows (by at most 2 a look, so that a burst is no
//! habit, and up to 15) and it is queued again, in main, at its value less what main's level rose since
//! the last touch. For that the counters know a coarse time, 16 epochs per turn of the
//! main queue. So a touch long ago is worth less than one just now, as it would be if
//! accesses moved chunks.
//!
//! **The share of probation** is a dial between recency and frequency, and no setting is right for
//! every load. A ghost that comes back tells what it was lacking: if it went from
//! probation with no more than a fifth of the capacity gone from there since, a larger
//! probation would have kept it; the same for main. What the miss costs moves the
//! share that way, in proportion to what all resident chunks would cost. So the share settles where
//! a byte more is worth the same to either queue.
//!
//! GreedyDual-Size: P. Cao, S. Irani, "Cost-Aware WWW Proxy Caching Algorithms", USITS 1997. GDSF:
//! L. Cherkasova, HP Labs 1998. Two queues and a share that ghosts adapt are as old as ARC (N. Megiddo,
//! D. Modha, FAST 2003), lazy promotion as CLOCK.

use crate::policy::ghost::{Bound, Ghosts, Memory};
use crate::policy::hits::Touches;
use crate::policy::managed::Order;
use crate::policy::ring::GreedyDual;
use crate::policy::score::{CLASSES, Value, Valued, WEIGHTS, WEIGHTS_ROOT};
use crate::policy::shelf::Shelf;
use crate::policy::table::{FREQUENCY_MAX, Slot};
use crate::policy::{PolicyKind, Settings};

/// Accesses between two looks that count for the frequency.
const FREQUENCY_STEP_MAX: u8 = 2;

/// Shares of the capacity are counted in units of 2^-32.
const WHOLE: u64 = 1 << 32;
/// Probation's share to begin with, and its bounds: never so small that nothing new can prove itself.
/// One that is too large does more harm than one that is too small, and while it is, what main lost is
/// soon too old to tell.
const SHARE_FIRST: u64 = WHOLE / 10;
const SHARE_MIN: u64 = WHOLE / 50;
const SHARE_MAX: u64 = WHOLE * 3 / 10;

/// A ghost tells of its queue's size if no more than the capacity over this went since.
const NEAR: u64 = 5;
/// Epochs in which as many bytes as the capacity are looked at in main.
const EPOCHS_PER_TURN: u64 = 16;
/// Epochs that are told apart.
const EPOCHS: usize = 256;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct G2 {
    probation: GreedyDual,
    main: GreedyDual,
    ghosts: Ghosts,
    /// What probation may hold, as a share of the capacity in units of 2^-32.
    share: u64,
    epoch: u8,
    /// Bytes that were looked at in main in this epoch.
    looked_at: u64,
    /// How far main's level had risen when each epoch began.
    risen: Box<[u64; EPOCHS]>,
}

impl G2 {
    fn queue(&mut self, main: bool) -> &mut GreedyDual {
        if main {
            &mut self.main
        } else {
            &mut self.probation
        }
    }

    fn bound(shelf: &Shelf) -> Bound {
        Bound {
            places: shelf.table.len() as usize,
            window: shelf.capacity,
        }
    }

    fn value_in(shelf: &Shelf, slot: Slot, main: bool) -> Value {
        let entry = shelf.table.entry(slot.get());
        shelf.scale.value(Valued {
            size: entry.size,
            frequency: entry.frequency(),
            priority: shelf.counted_priority(slot),
            clean: entry.is_clean() || !shelf.dirty_counts,
            weights: if main { &WEIGHTS_ROOT } else { &WEIGHTS },
        })
    }

    fn enqueue(&mut self, shelf: &mut Shelf, slot: Slot, main: bool, value: Value) {
        let (table, rings) = (&mut shelf.table, &mut shelf.rings);
        self.queue(main).enqueue(table, rings, slot, value);
    }

    /// Moves the share towards the queue that was too small for a ghost.
    fn adapt(&mut self, shelf: &Shelf, slot: Slot, memory: Memory) {
        if memory.age > shelf.capacity / NEAR {
            return;
        }
        let size = shelf.table.entry(slot.get()).size;
        let cost = u128::from(shelf.scale.cost(size)) * u128::from(WHOLE);
        // The chunk itself is resident by now, so this is no division by zero but for empty ones.
        let all = shelf
            .scale
            .cost_of_all(shelf.table.len(), shelf.table.bytes());
        let step = (cost / all.max(1)).min(u128::from(WHOLE)) as u64;
        let share = if memory.main {
            self.share.saturating_sub(step)
        } else {
            self.share + step
        };
        self.share = share.clamp(SHARE_MIN, SHARE_MAX);
    }

    /// Takes the chunk out that is due. Whether it came from main.
    fn pop(&mut self, shelf: &mut Shelf) -> Option<(Slot, bool)> {
        let allowed = (u128::from(shelf.capacity) * u128::from(self.share)) >> 32;
        let main_first = u128::from(self.probation.bytes()) <= allowed;
        for main in [main_first, !main_first] {
            let queue = self.queue(main);
            if let Some(slot) = queue.pop(&mut shelf.table, &mut shelf.rings) {
                return Some((slot, main));
            }
        }
        None
    }

    /// Lets the time of the counters pass.
    fn tick(&mut self, shelf: &Shelf, slot: Slot) {
        self.looked_at += u64::from(shelf.table.entry(slot.get()).size);
        if self.looked_at > shelf.capacity / EPOCHS_PER_TURN {
            self.looked_at = 0;
            self.epoch = self.epoch.wrapping_add(1);
            self.risen[usize::from(self.epoch)] = self.main.risen();
            shelf.hits.set_epoch(self.epoch);
        }
    }

    /// Queues a touched chunk again, in main.
    fn promote(&mut self, shelf: &mut Shelf, slot: Slot, touches: Touches) {
        let entry = shelf.table.entry_mut(slot.get());
        let step = touches.count.min(FREQUENCY_STEP_MAX);
        entry.set_frequency((entry.frequency() + step).min(FREQUENCY_MAX));
        let value = Self::value_in(shelf, slot, true);
        let since = self
            .main
            .risen()
            .wrapping_sub(self.risen[usize::from(touches.epoch)]);
        let left = Value::round(value.worth.saturating_sub(since));
        self.enqueue(shelf, slot, true, left);
    }
}

impl Order for G2 {
    const KIND: PolicyKind = PolicyKind::G2;
    const RINGS: usize = 2 * CLASSES;
    const VALUES: bool = true;

    fn new(_: Settings) -> Self {
        G2 {
            probation: GreedyDual::new(0, false),
            main: GreedyDual::new(CLASSES, true),
            ghosts: Ghosts::default(),
            share: SHARE_FIRST,
            epoch: 0,
            looked_at: 0,
            risen: Box::new([0; EPOCHS]),
        }
    }

    fn enter(&mut self, shelf: &mut Shelf, slot: Slot) {
        let id = shelf.table.entry(slot.get()).id;
        let memory = self.ghosts.recall(id, Self::bound(shelf).window);
        // Accesses that somebody else counted say nothing of how large the queues should be here.
        let counted = shelf.table.entry(slot.get()).warmth();
        let mut frequency = 1 + counted.min(FREQUENCY_STEP_MAX);
        if let Some(memory) = memory {
            self.adapt(shelf, slot, memory);
            frequency = frequency.max((memory.frequency + 1).min(FREQUENCY_MAX));
        }
        shelf.table.entry_mut(slot.get()).set_frequency(frequency);
        let main = memory.is_some() || counted > 0;
        let value = Self::value_in(shelf, slot, main);
        self.enqueue(shelf, slot, main, value);
    }

    fn take(&mut self, shelf: &mut Shelf, slot: Slot) {
        let main = shelf.table.entry(slot.get()).is_main();
        let (table, rings) = (&mut shelf.table, &mut shelf.rings);
        self.queue(main).take(table, rings, slot);
    }

    fn pick(&mut self, shelf: &mut Shelf) -> Option<Slot> {
        let mut chances = shelf.table.len();
        loop {
            let (slot, main) = self.pop(shelf)?;
            if main {
                self.tick(shelf, slot);
            }
            let touches = shelf.look(slot);
            if chances == 0 || touches.count == 0 {
                return Some(slot);
            }
            chances -= 1;
            self.promote(shelf, slot, touches);
        }
    }

    fn restore(&mut self, shelf: &mut Shelf, slot: Slot) {
        let main = shelf.table.entry(slot.get()).is_main();
        let value = Self::value_in(shelf, slot, main);
        let (table, rings) = (&mut shelf.table, &mut shelf.rings);
        self.queue(main).restore(table, rings, slot, value);
    }

    fn renew(&mut self, shelf: &mut Shelf, slot: Slot) {
        let main = shelf.table.entry(slot.get()).is_main();
        let value = Self::value_in(shelf, slot, main);
        self.enqueue(shelf, slot, main, value);
    }

    fn remember(&mut self, shelf: &Shelf, slot: Slot) {
        let entry = shelf.table.entry(slot.get());
        self.ghosts.remember(entry, Self::bound(shelf));
    }

    fn value(&self, shelf: &Shelf, slot: Slot) -> (f64, f64) {
        let entry = shelf.table.entry(slot.get());
        let (queue, main) = if entry.is_main() {
            (&self.main, true)
        } else {
            (&self.probation, false)
        };
        let value = Self::value_in(shelf, slot, main);
        let left = if shelf.has_forgotten_place(slot) {
            value
        } else {
            Value::exact(queue.left(entry))
        };
        (value.as_f64(), left.as_f64())
    }

    fn footprint(&self) -> u64 {
        let queues = self.probation.footprint() + self.main.footprint();
        queues + self.ghosts.footprint() + size_of_val(&*self.risen) as u64
    }
}
