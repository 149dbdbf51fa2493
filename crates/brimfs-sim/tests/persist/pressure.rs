//! What waits for a commit is bounded, whoever asks for one.

use std::sync::Arc;

use brimfs::{Durability, FileSystem, OpenOptions};
use brimfs_sim::medium::{Image, Medium};

use super::world::audit;

const MEMORY: u64 = 64 << 20;
/// An eighth of the memory may wait for a commit, and as much again while one is under way.
const WAITING: u64 = 2 * MEMORY / 8;

fn open(medium: &Medium) -> FileSystem {
    FileSystem::builder()
        .memory_limit(MEMORY)
        .durability(Durability::Manual)
        .open_in(Arc::new(medium.clone()))
        .expect("opened")
}

fn written(fs: &FileSystem) -> u64 {
    let disk = fs.stats().tier.disk.expect("a store");
    disk.written
}

/// Half of the memory: nothing has to leave it.
const BYTES: u64 = MEMORY / 2;

fn assert_written_back(fs: &FileSystem, bytes: u64) {
    let written = written(fs);
    assert!(
        written + WAITING >= bytes,
        "{written} of {bytes} bytes are written"
    );
}

#[test]
fn content_that_nobody_syncs_is_written_back() {
    let medium = Medium::new();
    let fs = open(&medium);
    let content = vec![7; 1 << 20];
    for number in 0..BYTES >> 20 {
        fs.write_slice(format!("/{number}"), &content).unwrap();
    }
    assert_written_back(&fs, BYTES);
    assert_eq!(fs.stats().tier.evictions, 0);
}

#[test]
fn what_is_written_ahead_is_not_written_again() {
    for len in [70_000, 1 << 20, (1 << 20) + 70_000] {
        let medium = Medium::new();
        let fs = open(&medium);
        let content = vec![7; len];
        let files = BYTES / len as u64;
        for number in 0..files {
            fs.write_slice(format!("/{number}"), &content).unwrap();
        }
        fs.sync().unwrap();
        let bytes = files * len as u64;
        let (written, most) = (written(&fs), bytes + bytes / 4);
        assert!(written < most, "{written} for {bytes} in files of {len}");
        // Nor is it when it leaves memory.
        fs.gc(0.0).unwrap();
        let written = self::written(&fs);
        assert!(written < most, "{written} for {bytes} in files of {len}");
    }
}

#[test]
fn a_stream_that_nobody_syncs_is_written_back() {
    let medium = Medium::new();
    let fs = open(&medium);
    let mut file = OpenOptions::new();
    let file = file.append(true).create(true).open(&fs, "/stream").unwrap();
    for number in 0..BYTES / 10_000 {
        file.append(&[number as u8; 10_000]).unwrap();
    }
    assert_written_back(&fs, BYTES);
}

#[test]
fn small_files_that_nobody_syncs_are_committed() {
    let medium = Medium::new();
    let fs = open(&medium);
    let content = [7; 10_000];
    for number in 0..BYTES / 10_000 {
        fs.write_slice(format!("/{number}"), &content).unwrap();
    }
    let after = open(&medium.crash(&Image::default()));
    let bytes = after.stats().files * 10_000;
    assert!(
        bytes + WAITING >= BYTES,
        "{bytes} of {BYTES} bytes are kept"
    );
}

#[test]
fn what_commits_know_of_files_is_charged_to_the_memory_limit() {
    const FILES: u64 = 20_000;
    let medium = Medium::new();
    let fs = open(&medium);
    let used = |fs: &FileSystem| fs.stats().resident;
    let before = used(&fs);
    let volatile = FileSystem::builder().memory_limit(MEMORY).spill(false);
    let volatile = volatile.build().unwrap();
    let fill = |fs: &FileSystem| {
        let before = used(fs);
        for number in 0..FILES {
            fs.write_slice(format!("/{number}"), b"").unwrap();
        }
        used(fs) - before
    };
    let least = fill(&volatile) + 40 * FILES;
    fill(&fs);
    fs.sync().unwrap();
    let kept = used(&fs);
    assert!(kept >= before + least, "{before}, then {kept}");
    audit(&fs).unwrap();
    fs.close().unwrap();
    let fs = open(&medium);
    let restored = used(&fs);
    assert!(
        restored >= before + 140 * FILES,
        "{before}, then {restored}"
    );
    for number in 0..FILES {
        fs.remove_file(format!("/{number}")).unwrap();
    }
    fs.sync().unwrap();
    audit(&fs).unwrap();
    let emptied = used(&fs);
    assert!(
        emptied < before + 40 * FILES / 4,
        "{before}, then {emptied}"
    );
}
