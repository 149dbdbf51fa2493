//! The command on a directory of the layout `mirror`, and on plain ones.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use brimfs::{Durability, FileSystem, Layout};
use common::{brimfs, failure, noise, said};
use serde_json::Value;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

fn open(place: &Path) -> FileSystem {
    let builder = FileSystem::builder().layout(Layout::Mirror);
    let builder = builder
        .durability(Durability::Manual)
        .memory_limit(64 << 20);
    builder.open(place).unwrap()
}

/// A tree that was there, and what a filesystem put beside it.
fn mirror() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("docs")).unwrap();
    fs::write(place.path().join("docs/a.txt"), "of the host").unwrap();
    let fs = open(place.path());
    fs.write("/docs/large", noise(5 * MIB / 2, 1)).unwrap();
    fs.symlink("docs/a.txt", "/link").unwrap();
    fs.set_priority("/docs/a.txt", 7).unwrap();
    fs.close().unwrap();
    place
}

fn name(place: &Path) -> &str {
    place.to_str().unwrap()
}

/// All bytes below a directory, side data too.
fn bytes(place: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![place.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            }
            let bytes = match kind.is_file() {
                true => fs::read(entry.path()).unwrap(),
                false => Vec::new(),
            };
            found.insert(entry.path(), bytes);
        }
    }
    found
}

#[test]
fn a_mirror_is_looked_into_and_stays_as_it_is() {
    let mirror = mirror();
    let place = name(mirror.path());
    let before = bytes(mirror.path());
    assert_eq!(said(&["ls", place]), "docs\nlink\n");
    assert_eq!(
        said(&["ls", "-R", place]),
        "docs\ndocs/a.txt\ndocs/large\nlink\n"
    );
    assert_eq!(said(&["cat", place, "/docs/a.txt"]), "of the host");
    let output = brimfs(&["cat", place, "/docs/large"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == noise(5 * MIB / 2, 1));
    let known: Value =
        serde_json::from_str(&said(&["stat", "--json", place, "/docs/a.txt"])).unwrap();
    let known = known.as_array().map_or(&known, |all| &all[0]);
    assert_eq!(
        (&known["size"], &known["priority"]),
        (&Value::from(11), &Value::from(7))
    );
    assert!(failure(&["cat", place, "/missing"]).contains("no such file or directory"));
    // What somebody else changed meanwhile is shown as it is.
    fs::write(mirror.path().join("docs/a.txt"), "of somebody else").unwrap();
    fs::write(mirror.path().join("new"), "new").unwrap();
    assert_eq!(
        said(&["cat", place, "/docs/a.txt", "/new"]),
        "of somebody elsenew"
    );
    fs::remove_file(mirror.path().join("new")).unwrap();
    fs::write(mirror.path().join("docs/a.txt"), "of the host").unwrap();
    assert!(bytes(mirror.path()) == before, "looking changed something");
}

#[test]
fn a_mirror_is_exported() {
    let mirror = mirror();
    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("new");
    let told = said(&["export", name(mirror.path()), name(&target)]);
    assert!(told.starts_with("Copied 2 files (2.5 MiB)"), "{told}");
    assert_eq!(fs::read(target.join("docs/a.txt")).unwrap(), b"of the host");
    assert!(fs::read(target.join("docs/large")).unwrap() == noise(5 * MIB / 2, 1));
    assert!(!target.join(".brimfs").exists(), "side data stays behind");
}

#[test]
fn a_check_of_a_mirror_says_that_there_is_none() {
    let mirror = mirror();
    let before = bytes(mirror.path());
    let place = name(mirror.path());
    for arguments in [&["check", place][..], &["check", "--repair", place]] {
        let text = failure(arguments);
        assert!(text.contains("layout \"mirror\""), "{text}");
        assert_eq!(text.trim().lines().count(), 1, "{text}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let output = elsewhere.path().join("saved");
    let text = failure(&["check", "--repair", "--output", name(&output), place]);
    assert!(text.contains("layout \"mirror\""), "{text}");
    assert!(bytes(mirror.path()) == before, "a check changed something");
}

#[test]
fn a_mirror_that_is_in_use_says_by_whom() {
    let mirror = mirror();
    let fs = open(mirror.path());
    let mine = std::process::id().to_string();
    for command in ["ls", "stat"] {
        let text = failure(&[command, name(mirror.path())]);
        assert!(text.contains(&mine), "{text}");
    }
    drop(fs);
    said(&["ls", name(mirror.path())]);
}

#[test]
fn a_plain_directory_is_no_store() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a"), "a").unwrap();
    for command in ["ls", "stat", "check"] {
        let text = failure(&[command, name(place.path())]);
        assert!(text.contains("no store in this directory"), "{text}");
    }
    assert_eq!(bytes(place.path()).len(), 1);
}
