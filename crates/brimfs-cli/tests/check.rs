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
        lines[1].starts_with("1 problem found, 1 file or directory damaged. There are "),
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
fn a_segment_that_is_gone_loses_its_files_and_one_with_a_damaged_header_does_not() {
    let store = Store::with(|fs| fs.write("/file", noise(3 * MIB, 2)).unwrap());
    let file = store.files("segment-").remove(0);
    Store::flip(&file, 20);
    let lines = found(&store);
    let expected = format!(
        "{}, offset 0: the header of the file fails its check; nothing in it can be read before it is repaired",
        name(&file)
    );
    assert_eq!(lines[0], expected);
    assert!(lines[1].starts_with("1 problem found, 0 files or directories damaged."));
    std::fs::remove_file(&file).unwrap();
    let lines = found(&store);
    let expected = format!(
        "/file: bytes 0 to {}: {} is missing",
        3 * MIB - 1,
        name(&file)
    );
    assert_eq!(lines[0], expected);
}

/// A store with a hole in its journal: what was committed before it, in it and behind it.
fn with_a_hole() -> Store {
    let store = Store::with(|fs| {
        for (path, content) in [
            ("/a", "one"),
            ("/b", "two"),
            ("/c", "three"),
            ("/d", "four"),
        ] {
            fs.write(path, content).unwrap();
            fs.sync().unwrap();
        }
        fs.write("/a", "five").unwrap();
    });
    let journal = store.files("journal-").remove(0);
    // In the header of the third group: one comes after the header, each takes a block.
    Store::flip(&journal, 3 * 4096 + 30);
    store
}

#[test]
fn behind_a_damaged_group_the_check_goes_on() {
    let store = with_a_hole();
    let journal = name(&store.files("journal-")[0]);
    let lines = found(&store);
    let expected = [
        format!("{journal}: group 3 at offset 12288 is damaged; "),
        format!("group 3 is damaged or missing; the next whole one is group 4 in {journal} at offset 16384"),
        "/a: a later state of it, as of group ".to_owned(),
        "/c: a later state of it, as of group ".to_owned(),
        "/d: a later state of it, as of group ".to_owned(),
        "5 problems found, 3 files or directories damaged. Before the damage of the journal, as of group 2, there were 1 file".to_owned(),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(&start), "{lines:#?}");
    }
    let report = report(&store);
    assert_eq!(report["journal_damaged"], true);
    assert_eq!(report["journal_lost"], false);
    assert_eq!(report["sound"], false);
}

fn repaired(arguments: &[&str], code: i32) -> String {
    let output = brimfs(&[&["check", "--repair"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn repairing_a_sound_store_changes_nothing() {
    let store = Store::usual();
    let before = store.bytes();
    let text = repaired(&[store.name()], 0);
    assert_eq!(text, "Nothing is wrong; nothing was changed.\n");
    // Who was the last to have it open is not asked for.
    let without_lock = |bytes: Vec<(std::path::PathBuf, Vec<u8>)>| -> Vec<_> {
        bytes
            .into_iter()
            .filter(|(path, _)| !path.ends_with("lock"))
            .collect()
    };
    assert!(without_lock(store.bytes()) == without_lock(before));
    let elsewhere = tempfile::tempdir().unwrap();
    let output = elsewhere.path().join("new");
    repaired(&[store.name(), "--output", output.to_str().unwrap()], 0);
}

#[test]
fn a_repair_saves_what_it_can_and_lists_the_rest() {
    let store = Store::usual();
    let large = noise(5 * MIB / 2, 1);
    let (file, at) = store.find(&large[MIB + 40_000..MIB + 40_064]);
    Store::flip(&file, at);
    let text = repaired(&[store.name()], 4);
    let lines: Vec<&str> = text.lines().collect();
    let lost = format!(
        "/docs/deep/large: it is damaged; lost are bytes {} to {}; now /lost+found/damaged/",
        MIB + 32_768,
        MIB + 49_151
    );
    assert!(lines[0].starts_with(&lost), "{text}");
    assert!(
        lines[1].starts_with(
            "Repaired, with 1 loss; /lost+found has the list. Damaged files are kept in "
        ),
        "{text}"
    );
    assert_eq!(brimfs(&["check", store.name()]).status.code(), Some(0));
    assert_eq!(
        repaired(&[store.name()], 0),
        "Nothing is wrong; nothing was changed.\n"
    );
    let list = common::said(&["cat", store.name(), "/lost+found/report-1.txt"]);
    assert!(list.contains(lines[0]), "{list}");
    let whole = common::said(&["cat", store.name(), "/docs/a.txt"]);
    assert!(whole.starts_with("first line"), "{whole}");
    let failed = brimfs(&["cat", store.name(), "/docs/deep/large"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(!store.files("damaged-1-segment-").is_empty());
}

#[test]
fn a_damaged_header_is_repaired_without_a_loss() {
    let store = Store::usual();
    Store::flip(&store.files("segment-")[0], 20);
    let text = repaired(&[store.name()], 3);
    assert!(
        text.starts_with("Repaired. Nothing was lost. Damaged files are kept in "),
        "{text}"
    );
    assert_eq!(brimfs(&["check", store.name()]).status.code(), Some(0));
}

#[test]
fn a_hole_in_the_journal_leaves_the_tree_before_it_and_later_files_beside_it() {
    let store = with_a_hole();
    let elsewhere = tempfile::tempdir().unwrap();
    let output = elsewhere.path().join("new");
    let output = output.to_str().unwrap();
    let before = store.bytes();
    let text = repaired(&[store.name(), "--output", output], 4);
    assert!(store.bytes() == before, "the damaged store is only read");
    assert!(
        text.contains(&format!("The new store is {output}.")),
        "{text}"
    );
    let said = |path: &str| common::said(&["cat", output, path]);
    assert_eq!(said("/a"), "one");
    let later = |path: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{path}: ")))
            .unwrap();
        line.rsplit_once("now ").unwrap().1.to_owned()
    };
    assert_eq!(said(&later("/a")), "five");
    assert_eq!(said(&later("/c")), "three");
    assert_eq!(said(&later("/d")), "four");
    let again = brimfs(&["check", "--repair", store.name(), "--output", output]);
    assert_eq!(again.status.code(), Some(1));
    let text = String::from_utf8(again.stderr).unwrap();
    assert!(text.contains("the output is not empty"), "{text}");
}

#[test]
fn who_writes_to_a_store_keeps_repairs_away() {
    let store = Store::usual();
    let fs = store.open();
    let text = common::failure(&["check", "--repair", store.name()]);
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    drop(fs);
    let text = common::failure(&["check", "--repair", "/nowhere/at all"]);
    assert!(text.contains("/nowhere/at all"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let text = common::failure(&["check", "--repair", empty.path().to_str().unwrap()]);
    assert!(
        text.contains("there is no store in this directory"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
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
