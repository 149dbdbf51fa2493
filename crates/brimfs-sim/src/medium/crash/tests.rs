//! The simulation itself: what is durable, what may be lost, and that a choice of fates is obeyed.

use brimfs::face::disk::{ALIGNMENT, Access, Directory, DiskFile, read_full, write_full};

use super::*;
use crate::disk::{Failure, Plan};
use crate::medium::ReadDamage;

/// A block at an aligned address.
#[repr(align(4096))]
struct Block([u8; ALIGNMENT]);

fn write(file: &dyn DiskFile, block: u64, fill: u8) {
    let bytes = Block([fill; ALIGNMENT]);
    write_full(file, block * ALIGNMENT as u64, &bytes.0).expect("a disk that works");
}

fn blocks(medium: &Medium, name: &str) -> Vec<u8> {
    medium
        .raw(name)
        .chunks(ALIGNMENT)
        .map(|block| block[0])
        .collect()
}

fn image(fates: &[Fate]) -> Image {
    Image {
        fates: fates.to_vec(),
        stale: false,
    }
}

/// A durable file "a" of two blocks of ones.
fn medium() -> (Medium, Box<dyn DiskFile>) {
    let medium = Medium::new();
    let file = medium.create("a").expect("created");
    file.allocate(0, 2 * ALIGNMENT as u64).expect("space");
    write(&*file, 0, 1);
    write(&*file, 1, 1);
    file.sync_data().expect("durable");
    medium.sync().expect("durable");
    assert!(medium.pending().is_empty());
    (medium, file)
}

#[test]
fn what_was_synced_outlives_the_power_and_the_rest_is_chosen() {
    let (medium, file) = medium();
    write(&*file, 0, 2);
    write(&*file, 1, 3);
    assert_eq!(blocks(&medium, "a"), [2, 3]);
    for (fates, expected) in [
        ([Fate::Lost, Fate::Lost], [1, 1]),
        ([Fate::Kept, Fate::Lost], [2, 1]),
        ([Fate::Lost, Fate::Kept], [1, 3]),
    ] {
        assert_eq!(blocks(&medium.crash(&image(&fates)), "a"), expected);
    }
    file.sync_data().expect("durable");
    assert_eq!(blocks(&medium.crash(&Image::default()), "a"), [2, 3]);
}

#[test]
fn names_and_lengths_are_pending_by_themselves() {
    let (medium, file) = medium();
    medium.rename("a", "b").expect("renamed");
    drop(medium.create("c").expect("created"));
    file.allocate(0, 3 * ALIGNMENT as u64).expect("space");
    file.sync_data().expect("durable");
    assert_eq!(medium.pending(), [Item::Name, Item::Name]);
    assert_eq!(
        medium.crash(&image(&[Fate::Lost, Fate::Kept])).names(),
        ["a", "c"]
    );
    assert_eq!(
        medium.crash(&image(&[Fate::Kept, Fate::Lost])).names(),
        ["b"]
    );
    assert_eq!(blocks(&medium.crash(&Image::default()), "a").len(), 3);

    medium.sync().expect("durable");
    medium.remove("c").expect("removed");
    file.truncate(ALIGNMENT as u64).expect("cut");
    assert_eq!(medium.pending(), [Item::Name, Item::Length]);
    let after = medium.crash(&Image::default());
    assert_eq!(
        (after.names(), blocks(&after, "b").len()),
        (vec!["b".into(), "c".into()], 3)
    );
}

#[test]
fn a_torn_write_keeps_whole_units_of_itself() {
    let (medium, file) = medium();
    write(&*file, 1, 9);
    for unit in [1, 512] {
        for pattern in 0..50 {
            let after = medium
                .crash(&image(&[Fate::Torn { unit, pattern }]))
                .raw("a");
            assert!(after[..ALIGNMENT].iter().all(|byte| *byte == 1));
            let units = after[ALIGNMENT..].chunks(unit as usize);
            let mut kinds = units.map(|unit| {
                assert!(unit.iter().all(|byte| *byte == unit[0]));
                unit[0]
            });
            assert!(kinds.all(|byte| matches!(byte, 1 | 9)));
        }
    }
}

#[test]
fn a_failed_sync_loses_what_it_covered_for_ever() {
    let (medium, file) = medium();
    write(&*file, 0, 2);
    medium.plan(Some(Plan {
        call: medium.calls(),
        failure: Failure::Io,
        lasting: false,
    }));
    assert!(file.sync_data().is_err());
    file.sync_data().expect("nothing is left to do");
    assert_eq!(blocks(&medium, "a"), [1, 1]);
    assert_eq!(blocks(&medium.crash(&Image::default()), "a"), [1, 1]);
}

#[test]
fn nothing_happens_after_the_power_is_off() {
    let (medium, file) = medium();
    write(&*file, 0, 2);
    medium.stop_at(Some(medium.calls()));
    assert!(file.sync_data().is_err() && medium.sync().is_err());
    assert!(medium.remove("a").is_err());
    assert_eq!(medium.pending(), [Item::Write(ALIGNMENT)]);
}

#[test]
fn few_items_give_every_combination_and_many_are_sampled() {
    let (medium, file) = medium();
    write(&*file, 0, 2);
    write(&*file, 1, 3);
    let mut random = Random::new(1);
    let images = medium.images(Disorder::Any, 100, &mut random);
    let prints: HashSet<u64> = images
        .iter()
        .map(|image| medium.crash(image).fingerprint())
        .collect();
    assert!(images.len() == 12 && prints.len() >= 8, "{}", images.len());
    for _ in 0..10 {
        write(&*file, 0, 4);
    }
    assert_eq!(medium.images(Disorder::Any, 100, &mut random).len(), 100);
}

#[test]
fn a_journaling_filesystem_keeps_names_in_order() {
    let items = [Item::Name, Item::Write(1), Item::Length, Item::Name];
    let mut fates = [Fate::Lost, Fate::Kept, Fate::Kept, Fate::Kept];
    put_in_order(&items, &mut fates);
    assert_eq!(fates, [Fate::Lost, Fate::Kept, Fate::Lost, Fate::Lost]);
}

#[test]
fn growth_shows_zeroes_or_what_another_file_had() {
    let (medium, _file) = medium();
    let second = medium.create("b").expect("created");
    second.allocate(0, ALIGNMENT as u64).expect("space");
    let fates = vec![Fate::Kept; 2];
    let after = |stale| {
        medium.crash(&Image {
            fates: fates.clone(),
            stale,
        })
    };
    assert_eq!(blocks(&after(false), "b"), [0]);
    assert_eq!(blocks(&after(true), "b"), [1]);
}

#[test]
fn space_permission_and_reads_fail_as_planned() {
    let (medium, file) = medium();
    medium.set_capacity(Some(3 * ALIGNMENT as u64));
    let full = file.allocate(0, 4 * ALIGNMENT as u64).expect_err("full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    medium.set_read_only(true);
    let refused = medium.open("a", Access::ReadWrite).expect_err("refused");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    medium.set_read_only(false);

    write(&*file, 1, 2);
    let reader = medium.open("a", Access::Read).expect("opened");
    let mut block = Block([0; ALIGNMENT]);
    medium.damage_read(Some((medium.calls(), ReadDamage::Misdirected(1))));
    read_full(&*reader, 0, &mut block.0).expect("read");
    assert_eq!(block.0, [2; ALIGNMENT]);
    medium.damage_read(Some((medium.calls(), ReadDamage::Flipped(8))));
    read_full(&*reader, 0, &mut block.0).expect("read");
    assert_eq!(block.0[..3], [1, 0, 1]);
}
