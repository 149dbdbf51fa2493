//! Bytes that change on the disk: every bit, and bytes that belong elsewhere.

use brimfs::ErrorKind;
use brimfs::face::segment::{Compression, Options, Store};
use std::collections::BTreeSet;

use crate::world::{SEGMENT, World, id_of, kind, number_of, options, variants};

fn small_image(options: Options) -> World {
    let mut world = World::new(options);
    // The last one has two blocks, and its table of packed sizes where there is one.
    world
        .append(&[1, 100, 700, 17_000])
        .expect("a disk that does not fail");
    world
}

fn whole(world: &World, number: u64) -> Result<(), ErrorKind> {
    world.read(number, 0, world.kept[&number].extent.len())
}

#[test]
fn no_flipped_bit_ever_gives_wrong_bytes() {
    for (protection, compression) in variants() {
        let mut options = options(4 * SEGMENT);
        options.protection = protection;
        options.compression = compression;
        let world = small_image(options);
        let used = 4096
            + world
                .kept
                .values()
                .map(|kept| kept.extent.stored_bytes() as usize)
                .sum::<usize>();
        let mut noticed = 0;
        // Neighbours of a flipped bit are where harm could be: the record around it, or the one before.
        let mut owner = 0;
        let mut ends: Vec<usize> = Vec::new();
        for kept in world.kept.values() {
            ends.push(ends.last().copied().unwrap_or(4096) + kept.extent.stored_bytes() as usize);
        }
        for byte in 4096..used {
            if byte >= ends[owner] {
                owner += 1;
            }
            for bit in 0..8 {
                world.disk.damage(0, |raw| raw[byte] ^= 1 << bit);
                // A wrong byte is a panic in here.
                match whole(&world, owner as u64) {
                    Ok(()) => {}
                    Err(kind) => {
                        assert_eq!(kind, ErrorKind::Corrupt);
                        noticed += 1;
                    }
                }
                world.disk.damage(0, |raw| raw[byte] ^= 1 << bit);
            }
        }
        // All but plain headers, which reading does not need, and padding.
        let bits = 8 * (used - 4096) - 4 * 8 * (64 + 16);
        assert!(noticed >= bits, "{noticed} of {bits} bits noticed");
        world.finish();
    }
}

#[test]
fn damage_stays_with_its_record() {
    for (protection, compression) in variants() {
        let mut options = options(4 * SEGMENT);
        options.protection = protection;
        options.compression = compression;
        let world = small_image(options);
        let place = world.disk.raw(0);
        let first_of_second = 4096 + world.kept[&0].extent.stored_bytes() as usize + 64 + 16;
        assert!(place.len() > first_of_second);
        world.disk.damage(0, |raw| raw[first_of_second] ^= 0x40);
        assert_eq!(whole(&world, 1), Err(ErrorKind::Corrupt));
        let ranges: Vec<_> = (0..4)
            .map(|number| (number, 0, world.kept[&number].extent.len()))
            .collect();
        let many = world.read_many(&ranges);
        assert_eq!(many, [Ok(()), Err(ErrorKind::Corrupt), Ok(()), Ok(())]);
        world.disk.damage(0, |raw| raw[first_of_second] ^= 0x40);
        world.finish();
    }
}

/// Whatever bit of a header flips, compaction moves the record whole or not at all, and says so.
#[test]
fn compaction_believes_no_header() {
    for (protection, compression) in variants() {
        for byte in 0..80 {
            for bit in [byte % 8, 7 - byte % 8] {
                let mut options = options(4 * SEGMENT);
                options.protection = protection;
                options.compression = compression;
                let mut world = World::new(options);
                world
                    .append(&[3000, 20_000, 1000])
                    .expect("a disk that does not fail");
                world.release(1);
                let raw = world.kept[&0].extent;
                world.disk.damage(0, |raw| raw[4096 + byte] ^= 1 << bit);
                let mut moved = BTreeSet::new();
                let done = world.store.compact(u64::MAX, &mut |id, _, new| {
                    let number = number_of(id);
                    moved.insert(number);
                    world.kept.get_mut(&number).expect("live").extent = new;
                    true
                });
                let done = done.expect("a disk that does not fail");
                assert!(moved.contains(&2), "the undamaged record moves");
                assert_eq!(moved.contains(&0), done.damaged == 0);
                if done.damaged > 0 {
                    assert_eq!(world.kept[&0].extent, raw);
                    world.disk.damage(0, |raw| raw[4096 + byte] ^= 1 << bit);
                }
                world.check();
                world.finish();
            }
        }
    }
}

/// Header, table of packed sizes and their seal: what is wrong there is said before a block is looked for.
#[test]
fn a_packed_record_is_not_read_past_a_damaged_header() {
    let mut options = options(4 * SEGMENT);
    options.compression = Compression::Lz4;
    let mut world = World::new(options);
    world.append(&[17_000]).expect("a disk that does not fail");
    let extent = world.kept[&0].extent;
    assert!(extent.stored_bytes() < extent.len() as u64, "it is packed");
    // Two blocks have a table of four bytes.
    for byte in 0..64 + 4 {
        world.disk.damage(0, |raw| raw[4096 + byte] ^= 1);
        assert_eq!(whole(&world, 0), Err(ErrorKind::Corrupt), "{byte}");
        world.disk.damage(0, |raw| raw[4096 + byte] ^= 1);
    }
    world.finish();
}

fn read_as(world: &World, store: &Store, number: u64, as_number: u64) -> Result<(), ErrorKind> {
    let extent = world.kept[&number].extent;
    let mut bytes = vec![0; extent.len()];
    store
        .read(id_of(as_number), extent, 0, &mut bytes)
        .map_err(kind)
}

#[test]
fn another_identity_or_generation_is_refused() {
    for (protection, compression) in variants() {
        let mut options = options(4 * SEGMENT);
        options.protection = protection;
        options.compression = compression;
        let mut world = World::new(options);
        world.append(&[5000; 4]).expect("a disk that does not fail");
        assert_eq!(read_as(&world, &world.store, 2, 2), Ok(()));
        assert_eq!(read_as(&world, &world.store, 2, 3), Err(ErrorKind::Corrupt));
        for changed in 0..3 {
            let mut id = id_of(2);
            match changed {
                0 => id.inode += 1,
                1 => id.index += 1,
                _ => id.generation -= 1,
            }
            let result = world.store.read(id, world.kept[&2].extent, 0, &mut [0; 9]);
            assert_eq!(result.map_err(kind), Err(ErrorKind::Corrupt));
        }
        // A write that went to its neighbour's place, and one that never happened.
        let stored = world.kept[&0].extent.stored_bytes() as usize;
        let before = world.disk.raw(0);
        world
            .disk
            .damage(0, |raw| raw.copy_within(4096..4096 + stored, 4096 + stored));
        assert_eq!(whole(&world, 0), Ok(()));
        assert_eq!(whole(&world, 1), Err(ErrorKind::Corrupt));
        world.disk.damage(0, |raw| raw[4096..].fill(0));
        assert_eq!(whole(&world, 0), Err(ErrorKind::Corrupt));
        world.disk.damage(0, |raw| raw.copy_from_slice(&before));
        world.finish();
    }
}

/// A file that is used again still holds what was there before: none of it is believed.
#[test]
fn a_reused_file_shows_nothing_of_its_past() {
    let mut world = World::new(options(8 * SEGMENT));
    // Another segment must live, or files are not kept.
    world
        .append(&[1 << 20, 500_000])
        .expect("a disk that does not fail");
    world
        .append(&[1 << 20, 500_000])
        .expect("a disk that does not fail");
    let past = world.disk.raw(0);
    let old = world.kept[&0].extent;
    world.release(0);
    world.release(1);
    world
        .append(&[1 << 20, 500_000])
        .expect("a disk that does not fail");
    assert_eq!(world.disk.files(), 2, "the first file is written over");
    assert!(world.store.read(id_of(0), old, 0, &mut [0; 100]).is_err());
    world
        .disk
        .damage(0, |raw| raw[..past.len()].copy_from_slice(&past));
    assert_eq!(whole(&world, 4), Err(ErrorKind::Corrupt));
}
