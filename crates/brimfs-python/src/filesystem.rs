//! The Python class `FileSystem`: construction, life and counters.
//!
//! The methods are in the modules below, by group. Owns the caches that are
//! keyed by Python objects; everything else is the core's.

mod content;
mod hot;
pub(crate) mod listing;
mod meta;
mod mirror;
mod names;
mod open;
mod options;
pub(crate) mod snapshots;
mod tiering;
pub(crate) mod transaction;
mod transfer;
mod tree;

use std::sync::{Arc, Weak};
use std::time::Duration;

use brimfs::face::{CacheCharge, Node, NodeTicket, Wait};
use brimfs::{Durability, ErrorKind};
use parking_lot::Mutex;
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

use crate::budget::Budget;
use crate::errors::{self, OrRaise};
use crate::gil;
use crate::log::LogEntry;
use crate::raw::guarded::Guarded;
use crate::raw::lookup::Lookup;
use crate::raw::objects::Arg;
use crate::sizes;
use crate::stats::Stats;
use names::{NameCache, Names};
use options::{BoostThreshold, Lasting, MemoryLimit, Place, Policy, Spilling};

/// Seconds that an operation waits for a file lock if nothing else is said.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
const UMASK: u32 = 0o022;

/// Filesystems that are open, for the end of the process.
static OPEN: Mutex<Vec<Weak<brimfs::FileSystem>>> = Mutex::new(Vec::new());

/// A filesystem in memory. Without a store everything in it vanishes with it.
///
/// store: the directory of the host that the filesystem is kept in; it is made if it is missing. What is
///     there comes back: names at once, content when it is touched. One process at a time has it open.
///     None: the filesystem is volatile.
/// quota: the most bytes that may be stored; bytes or text such as "512MiB". None: no limit.
/// memory_limit: the most resident bytes, content and nodes and tables; bytes, text, or a float
///     share in (0, 1] of what the machine gives, the smaller of cgroup limit and RAM.
/// max_nodes: the most files, directories and links, the root included.
/// spill_dir: where content goes that finds no memory. None: a directory on a real disk, found when it
///     is first needed ($BRIMFS_SPILL_DIR, /var/tmp, the user's cache directory). False: nowhere, a
///     write that finds no memory is a MemoryLimitError then. What is spilled is encrypted under a key
///     that exists in memory only, in files without a name.
/// disk_limit: the most bytes on that disk; bytes or text. None: half of what is free.
/// durability: when changes become durable in the store: "sync", before the call that makes them returns;
///     so many seconds later at most; or "manual", when sync() or close() is called, or memory is short.
/// read_only: open the store for reading only; every change is a ReadOnly error. Several processes can.
/// layout: how the filesystem lies in the store: "segments", in files of its own; or "mirror", one plain file for
///     each file under the same name, beside a hidden directory .brimfs. A mirror opens any tree of files.
/// on_external_change: what to do where somebody else changed a file of a mirror: "reload" takes the host's
///     version, "keep" writes memory's over it where memory has it, "raise" is an ExternalChange error.
/// policy: what leaves memory first: "g2", which alone heeds priorities, "lru", "sieve" or "s3fifo".
/// priority_boost_threshold: after so many accesses (1 to 255) a file counts one priority higher, to
///     at most 8, until it is accessed less. None: never. "g2" only.
/// compression: "lz4" packs what is spilled, for capacity and not for speed. None: as it is.
/// lock_timeout: seconds to wait for a file lock; 0 only tries, None waits for ever.
/// memory_guard: what to do when the machine is short of memory: "off", "warn" or "refuse".
/// operation_log: how many of the last operations to keep for operation_log(), or the path of a file that
///     gets all of them as lines of JSON. Costs every call some hundred nanoseconds.
/// umask: permission bits that new files and directories do not get.
/// budget: a Budget to share with other filesystems, instead of a memory_limit.
///
/// With a store, what finds no memory goes to its directory, unencrypted as everything there, so
/// spill_dir and budget are errors. StoreInUse says who else has it open.
///
/// Relative paths start at the root. All methods can be called from any thread. With a `with`
/// statement the filesystem is closed at the end.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct FileSystem {
    pub(crate) core: brimfs::FileSystem,
    lookup: Guarded<Lookup<NodeTicket>>,
    names: Guarded<NameCache>,
    charges: Guarded<Charges>,
    /// The short forms are left out: they may be tried in vain, which a log would show, and wait for no disk.
    takes_long_way: bool,
    /// What `OPEN` refers to.
    registered: Arc<brimfs::FileSystem>,
    /// The directory that it is kept in, as it was given.
    store: Option<Py<PyAny>>,
    /// What `repr` says of it beside that.
    how: &'static str,
    is_mirror: bool,
}

#[pymethods]
impl FileSystem {
    #[new]
    #[pyo3(
        signature = (
            store=None, *, quota=None, memory_limit=MemoryLimit(None), max_nodes=None, spill_dir=None,
            disk_limit=None, lock_timeout=LockTimeout::Default,
            durability=Lasting(Durability::default()), layout="segments", read_only=false,
            on_external_change="reload", policy=Policy(None),
            priority_boost_threshold=BoostThreshold::Default, compression=None, memory_guard="warn",
            operation_log=None, umask=UMASK, budget=None
        ),
        text_signature = "(store=None, *, quota=None, memory_limit=0.8, max_nodes=None, \
                          spill_dir=None, disk_limit=None, lock_timeout=30.0, durability=1.0, \
                          layout='segments', read_only=False, on_external_change='reload', \
                          policy='g2', \
                          priority_boost_threshold=10, compression=None, memory_guard='warn', \
                          operation_log=None, umask=0o022, budget=None)"
    )]
    #[expect(clippy::too_many_arguments, reason = "keywords of a constructor")]
    fn new(
        py: Python<'_>,
        store: Option<&Bound<'_, PyAny>>,
        quota: Option<&Bound<'_, PyAny>>,
        memory_limit: MemoryLimit,
        max_nodes: Option<&Bound<'_, PyAny>>,
        spill_dir: Option<&Bound<'_, PyAny>>,
        disk_limit: Option<&Bound<'_, PyAny>>,
        lock_timeout: LockTimeout,
        durability: Lasting,
        layout: &str,
        read_only: bool,
        on_external_change: &str,
        policy: Policy,
        priority_boost_threshold: BoostThreshold,
        compression: Option<&str>,
        memory_guard: &str,
        operation_log: Option<&Bound<'_, PyAny>>,
        umask: u32,
        budget: Option<&Bound<'_, Budget>>,
    ) -> PyResult<Self> {
        let place = store
            .map(|store| Place::new(store, spill_dir, budget))
            .transpose()?;
        if read_only && place.is_none() {
            return Err(PyValueError::new_err(
                "read_only needs a store: a new volatile filesystem has nothing to read",
            ));
        }
        let mut builder = brimfs::FileSystem::builder()
            .lock_timeout(lock_timeout.or(Some(LOCK_TIMEOUT)))
            .durability(durability.0)
            .read_only(read_only)
            .layout(mirror::layout(layout, place.is_some())?)
            .on_external_change(mirror::rule(on_external_change)?)
            .memory_guard(options::guard_action(memory_guard)?)
            .umask(options::umask(umask)?);
        if let Some(quota) = quota {
            builder = builder.quota(sizes::size(quota, "quota")?);
        }
        if let Some(max_nodes) = max_nodes {
            builder = builder.max_nodes(sizes::count(max_nodes, "max_nodes")?);
        }
        builder = memory_limit.apply(builder, budget)?;
        let spilling = Spilling {
            directory: spill_dir,
            disk_limit,
            policy,
            boost_threshold: priority_boost_threshold,
            compression,
        };
        builder = spilling.apply(builder)?;
        if let Some(log) = operation_log {
            builder = options::logging(builder, log)?;
        }
        let built = match &place {
            None => builder.build(),
            Some(place) => {
                let path = &place.path;
                gil::detached(py, || builder.open(path))
            }
        };
        let core = match (built, &place) {
            (Err(error), _) if error.kind() == ErrorKind::InvalidArgument => {
                return Err(PyValueError::new_err(error.to_string()));
            }
            (built, None) => built.or_raise_bare(py)?,
            (built, Some(place)) => built.or_raise(&place.name)?,
        };
        let mut made = FileSystem::over(core);
        made.takes_long_way |= place.is_some() && durability.0 == Durability::Sync;
        made.store = place.map(|place| place.name.object().clone().unbind());
        made.how = if read_only { " read-only" } else { "" };
        made.is_mirror = layout == "mirror";
        Ok(made)
    }

    /// Whether the filesystem is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Close the filesystem: without a store its content is gone, and every later call, on open files
    /// too, is a ValueError. Views stay as they are. Closing twice is fine.
    ///
    /// With a store, everything is made durable first, and others can open it then. An OSError says that
    /// this went wrong; the filesystem is closed all the same, and what was not durable is lost.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.forget_caches(py);
        let core = &self.core;
        let closed = gil::detached(py, || core.close());
        closed.map_err(|error| errors::raise_stored(py, &error, self.store.as_ref()))
    }

    /// Make everything durable that was done before the call, by any thread, without closing anything.
    /// Without a store this does nothing. O(what changed since the last time), and waits for the disk.
    ///
    /// An OSError says that the disk is full (what was done stays in memory) or failed (nothing can be
    /// changed then until the store is opened anew).
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        let core = &self.core;
        let synced = gil::detached(py, || core.sync());
        synced.map_err(|error| errors::raise_stored(py, &error, self.store.as_ref()))
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        if slf.get().core.is_closed() {
            return Err(PyValueError::new_err("I/O operation on closed filesystem"));
        }
        Ok(slf.clone())
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    /// The counters, as a Stats object. O(1).
    fn stats(&self, py: Python<'_>) -> Stats {
        if self.core.stats().nodes == 1 {
            // Nothing is left that a path could lead to: an empty filesystem reads zero.
            self.forget_caches(py);
        }
        Stats::new(self.core.stats())
    }

    /// The last operations, the oldest first, as a list of LogEntry: as many as operation_log= said when
    /// the filesystem was made. Empty otherwise, and in a forked child.
    fn operation_log(&self) -> Vec<LogEntry> {
        let entries = self.core.operation_log();
        entries.into_iter().map(LogEntry::from).collect()
    }

    /// Raises AssertionError if the counters are not what a walk over everything counts.
    fn _audit(&self, py: Python<'_>) -> PyResult<()> {
        // The core knows nothing of the caches here, nor of what they are charged.
        self.forget_caches(py);
        let core = &self.core;
        gil::detached(py, || core.audit()).map_err(PyAssertionError::new_err)
    }

    /// Give memory that is kept for recycling back to the operating system.
    fn trim(&self, py: Python<'_>) {
        let core = &self.core;
        gil::detached(py, || core.trim());
    }

    /// Empty the caches of paths and names. Their memory counts against the limit, and they are
    /// the first to give way, so this is for measuring only.
    fn clear_caches(&self, py: Python<'_>) {
        self.forget_caches(py);
        self.core.clear_caches();
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let place = self.place(py);
        if self.core.is_closed() {
            return format!("<brimfs.FileSystem{place}, closed>");
        }
        let stats = self.core.stats();
        let files = if stats.files == 1 { "file" } else { "files" };
        let used = sizes::human(stats.quota_used);
        let of = stats
            .quota_limit
            .map_or_else(String::new, |limit| format!(" of {}", sizes::human(limit)));
        format!(
            "<brimfs.FileSystem{place} {} {files}, {used}{of}>",
            stats.files
        )
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot pickle a brimfs.FileSystem: it belongs to its process",
        ))
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot copy a brimfs.FileSystem; copy files with copytree",
        ))
    }

    fn __copy__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot copy a brimfs.FileSystem; copy files with copytree",
        ))
    }
}

impl FileSystem {
    /// What `repr` says of the store.
    fn place(&self, py: Python<'_>) -> String {
        let how = self.how;
        let Some(store) = &self.store else {
            return how.to_owned();
        };
        let name = store.bind(py).repr();
        let name = name.map_or_else(|_| "?".to_owned(), |name| name.to_string());
        format!(" {name}{how}")
    }

    /// Whether it is kept in a directory, or was made of one that is.
    pub(crate) fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// Whether files of the host are its content.
    pub(crate) fn is_mirror(&self) -> bool {
        self.is_mirror
    }

    /// What an open file holds, so that its filesystem stays open as long as it does.
    fn keeper(&self) -> Option<Arc<brimfs::FileSystem>> {
        self.store.as_ref().map(|_| self.registered.clone())
    }

    fn over(core: brimfs::FileSystem) -> Self {
        let registered = Arc::new(core.clone());
        let mut open = OPEN.lock();
        open.retain(|other| other.strong_count() > 0);
        open.push(Arc::downgrade(&registered));
        FileSystem {
            core,
            lookup: Guarded::new(Lookup::new()),
            names: Guarded::new(NameCache::new()),
            charges: Guarded::new(Charges::default()),
            takes_long_way: registered.is_logged(),
            registered,
            store: None,
            how: "",
            is_mirror: false,
        }
    }

    fn forget_caches(&self, py: Python<'_>) {
        self.lookup.with(py, |lookup| lookup.clear(py));
        self.names.with(py, NameCache::clear);
        self.charges
            .with(py, |charges| *charges = Charges::default());
    }

    /// Remembers where a path led.
    fn remember(&self, path: Arg<'_>, ticket: NodeTicket) {
        let py = path.py();
        let bytes = self.lookup.with(py, |lookup| {
            lookup.insert(path, ticket);
            lookup.bytes()
        });
        self.pay(py, bytes.unwrap_or(0), |charges| &mut charges.paths);
    }

    /// Remembers the names in a directory.
    fn remember_names(
        &self,
        py: Python<'_>,
        node: &Node,
        stamp: u64,
        list: &Bound<'_, PyList>,
        names: Names,
    ) {
        let Ok(kept) = list.get_slice(0, list.len()).cast_into::<PyList>() else {
            return;
        };
        let kept = kept.unbind();
        let bytes = self.names.with(py, |cache| {
            cache.put(node.ino(), stamp, kept, names);
            cache.bytes()
        });
        self.pay(py, bytes.unwrap_or(0), |charges| &mut charges.names);
    }

    /// Charges a cache for its size, or empties all caches if there is no room for it.
    fn pay(&self, py: Python<'_>, bytes: usize, which: fn(&mut Charges) -> &mut Charge) {
        let paid = self.charges.with(py, |charges| {
            which(charges).raise_to(&self.core, bytes as u64)
        });
        if paid != Some(true) {
            self.forget_caches(py);
            self.lookup.with(py, |lookup| lookup.give_up(py));
        }
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let is_last = Arc::strong_count(&self.registered) == 1;
        if self.store.is_none() || !is_last || self.core.is_closed() || gil::is_exiting() {
            return;
        }
        // What nobody closed is closed here, where others can go on meanwhile and an error is told.
        Python::try_attach(|py| {
            let raised = PyErr::take(py);
            if let Err(error) = self.close(py) {
                error.write_unraisable(py, None);
            }
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
    }
}

/// The part of the memory limit that one of the caches may take: one in so many.
const CACHE_SHARE: u64 = 64;
/// Charges grow in steps, so that not every remembered path costs one, in bytes.
const CHARGE_STEP: u64 = 4 * 1024;

/// What the caches are charged.
#[derive(Default)]
struct Charges {
    paths: Charge,
    names: Charge,
}

/// What a cache is charged, in one piece.
#[derive(Default)]
struct Charge {
    held: Option<CacheCharge>,
    bytes: u64,
}

impl Charge {
    /// Charges at least `bytes`; false if the memory limit has no room to spare.
    fn raise_to(&mut self, core: &brimfs::FileSystem, bytes: u64) -> bool {
        if bytes > self.bytes {
            if bytes > core.stats().memory_limit / CACHE_SHARE {
                return false;
            }
            // The old charge goes first: for an instant the cache is charged too little.
            self.held = None;
            self.bytes = bytes + bytes / 4 + CHARGE_STEP;
            self.held = core.charge_cache(self.bytes);
        }
        self.held.is_some()
    }
}

/// Adds the hot methods to the class.
pub(crate) fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    hot::install(class)
}

/// Called at exit: closes what is open, which makes it durable where there is a store, and tells of what
/// went wrong. Adopted objects are not touched any more.
pub(crate) fn shutdown(py: Python<'_>) {
    gil::exit();
    let open = std::mem::take(&mut *OPEN.lock());
    let failed: Vec<brimfs::Error> = gil::detached(py, || {
        let open = open.iter().filter_map(Weak::upgrade);
        open.filter_map(|core| core.close().err()).collect()
    });
    for error in failed {
        errors::raise_stored(py, &error, None).write_unraisable(py, None);
    }
}

/// A `lock_timeout` argument: absent, or seconds, or `None` for ever.
#[derive(Clone, Copy)]
pub(crate) enum LockTimeout {
    Default,
    Given(Option<Duration>),
}

impl LockTimeout {
    /// The timeout, `default` if none was given.
    fn or(self, default: Option<Duration>) -> Option<Duration> {
        match self {
            LockTimeout::Default => default,
            LockTimeout::Given(timeout) => timeout,
        }
    }

    /// How long a call of that filesystem waits.
    fn wait(self, core: &brimfs::FileSystem) -> Wait {
        match self {
            LockTimeout::Default if core.default_wait() == Wait::UpTo(Duration::ZERO) => Wait::Now,
            LockTimeout::Default => core.default_wait(),
            LockTimeout::Given(None) => Wait::Forever,
            LockTimeout::Given(Some(Duration::ZERO)) => Wait::Now,
            LockTimeout::Given(Some(timeout)) => Wait::UpTo(timeout),
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for LockTimeout {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        sizes::timeout(&value, "lock_timeout").map(LockTimeout::Given)
    }
}
