//! Finding out what a store was: the newest checkpoint, and every whole group after it.
//!
//! A group that an interrupted append left unfinished is the end of the journal. It is told from
//! damage by what lies behind it: a file that goes on after it, the mark that there is one, or a group that
//! was written when it was durable already prove that it was acknowledged, and that is an error.

use super::checkpoint::{self, LoadError};
use super::format::{
    BadHeader, CHECKPOINT_UNFINISHED, FIRST, FileHeader, GroupHeader, GroupKind, Identity,
    Position, checkpoint_group, group_bytes, journal_name, journal_number,
};
use super::record::{Record, Records};
use super::scan::Scanner;
use super::{context, corrupt, record_fault, unknown_format};
use crate::base::error::{ErrorKind, Fault};
use crate::io::directory::Directory;

/// Who is told what is recovered.
pub trait Visitor {
    /// Forget everything: it came from a checkpoint that turned out to be damaged, and another is taken.
    fn restart(&mut self);

    /// A record, in the order in which they were written.
    ///
    /// # Errors
    /// Any; recovery ends with it.
    fn record(&mut self, record: Record<'_>) -> Result<(), Fault>;

    /// The records so far are the state after this group. A checkpoint counts as the last group that it
    /// contains.
    ///
    /// # Errors
    /// Any; recovery ends with it.
    fn group(&mut self, number: u64) -> Result<(), Fault>;
}

/// What [`recover`] found. The disk was not changed.
#[derive(Debug)]
pub struct Recovered {
    /// The store's random number; `None` if there is no store.
    pub identity: Option<Identity>,
    /// Behind the last whole group.
    pub tail: Position,
    /// The checkpoint that was taken.
    pub checkpoint: Option<Position>,
    /// Groups that were read behind the checkpoint, by number.
    pub groups: u64,
    /// The store was closed: nothing was interrupted.
    pub closed: bool,
    /// Files that nobody finished.
    pub(super) strays: Vec<String>,
    /// The last journal file: its groups may not be durable yet.
    pub(super) last_file: Option<u64>,
    /// What the next journal file is called.
    pub(super) next_file: u64,
}

impl Recovered {
    /// A place behind everything that there is, for a journal that goes on in spite of damage: nothing that is
    /// there is counted on, and no file of it is changed. It counts when there is a checkpoint behind its first group.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) where the disk fails.
    pub fn behind_all(
        directory: &dyn Directory,
        identity: Identity,
        last_group: u64,
    ) -> Result<Self, Fault> {
        let listing = Listing::read(directory)?;
        let last = |numbers: &[u64]| numbers.last().copied().unwrap_or(0);
        Ok(Recovered {
            identity: Some(identity),
            tail: Position {
                group: last_group.max(last(&listing.checkpoints)),
                ..Position::GENESIS
            },
            checkpoint: None,
            groups: 0,
            closed: false,
            strays: Vec::new(),
            last_file: None,
            next_file: last(&listing.journals) + 1,
        })
    }
}

/// Gives the state of a store to `visitor`. Changes nothing, so that a read-only medium will do.
///
/// O(bytes of the newest checkpoint and of the journal behind it). Memory: the longest group.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) where something that was durable is damaged or missing; the text names
/// file, group and offset. [`Unsupported`](ErrorKind::Unsupported) for another format or a record that must be
/// understood and is not. [`Io`](ErrorKind::Io) where the disk fails. Those of the visitor.
pub fn recover(directory: &dyn Directory, visitor: &mut dyn Visitor) -> Result<Recovered, Fault> {
    let listing = Listing::read(directory)?;
    let files = read_headers(directory, &listing.journals)?;
    let mut replay = Replay {
        directory,
        visitor,
        identity: None,
        end: Position::GENESIS,
        groups: 0,
        closed: false,
        payload: Vec::new(),
    };
    let (checkpoint, damaged) = replay.load_checkpoint(&listing.checkpoints)?;
    let replayed = replay.files(&files);
    let newest = listing.checkpoints.last().copied().unwrap_or(0);
    let unfinished = match (replayed, damaged) {
        // What the damaged checkpoint had, the journal has too.
        (Ok(unfinished), _) if replay.end.group >= newest => unfinished,
        (Err(fault), Some(damaged)) if fault.kind() == ErrorKind::Corrupt => {
            return Err(corrupt(damaged));
        }
        (Err(fault), _) => return Err(fault),
        (Ok(_), damaged) => {
            let lost = || format!("the groups up to {newest} are missing");
            return Err(corrupt(damaged.unwrap_or_else(lost)));
        }
    };
    let mut strays: Vec<_> = unfinished
        .iter()
        .map(|number| journal_name(*number))
        .collect();
    if listing.unfinished_checkpoint {
        strays.push(CHECKPOINT_UNFINISHED.to_owned());
    }
    let whole = files.iter().filter(|file| file.header.is_some());
    let last_file = whole.map(|file| file.number).next_back();
    let next_file = last_file.unwrap_or(0).max(replay.end.file) + 1;
    Ok(Recovered {
        identity: replay.identity,
        tail: replay.end,
        checkpoint,
        groups: replay.groups,
        closed: replay.closed,
        strays,
        last_file,
        next_file,
    })
}

/// What lies in the directory, in order.
pub(super) struct Listing {
    pub(super) journals: Vec<u64>,
    pub(super) checkpoints: Vec<u64>,
    unfinished_checkpoint: bool,
}

impl Listing {
    pub(super) fn read(directory: &dyn Directory) -> Result<Self, Fault> {
        let listed = directory.list();
        let names = listed.map_err(|error| context("listing", "the store", error))?;
        let numbers = |number: fn(&str) -> Option<u64>| {
            let plain = names.iter().filter_map(|name| name.to_str());
            let mut numbers: Vec<u64> = plain.filter_map(number).collect();
            numbers.sort_unstable();
            numbers
        };
        Ok(Listing {
            journals: numbers(journal_number),
            checkpoints: numbers(checkpoint_group),
            unfinished_checkpoint: names.iter().any(|name| name == CHECKPOINT_UNFINISHED),
        })
    }
}

struct JournalFile {
    number: u64,
    /// None if there is no whole one.
    header: Option<FileHeader>,
}

fn read_headers(directory: &dyn Directory, numbers: &[u64]) -> Result<Vec<JournalFile>, Fault> {
    let mut files = Vec::with_capacity(numbers.len());
    for &number in numbers {
        let name = journal_name(number);
        let failed = |error| context("reading", &name, error);
        let mut scanner = Scanner::open(directory, &name).map_err(failed)?;
        let block = scanner.block(0).map_err(failed)?;
        let header = match FileHeader::decode(block.unwrap_or_default()) {
            Ok(header) if header.file == number => Some(header),
            // What a filesystem shows in a block that was never written may be another file's.
            Ok(_) | Err(BadHeader::Damaged) => None,
            Err(BadHeader::Format(format)) => return Err(unknown_format(&name, format)),
        };
        files.push(JournalFile { number, header });
    }
    Ok(files)
}

struct Replay<'a> {
    directory: &'a dyn Directory,
    visitor: &'a mut dyn Visitor,
    identity: Option<Identity>,
    /// Behind the last whole group.
    end: Position,
    groups: u64,
    closed: bool,
    payload: Vec<u8>,
}

impl Replay<'_> {
    /// Loads the newest whole checkpoint. The second value says what is wrong with a newer one.
    fn load_checkpoint(
        &mut self,
        groups: &[u64],
    ) -> Result<(Option<Position>, Option<String>), Fault> {
        let mut damaged = None;
        for group in groups.iter().rev() {
            match checkpoint::load(self.directory, *group, self.visitor) {
                Ok(header) => {
                    self.identity = Some(header.identity);
                    self.end = header.position;
                    return Ok((Some(header.position), damaged));
                }
                Err(LoadError::Damaged(text)) => {
                    damaged.get_or_insert(text);
                    self.visitor.restart();
                }
                Err(LoadError::Fatal(fault)) => return Err(fault),
            }
        }
        Ok((None, damaged))
    }

    /// Replays what comes after the checkpoint, and says which files nobody finished.
    fn files(&mut self, files: &[JournalFile]) -> Result<Vec<u64>, Fault> {
        let whole = |file: &JournalFile| file.header.is_some();
        let last = files.iter().rposition(whole).map_or(0, |last| last + 1);
        let (files, unfinished) = files.split_at(last);
        for file in unfinished {
            self.check_unfinished(file.number)?;
        }
        // One is begun at a time, and what nobody finished is removed before the next.
        if let [first, .., last] = unfinished {
            return Err(corrupt(format!(
                "{} and {}: the headers are damaged",
                journal_name(first.number),
                journal_name(last.number)
            )));
        }
        let covered = files.partition_point(|file| file.number < self.end.file);
        let needed = &files[covered..];
        let base = self.end.file;
        if base != 0 && needed.first().is_none_or(|first| first.number != base) {
            return Err(missing(base));
        }
        for (at, file) in needed.iter().enumerate() {
            let Some(header) = &file.header else {
                return Err(corrupt(format!(
                    "{}: the header is damaged",
                    journal_name(file.number)
                )));
            };
            let next = needed.get(at + 1);
            if let Some(next) = next
                && next.number != file.number + 1
            {
                return Err(missing(file.number + 1));
            }
            let limit = match next {
                None => None,
                Some(JournalFile {
                    header: Some(next), ..
                }) => Some(next.first_group - 1),
                Some(JournalFile {
                    header: None,
                    number,
                }) => {
                    return Err(corrupt(format!(
                        "{}: the header is damaged",
                        journal_name(*number)
                    )));
                }
            };
            self.file(header, file.number == base, limit)?;
        }
        Ok(unfinished.iter().map(|file| file.number).collect())
    }

    /// A file without a header has no groups: the header is durable before the first goes there.
    fn check_unfinished(&mut self, number: u64) -> Result<(), Fault> {
        let name = journal_name(number);
        let found = Scanner::open(self.directory, &name)
            .and_then(|mut scanner| scanner.find(FIRST, |group| group.file == number));
        let found = found.map_err(|error| context("reading", &name, error))?;
        if found.is_some() || number <= self.end.file {
            return Err(corrupt(format!("{name}: the header is damaged")));
        }
        Ok(())
    }

    /// Replays one file: from where the checkpoint ends if it is `resumed`, up to and including group
    /// `limit` if another file goes on there.
    fn file(
        &mut self,
        header: &FileHeader,
        resumed: bool,
        limit: Option<u64>,
    ) -> Result<(), Fault> {
        let name = journal_name(header.file);
        if *self.identity.get_or_insert(header.identity) != header.identity {
            return Err(corrupt(format!("{name} belongs to another store")));
        }
        let next = self.end.group + 1;
        let follows = if resumed {
            header.first_group <= next
        } else {
            (header.first_group, header.chain) == (next, self.end.chain)
        };
        if !follows || limit.is_some_and(|limit| limit < self.end.group) {
            let first = header.first_group;
            return Err(corrupt(format!(
                "{name} begins with group {first}, and group {next} is missing"
            )));
        }
        if !resumed {
            self.end.file = header.file;
            self.end.offset = FIRST;
        }
        let failed = |error| context("reading", &name, error);
        let mut scanner = Scanner::open(self.directory, &name).map_err(failed)?;
        if self.end.offset > scanner.len() {
            return Err(corrupt(format!(
                "{name} ends at {}, before {}, where the checkpoint as of group {} goes on",
                scanner.len(),
                self.end.offset,
                self.end.group
            )));
        }
        while limit != Some(self.end.group) {
            let Some((group, checksum)) = self.next_group(&mut scanner, header).map_err(failed)?
            else {
                return self.check_tail(&mut scanner, header, limit);
            };
            if group.chain != self.end.chain {
                let (number, offset) = (group.number, self.end.offset);
                return Err(corrupt(format!(
                    "{name}: group {number} at offset {offset} does not follow group {}",
                    self.end.group
                )));
            }
            self.deliver(&name, &group)?;
            self.end.group = group.number;
            self.end.offset += group_bytes(group.len);
            self.end.chain = checksum;
        }
        Ok(())
    }

    /// The group that comes next, with its payload verified; `None` where there is no such whole group.
    fn next_group(
        &mut self,
        scanner: &mut Scanner,
        file: &FileHeader,
    ) -> std::io::Result<Option<(GroupHeader, u32)>> {
        let next = (file.identity, file.file, self.end.group + 1);
        let Some((group, checksum)) = scanner.group_header(self.end.offset)? else {
            return Ok(None);
        };
        let continued = group.kind == GroupKind::Continued;
        if continued || (group.identity, group.file, group.number) != next {
            return Ok(None);
        }
        let whole = scanner.payload(self.end.offset, &group, &mut self.payload)?;
        Ok(whole.then_some((group, checksum)))
    }

    fn deliver(&mut self, name: &str, group: &GroupHeader) -> Result<(), Fault> {
        let offset = self.end.offset;
        for record in Records::new(&self.payload) {
            self.visitor
                .record(record.map_err(|error| record_fault(name, offset, error))?)?;
        }
        self.visitor.group(group.number)?;
        self.groups += 1;
        self.closed = group.kind == GroupKind::Closing;
        Ok(())
    }

    /// The next group is not whole: fine if nobody was told that it is durable.
    fn check_tail(
        &mut self,
        scanner: &mut Scanner,
        file: &FileHeader,
        limit: Option<u64>,
    ) -> Result<(), Fault> {
        let name = journal_name(file.file);
        let (next, offset) = (self.end.group + 1, self.end.offset);
        if limit.is_some() {
            return Err(corrupt(format!(
                "{name}: group {next} at offset {offset} is damaged; {} follows it",
                journal_name(file.file + 1)
            )));
        }
        let proof = scanner.find(offset, |group| {
            let continued = group.kind == GroupKind::Continued && group.number == next;
            let ours = (group.identity, group.file) == (file.identity, file.file);
            ours && (continued || group.durable >= next)
        });
        match proof.map_err(|error| context("reading", &name, error))? {
            None => Ok(()),
            Some((mark, _)) if mark.number == next => Err(missing(file.file + 1)),
            Some((later, place)) => Err(corrupt(format!(
                "{name}: group {next} at offset {offset} is damaged; group {} at offset {place} was written after it was durable",
                later.number
            ))),
        }
    }
}

fn missing(number: u64) -> Fault {
    corrupt(format!("{} is missing or is none", journal_name(number)))
}
