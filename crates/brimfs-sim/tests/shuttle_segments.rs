//! Schedules of a segment store with names, over a directory that may lose power: threads that append and sync at the
//! same time, while files are created and go. Built and run as `shuttle.rs` is.
#![cfg(feature = "shuttle")]

use brimfs::face::disk::Directory;
use brimfs::face::segment::{Extent, Id, Options, Protection, Record, Store};
use brimfs_sim::medium::{Image, Medium};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::{Config, Runner, thread};

const SCHEDULES: usize = 300;
const PCT_DEPTH: usize = 3;
/// Unoptimised code takes more than the 32 KiB that shuttle gives its threads.
const STACK_BYTES: usize = 1 << 20;
/// Two of these fill a segment.
const BIG: usize = 900_000;

fn explore(scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(PCT_DEPTH, SCHEDULES), config).run(scenario);
}

#[derive(Clone)]
struct World {
    medium: Medium,
    store: Arc<Store>,
}

fn open(medium: &Medium, live: &[Extent]) -> Store {
    let mut options = Options::new("", 32 << 20);
    options.segment_bytes = Some(2 << 20);
    options.protection = Protection::Checksummed;
    options.helpers = 0;
    let directory: Arc<dyn Directory> = Arc::new(medium.clone());
    let opened = Store::named(directory, options, [7; 16], live);
    opened.unwrap_or_else(|fault| panic!("{}", fault.during("open")))
}

fn id(inode: u64) -> Id {
    Id {
        inode,
        index: 0,
        generation: 1,
    }
}

fn content(inode: u64, len: usize) -> Vec<u8> {
    vec![inode as u8 + 1; len]
}

impl World {
    fn new() -> Self {
        let medium = Medium::new();
        let store = Arc::new(open(&medium, &[]));
        World { medium, store }
    }

    fn append(&self, inode: u64, len: usize) -> Extent {
        let bytes = content(inode, len);
        let record = Record {
            id: id(inode),
            parts: &[&bytes],
        };
        self.store.append(&[record]).expect("a disk with room")[0]
    }

    fn sync(&self) {
        self.store.sync().expect("a disk that works");
    }

    /// What this thread made durable is there if the power goes off now.
    fn check(&self, durable: &[(u64, Extent)]) {
        let live: Vec<Extent> = durable.iter().map(|(_, extent)| *extent).collect();
        let store = open(&self.medium.crash(&Image::default()), &live);
        for (inode, extent) in durable {
            let mut bytes = vec![0; extent.len()];
            let read = store.read(id(*inode), *extent, 0, &mut bytes);
            read.unwrap_or_else(|error| panic!("record {inode}: {error}"));
            assert!(bytes == content(*inode, extent.len()));
        }
    }

    /// Does its part in a thread, which checks what it made durable.
    fn work(&self, lens: &'static [(u64, usize)]) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || {
            let mut durable = Vec::new();
            for (inode, len) in lens {
                durable.push((*inode, world.append(*inode, *len)));
                world.sync();
                world.check(&durable);
            }
        })
    }
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("a worker");
    }
}

#[test]
fn a_sync_of_others_takes_nothing_along() {
    explore(|| {
        let world = World::new();
        let worker = world.work(&[(0, 100), (1, 200)]);
        world.sync();
        world.sync();
        join([worker]);
    });
}

#[test]
fn what_each_thread_synced_is_durable() {
    explore(|| {
        let world = World::new();
        join([
            world.work(&[(0, 100), (1, 200)]),
            world.work(&[(2, 300), (3, 400)]),
        ]);
    });
}

#[test]
fn new_files_come_while_others_sync() {
    explore(|| {
        let world = World::new();
        let first = world.append(0, BIG);
        world.append(1, BIG);
        join([world.work(&[(2, BIG)]), world.work(&[(3, 100)])]);
        world.check(&[(0, first)]);
    });
}

#[test]
fn a_file_goes_while_others_sync() {
    explore(|| {
        let world = World::new();
        let first = [world.append(0, BIG), world.append(1, BIG)];
        let worker = world.work(&[(2, 100)]);
        for extent in first {
            assert!(world.store.retain(extent));
            assert!(world.store.release(extent) && world.store.release(extent));
        }
        world.sync();
        join([worker]);
        world.sync();
        let stats = world.store.stats();
        assert_eq!((stats.segments, stats.live_records), (1, 1));
        assert_eq!(world.medium.names().len(), 1);
    });
}
