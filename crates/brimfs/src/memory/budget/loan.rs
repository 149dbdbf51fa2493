//! Memory that is kept back for writing where all other memory holds what cannot go.
//!
//! Pinned content and views can fill all that anybody may take. So that writing goes on, a tier
//! keeps some back. One thread at a time borrows it, and what that thread made with it goes cold
//! before it gives the loan back: so the memory is there for the next. Others never get it, not
//! even what is free of it for a moment.

use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::long_wait::long_wait;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Mutex, MutexGuard, thread};
use crate::memory::budget::Budget;

/// What a budget keeps back, and who has it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: AtomicU64,
    /// Held by whoever borrows.
    turn: Mutex<()>,
    borrower: Mutex<Option<thread::ThreadId>>,
}

impl Kept {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The right to take what is kept back, for the thread that borrowed. Dropping it waits for the
/// tier to take away what was made meanwhile: only file locks may be held then.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    budget: &'a Budget,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(tier) = self.budget.tier() {
            let collect = || {
                tier.collect();
                Ok(())
            };
            if long_wait(collect).is_err() {
                // Somewhere that must not wait: then others do.
                tier.collect();
            }
        }
        *self.budget.0.kept.borrower.lock() = None;
    }
}

impl Budget {
    /// Takes `bytes`, of which the limit has more, off what anybody may use, to be lent. Once, and for
    /// good; does nothing after that.
    #[doc(hidden)]
    pub fn keep_back(&self, bytes: u64) {
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        if self
            .0
            .kept
            .bytes
            .compare_exchange(0, bytes, set, get)
            .is_ok()
        {
            self.0.ledger.narrow(bytes);
        }
    }

    /// The part of the limit that is not kept back, in bytes.
    #[doc(hidden)]
    #[must_use]
    pub fn usable(&self) -> u64 {
        self.0.ledger.limit()
    }

    /// Bytes that are taken of what is kept back.
    pub(crate) fn overdraft(&self) -> u64 {
        self.used().saturating_sub(self.usable())
    }

    /// Refuses what could keep borrowed memory from going, as a view could.
    pub(crate) fn check_overdraft(&self) -> Result<(), Fault> {
        if self.overdraft() == 0 {
            return Ok(());
        }
        let info = LimitInfo {
            requested: 1,
            used: self.used(),
            limit: self.usable(),
        };
        Err(Fault::limit(ErrorKind::MemoryLimit, info))
    }

    /// Borrows what is kept back; nothing where none is, or where the caller has it already. Waits
    /// for others who have: the caller may hold file locks, and no other.
    ///
    /// # Errors
    /// What the disk says to content that was written before and does not fit there.
    pub(crate) fn borrow_kept(&self) -> Result<Option<Loan<'_>>, Fault> {
        let kept = &self.0.kept;
        let Some(tier) = self.active_tier() else {
            return Ok(None);
        };
        if kept.bytes() == 0 || self.is_lent_to_caller() {
            return Ok(None);
        }
        long_wait(|| {
            let turn = kept.turn.lock();
            tier.lend()?;
            *kept.borrower.lock() = Some(thread::current().id());
            Ok(Some(Loan {
                budget: self,
                _turn: turn,
            }))
        })
    }

    /// Whether the calling thread may take what is kept back.
    pub(crate) fn is_lent_to_caller(&self) -> bool {
        let kept = &self.0.kept;
        kept.bytes() > 0 && *kept.borrower.lock() == Some(thread::current().id())
    }
}
