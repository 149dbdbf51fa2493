//! How a tier is set up.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::cold::segment::{Compression, Options, Store};
use crate::io::disk::{ALIGNMENT, Disk};
use crate::io::real::RealDisk;
use crate::io::spill_directory::{self, SPILL_DIRECTORY_VARIABLE, SpillDirectory};
use crate::policy::{Policy, PolicyKind, Settings};

use super::reclaim::Staging;

/// Pinned units may take the memory limit over this.
pub(super) const PIN_SHARE: u64 = 2;
/// The share of a directory's free space that a tier may fill unless told otherwise.
const FREE_SHARE: u64 = 2;
/// What the buffers of the store may take of the memory limit: one part in so many.
const BUFFER_SHARE: u64 = 16;
/// The smallest buffer that transfers well, in bytes.
const BUFFER_BYTES_LEAST: usize = 64 << 10;

/// Where content is spilled to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SpillPlace {
    /// `$BRIMFS_SPILL_DIR`, `/var/tmp` or the user's cache directory, whichever is on a disk.
    Found,
    /// The user's choice.
    Directory(PathBuf),
}

impl PartialEq for TierSettings {
    fn eq(&self, other: &Self) -> bool {
        let TierSettings {
            disk,
            place,
            disk_limit,
            compression,
            policy,
            boost_threshold,
        } = self;
        std::ptr::addr_eq(Arc::as_ptr(disk), Arc::as_ptr(&other.disk))
            && *place == other.place
            && *disk_limit == other.disk_limit
            && *compression == other.compression
            && *policy == other.policy
            && *boost_threshold == other.boost_threshold
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct TierSettings {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) place: SpillPlace,
    /// The most bytes on disk; half of what is free if it is not given.
    pub(crate) disk_limit: Option<u64>,
    pub(crate) compression: Compression,
    pub(crate) policy: PolicyKind,
    /// Accesses after which a file counts as one priority higher; `None` for never.
    pub(crate) boost_threshold: Option<u8>,
}

/// The host's disk: the same one each time.
fn real_disk() -> Arc<dyn Disk> {
    static DISK: OnceLock<Arc<dyn Disk>> = OnceLock::new();
    DISK.get_or_init(|| Arc::new(RealDisk)).clone()
}

impl Default for TierSettings {
    fn default() -> Self {
        TierSettings {
            disk: real_disk(),
            place: SpillPlace::Found,
            disk_limit: None,
            compression: Compression::None,
            policy: PolicyKind::default(),
            boost_threshold: Some(10),
        }
    }
}

impl TierSettings {
    pub(super) fn policy(&self, limit: u64) -> Box<dyn Policy> {
        let mut settings = Settings::new(limit);
        settings.boost_threshold = self.boost_threshold;
        settings.pin_ceiling = limit / PIN_SHARE;
        self.policy.build(settings)
    }

    /// Memory that buffers will take under such a limit, in bytes.
    pub(super) fn fixed_bytes(&self, memory_limit: u64) -> u64 {
        let (buffers, bytes) = buffers(memory_limit);
        Staging::BYTES + Store::fixed_bytes(buffers, bytes)
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if buffers would take more of the limit than half.
    pub(super) fn check_limit(&self, memory_limit: u64) -> Result<(), Fault> {
        let least = 2 * self.fixed_bytes(memory_limit);
        if memory_limit >= least {
            return Ok(());
        }
        let text = format!(
            "a memory limit of {memory_limit} bytes is below {least}, which spilling to a disk needs; \
             a filesystem that does not spill can have it"
        );
        Err(Fault::text(ErrorKind::InvalidArgument, text))
    }

    /// Looks whether content can go where the user says, and as much as he says.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] for a directory that no file can be created in, [`ErrorKind::InvalidArgument`] for
    /// a disk limit that is too small.
    pub(super) fn check_disk(&self, memory_limit: u64) -> Result<(), Fault> {
        if self.place != SpillPlace::Found || variable(SPILL_DIRECTORY_VARIABLE).is_some() {
            self.find()?;
        }
        match self.disk_limit {
            Some(limit) => self.options("", limit, memory_limit).check(),
            None => Ok(()),
        }
    }

    /// Chooses the directory and opens a store in it, with buffers that suit the memory limit.
    pub(super) fn open_store(&self, memory_limit: u64) -> Result<Store, Fault> {
        let found = self.find()?;
        let limit = self.disk_limit.unwrap_or(found.place.free / FREE_SHARE);
        Store::new(
            self.disk.clone(),
            self.options(found.path, limit, memory_limit),
        )
    }

    fn find(&self) -> Result<SpillDirectory, Fault> {
        let wish = match &self.place {
            SpillPlace::Found => None,
            SpillPlace::Directory(path) => Some(path.as_path()),
        };
        spill_directory::find(&*self.disk, wish, &variable)
    }

    pub(crate) fn options(
        &self,
        directory: impl Into<PathBuf>,
        limit: u64,
        memory_limit: u64,
    ) -> Options {
        let mut options = Options::new(directory, limit);
        options.compression = self.compression;
        (options.buffers, options.buffer_bytes) = buffers(memory_limit);
        options
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Number and size of the store's buffers: as many as usual, smaller where memory is small.
fn buffers(memory_limit: u64) -> (usize, usize) {
    let usual = Options::new("", 0);
    let share = memory_limit / BUFFER_SHARE / usual.buffers as u64;
    let most = usual.buffer_bytes.max(BUFFER_BYTES_LEAST);
    let bytes = usize::try_from(share)
        .unwrap_or(most)
        .clamp(BUFFER_BYTES_LEAST, most);
    (usual.buffers, bytes / ALIGNMENT * ALIGNMENT)
}
