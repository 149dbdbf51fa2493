//! Content that cannot stay where it is, written anew: whole records as they are, of others the blocks that can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::base::error::Fault;
use crate::base::pages::PAGE;
use crate::cold::segment::{BLOCK, Extent, Id, Record, Store};
use crate::journal;
use crate::memory::chunk::{CHUNK, Chunk};
use crate::memory::tier::Identity;

use super::super::Progress;
use super::super::content::{BATCH, Layering, Piece, Source, records};
use super::super::report::{CheckProgress, CheckStep};
use crate::persist::image::Image;

/// A part of a file: its node, and where it begins.
type At = (u64, u64);

/// What came of content that was written anew.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Where it lies now; nothing of what is lost.
    extents: HashMap<At, Option<journal::Extent>, FixedState>,
    /// Parts that have what lay over them in the journal, too.
    merged: HashSet<At, FixedState>,
    /// What is lost, in bytes of the file.
    pub(super) lost: BTreeMap<u64, Vec<Range<u64>>>,
}

/// What is to be written anew.
pub(super) struct Wanted<'a> {
    /// Numbers of segments; nothing for all.
    pub(super) segments: Option<&'a BTreeSet<u64>>,
    /// Nodes whose content gets an identity of its own.
    pub(super) nodes: &'a BTreeSet<u64>,
}

pub(super) struct Rewriter<'a> {
    source: Source<'a>,
    target: &'a Store,
    image: &'a Image,
    wanted: Wanted<'a>,
    progress: Progress<'a>,
    at: CheckProgress,
    /// No chunk has a greater serial number.
    serial: u64,
    rewritten: Rewritten,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(
        source: Source<'a>,
        target: &'a Store,
        image: &'a Image,
        wanted: Wanted<'a>,
        progress: Progress<'a>,
    ) -> Self {
        let extents = image.nodes.values().flat_map(|node| &node.extents);
        let owners = extents.map(|extent| extent.owner & !Identity::CHUNK_OWNER);
        Rewriter {
            source,
            target,
            image,
            wanted,
            progress,
            at: CheckProgress::at(CheckStep::Saving),
            serial: owners.max().unwrap_or(0),
            rewritten: Rewritten::default(),
        }
    }

    /// Writes what is wanted; nothing of it is durable yet.
    ///
    /// # Errors
    /// Those of writing. What cannot be read is lost, and no error.
    pub(super) fn run(mut self, pieces: &[Piece]) -> Result<Rewritten, Fault> {
        let is_alone = |piece: &Piece| piece.layer == Layering::Alone;
        let (alone, layered): (Vec<Piece>, Vec<Piece>) = pieces.iter().copied().partition(is_alone);
        self.run_alone(&alone)?;
        self.run_layered(&layered)?;
        Ok(self.rewritten)
    }

    fn run_alone(&mut self, pieces: &[Piece]) -> Result<(), Fault> {
        for segment in pieces.chunk_by(|one, next| one.serial() == next.serial()) {
            let serial = segment[0].serial();
            let is_whole = self
                .wanted
                .segments
                .is_none_or(|some| some.contains(&serial));
            let (wanted, nodes) = (|piece: &Piece| piece.len > 0, self.wanted.nodes);
            let records: Vec<&[Piece]> = records(segment)
                .filter(|record| record.iter().any(wanted))
                .filter(|record| is_whole || record.iter().any(|piece| nodes.contains(&piece.node)))
                .collect();
            self.at.total += bytes(&records);
            self.segment(&records)?;
        }
        Ok(())
    }

    /// Puts chunks together of which several records have something, if one of those is to be written anew.
    fn run_layered(&mut self, pieces: &[Piece]) -> Result<(), Fault> {
        let mut chunks: BTreeMap<At, Vec<Piece>> = BTreeMap::new();
        for piece in pieces.iter().filter(|piece| piece.len > 0) {
            let chunk = chunks.entry((piece.node, piece.offset)).or_default();
            chunk.push(*piece);
        }
        chunks.retain(|(node, _), pieces| {
            let is_wanted = |piece: &Piece| {
                let some = self.wanted.segments;
                some.is_none_or(|some| some.contains(&piece.serial()))
            };
            self.wanted.nodes.contains(node) || pieces.iter().any(is_wanted)
        });
        let len = |piece: &Piece| piece.extent.len() as u64;
        let lens = chunks.values().flatten().map(len);
        self.at.total += lens.sum::<u64>();
        for pieces in chunks.values_mut() {
            pieces.sort_unstable_by_key(|piece| match piece.layer {
                Layering::Over(over) => over.number + 1,
                Layering::Alone | Layering::Base => 0,
            });
            self.chunk(pieces)?;
            self.at.done += pieces.iter().map(len).sum::<u64>();
            (self.progress)(self.at);
        }
        Ok(())
    }

    /// Writes what can be read of a chunk as one record: the first piece is what the others lie over.
    fn chunk(&mut self, pieces: &[Piece]) -> Result<(), Fault> {
        let Some((base, layers)) = pieces.split_first() else {
            return Ok(());
        };
        let Some(entry) = self.entry(base).copied() else {
            return Ok(());
        };
        let (content, good) = self.read(base);
        let mut part = Part::of(base, &entry, &content, good);
        // What lies over a hole was there before it.
        let had = Chunk::blocks_of(entry.blocks, entry.len as usize).unwrap_or(u64::MAX);
        for piece in layers {
            let Layering::Over(over) = piece.layer else {
                continue;
            };
            let (pages, good) = self.read(piece);
            for (start, before, len) in over.pages.places_in(part.bytes.len()) {
                for page in (0..len).step_by(PAGE) {
                    let (at, from) = (start + page, before + page);
                    let len = PAGE.min(len - page);
                    if had >> (at / BLOCK) & 1 == 0 {
                        continue;
                    }
                    match good >> (from / BLOCK) & 1 {
                        1 => part.put(at, &pages[from..from + len]),
                        _ => part.lose(at..at + len),
                    }
                }
            }
        }
        self.write_part(base, entry, part)
    }

    /// The content of a record, and which of its blocks can be read.
    fn read(&self, piece: &Piece) -> (Vec<u8>, u64) {
        let mut content = vec![0; piece.extent.len()];
        let good = match self.source.open(&[&[*piece]], true) {
            Ok(store) => read_blocks(&store, piece, &mut content),
            Err(_) => 0,
        };
        (content, good)
    }

    fn segment(&mut self, records: &[&[Piece]]) -> Result<(), Fault> {
        let Ok(store) = self.source.open(records, true) else {
            // Some records contradict the file or each other; each by itself may not.
            for record in records {
                match self.source.open(&[record], true) {
                    Ok(store) => self.parts(&store, record)?,
                    Err(_) => self.lose(record)?,
                }
            }
            return Ok(());
        };
        let mut rest = records;
        while !rest.is_empty() {
            let mut len = 0;
            let count = rest.iter().take_while(|record| {
                len += record[0].extent.len();
                len <= BATCH
            });
            let count = count.count().max(1);
            let (batch, behind) = rest.split_at(count);
            self.batch(&store, batch)?;
            rest = behind;
        }
        Ok(())
    }

    fn batch(&mut self, store: &Store, batch: &[&[Piece]]) -> Result<(), Fault> {
        let mut whole: Vec<(&[Piece], Vec<u8>)> = Vec::new();
        for record in batch {
            let Piece { id, extent, .. } = record[0];
            let is_own = record
                .iter()
                .any(|piece| self.wanted.nodes.contains(&piece.node));
            let mut content = vec![0; extent.len()];
            if is_own || store.read(id, extent, 0, &mut content).is_err() {
                self.parts(store, record)?;
            } else {
                whole.push((record, content));
            }
        }
        let parts: Vec<[&[u8]; 1]> = whole.iter().map(|(_, bytes)| [&bytes[..]]).collect();
        let written: Vec<Record<'_>> = whole
            .iter()
            .zip(&parts)
            .map(|((record, _), parts)| Record {
                id: record[0].id,
                parts,
            })
            .collect();
        let extents = match written.is_empty() {
            true => Vec::new(),
            false => self.target.append(&written)?,
        };
        for ((record, _), extent) in whole.iter().zip(extents) {
            for piece in record.iter().filter(|piece| piece.len > 0) {
                let moved = self.entry(piece).map(|entry| moved(entry, extent));
                let at = (piece.node, piece.offset);
                self.rewritten.extents.insert(at, moved);
            }
        }
        self.at.done += bytes(batch);
        (self.progress)(self.at);
        Ok(())
    }

    /// Saves the blocks of a record that can be read, for each file that has them by itself.
    fn parts(&mut self, store: &Store, record: &[Piece]) -> Result<(), Fault> {
        let mut content = vec![0; record[0].extent.len()];
        let good = read_blocks(store, &record[0], &mut content);
        for piece in record.iter().filter(|piece| piece.len > 0) {
            self.part(piece, &content, good)?;
        }
        Ok(())
    }

    /// Nothing of a record can be read.
    fn lose(&mut self, record: &[Piece]) -> Result<(), Fault> {
        let content = vec![0; record[0].extent.len()];
        for piece in record.iter().filter(|piece| piece.len > 0) {
            self.part(piece, &content, 0)?;
        }
        Ok(())
    }

    /// Writes what a file has of a record: its good blocks, and what lies over them in the journal.
    fn part(&mut self, piece: &Piece, content: &[u8], good: u64) -> Result<(), Fault> {
        match self.entry(piece).copied() {
            Some(entry) => self.write_part(piece, entry, Part::of(piece, &entry, content, good)),
            None => Ok(()),
        }
    }

    fn write_part(
        &mut self,
        piece: &Piece,
        entry: journal::Extent,
        mut part: Part,
    ) -> Result<(), Fault> {
        let at = (piece.node, piece.offset);
        self.patch(at, &mut part);
        let Part {
            mut bytes,
            kept,
            lost,
        } = part;
        for range in lost {
            let start = piece.offset + range.start as u64;
            let end = piece.offset + range.end as u64;
            let lost = self.rewritten.lost.entry(piece.node).or_default();
            lost.push(start..end);
        }
        self.rewritten.merged.insert(at);
        // What is stored ends with a block that holds data; behind it the file has a hole.
        let blocks = u64::BITS - kept.leading_zeros();
        bytes.truncate(blocks as usize * BLOCK);
        let extent = match kept {
            0 => None,
            _ => Some(self.write(piece, entry, &bytes, kept)?),
        };
        self.rewritten.extents.insert(at, extent);
        Ok(())
    }

    /// Puts over a part what the journal has of it.
    fn patch(&self, at: At, part: &mut Part) {
        let Some(node) = self.image.nodes.get(at.0) else {
            return;
        };
        // Nobody sees what lies behind the end of the file.
        let len = node.about.as_ref().map_or(u64::MAX, |about| about.len);
        let end = at.1.saturating_add(CHUNK as u64).min(len).max(at.1);
        for (offset, patch) in node.patches.range(at.1..end) {
            let room = (end - offset).min(patch.len() as u64);
            part.put_growing((offset - at.1) as usize, &patch[..room as usize]);
        }
    }

    fn write(
        &mut self,
        piece: &Piece,
        entry: journal::Extent,
        bytes: &[u8],
        kept: u64,
    ) -> Result<journal::Extent, Fault> {
        self.serial += 1;
        let id = Id {
            inode: Identity::CHUNK_OWNER | self.serial,
            index: (piece.offset / CHUNK as u64) as u32,
            generation: 1,
        };
        let parts = [bytes];
        let written = self.target.append(&[Record { id, parts: &parts }])?;
        let all = Chunk::blocks_of(0, bytes.len());
        let entry = journal::Extent {
            len: bytes.len() as u64,
            owner: id.inode,
            index: id.index,
            generation: id.generation,
            blocks: if all == Some(kept) { 0 } else { kept },
            ..entry
        };
        Ok(moved(&entry, written[0]))
    }

    /// What the journal says of a part.
    fn entry(&self, piece: &Piece) -> Option<&'a journal::Extent> {
        let node = self.image.nodes.get(piece.node)?;
        let at = node
            .extents
            .binary_search_by_key(&piece.offset, |extent| extent.offset);
        at.ok().map(|at| &node.extents[at])
    }
}

/// What a file has of a chunk.
struct Part {
    bytes: Vec<u8>,
    /// The blocks that hold data.
    kept: u64,
    lost: Vec<Range<usize>>,
}

impl Part {
    /// The good blocks of a record.
    fn of(piece: &Piece, entry: &journal::Extent, content: &[u8], good: u64) -> Self {
        let had = Chunk::blocks_of(entry.blocks, entry.len as usize).unwrap_or(u64::MAX);
        let mut part = Part {
            bytes: content[..piece.len as usize].to_vec(),
            kept: 0,
            lost: Vec::new(),
        };
        for number in 0..part.bytes.len().div_ceil(BLOCK) {
            let range = number * BLOCK..((number + 1) * BLOCK).min(part.bytes.len());
            match (had >> number & 1, good >> number & 1) {
                (0, _) => part.bytes[range].fill(0),
                (_, 0) => part.lost.push(range),
                _ => part.kept |= 1 << number,
            }
        }
        part
    }

    /// As far as the file reaches.
    fn put(&mut self, start: usize, bytes: &[u8]) {
        let room = self.bytes.len().saturating_sub(start).min(bytes.len());
        if room > 0 {
            self.put_growing(start, &bytes[..room]);
        }
    }

    fn put_growing(&mut self, start: usize, bytes: &[u8]) {
        let stop = start + bytes.len();
        self.bytes.resize(self.bytes.len().max(stop), 0);
        self.bytes[start..stop].copy_from_slice(bytes);
        for number in start / BLOCK..stop.div_ceil(BLOCK) {
            self.kept |= 1 << number;
        }
        self.find(start..stop);
    }

    /// What was there is not true any more, and what is nobody knows.
    fn lose(&mut self, range: Range<usize>) {
        let end = range.end.min(self.bytes.len());
        if range.start < end {
            self.find(range.start..end);
            self.bytes[range.start..end].fill(0);
            self.lost.push(range.start..end);
        }
    }

    /// A range is lost no more.
    fn find(&mut self, range: Range<usize>) {
        let lost = self.lost.drain(..);
        self.lost = lost.flat_map(|lost| without(lost, range.clone())).collect();
    }
}

/// Reads the blocks of a record that can be read; the others are zeroes.
fn read_blocks(store: &Store, piece: &Piece, content: &mut [u8]) -> u64 {
    let mut good = 0;
    for (number, block) in content.chunks_mut(BLOCK).enumerate() {
        match store.read(piece.id, piece.extent, number * BLOCK, block) {
            Ok(()) => good |= 1 << number,
            Err(_) => block.fill(0),
        }
    }
    good
}

impl Rewritten {
    /// Has the image say where everything lies now. Content that can lie nowhere is left out; `nodes` are
    /// those that were wanted.
    pub(super) fn apply(&mut self, image: &mut Image, nodes: &BTreeSet<u64>) {
        for (number, node) in image.nodes.iter_mut() {
            let is_own = nodes.contains(&number);
            let len = node.about.as_ref().map_or(0, |about| about.len);
            node.extents.retain_mut(|extent| {
                let is_seen = extent.offset < len;
                match self.extents.get(&(number, extent.offset)) {
                    Some(None) => false,
                    Some(Some(new)) => {
                        *extent = *new;
                        true
                    }
                    // What nobody sees was not looked at.
                    None => !is_own && is_seen,
                }
            });
            let extents = &node.extents;
            node.overlays.retain(|offset, _| {
                let is_there = extents.iter().any(|extent| extent.offset == *offset);
                is_there && !self.merged.contains(&(number, *offset))
            });
            node.patches.retain(|offset| {
                let chunk = offset / CHUNK as u64 * CHUNK as u64;
                !self.merged.contains(&(number, chunk))
            });
        }
    }
}

fn moved(entry: &journal::Extent, to: Extent) -> journal::Extent {
    let (segment, place, stored) = to.to_parts();
    journal::Extent {
        segment,
        place,
        stored,
        record_len: to.len() as u64,
        ..*entry
    }
}

/// What is left of a range without another one.
fn without(range: Range<usize>, hole: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let before = range.start..range.end.min(hole.start);
    let behind = range.start.max(hole.end)..range.end;
    [before, behind]
        .into_iter()
        .filter(|part| part.start < part.end)
}

fn bytes(records: &[&[Piece]]) -> u64 {
    records
        .iter()
        .map(|record| record[0].extent.len() as u64)
        .sum()
}
