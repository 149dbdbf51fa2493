//! An owner of a store whose files have names: what it wants, and what it wrote down durably.

use std::sync::Arc;

use brimfs::face::Fault;
use brimfs::face::disk::Directory;
use brimfs::face::segment::{Extent, Load, Options, Protection, Record, Store};
use brimfs_sim::medium::Medium;

use crate::world::{SEGMENT, content, id_of, options};

pub const IDENTITY: [u8; 16] = [7; 16];

/// Checksummed, and buffers that take several calls for a large record.
pub fn named_options() -> Options {
    let mut options = options(16 * SEGMENT);
    options.protection = Protection::Checksummed;
    (options.buffers, options.buffer_bytes) = (2, 280 << 10);
    options
}

/// A reference to a record.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub number: u64,
    pub extent: Extent,
    content: Arc<Vec<u8>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Owner {
    pub medium: Medium,
    pub store: Store,
    pub wanted: Vec<Wanted>,
    /// What a journal would say after a crash.
    pub committed: Vec<Wanted>,
    /// What is to be released after the next commit.
    due: Vec<Extent>,
    next: u64,
}

pub fn extents(wanted: &[Wanted]) -> Vec<Extent> {
    wanted.iter().map(|one| one.extent).collect()
}

pub fn open(medium: &Medium, live: &[Extent]) -> Result<Store, Fault> {
    let directory: Arc<dyn Directory> = Arc::new(medium.clone());
    Store::named(directory, named_options(), IDENTITY, live)
}

pub fn open_to_read(medium: &Medium, live: &[Extent]) -> Result<Store, Fault> {
    let directory: Arc<dyn Directory> = Arc::new(medium.clone());
    Store::named_read_only(directory, named_options(), IDENTITY, live)
}

pub fn text(fault: Fault) -> String {
    fault.during("use").to_string()
}

/// Whether everything that is wanted reads as it was written.
pub fn check(store: &Store, wanted: &[Wanted]) -> Result<(), String> {
    for one in wanted {
        let mut bytes = vec![0; one.extent.len()];
        let read = store.read(id_of(one.number), one.extent, 0, &mut bytes);
        read.map_err(|error| format!("record {}: {error}", one.number))?;
        if bytes != *one.content {
            return Err(format!("wrong bytes of record {}", one.number));
        }
    }
    Ok(())
}

impl Owner {
    pub fn new() -> Self {
        Self::on(&Medium::new(), Vec::new(), 0).expect("a disk that works")
    }

    /// Opens the store with what was committed. New records get numbers from `next` on.
    pub fn on(medium: &Medium, committed: Vec<Wanted>, next: u64) -> Result<Self, Fault> {
        Ok(Owner {
            medium: medium.clone(),
            store: open(medium, &extents(&committed))?,
            wanted: committed.clone(),
            committed,
            due: Vec::new(),
            next,
        })
    }

    /// Another process takes over.
    pub fn restart(&mut self) -> Result<(), Fault> {
        *self = Self::on(&self.medium, self.committed.clone(), self.next)?;
        Ok(())
    }

    pub fn append(&mut self, lens: &[usize]) -> Result<(), Fault> {
        let fresh = self.fresh(lens);
        let parts: Vec<[&[u8]; 1]> = fresh.iter().map(|(_, bytes)| [&bytes[..]]).collect();
        let records: Vec<_> = parts
            .iter()
            .zip(&fresh)
            .map(|(parts, (number, _))| Record {
                id: id_of(*number),
                parts,
            })
            .collect();
        let extents = self.store.append(&records)?;
        self.want(fresh, extents);
        Ok(())
    }

    /// As [`Owner::append`], by way of a buffer that has room for them.
    pub fn load(&mut self, lens: &[usize]) -> Result<(), Fault> {
        let fresh = self.fresh(lens);
        let mut load = Load::default();
        for (number, bytes) in &fresh {
            let copy = |start, to: &mut [u8]| to.copy_from_slice(&bytes[start..start + to.len()]);
            let store = &self.store;
            store.load(&mut load, id_of(*number), bytes.len(), copy);
        }
        let extents = self.store.write_load(&mut load)?;
        self.want(fresh, extents);
        Ok(())
    }

    /// Numbers and content of records that there never were.
    fn fresh(&mut self, lens: &[usize]) -> Vec<(u64, Arc<Vec<u8>>)> {
        let first = self.next;
        self.next += lens.len() as u64;
        let numbered = lens.iter().zip(first..);
        numbered
            .map(|(len, number)| (number, Arc::new(content(number, *len))))
            .collect()
    }

    fn want(&mut self, fresh: Vec<(u64, Arc<Vec<u8>>)>, extents: Vec<Extent>) {
        assert_eq!(fresh.len(), extents.len());
        for (extent, (number, content)) in extents.into_iter().zip(fresh) {
            self.wanted.push(Wanted {
                number,
                extent,
                content,
            });
        }
    }

    /// Wants a record once more.
    pub fn copy(&mut self, at: usize) {
        if let Some(one) = self.wanted.get(at).cloned() {
            assert!(self.store.retain(one.extent), "a live record");
            self.wanted.push(one);
        }
    }

    /// Wants a record once less; the store hears of it after the next commit.
    pub fn delete(&mut self, at: usize) {
        if at < self.wanted.len() {
            self.due.push(self.wanted.remove(at).extent);
        }
    }

    /// Makes durable what is wanted and then releases what is not.
    pub fn commit(&mut self) -> Result<(), Fault> {
        self.store.sync()?;
        self.committed = self.wanted.clone();
        for extent in self.due.drain(..) {
            assert!(self.store.release(extent), "{extent:?} was live");
        }
        Ok(())
    }

    /// Swings every reference to what moves.
    pub fn compact(&mut self, budget: u64) -> Result<u64, Fault> {
        let (wanted, due, store) = (&mut self.wanted, &mut self.due, &self.store);
        let done = store.compact(budget, &mut |id, old, new| {
            let mine = wanted.iter_mut().filter(|one| one.extent == old);
            let mut swung = 0;
            for one in mine {
                assert_eq!(id_of(one.number), id);
                assert!(swung == 0 || store.retain(new));
                one.extent = new;
                due.push(old);
                swung += 1;
            }
            swung > 0
        })?;
        Ok(done.moved)
    }

    /// Everything that is wanted reads, and the counters say what is wanted and what lies on the disk.
    pub fn check(&self) {
        check(&self.store, &self.wanted).expect("readable");
        let mut live = extents(&self.wanted);
        live.extend(&self.due);
        live.sort_unstable_by_key(|extent| extent.to_raw());
        live.dedup();
        let stats = self.store.stats();
        let bytes: u64 = live.iter().map(|extent| extent.stored_bytes()).sum();
        assert_eq!(
            (stats.live_records, stats.live_bytes),
            (live.len() as u64, bytes)
        );
        let names = self.medium.names();
        let lens = names.iter().map(|name| self.medium.raw(name).len() as u64);
        assert_eq!(stats.disk_bytes, lens.sum::<u64>());
        assert_eq!(stats.segments + stats.leftover_files, names.len() as u64);
        assert!(
            stats.live_bytes + stats.dead_bytes <= stats.disk_bytes,
            "{stats:?}"
        );
    }
}
