//! The thread that commits now and then, writes checkpoints and gives space of the disk back.

use std::time::Duration;

use crate::base::clock;
use crate::base::fork;
use crate::base::sync::atomic::Ordering;
use crate::base::sync::{Arc, Weak, thread};

use super::{Durability, Persistence};

impl Persistence {
    pub(super) fn wake_clerk(&self) {
        if let Some((thread, born)) = &*self.clerk.lock()
            && *born == fork::generation()
        {
            thread.unpark();
        }
    }

    /// Starts the thread that commits now and then.
    pub(super) fn employ_clerk(self: &Arc<Self>) {
        let nap = match self.durability {
            Durability::Interval(interval) => interval,
            // It is called for when there is much.
            Durability::Sync | Durability::Manual => Duration::from_secs(3600),
        };
        let weak = Arc::downgrade(self);
        let handle = thread::spawn(move || work(&weak, nap));
        *self.clerk.lock() = Some((handle.thread().clone(), fork::generation()));
    }
}

fn work(persistence: &Weak<Persistence>, interval: Duration) {
    let mut due = clock::monotonic().saturating_add(interval);
    loop {
        // Rests first: nobody asked for anything yet.
        thread::park_timeout(due.saturating_sub(clock::monotonic()));
        let Some(persistence) = persistence.upgrade() else {
            return;
        };
        persistence.called.store(false, Ordering::Release);
        if persistence.volume.born != fork::generation() {
            return;
        }
        let is_commit_due = clock::monotonic() >= due
            || !persistence.is_room_ahead()
            || !persistence.is_writing_ahead_enough(due);
        // Who asks for durability hears of errors; the next round tries again.
        if is_commit_due {
            drop(persistence.commit());
            due = clock::monotonic().saturating_add(interval);
        }
        drop(persistence.checkpoint_if_due());
        persistence.compact_if_due();
        if persistence.is_closed() {
            return;
        }
    }
}
