//! A limit with its counter: reserve first, allocate second.
//!
//! A reservation either fits under the limit as a whole or changes nothing, so a
//! limit holds at every instant.

use std::fmt;

use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::sync::atomic::{AtomicU64, Ordering};

/// A limit with its counter and its peak.
pub(crate) struct Ledger {
    used: AtomicU64,
    peak: AtomicU64,
    limit: AtomicU64,
    kind: ErrorKind,
}

/// The limit of a ledger that has none.
pub(crate) const UNLIMITED: u64 = u64::MAX;

impl Ledger {
    pub(crate) fn new(limit: u64, kind: ErrorKind) -> Self {
        Ledger {
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            kind,
        }
    }

    #[inline]
    pub(crate) fn reserve(&self, amount: u64) -> Result<(), Fault> {
        if amount == 0 {
            return Ok(());
        }
        self.add(amount).map(drop)
    }

    #[inline]
    fn add(&self, amount: u64) -> Result<u64, Fault> {
        self.add_within(amount, self.limit())
    }

    /// Reserves, and returns what is in use then. The order is that of
    /// [`Draw`](crate::memory::draw::Draw).
    #[inline]
    pub(super) fn add_within(&self, amount: u64, limit: u64) -> Result<u64, Fault> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let Some(after) = used.checked_add(amount).filter(|after| *after <= limit) else {
                return Err(self.refusal(amount, used, limit));
            };
            match self
                .used
                .compare_exchange_weak(used, after, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => {
                    if after > self.peak.load(Ordering::Relaxed) {
                        self.peak.fetch_max(after, Ordering::Relaxed);
                    }
                    return Ok(after);
                }
                Err(now) => used = now,
            }
        }
    }

    #[cold]
    pub(super) fn refusal(&self, requested: u64, used: u64, limit: u64) -> Fault {
        Fault::limit(
            self.kind,
            LimitInfo {
                requested,
                used,
                limit,
            },
        )
    }

    #[inline]
    pub(crate) fn release(&self, amount: u64) {
        if amount != 0 {
            self.sub(amount);
        }
    }

    /// Releases, and returns what is in use then.
    #[inline]
    pub(super) fn sub(&self, amount: u64) -> u64 {
        let before = self.used.fetch_sub(amount, Ordering::Relaxed);
        debug_assert!(before >= amount, "released {amount} of {before}");
        before.wrapping_sub(amount)
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// In the order of [`Draw`](crate::memory::draw::Draw).
    pub(super) fn used_now(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// The opposite of [`Ledger::widen`]: the limit gives so much up, if `used` is what is in use; then
    /// nothing is. Whether that was so.
    pub(super) fn narrow_if_used(&self, amount: u64, used: u64) -> bool {
        // In this order: a reservation may fail in between, but the limit holds.
        self.limit.fetch_sub(amount, Ordering::SeqCst);
        let (set, get) = (Ordering::SeqCst, Ordering::Relaxed);
        let is_so = self.used.compare_exchange(used, 0, set, get).is_ok();
        if !is_so {
            self.limit.fetch_add(amount, Ordering::SeqCst);
        }
        is_so
    }

    /// Counts as used what the limit did not offer until now.
    pub(super) fn widen(&self, amount: u64) {
        // In this order: a reservation may fail in between, but the limit holds.
        let used = self.used.fetch_add(amount, Ordering::SeqCst) + amount;
        self.limit.fetch_add(amount, Ordering::Relaxed);
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    /// The limit offers so much less.
    pub(super) fn narrow(&self, amount: u64) {
        self.limit.fetch_sub(amount, Ordering::Relaxed);
    }

    /// The limit offers so much more.
    pub(super) fn offer(&self, amount: u64) {
        self.limit.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets the limit, unless more than that is in use.
    pub(crate) fn set_limit(&self, limit: u64) -> Result<(), Fault> {
        let used = self.used();
        if used > limit {
            return Err(self.refusal(0, used, limit));
        }
        self.limit.store(limit, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} (peak {})",
            self.used(),
            self.limit(),
            self.peak()
        )
    }
}
