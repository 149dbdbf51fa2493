//! The `rsfs` crate's in-memory filesystem: a tree under one mutex.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

use ::rsfs::unix_ext::FileExt;
use ::rsfs::{DirEntry, GenFS, Metadata, OpenOptions, mem};

use crate::peer::{Done, Peer, PeerPath, RandomWrite, Source, Stream};

struct Rsfs {
    fs: mem::FS,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Rsfs { fs: mem::FS::new() }))
}

impl Peer for Rsfs {
    fn create_dir(&self, path: &PeerPath) -> Done {
        Ok(self.fs.create_dir(path.text())?)
    }

    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done {
        Ok(self.fs.create_file(path.text())?.write_all(content)?)
    }

    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize> {
        Ok(self.fs.open_file(path.text())?.read(buffer)?)
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
        for entry in self.fs.read_dir(path.text())? {
            visit(OsStr::as_bytes(&entry?.file_name()));
        }
        Ok(())
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        self.fs.copy(from.text(), to.text())?;
        Ok(())
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(Open(self.fs.create_file(path.text())?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(Open(self.fs.open_file(path.text())?)))
    }

    fn random_write(&self, path: &PeerPath) -> Done<Box<dyn RandomWrite + '_>> {
        Ok(Box::new(Open(
            self.fs.new_openopts().write(true).open(path.text())?,
        )))
    }
}

struct Open(mem::File);

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
        let written = self.0.write_at(piece, offset)?;
        assert_eq!(written, piece.len(), "a write into memory is whole");
        Ok(())
    }
}
