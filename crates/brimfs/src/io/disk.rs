//! The seam to disks: what the cold tier asks of one, so that a simulation can stand in for it.
//!
//! An implementation does single calls and may come back short or interrupted, as the operating
//! system may; [`read_full`] and [`write_full`] carry on from there, for real and simulated
//! disks alike.

use std::fmt;
use std::io;
use std::path::Path;

/// Offsets, lengths and addresses of every transfer are multiples of this, in bytes.
pub const ALIGNMENT: usize = 4096;

/// How often a call may come back without progress before that is an error.
const IDLE_CALLS_MAX: u32 = 100;

/// What there is to know of a directory before files are made in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes that an unprivileged user can still store there.
    pub free: u64,
    /// Size of the filesystem in bytes.
    pub total: u64,
    /// The directory lies in memory (tmpfs, ramfs): what is put there was not moved out of memory.
    pub in_memory: bool,
}

/// A disk, real or simulated.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a file that only this process can reach and that is gone with its last handle.
    ///
    /// The file is open for reading and writing, has mode 0600 and length zero.
    ///
    /// # Errors
    /// Those of the operating system: no such directory, no permission, a full or failing disk.
    fn create_nameless(&self, directory: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Looks at a directory.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` or another error of the operating system.
    fn probe(&self, directory: &Path) -> io::Result<Place>;
}

/// An open file of a [`Disk`]. Transfers leave nothing behind in the page cache for long.
#[expect(clippy::len_without_is_empty, reason = "it asks the operating system")]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads from `offset` on, once. Returns how many bytes, 0 at the end of the file.
    ///
    /// `offset`, the length and the address of `into` are multiples of [`ALIGNMENT`].
    ///
    /// # Errors
    /// Those of the operating system, `Interrupted` included.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes at `offset`, once. Returns how many bytes. Aligned as in [`DiskFile::read_at`].
    ///
    /// # Errors
    /// Those of the operating system, `Interrupted` included.
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<usize>;

    /// Reserves space, so that writing there cannot find the disk full, and sets the length to
    /// the end of it at least.
    ///
    /// A filesystem that cannot reserve sets the length only: then a full disk shows when it
    /// is written to.
    ///
    /// # Errors
    /// `StorageFull`, `QuotaExceeded` or another error of the operating system.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Cuts the file to `len` bytes and gives back the space behind.
    ///
    /// # Errors
    /// Those of the operating system.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn len(&self) -> io::Result<u64>;

    /// Makes what was written and the length durable.
    ///
    /// # Errors
    /// Those of the operating system. What was written since the last success may be lost then.
    fn sync_data(&self) -> io::Result<()>;

    /// Whether the file has a name, and how it came to have none.
    fn nameless(&self) -> Nameless;
}

/// Whether a file has a name, and how it came to have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nameless {
    /// It never had one.
    Born,
    /// The filesystem cannot do that: it was created under a random name, which was removed at once.
    Unlinked,
    /// It has one, in a [`Directory`](crate::io::directory::Directory).
    Named,
}

/// Reads all of `into`, whatever short or interrupted calls it takes.
///
/// # Errors
/// `UnexpectedEof` where the file ends before; else those of [`DiskFile::read_at`].
pub fn read_full(file: &dyn DiskFile, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    let mut idle = 0;
    while done < into.len() {
        match file.read_at(offset + done as u64, &mut into[done..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += progress(count, into.len() - done, &mut idle)?,
            Err(error) => interrupted(error, &mut idle)?,
        }
    }
    Ok(())
}

/// Writes all of `from`, whatever short or interrupted calls it takes.
///
/// # Errors
/// `WriteZero` where nothing more is taken; else those of [`DiskFile::write_at`]. How much was
/// written is unknown then.
pub fn write_full(file: &dyn DiskFile, offset: u64, from: &[u8]) -> io::Result<()> {
    let mut done = 0;
    let mut idle = 0;
    while done < from.len() {
        match file.write_at(offset + done as u64, &from[done..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += progress(count, from.len() - done, &mut idle)?,
            Err(error) => interrupted(error, &mut idle)?,
        }
    }
    Ok(())
}

/// The next call must be aligned again, so a short one counts down to the last boundary.
fn progress(count: usize, wanted: usize, idle: &mut u32) -> io::Result<usize> {
    if count >= wanted {
        return Ok(wanted);
    }
    let whole = count - count % ALIGNMENT;
    *idle = if whole == 0 { *idle + 1 } else { 0 };
    if *idle > IDLE_CALLS_MAX {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(whole)
}

fn interrupted(error: io::Error, idle: &mut u32) -> io::Result<()> {
    *idle += 1;
    if error.kind() == io::ErrorKind::Interrupted && *idle <= IDLE_CALLS_MAX {
        return Ok(());
    }
    Err(error)
}
