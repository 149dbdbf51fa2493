//! Memory limits that filesystems share, and what gives way when one is reached.
//!
//! Owns the numbers, never the memory.

mod ceiling;
mod loan;
mod names;

use std::fmt;
use std::sync::OnceLock;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::fork;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak};
use crate::memory::draw::Draw;
use crate::memory::ledger::{Ledger, UNLIMITED};
use crate::memory::tier::{Residents, Tier};

pub(crate) use loan::Loan;

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
    ledger: Ledger,
    kept: loan::Kept,
    names: names::Names,
    /// The machine, for budgets that are shares of it.
    machine: Option<Draw>,
    caches: Mutex<Vec<Weak<dyn GivesWay>>>,
    /// The limit as it was set: that of the ledger, what is put aside, and what is kept back.
    limit: AtomicU64,
    /// A part of the limit that nobody gets while the machine is short of memory, in bytes. Changes while
    /// `aside` is locked.
    withheld: AtomicU64,
    /// A part of the limit that is kept for the tier's buffers until they are needed, in bytes.
    aside: Mutex<u64>,
    /// The tier is told once when more than this is in use, in bytes.
    alarm: AtomicU64,
    /// The roots of the filesystems that draw on the budget.
    roots: Mutex<Vec<Weak<dyn Residents>>>,
    /// Set after `tier`, before there is a filesystem.
    has_tier: AtomicBool,
    /// The tier is told of every unit.
    is_tracking: AtomicBool,
    tier: OnceLock<Option<InstalledTier>>,
}

struct InstalledTier {
    tier: Arc<dyn Tier>,
    /// The process that it works in.
    born: u32,
}

/// A tier is told to get ready when so much of the limit is in use: one part in so many.
const ALARM_SHARE: u64 = 8;

/// Memory that is given back as soon as something else needs it.
///
/// Called with locks of nodes and directories held: an implementation may take
/// only locks under which nothing is reserved and nothing else is locked.
pub(crate) trait GivesWay: Send + Sync {
    /// Gives everything back; returns how many bytes that were.
    fn give_way(&self) -> u64;
}

/// A budget that the holder does not keep alive: what a tier knows of its own.
#[derive(Clone)]
pub struct WeakBudget(Weak<Shares>);

impl WeakBudget {
    /// The budget, if anybody still has it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Budget> {
        self.0.upgrade().map(Budget)
    }
}

impl fmt::Debug for WeakBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakBudget")
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
        Self::build(limit, Some(Draw::new(machine)))
    }

    fn build(limit: u64, machine: Option<Draw>) -> Self {
        ceiling::raise(limit);
        Budget(Arc::new(Shares {
            ledger: Ledger::new(limit, ErrorKind::MemoryLimit),
            kept: loan::Kept::default(),
            names: names::Names::default(),
            machine,
            caches: Mutex::new(Vec::new()),
            limit: AtomicU64::new(limit),
            withheld: AtomicU64::new(0),
            aside: Mutex::new(0),
            alarm: AtomicU64::new(UNLIMITED),
            roots: Mutex::new(Vec::new()),
            has_tier: AtomicBool::new(false),
            is_tracking: AtomicBool::new(false),
            tier: OnceLock::new(),
        }))
    }

    /// A reference that does not keep the budget alive.
    #[doc(hidden)]
    #[must_use]
    pub fn downgrade(&self) -> WeakBudget {
        WeakBudget(Arc::downgrade(&self.0))
    }

    /// Bytes that are free, here and on the machine that the budget draws on.
    pub(crate) fn spare(&self) -> u64 {
        let used = self.used();
        let own = self.usable().saturating_sub(used);
        let machine = self.0.machine.as_ref();
        own.min(machine.map_or(UNLIMITED, |draw| draw.spare(used)))
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
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Changes the limit. Content that is too much for a lower one is spilled first, if the
    /// filesystems spill.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if more than `limit` is in use and cannot be spilled; what the disk
    /// says if it takes no more. The limit stays.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        self.make_fit(limit)
            .map_err(|fault| fault.during("set the memory limit"))?;
        self.withhold(0);
        let aside = self.0.aside.lock();
        let before = self.limit();
        limit
            .checked_sub(*aside + self.0.kept.bytes())
            .ok_or_else(|| self.0.ledger.refusal(*aside, self.used(), limit))
            .and_then(|rest| self.0.ledger.set_limit(rest))
            .map_err(|fault| fault.during("set the memory limit"))?;
        self.0.limit.store(limit, Ordering::Relaxed);
        if self.0.alarm.load(Ordering::Relaxed) != UNLIMITED {
            let alarm = limit / ALARM_SHARE;
            self.0.alarm.store(alarm, Ordering::Relaxed);
        }
        if let Some(tier) = self.tier() {
            tier.limit_changed();
        }
        ceiling::raise(limit);
        ceiling::lower(before);
        Ok(())
    }

    /// Spills what would be too much under another limit.
    fn make_fit(&self, limit: u64) -> Result<(), Fault> {
        let usable = |aside: u64| limit.saturating_sub(self.0.kept.bytes() + aside);
        let aside = *self.0.aside.lock();
        match self.tier() {
            Some(tier) if self.used() > usable(aside) => {
                // Then nothing is put aside any more.
                self.wake_tier();
                tier.shrink(usable(0))
            }
            _ => Ok(()),
        }
    }

    /// Gives the budget a cold tier, for good; `false` if that was settled before, at the latest when
    /// the first filesystem was built.
    #[doc(hidden)]
    #[must_use]
    pub fn install_tier(&self, tier: Arc<dyn Tier>) -> bool {
        let is_active = tier.is_active();
        let born = fork::generation();
        if self.0.tier.set(Some(InstalledTier { tier, born })).is_err() {
            return false;
        }
        self.0.has_tier.store(true, Ordering::Release);
        let alarm = self.limit() / ALARM_SHARE;
        self.0.alarm.store(alarm, Ordering::Relaxed);
        if is_active {
            self.start_tracking();
        }
        true
    }

    /// Whether it is settled if the budget has a tier.
    pub(crate) fn is_tier_settled(&self) -> bool {
        self.0.tier.get().is_some()
    }

    /// Settles that the budget never has a tier; `false` if it has one.
    pub(crate) fn forbid_tier(&self) -> bool {
        self.0.tier.get_or_init(|| None).is_none()
    }

    /// As [`Budget::install_tier`], and keeps a part of the limit for it.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if more than the rest is in use, here or on the machine.
    pub(crate) fn install_frugal_tier(
        &self,
        tier: Arc<dyn Tier>,
        bytes: u64,
    ) -> Result<bool, Fault> {
        let mut aside = self.0.aside.lock();
        if self.0.tier.get().is_some() {
            return Ok(false);
        }
        self.put_aside(bytes)?;
        *aside = bytes;
        Ok(self.install_tier(tier))
    }

    fn put_aside(&self, bytes: u64) -> Result<(), Fault> {
        let Shares {
            ledger, machine, ..
        } = &*self.0;
        let limit = ledger.limit();
        let rest = limit
            .checked_sub(bytes)
            .ok_or_else(|| ledger.refusal(bytes, ledger.used(), limit))?;
        if let Some(draw) = machine {
            draw.machine.reserve(bytes)?;
        }
        ledger.set_limit(rest).inspect_err(|_| {
            if let Some(draw) = machine {
                draw.machine.release(bytes);
            }
        })
    }

    /// What nobody gets of the limit while the machine is short of memory, in bytes.
    pub(crate) fn withheld(&self) -> u64 {
        self.0.withheld.load(Ordering::Relaxed)
    }

    /// Sets [`Budget::withheld`]; more may be in use than is left then.
    pub(crate) fn withhold(&self, bytes: u64) {
        let _aside = self.0.aside.lock();
        let before = self.0.withheld.swap(bytes, Ordering::Relaxed);
        match bytes.checked_sub(before) {
            Some(more) => self.0.ledger.narrow(more),
            None => self.0.ledger.offer(before - bytes),
        }
    }

    /// Charges what was put aside; returns how much that was.
    pub(crate) fn claim_aside(&self) -> u64 {
        let mut aside = self.0.aside.lock();
        let bytes = std::mem::take(&mut *aside);
        if let Some(draw) = &self.0.machine {
            draw.take_over(bytes);
        }
        self.0.ledger.widen(bytes);
        bytes
    }

    /// The opposite of [`Budget::claim_aside`], if the tier's `charged` bytes are all that is in use:
    /// `aside` bytes are put aside and nothing is tracked. Whether that was so.
    pub(crate) fn lay_aside_again(&self, charged: u64, bytes: u64) -> bool {
        let mut aside = self.0.aside.lock();
        let Shares {
            ledger, machine, ..
        } = &*self.0;
        if !ledger.narrow_if_used(bytes, charged) {
            return false;
        }
        if let Some(draw) = machine {
            draw.hand_over(bytes);
        }
        *aside = bytes;
        self.0.is_tracking.store(false, Ordering::Release);
        let alarm = self.limit() / ALARM_SHARE;
        self.0.alarm.store(alarm, Ordering::Relaxed);
        true
    }

    /// Whether so much is in use that the tier should be ready. If not, it is told again when it is.
    pub(crate) fn is_tier_due(&self) -> bool {
        let level = self.limit() / ALARM_SHARE;
        if self.used() > level {
            return true;
        }
        self.0.alarm.store(level, Ordering::Relaxed);
        // Somebody may have passed it just before that.
        self.used() > level
    }

    /// From now on the tier is told of every unit.
    pub(crate) fn start_tracking(&self) {
        self.0.is_tracking.store(true, Ordering::Release);
    }

    /// Notes a filesystem that draws on the budget.
    pub(crate) fn add_root(&self, root: Weak<dyn Residents>) {
        let mut roots = self.0.roots.lock();
        roots.retain(|known| known.strong_count() > 0);
        roots.push(root);
    }

    /// The roots of all filesystems that draw on the budget.
    pub(crate) fn roots(&self) -> Vec<Arc<dyn Residents>> {
        let roots = self.0.roots.lock();
        roots.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether content can go cold.
    #[inline]
    pub(crate) fn has_tier(&self) -> bool {
        self.0.has_tier.load(Ordering::Acquire)
    }

    /// The cold tier. A forked child has none: what it inherits it leaves alone.
    #[inline]
    pub(crate) fn tier(&self) -> Option<&dyn Tier> {
        if !self.has_tier() {
            return None;
        }
        let installed = self.0.tier.get()?.as_ref()?;
        (installed.born == fork::generation()).then_some(&*installed.tier)
    }

    /// The cold tier, if units are to be tracked now.
    #[inline]
    pub(crate) fn active_tier(&self) -> Option<&dyn Tier> {
        if !self.is_tracking() {
            return None;
        }
        self.tier()
    }

    /// Makes the tier track units at once, for content that could not be in memory as a whole; whether
    /// there is one.
    pub(crate) fn wake_tier(&self) -> bool {
        let Some(tier) = self.tier() else {
            return false;
        };
        if !self.is_tracking() {
            tier.wake();
        }
        true
    }

    /// Whether the tier is told of every unit.
    #[inline]
    pub(crate) fn is_tracking(&self) -> bool {
        self.0.is_tracking.load(Ordering::Acquire)
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
        if used > self.0.alarm.load(Ordering::Relaxed) {
            self.alert();
        }
        match &self.0.machine {
            None => Ok(()),
            Some(draw) => draw
                .follow(used)
                .inspect_err(|_| self.0.ledger.release(bytes)),
        }
    }

    #[cold]
    fn alert(&self) {
        let was_set = self.0.alarm.swap(UNLIMITED, Ordering::Relaxed) != UNLIMITED;
        if let (true, Some(tier)) = (was_set, self.tier()) {
            tier.prepare();
        }
    }

    #[cold]
    fn reserve_hard(&self, bytes: u64, fault: Fault, may_borrow: bool) -> Result<(), Fault> {
        if self.empty_caches() > 0 && self.reserve_spare(bytes).is_ok() {
            return Ok(());
        }
        match may_borrow && self.is_lent_to_caller() {
            true => self.reserve_within(bytes, self.limit()),
            false => Err(fault),
        }
    }

    /// Lets all caches give way; returns how many bytes that frees.
    pub(crate) fn empty_caches(&self) -> u64 {
        let caches: Vec<_> = self.0.caches.lock().clone();
        let alive = caches.iter().filter_map(Weak::upgrade);
        alive.map(|cache| cache.give_way()).sum()
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

impl Drop for Shares {
    fn drop(&mut self) {
        if let Some(draw) = &mut self.machine {
            draw.end(*self.aside.get_mut());
        }
        ceiling::lower(*self.limit.get_mut());
    }
}
