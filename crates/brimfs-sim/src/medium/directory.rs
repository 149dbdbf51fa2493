//! The names of the simulated directory.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use brimfs::face::disk::{
    Access, Directory, DirectoryLock, DiskFile, LockError, Place, Sharing, check_file_name,
};
use parking_lot::Mutex;

use super::file::File;
use super::{Inode, Medium, Pending, World};

impl Directory for Medium {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        check_file_name(name)?;
        let mut world = self.world.lock();
        world.change()?;
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.names.insert(name.to_owned(), inode);
        let name = name.to_owned();
        world.pending.push(Pending::Linked { name, inode });
        Ok(self.file(&mut world, inode, true))
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn DiskFile>> {
        check_file_name(name)?;
        let mut world = self.world.lock();
        world.call()?;
        let writable = access == Access::ReadWrite;
        if writable && world.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let inode = world.named(name)?;
        Ok(self.file(&mut world, inode, writable))
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        let mut world = self.world.lock();
        world.call()?;
        Ok(world.names.keys().map(OsString::from).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_file_name(from)?;
        check_file_name(to)?;
        let mut world = self.world.lock();
        world.change()?;
        let inode = world.named(from)?;
        world.names.remove(from);
        world.names.insert(to.to_owned(), inode);
        let (from, to) = (from.to_owned(), to.to_owned());
        world.pending.push(Pending::Renamed { from, to, inode });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_file_name(name)?;
        let mut world = self.world.lock();
        world.change()?;
        let inode = world.named(name)?;
        world.names.remove(name);
        let name = name.to_owned();
        world.pending.push(Pending::Unlinked { name, inode });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.change()?;
        for item in world.take_pending(None) {
            world.keep(&item);
        }
        world.forget_nameless();
        Ok(())
    }

    fn lock(&self, sharing: Sharing) -> Result<Box<dyn DirectoryLock>, LockError> {
        let mut world = self.world.lock();
        world.call()?;
        if world.read_only && sharing == Sharing::Exclusive {
            return Err(LockError::Io(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        if world.locked {
            return Err(LockError::Held(None));
        }
        world.locked = sharing == Sharing::Exclusive;
        let held = world.locked;
        drop(world);
        Ok(Box::new(Lock {
            world: self.world.clone(),
            held,
        }))
    }

    fn place(&self) -> io::Result<Place> {
        let mut world = self.world.lock();
        world.call()?;
        let total = world.capacity.unwrap_or(u64::MAX);
        Ok(Place {
            free: total.saturating_sub(world.used()),
            total,
            in_memory: false,
        })
    }
}

impl Medium {
    fn file(&self, world: &mut World, inode: usize, writable: bool) -> Box<dyn DiskFile> {
        world.inodes[inode].open += 1;
        Box::new(File {
            world: self.world.clone(),
            inode,
            writable,
        })
    }
}

impl World {
    fn named(&self, name: &str) -> io::Result<usize> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Shared locks do not count each other: one of them at a time is enough for the tests there are.
#[derive(Debug)]
struct Lock {
    world: Arc<Mutex<World>>,
    held: bool,
}

impl DirectoryLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.held {
            self.world.lock().locked = false;
        }
    }
}
