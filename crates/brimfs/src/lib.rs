//! A memory-first virtual filesystem.
//!
//! Programs keep their working files in memory, at the speed of memory and under hard limits:
//! a quota for content, a memory limit for everything resident, a limit on the number of nodes.
//! Files have fair shared and exclusive locks with timeouts; large content is read without a copy.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! let fs = brimfs::FileSystem::builder().quota(16 << 20).build()?;
//! fs.create_dir_all("/staging/raw")?;
//! fs.create("/staging/raw/a.csv")?.write_all(b"id,name\n1,x\n").unwrap();
//! let mut text = String::new();
//! fs.open("/staging/raw/a.csv")?.read_to_string(&mut text).unwrap();
//! assert_eq!(text.lines().count(), 2);
//! assert_eq!(fs.stats().quota_used, 12);
//! # Ok::<(), brimfs::Error>(())
//! ```
//!
//! [`FileSystem`] is where to start; [`OpenOptions`] says how files are opened and locked,
//! [`ErrorKind`] what can go wrong.

mod base;
mod cold;
mod fs;
mod handle;
mod io;
mod journal;
mod memory;
mod mover;
mod namespace;
mod options;
mod persist;
mod policy;
mod snapshot;

pub use base::error::{Error, ErrorKind, LimitInfo, Result};
pub use base::operations::OperationCount;
pub use cold::segment::Compression;
pub use fs::{
    Explanation, FileSystem, Kept, LastSpill, Score, Stats, Transaction, Watch, WatchOptions,
};
pub use handle::file::File;
pub use handle::open::{LockMode, OpenOptions};
pub use handle::view::View;
pub use memory::budget::Budget;
pub use memory::guard::{GuardAction, GuardWarning, set_guard_warning};
pub use memory::tier::{DiskUse, TierStats};
pub use mover::{GcReport, Moved, Preload, PreloadReport, SpillCause};
pub use namespace::inode::FileType;
pub use namespace::log::LogEntry;
pub use namespace::meta::{Metadata, XattrMode};
pub use namespace::path::{AsPath, NAME_MAX};
pub use namespace::times::{FileTimes, Timestamp};
pub use namespace::tree::RenameMode;
pub use namespace::walk::{DirEntry, DirEntryRef, ReadDir, Walk, WalkEntry};
pub use namespace::watch::{Event, EventKind};
pub use options::Builder;
pub use persist::{
    CheckProgress, CheckReport, CheckStep, Durability, ExternalChanges, Layout, Loss,
    OnExternalChange, Problem, RepairReport, check_store, repair_store,
};
pub use policy::{PolicyKind, UnknownPolicy};
pub use snapshot::{Diff, Usage};

/// What bindings and mounts stand on. Not part of the stable interface.
#[doc(hidden)]
pub mod face {
    pub use crate::base::error::Fault;
    pub use crate::base::long_wait::set_wait_hook;
    pub use crate::fs::{CacheCharge, LockTicket, Node, NodeTicket};
    pub use crate::handle::lock::at_once;
    pub use crate::handle::node::Stored;
    pub use crate::handle::source::Source;
    pub use crate::handle::wait::{Wait, set_interrupt_check};
    pub use crate::memory::budget::WeakBudget;
    pub use crate::memory::chunk::CHUNK;
    pub use crate::memory::foreign::{Foreign, ForeignVTable};
    pub use crate::persist::{check_directory, repair_directory};

    /// The eviction policies, for simulators.
    pub mod policy {
        pub use crate::policy::{
            Chunk, Explained, Hits, PRIORITY_BOOSTED_MAX, PRIORITY_DEFAULT, PRIORITY_MAX,
            PRIORITY_PINNED, Policy, PolicyKind, Queue, SWAP_IN_COST_DEFAULT, Settings, Slot,
            Standing, UnknownPolicy, Victim, weight,
        };
    }

    /// The seam to disks, and the real ones.
    pub mod disk {
        pub use crate::io::directory::{
            Access, Directory, DirectoryLock, FILE_NAME_MAX, Holder, LockError, Sharing,
            check_file_name,
        };
        pub use crate::io::disk::{
            ALIGNMENT, Disk, DiskFile, Nameless, Place, read_full, write_full,
        };
        pub use crate::io::real::RealDisk;
        pub use crate::io::real_directory::{LOCK_FILE, Opening, RealDirectory};
        pub use crate::io::real_tree::open_tree;
        pub use crate::io::spill_directory::{SPILL_DIRECTORY_VARIABLE, SpillDirectory, find};
        pub use crate::io::tree::{
            Attributes, Listed, Moment, SIDE, Tree, TreeFile, TreeKind, TreeStat, is_plain_path,
            join, split,
        };
    }

    /// The journal of a persistent store.
    pub mod journal {
        pub use crate::journal::*;
    }

    /// The segment store.
    pub mod segment {
        pub use crate::cold::segment::*;
    }
    pub use crate::memory::tier::{
        Cold, ColdPart, Filled, Identity, Installed, Location, Residents, Slot, Staged, Tier, Unit,
        Worth,
    };
}
