//! The floor: one hash map of shared buffers under one lock.
//!
//! No directories, no limits, no times, no handles. It shows what the memory itself costs, it is no
//! peer: it is left out of the best peer, and of every operation it cannot imitate. Its streams are
//! plain copies into and out of memory that was touched before.

use std::collections::HashMap;
use std::sync::{Mutex, RwLock};

use bytes::Bytes;

use crate::peer::{Done, Failure, Peer, PeerPath, RandomWrite, Source, Stream};

#[derive(Debug, Default)]
struct Floor {
    files: RwLock<HashMap<Box<str>, Bytes>>,
    /// Memory that streams write into; kept from one stream to the next so that it stays warm.
    arena: Mutex<Vec<u8>>,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Floor::default()))
}

impl Floor {
    fn get(&self, path: &PeerPath) -> Done<Bytes> {
        let files = self.files.read().expect("no holder of this lock panics");
        files.get(path.text()).cloned().ok_or_else(|| missing(path))
    }

    fn put(&self, path: &PeerPath, content: Bytes) -> Done {
        let mut files = self.files.write().expect("no holder of this lock panics");
        files.insert(path.text().into(), content);
        Ok(())
    }
}

fn missing(path: &PeerPath) -> Failure {
    Failure::Error(format!("{} is missing", path.text()))
}

impl Peer for Floor {
    fn create_dir(&self, _path: &PeerPath) -> Done {
        Ok(())
    }

    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done {
        self.put(path, Bytes::copy_from_slice(content))
    }

    fn write_adopted(&self, path: &PeerPath, content: &Bytes) -> Done {
        self.put(path, content.clone())
    }

    fn read_shared(&self, path: &PeerPath) -> Done<Bytes> {
        self.get(path)
    }

    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize> {
        let content = self.get(path)?;
        let length = buffer.len().min(content.len());
        buffer[..length].copy_from_slice(&content[..length]);
        Ok(length)
    }

    fn stat(&self, path: &PeerPath) -> Done<u64> {
        let files = self.files.read().expect("no holder of this lock panics");
        files
            .get(path.text())
            .map(|content| content.len() as u64)
            .ok_or_else(|| missing(path))
    }

    fn remove(&self, path: &PeerPath) -> Done {
        let mut files = self.files.write().expect("no holder of this lock panics");
        files
            .remove(path.text())
            .map(drop)
            .ok_or_else(|| missing(path))
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        let files = self.files.read().expect("no holder of this lock panics");
        let prefix = path.text().len() + 1;
        files
            .keys()
            .for_each(|name| visit(name.as_bytes().get(prefix..).unwrap_or_default()));
        Ok(())
    }

    fn stream(&self, _path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        let arena = std::mem::take(&mut *self.arena.lock().expect("no holder panics"));
        Ok(Box::new(FloorStream {
            floor: self,
            arena,
            at: 0,
        }))
    }

    fn source(&self, _path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        let arena = std::mem::take(&mut *self.arena.lock().expect("no holder panics"));
        Ok(Box::new(FloorStream {
            floor: self,
            arena,
            at: 0,
        }))
    }

    fn random_write(&self, path: &PeerPath) -> Done<Box<dyn RandomWrite + '_>> {
        Ok(Box::new(FloorRandom {
            content: self.get(path)?.to_vec(),
        }))
    }

    fn view(&self, path: &PeerPath) -> Done<(usize, usize)> {
        let content = self.get(path)?;
        Ok((content.as_ptr().addr(), content.len()))
    }
}

struct FloorStream<'a> {
    floor: &'a Floor,
    arena: Vec<u8>,
    at: usize,
}

impl Stream for FloorStream<'_> {
    fn write(&mut self, piece: &[u8]) -> Done {
        let end = self.at + piece.len();
        if self.arena.len() < end {
            self.arena.resize(end, 0);
        }
        self.arena[self.at..end].copy_from_slice(piece);
        self.at = end;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Done {
        Ok(())
    }
}

impl Source for FloorStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        let length = buffer.len().min(self.arena.len() - self.at);
        buffer[..length].copy_from_slice(&self.arena[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

impl Drop for FloorStream<'_> {
    fn drop(&mut self) {
        if let Ok(mut arena) = self.floor.arena.lock() {
            *arena = std::mem::take(&mut self.arena);
        }
    }
}

struct FloorRandom {
    content: Vec<u8>,
}

impl RandomWrite for FloorRandom {
    fn write_at(&mut self, offset: u64, piece: &[u8]) -> Done {
        let start = usize::try_from(offset)?;
        self.content[start..start + piece.len()].copy_from_slice(piece);
        Ok(())
    }
}
