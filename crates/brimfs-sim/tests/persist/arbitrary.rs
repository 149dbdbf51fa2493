//! Stores that no writer wrote: bytes that are no journal, and records that are whole and make no sense. Nothing panics,
//! and what a repair makes of it can be opened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use brimfs::face::disk::Directory;
use brimfs::face::journal::{Content, Extent, Extents, Group, NodeKind, Record, Records};
use brimfs::face::{check_directory, repair_directory};
use brimfs_sim::medium::{Medium, Random};

use super::number;
use super::refused::{entry, node, of_records};
use super::world::ROOMY;

/// Runs the cases of a test, each by its seed; a panic says which.
fn cases(test: &str, usual: u64, case: impl Fn(&mut Random)) {
    let first = number("BRIMFS_SEED", 1);
    for seed in first..first + number("BRIMFS_CASES", usual) {
        let one = AssertUnwindSafe(|| case(&mut Random::new(seed)));
        if catch_unwind(one).is_err() {
            panic!(
                "reproduce: BRIMFS_SEED={seed} BRIMFS_CASES=1 cargo test -p brimfs-sim --test persist {test}"
            );
        }
    }
}

fn bytes(random: &mut Random, len: u64) -> Vec<u8> {
    (0..len).map(|_| random.number() as u8).collect()
}

#[test]
fn arbitrary_bytes_are_records_or_an_error() {
    cases("arbitrary_bytes_are_records", 20_000, |random| {
        let len = random.below(80);
        let mut bytes = bytes(random, len);
        if let Some(kind) = bytes.first_mut() {
            *kind = 0x80 + random.below(20) as u8;
        }
        // Each record takes two bytes at least, so this ends.
        let found = Records::new(&bytes).take_while(Result::is_ok).count();
        assert!(found <= bytes.len() / 2);
    });
}

#[test]
fn files_of_arbitrary_bytes_are_an_error() {
    cases("files_of_arbitrary_bytes", 500, |random| {
        let medium = Medium::new();
        for (prefix, magic) in [
            ("journal-", b"brimjrnl\x01\0\0\0"),
            ("checkpoint-", b"brimckpt\x01\0\0\0"),
            ("segment-", b"brimsegm\x01\0\0\0"),
        ] {
            let name = format!("{prefix}{:016x}", random.below(3));
            drop(medium.create(&name).expect("created"));
            let len = random.below(3 * 4096);
            let content = bytes(random, len);
            medium.damage(&name, |bytes| {
                *bytes = content;
                if bytes.len() > magic.len() {
                    bytes[..magic.len()].copy_from_slice(magic);
                }
            });
        }
        let checked = check_directory(Arc::new(medium.clone()), &mut |_| {});
        assert!(checked.is_err() || checked.is_ok_and(|report| !report.is_sound()));
        assert!(ROOMY.open(&medium).is_err());
        assert!(repair_directory(Arc::new(medium.clone()), None, &mut |_| {}).is_err());
    });
}

/// Numbers that meet each other, and some that nothing can bear.
fn any(random: &mut Random) -> u64 {
    match random.below(12) {
        0 => random.number(),
        1 => u64::MAX >> random.below(64),
        2 => 1 << random.below(40),
        _ => random.below(8),
    }
}

fn extent(random: &mut Random) -> Extent {
    let chunk = 1 << 20;
    Extent {
        offset: [any(random), any(random).wrapping_mul(chunk)][random.below(2) as usize],
        len: [any(random), chunk, 5000][random.below(3) as usize],
        segment: any(random),
        place: [any(random), 4096 * random.below(50)][random.below(2) as usize],
        stored: [any(random), 16 * random.below(400)][random.below(2) as usize],
        record_len: [any(random), chunk, 5000][random.below(3) as usize],
        owner: any(random),
        index: any(random) as u32,
        generation: any(random),
        blocks: any(random),
    }
}

#[test]
fn records_that_make_no_sense_are_refused_or_repaired() {
    let kinds = [NodeKind::Directory, NodeKind::File, NodeKind::Symlink];
    let names = ["a", "b", "lost+found", "..", "damaged"];
    cases("records_that_make_no_sense", 1500, |random| {
        let count = random.below(25);
        let extents: Vec<[Extent; 1]> = (0..count).map(|_| [extent(random)]).collect();
        let records = extents.iter().map(|extents| match random.below(8) {
            0..=2 => {
                let kind = kinds[random.below(3) as usize];
                match node(any(random), kind) {
                    Record::Node(mut node) => {
                        node.len = if kind == NodeKind::File {
                            any(random)
                        } else {
                            0
                        };
                        Record::Node(node)
                    }
                    other => other,
                }
            }
            3..=4 => entry(any(random), names[random.below(5) as usize], any(random)),
            5 => Record::Inline {
                node: any(random),
                offset: any(random),
                bytes: b"inline",
            },
            6 => Record::NodeGone {
                number: any(random) + 2,
            },
            _ => Record::Content(Content {
                node: any(random),
                whole: random.one_in(2),
                extents: Extents::new(extents),
            }),
        });
        // Some of it cannot even be written down.
        let is_record = |record: &Record<'_>| Group::new().push(record).is_ok();
        let records: Vec<Record<'_>> = records.filter(is_record).collect();
        let medium = of_records(&records);
        let checked = check_directory(Arc::new(medium.clone()), &mut |_| {}).expect("checked");
        let opened = ROOMY.open(&medium.fork());
        if checked.is_sound() {
            // Only what is more than the limits allow.
            let kind = opened.err().map(|error| error.kind());
            assert!(kind != Some(brimfs::ErrorKind::Corrupt), "{kind:?}");
            return;
        }
        repair_directory(Arc::new(medium.clone()), None, &mut |_| {}).expect("repaired");
        let checked = check_directory(Arc::new(medium), &mut |_| {}).expect("checked");
        assert!(checked.is_sound(), "{:#?}", checked.problems);
    });
}
