//! The facade: one object for a whole filesystem.
//!
//! Adds to the layers below what a call needs as a whole: the check that the
//! filesystem may be used, the file lock, and the error that names operation
//! and path.
//!
//! Lock order, outermost first: file locks; `Volume::moves`; directories (an
//! ancestor before what is below it); the node that a name points to; the
//! tables of extras and owners; the shards of the path cache; the pool. A
//! thread that waits for a file lock holds none of the others.

mod attributes;
mod audit;
mod explain;
mod missing;
mod names;
mod node;
mod queue;
mod snapshots;
mod tiering;
mod transaction;
mod trees;
mod watching;
mod whole;

use std::fmt;
use std::path::Path;

pub use explain::{Explanation, Kept, LastSpill, Score};
pub use node::{CacheCharge, Node, NodeTicket};
pub use queue::LockTicket;
pub use transaction::Transaction;
pub use watching::{Watch, WatchOptions};

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::base::error::ErrorKind;
use crate::base::error::{Fault, Result};
use crate::base::fork;
use crate::base::operations::{Operation, OperationCount};
use crate::base::sync::Arc;
use crate::handle::lock;
use crate::handle::wait::Wait;
use crate::memory::account::Account;
use crate::memory::guard::Guard;
use crate::memory::ledger::UNLIMITED;
use crate::memory::pool;
use crate::memory::small::with_reclaim;
use crate::memory::tier::{Residents, TierStats};
use crate::namespace::changes::Changes;
use crate::namespace::inode::{FileType, Inode};
use crate::namespace::log::{Call, Log, LogEntry};
use crate::namespace::volume::Volume;
use crate::options::{Builder, Settings};
use crate::persist::{self, ExternalChanges, OnExternalChange, Persistence, Plan};

/// A filesystem in memory.
///
/// Cloning gives another handle of the same filesystem; it can be used from any number of threads.
/// When the last clone, open file and view are gone, so is the content.
///
/// ```
/// let fs = brimfs::FileSystem::new()?;
/// fs.create_dir_all("/data/2024")?;
/// fs.write("/data/2024/a.csv", "x,y\n1,2\n")?;
/// assert_eq!(fs.read("/data/2024/a.csv")?, "x,y\n1,2\n");
/// assert_eq!(fs.glob("/data/**/*.csv")?, [b"/data/2024/a.csv"]);
/// # Ok::<(), brimfs::Error>(())
/// ```
#[derive(Clone)]
pub struct FileSystem {
    shared: Arc<Shared>,
}

struct Shared {
    root: Arc<Inode>,
    wait: Wait,
    /// Of a filesystem that is kept in a directory.
    persistence: Option<Arc<Persistence>>,
    /// It was made as a snapshot or branch.
    is_twin: bool,
    /// Whose directory content of a snapshot or branch lies in.
    home: Option<FileSystem>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(persistence) = &self.persistence
            && self.root.volume().born == fork::generation()
        {
            // Whoever wants to hear of an error closes the filesystem himself.
            drop(persistence.close());
        }
    }
}

/// Counters of a filesystem, as of one moment. Bytes unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Content that the quota counts.
    pub quota_used: u64,
    /// The quota, if there is one.
    pub quota_limit: Option<u64>,
    /// Number of files.
    pub files: u64,
    /// Number of directories, the root included.
    pub directories: u64,
    /// Number of symbolic links.
    pub symlinks: u64,
    /// Files, directories and symbolic links together.
    pub nodes: u64,
    /// The most nodes, if limited.
    pub max_nodes: Option<u64>,
    /// Memory that the budget counts, of all filesystems that share it.
    pub resident: u64,
    /// The most that the budget ever counted.
    pub resident_peak: u64,
    /// The budget's limit.
    pub memory_limit: u64,
    /// Number of open handles.
    pub open_handles: u64,
    /// Number of views that are alive.
    pub views: u64,
    /// Number of threads of the process that wait for a file lock.
    pub lock_waiters: u64,
    /// What the cache of paths takes of the resident memory.
    pub cached_paths: u64,
    /// Freed memory that the process keeps for the next files, beside the resident memory.
    pub recycled: u64,
    /// Files that were opened.
    pub opens: OperationCount,
    /// Reads and views, of whole files and through handles.
    pub reads: OperationCount,
    /// Writes and appends, of whole files and through handles.
    pub writes: OperationCount,
    /// Removals of files, directories and trees.
    pub removals: OperationCount,
    /// Times that content had to be read from the disk because it was not in memory.
    pub misses: u64,
    /// Lines of the operation log that the host did not take, because its disk is full.
    pub log_lines_lost: u64,
    /// What spilling has and did, of all filesystems that share the budget; all zeros without it.
    pub tier: TierStats,
}

impl Stats {
    /// Reads and views that found all they wanted in memory; large ones can miss more than once.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.reads.calls.saturating_sub(self.misses)
    }

    /// The share of hits in hits and misses, 0 to 1; 1 before anything is read.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let all = self.hits() + self.misses;
        if all == 0 {
            return 1.0;
        }
        self.hits() as f64 / all as f64
    }
}

impl FileSystem {
    /// An empty filesystem with 0.8 of the machine's memory and no quota.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the machine does not say how much memory it has.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Settings for a filesystem with limits of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Opens the filesystem that is kept in a directory of the host, or makes it; see
    /// [`Builder::open`](crate::Builder::open), also for errors.
    ///
    /// ```
    /// # let place = std::env::temp_dir().join(format!("brimfs-doc-{}", std::process::id()));
    /// # let place = place.as_path();
    /// let fs = brimfs::FileSystem::open_store(place)?;
    /// fs.write("/a", "lasting")?;
    /// fs.close()?;
    /// let fs = brimfs::FileSystem::open_store(place)?;
    /// assert_eq!(fs.read("/a")?, "lasting");
    /// # drop(fs);
    /// # std::fs::remove_dir_all(place).unwrap();
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    pub fn open_store(directory: impl AsRef<Path>) -> Result<Self> {
        Self::builder().open(directory)
    }

    pub(crate) fn from_settings(settings: Settings) -> Result<Self, Fault> {
        let wait = settings.wait;
        let (_, root) = volume(settings, None)?;
        Ok(Self::over(root, wait, None))
    }

    pub(crate) fn kept_in(plan: Plan, settings: Settings) -> Result<Self, Fault> {
        let wait = settings.wait;
        let (root, persistence) = persist::open(plan, |changes| volume(settings, Some(changes)))?;
        Ok(Self::over(root, wait, Some(persistence)))
    }

    /// A snapshot or branch.
    fn twin_over(root: Arc<Inode>, wait: Wait, home: Option<FileSystem>) -> Self {
        Self::shared(Shared {
            root,
            wait,
            persistence: None,
            is_twin: true,
            home,
        })
    }

    fn over(root: Arc<Inode>, wait: Wait, persistence: Option<Arc<Persistence>>) -> Self {
        Self::shared(Shared {
            root,
            wait,
            persistence,
            is_twin: false,
            home: None,
        })
    }

    fn shared(shared: Shared) -> Self {
        let root = &shared.root;
        let resident: Arc<dyn Residents> = root.clone();
        root.account().budget.add_root(Arc::downgrade(&resident));
        FileSystem {
            shared: Arc::new(shared),
        }
    }

    #[inline]
    pub(crate) fn root(&self) -> &Arc<Inode> {
        &self.shared.root
    }

    #[inline]
    pub(crate) fn volume(&self) -> &Volume {
        self.shared.root.volume()
    }

    #[inline]
    pub(crate) fn wait(&self) -> Wait {
        self.shared.wait
    }

    /// Counts an operation that succeeds.
    #[inline(always)]
    fn counted<R, E>(
        &self,
        operation: Operation,
        body: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        self.volume().operations.count(operation, body)
    }

    /// Runs one operation and names it and its path in the error. What lacks memory that a tier
    /// can make is run again: it must have changed nothing then.
    #[inline]
    pub(crate) fn run<R>(
        &self,
        op: &'static str,
        path: &[u8],
        body: impl FnMut(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R> {
        self.run_measured(op, path, |_| 0, body)
    }

    /// As `run`; `measure` says what the operation moved, in bytes, for the log.
    #[inline]
    fn run_measured<R>(
        &self,
        op: &'static str,
        path: &[u8],
        measure: impl FnOnce(&R) -> u64,
        mut body: impl FnMut(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R> {
        self.run_once(op, path, measure, |root| {
            with_reclaim(root.account(), true, || body(root))
        })
    }

    /// As `run_measured`, for an operation that cannot be run again or sees to that itself.
    #[inline(always)]
    fn run_once<R>(
        &self,
        op: &'static str,
        path: &[u8],
        measure: impl FnOnce(&R) -> u64,
        body: impl FnOnce(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R> {
        let volume = self.volume();
        volume.logged(Call::on(op, path), measure, || {
            volume
                .settle(volume.check().and_then(|()| body(self.root())))
                .map_err(|fault| volume.verdict(fault).at(op, path))
        })
    }

    /// As `run`, for a caller that says how long to wait and adds the path itself.
    #[inline]
    fn patiently<R>(
        &self,
        wait: Wait,
        mut body: impl FnMut(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let volume = self.volume();
        volume.check()?;
        let done = with_reclaim(&volume.account, wait != Wait::Now, || body(self.root()));
        volume.settle(done).map_err(|fault| volume.verdict(fault))
    }

    /// As `run`, for an operation with two paths.
    pub(crate) fn run_two<R>(
        &self,
        op: &'static str,
        (path, other): (&[u8], &[u8]),
        measure: impl FnOnce(&R) -> u64,
        mut body: impl FnMut(&Arc<Inode>) -> Result<R, Fault>,
    ) -> Result<R> {
        let volume = self.volume();
        let call = Call {
            other: Some(other),
            ..Call::on(op, path)
        };
        volume.logged(call, measure, || {
            let mut attempt = || with_reclaim(&volume.account, true, || body(self.root()));
            volume
                .settle(volume.check().and_then(|()| attempt()))
                .map_err(|fault| volume.verdict(fault).between(op, path, other))
        })
    }

    /// The last operations, the oldest first, if [`Builder::operation_log`] asked for them.
    #[must_use]
    pub fn operation_log(&self) -> Vec<LogEntry> {
        let log = self.volume().log.get();
        log.map_or_else(Vec::new, Log::entries)
    }

    /// The counters. O(1), but for the segments of the disk that is spilled to.
    ///
    /// Operations are counted by the threads that run them, at the price of two nanoseconds, and
    /// one call in 64 is timed. Looking at names (`exists`, `metadata`, `read_dir`) is not counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let volume = self.volume();
        if volume.born == fork::generation() && self.is_bare() {
            // Nothing is left that a path could lead to: an empty filesystem reads zero. What the tier holds
            // for a moment of files that are gone it has let go when it rests.
            volume.cache.clear();
            if let Some(tier) = volume.account.budget.tier() {
                tier.rest();
            }
        }
        self.counters()
    }

    /// Whether the root has no names.
    fn is_bare(&self) -> bool {
        let state = self.root().read();
        state.directory().is_none_or(|names| names.len() == 0)
    }

    /// As [`FileSystem::stats`], and changes nothing.
    fn counters(&self) -> Stats {
        let volume = self.volume();
        let (quota, budget) = (&volume.account.quota, &volume.account.budget);
        let limit = |limit| (limit != UNLIMITED).then_some(limit);
        Stats {
            quota_used: quota.used(),
            quota_limit: limit(quota.limit()),
            files: volume.count(FileType::File),
            directories: volume.count(FileType::Directory),
            symlinks: volume.count(FileType::Symlink),
            nodes: volume.nodes(),
            max_nodes: limit(volume.node_limit.limit()),
            resident: budget.used(),
            resident_peak: budget.peak(),
            memory_limit: budget.limit(),
            open_handles: volume.handles.sum(),
            views: volume.views.alive(),
            lock_waiters: lock::waiting() as u64,
            cached_paths: volume.cache.bytes(),
            recycled: pool::recycled() as u64,
            opens: volume.operations.of(Operation::Open),
            reads: volume.operations.of(Operation::Read),
            writes: volume.operations.of(Operation::Write),
            removals: volume.operations.of(Operation::Remove),
            misses: volume.operations.misses(),
            log_lines_lost: volume.log.get().map_or(0, Log::lost),
            tier: self.tier_stats(),
        }
    }

    /// What spilling has and did; all zeros without it. Of all filesystems that share the budget.
    #[must_use]
    pub fn tier_stats(&self) -> TierStats {
        let tier = self.volume().account.budget.tier();
        tier.map_or_else(TierStats::default, |tier| tier.stats())
    }

    /// Gives freed memory that the process keeps for the next files back to the operating system.
    pub fn trim(&self) {
        pool::trim(0);
    }

    /// Empties the cache of paths.
    pub fn clear_caches(&self) {
        self.volume().cache.clear();
    }

    /// Makes everything durable that was done before the call. Does nothing for a filesystem that is not kept in
    /// a directory.
    ///
    /// # Errors
    /// [`ErrorKind::DiskFull`], [`ErrorKind::DiskLimit`] and [`ErrorKind::Io`]: what was done stays in memory. After an
    /// [`ErrorKind::Io`] nothing more can be changed until the directory is opened anew.
    pub fn sync(&self) -> Result<()> {
        let volume = self.volume();
        volume
            .check()
            .and_then(|()| match &self.shared.persistence {
                Some(persistence) => persistence.commit(),
                None => Ok(()),
            })
            .map_err(|fault| fault.during("sync"))
    }

    /// Looks for what others did with the tree of the host that is mirrored, and takes it in as
    /// [`Builder::on_external_change`](crate::Builder::on_external_change) says, or as `rule` does for this once. Makes everything
    /// durable that was done before. Does nothing for other filesystems.
    ///
    /// O(names) calls of the host. Nothing can be changed meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::ExternalChange`] under [`OnExternalChange::Raise`](crate::OnExternalChange::Raise), naming the first
    /// difference; as [`FileSystem::sync`].
    pub fn refresh(&self, rule: Option<OnExternalChange>) -> Result<ExternalChanges> {
        let volume = self.volume();
        volume
            .check()
            .and_then(|()| match &self.shared.persistence {
                Some(persistence) => persistence.refresh(rule),
                None => Ok(ExternalChanges::default()),
            })
            .map_err(|fault| fault.during("refresh"))
    }

    /// What others did with the tree of the host that is mirrored, as far as it was noticed since the filesystem was opened.
    #[must_use]
    pub fn external_changes(&self) -> ExternalChanges {
        let persistence = self.shared.persistence.as_ref();
        persistence.map_or_else(ExternalChanges::default, |kept| kept.external_changes())
    }

    /// Closes the filesystem and frees its content, after it was made durable if it is kept in a directory. Every later
    /// call, on handles too, answers [`ErrorKind::Closed`]; views stay readable. Closing twice does nothing.
    ///
    /// # Errors
    /// As [`FileSystem::sync`]: the filesystem is closed then, and what was not durable is lost. Never for a filesystem
    /// that is not kept in a directory.
    pub fn close(&self) -> Result<()> {
        let volume = self.volume();
        if volume.check().is_err() || !volume.close() {
            return Ok(());
        }
        let kept = match &self.shared.persistence {
            Some(persistence) => persistence.close(),
            None => Ok(()),
        };
        if let Some(mover) = self.mover().filter(|_| !self.shared.is_twin) {
            mover.cancel_preloads(volume.account.id);
        }
        volume.watches.end();
        volume.cache.clear();
        let nodes: Vec<_> = {
            let mut state = self.root().write_quietly();
            match state.directory_mut() {
                Some(map) => map.take_all(&volume.account.budget),
                None => Vec::new(),
            }
        };
        drop(nodes);
        kept.map_err(|fault| fault.during("close"))
    }

    /// Whether [`FileSystem::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.volume().is_closed()
    }
}

/// An empty volume and its root.
fn volume(
    settings: Settings,
    changes: Option<Box<Changes>>,
) -> Result<(Arc<Volume>, Arc<Inode>), Fault> {
    fork::watch();
    let guard = Guard::new(settings.guard);
    let account = Arc::new(Account::new(settings.quota, settings.budget, guard));
    let (max_nodes, umask, owner) = (settings.max_nodes, settings.umask, settings.owner);
    let (volume, root) = Volume::new(account, max_nodes, umask, owner, changes)?;
    if let Some(log) = &settings.log {
        let log = Log::new(log)?;
        volume.log.get_or_init(|| log);
    }
    Ok((volume, root))
}

impl fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let volume = self.volume();
        write!(
            f,
            "FileSystem({} files, {} bytes)",
            volume.count(FileType::File),
            volume.account.quota.used()
        )
    }
}
