//! Counters behind limits: reserve first, allocate second.
//!
//! Owns the numbers, never the memory. A reservation either fits under the
//! limit as a whole or changes nothing, so a limit holds at every instant.

mod ceiling;
mod loan;
mod names;

use std::fmt;
use std::sync::OnceLock;

use crate::base::error::{ErrorKind, Fault, LimitInfo, Result};
use crate::base::fork;
use crate::base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak};
use crate::memory::guard::Guard;
use crate::memory::tier::Tier;

pub(crate) use loan::Loan;

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

    /// Reserves, and returns what is in use then. The order is that of [`Draw`].
    #[inline]
    fn add_within(&self, amount: u64, limit: u64) -> Result<u64, Fault> {
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
            self.sub(amount);
        }
    }

    /// Releases, and returns what is in use then.
    #[inline]
    fn sub(&self, amount: u64) -> u64 {
        let before = self.used.fetch_sub(amount, Ordering::Relaxed);
        debug_assert!(before >= amount, "released {amount} of {before}");
        before.wrapping_sub(amount)
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
        write!(
            f,
            "{} of {} (peak {})",
            self.used(),
            self.limit(),
            self.peak()
        )
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
#[derive(Clone)]
pub struct Budget(Arc<Shares>);

struct Shares {
    /// Its limit is less than the budget's by what is kept back.
    ledger: Ledger,
    kept: loan::Kept,
    names: names::Names,
    /// The machine, for budgets that are shares of it.
    machine: Option<Draw>,
    caches: Mutex<Vec<Weak<dyn GivesWay>>>,
    /// Set after `tier`; see [`crate::memory::shared::Views`].
    has_tier: AtomicBool,
    tier: OnceLock<(Arc<dyn Tier>, u32)>,
}

/// What a budget has drawn from the machine: never less than it uses, and a little in advance, so
/// that most reservations look at one counter only.
///
/// Whoever reserves changes `used` and then looks at `drawn`; whoever gives back changes `drawn`
/// and then looks at `used`: one of both sees the other.
struct Draw {
    machine: Arc<Ledger>,
    drawn: AtomicU64,
    /// Held while `drawn` changes.
    gate: Mutex<()>,
}

impl Draw {
    /// What is drawn at once, in bytes; at most three times this much lies idle.
    const STEP: u64 = 256 << 10;

    /// Follows a reservation, after which `used` bytes are in use.
    #[inline]
    fn follow(&self, used: u64) -> Result<(), Fault> {
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
    fn give_back(&self, used: u64, ledger: &Ledger) {
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
        if ledger.used.load(Ordering::SeqCst) > kept {
            // Somebody reserved meanwhile and may have seen what was drawn before.
            self.drawn.store(drawn, Ordering::SeqCst);
        } else {
            self.machine.release(drawn - kept);
        }
    }
}

/// Memory that is given back as soon as something else needs it.
///
/// Called with locks of nodes and directories held: an implementation may take
/// only locks under which nothing is reserved and nothing else is locked.
pub(crate) trait GivesWay: Send + Sync {
    /// Gives everything back; returns how many bytes that were.
    fn give_way(&self) -> u64;
}

/// A budget that the holder does not keep alive.
#[derive(Clone)]
pub(crate) struct WeakBudget(Weak<Shares>);

impl WeakBudget {
    pub(crate) fn upgrade(&self) -> Option<Budget> {
        self.0.upgrade().map(Budget)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({:?})", self.0.ledger)
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self::build(limit, None)
    }

    /// A budget of `limit` bytes that draws on the machine's as well.
    pub(crate) fn within(limit: u64, machine: &Arc<Ledger>) -> Self {
        let draw = Draw {
            machine: machine.clone(),
            drawn: AtomicU64::new(0),
            gate: Mutex::new(()),
        };
        Self::build(limit, Some(draw))
    }

    fn build(limit: u64, machine: Option<Draw>) -> Self {
        ceiling::raise(limit);
        Budget(Arc::new(Shares {
            ledger: Ledger::new(limit, ErrorKind::MemoryLimit),
            kept: loan::Kept::default(),
            names: names::Names::default(),
            machine,
            caches: Mutex::new(Vec::new()),
            has_tier: AtomicBool::new(false),
            tier: OnceLock::new(),
        }))
    }

    pub(crate) fn downgrade(&self) -> WeakBudget {
        WeakBudget(Arc::downgrade(&self.0))
    }

    /// Bytes that are free.
    pub(crate) fn spare(&self) -> u64 {
        self.usable().saturating_sub(self.used())
    }

    /// Resident bytes charged now.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.ledger.used()
    }

    /// The most that was ever charged.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.0.ledger.peak()
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit()
    }

    /// Changes the limit.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if more than `limit` is in use; the limit stays.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        let before = self.limit();
        self.0
            .ledger
            .set_limit(limit.saturating_sub(self.0.kept.bytes()))
            .map_err(|fault| fault.during("set the memory limit"))?;
        ceiling::raise(limit);
        ceiling::lower(before);
        Ok(())
    }

    /// Gives the budget a cold tier, for good; `false` if it has one.
    #[doc(hidden)]
    #[must_use]
    pub fn install_tier(&self, tier: Arc<dyn Tier>) -> bool {
        let is_first = self.0.tier.set((tier, fork::generation())).is_ok();
        self.0.has_tier.store(true, Ordering::SeqCst);
        is_first
    }

    /// Whether content can go cold.
    #[inline]
    pub(crate) fn has_tier(&self) -> bool {
        self.0.has_tier.load(Ordering::SeqCst)
    }

    /// The cold tier. A forked child has none: what it inherits it leaves alone.
    #[inline]
    pub(crate) fn tier(&self) -> Option<&dyn Tier> {
        if !self.has_tier() {
            return None;
        }
        let (tier, born) = self.0.tier.get()?;
        (*born == fork::generation()).then_some(&**tier)
    }

    /// The cold tier, if units are to be tracked now.
    #[inline]
    pub(crate) fn active_tier(&self) -> Option<&dyn Tier> {
        self.tier().filter(|tier| tier.is_active())
    }

    /// Reserves memory; caches give way if there is not enough.
    #[inline]
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), Fault> {
        match self.reserve_spare(bytes) {
            Ok(()) => Ok(()),
            Err(fault) => self.reserve_hard(bytes, fault, true),
        }
    }

    /// Reserves memory for something that can be done without.
    #[inline]
    pub(crate) fn reserve_spare(&self, bytes: u64) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        self.reserve_within(bytes, self.usable())
    }

    #[inline]
    fn reserve_within(&self, bytes: u64, limit: u64) -> Result<(), Fault> {
        let used = self.0.ledger.add_within(bytes, limit)?;
        match &self.0.machine {
            None => Ok(()),
            Some(draw) => draw
                .follow(used)
                .inspect_err(|_| self.0.ledger.release(bytes)),
        }
    }

    #[cold]
    fn reserve_hard(&self, bytes: u64, fault: Fault, may_borrow: bool) -> Result<(), Fault> {
        let caches: Vec<_> = self.0.caches.lock().clone();
        let mut freed = 0;
        for cache in caches.iter().filter_map(Weak::upgrade) {
            freed += cache.give_way();
        }
        if freed > 0 && self.reserve_spare(bytes).is_ok() {
            return Ok(());
        }
        match may_borrow && self.is_lent_to_caller() {
            true => self.reserve_within(bytes, self.limit()),
            false => Err(fault),
        }
    }

    /// Registers memory that gives way when the limit is reached.
    pub(crate) fn register(&self, cache: Weak<dyn GivesWay>) {
        let mut caches = self.0.caches.lock();
        caches.retain(|known| known.strong_count() > 0);
        caches.push(cache);
    }

    #[inline]
    pub(crate) fn release(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let used = self.0.ledger.sub(bytes);
        if let Some(draw) = &self.0.machine {
            draw.give_back(used, &self.0.ledger);
        }
    }
}

impl Shares {
    fn limit(&self) -> u64 {
        self.ledger.limit().saturating_add(self.kept.bytes())
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        if let Some(draw) = &mut self.machine {
            draw.machine.release(*draw.drawn.get_mut());
        }
        ceiling::lower(self.limit());
    }
}

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
