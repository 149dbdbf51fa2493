//! What a budget takes of the machine that several budgets are shares of.

use crate::base::error::Fault;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex};
use crate::memory::ledger::Ledger;

/// What a budget has drawn from the machine: never less than it uses, and a little in advance, so
/// that most reservations look at one counter only.
///
/// Whoever reserves changes `used` and then looks at `drawn`; whoever gives back changes `drawn`
/// and then looks at `used`: one of both sees the other.
pub(super) struct Draw {
    pub(super) machine: Arc<Ledger>,
    drawn: AtomicU64,
    /// Held while `drawn` changes.
    gate: Mutex<()>,
}

impl Draw {
    pub(super) fn new(machine: &Arc<Ledger>) -> Self {
        Draw {
            machine: machine.clone(),
            drawn: AtomicU64::new(0),
            gate: Mutex::new(()),
        }
    }

    /// What could be drawn more, and is drawn without being used.
    pub(super) fn spare(&self, used: u64) -> u64 {
        let machine = self.machine.limit().saturating_sub(self.machine.used());
        machine.saturating_add(self.drawn.load(Ordering::Relaxed).saturating_sub(used))
    }

    /// Counts as drawn what was reserved on the machine by itself.
    pub(super) fn take_over(&self, bytes: u64) {
        let _gate = self.gate.lock();
        self.drawn.fetch_add(bytes, Ordering::SeqCst);
    }

    /// The opposite of [`Draw::take_over`].
    pub(super) fn hand_over(&self, bytes: u64) {
        let _gate = self.gate.lock();
        self.drawn.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Gives everything back, and `more` that was reserved by itself.
    pub(super) fn end(&mut self, more: u64) {
        self.machine.release(*self.drawn.get_mut() + more);
    }

    /// What is drawn at once, in bytes; at most three times this much lies idle.
    const STEP: u64 = 256 << 10;

    /// Follows a reservation, after which `used` bytes are in use.
    #[inline]
    pub(super) fn follow(&self, used: u64) -> Result<(), Fault> {
        if used <= self.drawn.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.draw(used)
    }

    #[cold]
    fn draw(&self, used: u64) -> Result<(), Fault> {
        let _gate = self.gate.lock();
        let drawn = self.drawn.load(Ordering::SeqCst);
        let Some(missing) = used.checked_sub(drawn).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        let more = missing.next_multiple_of(Self::STEP);
        let more = match self.machine.reserve(more) {
            Ok(()) => more,
            Err(_) => self.machine.reserve(missing).map(|()| missing)?,
        };
        self.drawn.store(drawn + more, Ordering::SeqCst);
        Ok(())
    }

    /// Follows a release, after which `used` bytes are in use.
    #[inline]
    pub(super) fn give_back(&self, used: u64, ledger: &Ledger) {
        if self.drawn.load(Ordering::Relaxed) > used.saturating_add(3 * Self::STEP) {
            self.settle(ledger);
        }
    }

    #[cold]
    fn settle(&self, ledger: &Ledger) {
        let _gate = self.gate.lock();
        let drawn = self.drawn.load(Ordering::SeqCst);
        let kept = ledger.used() + Self::STEP;
        if kept >= drawn {
            return;
        }
        self.drawn.store(kept, Ordering::SeqCst);
        if ledger.used_now() > kept {
            // Somebody reserved meanwhile and may have seen what was drawn before.
            self.drawn.store(drawn, Ordering::SeqCst);
        } else {
            self.machine.release(drawn - kept);
        }
    }
}
