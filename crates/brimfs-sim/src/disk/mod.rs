//! A simulated disk behind the core's seam: contents in memory, faults and damage on demand.
//!
//! Every call of a file or of the disk has a number. A [`Plan`] makes one of them go wrong, so that a
//! sweep over all numbers visits every place where a disk can fail. Transfers must be aligned as direct
//! I/O wants it; one that is not is a panic, because no real disk would take it.

mod file;

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use brimfs::face::disk::{Disk, DiskFile, Place};
use parking_lot::Mutex;

use file::{Content, SimFile};
pub(crate) use file::{check_alignment, half};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device fails. A transfer has done half of its work by then.
    Io,
    /// No space is left. A transfer has done half of its work by then.
    Full,
    /// A transfer does half of what was asked, not ending at a boundary; other calls succeed.
    Short,
    /// A signal came before a transfer did anything; other calls succeed.
    Interrupted,
}

impl Failure {
    /// Every kind, for sweeps.
    pub const ALL: [Failure; 4] = [
        Failure::Io,
        Failure::Full,
        Failure::Short,
        Failure::Interrupted,
    ];

    pub(crate) fn error(self) -> io::Error {
        match self {
            Failure::Io => io::Error::from_raw_os_error(libc::EIO),
            Failure::Full => io::Error::from_raw_os_error(libc::ENOSPC),
            Failure::Short | Failure::Interrupted => io::Error::from_raw_os_error(libc::EINTR),
        }
    }
}

/// Which call goes wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The first call has number 0.
    pub call: u64,
    /// What happens to it.
    pub failure: Failure,
    /// Calls after it go wrong as well, until another plan is made.
    pub lasting: bool,
}

/// How often what was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All of them.
    pub total: u64,
    /// Transfers from the disk.
    pub reads: u64,
    /// Transfers to the disk.
    pub writes: u64,
    /// Files created.
    pub created: u64,
}

#[derive(Debug, Default)]
struct World {
    calls: Calls,
    plan: Option<Plan>,
    capacity: Option<u64>,
    files: Vec<Weak<Mutex<Content>>>,
}

impl World {
    fn files(&mut self) -> Vec<Arc<Mutex<Content>>> {
        self.files.retain(|file| file.strong_count() > 0);
        self.files.iter().filter_map(Weak::upgrade).collect()
    }

    /// Counts a call and says how it goes wrong, if it does.
    fn count(&mut self) -> Option<Failure> {
        let number = self.calls.total;
        self.calls.total += 1;
        let plan = self.plan?;
        let due = number == plan.call || plan.lasting && number > plan.call;
        due.then_some(plan.failure)
    }

    /// Counts a call that moves no bytes: it cannot be short, and repeats itself when interrupted.
    fn call(&mut self) -> io::Result<()> {
        match self.count() {
            None | Some(Failure::Short | Failure::Interrupted) => Ok(()),
            Some(failure) => Err(failure.error()),
        }
    }
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// An empty disk without a limit that does not fail.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans what goes wrong from now on; replaces the plan before.
    pub fn plan(&self, plan: Option<Plan>) {
        self.world.lock().plan = plan;
    }

    /// Sets the bytes that all files together may have; `None` for no limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.world.lock().capacity = capacity;
    }

    /// What was called so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.world.lock().calls
    }

    /// Number of files that somebody holds open.
    #[must_use]
    pub fn files(&self) -> usize {
        self.world.lock().files().len()
    }

    /// Bytes of all open files together.
    #[must_use]
    pub fn used(&self) -> u64 {
        let files = self.world.lock().files();
        files.iter().map(|file| file.lock().len()).sum()
    }

    /// The raw bytes of an open file, counted in the order of creation.
    #[must_use]
    pub fn raw(&self, file: usize) -> Vec<u8> {
        let files = self.world.lock().files();
        files[file].lock().bytes().to_vec()
    }

    /// Changes raw bytes of an open file behind everybody's back.
    pub fn damage(&self, file: usize, change: impl FnOnce(&mut [u8])) {
        let files = self.world.lock().files();
        change(files[file].lock().bytes_mut());
    }
}

impl Disk for SimDisk {
    fn create_nameless(&self, _directory: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.world.lock();
        world.call()?;
        world.calls.created += 1;
        let content = Arc::new(Mutex::new(Content::default()));
        world.files.push(Arc::downgrade(&content));
        Ok(Box::new(SimFile::new(content, self.world.clone())))
    }

    fn probe(&self, _directory: &Path) -> io::Result<Place> {
        let used = self.used();
        let total = self.world.lock().capacity.unwrap_or(u64::MAX);
        Ok(Place {
            free: total.saturating_sub(used),
            total,
            in_memory: false,
        })
    }
}
