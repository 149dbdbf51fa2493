//! Moves content between memory and the cold tier: the only module that sees both.
//!
//! One mover serves one budget, and so all filesystems that share it: they
//! compete in one queue. It knows files as [`Residents`] and never takes a lock of
//! theirs itself. What it owns: the policy with a [`Unit`] for each slot
//! (`books`), a [`Unit`] for each cold copy (`tickets`), the segment store, and the
//! thread that keeps memory free before somebody has to wait.
//!
//! | module | does |
//! |---|---|
//! | `reclaim` | memory → cold: batches of victims, direct and in the background |
//! | `fault_in` | cold → memory, or straight to a reader |
//! | `compact` | gives dead space of the store back |
//! | `write_through` | new content → cold at once, where nothing else can go |
//!
//! Lock order: `staging`, which is held while a batch is written; then locks of
//! files, inside of [`Residents`]; then `books`, `tickets` and `kin`, which are leaves.

mod books;
mod compact;
mod fault_in;
mod kin;
mod reclaim;
mod settings;
mod stats;
mod tickets;
mod watch;
mod write_through;

use std::fmt;

use crate::base::error::Fault;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak};
use crate::cold::segment::{Extent, Id, Store};
use crate::memory::budget::{Budget, WeakBudget};
use crate::memory::tier::{Cold, Identity, Location, Residents, Slot, Tier, TierStats, Unit};
use crate::policy::Hits;

pub(crate) use settings::{SpillPlace, TierSettings};

use books::Books;
use kin::Kin;
use reclaim::Staging;
use stats::Counters;
use tickets::{Ticket, Tickets};
use watch::Watch;
use write_through::Lent;

/// So many units come between two looks at the high mark, about.
const WATCH_EVERY: u32 = 8;

/// See the module's documentation.
pub(crate) struct Mover {
    settings: TierSettings,
    budget: WeakBudget,
    active: AtomicBool,
    /// Opened when the first victim is to be written.
    store: Mutex<Option<Arc<Store>>>,
    books: Mutex<Books>,
    hits: Hits,
    tickets: Mutex<Tickets>,
    kin: Mutex<Kin>,
    /// Held by whoever evicts.
    staging: Mutex<Staging>,
    /// What buffers and tables of the tier are charged, in bytes.
    charged: AtomicU64,
    counters: Counters,
    watch: Watch,
    lent: Lent,
    /// Until when it is in vain to look for victims, in nanoseconds of the monotonic clock.
    stuck_until: AtomicU64,
}

impl Mover {
    /// A mover for a budget. Touches no disk.
    pub(crate) fn new(settings: TierSettings, budget: &Budget) -> Arc<Self> {
        let books = Books::new(&settings, budget.limit());
        let hits = books.hits();
        let mover = Arc::new(Mover {
            settings,
            budget: budget.downgrade(),
            active: AtomicBool::new(false),
            store: Mutex::new(None),
            books: Mutex::new(books),
            hits,
            tickets: Mutex::new(Tickets::default()),
            kin: Mutex::default(),
            staging: Mutex::new(Staging::default()),
            charged: AtomicU64::new(0),
            counters: Counters::default(),
            watch: Watch::default(),
            lent: Lent::default(),
            stuck_until: AtomicU64::new(0),
        });
        mover.watch.attach(&mover);
        mover
    }

    /// Pays for the buffers, which are needed when there is no memory left, and tracks units from
    /// now on.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) if the limit has no room for them.
    pub(crate) fn activate(&self, budget: &Budget) -> Result<(), Fault> {
        let fixed = Staging::BYTES + self.settings.store_bytes(budget.limit());
        budget.reserve(fixed)?;
        self.charged.fetch_add(fixed, Ordering::Relaxed);
        budget.keep_back(write_through::kept(budget.limit().saturating_sub(fixed)));
        self.active.store(true, Ordering::Relaxed);
        self.settle_charge();
        Ok(())
    }

    /// The store, opened at the first call.
    ///
    /// # Errors
    /// There is no directory to spill to, or the disk limit is too small.
    fn store(&self) -> Result<Arc<Store>, Fault> {
        let mut store = self.store.lock();
        if let Some(store) = &*store {
            return Ok(store.clone());
        }
        let budget = self.budget.upgrade();
        let limit = budget.as_ref().map_or(u64::MAX, Budget::limit);
        let opened = Arc::new(self.settings.open_store(limit)?);
        *store = Some(opened.clone());
        Ok(opened)
    }

    fn opened(&self) -> Option<Arc<Store>> {
        self.store.lock().clone()
    }

    /// Lets the charge follow what tables and buffers take, as far as there is room.
    fn settle_charge(&self) {
        let Some(budget) = self.budget.upgrade() else {
            return;
        };
        let fixed = Staging::BYTES + self.settings.store_bytes(budget.limit());
        let index = self.opened().map_or(0, |store| store.footprint().index);
        let tables = self.books.lock().footprint() + self.tickets.lock().footprint();
        let wanted = fixed + index + tables + self.kin.lock().footprint();
        let charged = self.charged.load(Ordering::Relaxed);
        if wanted > charged {
            if budget.reserve_spare(wanted - charged).is_ok() {
                self.charged.fetch_add(wanted - charged, Ordering::Relaxed);
            }
        } else {
            self.charged.fetch_sub(charged - wanted, Ordering::Relaxed);
            budget.release(charged - wanted);
        }
    }

    fn note_copied(&self, from: &Arc<dyn Residents>, to: &Arc<dyn Residents>) {
        let is_due = {
            let mut kin = self.kin.lock();
            kin.note(&Arc::downgrade(from), &Arc::downgrade(to));
            kin.is_due()
        };
        if is_due {
            // What is no more by now gets no new units.
            let mut dead = self.kin.lock().dead();
            let mut keep = |file: &Weak<dyn Residents>| {
                dead.remove(&kin::address(file));
            };
            self.books.lock().each_holder(&mut keep);
            self.tickets.lock().each_holder(&mut keep);
            self.kin.lock().forget(&dead);
        }
    }

    /// The files that a unit may be found through, should its own have no part in it any more.
    fn kin_of(&self, unit: &Unit) -> Vec<Arc<dyn Residents>> {
        self.kin.lock().of(&unit.holder)
    }

    /// Gives a cold copy up that no file knows any more.
    fn forget_location(&self, location: Location) {
        let (ticket, extent) = split(location);
        self.tickets.lock().free(ticket);
        if let Some(store) = self.opened() {
            store.release(extent);
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.watch.detach();
        // A budget that is gone has given everything back.
        if let Some(budget) = self.budget.upgrade() {
            budget.release(*self.charged.get_mut());
        }
    }
}

impl fmt::Debug for Mover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mover({:?})", self.settings)
    }
}

/// A location is the extent, and the ticket that leads back to its unit.
fn location(ticket: Ticket, extent: Extent) -> Location {
    let [a, b, c] = extent.to_raw().map(u64::from);
    Location([a | b << 32, c | u64::from(ticket.0) << 32])
}

fn split(location: Location) -> (Ticket, Extent) {
    let Location([ab, ct]) = location;
    let extent = Extent::from_raw([ab as u32, (ab >> 32) as u32, ct as u32]);
    (Ticket((ct >> 32) as u32), extent)
}

/// How the store knows the bytes: it finds the unit again by the ticket.
fn id(identity: Identity, ticket: Ticket) -> Id {
    Id {
        inode: identity.owner,
        index: ticket.0,
        generation: identity.version,
    }
}

impl Tier for Mover {
    #[inline]
    fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    fn admit(&self, unit: Unit, identity: Identity, size: u32, priority: u8) -> Option<Slot> {
        let slot = self.books.lock().admit(unit, identity, size, priority);
        self.note_lent(slot, size);
        if slot.get().is_multiple_of(WATCH_EVERY) && self.is_above_high_mark() {
            self.watch.call();
        }
        Some(slot)
    }

    fn remove(&self, slot: Slot) {
        self.books.lock().remove(slot);
    }

    fn resize(&self, slot: Slot, size: u32) {
        self.books.lock().resize(slot, size);
    }

    #[inline]
    fn touch(&self, slot: Slot) {
        if let Some(slot) = books::policy_slot(slot) {
            self.hits.touch(slot);
        }
    }

    fn changed(&self, slot: Slot) {
        self.books.lock().set_clean(slot, false);
    }

    fn forget(&self, location: Location) {
        self.forget_location(location);
    }

    fn prioritize(&self, slot: Slot, priority: u8) {
        self.books.lock().prioritize(slot, priority);
    }

    fn owned(&self, slot: Slot, unit: Unit) {
        self.books.lock().owned(slot, unit);
    }

    fn owned_cold(&self, location: Location, unit: Unit) {
        let (ticket, _) = split(location);
        self.tickets.lock().owned(ticket, unit);
    }

    fn copied(&self, from: &Arc<dyn Residents>, to: &Arc<dyn Residents>) {
        self.note_copied(from, to);
    }

    fn fault_in(&self, holder: &Arc<dyn Residents>, index: u64) -> Result<(), Fault> {
        self.fault_in_unit(holder, index)
    }

    fn read_cold(
        &self,
        holder: &Arc<dyn Residents>,
        index: u64,
        cold: Cold,
        offset: usize,
        to: &mut [u8],
    ) -> Result<bool, Fault> {
        self.read_part(holder, index, cold, offset, to)
    }

    fn reclaim(&self, bytes: u64) -> Result<(), Fault> {
        self.make_room(bytes)
    }

    fn try_reclaim(&self, bytes: u64) -> Result<(), Fault> {
        self.try_make_room(bytes)
    }

    fn lend(&self) -> Result<(), Fault> {
        self.make_ready()
    }

    fn collect(&self) {
        self.collect_lent();
    }

    fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    fn stats(&self) -> TierStats {
        let store = self.opened().map(|store| store.stats());
        self.counters.snapshot(store, &self.tickets.lock())
    }
}
