//! Appending: places are reserved under one lock, then sealed and written without any.
//!
//! A batch is cut into runs of whole records that begin and end at transfer boundaries, so that
//! threads seal and write different runs at the same time. A place that was reserved is never
//! given to another record of the same segment, whether or not writing succeeded: that keeps
//! nonces unique, and what failed becomes dead space.

use std::ops::Range;

use crate::base::error::{ErrorKind, Fault};
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicBool, Ordering};
use crate::io::disk::{ALIGNMENT, Nameless};

use super::crew;
use super::format::{
    BLOCK, Extent, FIRST, Header, RECORD_MAX, SERIAL_MAX, UNIT, block_len, blocks, plain_units,
};
use super::home::Home;
use super::index::Segment;
use super::pack::{self, Packed};
use super::space::SegmentFile;
use super::stream::Stream;
use super::{Id, Store};

/// Space is reserved in steps of this, in bytes.
const STEP_BYTES: u64 = 8 << 20;
/// A small segment has so many steps.
const STEPS_LEAST: u64 = 4;
/// Less than this is not worth another thread, in bytes.
const ALONE_BYTES: u64 = 1 << 20;

/// Content to append: one chunk at one generation, in as many pieces as it lies in.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Whose content it is.
    pub id: Id,
    /// The content, 1 byte to 1 MiB together.
    pub parts: &'a [&'a [u8]],
}

/// Who appends decides how far the disk limit reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Spill,
    Compaction,
}

/// Where the next run goes. Its lock is held while files are created and space is reserved;
/// readers never need it.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) active: Option<Arc<Segment>>,
    /// End of the last run in the active segment, in bytes.
    used: u64,
    next_serial: u32,
    /// A file whose segment died, to be written over by the next one.
    pub(super) spare: Option<SegmentFile>,
}

impl Tail {
    pub(super) fn new() -> Self {
        Tail {
            active: None,
            used: FIRST,
            next_serial: 0,
            spare: None,
        }
    }

    /// No segment before this one is appended to.
    pub(super) fn starting_at(next_serial: u32) -> Self {
        Tail {
            next_serial,
            ..Self::new()
        }
    }

    /// The serial number of the next segment.
    pub(super) fn next_serial(&self) -> u32 {
        self.next_serial
    }
}

/// What a record has of content, in bytes, and occupies on disk.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) len: usize,
    pub(super) units: u32,
}

/// A record as it is going to lie on disk.
struct Sized<'a> {
    id: Id,
    parts: &'a [&'a [u8]],
    size: Size,
    packed: Option<Packed>,
}

/// Records that lie side by side, and where.
pub(super) struct Run {
    pub(super) segment: Arc<Segment>,
    pub(super) start: u64,
    /// Including the padding to the next transfer boundary.
    pub(super) len: u64,
    records: Range<usize>,
}

impl Store {
    pub(super) fn append_for(
        &self,
        records: &[Record<'_>],
        purpose: Purpose,
    ) -> Result<Vec<Extent>, Fault> {
        self.home.check_writable()?;
        let sized: Vec<Sized<'_>> = records
            .iter()
            .map(|record| self.size(record))
            .collect::<Result<_, _>>()?;
        let sizes: Vec<Size> = sized.iter().map(|sized| sized.size).collect();
        let (runs, extents) = self.place(&sizes, self.buffers.size(), purpose)?;
        let written = self.write_runs(&runs, &sized, &extents);
        self.settle(runs, &extents, written.is_ok());
        written.map(|()| extents)
    }

    /// The records of these runs live from now on, or are dead space.
    pub(super) fn settle(&self, runs: Vec<Run>, extents: &[Extent], is_written: bool) {
        for run in runs {
            if let (Home::Named(named), true) = (&self.home, is_written) {
                named.mark(&run.segment);
            }
            let mut index = run.segment.index();
            for extent in &extents[run.records] {
                index.settle(*extent, is_written);
            }
            let empty = index.is_empty();
            drop(index);
            if empty {
                self.retire(run.segment);
            }
        }
    }

    fn size<'a>(&self, record: &Record<'a>) -> Result<Sized<'a>, Fault> {
        let len: usize = record.parts.iter().map(|part| part.len()).sum();
        if !(1..=RECORD_MAX).contains(&len) {
            let text = format!("a record of {len} bytes is not one of 1 to {RECORD_MAX}");
            return Err(Fault::text(ErrorKind::InvalidArgument, text));
        }
        let seals = self.sealer.seals();
        let packed = pack::pack(record.parts, len, self.compression, seals);
        Ok(Sized {
            id: record.id,
            parts: record.parts,
            size: Size {
                len,
                units: packed
                    .as_ref()
                    .map_or(plain_units(len, seals), |packed| packed.units),
            },
            packed,
        })
    }

    /// Reserves space for all records or for none, and announces them in their segments. A run is as long as the
    /// `buffer` that it is written from, or one record.
    pub(super) fn place(
        &self,
        records: &[Size],
        buffer: usize,
        purpose: Purpose,
    ) -> Result<(Vec<Run>, Vec<Extent>), Fault> {
        let mut tail = self.tail.lock();
        let mut fresh = Vec::new();
        let laid = self.lay_out(&mut tail, records, buffer, &mut fresh, purpose);
        let (runs, used) = match laid {
            Ok(laid) => laid,
            Err(fault) => {
                if let Home::Named(named) = &self.home {
                    fresh.into_iter().for_each(|segment| named.discard(segment));
                }
                return Err(fault);
            }
        };
        // Nothing can fail from here on.
        let mut extents = Vec::with_capacity(records.len());
        for run in &runs {
            announce(run, records, &mut extents);
        }
        let active = runs.last().map(|run| run.segment.clone());
        let before = match active {
            Some(active) => tail.active.replace(active),
            None => tail.active.clone(),
        };
        tail.used = used;
        let full = self.publish(fresh, before);
        drop(tail);
        if let Some(segment) = full {
            self.retire(segment);
        }
        Ok((runs, extents))
    }

    /// Where the records go, and the end of the last run. Segments that are created on the way are put to `fresh`.
    fn lay_out(
        &self,
        tail: &mut Tail,
        records: &[Size],
        buffer: usize,
        fresh: &mut Vec<Arc<Segment>>,
        purpose: Purpose,
    ) -> Result<(Vec<Run>, u64), Fault> {
        let mut active = tail.active.clone();
        let mut used = tail.used;
        let mut runs = Vec::new();
        let mut first = 0;
        while first < records.len() {
            let (records, len) = cut(records, first, buffer);
            first = records.end;
            let (room, full) = match active.take() {
                Some(segment) if used + len <= self.segment_bytes => (Some(segment), None),
                full => (None, full),
            };
            let begins = room.is_none();
            if let Some(full) = full {
                // What is reserved ahead in it nothing comes to take, and the next one may need it.
                full.file.cut(used);
            }
            let segment = match room {
                Some(segment) => segment,
                None => {
                    let segment = self.create_segment(tail)?;
                    fresh.push(segment.clone());
                    used = FIRST;
                    segment
                }
            };
            let need = used + len;
            let step = STEP_BYTES.min(self.segment_bytes / STEPS_LEAST);
            let wish = need.next_multiple_of(step).min(self.segment_bytes);
            let ceiling = self.ceiling(purpose);
            if let Err(fault) = segment.file.reserve(need, wish, ceiling) {
                // A file kept for later stands in the way of what is needed now.
                if tail.spare.take().is_none() {
                    return Err(fault);
                }
                segment.file.reserve(need, wish, ceiling)?;
            }
            if let (Home::Named(named), true) = (&self.home, begins) {
                named.begin(&segment)?;
                self.counters.count_write(FIRST);
            }
            runs.push(Run {
                segment: segment.clone(),
                start: used,
                len,
                records,
            });
            used = need;
            active = Some(segment);
        }
        Ok((runs, used))
    }

    /// Enters new segments into the table and closes those that no more runs go to. Returns
    /// the previous one if it has become empty. Called under the lock of the tail.
    fn publish(
        &self,
        fresh: Vec<Arc<Segment>>,
        before: Option<Arc<Segment>>,
    ) -> Option<Arc<Segment>> {
        if fresh.is_empty() {
            return None;
        }
        let last = fresh.len() - 1;
        for segment in before.iter().chain(&fresh[..last]) {
            segment.close();
        }
        let mut table = self.table.write();
        table.extend(fresh.into_iter().map(|segment| (segment.serial, segment)));
        before.filter(|segment| segment.index().is_empty())
    }

    /// Spilling leaves one segment of the limit to compaction.
    pub(super) fn ceiling(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Spill => self.space.limit - self.segment_bytes,
            Purpose::Compaction => self.space.limit,
        }
    }

    fn create_segment(&self, tail: &mut Tail) -> Result<Arc<Segment>, Fault> {
        let serial = tail.next_serial;
        if serial > SERIAL_MAX {
            let text = "the store has used up its segment numbers";
            return Err(Fault::text(ErrorKind::DiskLimit, text));
        }
        let file = match (&self.home, tail.spare.take()) {
            (_, Some(file)) => file,
            (Home::Named(named), None) => SegmentFile::new(named.create(serial)?, &self.space),
            (Home::Nameless { disk, directory }, None) => {
                let file = disk.create_nameless(directory).map_err(Fault::disk)?;
                if file.nameless() == Nameless::Unlinked {
                    self.counters.unlinked_files.fetch_add(1, Ordering::Relaxed);
                }
                SegmentFile::new(file, &self.space)
            }
        };
        tail.next_serial += 1;
        Ok(Arc::new(Segment::new(serial, file)))
    }

    /// Seals and writes every run; helpers take runs too where there is enough to do.
    fn write_runs(
        &self,
        runs: &[Run],
        records: &[Sized<'_>],
        extents: &[Extent],
    ) -> Result<(), Fault> {
        let bytes: u64 = runs.iter().map(|run| run.len).sum();
        let helpers = if bytes > ALONE_BYTES {
            runs.len() - 1
        } else {
            0
        };
        let failed = AtomicBool::new(false);
        let outcomes = crew::share(&self.helpers, helpers, runs.len(), &|number| {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.write_run(&runs[number], records, extents)
                .inspect_err(|_| failed.store(true, Ordering::Relaxed))
        });
        outcomes.into_iter().collect()
    }

    fn write_run(&self, run: &Run, records: &[Sized<'_>], extents: &[Extent]) -> Result<(), Fault> {
        let mut lease = self.buffers.take();
        let mut stream = Stream::new(
            &*run.segment.file.file,
            &mut lease,
            run.start,
            &self.counters,
        );
        for number in run.records.clone() {
            self.seal_record(&mut stream, &records[number], extents[number])
                .map_err(Fault::disk)?;
        }
        stream.finish().map_err(Fault::disk)
    }

    fn seal_record(
        &self,
        stream: &mut Stream<'_>,
        record: &Sized<'_>,
        extent: Extent,
    ) -> std::io::Result<()> {
        let seals = self.sealer.seals();
        let tag = seals.block_tag();
        let header = Header::new(record.id, extent, seals);
        let table = record
            .packed
            .as_ref()
            .map_or(&[][..], |packed| &packed.table);
        stream.put(&header.0)?;
        stream.put(&self.sealer.seal_header(header, table))?;
        stream.put(table)?;
        let mut source = Parts::new(record.parts);
        for block in 0..blocks(record.size.len) {
            let packed = record.packed.as_ref().map(|packed| packed.block(block));
            let len = packed.map_or(block_len(record.size.len, block), <[u8]>::len);
            let room = stream.room(len + tag)?;
            let (data, seal) = room.split_at_mut(len);
            match packed {
                Some(packed) => data.copy_from_slice(packed),
                None => source.copy_to(data),
            }
            self.sealer.seal(header.of_block(block as u32), data, seal);
        }
        stream.pad(UNIT)
    }
}

/// The next run from `first` on, and its length on disk in bytes: one record, or as many as a
/// buffer takes, so that they are written by one call.
fn cut(records: &[Size], first: usize, buffer: usize) -> (Range<usize>, u64) {
    let mut bytes = 0;
    let mut end = first;
    while end < records.len() {
        let more = u64::from(records[end].units) * UNIT as u64;
        if end > first && bytes + more > buffer as u64 {
            break;
        }
        bytes += more;
        end += 1;
    }
    (first..end, bytes.next_multiple_of(ALIGNMENT as u64))
}

fn announce(run: &Run, records: &[Size], extents: &mut Vec<Extent>) {
    let mut index = run.segment.index();
    let mut unit = (run.start / UNIT as u64) as u32;
    for record in &records[run.records.clone()] {
        let extent = Extent::new(run.segment.serial, unit, record.len, record.units);
        index.announce(extent);
        extents.push(extent);
        unit += record.units;
    }
    index.set_used(run.start + run.len);
}

/// Reads through the pieces of a content as if they were one.
pub(super) struct Parts<'a> {
    rest: &'a [&'a [u8]],
    current: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn new(parts: &'a [&'a [u8]]) -> Self {
        Parts {
            rest: parts,
            current: &[],
        }
    }

    /// Fills `into`, of which the pieces still have enough.
    pub(super) fn copy_to(&mut self, into: &mut [u8]) {
        let mut done = 0;
        while done < into.len() {
            if self.current.is_empty() {
                let (first, rest) = self
                    .rest
                    .split_first()
                    .expect("lengths were added up before");
                (self.current, self.rest) = (first, rest);
                continue;
            }
            let count = self.current.len().min(into.len() - done);
            into[done..done + count].copy_from_slice(&self.current[..count]);
            self.current = &self.current[count..];
            done += count;
        }
    }
}

const _: () = assert!(BLOCK.is_multiple_of(UNIT));
