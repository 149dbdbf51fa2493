//! Stores that no writer wrote: what is said in `brimfs_sim::arbitrary` holds of random bytes. `fuzz/` tries more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use brimfs::face::disk::Directory;
use brimfs::face::{check_directory, repair_directory};
use brimfs_sim::arbitrary;
use brimfs_sim::medium::{Medium, Random};

use super::number;
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

/// Gives random bytes to a function, `usual` times, and those that it went wrong with once.
fn holds(test: &str, usual: u64, found: &[u64], of: fn(&[u8])) {
    let one = |random: &mut Random| {
        let len = random.below(600);
        of(&bytes(random, len));
    };
    found.iter().for_each(|seed| one(&mut Random::new(*seed)));
    cases(test, usual, one);
}

#[test]
fn arbitrary_bytes_are_records_or_an_error() {
    cases("arbitrary_bytes_are_records", 20_000, |random| {
        let len = random.below(80);
        let mut bytes = bytes(random, len);
        if let Some(kind) = bytes.first_mut() {
            *kind = 0x80 + random.below(20) as u8;
        }
        arbitrary::records(&bytes);
    });
}

#[test]
fn journals_that_make_no_sense_are_refused_or_repaired() {
    holds(
        "journals_that_make_no_sense",
        400,
        &[1717, 103_912, 236_658],
        arbitrary::journal,
    );
}

#[test]
fn checkpoints_that_make_no_sense_are_refused_or_repaired() {
    holds(
        "checkpoints_that_make_no_sense",
        1000,
        &[1371, 155_226],
        arbitrary::checkpoint,
    );
}

#[test]
fn segments_that_make_no_sense_are_refused_or_repaired() {
    holds(
        "segments_that_make_no_sense",
        150,
        &[1373, 2187],
        arbitrary::segments,
    );
}

#[test]
fn directories_of_anything_are_refused_or_repaired() {
    holds("directories_of_anything", 400, &[], arbitrary::store);
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
