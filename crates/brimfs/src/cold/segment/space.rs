//! Bytes on disk: counted before they are reserved, and given back when the file is closed.

use crate::base::error::{ErrorKind, Fault, LimitInfo};
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::io::disk::DiskFile;

/// The limit of the disk and what is taken of it.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) limit: u64,
    /// What is set aside included.
    used: AtomicU64,
    aside: AtomicU64,
}

impl Space {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Space {
            limit,
            used: AtomicU64::new(0),
            aside: AtomicU64::new(0),
        })
    }

    /// Without what is set aside.
    pub(super) fn used(&self) -> u64 {
        let aside = self.aside.load(Ordering::Relaxed);
        self.used.load(Ordering::Relaxed).saturating_sub(aside)
    }

    /// Sets bytes aside that nobody but their owner takes.
    pub(super) fn set_aside(&self, bytes: u64, ceiling: u64) -> Result<(), Fault> {
        self.take(bytes, ceiling)?;
        self.aside.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn give_aside(&self, bytes: u64) {
        self.aside.fetch_sub(bytes, Ordering::Relaxed);
        self.give(bytes);
    }

    /// Takes `bytes` if no more than `ceiling` are in use then.
    fn take(&self, bytes: u64, ceiling: u64) -> Result<(), Fault> {
        let fits = |used: u64| used.checked_add(bytes).filter(|after| *after <= ceiling);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(drop)
            .map_err(|used| {
                let info = LimitInfo {
                    requested: bytes,
                    used,
                    limit: ceiling,
                };
                Fault::limit(ErrorKind::DiskLimit, info)
            })
    }

    /// Counts what is there already, whatever the limit.
    fn adopt(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "gave back {bytes} of {before}");
    }
}

/// A file with the space that is reserved for it.
#[derive(Debug)]
pub(super) struct SegmentFile {
    /// Declared first: the space is given back when the file is closed.
    pub(super) file: Box<dyn DiskFile>,
    reserved: Reserved,
}

#[derive(Debug)]
struct Reserved {
    bytes: AtomicU64,
    space: Arc<Space>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.space.give(self.bytes.load(Ordering::Relaxed));
    }
}

impl SegmentFile {
    pub(super) fn new(file: Box<dyn DiskFile>, space: &Arc<Space>) -> Self {
        SegmentFile {
            file,
            reserved: Reserved {
                bytes: AtomicU64::new(0),
                space: space.clone(),
            },
        }
    }

    /// A file that was there and has `bytes`.
    pub(super) fn found(file: Box<dyn DiskFile>, bytes: u64, space: &Arc<Space>) -> Self {
        let found = Self::new(file, space);
        space.adopt(bytes);
        found.reserved.bytes.store(bytes, Ordering::Relaxed);
        found
    }

    pub(super) fn reserved(&self) -> u64 {
        self.reserved.bytes.load(Ordering::Relaxed)
    }

    /// Reserves up to `wish`, but at least up to `need`, within `ceiling` for all files together.
    /// Called under the lock of the tail: one thread at a time.
    pub(super) fn reserve(&self, need: u64, wish: u64, ceiling: u64) -> Result<(), Fault> {
        let have = self.reserved();
        if need <= have {
            return Ok(());
        }
        match self.grow(have, wish.max(need), ceiling) {
            Ok(()) => Ok(()),
            Err(_) if wish > need => self.grow(have, need, ceiling),
            Err(fault) => Err(fault),
        }
    }

    fn grow(&self, have: u64, to: u64, ceiling: u64) -> Result<(), Fault> {
        let more = to - have;
        let space = &self.reserved.space;
        space.take(more, ceiling)?;
        self.file.allocate(have, more).map_err(|error| {
            space.give(more);
            Fault::disk(error)
        })?;
        self.reserved.bytes.store(to, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back what lies behind `end`. A disk that refuses keeps it, and it stays counted.
    pub(super) fn cut(&self, end: u64) {
        let have = self.reserved();
        if end < have && self.file.truncate(end).is_ok() {
            self.reserved.bytes.store(end, Ordering::Relaxed);
            self.reserved.space.give(have - end);
        }
    }
}
