//! One call of the disk goes wrong, for every call and in every way.

use brimfs::ErrorKind;
use brimfs::face::segment::Options;
use brimfs_sim::disk::{Failure, Plan};

use crate::world::{SEGMENT, World, options, variants};

/// Says which errors a step may have while the disk fails.
fn allow(result: Result<(), ErrorKind>) {
    if let Err(kind) = result {
        assert!(
            matches!(
                kind,
                ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::DiskLimit
            ),
            "{kind:?} for a failing disk"
        );
    }
}

/// The same steps every time: full segments, small and large records, deaths, compaction, all of it read.
fn workload(world: &mut World) {
    let check = |world: &World| {
        world.check();
        let ranges: Vec<_> = world
            .kept
            .iter()
            .map(|(number, kept)| (*number, 0, kept.extent.len()))
            .collect();
        world.read_many(&ranges).into_iter().for_each(allow);
    };
    allow(world.append(&[100, 5000, 16_384, 40_000]));
    allow(world.append(&[1 << 20]));
    allow(world.append(&[4096; 20]));
    check(world);
    allow(world.append(&[600_000, 500_000, 300_000]));
    allow(world.append(&[900_000, 1]));
    for choice in [0, 3, 4, 5, 6, 7, 8] {
        if let Some(number) = world.pick(choice) {
            world.release(number);
        }
    }
    let long: Vec<u64> = world
        .kept
        .iter()
        .filter(|(_, kept)| kept.extent.len() > 400_000)
        .map(|(number, _)| *number)
        .collect();
    for number in long.into_iter().skip(1) {
        world.release(number);
    }
    allow(world.compact(u64::MAX, 5).map(drop));
    check(world);
    if let Some(number) = world.pick(1) {
        allow(world.read(number, 0, world.kept[&number].extent.len()));
    }
    allow(world.append(&[70_000, 3]));
}

fn setup(
    protection: brimfs::face::segment::Protection,
    compression: brimfs::face::segment::Compression,
) -> Options {
    let mut options = options(8 * SEGMENT);
    options.protection = protection;
    options.compression = compression;
    (options.buffers, options.buffer_bytes) = (2, 280 << 10);
    options
}

#[test]
fn whatever_call_fails_nothing_accepted_is_lost() {
    // Every seal and every packing once: the calls of the disk are the same for the other pairs.
    for (protection, compression) in [variants()[0], variants()[3]] {
        let mut clean = World::new(setup(protection, compression));
        workload(&mut clean);
        let calls = clean.disk.calls().total;
        assert!(calls > 40, "the workload uses the disk: {calls}");
        clean.finish();
        for call in 0..calls {
            for failure in Failure::ALL {
                // A disk that is short or interrupted for ever is no disk: only errors last.
                let errors = matches!(failure, Failure::Io | Failure::Full);
                for lasting in [false, true].into_iter().take(1 + usize::from(errors)) {
                    let mut world = World::new(setup(protection, compression));
                    let plan = Plan {
                        call,
                        failure,
                        lasting,
                    };
                    world.disk.plan(Some(plan));
                    workload(&mut world);
                    world.disk.plan(None);
                    assert_eq!(world.append(&[10_000]), Ok(()), "usable after {plan:?}");
                    world.check();
                    world.finish();
                }
            }
        }
    }
}

#[test]
fn one_short_or_interrupted_call_is_not_even_noticed() {
    let (protection, compression) = variants()[0];
    let run = |plan| {
        let mut world = World::new(setup(protection, compression));
        world.disk.plan(plan);
        assert_eq!(world.append(&[1 << 20, 5000, 1]), Ok(()));
        assert_eq!(world.read(0, 5, 900_000), Ok(()));
        assert_eq!(world.read(1, 0, 5000), Ok(()));
        let calls = world.disk.calls().total;
        world.disk.plan(None);
        world.finish();
        calls
    };
    let calls = run(None);
    for call in 0..calls {
        for failure in [Failure::Short, Failure::Interrupted] {
            run(Some(Plan {
                call,
                failure,
                lasting: false,
            }));
        }
    }
}

#[test]
fn a_full_disk_is_an_error_that_goes_away() {
    let mut world = World::new(options(64 * SEGMENT));
    world.disk.set_capacity(Some(3 << 20));
    assert_eq!(world.append(&[1 << 20]), Ok(()));
    let stats = world.store.stats();
    for _ in 0..10 {
        assert_eq!(world.append(&[1 << 20, 1 << 20]), Err(ErrorKind::DiskFull));
        world.check();
    }
    assert_eq!(
        world.store.stats().dead_bytes,
        stats.dead_bytes,
        "a refusal leaves nothing behind"
    );
    world.disk.set_capacity(None);
    assert_eq!(world.append(&[1 << 20, 1 << 20]), Ok(()));
    world.finish();
}

/// Moving would only make the same padding anew, and must not go on for ever.
#[test]
fn compaction_leaves_alone_what_gains_nothing() {
    let mut world = World::new(options(8 * SEGMENT));
    assert_eq!(world.append(&[1000]), Ok(()));
    let before = world.kept[&0].extent;
    assert_eq!(world.compact(u64::MAX, 0), Ok(0));
    assert_eq!(world.kept[&0].extent, before);
    assert_eq!(world.append(&[50_000, 1000]), Ok(()));
    world.release(1);
    assert_eq!(
        world.compact(u64::MAX, 0),
        Ok(1),
        "now there is something to gain"
    );
    assert_eq!(world.compact(u64::MAX, 0), Ok(0));
    world.finish();
}

#[test]
fn the_disk_limit_holds_and_compaction_makes_room() {
    let mut world = World::new(options(8 * SEGMENT));
    let mut batches = 0;
    while world.append(&[60_000; 8]) == Ok(()) {
        batches += 1;
        world.check();
    }
    assert!(batches > 20, "{batches} batches fit");
    assert_eq!(world.append(&[60_000; 8]), Err(ErrorKind::DiskLimit));
    let numbers: Vec<u64> = world.kept.keys().copied().collect();
    for number in numbers.into_iter().filter(|number| number % 4 != 0) {
        world.release(number);
    }
    assert_eq!(
        world.append(&[60_000; 8]),
        Err(ErrorKind::DiskLimit),
        "dead space counts"
    );
    let freed = world
        .compact(u64::MAX, 0)
        .expect("one segment of the limit is left for it");
    assert!(freed >= 4, "{freed} segments came back");
    world.check();
    for _ in 0..batches / 2 {
        assert_eq!(world.append(&[60_000; 8]), Ok(()));
    }
    world.finish();
}
