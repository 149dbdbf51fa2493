//! The medium gives back what nobody wrote.
//!
//! Recovery may refuse, or find everything all the same; it never finds less or something else.

use std::sync::Arc;

use brimfs::ErrorKind;
use brimfs::face::disk::Directory;
use brimfs::face::journal::{CheckpointWriter, Options, Record};
use brimfs_sim::medium::{Image, Medium, Random, ReadDamage};

use super::number;
use super::world::{OPTIONS, Promise, Step, User, found};

/// A store that was closed, with a checkpoint, groups in three files behind it, and the file of the closing.
fn closed() -> (Medium, Promise) {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    let steps = [
        Step::Append(10),
        Step::Append(100),
        Step::Close,
        Step::Checkpoint,
        Step::Append(200),
        Step::Append(5000),
        Step::Sync,
        Step::Append(4500),
        Step::Append(10),
        Step::Append(4500),
    ];
    steps
        .iter()
        .for_each(|step| user.step(*step).expect("a disk that works"));
    user.writer.take().expect("open").close().expect("closed");
    user.promise.durable = user.promise.appended.len();
    let medium = user.medium.crash(&Image::default());
    assert_eq!(medium.names().len(), 5, "{:?}", medium.names());
    (medium, user.promise)
}

/// Whether recovery refused. A panic if it found something else.
fn refused(medium: &Medium, promise: &Promise, what: &dyn Fn() -> String) -> bool {
    match found(medium) {
        Ok((_, tokens)) => {
            assert_eq!(
                tokens.whole,
                promise.appended,
                "{}: silently different",
                what()
            );
            false
        }
        Err(fault) => {
            let expected = matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
            let text = fault.during("recover").to_string();
            assert!(expected, "{}: {text}", what());
            assert!(
                text.contains("journal-") || text.contains("checkpoint-"),
                "{}: {text}",
                what()
            );
            true
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed_or_does_no_harm() {
    let (medium, promise) = closed();
    // One bit of each byte, another one in each; all of them in a soak.
    let bits = if number("BRIMFS_CASES", 0) > 0 { 8 } else { 1 };
    let (mut images, mut noticed) = (0, 0);
    for name in medium.names() {
        for at in 0..medium.raw(&name).len() {
            for bit in 0..bits {
                let bit = (at + bit) % 8;
                let hurt = medium.fork();
                hurt.damage(&name, |bytes| bytes[at] ^= 1 << bit);
                let what = || format!("bit {bit} of byte {at} of {name}");
                images += 1;
                noticed += u64::from(refused(&hurt, &promise, &what));
            }
        }
    }
    println!("{images} flipped bits, {noticed} noticed");
    assert!(
        noticed * 8 > images,
        "half of the bytes are padding at most"
    );
}

#[test]
fn random_damage_is_noticed_or_does_no_harm() {
    let (medium, promise) = closed();
    let names = medium.names();
    let first = number("BRIMFS_SEED", 1);
    let mut noticed = 0;
    let cases = number("BRIMFS_CASES", 5_000);
    for seed in first..first + cases {
        let mut random = Random::new(seed);
        let hurt = medium.fork();
        let damages = 1 + random.below(4);
        for _ in 0..damages {
            let name = &names[random.below(names.len() as u64) as usize];
            hurt.damage(name, |bytes| hurt_some(bytes, &mut random));
        }
        let what = || format!("reproduce with BRIMFS_SEED={seed} BRIMFS_CASES=1");
        if damages == 1 {
            noticed += u64::from(refused(&hurt, &promise, &what));
        } else if let Ok((_, tokens)) = found(&hurt) {
            // Several can hide each other: the end of the last files, and what says that they had one.
            assert!(promise.appended.starts_with(&tokens.whole), "{}", what());
        } else {
            noticed += 1;
        }
    }
    println!("{cases} damaged stores, {noticed} noticed");
}

/// Fills, moves or cuts some bytes.
fn hurt_some(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len() as u64;
    let start = random.below(len) as usize;
    // Mostly near the beginning of a block, where the headers are.
    let start = if random.one_in(4) {
        start
    } else {
        start / 4096 * 4096 + start % 128
    };
    let end = (start + 1 + random.below(64) as usize).min(bytes.len());
    match random.below(4) {
        0 => bytes[start..end].fill(random.number() as u8),
        1 => bytes[start..end]
            .iter_mut()
            .for_each(|byte| *byte = random.number() as u8),
        2 => {
            let from = random.below(len) as usize;
            let count = (end - start).min(bytes.len() - from);
            bytes.copy_within(from..from + count, start);
        }
        _ => bytes.truncate(start),
    }
}

#[test]
fn blocks_that_are_zeroed_exchanged_or_cut_off_are_noticed() {
    let (medium, promise) = closed();
    for name in medium.names() {
        let blocks = medium.raw(&name).len() / 4096;
        for len in (0..blocks * 4096).step_by(512) {
            let hurt = medium.fork();
            hurt.damage(&name, |bytes| bytes.truncate(len));
            refused(&hurt, &promise, &|| format!("{name} is cut to {len} bytes"));
        }
        for one in 0..blocks {
            let hurt = medium.fork();
            hurt.damage(&name, |bytes| bytes[one * 4096..][..4096].fill(0));
            refused(&hurt, &promise, &|| {
                format!("block {one} of {name} is zero")
            });
            for other in 0..one {
                let hurt = medium.fork();
                hurt.damage(&name, |bytes| {
                    let (low, high) = bytes.split_at_mut(one * 4096);
                    low[other * 4096..][..4096].swap_with_slice(&mut high[..4096]);
                });
                refused(&hurt, &promise, &|| {
                    format!("blocks {one} and {other} of {name} are exchanged")
                });
            }
        }
    }
}

#[test]
fn a_file_that_is_missing_or_another_one_is_noticed() {
    let (medium, promise) = closed();
    let names = medium.names();
    let (checkpoint, journals) = names.split_first().expect("files");
    for name in journals.iter().chain([checkpoint]) {
        let hurt = medium.fork();
        hurt.lose(name);
        assert!(
            refused(&hurt, &promise, &|| format!("{name} is missing")),
            "{name}"
        );
    }
    for one in journals {
        for other in journals.iter().filter(|other| *other != one) {
            let hurt = medium.fork();
            let bytes = medium.raw(other);
            hurt.damage(one, |into| *into = bytes);
            assert!(refused(&hurt, &promise, &|| format!("{one} is {other}")));
        }
    }
}

#[test]
fn misdirected_and_flipped_reads_are_noticed_or_do_no_harm() {
    let (medium, promise) = closed();
    let calls = {
        let medium = medium.fork();
        found(&medium).expect("whole");
        medium.calls()
    };
    for call in 0..calls {
        for by in 1..6 {
            let hurt = medium.fork();
            hurt.damage_read(Some((call, ReadDamage::Misdirected(by))));
            refused(&hurt, &promise, &|| {
                format!("read {call} goes {by} blocks astray")
            });
        }
        for bit in (0..4096 * 8).step_by(97) {
            let hurt = medium.fork();
            hurt.damage_read(Some((call, ReadDamage::Flipped(bit))));
            refused(&hurt, &promise, &|| format!("bit {bit} of read {call}"));
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_made_good_by_an_older_one_and_the_journal() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    for step in [
        Step::Append(10),
        Step::Checkpoint,
        Step::Append(10),
        Step::Sync,
    ] {
        user.step(step).expect("a disk that works");
    }
    let before = user.medium.fork();
    user.step(Step::Checkpoint).expect("a disk that works");
    let newest = user.medium.names().remove(0);
    assert!(newest.starts_with("checkpoint-"));
    // The older one and the journal are still there, as after a crash in between.
    let mut bytes = user.medium.raw(&newest);
    bytes[4096 + 50] ^= 1;
    let directory: &dyn brimfs::face::disk::Directory = &before;
    drop(directory.create(&newest).expect("created"));
    before.damage(&newest, |into| *into = bytes);
    let (_, tokens) = found(&before).expect("made good");
    assert_eq!(
        (tokens.whole, tokens.restarts),
        (user.promise.appended.clone(), 1)
    );

    // Without the journal, or the part of it that counts, it is not.
    let journal = before
        .names()
        .into_iter()
        .find(|name| name.starts_with("journal-"));
    let journal = journal.expect("one");
    let cut = before.fork();
    cut.damage(&journal, |bytes| bytes.truncate(2 * 4096));
    let fault = found(&cut).expect_err("group 2 is nowhere");
    assert!(fault.during("recover").to_string().contains(&newest));
    before.lose(&journal);
    let fault = found(&before).expect_err("nothing replaces it");
    assert!(fault.during("recover").to_string().contains(&newest));
}

#[test]
fn a_group_of_another_history_is_noticed() {
    let mut one = User::new(&Medium::new(), Options::default());
    one.open().expect("a disk that works");
    let mut other = one.after_crash(&one.medium.fork());
    other.open().expect("a disk that works");
    let mut one = one.after_crash(&one.medium.fork());
    one.open().expect("a disk that works");
    // Same store, same file, same numbers, as long as each other; what was said differs.
    other.step(Step::Append(20)).expect("a disk that works");
    one.step(Step::Append(10)).expect("a disk that works");
    for user in [&mut one, &mut other] {
        user.step(Step::Append(10)).expect("a disk that works");
        user.step(Step::Sync).expect("a disk that works");
    }
    let name = one.medium.names().pop().expect("a file");
    let foreign = other.medium.raw(&name)[2 * 4096..3 * 4096].to_vec();
    one.medium.damage(&name, |bytes| {
        bytes[2 * 4096..3 * 4096].copy_from_slice(&foreign)
    });
    let fault = found(&one.medium).expect_err("the second group follows another first one");
    let text = fault.during("recover").to_string();
    assert!(
        text.contains("group 2 at offset 8192 does not follow group 1"),
        "{text}"
    );
}

#[test]
fn a_file_that_an_opening_began_is_missed() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    let steps = [
        Step::Append(10),
        Step::Sync,
        Step::Restart,
        Step::Append(10),
        Step::Sync,
    ];
    steps
        .iter()
        .for_each(|step| user.step(*step).expect("a disk that works"));
    let name = user.medium.names().pop().expect("a file");
    user.medium.lose(&name);
    let what = || format!("{name} is missing");
    assert!(refused(&user.medium, &user.promise, &what));
}

/// The last group alone says then that those before it were durable.
#[test]
fn damage_before_the_end_is_noticed_though_the_disk_had_no_room_for_another_file() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    for _ in 0..2 {
        user.step(Step::Append(10)).expect("a disk that works");
    }
    user.medium.set_capacity(Some(user.medium.used()));
    let writer = user.writer.take().expect("open");
    writer.close().expect("closed, without another file");
    user.promise.durable = user.promise.appended.len();
    let names = user.medium.names();
    let lens: Vec<_> = names
        .iter()
        .map(|name| user.medium.raw(name).len())
        .collect();
    assert!(matches!(lens[..], [_, 0]), "{lens:?}");
    assert!(!refused(&user.medium, &user.promise, &|| {
        "nothing is wrong".into()
    }));
    user.medium
        .damage(&names[0], |bytes| bytes[2 * 4096..][..4096].fill(0));
    let what = || "the second group is damaged".to_owned();
    assert!(refused(&user.medium, &user.promise, &what));
}

#[test]
fn a_first_file_without_its_header_is_noticed_by_its_groups() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    user.step(Step::Append(10)).expect("a disk that works");
    user.step(Step::Sync).expect("a disk that works");
    let name = user.medium.names().remove(0);
    user.medium.damage(&name, |bytes| bytes[..4096].fill(0));
    let what = || format!("{name} has no header");
    assert!(refused(&user.medium, &user.promise, &what));
}

#[test]
fn frames_that_are_exchanged_or_missing_are_noticed() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    user.step(Step::Append(10)).expect("a disk that works");
    user.step(Step::Close).expect("a disk that works");
    let position = user.sync().expect("a disk that works");
    let directory: Arc<dyn Directory> = Arc::new(user.medium.clone());
    let identity = user.writer.as_ref().expect("open").identity();
    let mut image = CheckpointWriter::begin(directory, identity, position).expect("begun");
    let tokens = 120_000;
    for node in 1..=tokens {
        let record = Record::Inline {
            node,
            offset: 0,
            bytes: &[],
        };
        image.push(&record).expect("added");
    }
    image.finish().expect("current").remove().expect("removed");
    user.promise.appended = (1..=tokens).collect();
    assert!(!refused(&user.medium, &user.promise, &|| {
        "nothing is wrong".into()
    }));

    let name = user.medium.names().remove(0);
    let raw = user.medium.raw(&name);
    let starts_frame = |at: &usize| raw[*at..].starts_with(b"brmf");
    let frames: Vec<usize> = (0..raw.len()).step_by(4096).filter(starts_frame).collect();
    assert!(frames.len() >= 4, "two frames of records, and the footer");
    let [first, second, third] = [frames[0], frames[1], frames[2]];
    let hurt = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let hurt = user.medium.fork();
        hurt.damage(&name, change);
        assert!(refused(&hurt, &user.promise, &|| what.to_owned()), "{what}");
    };
    hurt(
        &|bytes| bytes[first..third].rotate_left(second - first),
        "exchanged",
    );
    hurt(
        &|bytes| drop(bytes.drain(first..second)),
        "the first is missing",
    );
    let [.., last, footer] = frames[..] else {
        panic!("counted before");
    };
    hurt(
        &|bytes| drop(bytes.drain(last..footer)),
        "the last is missing",
    );
    hurt(&|bytes| bytes.truncate(footer), "the footer is missing");
    for counted in [48, 56] {
        // Whole, and about another image.
        let change = |bytes: &mut Vec<u8>| {
            let frame = &mut bytes[footer..footer + 4096];
            frame[counted] ^= 1;
            let payload = crc32c::crc32c(&frame[48..64]);
            frame[28..32].copy_from_slice(&payload.to_le_bytes());
            let header = crc32c::crc32c(&frame[..44]);
            frame[44..48].copy_from_slice(&header.to_le_bytes());
        };
        hurt(&change, "the footer counted something else");
    }
}

#[test]
fn damage_before_a_group_that_was_written_later_is_no_interrupted_append() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    for step in [Step::Append(10), Step::Sync, Step::Append(10), Step::Sync] {
        user.step(step).expect("a disk that works");
    }
    let name = user.medium.names().remove(0);
    for at in [4096, 4096 + 85] {
        let hurt = user.medium.fork();
        hurt.damage(&name, |bytes| bytes[at] ^= 1);
        let fault = found(&hurt).expect_err("group 1 was durable");
        let text = fault.during("recover").to_string();
        assert!(
            text.contains("group 1 at offset 4096 is damaged; group 2 at offset 8192"),
            "{text}"
        );
    }
}

#[test]
fn what_others_left_behind_the_last_group_proves_nothing() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    for step in [Step::Append(10), Step::Sync] {
        user.step(step).expect("a disk that works");
    }
    let (medium, promise) = (user.medium.fork(), user.promise.clone());
    for _ in 0..3 {
        user.step(Step::Append(10)).expect("a disk that works");
        user.step(Step::Sync).expect("a disk that works");
    }
    let name = medium.names().remove(0);
    // Written when group 3 was durable, of this store and file: group 2 was acknowledged, and is gone.
    let own = user.medium.raw(&name)[4 * 4096..5 * 4096].to_vec();
    let with = |block: &[u8]| {
        let hurt = medium.fork();
        hurt.damage(&name, |bytes| {
            bytes.resize(bytes.len().max(3 * 4096), 0);
            bytes[2 * 4096..3 * 4096].copy_from_slice(block);
        });
        hurt
    };
    assert!(refused(&with(&own), &promise, &|| "its own group".into()));
    // The identity, and the number of the file.
    for at in [8, 24] {
        let mut foreign = own.clone();
        foreign[at] ^= 3;
        let checksum = crc32c::crc32c(&foreign[..76]);
        foreign[76..80].copy_from_slice(&checksum.to_le_bytes());
        let what = || format!("the group of another, by byte {at}");
        assert!(!refused(&with(&foreign), &promise, &what), "{}", what());
    }
}

#[test]
fn a_new_file_that_shows_the_header_of_another_is_one_that_nobody_finished() {
    let (medium, promise) = closed();
    let last = medium.names().pop().expect("files");
    let number = u64::from_str_radix(&last["journal-".len()..], 16).expect("a number");
    let header = medium.raw(&last)[..4096].to_vec();
    let next = format!("journal-{:016x}", number + 1);
    drop(medium.create(&next).expect("created"));
    medium.damage(&next, |bytes| *bytes = header);
    assert!(!refused(&medium, &promise, &|| "a block of another".into()));
}

/// It has no groups that follow the checkpoint, which is no sign that there were none.
#[test]
fn an_older_file_in_the_place_of_the_one_that_a_checkpoint_goes_on_in_is_noticed() {
    let mut user = User::new(&Medium::new(), OPTIONS);
    user.open().expect("a disk that works");
    user.step(Step::Append(10)).expect("a disk that works");
    let older = user.medium.names().remove(0);
    for step in [Step::Close, Step::Append(10)] {
        user.step(step).expect("a disk that works");
    }
    let bytes = user.medium.raw(&older);
    for step in [Step::Checkpoint, Step::Append(200), Step::Sync] {
        user.step(step).expect("a disk that works");
    }
    let last = user.medium.names().pop().expect("a file");
    assert!(last.starts_with("journal-") && last != older);
    user.medium.damage(&last, |into| *into = bytes);
    let what = || format!("{last} is {older}");
    assert!(refused(&user.medium, &user.promise, &what));
}

#[test]
fn a_checkpoint_under_the_name_of_another_is_none() {
    let (medium, promise) = closed();
    let name = medium.names().remove(0);
    let group = u64::from_str_radix(&name["checkpoint-".len()..], 16).expect("a number");
    medium
        .rename(&name, &format!("checkpoint-{:016x}", group - 1))
        .expect("renamed");
    assert!(refused(&medium, &promise, &|| "an older name".into()));
}
