//! The `vfs` crate's `MemoryFS`: a map of full paths, called through its `FileSystem` trait.

use std::io::{Read, Write};

use ::vfs::{FileSystem, MemoryFS, SeekAndRead, SeekAndWrite};

use crate::peer::{Done, Peer, PeerPath, Source, Stream};

struct Vfs {
    fs: MemoryFS,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Vfs {
        fs: MemoryFS::new(),
    }))
}

impl Peer for Vfs {
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
        Ok(self.fs.metadata(path.text())?.len)
    }

    fn remove(&self, path: &PeerPath) -> Done {
        Ok(self.fs.remove_file(path.text())?)
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        self.fs
            .read_dir(path.text())?
            .for_each(|name| visit(name.as_bytes()));
        Ok(())
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        let mut source = self.fs.open_file(from.text())?;
        std::io::copy(&mut source, &mut self.fs.create_file(to.text())?)?;
        Ok(())
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(Writing(self.fs.create_file(path.text())?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(Reading(self.fs.open_file(path.text())?)))
    }
}

struct Writing(Box<dyn SeekAndWrite + Send>);

impl Stream for Writing {
    fn write(&mut self, piece: &[u8]) -> Done {
        Ok(self.0.write_all(piece)?)
    }

    fn finish(self: Box<Self>) -> Done {
        Ok(())
    }
}

struct Reading(Box<dyn SeekAndRead + Send>);

impl Source for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        Ok(self.0.read(buffer)?)
    }
}
