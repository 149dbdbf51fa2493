//! A directory that fails at every call: what was committed stays, and a sync that failed is never forgotten.

use std::sync::Arc;

use brimfs::ErrorKind;
use brimfs::face::Fault;
use brimfs::face::disk::Directory;
use brimfs::face::segment::{Record, Store};
use brimfs_sim::disk::{Failure, Plan};
use brimfs_sim::medium::{Image, Medium};
use parking_lot::Mutex;

use crate::owner::{Owner, Wanted, check, extents, open, text};
use crate::world::{SEGMENT, content, id_of};

fn fail_now(medium: &Medium, failure: Failure, lasting: bool) {
    let call = medium.calls();
    medium.plan(Some(Plan {
        call,
        failure,
        lasting,
    }));
}

/// Whether the store refuses, which it does for good, in the same words, and without touching the disk.
fn refuses(owner: &mut Owner) -> bool {
    let first = match owner.store.sync() {
        Ok(()) => return false,
        Err(fault) => text(fault),
    };
    assert!(
        first.contains("refuses writes until it is opened anew"),
        "{first}"
    );
    let calls = owner.medium.calls();
    let compacted = owner.store.compact(u64::MAX, &mut |_, _, _| true);
    let refusals: [Result<(), Fault>; 5] = [
        owner.append(&[10]),
        owner.load(&[10]),
        owner.store.sync(),
        owner.store.close(),
        compacted.map(drop),
    ];
    for refused in refusals {
        assert_eq!(text(refused.expect_err("refused")), first);
    }
    assert_eq!(owner.medium.calls(), calls);
    true
}

/// What was committed is there, with and without what is pending.
fn check_committed(owner: &Owner, what: &str) {
    let mediums = [owner.medium.fork(), owner.medium.crash(&Image::default())];
    for medium in mediums {
        medium.plan(None);
        let store = open(&medium, &extents(&owner.committed));
        let store = store.unwrap_or_else(|fault| panic!("{what}: {}", text(fault)));
        check(&store, &owner.committed).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    }
    let read = check(&owner.store, &owner.committed);
    read.unwrap_or_else(|problem| panic!("{what}: before it is opened anew: {problem}"));
}

type Step = fn(&mut Owner) -> Result<(), Fault>;

const STEPS: [Step; 15] = [
    |owner| owner.append(&[100, 5000]),
    Owner::commit,
    |owner| owner.append(&[900_000, 900_000, 300, 900_000]),
    |owner| owner.append(&[17]),
    Owner::commit,
    |owner| owner.load(&[20_000, 30]),
    Owner::commit,
    |owner| {
        owner.delete(2);
        owner.delete(2);
        owner.commit()
    },
    |owner| owner.compact(u64::MAX).map(drop),
    |owner| owner.append(&[50_000]),
    Owner::commit,
    |owner| {
        owner.delete(1);
        owner.commit()
    },
    |owner| owner.store.close(),
    Owner::restart,
    |owner| owner.append(&[10]).and_then(|()| owner.commit()),
];

#[test]
fn every_call_may_fail_in_every_way() {
    let mut whole = Owner::new();
    for step in STEPS {
        step(&mut whole).expect("a disk that works");
    }
    let (mut failed, mut refused) = (0, 0);
    for failure in Failure::ALL {
        for call in 1..whole.medium.calls() {
            let what = format!("{failure:?} at call {call}");
            let mut owner = Owner::new();
            owner.medium.plan(Some(Plan {
                call,
                failure,
                lasting: false,
            }));
            for step in STEPS {
                let Err(fault) = step(&mut owner) else {
                    continue;
                };
                failed += 1;
                let transient = matches!(failure, Failure::Short | Failure::Interrupted);
                assert!(!transient, "{what}: {}", text(fault));
                check_committed(&owner, &what);
                if refuses(&mut owner) {
                    refused += 1;
                    check_committed(&owner, &what);
                    owner.restart().expect("it failed once only");
                }
                step(&mut owner).unwrap_or_else(|fault| panic!("{what}: again: {}", text(fault)));
            }
            owner.check();
            check_committed(&owner, &what);
        }
    }
    println!("{failed} failures, {refused} of them of a sync");
    assert!(refused > 10 && failed > refused);
}

#[test]
fn what_a_failed_sync_covered_is_never_called_durable() {
    for names in [false, true] {
        let mut owner = Owner::new();
        owner.append(&[900_000, 10]).expect("a disk that works");
        owner.commit().expect("a disk that works");
        owner
            .append(&[900_000, 900_000, 20])
            .expect("a disk that works");
        // Two files, then the directory.
        let call = owner.medium.calls() + if names { 2 } else { 1 };
        owner.medium.plan(Some(Plan {
            call,
            failure: Failure::Io,
            lasting: false,
        }));
        let fault = owner.commit().expect_err("the disk fails");
        assert_eq!(fault.kind(), ErrorKind::Io);
        let fault = text(fault);
        let culprit = if names {
            "the names of segments"
        } else {
            "segment-0000000000000001"
        };
        assert!(fault.contains(culprit), "{fault}");
        assert!(refuses(&mut owner), "the next sync would succeed");
        // Nothing is removed any more: who knows what an owner makes of it.
        let files = owner.medium.names();
        for one in owner.wanted.clone() {
            assert!(owner.store.release(one.extent));
        }
        assert_eq!(owner.medium.names(), files);
        assert_eq!(owner.store.stats().leftover_files, files.len() as u64);
        owner.restart().expect("opened anew");
        owner.check();
        owner.append(&[30]).expect("a disk that works");
        owner.commit().expect("a disk that works");
        check_committed(&owner, "afterwards");
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_counted_and_tried_again() {
    let mut owner = Owner::new();
    for _ in 0..3 {
        owner
            .append(&[900_000, 900_000])
            .expect("a disk that works");
    }
    owner.commit().expect("a disk that works");
    fail_now(&owner.medium, Failure::Io, true);
    for files in 1..=2 {
        owner.delete(0);
        owner.delete(0);
        owner.commit().expect("nothing to make durable");
        let stats = owner.store.stats();
        assert_eq!((stats.leftover_files, stats.segments), (files, 3 - files));
    }
    owner.medium.plan(None);
    owner.check();
    assert_eq!(owner.medium.names().len(), 3);
    owner.delete(0);
    owner.delete(0);
    owner.commit().expect("a disk that works");
    owner.check();
    assert_eq!(owner.store.stats().leftover_files, 0);
    assert!(owner.medium.names().is_empty());
}

#[test]
fn strays_that_cannot_be_removed_are_an_error() {
    let owner = Owner::new();
    drop(
        owner
            .medium
            .create("segment-0000000000000001")
            .expect("created"),
    );
    let medium = owner.medium.fork();
    let call = medium.calls() + 1;
    let failure = Failure::Io;
    medium.plan(Some(Plan {
        call,
        failure,
        lasting: false,
    }));
    let fault = text(open(&medium, &[]).expect_err("the disk fails"));
    assert!(
        fault.contains("removing segment-0000000000000001"),
        "{fault}"
    );
    open(&medium, &[]).expect("it failed once only");
    assert!(medium.names().is_empty());
}

#[test]
fn a_full_disk_leaves_no_file_behind() {
    let mut owner = Owner::new();
    owner.append(&[100]).expect("a disk with room");
    owner.medium.set_capacity(Some(2 * SEGMENT));
    let full = owner.append(&[900_000, 900_000, 900_000, 900_000, 900_000]);
    assert_eq!(full.expect_err("no room").kind(), ErrorKind::DiskFull);
    owner.check();
    assert_eq!(owner.medium.names().len(), 1);
    owner.medium.set_capacity(None);
    owner
        .append(&[900_000, 900_000, 900_000])
        .expect("there is room again");
    owner.commit().expect("a disk that works");
    check_committed(&owner, "afterwards");
}

fn work(store: &Store, durable: &Mutex<Vec<(u64, brimfs::face::segment::Extent)>>, thread: u64) {
    let mut mine = Vec::new();
    for number in (0..40).map(|round| thread * 1000 + round) {
        let bytes = content(number, len_of(number));
        let record = Record {
            id: id_of(number),
            parts: &[&bytes],
        };
        let extents = store.append(&[record]).expect("a disk with room");
        mine.push((number, extents[0]));
        if number % 3 == thread % 3 {
            store.sync().expect("a disk that works");
            durable.lock().append(&mut mine);
        }
    }
}

fn len_of(number: u64) -> usize {
    if number.is_multiple_of(10) {
        300_000
    } else {
        3000
    }
}

/// Threads append and sync, and whenever the power would go off what they were told is true.
#[test]
fn whoever_synced_finds_it_again_whatever_others_do() {
    let medium = Medium::new();
    let store = open(&medium, &[]).expect("an empty directory");
    let durable = Mutex::new(Vec::new());
    let look = || {
        let told = durable.lock().clone();
        let after = medium.crash(&Image::default());
        let live: Vec<_> = told.iter().map(|(_, extent)| *extent).collect();
        let store = open(&after, &live).unwrap_or_else(|fault| panic!("{}", text(fault)));
        for (number, extent) in &told {
            let mut bytes = vec![0; extent.len()];
            let read = store.read(id_of(*number), *extent, 0, &mut bytes);
            read.unwrap_or_else(|error| panic!("record {number}: {error}"));
            assert!(bytes == content(*number, len_of(*number)));
        }
        told.len()
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|thread| {
                let (store, durable) = (&store, &durable);
                scope.spawn(move || work(store, durable, thread))
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            look();
        }
    });
    assert!(look() > 4 * 35);
}

/// The owner of references is one of many: a record lives as long as one of them is left.
#[test]
fn threads_share_references() {
    let mut owner = Owner::new();
    owner.append(&[100, 200]).expect("a disk that works");
    let wanted: Arc<Vec<Wanted>> = Arc::new(owner.wanted.clone());
    let extent = wanted[0].extent;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    assert!(owner.store.retain(extent));
                    assert!(owner.store.retain(extent));
                    assert!(owner.store.release(extent));
                    assert!(owner.store.release(extent));
                }
            });
        }
    });
    owner.check();
    assert!(owner.store.release(extent) && !owner.store.release(extent));
}
