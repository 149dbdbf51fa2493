//! On a real disk: what another process or a thief of the disk can see.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brimfs::face::disk::{Disk, Opening, RealDirectory, RealDisk, find};
use brimfs::face::segment::{Extent, Options, Protection, Record, Store};

use crate::world::{SEGMENT, content, id_of};

const SECRET: &[u8] = b"a secret that nobody else must ever read";

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

fn store(directory: &Path, protection: Protection) -> Store {
    let mut options = Options::new(directory, 64 << 20);
    options.segment_bytes = Some(SEGMENT);
    options.protection = protection;
    Store::new(Arc::new(RealDisk), options).expect("good options")
}

/// The descriptors of this process whose files lie, or lay, in a directory.
fn open_files(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
    let found = fs::read_dir("/proc/self/fd").expect("Linux lists descriptors");
    found
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?;
            target.starts_with(directory).then_some((path, target))
        })
        .collect()
}

fn append(store: &Store, number: u64, bytes: &[u8]) -> Extent {
    let parts = [bytes];
    let record = Record {
        id: id_of(number),
        parts: &parts,
    };
    store.append(&[record]).expect("a disk with room")[0]
}

/// Raw bytes of the only segment.
fn raw(directory: &Path) -> Vec<u8> {
    let files = open_files(directory);
    assert_eq!(files.len(), 1, "{files:?}");
    fs::read(&files[0].0).expect("our own descriptor")
}

fn holds(raw: &[u8], text: &[u8]) -> bool {
    raw.windows(text.len()).any(|window| window == text)
}

#[test]
fn a_segment_has_no_name_and_no_readers() {
    let directory = directory();
    let store = store(directory.path(), Protection::Encrypted);
    assert!(
        open_files(directory.path()).is_empty(),
        "no file before anything is spilled"
    );
    let extent = append(&store, 1, SECRET);
    let files = open_files(directory.path());
    assert_eq!(files.len(), 1);
    assert!(
        files[0].1.to_string_lossy().ends_with("(deleted)"),
        "{files:?}"
    );
    let metadata = fs::metadata(&files[0].0).expect("our own descriptor");
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert_eq!(metadata.nlink(), 0);
    assert_eq!(
        fs::read_dir(directory.path()).expect("a directory").count(),
        0
    );
    assert!(store.release(extent));
    assert!(
        open_files(directory.path()).is_empty(),
        "the last record takes the file with it"
    );
}

#[test]
fn a_planted_secret_is_not_found_on_the_disk() {
    let directory = directory();
    let encrypted = store(directory.path(), Protection::Encrypted);
    append(&encrypted, 1, &SECRET.repeat(1000));
    assert!(!holds(&raw(directory.path()), SECRET));
    assert!(!holds(&raw(directory.path()), &SECRET[..8]));
    drop(encrypted);
    // The same search finds it where nothing hides it.
    let checksummed = store(directory.path(), Protection::Checksummed);
    append(&checksummed, 1, &SECRET.repeat(1000));
    assert!(holds(&raw(directory.path()), SECRET));
}

#[test]
fn a_real_disk_gives_back_what_was_written() {
    let directory = directory();
    for protection in [Protection::Encrypted, Protection::Checksummed] {
        let store = store(directory.path(), protection);
        let lens = [1, 4096, 1 << 20, 70_000, 1 << 20, 16_385];
        let kept: Vec<_> = (0..)
            .zip(lens)
            .map(|(number, len)| (number, append(&store, number, &content(number, len))))
            .collect();
        for (number, extent) in &kept {
            let right = content(*number, extent.len());
            let mut bytes = vec![0; extent.len() / 2 + 1];
            let offset = extent.len() - bytes.len();
            store
                .read(id_of(*number), *extent, offset, &mut bytes)
                .expect("readable");
            assert!(bytes == right[offset..]);
        }
        for (_, extent) in kept {
            assert!(store.release(extent));
        }
        assert_eq!(store.stats().disk_bytes, 0);
        assert!(open_files(directory.path()).is_empty());
    }
}

#[test]
fn a_directory_to_spill_to_is_found_by_its_name() {
    let directory = directory();
    let nothing_set = |_: &str| None;
    let place = RealDisk.probe(directory.path()).expect("a directory");
    match find(&RealDisk, Some(directory.path()), &nothing_set) {
        Ok(found) => assert_eq!(
            (found.path.as_path(), place.in_memory),
            (directory.path(), false)
        ),
        Err(_) if place.in_memory => eprintln!("skipped: the target directory lies in memory"),
        Err(fault) => panic!("{fault:?}"),
    }
    let error = find(
        &RealDisk,
        Some(&directory.path().join("missing")),
        &nothing_set,
    );
    assert!(format!("{:?}", error.expect_err("no such directory")).contains("missing"));
}

fn named(path: &Path, opening: Opening, live: &[Extent]) -> Store {
    let directory = Arc::new(RealDirectory::open(path, opening).expect("a directory"));
    let mut options = Options::new("", 64 << 20);
    options.segment_bytes = Some(SEGMENT);
    options.protection = Protection::Checksummed;
    let opened = match opening {
        Opening::ReadOnly => Store::named_read_only(directory, options, [7; 16], live),
        _ => Store::named(directory, options, [7; 16], live),
    };
    opened.unwrap_or_else(|fault| panic!("{}", fault.during("open")))
}

fn check(store: &Store, kept: &[(u64, Extent)]) {
    for (number, extent) in kept {
        let mut bytes = vec![0; extent.len()];
        store
            .read(id_of(*number), *extent, 0, &mut bytes)
            .expect("readable");
        assert!(bytes == content(*number, extent.len()));
    }
}

#[test]
fn segments_with_names_are_there_again() {
    let directory = directory();
    let path = directory.path().join("store");
    let store = named(&path, Opening::Create, &[]);
    let lens = [1, 4096, 1 << 20, 70_000, 1 << 20, 16_385];
    let kept: Vec<_> = (0..)
        .zip(lens)
        .map(|(number, len)| (number, append(&store, number, &content(number, len))))
        .collect();
    store.close().expect("a disk that works");
    drop(store);
    let files: Vec<_> = fs::read_dir(&path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").metadata().expect("its metadata"))
        .collect();
    let live: Vec<_> = kept.iter().map(|(_, extent)| *extent).collect();
    let bytes: u64 = live.iter().map(|extent| extent.stored_bytes()).sum();
    let lens: u64 = files.iter().map(MetadataExt::size).sum();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| file.mode() & 0o7777 == 0o600));
    assert!(lens < bytes + (64 << 10), "{lens} bytes for {bytes}");

    let reader = named(&path, Opening::ReadOnly, &live);
    check(&reader, &kept);
    let store = named(&path, Opening::Existing, &live);
    check(&store, &kept);
    assert_eq!(store.stats().disk_bytes, lens);
    let more = append(&store, 100, SECRET);
    store.sync().expect("a disk that works");
    for extent in live {
        assert!(store.release(extent));
    }
    assert_eq!(fs::read_dir(&path).expect("a directory").count(), 1);
    // What is open can be read as long as somebody has it.
    check(&reader, &kept);
    let mut bytes = vec![0; SECRET.len()];
    store
        .read(id_of(100), more, 0, &mut bytes)
        .expect("readable");
    assert!(bytes == SECRET);
}

#[test]
fn what_is_volatile_is_never_called_durable() {
    let directory = directory();
    let store = store(directory.path(), Protection::Checksummed);
    append(&store, 1, SECRET);
    for refused in [store.sync(), store.close()] {
        assert_eq!(
            refused.expect_err("volatile").kind(),
            brimfs::ErrorKind::Unsupported
        );
    }
}
