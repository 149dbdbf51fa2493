//! A directory in which nothing is lost: what is no longer wanted is set aside by another name.

use std::ffi::OsString;
use std::io;

use crate::base::error::Fault;
use crate::base::sync::Arc;
use crate::cold::segment::serial_of;
use crate::io::directory::{Access, Directory, DirectoryLock, LockError, Sharing};
use crate::io::disk::{DiskFile, Place};

use super::super::list;
use crate::persist::open::REPAIR_PREFIX;

const DAMAGED_PREFIX: &str = "damaged-";
const CHECKPOINT_UNFINISHED: &str = "checkpoint.new";

/// Sets aside what is to be removed, but for a checkpoint that nobody finished, and for segments: as long as the repair does
/// not count, they may be wanted.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) number: u64,
}

impl Directory for Keeping {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.directory.create(name)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.directory.open(name, access)
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        self.directory.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match serial_of(name) {
            Some(_) => Ok(()),
            None if name == CHECKPOINT_UNFINISHED => self.directory.remove(name),
            None => self.directory.rename(name, &aside(self.number, name)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }

    fn lock(&self, sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        self.directory.lock(sharing)
    }

    fn place(&self) -> io::Result<Place> {
        self.directory.place()
    }
}

fn aside(number: u64, name: &str) -> String {
    format!("{DAMAGED_PREFIX}{number}-{name}")
}

/// The mark that a repair is not finished: as long as it is there nobody writes to the store.
#[derive(Debug)]
pub(super) struct Marker {
    /// Tells this repair from earlier ones.
    pub(super) number: u64,
    /// It was there: a repair was interrupted.
    pub(super) was_there: bool,
}

impl Marker {
    /// Looks for the mark, or for a number that no repair had.
    pub(super) fn look(directory: &dyn Directory) -> Result<Self, Fault> {
        let names = list(directory)?;
        let number = |name: &String| name.strip_prefix(REPAIR_PREFIX)?.parse().ok();
        if let Some(number) = names.iter().find_map(number) {
            return Ok(Marker {
                number,
                was_there: true,
            });
        }
        let earlier = names.iter().filter_map(|name| {
            let (number, _) = name.strip_prefix(DAMAGED_PREFIX)?.split_once('-')?;
            number.parse::<u64>().ok()
        });
        Ok(Marker {
            number: earlier.max().unwrap_or(0).saturating_add(1),
            was_there: false,
        })
    }

    fn name(&self) -> String {
        format!("{REPAIR_PREFIX}{}", self.number)
    }

    /// Sets the mark, durably: it is a name and nothing else. What a repair that died has left in the page cache is durable
    /// then too, the name of its checkpoint above all.
    pub(super) fn set(&self, directory: &dyn Directory) -> Result<(), Fault> {
        if !self.was_there {
            let created = directory.create(&self.name());
            created.map(drop).map_err(Fault::disk)?;
        }
        directory.sync().map_err(Fault::disk)
    }

    /// Takes the mark away, durably.
    pub(super) fn clear(&self, directory: &dyn Directory) -> Result<(), Fault> {
        directory.remove(&self.name()).map_err(Fault::disk)?;
        directory.sync().map_err(Fault::disk)
    }

    /// Gives other names to all checkpoints but the one of this group, to journal files before this one, and to
    /// segments that nobody `wants`; durable after it. Returns the names of all that this repair has set aside.
    pub(super) fn set_aside(
        &self,
        directory: &dyn Directory,
        covers: (u64, u64),
        wants: impl Fn(u64) -> bool,
    ) -> Result<Vec<String>, Fault> {
        for name in list(directory)? {
            let number = |prefix: &str| {
                let digits = name.strip_prefix(prefix)?;
                u64::from_str_radix(digits, 16).ok()
            };
            let is_old = number("checkpoint-").is_some_and(|group| group != covers.0)
                || number("journal-").is_some_and(|file| file < covers.1)
                || serial_of(&name).is_some_and(|serial| !wants(u64::from(serial)));
            if is_old {
                let renamed = directory.rename(&name, &aside(self.number, &name));
                renamed.map_err(Fault::disk)?;
            }
        }
        directory.sync().map_err(Fault::disk)?;
        let mut names = list(directory)?;
        names.retain(|name| name.starts_with(&aside(self.number, "")));
        Ok(names)
    }
}
