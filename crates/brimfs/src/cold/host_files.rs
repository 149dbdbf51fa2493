//! Content that lies in files of the host, under the names that they have there.
//!
//! Each file is known in one state, its stamp: what it is read for is what it was then. A file with another stamp was changed
//! by somebody else, which is an error of its own kind; one whose bytes differ under the same stamp is damaged, where
//! checksums are known. They become known when a file is written, and block by block when it is read.
//!
//! Knows paths as a chain of names up to the root, so that a directory that moves is one change. Its lock is a leaf.

use std::io;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};
use crate::io::tree::{Moment, Tree, TreeFile, TreeKind, TreeStat};

/// What one checksum covers, in bytes of content.
pub(crate) const SUM_BLOCK: usize = 16 << 10;
/// A checksum that is not known. One that happens to be this is kept as 1.
pub(crate) const UNKNOWN: u32 = 0;
/// The number of the root among directories.
const ROOT: u64 = 1;
/// So often a reader looks again for a file whose place changes.
const LOOKS: usize = 64;

/// The checksum of a block.
#[must_use]
pub(crate) fn sum_of(block: &[u8]) -> u32 {
    crc32c::crc32c(block).max(1)
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The number of its inode.
    pub(crate) inode: u64,
    /// Bytes of content.
    pub(crate) len: u64,
    /// Last change of the content.
    pub(crate) modified: Moment,
    /// Last change of anything.
    pub(crate) changed: Moment,
}

impl From<&TreeStat> for Stamp {
    fn from(stat: &TreeStat) -> Self {
        Stamp {
            inode: stat.inode,
            len: stat.len,
            modified: stat.modified,
            changed: stat.changed,
        }
    }
}

/// A name in a directory.
pub(crate) type Spot = (u64, Box<[u8]>);

#[derive(Debug, Clone)]
enum Place {
    /// In the tree.
    At(Spot),
    /// It has no name any more, or another has it.
    Open(Arc<dyn TreeFile>),
    /// Nobody kept it.
    Lost(Box<[u8]>),
}

#[derive(Debug)]
struct HostFile {
    place: Place,
    stamp: Stamp,
    sums: Vec<u32>,
    references: u32,
}

impl HostFile {
    /// What it takes beside its place in the table, in bytes.
    fn heap_bytes(&self) -> u64 {
        let name = match &self.place {
            Place::At(spot) => heap_bytes(spot.1.len()),
            Place::Open(_) => 0,
            Place::Lost(path) => heap_bytes(path.len()),
        };
        name + heap_bytes(self.sums.capacity() * size_of::<u32>())
    }
}

/// What an allocation of so many bytes takes.
#[must_use]
pub(crate) fn heap_bytes(len: usize) -> u64 {
    match len {
        0 => 0,
        len => (len as u64 + 8).next_multiple_of(16),
    }
}

#[derive(Debug, Default)]
struct Table {
    files: Vec<Option<HostFile>>,
    free: Vec<u32>,
    /// Where directories are, but for the root.
    directories: HashMap<u64, Spot, FixedState>,
    /// What names, paths and checksums take, in bytes.
    heap: u64,
}

impl Table {
    /// Changes a file that is known, and what is counted of it.
    fn change<T>(&mut self, file: u32, change: impl FnOnce(&mut HostFile) -> T) -> Option<T> {
        let found = self.files.get_mut(file as usize)?.as_mut()?;
        let before = found.heap_bytes();
        let done = change(found);
        self.heap = self.heap + found.heap_bytes() - before;
        Some(done)
    }

    /// Gives memory back that is mostly empty.
    fn shrink(&mut self) {
        if self.files.len() - self.free.len() < self.files.len() / 8 {
            let last = self.files.iter().rposition(Option::is_some);
            self.files.truncate(last.map_or(0, |last| last + 1));
            let end = self.files.len() as u32;
            self.free.retain(|number| *number < end);
        }
        if self.files.len() < self.files.capacity() / 8 {
            self.files.shrink_to(2 * self.files.len());
        }
        if self.free.len() < self.free.capacity() / 8 {
            self.free.shrink_to(2 * self.free.len());
        }
        if self.directories.len() < self.directories.capacity() / 8 {
            self.directories.shrink_to(2 * self.directories.len());
        }
    }

    fn get(&self, file: u32) -> Option<&HostFile> {
        self.files.get(file as usize)?.as_ref()
    }

    fn get_mut(&mut self, file: u32) -> Option<&mut HostFile> {
        self.files.get_mut(file as usize)?.as_mut()
    }

    fn path(&self, spot: &Spot) -> Vec<u8> {
        let mut names = vec![&spot.1[..]];
        let mut at = spot.0;
        while at != ROOT {
            // A circle cannot be: directories are entered below others that are there.
            let Some((above, name)) = self.directories.get(&at) else {
                break;
            };
            names.push(name);
            at = *above;
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// Why a file has no bytes for a reader.
#[derive(Debug)]
pub(crate) enum HostReadError {
    /// Nothing is known of it any more: whoever asked holds an old extent.
    Gone,
    /// [`ErrorKind::ExternalChange`], [`ErrorKind::Corrupt`] or [`ErrorKind::Io`].
    Fault(Fault),
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct HostFiles {
    tree: Arc<dyn Tree>,
    table: Mutex<Table>,
    /// Held for writing while files get other names, until that is known here.
    still: RwLock<()>,
}

/// A file that is open, in which state it was last seen, and its path.
type OpenFile = (Arc<dyn TreeFile>, Stamp, Vec<u8>);

impl HostFiles {
    /// The largest number of a file.
    pub(crate) const NUMBER_MAX: u32 = (1 << 30) - 1;

    /// Knows no file yet.
    #[must_use]
    pub(crate) fn new(tree: Arc<dyn Tree>) -> Self {
        HostFiles {
            tree,
            table: Mutex::default(),
            still: RwLock::new(()),
        }
    }

    /// The tree.
    #[must_use]
    pub(crate) fn tree(&self) -> &Arc<dyn Tree> {
        &self.tree
    }

    /// Nobody opens a file until this is dropped.
    pub(crate) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.still.write()
    }

    /// A directory is there, or elsewhere than before.
    pub(crate) fn set_directory(&self, number: u64, spot: Spot) {
        let mut table = self.table.lock();
        table.heap += heap_bytes(spot.1.len());
        if let Some(before) = table.directories.insert(number, spot) {
            table.heap -= heap_bytes(before.1.len());
        }
    }

    /// A directory is no more.
    pub(crate) fn forget_directory(&self, number: u64) {
        let mut table = self.table.lock();
        if let Some(before) = table.directories.remove(&number) {
            table.heap -= heap_bytes(before.1.len());
        }
    }

    /// The path of a name in a directory.
    #[must_use]
    pub(crate) fn path(&self, directory: u64, name: &[u8]) -> Vec<u8> {
        self.table.lock().path(&(directory, name.into()))
    }

    /// The path of a directory.
    #[must_use]
    pub(crate) fn directory(&self, number: u64) -> Vec<u8> {
        let table = self.table.lock();
        match table.directories.get(&number) {
            Some(spot) => table.path(spot),
            None => Vec::new(),
        }
    }

    /// A file is there, with one reference.
    ///
    /// # Errors
    /// [`ErrorKind::NodeLimit`] if there are too many.
    pub(crate) fn add(&self, spot: Spot, stamp: Stamp, sums: Vec<u32>) -> Result<u32, Fault> {
        let mut table = self.table.lock();
        let file = HostFile {
            place: Place::At(spot),
            stamp,
            sums,
            references: 1,
        };
        let heap = file.heap_bytes();
        if let Some(number) = table.free.pop() {
            table.files[number as usize] = Some(file);
            table.heap += heap;
            return Ok(number);
        }
        let number = u32::try_from(table.files.len()).unwrap_or(u32::MAX);
        if number > Self::NUMBER_MAX {
            let text = "a mirror has room for 2^30 files";
            return Err(Fault::text(ErrorKind::NodeLimit, text));
        }
        table.files.push(Some(file));
        table.heap += heap;
        Ok(number)
    }

    /// What is known of a file.
    #[must_use]
    pub(crate) fn stamp(&self, file: u32) -> Option<Stamp> {
        self.table.lock().get(file).map(|file| file.stamp)
    }

    /// The checksums of its first blocks; those behind are not known.
    #[must_use]
    pub(crate) fn sums(&self, file: u32) -> Vec<u32> {
        let table = self.table.lock();
        table
            .get(file)
            .map_or_else(Vec::new, |file| file.sums.clone())
    }

    /// The same bytes have another stamp.
    pub(crate) fn set_stamp(&self, number: u32, stamp: Stamp) {
        if let Some(file) = self.table.lock().get_mut(number) {
            file.stamp = stamp;
        }
    }

    /// The file is found here from now on.
    pub(crate) fn set_spot(&self, number: u32, spot: Spot) {
        let mut table = self.table.lock();
        table.change(number, |file| file.place = Place::At(spot));
    }

    /// The file loses its name; `kept` is the file, if somebody still wants it.
    pub(crate) fn set_nameless(&self, number: u32, kept: Option<Arc<dyn TreeFile>>) {
        let mut table = self.table.lock();
        let path = match table.get(number).map(|file| &file.place) {
            Some(Place::At(spot)) => table.path(spot),
            _ => Vec::new(),
        };
        table.change(number, |file| {
            file.place = match kept {
                Some(kept) => Place::Open(kept),
                None => Place::Lost(path.into()),
            };
        });
    }

    /// How many references there are.
    #[must_use]
    pub(crate) fn references(&self, number: u32) -> u32 {
        self.table
            .lock()
            .get(number)
            .map_or(0, |file| file.references)
    }

    /// The references of each file that is known. For tests.
    #[must_use]
    pub(crate) fn counts(&self) -> Vec<(u32, u32)> {
        let table = self.table.lock();
        let files = table.files.iter().enumerate();
        files
            .filter_map(|(number, file)| Some((number as u32, file.as_ref()?.references)))
            .collect()
    }

    /// Whether its bytes can be had still.
    #[must_use]
    pub(crate) fn is_kept(&self, number: u32) -> bool {
        let table = self.table.lock();
        table
            .get(number)
            .is_some_and(|file| !matches!(file.place, Place::Lost(_)))
    }

    /// One reference more. False if the file is not known.
    #[must_use]
    pub(crate) fn retain(&self, number: u32) -> bool {
        let mut table = self.table.lock();
        let Some(file) = table.get_mut(number) else {
            return false;
        };
        match file.references.checked_add(1) {
            Some(more) => file.references = more,
            None => return false,
        }
        true
    }

    /// One reference less; with the last one the file is forgotten. False if it is not known.
    pub(crate) fn release(&self, number: u32) -> bool {
        let mut table = self.table.lock();
        let Some(file) = table.get_mut(number) else {
            return false;
        };
        file.references -= 1;
        let gone = match file.references {
            0 => {
                table.free.push(number);
                table.files[number as usize].take()
            }
            _ => None,
        };
        table.heap -= gone.as_ref().map_or(0, HostFile::heap_bytes);
        drop(table);
        // An open file is closed without the lock.
        drop(gone);
        true
    }

    /// What the table takes, in bytes; what of it is mostly empty is given back before.
    #[must_use]
    pub(crate) fn footprint(&self) -> u64 {
        let mut table = self.table.lock();
        table.shrink();
        let files = table.files.capacity() * size_of::<Option<HostFile>>();
        let free = table.free.capacity() * size_of::<u32>();
        (files + free + table.directories.allocation_size()) as u64 + table.heap
    }

    fn find(&self, number: u32) -> Result<(Place, Stamp, Vec<u8>), HostReadError> {
        let table = self.table.lock();
        let file = table.get(number).ok_or(HostReadError::Gone)?;
        let path = match &file.place {
            Place::At(spot) => table.path(spot),
            Place::Lost(path) => path.to_vec(),
            Place::Open(_) => Vec::new(),
        };
        Ok((file.place.clone(), file.stamp, path))
    }

    /// Opens a file that is as it was last seen.
    fn open(&self, number: u32) -> Result<OpenFile, HostReadError> {
        for _ in 0..LOOKS {
            let still = self.still.read();
            let (place, stamp, path) = self.find(number)?;
            let opened: io::Result<Arc<dyn TreeFile>> = match place {
                // What nobody can reach by a name only loses names: its stamp changes with them.
                Place::Open(file) => return Ok((file, stamp, path)),
                Place::Lost(_) => return Err(changed(&path, "it is no more")),
                Place::At(_) => self.tree.open(&path).map(Arc::from),
            };
            drop(still);
            let file = match opened {
                Ok(file) => file,
                Err(error) => return Err(unreadable(&path, error)),
            };
            let stat = file.stat().map_err(|error| failed(&path, error))?;
            if stat.kind == TreeKind::File && Stamp::from(&stat) == stamp {
                return Ok((file, stamp, path));
            }
            // A commit may have replaced it just before.
            if self.stamp(number) == Some(stamp) {
                return Err(changed(&path, "it is another one now"));
            }
        }
        Err(HostReadError::Gone)
    }

    /// Reads `into.len()` bytes from `offset` on, which are those that were there when the file was last seen.
    ///
    /// # Errors
    /// See [`HostReadError`].
    pub(crate) fn read(
        &self,
        number: u32,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), HostReadError> {
        let (file, stamp, path) = self.open(number)?;
        let end = offset.saturating_add(into.len() as u64);
        if end > stamp.len {
            let text = "the range is not inside the file";
            return Err(HostReadError::Fault(Fault::text(
                ErrorKind::InvalidArgument,
                text,
            )));
        }
        let sums = self.table.lock();
        let block = SUM_BLOCK as u64;
        let blocks = (offset / block) as usize..end.div_ceil(block) as usize;
        let known: Vec<u32> = match sums.get(number) {
            Some(file) => blocks
                .clone()
                .map(|at| file.sums.get(at).copied().unwrap_or(UNKNOWN))
                .collect(),
            None => return Err(HostReadError::Gone),
        };
        drop(sums);
        let outcome = read_all(&*file, offset, into)
            .and_then(|()| check(&*file, &stamp, offset, into, &known));
        let stat = file.stat().map_err(|error| failed(&path, error))?;
        let is_same = Stamp::from(&stat) == stamp;
        match outcome {
            Ok(fresh) if is_same || path.is_empty() => {
                self.learn(number, &stamp, blocks.start, &fresh);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData && is_same => {
                let path = String::from_utf8_lossy(&path);
                let text =
                    format!("{path:?} has other bytes, and neither times nor length changed");
                Err(HostReadError::Fault(Fault::text(ErrorKind::Corrupt, text)))
            }
            Err(error) if is_same => Err(failed(&path, error)),
            _ => Err(changed(&path, "it changed while it was read")),
        }
    }

    /// Notes checksums that were not known.
    fn learn(&self, number: u32, stamp: &Stamp, first: usize, fresh: &[u32]) {
        if fresh.iter().all(|sum| *sum == UNKNOWN) {
            return;
        }
        let mut table = self.table.lock();
        table.change(number, |file| {
            if file.stamp != *stamp {
                return;
            }
            let end = first + fresh.len();
            if file.sums.len() < end {
                file.sums.resize(end, UNKNOWN);
            }
            for (known, fresh) in file.sums[first..end].iter_mut().zip(fresh) {
                if *known == UNKNOWN {
                    *known = *fresh;
                }
            }
        });
    }
}

/// Reads all of a range.
fn read_all(file: &dyn TreeFile, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(offset + done as u64, &mut into[done..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Compares every block that the range touches with its checksum; gives those back that were not known and can be.
/// Blocks that are wanted in part are read as a whole if there is something to compare.
fn check(
    file: &dyn TreeFile,
    stamp: &Stamp,
    offset: u64,
    into: &[u8],
    known: &[u32],
) -> io::Result<Vec<u32>> {
    let end = offset + into.len() as u64;
    let first = offset / SUM_BLOCK as u64;
    let mut fresh = vec![UNKNOWN; known.len()];
    let mut whole = Vec::new();
    for (at, known) in known.iter().enumerate() {
        let start = (first + at as u64) * SUM_BLOCK as u64;
        let stop = (start + SUM_BLOCK as u64).min(stamp.len);
        let sum = if start >= offset && stop <= end {
            sum_of(&into[(start - offset) as usize..(stop - offset) as usize])
        } else if *known == UNKNOWN {
            continue;
        } else {
            whole.resize((stop - start) as usize, 0);
            read_all(file, start, &mut whole)?;
            sum_of(&whole)
        };
        if *known != UNKNOWN && *known != sum {
            return Err(io::ErrorKind::InvalidData.into());
        }
        fresh[at] = sum;
    }
    Ok(fresh)
}

/// Somebody else changed a file.
#[cold]
fn changed(path: &[u8], what: &str) -> HostReadError {
    HostReadError::Fault(external_change(path, what))
}

/// The error of whoever meets a file of the host that somebody else changed.
#[cold]
#[must_use]
pub(crate) fn external_change(path: &[u8], what: &str) -> Fault {
    let text = format!("{:?}: {what}", String::from_utf8_lossy(path));
    Fault::text(ErrorKind::ExternalChange, text)
}

#[cold]
fn failed(path: &[u8], error: io::Error) -> HostReadError {
    let text = format!("{:?}: {error}", String::from_utf8_lossy(path));
    HostReadError::Fault(Fault::disk(io::Error::new(error.kind(), text)))
}

#[cold]
fn unreadable(path: &[u8], error: io::Error) -> HostReadError {
    match error.kind() {
        io::ErrorKind::NotFound => changed(path, "it was removed"),
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
            changed(path, "it is no file any more")
        }
        _ => failed(path, error),
    }
}
