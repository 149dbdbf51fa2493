//! The segment store against the disk that it lies on, in the same rounds.
//!
//! The floor is the disk itself: direct transfers, sequential ones of 1 MiB and random ones of 4 KiB.
//! Nothing of either side is in the page cache. The peer is one real file for each record, created,
//! written and closed, through the page cache and without waiting for the disk. Times are wall times.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use brimfs::face::disk::{ALIGNMENT, Disk, DiskFile, RealDisk, find, read_full, write_full};
use brimfs::face::segment::{Extent, Id, Options, Protection, RECORD_MAX, Record, Store};

use crate::clock::Stopwatch;
use crate::peer::Done;
use crate::peers::{FLOOR, SUBJECT};
use crate::random::Random;
use crate::row::{Reach, Scale, Unit};
use crate::runner::Measured;

pub const MIB: usize = 1 << 20;
pub const PAGE: usize = 4096;
const FILES: &str = "a file per record";

/// One round of one side: runs the measured section and returns how much work it did.
pub type Side = Box<dyn FnMut(&mut Stopwatch) -> Done<u64>>;

/// Who is measured, by name.
pub type Sides = Vec<(&'static str, Side)>;

pub struct DiskRow {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub reach: Reach,
    pub sides: fn(&PlaceToWork, Scale) -> Done<Sides>,
}

#[derive(Clone)]
pub struct PlaceToWork {
    pub directory: PathBuf,
}

pub fn rows() -> Vec<DiskRow> {
    let row = |id, title, unit, reach, sides| DiskRow {
        id,
        title,
        unit,
        reach,
        sides,
    };
    vec![
        row(
            "spill_write_4k",
            "spill records of 4 KiB, 16 MiB a batch; floor: 1 MiB writes",
            Unit::DiskGigabytesPerSecond,
            Reach::OfFloor(0.6),
            |place, scale| append_against_disk(place, scale, PAGE, Protection::Encrypted),
        ),
        row(
            "spill_write_1m",
            "spill records of 1 MiB, 32 MiB a batch; floor: 1 MiB writes",
            Unit::DiskGigabytesPerSecond,
            Reach::OfFloor(0.9),
            |place, scale| append_against_disk(place, scale, MIB, Protection::Encrypted),
        ),
        row(
            "spill_write_1m_checked",
            "the same, checksummed instead of encrypted",
            Unit::DiskGigabytesPerSecond,
            Reach::OfFloor(0.9),
            |place, scale| append_against_disk(place, scale, MIB, Protection::Checksummed),
        ),
        row(
            "spill_write_files",
            "spill records of 4 KiB against one file for each",
            Unit::DiskKiloOps,
            Reach::TimesPeer(20.0),
            append_against_files,
        ),
        row(
            "spill_read_4k",
            "random read of a spilled 4 KiB record, 1 GiB of them; floor: 4 KiB pread",
            Unit::DiskMicros,
            Reach::TimesFloor(1.5),
            |place, scale| read_against_disk(place, scale, PAGE),
        ),
        row(
            "spill_read_in_large",
            "random read of 4 KiB in a spilled file of 1 GiB; floor: 4 KiB pread",
            Unit::DiskMicros,
            Reach::TimesFloor(3.0),
            |place, scale| read_against_disk(place, scale, MIB),
        ),
    ]
}

pub fn run(row: DiskRow, rounds: usize, scale: Scale) -> Done<Measured> {
    let mut measured = Measured {
        id: row.id,
        title: row.title.to_owned(),
        unit: row.unit,
        reach: row.reach,
        samples: BTreeMap::new(),
    };
    let variable = |name: &str| std::env::var_os(name);
    let found = find(&RealDisk, None, &variable).map_err(|fault| fault.during("spill"))?;
    let place = PlaceToWork {
        directory: found.path,
    };
    let mut sides = (row.sides)(&place, scale)?;
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        for (name, side) in &mut sides {
            let mut watch = Stopwatch::default();
            let work = side(&mut watch)?;
            if round > 0 {
                let value = row.unit.value(watch, work);
                measured.samples.entry(name).or_default().push(value);
            }
        }
    }
    Ok(measured)
}

impl PlaceToWork {
    fn store(&self, protection: Protection) -> Done<Arc<Store>> {
        let mut options = Options::new(&self.directory, 64 << 30);
        options.protection = protection;
        let store = Store::new(Arc::new(RealDisk), options);
        Ok(Arc::new(store.map_err(|fault| fault.during("open"))?))
    }

    pub fn file(&self) -> Done<Box<dyn DiskFile>> {
        Ok(RealDisk.create_nameless(&self.directory)?)
    }
}

/// Random bytes at an aligned address, so that the disk can neither compress nor refuse them.
pub struct Bytes {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Bytes {
    pub fn random(len: usize) -> Self {
        let mut random = Random::new(len as u64);
        let words = (len + ALIGNMENT).div_ceil(8);
        let memory: Vec<u8> = (0..words)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        let address = memory.as_ptr().addr();
        Bytes {
            start: address.next_multiple_of(ALIGNMENT) - address,
            memory,
            len,
        }
    }

    pub fn get(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub fn get_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

fn id(number: usize) -> Id {
    Id {
        inode: number as u64,
        index: 0,
        generation: 1,
    }
}

/// Appends `content` cut into records of `len` bytes, under numbers from `first` on.
fn append(store: &Store, content: &[u8], len: usize, first: usize) -> Done<Vec<Extent>> {
    let parts: Vec<[&[u8]; 1]> = content.chunks(len).map(|piece| [piece]).collect();
    let records: Vec<Record<'_>> = parts
        .iter()
        .enumerate()
        .map(|(number, parts)| Record {
            id: id(first + number),
            parts,
        })
        .collect();
    Ok(store
        .append(&records)
        .map_err(|fault| fault.during("append"))?)
}

fn batch_of(len: usize) -> usize {
    if len == MIB { 32 * MIB } else { 16 * MIB }
}

fn append_against_disk(
    place: &PlaceToWork,
    scale: Scale,
    len: usize,
    protection: Protection,
) -> Done<Sides> {
    let total = scale.pick(1024 * MIB, 128 * MIB);
    let batch = Bytes::random(batch_of(len));
    let store = place.store(protection)?;
    let floor = place.clone();
    let spill: Side = Box::new(move |watch| {
        let mut kept = Vec::new();
        for number in 0..total / batch.len {
            let first = number * (batch.len / len);
            kept.push(watch.measure(|| append(&store, batch.get(), len, first))?);
        }
        kept.into_iter().flatten().for_each(|extent| {
            store.release(extent);
        });
        Ok(total as u64)
    });
    let block = Bytes::random(MIB);
    let disk: Side = Box::new(move |watch| {
        let file = floor.file()?;
        watch.measure(|| {
            (0..total / MIB)
                .try_for_each(|number| write_full(&*file, (number * MIB) as u64, block.get()))
        })?;
        Ok(total as u64)
    });
    Ok(vec![(SUBJECT, spill), (FLOOR, disk)])
}

fn append_against_files(place: &PlaceToWork, scale: Scale) -> Done<Sides> {
    let count = scale.pick(50_000, 5_000);
    let batch = Bytes::random(4 * MIB);
    let store = place.store(Protection::Encrypted)?;
    let spill: Side = Box::new(move |watch| {
        let mut kept = Vec::new();
        let mut done = 0;
        while done < count {
            kept.push(watch.measure(|| append(&store, batch.get(), PAGE, done))?);
            done += batch.len / PAGE;
        }
        kept.into_iter().flatten().for_each(|extent| {
            store.release(extent);
        });
        Ok(done as u64)
    });
    let directory = place.directory.clone();
    let content = Bytes::random(PAGE);
    let files: Side = Box::new(move |watch| {
        let fresh = tempfile::tempdir_in(&directory)?;
        let paths: Vec<_> = (0..count)
            .map(|number| fresh.path().join(number.to_string()))
            .collect();
        watch.measure(|| {
            paths
                .iter()
                .try_for_each(|path| std::fs::write(path, content.get()))
        })?;
        Ok(count as u64)
    });
    Ok(vec![(SUBJECT, spill), (FILES, files)])
}

fn read_against_disk(place: &PlaceToWork, scale: Scale, len: usize) -> Done<Sides> {
    let total = scale.pick(1024 * MIB, 128 * MIB);
    let reads = scale.pick(10_000, 1_000);
    let store = place.store(Protection::Encrypted)?;
    let mut content = Bytes::random(4 * MIB);
    let mut extents = Vec::new();
    let file = place.file()?;
    file.allocate(0, total as u64)?;
    for number in 0..total / content.len {
        content.get_mut()[0] = number as u8;
        extents.extend(append(
            &store,
            content.get(),
            len.min(RECORD_MAX),
            extents.len(),
        )?);
        write_full(&*file, (number * content.len) as u64, content.get())?;
    }
    file.sync_data()?;
    let mut random = Random::new(17);
    let mut choices =
        move || -> Vec<usize> { (0..reads).map(|_| random.below(total / PAGE)).collect() };
    let mut also = choices.clone();
    let mut page = [0; PAGE];
    let spilled: Side = Box::new(move |watch| {
        let pages = choices();
        watch.measure(|| {
            pages.iter().try_for_each(|page_number| {
                let (record, offset) = (page_number * PAGE / len, page_number * PAGE % len);
                store.read(id(record), extents[record], offset, &mut page)
            })
        })?;
        Ok(reads as u64)
    });
    let mut room = Bytes::random(PAGE);
    let disk: Side = Box::new(move |watch| {
        let pages = also();
        watch.measure(|| {
            pages
                .iter()
                .try_for_each(|page| read_full(&*file, (page * PAGE) as u64, room.get_mut()))
        })?;
        Ok(reads as u64)
    });
    Ok(vec![(SUBJECT, spilled), (FLOOR, disk)])
}
