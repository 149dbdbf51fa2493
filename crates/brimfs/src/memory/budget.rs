//! Counters behind limits: reserve first, allocate second.
//!
//! Owns the numbers, never the memory. A reservation either fits under the
//! limit as a whole or changes nothing, so a limit holds at every instant.

use std::fmt;

use crate::base::error::{ErrorKind, Fault, LimitInfo, Result};
use crate::base::sync::Arc;
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
        let limit = self.limit.load(Ordering::Relaxed);
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let Some(after) = used.checked_add(amount).filter(|after| *after <= limit) else {
                return Err(self.refusal(amount, used, limit));
            };
            match self.used.compare_exchange_weak(
                used,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    if after > self.peak.load(Ordering::Relaxed) {
                        self.peak.fetch_max(after, Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Err(now) => used = now,
            }
        }
    }

    #[cold]
    fn refusal(&self, requested: u64, used: u64, limit: u64) -> Fault {
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
            let before = self.used.fetch_sub(amount, Ordering::Relaxed);
            debug_assert!(before >= amount, "released {amount} of {before}");
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
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
        write!(f, "{} of {} (peak {})", self.used(), self.limit(), self.peak())
    }
}

/// A memory limit that several filesystems can share.
///
/// Counts resident bytes: content, nodes, names and tables. Cloning is cheap
/// and gives the same budget.
///
/// ```
/// let budget = brimfs::Budget::new(64 << 20);
/// let first = brimfs::FileSystem::builder().budget(&budget).build()?;
/// let second = brimfs::FileSystem::builder().budget(&budget).build()?;
/// first.write("/a", vec![0; 1 << 20])?;
/// assert!(budget.used() >= 1 << 20);
/// # drop(second);
/// # Ok::<(), brimfs::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    ledger: Arc<Ledger>,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Budget {
            ledger: Arc::new(Ledger::new(limit, ErrorKind::MemoryLimit)),
        }
    }

    /// Resident bytes charged now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.ledger.used()
    }

    /// The most that was ever charged.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.ledger.peak()
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.ledger.limit()
    }

    /// Changes the limit.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if more than `limit` is in use; the limit stays.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        self.ledger
            .set_limit(limit)
            .map_err(|fault| fault.during("set the memory limit"))
    }

    #[inline]
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), Fault> {
        self.ledger.reserve(bytes)
    }

    #[inline]
    pub(crate) fn release(&self, bytes: u64) {
        self.ledger.release(bytes);
    }
}

/// Where a filesystem's content is charged: its quota and its memory budget.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) quota: Ledger,
    pub(crate) budget: Budget,
}

impl Account {
    pub(crate) fn new(quota: u64, budget: Budget) -> Self {
        Account {
            quota: Ledger::new(quota, ErrorKind::QuotaExceeded),
            budget,
        }
    }

    /// Both or neither.
    #[inline]
    pub(crate) fn reserve(&self, quota: u64, resident: u64) -> Result<(), Fault> {
        self.quota.reserve(quota)?;
        self.budget
            .reserve(resident)
            .inspect_err(|_| self.quota.release(quota))
    }

    #[inline]
    pub(crate) fn release(&self, quota: u64, resident: u64) {
        self.quota.release(quota);
        self.budget.release(resident);
    }
}
