//! What changed since the last commit of a persistent filesystem, and the gate that makes a commit
//! see no operation half done.
//!
//! Whoever changes a node passes the gate before the first lock of a node and leaves it after the
//! last one. A commit closes the gate, so what it finds is the outcome of whole operations:
//! everything that was changed before, and nothing of what comes after.
//!
//! Names are noted as the records that a journal keeps, in the order of the changes of each
//! directory. Nodes are noted once, by reference; what they are is looked at when the gate is
//! closed. Knows nothing of disks.

mod closed;
mod owed;
#[cfg(all(test, feature = "shuttle"))]
mod schedules;

use std::fmt;
use std::mem;
use std::sync::OnceLock;
use std::time::Duration;

use crate::base::error::{ErrorKind, Fault};
use crate::base::long_wait::certain_wait;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::base::sync::{Arc, Mutex, Weak, nap};
use crate::journal::{Group, Record};
use crate::namespace::gate::{self, Alone, Gate, Pass};
use crate::namespace::inode::Inode;
use crate::namespace::volume::ROOT;

use closed::Closed;
pub(crate) use owed::CHANGE;
use owed::Owed;

/// Threads that change different directories note it in different shards.
const SHARDS: u64 = 16;
/// What a node that was noted counts for, beside its content, in bytes.
const NODE_BYTES: u64 = 256;
/// What a record of a name takes beside it, or one that says that a node is no more, in bytes.
const NAME_BYTES: u64 = 32;
/// More than this is enough for a commit, in bytes: the disk works on it while the next is made.
const DUE_MAX: u64 = 8 << 20;
/// How long a thread that waits for a commit sleeps between two looks.
const NAP: Duration = Duration::from_millis(1);

/// Whoever makes changes durable.
pub(crate) trait Commits: Send + Sync {
    /// Asks for a commit, and returns at once. False if none will succeed for now.
    fn call(&self) -> bool;

    /// Makes everything durable that was done before.
    fn commit(&self) -> Result<(), Fault>;

    /// Fails if nothing may be changed: for ever, or because the disk is full and, as `is_full` says, so is memory.
    fn check(&self, is_full: bool) -> Result<(), Fault>;

    /// Finds space of the disk, so that `cost` bytes more have room beside all that waits.
    fn make_room(&self, cost: u64) -> Result<(), Fault>;

    /// Takes in what others did with a file of the host that a node mirrors.
    ///
    /// # Errors
    /// `fault` where that is not to be.
    fn reload(&self, _node: &Arc<Inode>, fault: Fault) -> Result<(), Fault> {
        Err(fault)
    }

    /// Whether each call is to be durable when it returns.
    fn is_each_call_durable(&self) -> bool;
}

#[derive(Default)]
struct Shard {
    names: Group,
    nodes: Vec<Weak<Inode>>,
    gone: Vec<u64>,
    /// Files with much content that is to be written ahead.
    ahead: Vec<Weak<Inode>>,
}

/// Everything that changed between two commits.
#[derive(Default)]
pub(crate) struct Batch {
    /// Records of names, in the order of the changes of each directory.
    pub(crate) names: Group,
    /// Nodes that were changed or named; one may be there twice.
    pub(crate) nodes: Vec<Weak<Inode>>,
    /// Numbers of nodes that are no more.
    pub(crate) gone: Vec<u64>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.nodes.is_empty() && self.gone.is_empty()
    }
}

/// See the module's documentation.
pub(crate) struct Changes {
    gate: Gate,
    shards: [Mutex<Shard>; SHARDS as usize],
    /// What the next commit has to write, in bytes, about.
    pending: AtomicU64,
    /// So much may wait for a commit.
    pending_max: u64,
    owed: Owed,
    commits: OnceLock<Weak<dyn Commits>>,
    /// Files that may not have the accesses any more that their records say. No commit is due for that.
    pub(crate) cooled: Mutex<Vec<Weak<Inode>>>,
    /// Nothing is noted any more.
    is_over: AtomicBool,
    /// A name in the root that nobody may use.
    reserved: Option<&'static [u8]>,
    /// No node can get a second name.
    has_no_links: bool,
    /// Nothing changes any more.
    is_frozen: bool,
}

impl Changes {
    /// Nothing changed so far. About `pending_max` bytes may wait for a commit.
    pub(crate) fn new(pending_max: u64) -> Self {
        Changes {
            gate: Gate::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
            pending: AtomicU64::new(0),
            pending_max,
            owed: Owed::new(),
            commits: OnceLock::new(),
            cooled: Mutex::default(),
            is_over: AtomicBool::new(false),
            reserved: None,
            has_no_links: false,
            is_frozen: false,
        }
    }

    /// Those of a filesystem that never changes.
    pub(crate) fn none() -> Self {
        Changes {
            is_over: AtomicBool::new(true),
            is_frozen: true,
            ..Self::new(u64::MAX)
        }
    }

    /// The same, for a medium on which no node can have two names.
    pub(crate) fn without_links(self, has_no_links: bool) -> Self {
        Changes {
            has_no_links,
            ..self
        }
    }

    /// Fails where no node can get a second name.
    pub(crate) fn check_link(&self) -> Result<(), Fault> {
        if self.has_no_links {
            let text = "the host's filesystem, which is mirrored, has no hard links";
            return Err(Fault::text(ErrorKind::NotPermitted, text));
        }
        Ok(())
    }

    /// The same, with a name in the root that nothing can get.
    pub(crate) fn reserving(self, reserved: Option<&'static [u8]>) -> Self {
        Changes { reserved, ..self }
    }

    /// Fails for a name in the root that is reserved.
    pub(crate) fn check_name(&self, directory: u64, name: &[u8]) -> Result<(), Fault> {
        if directory == ROOT && self.reserved == Some(name) {
            let text = "the name is that of the directory for side data";
            return Err(Fault::text(ErrorKind::NotPermitted, text));
        }
        Ok(())
    }

    /// Takes in what others did with a file of the host that a node mirrors.
    ///
    /// # Errors
    /// `fault` where that is not to be; those of a commit.
    pub(crate) fn reload(&self, node: &Arc<Inode>, fault: Fault) -> Result<(), Fault> {
        match self.commits() {
            Some(commits) => commits.reload(node, fault),
            None => Err(fault),
        }
    }

    /// Says who commits. Before that nobody waits for a commit.
    pub(crate) fn attach(&self, commits: Weak<dyn Commits>) {
        // The first one stays: a filesystem has one committer.
        self.commits.get_or_init(|| commits);
    }

    fn commits(&self) -> Option<Arc<dyn Commits>> {
        self.commits.get()?.upgrade()
    }

    /// Fails if nothing may be changed.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Fault> {
        match self.commits() {
            // Within the gate nobody can wait for a commit.
            Some(commits) => commits.check(self.is_full() && gate::depth() == 0),
            None if self.is_frozen => Err(ErrorKind::ReadOnly.into()),
            // A handle that outlived the filesystem: nobody would keep what it changes.
            None if self.is_over.load(Ordering::Acquire) => Err(ErrorKind::Closed.into()),
            None => Ok(()),
        }
    }

    /// As [`Changes::check`], for so many changes without content: fails too if the disk has no room for them.
    #[inline]
    pub(crate) fn check_changes(&self, count: usize) -> Result<(), Fault> {
        self.check()?;
        let cost = CHANGE.saturating_mul(count as u64);
        match self.has_room(cost) || gate::depth() > 0 {
            true => Ok(()),
            false => self.make_room(cost),
        }
    }

    /// Fails if nothing may be removed. Where only space is missing everything may: that is what gives it back.
    #[inline]
    pub(crate) fn check_removal(&self) -> Result<(), Fault> {
        let Some(commits) = self.commits() else {
            return self.check();
        };
        commits.check(false)?;
        if !self.has_room(CHANGE) && gate::depth() == 0 {
            // Little by little, so that it needs little space itself. What is in the way does not stop it.
            let _ = certain_wait(|| commits.make_room(CHANGE));
        }
        Ok(())
    }

    /// Waits until there is room for so much more.
    #[cold]
    pub(crate) fn make_room(&self, cost: u64) -> Result<(), Fault> {
        match self.commits() {
            Some(commits) => certain_wait(|| commits.make_room(cost)),
            None => self.check(),
        }
    }

    /// Has so much wait for a commit, on the disk, if there is room. Within the gate. Where the thread was within it
    /// before it cannot be refused any more, and was asked about then.
    #[inline]
    pub(crate) fn try_owe(&self, cost: u64) -> bool {
        if gate::depth() > 1 {
            self.owe(cost);
            return true;
        }
        let is_owed = self.owed.try_add(cost);
        if is_owed {
            self.look_ahead(cost);
        }
        is_owed
    }

    /// Whether there is room for so much more.
    pub(crate) fn has_room(&self, cost: u64) -> bool {
        self.owed.has_room(cost)
    }

    /// As [`Changes::try_owe`], for what is little and cannot be refused.
    #[inline]
    pub(crate) fn owe(&self, cost: u64) {
        self.owed.add(cost);
        self.look_ahead(cost);
    }

    /// Calls for more room before there is none.
    #[inline]
    fn look_ahead(&self, cost: u64) {
        let (waiting, due) = (self.owed.waiting(), self.owed.room() / 4 * 3);
        if waiting >= due
            && waiting - due < cost
            && let Some(commits) = self.commits()
        {
            commits.call();
        }
    }

    /// What so much content takes on the disk, at the most.
    #[inline]
    pub(crate) fn on_disk(&self, content: u64) -> u64 {
        self.owed.on_disk(content)
    }

    /// The commit to come, for those who mark what counted for it. Within the gate.
    pub(crate) fn epoch(&self) -> u32 {
        self.owed.epoch()
    }

    /// What waits for a commit and is in the hand of one, on the disk.
    pub(crate) fn owed(&self) -> u64 {
        self.owed.total()
    }

    /// What waits for a commit and is in the hand of none.
    pub(crate) fn waiting(&self) -> u64 {
        self.owed.waiting()
    }

    /// The space that is kept for that.
    pub(crate) fn room(&self) -> u64 {
        self.owed.room()
    }

    /// Says how much space is kept; not less than was promised to what waits.
    pub(crate) fn set_room(&self, room: u64) {
        self.owed.set_room(room);
    }

    /// Says what bytes of content take on the disk, in 1024ths.
    pub(crate) fn set_share(&self, share: u64) {
        self.owed.set_share(share);
    }

    /// Takes so much of the space that is kept, if nothing needs it.
    pub(crate) fn withdraw(&self, bytes: u64) -> bool {
        self.owed.withdraw(bytes)
    }

    /// What was taken last is durable.
    pub(crate) fn settle_owed(&self) {
        self.owed.settle();
    }

    /// Makes everything durable that was done before.
    pub(crate) fn commit(&self) -> Result<(), Fault> {
        match self.commits() {
            Some(commits) => commits.commit(),
            None => Err(ErrorKind::Closed.into()),
        }
    }

    /// To be called at the end of every call that may have changed something: makes it durable, if that is due by then.
    pub(crate) fn settle<R>(&self, done: Result<R, Fault>) -> Result<R, Fault> {
        if gate::take_changed()
            && done.is_ok()
            && let Some(commits) = self.commits()
            && commits.is_each_call_durable()
        {
            certain_wait(|| commits.commit())?;
        }
        done
    }

    /// Whether nothing ever changes.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// From now on nothing is noted.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    fn shard(&self, number: u64) -> &Mutex<Shard> {
        &self.shards[(number % SHARDS) as usize]
    }

    /// Passes the gate, unless the thread is within it. To be called with no lock of a node held that
    /// was taken otherwise.
    pub(crate) fn enter(&self) -> Pass<'_> {
        self.gate.enter(|| {
            if self.is_full() {
                self.wait_for_commit();
            }
        })
    }

    /// What the next commit has to write, in bytes, about.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// About so many bytes may wait for a commit.
    pub(crate) fn pending_max(&self) -> u64 {
        self.pending_max
    }

    fn is_full(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.pending_max
    }

    /// Waits until less waits for a commit, or none will come.
    #[cold]
    fn wait_for_commit(&self) {
        let Some(commits) = self.commits() else {
            return;
        };
        certain_wait(|| {
            while self.is_full() && commits.call() {
                nap(NAP);
            }
        });
    }

    /// Notes that the next commit has so many bytes more to write.
    #[inline]
    pub(crate) fn note_pending(&self, bytes: u64) {
        let before = self.pending.fetch_add(bytes, Ordering::Relaxed);
        let due = self.due();
        if before < due
            && before.saturating_add(bytes) >= due
            && let Some(commits) = self.commits()
        {
            commits.call();
        }
    }

    /// Notes that so many bytes of what waits for a commit are written already.
    pub(crate) fn note_written(&self, bytes: u64) {
        let less = |pending: u64| Some(pending.saturating_sub(bytes));
        // There is always a number that is less.
        let _ = self
            .pending
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether so much waits for a commit that one is due.
    pub(crate) fn is_commit_due(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.due()
    }

    /// A commit is asked for when so much waits for it.
    #[inline]
    fn due(&self) -> u64 {
        (self.pending_max / 2).min(DUE_MAX)
    }

    /// Notes that there is content of this file to be written ahead. Its state is locked.
    pub(crate) fn note_ahead(&self, node: &Arc<Inode>) {
        if !self.is_over.load(Ordering::Acquire) {
            let mut shard = self.shard(node.number()).lock();
            shard.ahead.push(Arc::downgrade(node));
        }
    }

    /// The files that were noted for being written ahead since this was asked last.
    pub(crate) fn take_ahead(&self) -> Vec<Weak<Inode>> {
        let take = |shard: &Mutex<Shard>| mem::take(&mut shard.lock().ahead);
        self.shards.iter().flat_map(take).collect()
    }

    /// The nodes that were noted since this was asked last, or a commit took all. What has changed of them may be half
    /// of an operation.
    pub(crate) fn take_nodes(&self) -> Vec<Weak<Inode>> {
        let take = |shard: &Mutex<Shard>| mem::take(&mut shard.lock().nodes);
        self.shards.iter().flat_map(take).collect()
    }

    /// Notes a node. Its state is locked, within the gate.
    pub(crate) fn note_node(&self, node: &Arc<Inode>) {
        let mut shard = self.shard(node.number()).lock();
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        shard.nodes.push(Arc::downgrade(node));
        drop(shard);
        self.note_pending(NODE_BYTES);
    }

    /// Notes that a name leads to a node from now on, or to none. The directory is locked, within the gate.
    pub(crate) fn note_name(&self, directory: u64, name: &[u8], node: Option<&Arc<Inode>>) {
        let record = match node {
            Some(node) => Record::Entry {
                directory,
                name,
                child: node.number(),
            },
            None => Record::EntryGone { directory, name },
        };
        let mut shard = self.shard(directory).lock();
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        let noted = shard.names.push(&record);
        debug_assert!(noted.is_ok(), "a name of 1 to 255 bytes fits a record");
        drop(shard);
        self.owe(name.len() as u64 + NAME_BYTES);
        self.note_pending(name.len() as u64);
    }

    /// Notes that a node was dropped.
    pub(crate) fn note_gone(&self, number: u64) {
        if !self.is_over.load(Ordering::Acquire) {
            self.shard(number).lock().gone.push(number);
            self.owe(NAME_BYTES);
        }
    }

    /// As [`Changes::close`], by a thread that is to change something itself.
    pub(crate) fn close_for_change(&self) -> Alone<'_> {
        self.gate.close_for_change()
    }

    /// Closes the gate: returns when nobody is within it any more.
    pub(crate) fn close(&self) -> Closed<'_> {
        Closed {
            changes: self,
            _gate: self.gate.close(),
        }
    }

    /// Notes once more what a commit could not keep.
    pub(crate) fn put_back(&self, batch: Batch) {
        let _gate = self.gate.close();
        let Batch {
            mut names,
            mut nodes,
            mut gone,
        } = batch;
        // What was noted since, of any directory, comes behind.
        let mut add = |newer: &mut Shard| {
            names.append(&mem::take(&mut newer.names));
            nodes.append(&mut newer.nodes);
            gone.append(&mut newer.gone);
        };
        for shard in &self.shards[1..] {
            add(&mut shard.lock());
        }
        // Held until all is there: nodes that go, and times of accesses, are noted outside of the gate too.
        let mut first = self.shards[0].lock();
        add(&mut first);
        (first.names, first.nodes, first.gone) = (names, nodes, gone);
        drop(first);
        self.pending.store(self.pending_max, Ordering::Relaxed);
        self.owed.put_back();
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Changes({} bytes)", self.pending.load(Ordering::Relaxed))
    }
}
