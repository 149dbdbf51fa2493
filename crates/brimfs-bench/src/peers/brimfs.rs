//! brimfs itself, through its public interface only.

use std::io::{Read, Write};
use std::ops::ControlFlow;

use ::brimfs::{File, FileSystem, OpenOptions};
use bytes::Bytes;

use crate::peer::{Done, Peer, PeerPath, RandomWrite, Resident, Source, Stream};

struct Brimfs {
    fs: FileSystem,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Brimfs {
        fs: FileSystem::new()?,
    }))
}

impl Peer for Brimfs {
    fn create_dir(&self, path: &PeerPath) -> Done {
        Ok(self.fs.create_dir(path.text())?)
    }

    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done {
        Ok(self.fs.write_slice(path.text(), content)?)
    }

    fn write_adopted(&self, path: &PeerPath, content: &Bytes) -> Done {
        Ok(self.fs.write(path.text(), content.clone())?)
    }

    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize> {
        Ok(self.fs.open(path.text())?.read(buffer)?)
    }

    fn read_shared(&self, path: &PeerPath) -> Done<Bytes> {
        Ok(self.fs.read(path.text())?)
    }

    fn stat(&self, path: &PeerPath) -> Done<u64> {
        Ok(self.fs.metadata(path.text())?.len())
    }

    fn remove(&self, path: &PeerPath) -> Done {
        Ok(self.fs.remove_file(path.text())?)
    }

    fn rename(&self, from: &PeerPath, to: &PeerPath) -> Done {
        Ok(self.fs.rename(from.text(), to.text())?)
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        Ok(self.fs.visit_dir(path.text(), |entry| {
            visit(entry.name);
            ControlFlow::Continue(())
        })?)
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        self.fs.copy(from.text(), to.text())?;
        Ok(())
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(Open(self.fs.create(path.text())?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(Open(self.fs.open(path.text())?)))
    }

    fn random_write(&self, path: &PeerPath) -> Done<Box<dyn RandomWrite + '_>> {
        let file = OpenOptions::new().write(true).open(&self.fs, path.text())?;
        Ok(Box::new(Open(file)))
    }

    fn view(&self, path: &PeerPath) -> Done<(usize, usize)> {
        let view = self.fs.view(path.text())?;
        Ok((view.as_ptr().addr(), view.len()))
    }

    fn resident(&self) -> Option<Resident> {
        Some(Resident {
            bytes: self.fs.stats().resident,
        })
    }
}

struct Open(File);

impl Stream for Open {
    fn write(&mut self, piece: &[u8]) -> Done {
        Ok(self.0.write_all(piece)?)
    }

    fn finish(self: Box<Self>) -> Done {
        Ok(())
    }
}

impl Source for Open {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        Ok(self.0.read(buffer)?)
    }
}

impl RandomWrite for Open {
    fn write_at(&mut self, offset: u64, piece: &[u8]) -> Done {
        let written = self.0.write_at(offset, piece)?;
        assert_eq!(written, piece.len(), "a write is whole or fails");
        Ok(())
    }
}
