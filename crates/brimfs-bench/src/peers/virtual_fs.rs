//! Wasmer's `virtual-fs`, its in-memory filesystem: a slab of nodes under one lock.

use std::io::SeekFrom;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ::virtual_fs::mem_fs::FileSystem as MemFs;
use ::virtual_fs::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, FileSystem, VirtualFile};

use crate::block_on::block_on;
use crate::peer::{Done, Peer, PeerPath, RandomWrite, Source, Stream};

type Handle = Box<dyn VirtualFile + Send + Sync + 'static>;

#[derive(Debug)]
struct Virtual {
    fs: MemFs,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Virtual {
        fs: MemFs::default(),
    }))
}

fn host(path: &PeerPath) -> &Path {
    Path::new(path.text())
}

impl Virtual {
    fn read(&self, path: &PeerPath) -> Done<Handle> {
        Ok(self.fs.new_open_options().read(true).open(host(path))?)
    }

    fn replace(&self, path: &PeerPath) -> Done<Handle> {
        Ok(self
            .fs
            .new_open_options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(host(path))?)
    }
}

impl Peer for Virtual {
    fn create_dir(&self, path: &PeerPath) -> Done {
        Ok(self.fs.create_dir(host(path))?)
    }

    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done {
        Ok(block_on(self.replace(path)?.write_all(content))?)
    }

    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize> {
        Ok(block_on(self.read(path)?.read(buffer))?)
    }

    fn stat(&self, path: &PeerPath) -> Done<u64> {
        Ok(self.fs.metadata(host(path))?.len())
    }

    fn remove(&self, path: &PeerPath) -> Done {
        Ok(self.fs.remove_file(host(path))?)
    }

    fn rename(&self, from: &PeerPath, to: &PeerPath) -> Done {
        Ok(block_on(self.fs.rename(host(from), host(to)))?)
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        for entry in self.fs.read_dir(host(path))? {
            visit(entry?.file_name().as_bytes());
        }
        Ok(())
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        // Its own `copy_reference` asks the source for its times while it holds the write lock that
        // the answer needs, and never returns; so the bytes are copied.
        let mut content = Vec::new();
        block_on(self.read(from)?.read_to_end(&mut content))?;
        Ok(block_on(self.replace(to)?.write_all(&content))?)
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(Open(self.replace(path)?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(Open(self.read(path)?)))
    }

    fn random_write(&self, path: &PeerPath) -> Done<Box<dyn RandomWrite + '_>> {
        Ok(Box::new(Open(
            self.fs.new_open_options().write(true).open(host(path))?,
        )))
    }
}

struct Open(Handle);

impl Stream for Open {
    fn write(&mut self, piece: &[u8]) -> Done {
        Ok(block_on(self.0.write_all(piece))?)
    }

    fn finish(self: Box<Self>) -> Done {
        Ok(())
    }
}

impl Source for Open {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        Ok(block_on(self.0.read(buffer))?)
    }
}

impl RandomWrite for Open {
    fn write_at(&mut self, offset: u64, piece: &[u8]) -> Done {
        block_on(self.0.seek(SeekFrom::Start(offset)))?;
        Ok(block_on(self.0.write_all(piece))?)
    }
}
