//! How often files were accessed is known when a store is opened again, and counts.

use std::sync::Arc;

use brimfs::{Durability, FileSystem};
use brimfs_sim::medium::{Image, Medium};

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;

fn open_with(medium: &Medium, memory: u64) -> FileSystem {
    FileSystem::builder()
        .memory_limit(memory)
        .disk_limit(256 * MIB)
        .durability(Durability::Manual)
        .open_in(Arc::new(medium.clone()))
        .expect("opened")
}

fn open(medium: &Medium) -> FileSystem {
    open_with(medium, 64 * MIB)
}

fn paths(kind: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("/{kind}{number}"))
        .collect()
}

fn write(fs: &FileSystem, paths: &[String], len: usize) {
    for (seed, path) in paths.iter().enumerate() {
        fs.write(path, vec![seed as u8; len]).expect("written");
    }
}

fn read(fs: &FileSystem, paths: &[String], times: usize) {
    for path in paths
        .iter()
        .flat_map(|path| std::iter::repeat_n(path, times))
    {
        fs.read(path).expect("read");
    }
}

fn accesses(fs: &FileSystem, path: &str) -> u64 {
    fs.explain(path).expect("a file").accesses
}

fn resident(fs: &FileSystem, paths: &[String]) -> usize {
    let is_resident = |path: &&String| fs.explain(path).expect("a file").resident.units > 0;
    paths.iter().filter(is_resident).count()
}

#[test]
fn what_was_hot_before_it_was_closed_outlasts_a_scan_and_what_was_cold_does_not() {
    let medium = Medium::new();
    let memory = 24 * MIB;
    let [hot, cold] = ["hot", "cold"].map(|kind| paths(kind, 24));
    let scanned = paths("scanned", 1000);
    let fs = open_with(&medium, memory);
    for some in [&hot, &cold, &scanned] {
        write(&fs, some, 64 * KIB);
    }
    fs.close().unwrap();
    let fs = open_with(&medium, memory);
    read(&fs, &hot, 12);
    fs.close().unwrap();

    let fs = open_with(&medium, memory);
    read(&fs, &hot, 1);
    read(&fs, &cold, 1);
    assert_eq!((resident(&fs, &hot), resident(&fs, &cold)), (24, 24));
    read(&fs, &scanned, 1);
    assert_eq!((resident(&fs, &hot), resident(&fs, &cold)), (24, 0));
    assert!(fs.stats().tier.evictions > 500);
}

#[test]
fn counts_are_the_same_after_any_number_of_openings_without_an_access() {
    let medium = Medium::new();
    let fs = open(&medium);
    let sizes = [129, 4 * KIB, 100 * KIB, 1 << 20, 3 << 20];
    let files: Vec<String> = sizes.iter().map(|len| format!("/f{len}")).collect();
    for (path, len) in files.iter().zip(sizes) {
        fs.write(path, vec![7; len]).unwrap();
    }
    for (number, path) in files.iter().enumerate() {
        read(&fs, std::slice::from_ref(path), 4 * number);
    }
    // No more than it takes for the boost.
    let counted: Vec<u64> = files.iter().map(|path| accesses(&fs, path)).collect();
    assert_eq!(counted, [0, 4, 8, 10, 10]);
    fs.close().unwrap();
    for _ in 0..3 {
        let fs = open(&medium);
        let again: Vec<u64> = files.iter().map(|path| accesses(&fs, path)).collect();
        assert_eq!(again, counted);
        fs.close().unwrap();
    }

    let fs = open(&medium);
    read(&fs, &files, 1);
    let again: Vec<u64> = files.iter().map(|path| accesses(&fs, path)).collect();
    let boosted = files
        .iter()
        .map(|path| fs.explain(path).unwrap().priority_counted);
    assert_eq!(boosted.collect::<Vec<u8>>(), [5, 5, 5, 6, 6]);
    assert!(
        again
            .iter()
            .zip(&counted)
            .all(|(again, before)| again >= before)
    );
}

#[test]
fn what_came_in_and_went_again_counts_from_the_beginning() {
    let medium = Medium::new();
    let files = paths("f", 2);
    let fs = open(&medium);
    write(&fs, &files, 100 * KIB);
    read(&fs, &files, 10);
    fs.close().unwrap();
    let fs = open(&medium);
    read(&fs, &files[..1], 1);
    fs.gc(0.0).unwrap();
    fs.close().unwrap();
    let fs = open(&medium);
    let counted = files.iter().map(|path| accesses(&fs, path));
    assert_eq!(counted.collect::<Vec<u64>>(), [0, 10]);
}

#[test]
fn an_access_makes_no_commit() {
    let medium = Medium::new();
    let files = paths("f", 2);
    let fs = open(&medium);
    write(&fs, &files, 100 * KIB);
    // The times of a first access are noted.
    read(&fs, &files, 1);
    fs.sync().unwrap();
    let calls = medium.calls();
    read(&fs, &files, 10);
    fs.sync().unwrap();
    assert_eq!(medium.calls(), calls);
    let after = medium.crash(&Image::default());
    assert_eq!(accesses(&open(&after), "/f0"), 0);
}

#[test]
fn a_checkpoint_has_the_counts_for_a_crash() {
    let medium = Medium::new();
    let fs = open(&medium);
    let files = paths("hot", 3);
    write(&fs, &files, 100 * KIB);
    read(&fs, &files, 10);
    let has_checkpoint = || {
        let names = medium.names();
        names.iter().any(|name| name.starts_with("checkpoint-"))
    };
    let mut number = 0u32;
    while !has_checkpoint() {
        fs.write(format!("/{}", number % 50), vec![number as u8; 60 * KIB])
            .unwrap();
        fs.sync().unwrap();
        number += 1;
        assert!(number < 100_000, "{:?}", medium.names());
    }
    // Whatever is said of the file later says the same.
    fs.set_permissions("/hot0", 0o600).unwrap();
    fs.sync().unwrap();
    let again = open(&medium.crash(&Image::default()));
    let counted = files.iter().map(|path| accesses(&again, path));
    assert_eq!(counted.collect::<Vec<u64>>(), [10; 3]);
}

#[test]
fn a_full_disk_loses_counts_and_nothing_else() {
    let medium = Medium::new();
    // More than the journal keeps space for.
    let files = paths("f", 30_000);
    let fs = open(&medium);
    write(&fs, &files, 200);
    read(&fs, &files, 1);
    fs.sync().unwrap();
    read(&fs, &files, 10);
    medium.set_capacity(Some(medium.used()));
    fs.close().unwrap();
    medium.set_capacity(None);
    let fs = open(&medium);
    for (seed, path) in files.iter().enumerate() {
        assert_eq!(accesses(&fs, path), 0);
        assert_eq!(fs.read(path).unwrap(), vec![seed as u8; 200]);
    }
}

#[test]
fn more_files_than_may_be_told_leave_those_with_the_most_accesses() {
    let medium = Medium::new();
    let memory = 16 * MIB;
    let files = paths("f", 9000);
    let fs = open_with(&medium, memory);
    write(&fs, &files, 200);
    read(&fs, &files, 1);
    let (hot, rest) = files.split_at(100);
    read(&fs, hot, 5);
    assert_eq!((resident(&fs, hot), resident(&fs, rest)), (100, 8900));
    fs.close().unwrap();
    let fs = open_with(&medium, memory);
    assert!(hot.iter().all(|path| accesses(&fs, path) == 6));
    let told = rest.iter().filter(|path| accesses(&fs, path) == 1).count();
    assert_eq!(told, 8192 - 100);
}
