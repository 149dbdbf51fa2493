//! Reading what is whole of a damaged journal, and saying what is not.
//!
//! Recovery stops where something durable is damaged: behind it nobody knows what it was. This goes on. What it
//! gives before the first hole is a state that the store was in; what comes behind a hole is given as such. Writes
//! nothing, and believes no more than recovery does: each group and frame is verified.

use super::checkpoint::{self, LoadError};
use super::format::{
    BLOCK, BadHeader, CheckpointHeader, FIRST, FileHeader, FrameHeader, FrameKind, GroupHeader,
    GroupKind, Identity, Position, checkpoint_name, group_bytes, journal_name,
};
use super::record::{Record, Records};
use super::recovery::{Listing, Visitor};
use super::scan::Scanner;
use super::{record_fault, unknown_format};
use crate::base::error::{ErrorKind, Fault};
use crate::io::directory::Directory;

/// What comes next of a damaged journal.
#[derive(Debug)]
pub enum Piece<'a> {
    /// All that came before does not count.
    Restart,
    /// A record.
    Record(Record<'a>),
    /// The records so far are the state after this group, if nothing is missing before it.
    Group(u64),
    /// Records are missing here.
    Gap,
    /// What follows was written after something that is missing.
    Behind,
}

/// What is left of a journal.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// The store's random number; `None` if no file says it.
    pub identity: Option<Identity>,
    /// The state that is known begins with a checkpoint of which parts are missing.
    pub is_partial: bool,
    /// The last group before the first hole; 0 before the first.
    pub group: u64,
    /// The greatest number of a group that anything says.
    pub last_group: u64,
    /// What is damaged or missing, and where.
    pub damage: Vec<String>,
}

/// A whole group, and where it lies.
struct Whole {
    file: u64,
    offset: u64,
    header: GroupHeader,
    checksum: u32,
}

/// Gives all that is whole to `visit`. O(bytes of all checkpoints and journal files), read twice.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for another format or a record that must be understood and is not,
/// [`Io`](ErrorKind::Io) where not even the names can be read. Those of `visit`.
pub fn salvage(
    directory: &dyn Directory,
    visit: &mut dyn FnMut(Piece<'_>) -> Result<(), Fault>,
) -> Result<Salvaged, Fault> {
    let listing = Listing::read(directory)?;
    let mut salvage = Salvage {
        directory,
        visit,
        end: Position::GENESIS,
        is_chained: true,
        found: Salvaged::default(),
    };
    let newest = listing.checkpoints.last().copied().unwrap_or(0);
    salvage.found.last_group = newest;
    let headers = salvage.headers(&listing.journals)?;
    let has_base = salvage.base(&listing.checkpoints, &headers)?;
    let groups = salvage.index(&headers);
    let from_the_first = groups.first().is_some_and(|group| group.header.number == 1);
    let has_base = has_base || from_the_first;
    salvage.replay(&groups, has_base)?;
    Ok(salvage.found)
}

struct Salvage<'a> {
    directory: &'a dyn Directory,
    visit: &'a mut dyn FnMut(Piece<'_>) -> Result<(), Fault>,
    /// Behind the last group that was given and before which nothing is missing.
    end: Position,
    /// Whether `end` knows the checksum of its group.
    is_chained: bool,
    found: Salvaged,
}

type Header = (u64, Option<FileHeader>);

impl Salvage<'_> {
    fn damaged(&mut self, text: String) {
        self.found.damage.push(text);
    }

    fn headers(&mut self, numbers: &[u64]) -> Result<Vec<Header>, Fault> {
        let mut headers = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let name = journal_name(number);
            let read = Scanner::open(self.directory, &name).and_then(|mut scanner| {
                let block = scanner.block(0)?;
                Ok(FileHeader::decode(block.unwrap_or_default()))
            });
            let header = match read {
                Ok(Ok(header)) if header.file == number => Some(header),
                Ok(Err(BadHeader::Format(format))) => return Err(unknown_format(&name, format)),
                Ok(_) => None,
                Err(error) => {
                    self.damaged(format!("{name} cannot be read: {error}"));
                    None
                }
            };
            let first = header.map_or(0, |header| header.first_group - 1);
            self.found.last_group = self.found.last_group.max(first);
            headers.push((number, header));
        }
        Ok(headers)
    }

    /// Gives the state that the rest builds on. False if there is none.
    fn base(&mut self, checkpoints: &[u64], headers: &[Header]) -> Result<bool, Fault> {
        for group in checkpoints.iter().rev() {
            let mut visitor = Through(self.visit);
            match checkpoint::load(self.directory, *group, &mut visitor) {
                Ok(header) => {
                    self.found.identity = Some(header.identity);
                    self.end = header.position;
                    return Ok(true);
                }
                Err(LoadError::Damaged(text)) => self.damaged(text),
                Err(LoadError::Fatal(fault)) if is_damage(&fault) => self.damaged(fault.says()),
                Err(LoadError::Fatal(fault)) => return Err(fault),
            }
            (self.visit)(Piece::Restart)?;
        }
        let known = headers.iter().rev().find_map(|(_, header)| *header);
        self.found.identity = known.map(|header| header.identity);
        // Before the first group there was nothing, and that is known.
        let first = headers.first().and_then(|(_, header)| *header);
        if first.is_some_and(|header| header.first_group == 1) {
            return Ok(true);
        }
        match checkpoints.last() {
            None => Ok(false),
            Some(group) => self.partial(*group).map(|()| true),
        }
    }

    /// Gives the frames of a damaged checkpoint that are whole.
    fn partial(&mut self, group: u64) -> Result<(), Fault> {
        self.found.is_partial = true;
        (self.end.group, self.is_chained) = (group, false);
        let name = checkpoint_name(group);
        let Ok(mut scanner) = Scanner::open(self.directory, &name) else {
            return (self.visit)(Piece::Gap);
        };
        let header = CheckpointHeader::decode(scanner.block_or_none(0).unwrap_or_default()).ok();
        if let Some(header) = header {
            self.found.identity = Some(header.identity);
            (self.end, self.is_chained) = (header.position, true);
        }
        let mut checkpoint = header.map(|header| header.checksum());
        let (mut at, mut index, mut payload, mut ends) = (FIRST, 0, Vec::new(), false);
        while at < scanner.len() && !ends {
            let frame = scanner.block_or_none(at).and_then(FrameHeader::decode);
            let ours = |frame: &FrameHeader| {
                frame.index >= index && checkpoint.is_none_or(|known| known == frame.checkpoint)
            };
            let Some(frame) = frame.filter(ours) else {
                at += BLOCK;
                continue;
            };
            let (start, len) = FrameHeader::payload_at(at, frame.len);
            let read = scanner.read(start, frame.len, &mut payload);
            if !read.unwrap_or(false) || crc32c::crc32c(&payload) != frame.payload {
                at += BLOCK;
                continue;
            }
            checkpoint = Some(frame.checkpoint);
            if frame.index != index {
                (self.visit)(Piece::Gap)?;
            }
            ends = frame.kind == FrameKind::Footer;
            if !ends {
                self.records(&name, at, &payload)?;
            }
            (index, at) = (frame.index.saturating_add(1), at + len);
        }
        if !ends {
            (self.visit)(Piece::Gap)?;
        }
        (self.visit)(Piece::Group(group))
    }

    /// Finds all whole groups that count, by number.
    fn index(&mut self, headers: &[Header]) -> Vec<Whole> {
        let mut all: Vec<Whole> = Vec::new();
        // What stands in a file from where the next one goes on was never acknowledged.
        let mut limit = u64::MAX;
        for (number, header) in headers.iter().rev() {
            if let (Some(header), Some(identity)) = (header, self.found.identity)
                && header.identity != identity
            {
                let name = journal_name(*number);
                self.damaged(format!("{name} belongs to another store"));
                continue;
            }
            let mut found = Vec::new();
            let scanned = self.scan(*number, &mut found);
            if let Err(error) = scanned {
                let name = journal_name(*number);
                self.damaged(format!("{name} cannot be read: {error}"));
            }
            found.retain(|group| group.header.number < limit);
            let first = header.map(|header| header.first_group);
            let first = first.or(found.first().map(|group| group.header.number));
            limit = limit.min(first.unwrap_or(u64::MAX));
            all.append(&mut found);
        }
        all.sort_by_key(|group| group.header.number);
        let last = all.last().map_or(0, |group| group.header.number);
        self.found.last_group = self.found.last_group.max(last);
        all
    }

    fn scan(&mut self, file: u64, found: &mut Vec<Whole>) -> std::io::Result<()> {
        let mut scanner = Scanner::open(self.directory, &journal_name(file))?;
        let (mut offset, mut payload) = (FIRST, Vec::new());
        while offset < scanner.len() {
            let group = scanner.block_or_none(offset).and_then(GroupHeader::decode);
            let ours = group.filter(|(group, _)| {
                *self.found.identity.get_or_insert(group.identity) == group.identity
                    && group.file == file
                    && group.kind != GroupKind::Continued
            });
            let whole = ours.filter(|(group, _)| {
                let read = scanner.payload(offset, group, &mut payload);
                read.unwrap_or(false)
            });
            let Some((header, checksum)) = whole else {
                offset += BLOCK;
                continue;
            };
            found.push(Whole {
                file,
                offset,
                header,
                checksum,
            });
            offset += group_bytes(header.len);
        }
        Ok(())
    }

    /// Gives the groups behind the base: first those that nothing is missing before, then the others.
    fn replay(&mut self, groups: &[Whole], has_base: bool) -> Result<(), Fault> {
        let mut is_behind = false;
        let base = self.end.group;
        let mut before = base;
        for group in groups.iter().filter(|group| group.header.number > base) {
            let number = group.header.number;
            let chain = group.header.chain;
            let follows = number == before + 1 && (!self.is_chained || chain == self.end.chain);
            if !(is_behind || has_base && follows) {
                is_behind = true;
                self.hole(before, has_base, group);
                (self.visit)(Piece::Behind)?;
            } else if is_behind && !follows {
                self.hole(before, true, group);
                (self.visit)(Piece::Gap)?;
            }
            self.deliver(group)?;
            before = number;
            (self.end.chain, self.is_chained) = (group.checksum, true);
            if !is_behind {
                self.end.group = number;
            }
        }
        self.found.group = self.end.group;
        Ok(())
    }

    fn hole(&mut self, before: u64, has_base: bool, next: &Whole) {
        let missing = match (has_base, next.header.number - before) {
            (false, _) => "the beginning of the journal is missing".to_owned(),
            (true, 0 | 1) => format!("group {before} is another one than the next one follows"),
            (true, 2) => format!("group {} is damaged or missing", before + 1),
            (true, _) => {
                let last = next.header.number - 1;
                format!("groups {} to {last} are damaged or missing", before + 1)
            }
        };
        self.damaged(format!(
            "{missing}; the next whole one is group {} in {} at offset {}",
            next.header.number,
            journal_name(next.file),
            next.offset
        ));
    }

    fn deliver(&mut self, group: &Whole) -> Result<(), Fault> {
        let name = journal_name(group.file);
        let mut payload = Vec::new();
        let read = Scanner::open(self.directory, &name)
            .and_then(|mut scanner| scanner.payload(group.offset, &group.header, &mut payload));
        if !matches!(read, Ok(true)) {
            let number = group.header.number;
            self.damaged(format!("{name}: group {number} can no longer be read"));
            return (self.visit)(Piece::Gap);
        }
        self.records(&name, group.offset, &payload)?;
        (self.visit)(Piece::Group(group.header.number))
    }

    fn records(&mut self, name: &str, offset: u64, payload: &[u8]) -> Result<(), Fault> {
        for record in Records::new(payload) {
            let record = record.map_err(|error| record_fault(name, offset, error));
            match record {
                Ok(record) => (self.visit)(Piece::Record(record))?,
                Err(fault) if fault.kind() == ErrorKind::Corrupt => {
                    self.damaged(fault.says());
                    return (self.visit)(Piece::Gap);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}

fn is_damage(fault: &Fault) -> bool {
    matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::Io)
}

/// What a whole checkpoint gives.
struct Through<'a, 'b>(&'a mut (dyn FnMut(Piece<'_>) -> Result<(), Fault> + 'b));

impl Visitor for Through<'_, '_> {
    fn restart(&mut self) {}

    fn record(&mut self, record: Record<'_>) -> Result<(), Fault> {
        (self.0)(Piece::Record(record))
    }

    fn group(&mut self, number: u64) -> Result<(), Fault> {
        (self.0)(Piece::Group(number))
    }
}

#[cfg(test)]
mod tests;
