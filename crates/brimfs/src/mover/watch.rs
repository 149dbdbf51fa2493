//! The thread that frees memory before somebody has to wait.
//!
//! Started when it is first called for, never in a filesystem that stays below
//! the high mark. It holds the mover only while it works, so that a filesystem
//! that is dropped takes its thread with it.

use std::time::Duration;

use crate::base::fork;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::base::sync::{Arc, Mutex, Weak, thread};

use super::Mover;
use super::explain::SpillCause;
use super::reclaim::Staging;

/// The marks, in hundredths of the memory limit.
const HIGH: u64 = 95;
pub(super) const LOW: u64 = 90;
/// How long the thread sleeps when nobody wakes it.
const NAP: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Watch {
    mover: Mutex<Weak<Mover>>,
    worker: Mutex<Option<Worker>>,
    called: AtomicBool,
}

#[derive(Debug)]
struct Worker {
    thread: thread::JoinHandle<()>,
    /// The process that it lives in.
    born: u32,
}

impl Watch {
    pub(super) fn attach(&self, mover: &Arc<Mover>) {
        *self.mover.lock() = Arc::downgrade(mover);
    }

    pub(super) fn mover(&self) -> Weak<Mover> {
        self.mover.lock().clone()
    }

    /// Wakes the thread, and starts it if there is none. Does not wait for anything long.
    pub(super) fn call(&self) {
        if self.called.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut worker = self.worker.lock();
        if let Some(worker) = &*worker
            && worker.born == fork::generation()
        {
            worker.thread.thread().unpark();
            return;
        }
        let mover = self.mover();
        *worker = Some(Worker {
            thread: thread::spawn(move || work(&mover)),
            born: fork::generation(),
        });
    }

    /// Lets the thread end. It is not waited for: it may be the one that drops the mover.
    pub(super) fn detach(&mut self) {
        // In a forked child the lock may be held for ever.
        if let Some(worker) = self.worker.get_mut().take()
            && worker.born == fork::generation()
        {
            worker.thread.thread().unpark();
        }
    }
}

fn work(mover: &Weak<Mover>) {
    while let Some(mover) = mover.upgrade() {
        if mover.watch.called.swap(false, Ordering::AcqRel) {
            mover.activate_if_due();
        }
        let is_awake = mover.is_awake();
        if is_awake {
            if mover.lacks_census() {
                mover.take_census();
            }
            mover.follow_machine();
            mover.keep_marks();
        }
        drop(mover);
        match is_awake {
            true => thread::park_timeout(NAP),
            false => thread::park(),
        }
    }
}

impl Mover {
    pub(super) fn is_above_high_mark(&self) -> bool {
        let budget = self.budget.upgrade();
        budget.is_some_and(|budget| budget.used() > budget.usable() / 100 * HIGH)
    }

    /// Frees memory down to the low mark if it is above the high one.
    fn keep_marks(&self) {
        let Some((used, limit)) = self
            .budget
            .upgrade()
            .map(|budget| (budget.used(), budget.usable()))
        else {
            return;
        };
        if used > limit / 100 * HIGH && !self.is_stuck() {
            let low = limit / 100 * LOW;
            let enough = |spare| spare >= limit - low;
            let mut left = used - low;
            // A batch at a time: whoever waits for memory waits for one of them and not for all. Nobody
            // waits for this; whoever meets the disk's error in the foreground hears of it.
            while left > 0
                && let Ok(freed @ 1..) =
                    self.evict(SpillCause::Background, left.min(Staging::BYTES), enough)
            {
                left = left.saturating_sub(freed);
            }
        }
        drop(self.compact_if_due());
    }
}
