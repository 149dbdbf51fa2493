//! An open file of the simulated directory.

use std::io;
use std::sync::Arc;

use brimfs::face::disk::{ALIGNMENT, DiskFile, Nameless};
use parking_lot::Mutex;

use super::content::Content;
use super::{Pending, ReadDamage, World};
use crate::disk::{Failure, check_alignment, half};

#[derive(Debug)]
pub(super) struct File {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) inode: usize,
    pub(super) writable: bool,
}

/// How many bytes of a transfer of `len` are done, and how it ends.
fn outcome(failure: Option<Failure>, len: usize) -> (usize, io::Result<()>) {
    match failure {
        None => (len, Ok(())),
        Some(Failure::Short) => (half(len), Ok(())),
        Some(Failure::Interrupted) => (0, Err(Failure::Interrupted.error())),
        Some(failure) => (half(len), Err(failure.error())),
    }
}

impl File {
    fn check_writable(&self, world: &World) -> io::Result<()> {
        if world.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.world.lock().inodes[self.inode].open -= 1;
    }
}

impl DiskFile for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        check_alignment(offset, into);
        let mut world = self.world.lock();
        let number = world.calls;
        let (len, end) = outcome(world.count()?, into.len());
        end?;
        let damage = world.damage.filter(|(call, _)| *call == number);
        let bytes = &world.inodes[self.inode].current;
        let mut start = (offset as usize).min(bytes.len());
        let len = len.min(bytes.len() - start);
        if let Some((_, ReadDamage::Misdirected(by))) = damage {
            let places = (bytes.len() - len) / ALIGNMENT + 1;
            start = (start / ALIGNMENT + by as usize) % places * ALIGNMENT;
        }
        bytes.read(start, &mut into[..len]);
        if let Some((_, ReadDamage::Flipped(bit))) = damage
            && len > 0
        {
            let bit = bit as usize % (len * 8);
            into[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(len)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize> {
        check_alignment(offset, from);
        let mut world = self.world.lock();
        let (len, end) = outcome(world.count()?, from.len());
        self.check_writable(&world)?;
        let (start, stop) = (offset as usize, offset as usize + len);
        let had = world.inodes[self.inode].current.len();
        if stop > had {
            world.check_space(stop - had)?;
            world.set_len(self.inode, stop);
        }
        world.written += len as u64;
        if len > 0 {
            let bytes = Arc::new(Content::new(&from[..len]));
            Arc::make_mut(&mut world.inodes[self.inode].current).paste(start, &bytes, 0..len);
            world.pending.push(Pending::Write {
                inode: self.inode,
                offset: start,
                bytes,
            });
        }
        end.map(|()| len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call()?;
        self.check_writable(&world)?;
        let end = (offset + len) as usize;
        let had = world.inodes[self.inode].current.len();
        if end > had {
            world.check_space(end - had)?;
            world.set_len(self.inode, end);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.call()?;
        self.check_writable(&world)?;
        world.set_len(self.inode, len as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut world = self.world.lock();
        world.call()?;
        Ok(world.inodes[self.inode].current.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let meeting = self.world.lock().meeting.clone();
        if let Some(meeting) = meeting {
            meeting.wait();
            meeting.wait();
        }
        let mut world = self.world.lock();
        let called = world.call();
        if world.stop.is_some_and(|stop| world.calls > stop) {
            return called;
        }
        let covered = world.take_pending(Some(self.inode));
        if called.is_err() {
            let inode = &mut world.inodes[self.inode];
            inode.current = inode.durable.clone();
            return called;
        }
        for item in covered {
            world.keep(&item);
        }
        Ok(())
    }

    fn nameless(&self) -> Nameless {
        Nameless::Named
    }
}
