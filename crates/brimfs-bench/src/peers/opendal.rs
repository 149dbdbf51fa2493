//! OpenDAL's memory service: immutable values in an ordered map under one mutex.

use ::opendal::services::Memory;
use ::opendal::{Buffer, ErrorKind, Operator, Writer};
use bytes::{Buf, Bytes};

use crate::block_on::block_on;
use crate::peer::{Done, Failure, Peer, PeerPath, Source, Stream};

#[derive(Debug)]
struct Dal {
    operator: Operator,
}

pub fn create() -> Done<Box<dyn Peer>> {
    Ok(Box::new(Dal {
        operator: Operator::new(Memory::default())?.finish(),
    }))
}

fn supported<T>(result: ::opendal::Result<T>) -> Done<T> {
    result.map_err(|error| match error.kind() {
        ErrorKind::Unsupported => Failure::Unsupported,
        _ => error.into(),
    })
}

impl Dal {
    fn get(&self, path: &PeerPath) -> Done<Buffer> {
        Ok(block_on(self.operator.read(path.text()))?)
    }
}

impl Peer for Dal {
    fn path(&self, absolute: &str) -> PeerPath {
        PeerPath::Text(absolute.trim_start_matches('/').to_owned())
    }

    fn create_dir(&self, path: &PeerPath) -> Done {
        Ok(block_on(
            self.operator.create_dir(&format!("{}/", path.text())),
        )?)
    }

    fn write_copied(&self, path: &PeerPath, content: &[u8]) -> Done {
        block_on(
            self.operator
                .write(path.text(), Bytes::copy_from_slice(content)),
        )?;
        Ok(())
    }

    fn write_adopted(&self, path: &PeerPath, content: &Bytes) -> Done {
        block_on(self.operator.write(path.text(), content.clone()))?;
        Ok(())
    }

    fn read_shared(&self, path: &PeerPath) -> Done<Bytes> {
        Ok(self.get(path)?.to_bytes())
    }

    fn read_copied(&self, path: &PeerPath, buffer: &mut [u8]) -> Done<usize> {
        let mut content = self.get(path)?;
        let length = buffer.len().min(content.remaining());
        content.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }

    fn stat(&self, path: &PeerPath) -> Done<u64> {
        Ok(block_on(self.operator.stat(path.text()))?.content_length())
    }

    fn remove(&self, path: &PeerPath) -> Done {
        Ok(block_on(self.operator.delete(path.text()))?)
    }

    fn rename(&self, from: &PeerPath, to: &PeerPath) -> Done {
        supported(block_on(self.operator.rename(from.text(), to.text())))
    }

    fn list(&self, path: &PeerPath, visit: &mut dyn FnMut(&[u8])) -> Done {
        let directory = format!("{}/", path.text());
        let listed = block_on(self.operator.list(&directory))?;
        // The directory itself is among its entries.
        let listed = listed.iter().filter(|entry| entry.path() != directory);
        listed.for_each(|entry| visit(entry.name().as_bytes()));
        Ok(())
    }

    fn copy(&self, from: &PeerPath, to: &PeerPath) -> Done {
        supported(block_on(self.operator.copy(from.text(), to.text()))).map(drop)
    }

    fn stream(&self, path: &PeerPath) -> Done<Box<dyn Stream + '_>> {
        Ok(Box::new(Writing(block_on(
            self.operator.writer(path.text()),
        )?)))
    }

    fn source(&self, path: &PeerPath) -> Done<Box<dyn Source + '_>> {
        Ok(Box::new(Whole {
            content: self.get(path)?,
        }))
    }
}

struct Writing(Writer);

impl Stream for Writing {
    fn write(&mut self, piece: &[u8]) -> Done {
        Ok(block_on(self.0.write(Bytes::copy_from_slice(piece)))?)
    }

    fn finish(mut self: Box<Self>) -> Done {
        block_on(self.0.close())?;
        Ok(())
    }
}

struct Whole {
    content: Buffer,
}

impl Source for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> Done<usize> {
        let length = buffer.len().min(self.content.remaining());
        self.content.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
