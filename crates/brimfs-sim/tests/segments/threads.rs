//! Threads that append, read, release and compact at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brimfs::ErrorKind;
use brimfs::face::segment::{Extent, Read, ReadError, Record, Store};
use brimfs_sim::disk::SimDisk;
use parking_lot::Mutex;

use crate::world::{SEGMENT, content, id_of, number_of, options};

type Extents = Mutex<BTreeMap<u64, Extent>>;

/// Reads a record as an owner does: where it moved meanwhile, its extent is looked up again.
fn read(store: &Store, extents: &Extents, number: u64, len: usize) {
    let mut bytes = vec![0; len];
    loop {
        let extent = extents.lock()[&number];
        match store.read(id_of(number), extent, 0, &mut bytes) {
            Ok(()) => break,
            Err(ReadError::Gone) => {
                let now = extents.lock()[&number];
                assert_ne!(now, extent, "gone, but its owner still has it");
            }
            Err(error) => panic!("record {number}: {error}"),
        }
    }
    assert!(
        bytes == content(number, len),
        "wrong bytes of record {number}"
    );
}

fn len_of(number: u64) -> usize {
    match number % 11 {
        0 => 700_000,
        1 => 50_000,
        small => 100 + small as usize * 500,
    }
}

fn worker(store: &Store, extents: &Extents, thread: u64, rounds: u64) {
    let mut mine = Vec::new();
    for round in 0..rounds {
        let first = (thread * rounds + round) * 6;
        let contents: Vec<Vec<u8>> = (first..first + 6)
            .map(|number| content(number, len_of(number)))
            .collect();
        let parts: Vec<[&[u8]; 1]> = contents.iter().map(|content| [&content[..]]).collect();
        let records: Vec<Record<'_>> = parts
            .iter()
            .zip(first..)
            .map(|(parts, number)| Record {
                id: id_of(number),
                parts,
            })
            .collect();
        match store.append(&records) {
            Ok(new) => {
                let mut extents = extents.lock();
                extents.extend((first..).zip(new));
                mine.extend(first..first + 6);
            }
            Err(fault) => assert_eq!(fault.kind(), ErrorKind::DiskLimit),
        }
        for number in mine.iter().rev().step_by(3).take(5) {
            read(store, extents, *number, len_of(*number));
        }
        while mine.len() > 24 {
            let victim = mine.swap_remove((round as usize * 7) % mine.len());
            let extent = extents.lock().remove(&victim).expect("mine");
            assert!(store.release(extent));
        }
    }
    let mut buffers: Vec<Vec<u8>> = mine.iter().map(|number| vec![0; len_of(*number)]).collect();
    let held = extents.lock().clone();
    let reads = mine
        .iter()
        .zip(&mut buffers)
        .map(|(number, into)| Read {
            id: id_of(*number),
            extent: held[number],
            offset: 0,
            into,
        })
        .collect();
    for (result, (number, buffer)) in store.read_many(reads).iter().zip(mine.iter().zip(&buffers)) {
        match result {
            Ok(()) => assert!(*buffer == content(*number, len_of(*number))),
            Err(ReadError::Gone) => read(store, extents, *number, len_of(*number)),
            Err(error) => panic!("record {number}: {error}"),
        }
    }
    for number in mine {
        let extent = extents.lock().remove(&number).expect("mine");
        assert!(store.release(extent));
    }
}

#[test]
fn threads_and_compaction_agree() {
    for helpers in [0, 2] {
        let disk = SimDisk::new();
        let mut options = options(24 * SEGMENT);
        options.helpers = helpers;
        options.buffers = 3;
        let store = Store::new(Arc::new(disk.clone()), options).expect("good options");
        let extents = Extents::default();
        let working = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|thread| {
                    let (store, extents) = (&store, &extents);
                    scope.spawn(move || worker(store, extents, thread, 60))
                })
                .collect();
            let compactor = scope.spawn(|| {
                while working.load(Ordering::Relaxed) {
                    // The map is locked for the swing only, so an owner may have ended the record before.
                    let done = store.compact(SEGMENT, &mut |id, old, new| {
                        let mut extents = extents.lock();
                        match extents.get_mut(&number_of(id)) {
                            Some(extent) if *extent == old => {
                                *extent = new;
                                true
                            }
                            _ => false,
                        }
                    });
                    if let Err(fault) = done {
                        assert_eq!(fault.kind(), ErrorKind::DiskLimit);
                    }
                    std::thread::yield_now();
                }
            });
            let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            working.store(false, Ordering::Relaxed);
            compactor.join().expect("the compactor");
            ended.into_iter().for_each(|end| end.expect("a worker"));
        });
        let stats = store.stats();
        assert_eq!(
            (stats.live_bytes, stats.live_records, stats.segments),
            (0, 0, 0)
        );
        assert_eq!((stats.disk_bytes, disk.used(), disk.files()), (0, 0, 0));
    }
}
