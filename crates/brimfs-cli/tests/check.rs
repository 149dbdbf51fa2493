//! `brimfs check`: what it says of sound stores and of damaged ones.

mod common;

use std::fs::File;

use common::{MIB, Store, brimfs, noise};
use serde_json::Value;

/// Lines of a check that has to find something.
fn found(store: &Store) -> Vec<String> {
    let before = store.bytes();
    let output = brimfs(&["check", store.name()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(store.bytes() == before, "a check changed the store");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn report(store: &Store) -> Value {
    let output = brimfs(&["check", "--json", store.name()]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn name(file: &std::path::Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_sound_store_is_counted() {
    let store = Store::usual();
    let output = brimfs(&["check", store.name()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("All is sound: 5 files (10.5 MiB), 3 directories, 2 symbolic links."),
        "{text}"
    );
    let report = report(&store);
    assert_eq!(report["sound"], true);
    assert_eq!(report["was_closed"], true);
    assert_eq!(report["problems"], serde_json::json!([]));
    assert!(report["verified"].as_u64().unwrap() >= 5 * MIB as u64 / 2);
}

#[test]
fn a_store_that_was_just_made_is_sound() {
    let store = Store::with(|_| {});
    let report = report(&store);
    assert_eq!(report["sound"], true, "{report}");
    assert_eq!(report["directories"], 1);
}

#[test]
fn one_damaged_byte_is_named_by_path_and_range() {
    let large = noise(5 * MIB / 2, 1);
    let store = Store::usual();
    let offset = MIB + 40_000;
    let (file, at) = store.find(&large[offset..offset + 64]);
    Store::flip(&file, at);
    let lines = found(&store);
    assert_eq!(lines.len(), 2, "{lines:?}");
    // The block of 16 KiB around it.
    let expected = format!(
        "/docs/deep/large: bytes {} to {}: content fails its check ({}, record at offset ",
        MIB + 32_768,
        MIB + 49_151,
        name(&file)
    );
    assert!(lines[0].starts_with(&expected), "{lines:?}");
    assert!(
        lines[1].starts_with("1 problem found, 1 file or directory damaged."),
        "{lines:?}"
    );
    let report = report(&store);
    assert_eq!(report["problems"][0]["paths"][0], "/docs/deep/large");
    assert_eq!(report["problems"][0]["start"], MIB + 32_768);
    assert_eq!(report["problems"][0]["end"], MIB + 49_152);
    assert_eq!(report["hurt"], 1);
}

#[test]
fn one_damaged_file_hides_no_other() {
    let contents: Vec<Vec<u8>> = (0..40).map(|seed| noise(70_000, seed + 10)).collect();
    let large = noise(3 * MIB, 1);
    let store = Store::with(|fs| {
        for (number, content) in contents.iter().enumerate() {
            fs.write(format!("/file{number:02}"), content.clone())
                .unwrap();
        }
        fs.hard_link("/file30", "/again").unwrap();
        fs.write("/large", large.clone()).unwrap();
        fs.sync().unwrap();
        fs.copy("/large", "/copy").unwrap();
    });
    for bytes in [
        &contents[30][69_000..69_064],
        &contents[7][69_000..69_064],
        &large[MIB + 65_600..MIB + 65_664],
    ] {
        let (file, at) = store.find(bytes);
        Store::flip(&file, at);
    }
    let lines = found(&store);
    let of_large = format!("bytes {} to {}: ", MIB + 65_536, MIB + 81_919);
    let expected = [
        // Its content is that of the other, and lies there once.
        format!("/copy: {of_large}"),
        "/file07: bytes 65536 to 69999: ".to_owned(),
        "/file30 (also /again): bytes 65536 to 69999: ".to_owned(),
        format!("/large: {of_large}"),
        "4 problems found, 4 files or directories damaged. There are 42 files".to_owned(),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(&start), "{line}");
    }
}

#[test]
fn a_segment_that_was_cut_loses_what_lay_behind() {
    let store = Store::with(|fs| {
        fs.write("/before", noise(MIB, 1)).unwrap();
        fs.sync().unwrap();
        fs.write("/behind", noise(3 * MIB, 2)).unwrap();
    });
    let (file, at) = store.find(&noise(3 * MIB, 2)[MIB..MIB + 64]);
    let cut = File::options().write(true).open(&file).unwrap();
    cut.set_len(at).unwrap();
    let lines = found(&store);
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, range) in lines.iter().zip([1, 2].map(|chunk| chunk * MIB)) {
        let expected = format!(
            "/behind: bytes {range} to {}: {} ends at ",
            range + MIB - 1,
            name(&file)
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn a_segment_that_is_gone_or_damaged_at_its_beginning_loses_its_files() {
    let store = Store::with(|fs| fs.write("/file", noise(3 * MIB, 2)).unwrap());
    let file = store.files("segment-").remove(0);
    Store::flip(&file, 20);
    let lines = found(&store);
    let expected = format!(
        "/file: bytes 0 to {}: {}, offset 0: the header of the file fails its check",
        3 * MIB - 1,
        name(&file)
    );
    assert_eq!(lines[0], expected);
    assert_eq!(lines.len(), 2, "{lines:?}");
    std::fs::remove_file(&file).unwrap();
    let lines = found(&store);
    let expected = format!(
        "/file: bytes 0 to {}: {} is missing",
        3 * MIB - 1,
        name(&file)
    );
    assert_eq!(lines[0], expected);
}

#[test]
fn a_damaged_journal_is_named_with_file_and_place() {
    let store = Store::with(|fs| {
        fs.write("/a", "one").unwrap();
        fs.sync().unwrap();
        fs.write("/b", "two").unwrap();
        fs.sync().unwrap();
        fs.write("/c", "three").unwrap();
    });
    let journal = store.files("journal-").remove(0);
    // In the header of the second group: one comes after the header, each takes a block.
    Store::flip(&journal, 2 * 4096 + 30);
    let lines = found(&store);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let expected = format!("{}: group 2 at offset 8192 is damaged", name(&journal));
    assert!(lines[0].starts_with(&expected), "{lines:?}");
    assert_eq!(
        lines[1],
        "The journal is damaged; nothing else could be checked."
    );
    let report = report(&store);
    assert_eq!(report["journal_lost"], true);
    assert_eq!(report["sound"], false);
}

/// Whatever byte is hurt: a check that finds nothing is right, one that finds something too.
#[test]
fn what_a_check_calls_sound_can_be_read() {
    let store = Store::with(|fs| {
        for number in 0..6u64 {
            fs.write(format!("/{number}"), noise(30_000, number))
                .unwrap();
        }
    });
    let expected: Vec<Vec<u8>> = (0..6).map(|number| noise(30_000, number)).collect();
    for file in [store.files("segment-"), store.files("journal-")].concat() {
        let len = std::fs::metadata(&file).unwrap().len().min(256 << 10);
        for offset in (0..len).step_by(2039) {
            Store::flip(&file, offset);
            let is_sound = brimfs::check_store(store.path(), &mut |_| {})
                .unwrap()
                .is_sound();
            let opened = brimfs::FileSystem::builder()
                .memory_limit(64 << 20)
                .read_only(true)
                .open(store.path());
            let is_readable = opened.is_ok_and(|fs| {
                let read = |number: usize| fs.read(format!("/{number}"));
                (0..6).all(|number| read(number).is_ok_and(|bytes| bytes == expected[number]))
            });
            assert_eq!(is_sound, is_readable, "{} at {offset}", file.display());
            Store::flip(&file, offset);
        }
    }
}
