//! Whether content lies where records say, and is what was written there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::base::error::{ErrorKind, Fault};
use crate::base::pages::Pages;
use crate::base::sync::Arc;
use crate::cold::segment::{BLOCK, Extent, Id, Layer, Options, Protection, Read, ReadError, Store};
use crate::io::directory::{Access, Directory};
use crate::io::disk::ALIGNMENT;
use crate::journal::{Identity, NodeKind};

use super::super::image::{Image, Node};
use super::super::restore::{Placed, extent_of, id_of, layer_of, place};
use super::Progress;
use super::mended::Mended;
use super::report::{CheckProgress, CheckReport, CheckStep, Problem};
use super::tree::Places;

/// So much is read at once, in bytes.
pub(super) const BATCH: usize = 8 << 20;
/// More than a store can have.
pub(super) const DISK_LIMIT: u64 = 1 << 60;

/// A part of a file, and the record that holds it.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) node: u64,
    /// Where it begins in the file, in bytes.
    pub(super) offset: u64,
    /// How much of the record the file has, in bytes. None of it if the file ends before.
    pub(super) len: u64,
    pub(super) extent: Extent,
    pub(super) id: Id,
    pub(super) layer: Layering,
}

/// What a record is to a chunk.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Layering {
    /// All there is of it, but for what is in the journal.
    Alone,
    /// Others lie over it.
    Base,
    /// It has pages of what the base has.
    Over(Layered),
}

/// A record with pages, which lies over others.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Layered {
    pub(super) number: usize,
    pub(super) pages: Pages,
    /// What the base has, in bytes.
    pub(super) base: usize,
    /// What the file has of that.
    pub(super) visible: u64,
}

/// What of content is lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Of nodes that have content which can lie nowhere, in bytes of the file.
    pub(super) nowhere: BTreeMap<u64, Vec<Range<u64>>>,
    /// Numbers of segments in which anything is wrong.
    pub(super) segments: BTreeSet<u64>,
}

impl Piece {
    pub(super) fn serial(&self) -> u64 {
        self.extent.to_parts().0
    }

    /// Where the record begins and ends in its segment.
    fn span(&self) -> Range<u64> {
        let (_, place, stored) = self.extent.to_parts();
        place..place + stored
    }

    /// Where a range of the record lies in the file, as far as the file has it.
    fn places(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let Layering::Over(over) = self.layer else {
            let end = range.end.min(self.len);
            let start = range.start.min(end);
            return std::iter::once(self.offset + start..self.offset + end).collect();
        };
        let places = over.pages.places_in(over.base).map(|(start, before, len)| {
            let (start, before, len) = (start as u64, before as u64, len as u64);
            let from = range.start.max(before);
            let to = range.end.min(before + len);
            let shift = |place: u64| (start + (place.max(before) - before)).min(over.visible);
            self.offset + shift(from)..self.offset + shift(to.max(from))
        });
        places.filter(|place| place.start < place.end).collect()
    }

    fn is_same_record(&self, other: &Self) -> bool {
        (self.extent, self.id) == (other.extent, other.id)
    }

    /// A record that lies over this one.
    fn under(&self, number: usize, layer: &Layer) -> Piece {
        Piece {
            // The file has all of it or nothing, but for what is behind its end.
            len: match self.len {
                0 => 0,
                _ => layer.extent.len() as u64,
            },
            extent: layer.extent,
            id: layer.id,
            layer: Layering::Over(Layered {
                number,
                pages: layer.pages,
                base: self.extent.len(),
                visible: self.len,
            }),
            ..*self
        }
    }

    fn order(&self) -> impl Ord + use<> {
        let Id {
            inode,
            index,
            generation,
        } = self.id;
        let place = self.span().start;
        let raw = self.extent.to_raw();
        (
            self.serial(),
            place,
            raw,
            inode,
            generation,
            index,
            self.node,
            self.offset,
        )
    }
}

/// All parts of all files, as they lie in segments. What can lie nowhere is a problem and not among them.
pub(super) fn pieces(
    image: &Image,
    places: &Places<'_>,
    problems: &mut Vec<Problem>,
    lost: &mut Lost,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (number, node) in image.nodes.iter() {
        let mut bad = |range: Option<Range<u64>>, text| {
            let ranges = lost.nowhere.entry(number).or_default();
            ranges.extend(range.clone());
            problems.push(problem(places, number, range, text));
        };
        match node.about.as_ref().map(|about| (about.kind, about.len)) {
            Some((NodeKind::File, len)) => pieces_of(number, node, len, &mut pieces, &mut bad),
            // Nobody sees its content, but opening wants to find it.
            None => pieces_of(number, node, u64::MAX, &mut pieces, &mut bad),
            Some(_) if node.extents.is_empty() && node.patches.is_empty() => {}
            Some(_) => bad(None, "it has content and is no file".to_owned()),
        }
    }
    pieces.sort_unstable_by_key(Piece::order);
    pieces
}

pub(super) fn problem(
    places: &Places<'_>,
    node: u64,
    range: Option<Range<u64>>,
    text: String,
) -> Problem {
    Problem {
        paths: places.paths(node),
        ino: Some(node),
        range,
        text,
    }
}

fn pieces_of(
    number: u64,
    node: &Node,
    len: u64,
    pieces: &mut Vec<Piece>,
    bad: &mut dyn FnMut(Option<Range<u64>>, String),
) {
    let mut placed: Vec<Placed> = Vec::new();
    for extent in &node.extents {
        let visible = extent.len.min(len.saturating_sub(extent.offset));
        let lies = match extent.offset < len {
            false => extent_of(number, extent),
            true => place(number, extent, len).map(|found| {
                let extent = found.extent;
                placed.push(found);
                extent
            }),
        };
        let overlays = node.overlays_at(extent.offset);
        let layers = lies.and_then(|lies| {
            let layers = overlays
                .iter()
                .map(|overlay| layer_of(number, extent, overlay));
            Ok((lies, layers.collect::<Result<Vec<Layer>, Fault>>()?))
        });
        match layers {
            Ok((lies, layers)) => {
                let piece = Piece {
                    node: number,
                    offset: extent.offset,
                    len: visible,
                    extent: lies,
                    id: id_of(extent),
                    layer: match overlays {
                        [] => Layering::Alone,
                        _ => Layering::Base,
                    },
                };
                pieces.push(piece);
                let layers = layers.iter().enumerate();
                pieces.extend(layers.map(|(number, layer)| piece.under(number, layer)));
            }
            Err(fault) => {
                let range = extent.offset..extent.offset + visible;
                bad((visible > 0).then_some(range), fault.says());
            }
        }
    }
    let is_whole = matches!(&placed[..], [one] if one.is_whole(number, len));
    if !is_whole && placed.iter().any(|part| !part.form.identity.is_chunk()) {
        bad(None, "a part of its content is that of a small file".into());
    }
}

/// Reads all content, segment by segment, and says what of which file is wrong.
pub(super) fn verify<'a>(
    directory: &'a Arc<dyn Directory>,
    identity: Identity,
    pieces: &[Piece],
    places: &'a Places<'_>,
    progress: Progress<'a>,
    report: &mut CheckReport,
    lost: &mut Lost,
) -> Vec<Problem> {
    let mut reader = Reader {
        source: Source {
            directory,
            identity,
        },
        places,
        lost,
        progress,
        at: CheckProgress {
            step: CheckStep::Content,
            done: 0,
            total: records(pieces).map(to_read).sum(),
        },
        verified: 0,
        problems: Vec::new(),
    };
    (reader.progress)(reader.at);
    for segment in pieces.chunk_by(|one, next| one.serial() == next.serial()) {
        reader.segment(segment);
    }
    report.verified = reader.verified;
    reader.problems
}

/// The parts of files that each record holds.
pub(super) fn records(pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    pieces.chunk_by(Piece::is_same_record)
}

/// How much there is to read of a record: all, if somebody sees any of it.
fn to_read(record: &[Piece]) -> u64 {
    match record.iter().any(|piece| piece.len > 0) {
        true => record[0].extent.len() as u64,
        false => 0,
    }
}

/// Name of a segment's file; docs/format.md has it.
fn file_name(serial: u64) -> String {
    format!("segment-{serial:016x}")
}

/// Where content is read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) directory: &'a Arc<dyn Directory>,
    pub(super) identity: Identity,
}

impl Source<'_> {
    /// Opens the segments of some records, as the filesystem does or whatever their headers say.
    pub(super) fn open(self, records: &[&[Piece]], is_mended: bool) -> Result<Store, Fault> {
        let mut options = Options::new("", DISK_LIMIT);
        options.protection = Protection::Checksummed;
        let pieces = records.iter().copied().flatten();
        let live: Vec<Extent> = pieces.map(|piece| piece.extent).collect();
        let directory: Arc<dyn Directory> = match is_mended {
            true => Arc::new(Mended::new(self.directory.clone(), self.identity)),
            false => self.directory.clone(),
        };
        Store::named_read_only(directory, options, self.identity.0, &live)
    }
}

struct Reader<'a, 'p> {
    source: Source<'a>,
    places: &'a Places<'p>,
    lost: &'a mut Lost,
    progress: Progress<'a>,
    at: CheckProgress,
    verified: u64,
    problems: Vec<Problem>,
}

impl Reader<'_, '_> {
    fn segment(&mut self, pieces: &[Piece]) {
        let name = file_name(pieces[0].serial());
        let mut sound: Vec<&[Piece]> = records(pieces).collect();
        match self.end_of(&name) {
            Ok(end) => self.leave_out_misplaced(&name, end, &mut sound),
            Err(text) => {
                sound.drain(..).for_each(|record| self.lose(record, &text));
            }
        }
        let Some(store) = self.open(&name, &mut sound) else {
            return;
        };
        let mut batch = Vec::new();
        let mut bytes = 0;
        for record in sound {
            let len = to_read(record) as usize;
            if bytes + len > BATCH {
                self.read(&store, &name, &batch);
                batch.clear();
                bytes = 0;
            }
            if len > 0 {
                batch.push(record);
                bytes += len;
            }
        }
        self.read(&store, &name, &batch);
    }

    /// Where a segment ends, in bytes, or why that is not known.
    fn end_of(&self, name: &str) -> Result<u64, String> {
        let directory = self.source.directory;
        let len = directory
            .open(name, Access::Read)
            .and_then(|file| file.len());
        match len {
            Ok(len) => Ok(len - len % ALIGNMENT as u64),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(format!("{name} is missing"))
            }
            Err(error) => Err(format!("{name} cannot be opened: {error}")),
        }
    }

    /// Loses what lies behind the end of a segment, or where another record lies.
    fn leave_out_misplaced(&mut self, name: &str, end: u64, sound: &mut Vec<&[Piece]>) {
        let mut why: Vec<Option<String>> = vec![None; sound.len()];
        let mut longest: Option<usize> = None;
        for at in 0..sound.len() {
            let (extent, span) = (sound[at][0].extent, sound[at][0].span());
            if span.end > end {
                why[at] = Some(format!(
                    "{name} ends at {end}, before its record at offset {} does",
                    span.start
                ));
                continue;
            }
            let before = longest.filter(|before| sound[*before][0].span().end > span.start);
            if let Some(before) = before
                && sound[before][0].extent != extent
            {
                let other = sound[before][0].span().start;
                let text = format!(
                    "the records at offsets {other} and {} of {name} overlap",
                    span.start
                );
                why[before] = Some(text.clone());
                why[at] = Some(text);
            }
            if before.is_none_or(|before| sound[before][0].span().end < span.end) {
                longest = Some(at);
            }
        }
        let mut why = why.into_iter();
        sound.retain(|record| match why.next().flatten() {
            None => true,
            Some(text) => {
                self.lose(record, &text);
                false
            }
        });
    }

    /// Opens a segment with the records that the store can have in it, and loses the others.
    fn open(&mut self, name: &str, sound: &mut Vec<&[Piece]>) -> Option<Store> {
        let (first, last) = (*sound.first()?, *sound.last()?);
        let all: Vec<&[Piece]> = sound.clone();
        let mut failed = match self.store(&all) {
            Ok(store) => return Some(store),
            Err(fault) => fault.says(),
        };
        // Damage of the header hides nothing that lies behind it.
        if let Ok(store) = self.source.open(&all, true) {
            self.lost.segments.insert(first[0].serial());
            let text = format!("{failed}; nothing in it can be read before it is repaired");
            self.problems.push(Problem::of_store(text));
            return Some(store);
        }
        // Either the file is wrong, which every record finds, or some of the records.
        let alone = [first, last].map(|record| self.store(&[record]).err());
        let texts = alone.map(|fault| fault.map(|fault| fault.says()));
        if texts[0].is_none() || texts[0] != texts[1] {
            sound.retain(|record| match self.store(&[record]) {
                Ok(_) => true,
                Err(fault) => {
                    self.lose(record, &fault.says());
                    false
                }
            });
            let all: Vec<&[Piece]> = sound.clone();
            match self.store(&all) {
                Ok(store) => return Some(store),
                Err(fault) => failed = fault.says(),
            }
        }
        if !failed.starts_with(name) {
            failed = format!("{name}: {failed}");
        }
        sound
            .drain(..)
            .for_each(|record| self.lose(record, &failed));
        None
    }

    fn store(&self, records: &[&[Piece]]) -> Result<Store, Fault> {
        self.source.open(records, false)
    }

    fn read(&mut self, store: &Store, name: &str, batch: &[&[Piece]]) {
        let len = batch.iter().map(|record| record[0].extent.len()).sum();
        let mut bytes = vec![0; len];
        let mut rest = &mut bytes[..];
        let mut reads = Vec::with_capacity(batch.len());
        for record in batch {
            let Piece { extent, id, .. } = record[0];
            let (into, behind) = rest.split_at_mut(extent.len());
            rest = behind;
            reads.push(Read {
                id,
                extent,
                offset: 0,
                into,
            });
        }
        for (record, result) in batch.iter().zip(store.read_many(reads)) {
            match result {
                Ok(()) => self.verified += record[0].extent.len() as u64,
                Err(_) => self.read_blocks(store, name, record),
            }
        }
        self.at.done += len as u64;
        (self.progress)(self.at);
    }

    /// Finds out which blocks of a record are lost.
    fn read_blocks(&mut self, store: &Store, name: &str, record: &[Piece]) {
        let Piece { extent, id, .. } = record[0];
        let place = record[0].span().start;
        let mut block = [0; BLOCK];
        let mut lost: Vec<(Range<u64>, String)> = Vec::new();
        for offset in (0..extent.len()).step_by(BLOCK) {
            let into = &mut block[..BLOCK.min(extent.len() - offset)];
            let len = into.len() as u64;
            let Err(error) = store.read(id, extent, offset, into) else {
                self.verified += len;
                continue;
            };
            let what = match error {
                ReadError::Fault(fault) if fault.kind() == ErrorKind::Corrupt => {
                    "content fails its check".to_owned()
                }
                ReadError::Fault(fault) => format!("content cannot be read: {}", fault.says()),
                ReadError::Gone => "content is not there".to_owned(),
            };
            let text = format!("{what} ({name}, record at offset {place})");
            let start = offset as u64;
            match lost.last_mut() {
                Some((range, said)) if range.end == start && *said == text => range.end += len,
                _ => lost.push((start..start + len, text)),
            }
        }
        for (range, text) in lost {
            self.lose_range(record, &range, &text);
        }
    }

    /// All of a record is lost, and was not read.
    fn lose(&mut self, record: &[Piece], text: &str) {
        self.at.done += to_read(record);
        self.lose_range(record, &(0..u64::MAX), text);
    }

    /// A range of a record is lost to all files that have it.
    fn lose_range(&mut self, record: &[Piece], range: &Range<u64>, text: &str) {
        self.lost.segments.insert(record[0].serial());
        for piece in record {
            let mut places = piece.places(range);
            places.retain(|place| place.start < place.end);
            let mut add = |lost| {
                let problem = problem(self.places, piece.node, lost, text.to_owned());
                self.problems.push(problem);
            };
            match places.is_empty() {
                // The store does not open without what nobody sees, either.
                true if range.end == u64::MAX => add(None),
                _ => places.into_iter().for_each(|place| add(Some(place))),
            }
        }
    }
}
