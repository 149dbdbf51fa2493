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
//! | `gc` | memory → cold down to a target, because somebody says so |
//! | `preload` | cold → memory ahead of use, in the background |
//! | `copies` | keeps copies of what came back and was not changed |
//! | `compact` | gives dead space of the store back |
//! | `census` | takes in what was there before the tier was needed |
//! | `explain` | why a unit is where it is |
//! | `warm` | which files were accessed most |
//! | `kept` | a store that outlives the mover: what a commit and a recovery need of it |
//! | `moves` | compaction of such a store |
//! | `pressure` | gives memory up while the machine is short of it |
//! | `write_through` | new content → cold at once, where nothing else can go |
//!
//! Lock order: `staging`, which is held while a batch is written; then locks of
//! files, inside of [`Residents`]; then `books`, `tickets`, `streams` and `kin`, which are leaves.
//! `preloads` is taken with none of them held, and a task's own lock under it or alone.

mod audit;
mod books;
mod census;
mod compact;
mod copies;
mod explain;
mod fault_in;
mod gc;
pub(crate) mod kept;
mod kin;
mod moves;
mod preload;
mod pressure;
mod reclaim;
mod settings;
mod stats;
mod streams;
mod tickets;
mod warm;
mod watch;
mod write_through;

use std::fmt;

use crate::base::error::Fault;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak};
use crate::cold::segment::{Extent, Id, Store};
use crate::memory::budget::{Budget, WeakBudget};
use crate::memory::tier::{
    ColdPart, Identity, Location, Residents, Slot, Tier, TierStats, Unit, Worth,
};
use crate::policy::Hits;

pub use explain::SpillCause;
pub(crate) use explain::{Ranking, Spill};
pub use gc::{GcReport, Moved};
pub(crate) use moves::{Keeper, Moves};
pub use preload::{Preload, PreloadReport};
pub(crate) use preload::{Wish, preloaded};
pub(crate) use settings::{SpillPlace, TierSettings};
pub(crate) use warm::Warm;

use books::Books;
use census::Census;
use kin::Kin;
use moves::Kept;
use preload::Preloads;
use reclaim::Staging;
use stats::Counters;
use streams::Streams;
use tickets::{Ticket, Tickets};
use watch::Watch;
use write_through::Lent;

/// So many units come between two looks at the high mark, about.
const WATCH_EVERY: u32 = 8;

/// See the module's documentation.
pub(crate) struct Mover {
    settings: TierSettings,
    budget: WeakBudget,
    census: Census,
    naming: Naming,
    /// Opened when the first victim is to be written, if it was not there from the start.
    store: Mutex<Option<Arc<Store>>>,
    books: Mutex<Books>,
    hits: Hits,
    tickets: Mutex<Tickets>,
    streams: Mutex<Streams>,
    kin: Mutex<Kin>,
    /// Held by whoever evicts.
    staging: Mutex<Staging>,
    /// The memory limit when the mover was made, which the buffers suit, in bytes.
    limit_at_start: u64,
    /// What the buffers take once they are needed, in bytes.
    fixed: u64,
    /// What buffers and tables of the tier are charged, in bytes.
    charged: AtomicU64,
    /// What tables of whoever commits take, in bytes.
    tables_of_commits: AtomicU64,
    counters: Counters,
    preloads: Mutex<Preloads>,
    watch: Watch,
    lent: Lent,
    /// Until when it is in vain to look for victims, in nanoseconds of the monotonic clock.
    stuck_until: AtomicU64,
    /// Of a store that outlives the mover.
    kept: Kept,
}

impl Mover {
    /// Gives a budget a mover, if it was not settled before what it has. Takes no memory yet, what its
    /// buffers will need is put aside, and touches no disk but to look at a directory that the user named.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the limit has no room for
    /// buffers or the disk limit none for segments, [`ErrorKind::Io`](crate::ErrorKind::Io) if the named
    /// directory is none, [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) if the machine has none.
    pub(crate) fn install(settings: TierSettings, budget: &Budget) -> Result<(), Fault> {
        settings.check_limit(budget.limit())?;
        settings.check_disk(budget.limit())?;
        let mover = Mover::new(settings, budget, None, 0);
        let fixed = mover.fixed;
        // Whoever was faster has given the budget a tier as good as this one.
        if budget.install_frugal_tier(mover, fixed)? {
            budget.keep_back(write_through::kept(budget.limit().saturating_sub(fixed)));
        }
        Ok(())
    }

    /// A mover with so many `more` bytes of buffers than its own.
    fn new(
        settings: TierSettings,
        budget: &Budget,
        kept: Option<Arc<Store>>,
        more: u64,
    ) -> Arc<Self> {
        let books = Books::new(&settings, budget.limit());
        let hits = books.hits();
        let mover = Arc::new(Mover {
            limit_at_start: budget.limit(),
            fixed: settings.fixed_bytes(budget.limit()) + more,
            settings,
            budget: budget.downgrade(),
            census: Census::default(),
            naming: match kept {
                Some(_) => Naming::Lasting,
                None => Naming::Ticket,
            },
            store: Mutex::new(kept),
            books: Mutex::new(books),
            hits,
            tickets: Mutex::new(Tickets::default()),
            streams: Mutex::new(Streams::default()),
            kin: Mutex::default(),
            staging: Mutex::new(Staging::default()),
            charged: AtomicU64::new(0),
            tables_of_commits: AtomicU64::new(0),
            counters: Counters::default(),
            preloads: Mutex::default(),
            watch: Watch::default(),
            lent: Lent::default(),
            stuck_until: AtomicU64::new(0),
            kept: Kept::default(),
        });
        mover.watch.attach(&mover);
        mover
    }

    pub(crate) fn settings(&self) -> &TierSettings {
        &self.settings
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
        let opened = Arc::new(self.settings.open_store(self.limit_at_start)?);
        *store = Some(opened.clone());
        Ok(opened)
    }

    fn opened(&self) -> Option<Arc<Store>> {
        self.store.lock().clone()
    }

    /// Lets the charge follow what tables and buffers take, as far as there is room. Called by whoever
    /// evicts, so that nothing falls asleep meanwhile.
    fn settle_charge(&self) {
        let Some(budget) = self.budget.upgrade().filter(|_| self.is_awake()) else {
            return;
        };
        let index = self.opened().map_or(0, |store| store.footprint().index);
        let tables = self.books.lock().footprint() + self.tickets.lock().footprint();
        let commits = self.tables_of_commits.load(Ordering::Relaxed);
        let wanted = self.fixed + index + tables + self.kin.lock().footprint() + commits;
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
        self.preloads.get_mut().abandon();
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
    Location([a | b << 32, c | u64::from(ticket.number()) << 32])
}

fn split(location: Location) -> (Ticket, Extent) {
    let Location([ab, ct]) = location;
    let extent = Extent::from_raw([ab as u32, (ab >> 32) as u32, ct as u32]);
    (Ticket::new((ct >> 32) as u32), extent)
}

/// How the store knows the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// By the ticket, through which the unit is found again as long as the mover lives.
    Ticket,
    /// By what a later mover can know too.
    Lasting,
}

impl Naming {
    fn id(self, identity: Identity, ticket: Ticket) -> Id {
        Id {
            inode: identity.owner,
            index: match self {
                Naming::Ticket => ticket.number(),
                Naming::Lasting => kept::lasting_index(identity),
            },
            generation: identity.version,
        }
    }
}

impl Tier for Mover {
    fn is_active(&self) -> bool {
        false
    }

    fn prepare(&self) {
        self.watch.call();
    }

    fn wake(&self) {
        self.activate();
        // The walk that admits what is there.
        self.watch.call();
    }

    fn while_still(&self, work: &mut dyn FnMut()) {
        let _staging = self.staging.lock();
        work();
    }

    fn rest(&self) {
        if self.naming == Naming::Ticket {
            Mover::rest(self);
        }
    }

    fn admit(&self, unit: Unit, identity: Identity, size: u32, worth: Worth) -> Option<Slot> {
        let slot = self.books.lock().admit(unit, identity, size, worth);
        self.note_lent(slot, size);
        if slot.get().is_multiple_of(WATCH_EVERY) && self.is_above_high_mark() {
            self.watch.call();
        }
        Some(slot)
    }

    fn remove(&self, slot: Slot) {
        let copy = self.books.lock().remove(slot);
        self.drop_copy(copy);
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

    fn changed(&self, slot: Slot, identity: Identity) {
        self.compare_copy(slot, identity);
    }

    fn forget(&self, location: Location) {
        self.forget_location(location);
    }

    fn keep(&self, slot: Slot, identity: Identity, location: Location) {
        self.keep_copy(slot, identity, location);
    }

    fn prioritize(&self, slot: Slot, priority: u8) {
        self.books.lock().prioritize(slot, priority);
    }

    fn owned(&self, slot: Slot, unit: Unit) {
        let copy = self.books.lock().owned(slot, unit);
        self.drop_copy(copy);
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

    fn read_cold(&self, holder: &Arc<dyn Residents>, parts: &mut [ColdPart<'_>]) {
        self.read_parts(holder, parts);
    }

    fn reclaim(&self, bytes: u64) -> Result<(), Fault> {
        self.make_room(bytes)
    }

    fn shrink(&self, used: u64) -> Result<(), Fault> {
        self.shrink_to(used)
    }

    fn limit_changed(&self) {
        if let Some(budget) = self.budget.upgrade() {
            self.set_limits(&budget);
        }
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
