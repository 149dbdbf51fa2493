//! Appending groups to journal files, and making them durable.
//!
//! A file is reserved in steps before anything is accepted, and steps for small groups are written
//! with zeroes: making an overwrite durable is twice as fast as making an append durable. The file
//! that follows gets its header, which repeats where the one before it ends, and when that is durable the one
//! before it gets a mark that there is another. Only then the first group goes there.

use super::buffer::Aligned;
use super::format::{
    BLOCK, FILE_HEADER, FIRST, FileHeader, GROUP_BYTES_MAX, GROUP_HEADER, GroupHeader, GroupKind,
    Identity, NUMBER_MAX, NUMBERS_AHEAD, Position, group_bytes, journal_name,
};
use super::group::Group;
use super::recovery::Recovered;
use super::{checkpoint, context};
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::io::directory::{Access, Directory};
use crate::io::disk::{DiskFile, write_full};

/// The most memory for transfers, in bytes.
const BUFFER_MAX: u64 = 256 << 10;
/// Room for the group that says that the store was closed, and for the mark that another file follows.
const CLOSING: u64 = 2 * BLOCK;

/// How much a writer reserves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A group that would make a file longer than this goes to the next one, in bytes. A longer
    /// group has a file of its own.
    pub file_bytes: u64,
    /// Space is reserved in steps of this, in bytes.
    pub step_bytes: u64,
}

impl Options {
    fn step(&self) -> u64 {
        self.step_bytes.next_multiple_of(BLOCK).max(BLOCK)
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            file_bytes: 64 << 20,
            step_bytes: 512 << 10,
        }
    }
}

/// See the module's documentation. One thread at a time; whoever shares it serialises.
///
/// After a failed write or sync it is not known what is durable: every later call is refused, and
/// the first failure named, until the store is opened anew.
#[derive(Debug)]
pub struct Writer {
    directory: Arc<dyn Directory>,
    options: Options,
    identity: Identity,
    file: Box<dyn DiskFile>,
    /// Behind the last group that was appended.
    end: Position,
    /// Behind the last group that is durable.
    durable: Position,
    /// The file has space up to here, in bytes.
    reserved: u64,
    /// The next file, if it was created and there was no space for it.
    spare: Option<Box<dyn DiskFile>>,
    poison: Option<Box<str>>,
    buffer: Aligned,
}

impl Writer {
    /// Begins the journal of a new store, in a directory in which
    /// [`recover`](super::recover) found none.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if there is a store; else as [`Writer::open`].
    pub fn create(
        directory: Arc<dyn Directory>,
        found: &Recovered,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Fault> {
        if found.identity.is_some() {
            let text = "the directory has a store already";
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        Self::start(directory, found, identity, options)
    }

    /// Goes on behind what was recovered, in a new file: remains of a group that was not finished
    /// stay where they are and are never read again. What was recovered is durable then, and what the
    /// checkpoint covers is removed.
    ///
    /// # Errors
    /// [`DiskFull`](ErrorKind::DiskFull) without space for a first small group, [`Io`](ErrorKind::Io)
    /// where the disk fails, [`InvalidArgument`](ErrorKind::InvalidArgument) if there is no store,
    /// [`Unsupported`](ErrorKind::Unsupported) if its numbers have run out. A later recovery finds what this one found.
    pub fn open(
        directory: Arc<dyn Directory>,
        found: &Recovered,
        options: Options,
    ) -> Result<Self, Fault> {
        let Some(identity) = found.identity else {
            let text = "the directory has no store";
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        };
        Self::start(directory, found, identity, options)
    }

    fn start(
        directory: Arc<dyn Directory>,
        found: &Recovered,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Fault> {
        if found.next_file.max(found.tail.group) > NUMBER_MAX - NUMBERS_AHEAD {
            let text = "the journal's groups or files have numbers that leave none for later ones";
            return Err(Fault::text(ErrorKind::Unsupported, text));
        }
        for stray in &found.strays {
            match directory.remove(stray) {
                // Gone since an attempt before, which found no space.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(|error| context("removing", stray, error))?,
            }
        }
        // What a process that died has left in the page cache was recovered and is not durable yet, nor are
        // the names that it gave.
        let before = match found.last_file {
            Some(last) => Some(open_durable(&*directory, last)?),
            None => None,
        };
        let number = found.next_file;
        let file = create(&*directory, number)?;
        let end = Position {
            file: number,
            offset: FIRST,
            ..found.tail
        };
        let mut writer = Writer {
            directory,
            options,
            identity,
            file,
            end,
            durable: end,
            reserved: 0,
            spare: None,
            poison: None,
            buffer: Aligned::new(options.step().min(BUFFER_MAX) as usize),
        };
        if let Err(fault) = writer.extend(0, FIRST + BLOCK + CLOSING) {
            // Whoever finds space for it tries again.
            let _ = writer.directory.remove(&journal_name(number));
            return Err(fault);
        }
        writer.write_file_header()?;
        if let Some(before) = before {
            writer.write_mark(&*before, found.tail)?;
        }
        if let Some(checkpoint) = &found.checkpoint {
            checkpoint::retire(&*writer.directory, checkpoint)?;
        }
        Ok(writer)
    }

    /// The store's random number.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Behind the last group that is durable.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Number of the last group that was appended, durable or not; 0 before the first.
    #[must_use]
    pub fn last_group(&self) -> u64 {
        self.end.group
    }

    /// Makes sure that a group with a payload of `len` bytes can be appended without asking the disk for
    /// space, and the store closed after it. Does nothing if that is so already, which is nearly always.
    ///
    /// # Errors
    /// [`DiskFull`](ErrorKind::DiskFull): nothing has changed, and the call succeeds when there is space
    /// again. [`InvalidArgument`](ErrorKind::InvalidArgument) above [`GROUP_BYTES_MAX`].
    /// [`Io`](ErrorKind::Io) where the disk fails or failed before.
    pub fn reserve(&mut self, len: u64) -> Result<(), Fault> {
        self.check_poison()?;
        if len > GROUP_BYTES_MAX {
            let text = format!("a group of {len} bytes is longer than {GROUP_BYTES_MAX}");
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        let need = group_bytes(len) + CLOSING;
        if self.end.offset + need <= self.reserved {
            return Ok(());
        }
        if self.end.offset + need > self.options.file_bytes && self.end.offset > FIRST {
            return self.roll(need);
        }
        self.extend(self.reserved, self.end.offset + need)
    }

    /// Appends a group and gives its number. It is durable after [`Writer::sync`], and until then a crash
    /// leaves all of it or nothing. One write of the disk for each 256 KiB, or for each step if that is less.
    ///
    /// # Errors
    /// As [`Writer::reserve`], which it calls first: nothing is appended then. A failing write poisons the
    /// writer ([`Io`](ErrorKind::Io)).
    pub fn append(&mut self, group: &Group) -> Result<u64, Fault> {
        self.reserve(group.len())?;
        self.put(GroupKind::Records, group.payload())
    }

    /// Makes all groups that were appended durable, and says where they end. One flush of the disk, none if
    /// nothing was appended since the last.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io): it is not known what is durable, and the writer is poisoned.
    pub fn sync(&mut self) -> Result<Position, Fault> {
        self.check_poison()?;
        if self.durable.group != self.end.group {
            let synced = self.file.sync_data();
            self.or_poison("making durable", self.end.file, synced)?;
            self.durable = self.end;
        }
        Ok(self.durable)
    }

    /// Appends a last group that says so, makes everything durable and begins a file that nobody goes on in:
    /// damage of what was there, missing ends included, cannot be taken for an append that was interrupted.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) as [`Writer::append`] and [`Writer::sync`]. Never for lack of space: on a full
    /// disk the last file is left out.
    pub fn close(mut self) -> Result<(), Fault> {
        self.sync()?;
        self.put(GroupKind::Closing, &[])?;
        self.options = Options {
            file_bytes: BLOCK,
            step_bytes: BLOCK,
        };
        match self.roll(BLOCK) {
            Err(fault) if fault.kind() == ErrorKind::DiskFull && self.poison.is_none() => Ok(()),
            rolled => rolled,
        }
    }

    fn put(&mut self, kind: GroupKind, payload: &[u8]) -> Result<u64, Fault> {
        let header = self.header(kind, self.end, payload);
        let encoded = header.encode();
        let written = self.write_group(&encoded, payload);
        self.or_poison("appending to", self.end.file, written)?;
        self.end.group = header.number;
        self.end.offset += group_bytes(header.len);
        self.end.chain = header_checksum(&encoded);
        Ok(header.number)
    }

    fn write_group(&mut self, header: &[u8; GROUP_HEADER], payload: &[u8]) -> std::io::Result<()> {
        let mut offset = self.end.offset;
        let (mut filled, mut rest) = (GROUP_HEADER, payload);
        self.buffer[..GROUP_HEADER].copy_from_slice(header);
        loop {
            let taken = rest.len().min(self.buffer.len() - filled);
            self.buffer[filled..filled + taken].copy_from_slice(&rest[..taken]);
            let end = (filled + taken).next_multiple_of(BLOCK as usize);
            self.buffer[filled + taken..end].fill(0);
            write_full(&*self.file, offset, &self.buffer[..end])?;
            rest = &rest[taken..];
            offset += end as u64;
            filled = 0;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Reserves space from `start` to `end` and a little more.
    fn extend(&mut self, start: u64, end: u64) -> Result<(), Fault> {
        let step = self.options.step();
        let limit = self.options.file_bytes.max(end);
        let ample = end
            .next_multiple_of(step)
            .min(limit.next_multiple_of(BLOCK));
        let name = journal_name(self.end.file);
        let allocated = match self.file.allocate(start, ample - start) {
            Err(error) if is_full(&error) && ample > end => {
                self.file.allocate(start, end - start).map(|()| end)
            }
            other => other.map(|()| ample),
        };
        let reserved = allocated.map_err(|error| context("reserving space in", &name, error))?;
        if end - start <= step {
            match self.write_zeroes(start, reserved) {
                Err(error) if is_full(&error) => {
                    return Err(context("reserving space in", &name, error));
                }
                written => self.or_poison("writing to", self.end.file, written)?,
            }
        }
        self.reserved = reserved;
        Ok(())
    }

    fn write_zeroes(&mut self, start: u64, end: u64) -> std::io::Result<()> {
        self.buffer.fill(0);
        let buffer = self.buffer.len();
        for offset in (start..end).step_by(buffer) {
            let len = (end - offset).min(buffer as u64) as usize;
            write_full(&*self.file, offset, &self.buffer[..len])?;
        }
        Ok(())
    }

    /// Goes on in the next file, with room for `need` bytes.
    fn roll(&mut self, need: u64) -> Result<(), Fault> {
        self.sync()?;
        let number = self.end.file + 1;
        let next = match self.spare.take() {
            Some(spare) => spare,
            None => create(&*self.directory, number)?,
        };
        let before = std::mem::replace(&mut self.file, next);
        let (end, reserved) = (self.end, self.reserved);
        self.end = Position {
            file: number,
            offset: FIRST,
            ..end
        };
        self.reserved = 0;
        if let Err(error) = self.extend(0, FIRST + need) {
            self.spare = Some(std::mem::replace(&mut self.file, before));
            (self.end, self.reserved) = (end, reserved);
            return Err(error);
        }
        self.write_file_header()?;
        self.write_mark(&*before, end)?;
        self.durable = self.end;
        Ok(())
    }

    /// Says at the end of a file that there is another one.
    fn write_mark(&mut self, file: &dyn DiskFile, end: Position) -> Result<(), Fault> {
        let mark = self.header(GroupKind::Continued, end, &[]);
        self.buffer[..BLOCK as usize].fill(0);
        self.buffer[..GROUP_HEADER].copy_from_slice(&mark.encode());
        let written = write_full(file, end.offset, &self.buffer[..BLOCK as usize])
            .and_then(|()| file.sync_data());
        self.or_poison("ending", end.file, written)
    }

    fn header(&self, kind: GroupKind, end: Position, payload: &[u8]) -> GroupHeader {
        GroupHeader {
            identity: self.identity,
            file: end.file,
            number: end.group + 1,
            durable: self.durable.group,
            len: payload.len() as u64,
            kind,
            chain: end.chain,
            payload: crc32c::crc32c(payload),
        }
    }

    fn write_file_header(&mut self) -> Result<(), Fault> {
        let header = FileHeader {
            identity: self.identity,
            file: self.end.file,
            first_group: self.end.group + 1,
            chain: self.end.chain,
        };
        self.buffer[..BLOCK as usize].fill(0);
        self.buffer[..FILE_HEADER].copy_from_slice(&header.encode());
        let written = write_full(&*self.file, 0, &self.buffer[..BLOCK as usize])
            .and_then(|()| self.file.sync_data())
            .and_then(|()| self.directory.sync());
        self.or_poison("beginning", self.end.file, written)
    }

    /// Whether a write or a flush failed, so that nothing is appended any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    fn check_poison(&self) -> Result<(), Fault> {
        match &self.poison {
            None => Ok(()),
            Some(first) => {
                let text = format!("the journal refuses writes until reopened: {first}");
                Err(Fault::text(ErrorKind::Io, text))
            }
        }
    }

    fn or_poison(
        &mut self,
        doing: &str,
        file: u64,
        result: std::io::Result<()>,
    ) -> Result<(), Fault> {
        let Err(error) = result else {
            return Ok(());
        };
        let first = format!("{doing} {} failed: {error}", journal_name(file));
        self.poison = Some(first.into());
        self.check_poison()
    }
}

fn create(directory: &dyn Directory, number: u64) -> Result<Box<dyn DiskFile>, Fault> {
    let name = journal_name(number);
    let created = directory.create(&name);
    created.map_err(|error| context("creating", &name, error))
}

/// Makes durable what was recovered: what a process that died has left in the page cache was recovered too.
///
/// # Errors
/// [`Io`](ErrorKind::Io) where the disk fails.
pub fn make_durable(directory: &dyn Directory, found: &Recovered) -> Result<(), Fault> {
    match found.last_file {
        Some(last) => open_durable(directory, last).map(drop),
        None => Ok(()),
    }
}

fn open_durable(directory: &dyn Directory, number: u64) -> Result<Box<dyn DiskFile>, Fault> {
    let name = journal_name(number);
    let synced = directory
        .open(&name, Access::ReadWrite)
        .and_then(|file| file.sync_data().map(|()| file))
        .and_then(|file| directory.sync().map(|()| file));
    synced.map_err(|error| context("making durable", &name, error))
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// What the next group's chain repeats.
fn header_checksum(encoded: &[u8; GROUP_HEADER]) -> u32 {
    let [.., a, b, c, d] = *encoded;
    u32::from_le_bytes([a, b, c, d])
}
