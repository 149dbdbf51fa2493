//! One file of the simulated disk.

use std::io;
use std::sync::Arc;

use brimfs::face::disk::{ALIGNMENT, DiskFile, Nameless};
use parking_lot::Mutex;

use super::{Failure, World};

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    bytes: Vec<u8>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[derive(Debug)]
pub(super) struct SimFile {
    content: Arc<Mutex<Content>>,
    world: Arc<Mutex<World>>,
}

/// How much of a transfer is done, and how it ends.
struct Outcome {
    len: usize,
    error: Option<io::Error>,
}

impl SimFile {
    pub(super) fn new(content: Arc<Mutex<Content>>, world: Arc<Mutex<World>>) -> Self {
        SimFile { content, world }
    }

    fn transfer(&self, len: usize, count: impl FnOnce(&mut World)) -> Outcome {
        let mut world = self.world.lock();
        count(&mut world);
        let half = half(len);
        match world.count() {
            None => Outcome { len, error: None },
            Some(Failure::Short) => Outcome {
                len: half,
                error: None,
            },
            Some(Failure::Interrupted) => Outcome {
                len: 0,
                error: Some(Failure::Interrupted.error()),
            },
            Some(failure) => Outcome {
                len: half,
                error: Some(failure.error()),
            },
        }
    }

    fn call(&self) -> io::Result<()> {
        self.world.lock().call()
    }
}

/// Half, and a little more so that it ends at no boundary.
pub(crate) fn half(len: usize) -> usize {
    (len / 2 + 7).min(len)
}

pub(crate) fn check_alignment(offset: u64, bytes: &[u8]) {
    let numbers = [offset as usize, bytes.len(), bytes.as_ptr().addr()];
    assert!(
        numbers
            .iter()
            .all(|number| number.is_multiple_of(ALIGNMENT)),
        "an unaligned transfer: {numbers:?}"
    );
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        check_alignment(offset, into);
        let outcome = self.transfer(into.len(), |world| world.calls.reads += 1);
        let content = self.content.lock();
        let start = (offset as usize).min(content.bytes.len());
        let end = (start + outcome.len).min(content.bytes.len());
        into[..end - start].copy_from_slice(&content.bytes[start..end]);
        match outcome.error {
            Some(error) => Err(error),
            None => Ok(end - start),
        }
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize> {
        check_alignment(offset, from);
        let outcome = self.transfer(from.len(), |world| world.calls.writes += 1);
        let mut content = self.content.lock();
        let end = offset as usize + outcome.len;
        // The store reserves before it writes; a full disk shows there.
        assert!(
            end <= content.bytes.len(),
            "a write behind the reserved space"
        );
        content.bytes[offset as usize..end].copy_from_slice(&from[..outcome.len]);
        match outcome.error {
            Some(error) => Err(error),
            None => Ok(outcome.len),
        }
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.call()?;
        let end = offset + len;
        let more = end.saturating_sub(self.content.lock().len());
        let (capacity, files) = {
            let mut world = self.world.lock();
            (world.capacity, world.files())
        };
        let used: u64 = files.iter().map(|file| file.lock().len()).sum();
        if capacity.is_some_and(|capacity| used + more > capacity) {
            return Err(Failure::Full.error());
        }
        let mut content = self.content.lock();
        let more = (end as usize).saturating_sub(content.bytes.len());
        content.bytes.extend_from_slice(&vec![0; more]);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.call()?;
        self.content.lock().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.call()?;
        Ok(self.content.lock().len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.call()
    }

    fn nameless(&self) -> Nameless {
        Nameless::Born
    }
}
