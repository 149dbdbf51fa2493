//! What all nodes of one filesystem share: counters, owners, extras, the path cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use crate::base::clock;
use crate::base::error::{ErrorKind, Fault};
use crate::base::fork;
use crate::base::operations::Operations;
use crate::base::stats::SpreadCounter;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};
use crate::memory::account::Account;
use crate::memory::budget::{Budget, GivesWay};
use crate::memory::content::Content;
use crate::memory::ledger::{Ledger, UNLIMITED};
use crate::memory::shared::Views;
use crate::namespace::cache::PathCache;
use crate::namespace::changes::Changes;
use crate::namespace::directory::{DIRECTORY_COST, Directory};
use crate::namespace::gate::{Alone, Latent, Pass};
use crate::namespace::inode::{
    Body, ContentStamp, FileType, INODE_COST, Inode, NOTED, PERMISSIONS, State,
};
use crate::namespace::log::Log;
use crate::namespace::times::{Times, Timestamp};
use crate::namespace::watch::Watches;

/// Extended attributes of one node.
type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What only few nodes have.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) xattrs: Xattrs,
    /// Access and modification time, where 64 bits of nanoseconds do not reach.
    pub(crate) far_times: [Option<Timestamp>; 2],
    charged: u64,
}

/// The number of nodes that only whoever makes them knows.
pub(crate) const HIDDEN: u64 = 0;
/// The root's inode number.
pub(crate) const ROOT: u64 = 1;

/// Fixed price of an entry in the table of extras, in bytes.
const EXTRA_COST: u64 = 160;
/// Price of one extended attribute beside its name and value, in bytes.
const XATTR_COST: u64 = 80;

impl Extra {
    fn footprint(&self) -> u64 {
        let names: usize = self.xattrs.keys().map(|name| name.len()).sum();
        let values: usize = self.xattrs.values().map(|value| value.len()).sum();
        let stored = (names + values) as u64;
        EXTRA_COST + stored + self.xattrs.len() as u64 * XATTR_COST
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.xattrs.is_empty() && self.far_times == [None, None]
    }

    /// Gives back what it is charged for.
    pub(crate) fn discard(self, budget: &Budget) {
        let charged = self.charged;
        drop(self);
        budget.release_name(charged);
    }
}

/// The extras of all nodes that have some, by inode number.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    table: Mutex<HashMap<u64, Extra>>,
}

impl Extras {
    pub(crate) fn read<R>(&self, number: u64, view: impl FnOnce(&Extra) -> R) -> Option<R> {
        self.table.lock().get(&number).map(view)
    }

    /// Changes a node's extras; `more` bytes are reserved beforehand. Returns whether any are left.
    pub(crate) fn change<R>(
        &self,
        number: u64,
        more: u64,
        budget: &Budget,
        change: impl FnOnce(&mut Extra) -> Result<R, Fault>,
    ) -> Result<(R, bool), Fault> {
        let more = more + EXTRA_COST + XATTR_COST;
        budget.reserve_name(more)?;
        let mut table = self.table.lock();
        let extra = table.entry(number).or_default();
        extra.charged += more;
        let result = change(extra);
        let left = !extra.is_empty();
        let footprint = if left { extra.footprint() } else { 0 };
        budget.release_name(extra.charged - footprint);
        extra.charged = footprint;
        if !left {
            table.remove(&number);
        }
        result.map(|value| (value, left))
    }

    /// A copy of what is kept of a node, charged already: to be [`put`](Extras::put) or [discarded](Extra::discard).
    pub(crate) fn copy(&self, number: u64, budget: &Budget) -> Result<Option<Extra>, Fault> {
        let copy = self.read(number, |extra| Extra {
            xattrs: extra.xattrs.clone(),
            far_times: extra.far_times,
            charged: extra.footprint(),
        });
        if let Some(copy) = &copy {
            budget.reserve_name(copy.charged)?;
        }
        Ok(copy)
    }

    /// Has this, which is charged, be all that is kept of a node.
    pub(crate) fn put(&self, number: u64, extra: Option<Extra>, budget: &Budget) {
        let mut table = self.table.lock();
        let before = match extra {
            Some(extra) => table.insert(number, extra),
            None => table.remove(&number),
        };
        drop(table);
        if let Some(before) = before {
            before.discard(budget);
        }
    }

    /// What is kept of a node, in bytes, about.
    pub(crate) fn footprint(&self, number: u64) -> u64 {
        self.read(number, Extra::footprint).unwrap_or(0)
    }

    /// Memory that all extras are charged for.
    pub(crate) fn charged(&self) -> u64 {
        let table = self.table.lock();
        table.values().map(|extra| extra.charged).sum()
    }

    pub(crate) fn forget(&self, number: u64, budget: &Budget) {
        self.put(number, None, budget);
    }
}

/// A volume that nobody else changes, until this is dropped.
pub(crate) struct Still<'a> {
    _alone: Alone<'a>,
    _moves: MutexGuard<'a, ()>,
}

impl GivesWay for Volume {
    fn give_way(&self) -> u64 {
        self.cache.clear()
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) account: Arc<Account>,
    /// Counts the nodes where their number is limited; the limit never changes.
    pub(crate) node_limit: Ledger,
    pub(crate) cache: PathCache,
    pub(crate) extras: Extras,
    /// Held while a directory moves, so that none can move into itself.
    pub(crate) moves: Mutex<()>,
    /// The first pair, which most nodes have, is `first_owner`.
    owners: RwLock<Vec<(u32, u32)>>,
    first_owner: (u32, u32),
    next_number: AtomicU64,
    counts: [AtomicU64; 3],
    pub(crate) umask: u32,
    /// The fork generation that the volume belongs to.
    pub(crate) born: u32,
    closed: AtomicBool,
    /// Handles that are open.
    pub(crate) handles: SpreadCounter,
    pub(crate) operations: Operations,
    /// Set before anybody else sees the volume, if at all.
    pub(crate) log: OnceLock<Log>,
    /// Views that are alive; they may outlive the volume.
    pub(crate) views: Arc<Views>,
    /// Of a persistent filesystem, and of one that never changes.
    pub(crate) changes: Option<Box<Changes>>,
    /// Who is told what happens.
    pub(crate) watches: Watches,
    /// What is passed where there are no `changes`.
    pub(crate) gate: Latent,
}

impl Volume {
    /// A volume and its root. The root is a node but its memory is the filesystem's own:
    /// an empty filesystem reads zero.
    pub(crate) fn new(
        account: Arc<Account>,
        max_nodes: u64,
        umask: u32,
        owner: (u32, u32),
        changes: Option<Box<Changes>>,
    ) -> Result<(Arc<Self>, Arc<Inode>), Fault> {
        let volume = Arc::new(Volume {
            cache: PathCache::new(account.budget.clone()),
            node_limit: Ledger::new(max_nodes, ErrorKind::NodeLimit),
            account,
            extras: Extras::default(),
            moves: Mutex::new(()),
            owners: RwLock::new(vec![owner]),
            first_owner: owner,
            next_number: AtomicU64::new(ROOT),
            counts: [const { AtomicU64::new(0) }; 3],
            umask,
            born: fork::generation(),
            closed: AtomicBool::new(false),
            handles: SpreadCounter::default(),
            operations: Operations::default(),
            log: OnceLock::new(),
            views: Arc::default(),
            changes,
            watches: Watches::default(),
            gate: Latent::default(),
        });
        let cache: Arc<dyn GivesWay> = volume.clone();
        volume.account.budget.register(Arc::downgrade(&cache));
        volume.reserve_count()?;
        let body = Body::Directory(Box::new(Directory::new(Weak::new())));
        let state = volume.state(body, 0o755, 0, 2, clock::wall_nanos());
        let root = volume.count_node(state);
        Ok((volume, root))
    }

    /// Passes the gate, if there is one.
    #[inline]
    pub(crate) fn pass(&self) -> Option<Pass<'_>> {
        match &self.changes {
            Some(changes) => Some(changes.enter()),
            None => self.gate.pass(),
        }
    }

    /// Closes the gate: from here on nobody else changes a name or the content of a file with one, and what is there is
    /// the outcome of whole calls. O(directories) the first time, of a filesystem that is not kept in a directory.
    pub(crate) fn close_gate(&self, root: &Arc<Inode>) -> Still<'_> {
        // First: who moves a directory passes the gate with this lock held.
        let moves = self.moves.lock();
        let alone = match &self.changes {
            Some(changes) => changes.close_for_change(),
            None => {
                if self.gate.want() {
                    wait_for_names(root);
                }
                self.gate.gate().close_for_change()
            }
        };
        Still {
            _alone: alone,
            _moves: moves,
        }
    }

    /// An empty volume that is charged where this one is and gives numbers on from here, and its root.
    ///
    /// # Errors
    /// [`NodeLimit`](ErrorKind::NodeLimit) if it may not even have a root.
    pub(crate) fn beside(
        &self,
        changes: Option<Box<Changes>>,
    ) -> Result<(Arc<Self>, Arc<Inode>), Fault> {
        let max_nodes = match &changes {
            // Nothing comes that could be too much.
            Some(_) => UNLIMITED,
            None => self.node_limit.limit(),
        };
        let account = self.account.clone();
        let made = Volume::new(account, max_nodes, self.umask, self.first_owner, changes)?;
        made.0.owners.write().clone_from(&self.owners.read());
        made.0.go_on_from(self.next_number());
        Ok(made)
    }

    fn state(&self, body: Body, mode: u32, owner: u16, links: u32, now: i64) -> State {
        let generation = match &body {
            Body::File(content) => u64::from(content.len() > 0),
            _ => 0,
        };
        State {
            body,
            times: Times::new(now),
            stamp: ContentStamp::new(generation),
            links,
            // Whoever links it notes it.
            mode: (mode as u16) & PERMISSIONS | if self.changes.is_some() { NOTED } else { 0 },
            owner,
        }
    }

    /// A new node, charged and counted, without a name yet.
    ///
    /// The memory of a file's content is paid for already; content counts as one write.
    pub(crate) fn new_node(
        self: &Arc<Self>,
        body: Body,
        mode: u32,
        now: i64,
    ) -> Result<Arc<Inode>, Fault> {
        if let Err(fault) = self.reserve_node(INODE_COST + body.node_cost()) {
            if let Body::File(content) = body {
                content.release(&self.account);
            }
            return Err(fault);
        }
        Ok(self.new_reserved_node(body, mode, now))
    }

    /// As [`Volume::new_node`], of a node that was reserved.
    pub(crate) fn new_reserved_node(
        self: &Arc<Self>,
        body: Body,
        mode: u32,
        now: i64,
    ) -> Arc<Inode> {
        let links = if let Body::Directory(_) = body { 2 } else { 1 };
        self.count_node(self.state(body, mode, 0, links, now))
    }

    /// Reserves a node for a file.
    pub(crate) fn reserve_file(&self) -> Result<(), Fault> {
        self.reserve_node(INODE_COST)
    }

    fn reserve_node(&self, cost: u64) -> Result<(), Fault> {
        self.reserve_count()?;
        self.account
            .budget
            .reserve_name(cost)
            .inspect_err(|_| self.release_count())
    }

    /// Without a limit the counts by kind are enough.
    #[inline]
    fn reserve_count(&self) -> Result<(), Fault> {
        if self.node_limit.limit() == UNLIMITED {
            return Ok(());
        }
        self.node_limit.reserve(1)
    }

    #[inline]
    fn release_count(&self) {
        if self.node_limit.limit() != UNLIMITED {
            self.node_limit.release(1);
        }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u64 {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.counts.iter().map(load).sum()
    }

    fn count_node(self: &Arc<Self>, state: State) -> Arc<Inode> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.counts[state.body.kind() as usize].fetch_add(1, Ordering::Relaxed);
        Inode::new(self, number, state)
    }

    /// The next new node has this number at least.
    pub(crate) fn go_on_from(&self, number: u64) {
        self.next_number.fetch_max(number, Ordering::Relaxed);
    }

    /// A number that no node had before.
    pub(crate) fn take_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// The smallest number that no node ever had.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.load(Ordering::Relaxed)
    }

    /// A node that was there before, with the number that it had and everything else as if it were new.
    pub(crate) fn restore_node(
        self: &Arc<Self>,
        body: Body,
        number: u64,
    ) -> Result<Arc<Inode>, Fault> {
        self.reserve_node(INODE_COST + body.node_cost())?;
        let links = if let Body::Directory(_) = body { 2 } else { 1 };
        let mut state = self.state(body, 0, 0, links, 0);
        state.mode &= !NOTED;
        self.counts[state.body.kind() as usize].fetch_add(1, Ordering::Relaxed);
        Ok(Inode::new(self, number, state))
    }

    /// A file to build content in that nobody finds and nobody counts, as content until it is done.
    pub(crate) fn hidden_node(self: &Arc<Self>) -> Result<Arc<Inode>, Fault> {
        self.account.budget.reserve(INODE_COST)?;
        let state = self.state(Body::File(Content::Empty), 0, 0, 0, clock::wall_nanos());
        Ok(Inode::new(self, HIDDEN, state))
    }

    /// The opposite of `new_node`, when a node is dropped.
    pub(crate) fn forget_node(&self, number: u64, kind: FileType, body_cost: u64) {
        if number == HIDDEN {
            return self.account.budget.release(INODE_COST);
        }
        let cost = if number == ROOT {
            body_cost - DIRECTORY_COST
        } else {
            body_cost + INODE_COST
        };
        self.account.budget.release_name(cost);
        self.release_count();
        self.counts[kind as usize].fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, kind: FileType) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// Fails once the filesystem is closed, and in a forked child.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.born != fork::generation() {
            return Err(ErrorKind::Forked.into());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(ErrorKind::Closed.into());
        }
        Ok(())
    }

    /// To be called at the end of every call that may have changed something.
    #[inline]
    pub(crate) fn settle<R>(&self, done: Result<R, Fault>) -> Result<R, Fault> {
        match &self.changes {
            Some(changes) => changes.settle(done),
            None => done,
        }
    }

    /// What a call is to be told that failed: closing empties the tree under whoever is on his way through
    /// it.
    #[cold]
    pub(crate) fn verdict(&self, fault: Fault) -> Fault {
        match fault.kind() {
            ErrorKind::NotFound if self.is_closed() => ErrorKind::Closed.into(),
            _ => fault,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Returns whether it was open until now.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// User and group behind a node's `owner`.
    pub(crate) fn owner(&self, place: u16) -> (u32, u32) {
        if place == 0 {
            return self.first_owner;
        }
        let owners = self.owners.read();
        owners
            .get(place as usize)
            .copied()
            .unwrap_or(self.first_owner)
    }

    /// The place of an owner in the table, which keeps every pair that was ever used.
    pub(crate) fn owner_place(&self, owner: (u32, u32)) -> Result<u16, Fault> {
        let find = |owners: &[(u32, u32)]| owners.iter().position(|known| *known == owner);
        if let Some(place) = find(&self.owners.read()) {
            return Ok(place as u16);
        }
        let mut owners = self.owners.write();
        if let Some(place) = find(&owners) {
            return Ok(place as u16);
        }
        let place = u16::try_from(owners.len()).map_err(|_| {
            Fault::text(
                ErrorKind::OutOfRange,
                "more than 65,536 different pairs of user and group",
            )
        })?;
        owners.push(owner);
        Ok(place)
    }
}

/// Waits for whoever changes names and passed no gate before: has the lock of each directory once.
fn wait_for_names(root: &Arc<Inode>) {
    let mut rest = vec![root.clone()];
    while let Some(directory) = rest.pop() {
        let state = directory.write_quietly();
        let names = state.directory().into_iter();
        let nodes = names.flat_map(|names| names.iter_from(0).map(|(_, node, _)| node));
        rest.extend(nodes.filter(|node| node.is_directory()).cloned());
    }
}
