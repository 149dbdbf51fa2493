//! What content of one filesystem is charged to: its quota and its memory budget.

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU32, Ordering};
use crate::memory::budget::Budget;
use crate::memory::guard::Guard;
use crate::memory::ledger::Ledger;

/// Where a filesystem's content is charged: its quota and its memory budget.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) quota: Ledger,
    pub(crate) budget: Budget,
    guard: Guard,
    /// Sets the filesystems of one budget apart.
    pub(crate) id: u32,
}

impl Account {
    pub(crate) fn new(quota: u64, budget: Budget, guard: Guard) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Account {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            quota: Ledger::new(quota, ErrorKind::QuotaExceeded),
            budget,
            guard,
        }
    }

    /// Both or neither.
    #[inline]
    pub(crate) fn reserve(&self, quota: u64, resident: u64) -> Result<(), Fault> {
        self.quota.reserve(quota)?;
        self.guard
            .check(resident)
            .and_then(|()| self.budget.reserve(resident))
            .inspect_err(|_| self.quota.release(quota))
    }

    /// Reserves quota out of `aside`, which is reserved already, and anew what is missing there.
    #[inline]
    pub(crate) fn reserve_quota(&self, quota: u64, aside: &mut u64) -> Result<(), Fault> {
        let own = quota.min(*aside);
        self.quota.reserve(quota - own)?;
        *aside -= own;
        Ok(())
    }

    #[inline]
    pub(crate) fn release(&self, quota: u64, resident: u64) {
        self.quota.release(quota);
        self.budget.release(resident);
    }
}

/// A reservation that is given back when it is dropped.
///
/// Kept beside the memory it pays for, declared after it, so that the memory
/// is really free before the counters say so.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Arc<Account>,
    quota: u64,
    resident: u64,
}

impl Charge {
    pub(crate) fn reserve(
        account: &Arc<Account>,
        quota: u64,
        resident: u64,
    ) -> Result<Self, Fault> {
        account.reserve(quota, resident)?;
        Ok(Self::from_reserved(account, quota, resident))
    }

    /// Takes over what was reserved already.
    pub(crate) fn from_reserved(account: &Arc<Account>, quota: u64, resident: u64) -> Self {
        Charge {
            account: account.clone(),
            quota,
            resident,
        }
    }

    #[inline]
    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    #[inline]
    pub(crate) fn quota(&self) -> u64 {
        self.quota
    }

    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }

    /// As [`Account::reserve_quota`]. Changes nothing on failure.
    #[inline]
    pub(crate) fn grow_quota(&mut self, more: u64, aside: &mut u64) -> Result<(), Fault> {
        self.account.reserve_quota(more, aside)?;
        self.quota += more;
        Ok(())
    }

    /// Takes over quota that was reserved already.
    #[inline]
    pub(crate) fn add_reserved_quota(&mut self, more: u64) {
        self.quota += more;
    }

    /// Gives quota back until `quota` is left.
    pub(crate) fn shrink_quota(&mut self, quota: u64) {
        debug_assert!(quota <= self.quota);
        self.account.quota.release(self.quota - quota);
        self.quota = quota;
    }

    /// Hands the quota over to the caller: dropping the charge no longer releases it.
    pub(crate) fn take_quota(&mut self) -> u64 {
        std::mem::take(&mut self.quota)
    }

    /// Moves a part of the reservation into a charge of its own.
    pub(crate) fn split(&mut self, quota: u64, resident: u64) -> Charge {
        debug_assert!(quota <= self.quota && resident <= self.resident);
        self.quota -= quota;
        self.resident -= resident;
        Charge::from_reserved(&self.account, quota, resident)
    }

    /// Hands the memory over to the caller: dropping the charge no longer releases it.
    pub(crate) fn take_resident(&mut self) -> u64 {
        std::mem::take(&mut self.resident)
    }

    /// Reserves or gives back memory, to hold `resident` bytes. Changes nothing on failure.
    pub(crate) fn set_resident(&mut self, resident: u64) -> Result<(), Fault> {
        if resident > self.resident {
            self.account.budget.reserve(resident - self.resident)?;
        } else {
            self.account.budget.release(self.resident - resident);
        }
        self.resident = resident;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.release(self.quota, self.resident);
    }
}
