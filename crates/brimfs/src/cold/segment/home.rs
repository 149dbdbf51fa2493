//! Where the files of segments come from and where they go: nameless ones on a disk, which are gone with
//! the store, or files with names in a directory, which stay.
//!
//! Of named files it knows which have writes that no sync covered, and refuses everything after a sync that
//! failed. Its locks are the innermost but for those of buffers; only `syncing` is held during I/O.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::{Arc, Mutex};
use crate::io::directory::Directory;
use crate::io::disk::{Disk, DiskFile, write_full};

use super::file_header::{Block, file_name};
use super::index::Segment;

/// Where a store keeps its files.
#[derive(Debug)]
pub(super) enum Home {
    Nameless {
        disk: Arc<dyn Disk>,
        directory: PathBuf,
    },
    Named(Box<Named>),
}

impl Home {
    pub(super) fn named(&self) -> Option<&Named> {
        match self {
            Home::Nameless { .. } => None,
            Home::Named(named) => Some(named.as_ref()),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Fault> {
        self.named().map_or(Ok(()), Named::check_writable)
    }
}

/// Files with names in a directory.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) identity: [u8; 16],
    pub(super) read_only: bool,
    /// Held by the one sync that runs: whoever waits for it knows that what it covers is durable, or never will be.
    syncing: Mutex<()>,
    unsynced: Mutex<Unsynced>,
    /// Dead segments whose files could not be removed yet.
    leftovers: Mutex<Vec<Arc<Segment>>>,
}

#[derive(Debug, Default)]
struct Unsynced {
    /// Those that have records since the last sync, in the order of their numbers.
    segments: BTreeMap<u32, Arc<Segment>>,
    /// Files were created since the last sync of the directory.
    names: bool,
    /// The first sync that failed.
    poison: Option<Box<str>>,
}

impl Unsynced {
    fn check(&self) -> Result<(), Fault> {
        match &self.poison {
            None => Ok(()),
            Some(first) => {
                let text =
                    format!("the segment store refuses writes until it is opened anew: {first}");
                Err(Fault::text(ErrorKind::Io, text))
            }
        }
    }
}

/// An error of the disk, with what was being done to which file.
#[cold]
pub(super) fn context(doing: &str, name: &str, error: io::Error) -> Fault {
    Fault::disk(io::Error::new(
        error.kind(),
        format!("{doing} {name}: {error}"),
    ))
}

impl Named {
    pub(super) fn new(directory: Arc<dyn Directory>, identity: [u8; 16], read_only: bool) -> Self {
        Named {
            directory,
            identity,
            read_only,
            syncing: Mutex::new(()),
            unsynced: Mutex::new(Unsynced::default()),
            leftovers: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Fault> {
        if self.read_only {
            let text = "the segment store was opened for reading only";
            return Err(Fault::text(ErrorKind::NotPermitted, text));
        }
        self.check_poison()
    }

    /// Refuses after a sync that failed.
    pub(super) fn check_poison(&self) -> Result<(), Fault> {
        self.unsynced.lock().check()
    }

    pub(super) fn create(&self, serial: u32) -> Result<Box<dyn DiskFile>, Fault> {
        let name = file_name(serial);
        let file = self.directory.create(&name);
        let file = file.map_err(|error| context("creating", &name, error))?;
        // Before anything in it can be marked, so no sync covers a record and not its file's name.
        self.unsynced.lock().names = true;
        Ok(file)
    }

    /// Writes the header of a file that has space for it.
    pub(super) fn begin(&self, segment: &Segment) -> Result<(), Fault> {
        let header = Block::header(&self.identity, segment.serial.into());
        let written = write_full(&*segment.file.file, 0, &header.0);
        written.map_err(|error| context("beginning", &file_name(segment.serial), error))
    }

    /// Something was written to a segment that the next sync has to cover.
    pub(super) fn mark(&self, segment: &Arc<Segment>) {
        let mut unsynced = self.unsynced.lock();
        unsynced
            .segments
            .entry(segment.serial)
            .or_insert_with(|| segment.clone());
    }

    /// Everything that was marked before the call is durable after it, names included.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        let _one_at_a_time = self.syncing.lock();
        let (segments, names) = {
            let mut unsynced = self.unsynced.lock();
            unsynced.check()?;
            if unsynced.segments.is_empty() {
                return Ok(());
            }
            let segments = std::mem::take(&mut unsynced.segments);
            (segments, std::mem::take(&mut unsynced.names))
        };
        for segment in segments.values() {
            let synced = segment.file.file.sync_data();
            self.or_poison(&file_name(segment.serial), synced)?;
        }
        if names {
            self.or_poison("the names of segments", self.directory.sync())?;
        }
        Ok(())
    }

    fn or_poison(&self, what: &str, synced: io::Result<()>) -> Result<(), Fault> {
        let Err(error) = synced else {
            return Ok(());
        };
        let mut unsynced = self.unsynced.lock();
        let first = format!("making {what} durable failed: {error}");
        unsynced.poison = Some(first.into());
        unsynced.check()
    }

    /// Removes the file of a segment in which nothing lives. One that cannot be removed is kept in mind and
    /// tried again with the next one; what is left when the store is dropped, the next opening removes.
    pub(super) fn discard(&self, segment: Arc<Segment>) {
        if self.read_only {
            return;
        }
        let poisoned = {
            let mut unsynced = self.unsynced.lock();
            unsynced.segments.remove(&segment.serial);
            unsynced.poison.is_some()
        };
        let mut due = std::mem::take(&mut *self.leftovers.lock());
        due.push(segment);
        // Nothing on the disk changes after a sync failed: the next opening decides what lives.
        if !poisoned {
            due.retain(|segment| self.remove(segment.serial).is_err());
        }
        self.leftovers.lock().append(&mut due);
    }

    /// Removes a file that may be gone already.
    pub(super) fn remove(&self, serial: u32) -> Result<(), Fault> {
        let name = file_name(serial);
        match self.directory.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(context("removing", &name, error))
            }
            _ => Ok(()),
        }
    }

    /// Files of dead segments that could not be removed yet.
    pub(super) fn leftovers(&self) -> u64 {
        self.leftovers.lock().len() as u64
    }
}
