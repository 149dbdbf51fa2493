//! `std::fs` on the kernel's tmpfs: the memory filesystem that everybody already has.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use crate::peer::{Done, Peer, PeerPath, RandomWrite, Source, Stream};

const TMPFS: &str = "/dev/shm";

#[derive(Debug)]
struct Tmpfs {
    root: TempDir,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Tmpfs {
        root: tempfile::Builder::new()
            .prefix("brimfs-bench")
            .tempdir_in(TMPFS)?,
    }))
}

impl Peer for Tmpfs {
    fn path(&self, absolute: &str) -> PeerPath {
        PeerPath::Text(format!("{}{absolute}", self.root.path().display()))
    }

    fn create_dir(&self, path: &PeerPath) -> Done {
        Ok(fs::create_dir(path.text())?)
    }

    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done {
        Ok(fs::write(path.text(), content)?)
    }

    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize> {
        Ok(File::open(path.text())?.read(buffer)?)
    }

    fn stat(&self, path: &PeerPath) -> Done<u64> {
        Ok(fs::metadata(path.text())?.len())
    }

    fn remove(&self, path: &PeerPath) -> Done {
        Ok(fs::remove_file(path.text())?)
    }

    fn rename(&self, from: &PeerPath, to: &PeerPath) -> Done {
        Ok(fs::rename(from.text(), to.text())?)
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        for entry in fs::read_dir(path.text())? {
            visit(entry?.file_name().as_bytes());
        }
        Ok(())
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        fs::copy(from.text(), to.text())?;
        Ok(())
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(HostFile(File::create(path.text())?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(HostFile(File::open(path.text())?)))
    }

    fn random_write(&self, path: &PeerPath) -> Done<Box<dyn RandomWrite + '_>> {
        Ok(Box::new(HostFile(
            File::options().write(true).open(path.text())?,
        )))
    }

    /// The files outlive the process, unless the directory is removed.
    fn discard(self: Box<Self>) {}
}

struct HostFile(File);

impl Stream for HostFile {
    fn write(&mut self, piece: &[u8]) -> Done {
        Ok(self.0.write_all(piece)?)
    }

    fn finish(self: Box<Self>) -> Done {
        Ok(())
    }
}

impl Source for HostFile {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        Ok(self.0.read(buffer)?)
    }
}

impl RandomWrite for HostFile {
    fn write_at(&mut self, offset: u64, piece: &[u8]) -> Done {
        Ok(self.0.write_all_at(piece, offset)?)
    }
}
