//! How a filesystem is built: every limit has a name.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::error::{ErrorKind, Fault, Result};
use crate::base::sync::{Arc, Mutex};
use crate::cold::segment::Compression;
use crate::fs::FileSystem;
use crate::handle::wait::Wait;
use crate::io::directory::Directory;
use crate::io::disk::Disk;
use crate::io::real_directory::{Opening, RealDirectory};
use crate::io::real_tree::open_tree;
use crate::io::tree::Tree;
use crate::memory::budget::{Budget, WeakBudget};
use crate::memory::guard::{self, GuardAction};
use crate::memory::ledger::UNLIMITED;
use crate::mover::{Mover, SpillPlace, TierSettings};
use crate::namespace::log::LogSettings;
use crate::persist::{Durability, Layout, OnExternalChange, Plan, Side, no_directory};
use crate::policy::PolicyKind;

#[allow(unused_imports, reason = "the documentation links to it")]
use crate::namespace::log::LogEntry;

/// The share of the machine's memory that a filesystem may use unless told otherwise.
const DEFAULT_SHARE: f64 = 0.8;
/// How long a call waits for a file lock unless told otherwise.
const DEFAULT_LOCK_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
enum MemoryLimit {
    Bytes(u64),
    Share(f64),
    Budget(Budget),
}

/// Settings of a new filesystem. See [`FileSystem::builder`].
///
/// ```
/// let fs = brimfs::FileSystem::builder()
///     .quota(64 << 20)
///     .memory_limit(128 << 20)
///     .max_nodes(10_000)
///     .build()?;
/// # Ok::<(), brimfs::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    quota: u64,
    memory: MemoryLimit,
    max_nodes: u64,
    wait: Wait,
    umask: u32,
    owner: (u32, u32),
    guard: GuardAction,
    /// Where content goes that finds no memory; `None` for nowhere.
    spill: Option<TierSettings>,
    /// Something was said about spilling: a budget that was set up otherwise is an error then.
    is_spill_chosen: bool,
    log: Option<LogSettings>,
    durability: Durability,
    is_read_only: bool,
    layout: Layout,
    on_external_change: OnExternalChange,
}

/// What a filesystem is made of, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) quota: u64,
    pub(crate) budget: Budget,
    pub(crate) max_nodes: u64,
    pub(crate) wait: Wait,
    pub(crate) umask: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) guard: GuardAction,
    pub(crate) log: Option<LogSettings>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            quota: UNLIMITED,
            memory: MemoryLimit::Share(DEFAULT_SHARE),
            max_nodes: UNLIMITED,
            wait: Wait::UpTo(DEFAULT_LOCK_TIMEOUT),
            umask: 0o022,
            owner: guard::process_owner(),
            guard: GuardAction::Warn,
            spill: Some(TierSettings::default()),
            is_spill_chosen: false,
            log: None,
            durability: Durability::default(),
            is_read_only: false,
            layout: Layout::default(),
            on_external_change: OnExternalChange::default(),
        }
    }
}

impl Builder {
    /// The most bytes of content that may be stored. Default: no limit.
    ///
    /// Counts 16 KiB blocks that hold data, up to the end of what was written; holes and names
    /// are free, a chunk that copies share counts once.
    pub fn quota(mut self, bytes: u64) -> Self {
        self.quota = bytes;
        self
    }

    /// The most bytes that may be resident: content, nodes, names, tables and caches.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = MemoryLimit::Bytes(bytes);
        self
    }

    /// A share, above 0 and at most 1, of one budget for the whole process, which is what the
    /// machine or its control group really give. Default: 0.8.
    pub fn memory_share(mut self, share: f64) -> Self {
        self.memory = MemoryLimit::Share(share);
        self
    }

    /// Draws memory from a budget that other filesystems draw from too. The first one settles whether
    /// and where all of them spill.
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.memory = MemoryLimit::Budget(budget.clone());
        self
    }

    /// The most files, directories (the root included) and symbolic links. Default: no limit.
    pub fn max_nodes(mut self, nodes: u64) -> Self {
        self.max_nodes = nodes;
        self
    }

    /// How long calls wait for a file lock: zero tries once, `None` waits for ever. Default: 30 s.
    pub fn lock_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.wait = timeout.map_or(Wait::Forever, Wait::UpTo);
        self
    }

    /// Permission bits that new files and directories do not get. Default `0o022`.
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// User and group of new nodes. Default: those of the process.
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// Keeps so many operations in memory, the last ones, for [`FileSystem::operation_log`]: what was
    /// done to which path, when, how long it took and how it ended. Default: none.
    ///
    /// Costs every call some hundred nanoseconds, and memory beside the limit: 150 bytes an entry and its
    /// paths. Calls on names alone (`exists`, `file_type`) are left out.
    ///
    /// ```
    /// let fs = brimfs::FileSystem::builder().operation_log(1000).build()?;
    /// fs.write("/a", "abc")?;
    /// let log = fs.operation_log();
    /// assert_eq!((log[0].op, log[0].bytes, log[0].error), ("write", 3, None));
    /// # Ok::<(), brimfs::Error>(())
    /// ```
    pub fn operation_log(mut self, entries: usize) -> Self {
        self.log.get_or_insert_default().entries = entries;
        self
    }

    /// Appends every operation to a file of the host, as a line of JSON (see [`LogEntry::to_json`]), beside
    /// what [`Builder::operation_log`] keeps. The file is created for its owner only.
    ///
    /// A line is written before the call returns, and nothing is lost if the process dies. A line that the
    /// host does not take fails no call: [`Stats::log_lines_lost`](crate::Stats::log_lines_lost) counts it.
    /// Several filesystems can append to one file. Building fails if it cannot be opened.
    pub fn operation_log_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.log.get_or_insert_default().file = Some(file.into());
        self
    }

    /// When changes of a filesystem that is opened on a directory become durable. Default: within a second.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Opens a directory for reading only: a medium that takes no writes will do, and several processes can.
    /// Every change fails with [`ErrorKind::ReadOnly`].
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.is_read_only = read_only;
        self
    }

    /// How a filesystem lies in the directory that it is opened on. Default: [`Layout::Segments`]. What is there must have
    /// that layout; for [`Layout::Mirror`] any tree of files will do.
    ///
    /// ```
    /// # let place = std::env::temp_dir().join(format!("brimfs-doc-mirror-{}", std::process::id()));
    /// # let place = place.as_path();
    /// std::fs::create_dir_all(place.join("raw"))?;
    /// std::fs::write(place.join("raw/a.csv"), "id,name")?;
    /// let fs = brimfs::FileSystem::builder().layout(brimfs::Layout::Mirror).open(place)?;
    /// assert_eq!(fs.read("/raw/a.csv")?, "id,name");
    /// fs.write("/raw/b.csv", "id")?;
    /// fs.close()?;
    /// assert_eq!(std::fs::read(place.join("raw/b.csv"))?, b"id");
    /// # drop(fs);
    /// # std::fs::remove_dir_all(place)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// What to do where somebody else changed a file of the host that is mirrored. Default:
    /// [`OnExternalChange::Reload`]. Of no effect for [`Layout::Segments`].
    pub fn on_external_change(mut self, rule: OnExternalChange) -> Self {
        self.on_external_change = rule;
        self
    }

    /// What to do when the machine has less memory available than a large write needs.
    /// Default: [`GuardAction::Warn`].
    pub fn memory_guard(mut self, action: GuardAction) -> Self {
        self.guard = action;
        self
    }

    /// Whether content that finds no memory goes to a disk. Default: yes, to a directory on a real
    /// disk that is found when it is first needed (`$BRIMFS_SPILL_DIR`, `/var/tmp`, the user's cache
    /// directory). What is written there is encrypted under a key that exists in memory only, in files
    /// without a name. Nothing is written before memory is short.
    ///
    /// Buffers for it take 2.3 to 6.3 MiB of the memory limit, which has to be twice that at least.
    /// Without spilling, a write that finds no memory fails with [`ErrorKind::MemoryLimit`].
    pub fn spill(mut self, spill: bool) -> Self {
        self.is_spill_chosen = true;
        match spill {
            true => _ = self.spill_settings(),
            false => self.spill = None,
        }
        self
    }

    /// As [`Builder::spill`], to this directory.
    pub fn spill_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spill_settings().place = SpillPlace::Directory(directory.into());
        self
    }

    /// As [`Builder::spill`], with at most so many bytes on the disk. Default: half of what is free.
    ///
    /// What comes back keeps its copy there until it is changed. Where that leaves too little room for what
    /// has to be written, such copies are given up first.
    pub fn disk_limit(mut self, bytes: u64) -> Self {
        self.spill_settings().disk_limit = Some(bytes);
        self
    }

    /// As [`Builder::spill`], with content compressed on its way to the disk. Default: none.
    ///
    /// For capacity, not for speed: LZ4 packs text at a quarter of what a fast disk writes.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.spill_settings().compression = compression;
        self
    }

    /// As [`Builder::spill`], and what leaves memory first is chosen so. Default:
    /// [`PolicyKind::G2`], the only one that heeds priorities.
    ///
    /// Filesystems that share a budget share the policy of the one that was built first.
    pub fn policy(mut self, policy: PolicyKind) -> Self {
        self.spill_settings().policy = policy;
        self
    }

    /// As [`Builder::spill`]; after so many accesses a file counts one priority higher, to at most
    /// 8, until it is accessed less. `None` switches that off. Default: 10. [`PolicyKind::G2`] only.
    ///
    /// What is counted is halved whenever the policy looks at the file because it might go. A file of
    /// more than one chunk (1 MiB) is counted chunk by chunk.
    pub fn priority_boost_threshold(mut self, accesses: Option<u8>) -> Self {
        self.spill_settings().boost_threshold = accesses;
        self
    }

    /// As [`Builder::spill_dir`], to a disk that is not the host's, as simulations do.
    #[doc(hidden)]
    pub fn spill_disk(mut self, disk: Arc<dyn Disk>, directory: impl Into<PathBuf>) -> Self {
        self.spill_settings().disk = disk;
        self.spill_dir(directory)
    }

    fn spill_settings(&mut self) -> &mut TierSettings {
        self.is_spill_chosen = true;
        self.spill.get_or_insert_with(TierSettings::default)
    }

    /// Builds the filesystem.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a share outside of (0, 1], an umask beyond `0o777`, no room
    /// for the root, a memory limit too small for the fixed tables (or for the buffers of spilling),
    /// or a budget whose filesystems spill otherwise than is asked for here;
    /// [`ErrorKind::MemoryLimit`] if the machine's memory is used up by other filesystems;
    /// [`ErrorKind::Io`] if the directory to spill to is none, or lies in memory, or takes no file.
    pub fn build(self) -> Result<FileSystem> {
        self.settings()
            .and_then(FileSystem::from_settings)
            .map_err(|fault| fault.during("build a filesystem"))
    }

    /// Opens the filesystem that is kept in a directory of the host; makes both if they are not there.
    ///
    /// Names are read at once, content when it is touched. What leaves memory goes to the directory too: of what
    /// [`Builder::spill`] and its kin say only the disk limit, compression, policy and boost count.
    ///
    /// # Errors
    /// As [`Builder::build`]; [`ErrorKind::StoreInUse`] if somebody has it open, who is named;
    /// [`ErrorKind::Corrupt`] and [`ErrorKind::Unsupported`] for what cannot be read;
    /// [`ErrorKind::QuotaExceeded`], [`ErrorKind::NodeLimit`] and [`ErrorKind::MemoryLimit`] if what is there is more than the
    /// limits; [`ErrorKind::InvalidArgument`] together with [`Builder::budget`] or without spilling;
    /// [`ErrorKind::NotFound`] without the directory above, or for reading where there is no store.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<FileSystem> {
        let path = directory.as_ref();
        let opening = match self.is_read_only {
            true => Opening::ReadOnly,
            false => Opening::Create,
        };
        let name = path.as_os_str().as_encoded_bytes();
        if self.layout == Layout::Mirror {
            let opened = open_tree(path, opening == Opening::Create);
            return opened
                .map_err(|error| no_directory(error, Opening::Create))
                .and_then(|tree| self.open_mirror(Arc::from(tree)))
                .map_err(|fault| fault.at("open the mirror", name));
        }
        let opened = RealDirectory::open(path, opening);
        opened
            .map_err(|error| no_directory(error, opening))
            .and_then(|directory| self.open_store(Arc::new(directory), None))
            .map_err(|fault| fault.at("open the store", name))
    }

    /// As [`Builder::open`], in a directory that is not the host's, as simulations do.
    ///
    /// # Errors
    /// As [`Builder::open`].
    #[doc(hidden)]
    pub fn open_in(self, directory: Arc<dyn Directory>) -> Result<FileSystem> {
        self.open_store(directory, None)
            .map_err(|fault| fault.during("open a store"))
    }

    /// As [`Builder::open`] of a mirror, of a tree that is not the host's, as simulations do.
    ///
    /// # Errors
    /// As [`Builder::open`].
    #[doc(hidden)]
    pub fn open_tree(self, tree: Arc<dyn Tree>) -> Result<FileSystem> {
        self.open_mirror(tree)
            .map_err(|fault| fault.during("open a mirror"))
    }

    fn open_mirror(self, tree: Arc<dyn Tree>) -> Result<FileSystem, Fault> {
        let directory = Plan::side_directory(&*tree, self.is_read_only)?;
        let rule = self.on_external_change;
        self.open_store(directory, Some(Side { tree, rule }))
    }

    fn open_store(
        mut self,
        directory: Arc<dyn Directory>,
        mirror: Option<Side>,
    ) -> Result<FileSystem, Fault> {
        let invalid = |text: &str| Fault::text(ErrorKind::InvalidArgument, text);
        let Some(tier) = self.spill.take() else {
            return Err(invalid("what is kept in a directory spills to it, always"));
        };
        let budget = match self.memory {
            MemoryLimit::Budget(_) => {
                return Err(invalid(
                    "what is kept in a directory has a budget of its own",
                ));
            }
            MemoryLimit::Bytes(bytes) => Budget::new(bytes),
            MemoryLimit::Share(share) => {
                check_share(share)?;
                guard::share_of_machine(share)?
            }
        };
        self.memory = MemoryLimit::Budget(budget.clone());
        let (durability, read_only) = (self.durability, self.is_read_only);
        if let Durability::Interval(interval) = durability
            && interval.is_zero()
        {
            return Err(invalid("an interval of zero: ask for Durability::Sync"));
        }
        let settings = self.checked(budget.clone())?;
        let plan = Plan {
            directory,
            durability,
            read_only,
            tier,
            budget,
            mirror,
        };
        FileSystem::kept_in(plan, settings)
    }

    fn settings(self) -> Result<Settings, Fault> {
        let invalid = |text: String| Fault::text(ErrorKind::InvalidArgument, text);
        if self.is_read_only {
            return Err(invalid(
                "read only, and nothing to read: open a directory".into(),
            ));
        }
        let budget = match &self.memory {
            MemoryLimit::Share(share) => {
                check_share(*share)?;
                process_budget(*share, &self.spill)?
            }
            MemoryLimit::Bytes(bytes) if *bytes < MEMORY_LIMIT_MIN => {
                return Err(invalid(format!(
                    "a memory limit of {bytes} bytes is below {MEMORY_LIMIT_MIN}, \
                     which the fixed tables take"
                )));
            }
            MemoryLimit::Bytes(bytes) => Budget::new(*bytes),
            MemoryLimit::Budget(budget) => budget.clone(),
        };
        let spill = settle_spilling(&budget, self.spill.clone())?;
        if self.is_spill_chosen && !spill {
            return Err(invalid(
                "the filesystems that share this budget spill otherwise: the first one settles it"
                    .into(),
            ));
        }
        self.checked(budget)
    }

    fn checked(self, budget: Budget) -> Result<Settings, Fault> {
        let invalid = |text: String| Fault::text(ErrorKind::InvalidArgument, text);
        if self.umask > 0o777 {
            return Err(invalid(format!("umask {:#o} is beyond 0o777", self.umask)));
        }
        if self.max_nodes == 0 {
            return Err(invalid("max_nodes must be at least 1, for the root".into()));
        }
        Ok(Settings {
            quota: self.quota,
            budget,
            max_nodes: self.max_nodes,
            wait: self.wait,
            umask: self.umask,
            owner: self.owner,
            guard: self.guard,
            log: self.log,
        })
    }
}

fn check_share(share: f64) -> Result<(), Fault> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    let text = format!("memory share {share} is not above 0 and at most 1");
    Err(Fault::text(ErrorKind::InvalidArgument, text))
}

/// Gives a budget what its first filesystem asks for; returns whether it has what is asked for now.
fn settle_spilling(budget: &Budget, spill: Option<TierSettings>) -> Result<bool, Fault> {
    let Some(settings) = spill else {
        return Ok(budget.forbid_tier());
    };
    if !budget.is_tier_settled() {
        Mover::install(settings.clone(), budget)?;
    }
    let tier: Option<&dyn Any> = budget.tier().map(|tier| tier as &dyn Any);
    let mover = tier.and_then(|tier| tier.downcast_ref::<Mover>());
    Ok(mover.is_some_and(|mover| *mover.settings() == settings))
}

/// The budget of all filesystems of the process that asked for this share of the machine and for this
/// kind of spilling. Whatever their shares, all of them together draw on what the machine has.
fn process_budget(share: f64, spill: &Option<TierSettings>) -> Result<Budget, Fault> {
    static BUDGETS: Mutex<Vec<(f64, Option<TierSettings>, WeakBudget)>> = Mutex::new(Vec::new());
    let mut budgets = BUDGETS.lock();
    budgets.retain(|(_, _, budget)| budget.upgrade().is_some());
    let known = budgets
        .iter()
        .find(|(known, kind, _)| *known == share && kind == spill);
    if let Some(budget) = known.and_then(|(_, _, budget)| budget.upgrade()) {
        return Ok(budget);
    }
    let budget = guard::share_of_machine(share)?;
    budgets.push((share, spill.clone(), budget.downgrade()));
    Ok(budget)
}

/// The smallest memory limit: what the tables of an empty filesystem take, in bytes.
pub(crate) const MEMORY_LIMIT_MIN: u64 = 16 << 10;
