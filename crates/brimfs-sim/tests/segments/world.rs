//! A store on a simulated disk, and what it should hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use brimfs::ErrorKind;
use brimfs::face::segment::{
    Compression, Extent, Id, Load, Options, Protection, Read, ReadError, Record, Store,
};
use brimfs_sim::disk::SimDisk;

pub const SEGMENT: u64 = 2 << 20;

/// Bytes that a number stands for; every other piece of 1 KiB is one that compresses.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = if bytes.len() / 1024 % 2 == 0 {
            state
        } else {
            seed
        };
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn options(limit: u64) -> Options {
    let mut options = Options::new("/simulated", limit);
    options.segment_bytes = Some(SEGMENT);
    options.helpers = 0;
    options
}

/// Every way to seal and pack.
pub fn variants() -> Vec<(Protection, Compression)> {
    let mut all = Vec::new();
    for protection in [Protection::Encrypted, Protection::Checksummed] {
        for compression in [Compression::None, Compression::Lz4] {
            all.push((protection, compression));
        }
    }
    all
}

/// The record that the oracle remembers under an identity.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub extent: Extent,
    seed: u64,
    len: usize,
}

impl Kept {
    pub fn content(&self) -> Vec<u8> {
        content(self.seed, self.len)
    }
}

/// A store, its disk and the oracle.
pub struct World {
    pub disk: SimDisk,
    pub store: Store,
    pub kept: BTreeMap<u64, Kept>,
    next: u64,
    load: Load,
}

pub fn id_of(number: u64) -> Id {
    Id {
        inode: number / 3,
        index: (number % 3) as u32,
        generation: number + 7,
    }
}

pub fn number_of(id: Id) -> u64 {
    let number = id.generation - 7;
    assert_eq!(id, id_of(number), "an identity that nobody gave");
    number
}

impl World {
    pub fn new(options: Options) -> Self {
        let disk = SimDisk::new();
        let store = Store::new(Arc::new(disk.clone()), options).expect("good options");
        World {
            disk,
            store,
            kept: BTreeMap::new(),
            next: 0,
            load: Load::default(),
        }
    }

    /// Appends records of these lengths, each in two pieces. Nothing is remembered on failure.
    pub fn append(&mut self, lens: &[usize]) -> Result<(), ErrorKind> {
        let first = self.next;
        self.next += lens.len() as u64;
        let contents: Vec<Vec<u8>> = lens
            .iter()
            .zip(first..)
            .map(|(len, number)| content(number, *len))
            .collect();
        let parts: Vec<[&[u8]; 2]> = contents
            .iter()
            .map(|content| {
                let (head, rest) = content.split_at(content.len() / 3);
                [head, rest]
            })
            .collect();
        let records: Vec<Record<'_>> = parts
            .iter()
            .zip(first..)
            .map(|(parts, number)| Record {
                id: id_of(number),
                parts,
            })
            .collect();
        let extents = self.store.append(&records).map_err(|fault| fault.kind())?;
        self.keep(first, lens, extents);
        Ok(())
    }

    /// Puts records of these lengths into a buffer, as many as fit, and writes it. Nothing is remembered on failure.
    pub fn load(&mut self, lens: &[usize]) -> Result<(), ErrorKind> {
        let first = self.next;
        let mut loaded = 0;
        for len in lens {
            if !self.load.has_room(*len) {
                break;
            }
            let content = content(self.next, *len);
            let copy = |start, to: &mut [u8]| to.copy_from_slice(&content[start..start + to.len()]);
            self.store
                .load(&mut self.load, id_of(self.next), *len, copy);
            self.next += 1;
            loaded += 1;
        }
        assert!(loaded > 0, "one record fits always");
        let written = self.store.write_load(&mut self.load);
        assert!(self.load.is_empty());
        let extents = written.map_err(|fault| fault.kind())?;
        self.keep(first, &lens[..loaded], extents);
        Ok(())
    }

    fn keep(&mut self, first: u64, lens: &[usize], extents: Vec<Extent>) {
        assert_eq!(extents.len(), lens.len());
        for ((extent, len), number) in extents.into_iter().zip(lens).zip(first..) {
            assert_eq!(extent.len(), *len);
            let kept = Kept {
                extent,
                seed: number,
                len: *len,
            };
            self.kept.insert(number, kept);
        }
    }

    /// The number of a live record, chosen by any number.
    pub fn pick(&self, choice: usize) -> Option<u64> {
        let count = self.kept.len();
        (count > 0).then(|| {
            *self
                .kept
                .keys()
                .nth(choice % count)
                .expect("below the count")
        })
    }

    /// Reads a range and compares it. The error, if there is one.
    pub fn read(&self, number: u64, offset: usize, len: usize) -> Result<(), ErrorKind> {
        let kept = &self.kept[&number];
        let mut bytes = vec![0xee; len];
        self.store
            .read(id_of(number), kept.extent, offset, &mut bytes)
            .map_err(kind)?;
        assert!(
            bytes == kept.content()[offset..offset + len],
            "wrong bytes of record {number}"
        );
        Ok(())
    }

    /// Reads several ranges at once and compares each. The errors.
    pub fn read_many(&self, ranges: &[(u64, usize, usize)]) -> Vec<Result<(), ErrorKind>> {
        let mut buffers: Vec<Vec<u8>> = ranges.iter().map(|(.., len)| vec![0xee; *len]).collect();
        let reads = ranges
            .iter()
            .zip(&mut buffers)
            .map(|((number, offset, _), into)| Read {
                id: id_of(*number),
                extent: self.kept[number].extent,
                offset: *offset,
                into,
            })
            .collect();
        let results = self.store.read_many(reads);
        for ((result, buffer), (number, offset, len)) in results.iter().zip(&buffers).zip(ranges) {
            let right = &self.kept[number].content()[*offset..offset + len];
            assert!(
                result.is_err() || buffer == right,
                "wrong bytes of record {number}"
            );
        }
        results
            .into_iter()
            .map(|result| result.map_err(kind))
            .collect()
    }

    pub fn release(&mut self, number: u64) {
        let kept = self.kept.remove(&number).expect("a live record");
        assert!(
            self.store.release(kept.extent),
            "a live record is released once"
        );
        assert!(!self.store.release(kept.extent), "and not twice");
    }

    /// Compacts; every `dying`-th record that is copied dies just before its owner hears of it.
    pub fn compact(&mut self, budget: u64, dying: usize) -> Result<u64, ErrorKind> {
        let (kept, store) = (&mut self.kept, &self.store);
        let mut copied = 0;
        let done = store.compact(budget, &mut |id, old, new| {
            copied += 1;
            let number = number_of(id);
            let record = kept.get_mut(&number).expect("only live records move");
            assert_eq!(record.extent, old);
            if dying > 0 && copied % dying == 0 {
                kept.remove(&number);
                assert!(store.release(old), "its owner releases the old extent");
                return false;
            }
            record.extent = new;
            true
        });
        done.map(|done| done.freed_segments)
            .map_err(|fault| fault.kind())
    }

    /// Every counter says what the oracle and the disk say.
    pub fn check(&self) {
        let stats = self.store.stats();
        let live: u64 = self
            .kept
            .values()
            .map(|kept| kept.extent.stored_bytes())
            .sum();
        assert_eq!(stats.live_bytes, live);
        assert_eq!(stats.live_records, self.kept.len() as u64);
        assert_eq!(stats.disk_bytes, self.disk.used());
        assert!(stats.disk_bytes <= stats.disk_limit, "{stats:?}");
        assert!(
            stats.live_bytes + stats.dead_bytes <= stats.disk_bytes,
            "{stats:?}"
        );
        assert!(stats.segments <= self.disk.files() as u64);
        let index = self.store.footprint().index;
        assert!(index >= 4 * stats.live_records, "{index} for {stats:?}");
    }

    /// Everything reads back; then everything is released and nothing is left.
    pub fn finish(mut self) {
        let numbers: Vec<u64> = self.kept.keys().copied().collect();
        for number in &numbers {
            let len = self.kept[number].len;
            assert_eq!(self.read(*number, 0, len), Ok(()), "record {number}");
        }
        for number in numbers {
            self.release(number);
        }
        let stats = self.store.stats();
        assert_eq!((stats.live_bytes, stats.live_records), (0, 0));
        assert_eq!(
            (stats.dead_bytes, stats.segments, stats.disk_bytes),
            (0, 0, 0)
        );
        assert_eq!((self.disk.files(), self.disk.used()), (0, 0));
        assert_eq!(self.store.footprint().index, 0);
    }
}

pub fn kind(error: ReadError) -> ErrorKind {
    match error {
        ReadError::Gone => panic!("the owner has the current extent"),
        ReadError::Fault(fault) => fault.kind(),
    }
}
