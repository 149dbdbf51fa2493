//! What a transfer counts while bytes stream: its limits, and whom it tells.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use brimfs::ErrorKind;

use crate::failure::{Failure, Outcome};

/// What an archive may hold at most. Declared sizes are checked before anything is allocated, real ones as
/// they stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Entries, directories and skipped ones included.
    pub entries: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes that come out for each byte that was read, of one file of a zip and of all. Counts from
    /// [`Limits::RATIO_FROM`] bytes on; infinity is no limit.
    pub ratio: f64,
    /// Names in one path.
    pub depth: u32,
}

impl Limits {
    /// What came out when the ratio begins to count, in bytes.
    pub const RATIO_FROM: u64 = 16 << 20;

    /// Whether names may be so deep.
    pub(crate) fn check_depth(&self, names: usize) -> Outcome<()> {
        let limit = self.depth;
        if names <= limit as usize {
            return Ok(());
        }
        Err(Failure::limit(format!("more than {limit} names deep")))
    }
}

impl Default for Limits {
    /// A million entries, 200 bytes for each byte, 128 names deep. How many bytes is up to the quota and to the
    /// memory and disk limits of the filesystem.
    fn default() -> Self {
        Limits {
            entries: 1_000_000,
            total_bytes: u64::MAX,
            file_bytes: u64::MAX,
            ratio: 200.0,
            depth: 128,
        }
    }
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Entries that are done.
    pub entries: u64,
    /// Bytes of files that are done.
    pub bytes: u64,
    /// Bytes that there are, if that is known.
    pub total: Option<u64>,
    /// What is at hand: a name in the archive, or a path below the tree.
    pub name: &'a [u8],
}

/// Told after every entry and mebibyte, on the thread that called; `false` cancels. Of a zip that several threads unpack it is told
/// of what that thread does, and at the end.
pub type Report<'a> = dyn FnMut(&Progress<'_>) -> bool + 'a;

/// The counters of one transfer; several threads count.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) limits: Limits,
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Some thread failed, or the caller cancelled: the others stop.
    stopped: AtomicBool,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Meter {
            limits,
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Counts content that arrived.
    pub(crate) fn add(&self, bytes: u64) -> Outcome<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.check_total(total)
    }

    /// Counts an entry that is done.
    pub(crate) fn entry(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn check_entries(&self, entries: u64) -> Outcome<()> {
        let limit = self.limits.entries;
        if entries <= limit {
            return Ok(());
        }
        Err(Failure::limit(format!("more than {limit} entries")))
    }

    pub(crate) fn check_total(&self, bytes: u64) -> Outcome<()> {
        let limit = self.limits.total_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let text = format!("more than {limit} bytes in all files together");
        Err(Failure::limit(text))
    }

    pub(crate) fn check_file(&self, bytes: u64) -> Outcome<()> {
        let limit = self.limits.file_bytes;
        if bytes <= limit {
            return Ok(());
        }
        Err(Failure::limit(format!(
            "more than {limit} bytes in one file"
        )))
    }

    /// Whether so many bytes may come out of so many that were read.
    pub(crate) fn check_ratio(&self, out: u64, read: u64) -> Outcome<()> {
        let ratio = self.limits.ratio;
        if out <= Limits::RATIO_FROM || out as f64 <= ratio * read as f64 {
            return Ok(());
        }
        let text = format!("more than {ratio} bytes for each of {read} bytes that it takes");
        Err(Failure::limit(text))
    }

    /// Tells the caller how far it is.
    pub(crate) fn tell(
        &self,
        report: &mut Report<'_>,
        total: Option<u64>,
        name: &[u8],
    ) -> Outcome<()> {
        // Who said no is not asked again.
        if self.stopped.load(Ordering::Relaxed) {
            return Err(cancelled());
        }
        let progress = Progress {
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes(),
            total,
            name,
        };
        if report(&progress) {
            return Ok(());
        }
        self.stop();
        Err(cancelled())
    }
}

fn cancelled() -> Failure {
    Failure::new(ErrorKind::Cancelled, "the progress callback said so")
}
