//! Segments as they would be if their headers were whole: what lies behind a damaged header can be read.

use std::ffi::OsString;
use std::io;

use crate::base::sync::Arc;
use crate::cold::segment::{file_header, serial_of};
use crate::io::directory::{Access, Directory, DirectoryLock, LockError, Sharing};
use crate::io::disk::{ALIGNMENT, DiskFile, Nameless, Place};
use crate::journal::Identity;

/// A directory to read segments from. Changes nothing.
#[derive(Debug)]
pub(super) struct Mended {
    directory: Arc<dyn Directory>,
    identity: Identity,
}

impl Mended {
    pub(super) fn new(directory: Arc<dyn Directory>, identity: Identity) -> Self {
        Mended {
            directory,
            identity,
        }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Directory for Mended {
    fn create(&self, _name: &str) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Box<dyn DiskFile>> {
        let file = self.directory.open(name, Access::Read)?;
        Ok(match serial_of(name) {
            Some(serial) => Box::new(Segment {
                file,
                header: file_header(&self.identity.0, serial),
            }),
            None => file,
        })
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        self.directory.list()
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        Err(LockError::Held(None))
    }

    fn place(&self) -> io::Result<Place> {
        self.directory.place()
    }
}

#[derive(Debug)]
struct Segment {
    file: Box<dyn DiskFile>,
    header: Box<[u8; ALIGNMENT]>,
}

impl DiskFile for Segment {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let header = usize::try_from(offset).ok();
        let header = header.and_then(|offset| self.header.get(offset..));
        match header.filter(|header| !header.is_empty()) {
            Some(header) => {
                let len = header.len().min(into.len());
                into[..len].copy_from_slice(&header[..len]);
                Ok(len)
            }
            None => self.file.read_at(offset, into),
        }
    }

    fn write_at(&self, _offset: u64, _from: &[u8]) -> io::Result<usize> {
        refused()
    }

    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        refused()
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn nameless(&self) -> Nameless {
        self.file.nameless()
    }
}
