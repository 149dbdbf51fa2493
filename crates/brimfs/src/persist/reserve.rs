//! A file of the store that holds space and nothing else: given up piece by piece when something has to be written
//! that the disk has no space for otherwise.
//!
//! Nobody reads it, so nothing depends on what a crash leaves of it.

use std::io;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::cold::segment::Store;
use crate::io::directory::{Access, Directory};
use crate::io::disk::{ALIGNMENT, DiskFile};

/// The file's name.
const NAME: &str = "reserve";
/// Given up at once at least, in bytes.
pub(super) const STEP: u64 = 16 << 10;
/// What a group of the journal takes beside its records, or the beginning of a journal file, in bytes.
pub(super) const JOURNAL_BYTES: u64 = 16 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Reserve {
    directory: Arc<dyn Directory>,
    file: Option<Box<dyn DiskFile>>,
    /// Bytes that are allocated.
    len: u64,
    /// What of them counts for the disk limit, from the moment on that a store is there.
    counted: u64,
    segments: Option<Arc<Store>>,
    is_kept: bool,
}

impl Reserve {
    /// The reserve that is there, if there is one and it is to be kept. Takes no space.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn open(directory: Arc<dyn Directory>, is_kept: bool) -> Result<Self, Fault> {
        let mut reserve = Reserve {
            directory,
            file: None,
            len: 0,
            counted: 0,
            segments: None,
            is_kept,
        };
        if !is_kept {
            return Ok(reserve);
        }
        match reserve.directory.open(NAME, Access::ReadWrite) {
            Ok(file) => {
                reserve.len = file.len().map_err(Fault::disk)?;
                reserve.file = Some(file);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Fault::disk(error)),
        }
        Ok(reserve)
    }

    /// Creates the file if it is not there. Its name becomes durable with that of the journal's next file.
    ///
    /// # Errors
    /// Those of the disk; a full one does without.
    pub(super) fn create(&mut self) -> Result<(), Fault> {
        if self.is_kept && self.file.is_none() {
            match self.directory.create(NAME).map_err(Fault::disk) {
                Ok(file) => self.file = Some(file),
                Err(fault) if is_short_of_disk(&fault) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// From now on what is kept counts for the limit of these segments, but for what is kept for moving records: the
    /// store has a segment of the limit for that.
    pub(super) fn attach(&mut self, segments: Arc<Store>) {
        self.segments = Some(segments);
    }

    /// Bytes that it holds.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The room that it is, but for so many bytes.
    pub(super) fn room(&self, uncounted: u64) -> u64 {
        self.counted.min(self.len.saturating_sub(uncounted))
    }

    /// Holds so many bytes at least, of which all but `uncounted` count for the disk limit.
    ///
    /// # Errors
    /// [`DiskLimit`](ErrorKind::DiskLimit), [`DiskFull`](ErrorKind::DiskFull); as many are held as before then.
    pub(super) fn grow(&mut self, len: u64, uncounted: u64) -> Result<(), Fault> {
        let before = self.counted;
        let len = len.next_multiple_of(ALIGNMENT as u64);
        self.count(len.saturating_sub(uncounted).max(self.counted))?;
        if len <= self.len {
            return Ok(());
        }
        self.allocate(len)
            .inspect_err(|_| self.count_no_more_than(before))
    }

    fn count(&mut self, counted: u64) -> Result<(), Fault> {
        if let Some(segments) = &self.segments {
            segments.set_aside(counted - self.counted)?;
            self.counted = counted;
        }
        Ok(())
    }

    fn count_no_more_than(&mut self, most: u64) {
        let less = self.counted.saturating_sub(most);
        if let Some(segments) = &self.segments {
            segments.give_aside(less);
        }
        self.counted -= less;
    }

    fn allocate(&mut self, len: u64) -> Result<(), Fault> {
        self.create()?;
        let file = self.file.as_ref().ok_or(ErrorKind::DiskFull)?;
        // From the beginning: a crash may have left the length without the space.
        let allocated = file.allocate(0, len);
        if allocated.is_ok() {
            self.len = len;
            // Whoever goes on after a crash may find nothing else. Nothing is lost where this fails.
            let _ = file.sync_data();
        } else {
            // What was allocated of it before the disk was full is nobody's.
            let _ = file.truncate(self.len);
        }
        allocated.map_err(Fault::disk)
    }

    /// Makes sure that what a crash may have taken back of it is there.
    ///
    /// # Errors
    /// As [`Reserve::grow`]; it is empty then.
    pub(super) fn renew(&mut self) -> Result<(), Fault> {
        let Some(file) = self.file.as_ref().filter(|_| self.len > 0) else {
            return Ok(());
        };
        let renewed = file.allocate(0, self.len);
        renewed.map_err(|error| {
            self.give_up(self.len);
            Fault::disk(error)
        })
    }

    /// Gives about so many bytes back to the disk, or what is left, and to the disk limit as far as they count.
    /// Whether there were any.
    pub(super) fn give_up(&mut self, bytes: u64) -> bool {
        let before = self.len;
        let is_less = self.lend(bytes);
        let less = before - self.len;
        self.count_no_more_than(self.counted.saturating_sub(less));
        is_less
    }

    /// As [`Reserve::give_up`], of what does not count for the disk limit as long as there is such.
    pub(super) fn lend(&mut self, bytes: u64) -> bool {
        let bytes = bytes.max(STEP).next_multiple_of(ALIGNMENT as u64);
        let left = self.len.saturating_sub(bytes);
        let Some(file) = self.file.as_ref().filter(|_| self.len > 0) else {
            return false;
        };
        if file.truncate(left).is_err() {
            return false;
        }
        self.len = left;
        self.count_no_more_than(left);
        true
    }

    /// Does something that takes about so many bytes of the disk, and again with what is given up for it.
    ///
    /// # Errors
    /// Those of `attempt`, which has changed nothing when it fails for lack of space.
    pub(super) fn spend<R>(
        &mut self,
        bytes: u64,
        mut attempt: impl FnMut() -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        loop {
            match attempt() {
                Err(fault) if is_short_of_disk(&fault) && self.give_up(bytes) => {}
                done => return done,
            }
        }
    }
}

pub(super) fn is_short_of_disk(fault: &Fault) -> bool {
    matches!(fault.kind(), ErrorKind::DiskLimit | ErrorKind::DiskFull)
}
