//! The `object_store` crate's `InMemory`: immutable objects in an ordered map under one lock.

use ::object_store::memory::InMemory;
use ::object_store::path::Path;
use ::object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use bytes::Bytes;

use crate::block_on::block_on;
use crate::peer::{Done, Failure, Peer, PeerPath, Source, Stream};

#[derive(Debug)]
struct Objects {
    store: InMemory,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Objects {
        store: InMemory::new(),
    }))
}

fn object(path: &PeerPath) -> Done<&Path> {
    match path {
        PeerPath::Object(path) => Ok(path),
        PeerPath::Text(text) => Err(Failure::Error(format!("{text} was not prepared"))),
    }
}

impl Objects {
    fn get(&self, path: &PeerPath) -> Done<Bytes> {
        let path = object(path)?;
        Ok(block_on(async {
            self.store.get(path).await?.bytes().await
        })?)
    }

    fn put(&self, path: &PeerPath, content: Bytes) -> Done {
        block_on(
            self.store
                .put(object(path)?, PutPayload::from_bytes(content)),
        )?;
        Ok(())
    }
}

impl Peer for Objects {
    fn path(&self, absolute: &str) -> PeerPath {
        PeerPath::Object(Path::from(absolute))
    }

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
        Ok(block_on(self.store.head(object(path)?))?.size)
    }

    fn remove(&self, path: &PeerPath) -> Done {
        Ok(block_on(self.store.delete(object(path)?))?)
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        let listed = block_on(self.store.list_with_delimiter(Some(object(path)?)))?;
        for entry in &listed.objects {
            visit(entry.location.filename().unwrap_or_default().as_bytes());
        }
        Ok(())
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        Ok(block_on(self.store.copy(object(from)?, object(to)?))?)
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(Upload(block_on(
            self.store.put_multipart(object(path)?),
        )?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(Whole {
            content: self.get(path)?,
        }))
    }

    fn view(&self, path: &PeerPath) -> Done<(usize, usize)> {
        let content = self.get(path)?;
        Ok((content.as_ptr().addr(), content.len()))
    }
}

struct Upload(Box<dyn MultipartUpload>);

impl Stream for Upload {
    fn write(&mut self, piece: &[u8]) -> Done {
        Ok(block_on(self.0.put_part(PutPayload::from_bytes(
            Bytes::copy_from_slice(piece),
        )))?)
    }

    fn finish(mut self: Box<Self>) -> Done {
        block_on(self.0.complete())?;
        Ok(())
    }
}

struct Whole {
    content: Bytes,
}

impl Source for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        let piece = self.content.split_to(buffer.len().min(self.content.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}
