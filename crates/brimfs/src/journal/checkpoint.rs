//! Checkpoints: full images of the metadata as of a group, and what they make superfluous.

use super::buffer::Aligned;
use super::format::{
    BLOCK, BadHeader, CHECKPOINT_UNFINISHED, CheckpointHeader, FIRST, FOOTER, FRAME_HEADER, Footer,
    FrameHeader, FrameKind, Identity, Position, checkpoint_group, checkpoint_name, journal_number,
};
use super::record::{Record, Records};
use super::recovery::Visitor;
use super::scan::Scanner;
use super::{context, record_fault, unknown_format};
use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::io::directory::Directory;
use crate::io::disk::{DiskFile, write_full};

/// Records are collected to frames of about this many bytes.
const FRAME_BYTES: usize = 256 << 10;
/// Memory for transfers, in bytes.
const BUFFER: usize = 256 << 10;
/// Space is reserved in steps, each as large as all before it, from the first to the second, in bytes.
const STEP_MIN: u64 = 16 << 10;
const STEP_MAX: u64 = 8 << 20;

/// Writes an image, record by record, beside what is current. Whoever drops it unfinished has changed
/// nothing. Memory: 512 KiB and the largest record.
#[derive(Debug)]
pub struct CheckpointWriter {
    directory: Arc<dyn Directory>,
    file: Box<dyn DiskFile>,
    header: CheckpointHeader,
    frame: Vec<u8>,
    index: u64,
    written: Footer,
    offset: u64,
    reserved: u64,
    buffer: Aligned,
    finished: bool,
}

impl CheckpointWriter {
    /// Begins an image as of `position`, which is [`Writer::durable`](super::Writer::durable) at the time
    /// that the image shows. The journal may go on meanwhile.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) before the first group: what a store begins with is a group
    /// too, so that the journal alone can make good a damaged image. [`DiskFull`](ErrorKind::DiskFull) and
    /// [`Io`](ErrorKind::Io). The store is as it was.
    pub fn begin(
        directory: Arc<dyn Directory>,
        identity: Identity,
        position: Position,
    ) -> Result<Self, Fault> {
        if position.group == 0 {
            let text = "a checkpoint before the first group";
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        let name = CHECKPOINT_UNFINISHED;
        match directory.remove(name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(|error| context("removing", name, error))?,
        }
        let created = directory.create(name);
        let file = created.map_err(|error| context("creating", name, error))?;
        Ok(CheckpointWriter {
            directory,
            file,
            header: CheckpointHeader { identity, position },
            frame: Vec::with_capacity(FRAME_BYTES),
            index: 0,
            written: Footer::default(),
            offset: FIRST,
            reserved: 0,
            buffer: Aligned::new(BUFFER),
            finished: false,
        })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Those of [`Record::encode`] and of the disk. The image is lost then, the store is as it was.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let filled = self.frame.len();
        record.encode(&mut self.frame)?;
        if self.frame.len() > FRAME_BYTES && filled > 0 {
            let record = self.frame.split_off(filled);
            self.flush(FrameKind::Records)?;
            self.frame.extend_from_slice(&record);
        }
        self.written.records += 1;
        Ok(())
    }

    /// Bytes that were written so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an image is never empty")]
    pub fn len(&self) -> u64 {
        self.offset + self.frame.len() as u64
    }

    /// Makes the image durable and then current. What it covers can be removed then.
    ///
    /// # Errors
    /// Those of the disk. Either image may be current then, and nothing may be removed.
    pub fn finish(mut self) -> Result<Covered, Fault> {
        if !self.frame.is_empty() {
            self.flush(FrameKind::Records)?;
        }
        self.frame.extend_from_slice(&self.written.encode());
        self.flush(FrameKind::Footer)?;
        let name = checkpoint_name(self.header.position.group);
        let current = self.make_current(&name);
        current.map_err(|error| context("finishing", &name, error))?;
        self.finished = true;
        Ok(Covered {
            directory: self.directory.clone(),
            position: self.header.position,
        })
    }

    fn make_current(&mut self, name: &str) -> std::io::Result<()> {
        self.buffer[..BLOCK as usize].fill(0);
        let header = self.header.encode();
        self.buffer[..header.len()].copy_from_slice(&header);
        write_full(&*self.file, 0, &self.buffer[..BLOCK as usize])?;
        self.file.truncate(self.offset)?;
        self.file.sync_data()?;
        self.directory.rename(CHECKPOINT_UNFINISHED, name)?;
        self.directory.sync()
    }

    fn flush(&mut self, kind: FrameKind) -> Result<(), Fault> {
        let header = FrameHeader {
            kind,
            index: self.index,
            checkpoint: self.header.checksum(),
            len: self.frame.len() as u64,
            payload: crc32c::crc32c(&self.frame),
        };
        if kind == FrameKind::Records {
            self.written.bytes += header.len;
        }
        let written = self.write_frame(&header.encode());
        written.map_err(|error| context("writing", CHECKPOINT_UNFINISHED, error))?;
        self.index += 1;
        self.frame.clear();
        Ok(())
    }

    fn write_frame(&mut self, header: &[u8; FRAME_HEADER]) -> std::io::Result<()> {
        let end = self.offset + frame_bytes(self.frame.len() as u64);
        if end > self.reserved {
            let step = self.reserved.clamp(STEP_MIN, STEP_MAX);
            let more = (end - self.reserved).next_multiple_of(step);
            self.file.allocate(self.reserved, more)?;
            self.reserved += more;
        }
        self.buffer[..FRAME_HEADER].copy_from_slice(header);
        let (mut filled, mut rest) = (FRAME_HEADER, &self.frame[..]);
        while self.offset < end {
            let taken = rest.len().min(BUFFER - filled);
            self.buffer[filled..filled + taken].copy_from_slice(&rest[..taken]);
            let len = (filled + taken).next_multiple_of(BLOCK as usize);
            self.buffer[filled + taken..len].fill(0);
            write_full(&*self.file, self.offset, &self.buffer[..len])?;
            self.offset += len as u64;
            rest = &rest[taken..];
            filled = 0;
        }
        Ok(())
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Gives the space back at once; what stays is removed by the next one or by the next opening.
            let _ = self.directory.remove(CHECKPOINT_UNFINISHED);
        }
    }
}

fn frame_bytes(len: u64) -> u64 {
    (FRAME_HEADER as u64 + len).next_multiple_of(BLOCK)
}

/// What a current checkpoint makes superfluous: older ones, and journal files with groups that it has.
#[derive(Debug)]
#[must_use = "the space is given back by removing them"]
pub struct Covered {
    directory: Arc<dyn Directory>,
    position: Position,
}

impl Covered {
    /// Where the journal goes on after the checkpoint.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Removes them, and says how many files that were. O(names in the directory).
    ///
    /// # Errors
    /// Those of the disk; the rest is removed after the next checkpoint or opening.
    pub fn remove(&self) -> Result<u64, Fault> {
        retire(&*self.directory, &self.position)
    }
}

/// Removes what a checkpoint covers whose name is durable.
pub(super) fn retire(directory: &dyn Directory, position: &Position) -> Result<u64, Fault> {
    let listed = directory.list();
    let mut removed = 0;
    for name in listed.map_err(|error| context("listing", "the store", error))? {
        let Some(name) = name.to_str() else {
            continue;
        };
        let covered = checkpoint_group(name).is_some_and(|group| group < position.group)
            || journal_number(name).is_some_and(|number| number < position.file);
        if covered {
            let gone = directory.remove(name);
            gone.map_err(|error| context("removing", name, error))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Why a checkpoint cannot be taken.
#[derive(Debug)]
pub(super) enum LoadError {
    /// It is not whole. An older one may be.
    Damaged(String),
    /// Something that no other checkpoint makes good.
    Fatal(Fault),
}

impl From<Fault> for LoadError {
    fn from(fault: Fault) -> Self {
        LoadError::Fatal(fault)
    }
}

/// Gives the records of a checkpoint to the visitor, each frame after it was verified.
pub(super) fn load(
    directory: &dyn Directory,
    group: u64,
    visitor: &mut dyn Visitor,
) -> Result<CheckpointHeader, LoadError> {
    let name = checkpoint_name(group);
    let failed = |error| context("reading", &name, error);
    let damaged = |what: &str, offset: u64| {
        LoadError::Damaged(format!("{name}: {what} at offset {offset} is damaged"))
    };
    let mut scanner = Scanner::open(directory, &name).map_err(failed)?;
    let block = scanner.block(0).map_err(failed)?;
    let header = match CheckpointHeader::decode(block.unwrap_or_default()) {
        Ok(header) if header.position.group == group => header,
        Err(BadHeader::Format(format)) => return Err(unknown_format(&name, format).into()),
        _ => return Err(damaged("the header", 0)),
    };
    let (mut offset, mut index, mut payload) = (FIRST, 0, Vec::new());
    let mut found = Footer::default();
    loop {
        let block = scanner.block(offset).map_err(failed)?;
        let frame = block
            .and_then(FrameHeader::decode)
            .filter(|frame| (frame.index, frame.checkpoint) == (index, header.checksum()));
        let Some(frame) = frame else {
            return Err(damaged("a frame", offset));
        };
        let start = offset + FRAME_HEADER as u64;
        let whole = scanner
            .read(start, frame.len, &mut payload)
            .map_err(failed)?;
        if !whole || crc32c::crc32c(&payload) != frame.payload {
            return Err(damaged("a frame", offset));
        }
        if frame.kind == FrameKind::Footer {
            if payload.len() != FOOTER || Footer::decode(&payload) != Some(found) {
                return Err(damaged("the footer", offset));
            }
            visitor.group(group)?;
            return Ok(header);
        }
        for record in Records::new(&payload) {
            visitor.record(record.map_err(|error| record_fault(&name, offset, error))?)?;
            found.records += 1;
        }
        found.bytes += frame.len;
        offset += frame_bytes(frame.len);
        index += 1;
    }
}
