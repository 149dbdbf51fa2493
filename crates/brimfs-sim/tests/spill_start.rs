//! Spilling costs nothing until it is needed, and then finds what was there before.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use brimfs::{Budget, Builder, ErrorKind, FileSystem};
use brimfs_sim::disk::SimDisk;

const MIB: u64 = 1 << 20;
const FILE: usize = 64 << 10;

fn with_disk() -> Builder {
    FileSystem::builder()
        .spill_disk(Arc::new(SimDisk::new()), "/spill")
        .disk_limit(4 << 30)
}

/// Bytes that belong to one file only.
fn content(number: u64, len: usize) -> Vec<u8> {
    let seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let word = |at: u64| (seed ^ at.wrapping_mul(0xD6E8_FEB8_6659_FD93)).to_le_bytes();
    let mut bytes: Vec<u8> = (0..len.div_ceil(8) as u64).flat_map(word).collect();
    bytes.truncate(len);
    bytes
}

fn write_files(fs: &FileSystem, folder: &str, files: u64) {
    fs.create_dir_all(folder).expect("a folder");
    for file in 0..files {
        fs.write_slice(format!("{folder}/{file}"), &content(file, FILE))
            .expect("written");
    }
}

fn check_files(fs: &FileSystem, folder: &str, files: u64) {
    for file in 0..files {
        let read = fs.read(format!("{folder}/{file}")).expect("read");
        assert!(read == content(file, FILE), "{folder}/{file}");
    }
}

/// What the background does, it does soon.
fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not after 10 s: {what}");
}

#[test]
fn far_below_the_limit_nothing_is_spent_and_nothing_is_written() {
    let spilling = with_disk().memory_limit(64 * MIB).build().expect("built");
    let plain = FileSystem::builder()
        .memory_limit(64 * MIB)
        .spill(false)
        .build()
        .expect("built");
    for fs in [&spilling, &plain] {
        assert_eq!(fs.stats().resident, 0);
        write_files(fs, "/a", 7 * MIB / FILE as u64);
    }
    assert_eq!(spilling.stats().resident, plain.stats().resident);
    assert_eq!(spilling.stats().memory_limit, 64 * MIB);
    assert_eq!(spilling.tier_stats().disk, None);
    spilling.audit().expect("the counters");
}

#[test]
fn what_was_there_before_memory_filled_can_be_spilled() {
    let fs = with_disk().memory_limit(32 * MIB).build().expect("built");
    // An eighth of the limit is where the tier gets ready.
    let early = 3 * MIB / FILE as u64;
    write_files(&fs, "/early/deep/deeper", early);
    assert_eq!(fs.tier_stats().evictions, 0);
    let late = 96 * MIB / FILE as u64;
    write_files(&fs, "/late", late);
    fs.remove_dir_all("/late").expect("removed");
    soon("only the early files are cold", || {
        let tier = fs.tier_stats();
        tier.cold_bytes > 2 * MIB && tier.cold_bytes <= early * FILE as u64
    });
    check_files(&fs, "/early/deep/deeper", early);
    fs.audit().expect("the counters");
}

#[test]
fn a_filesystem_that_was_emptied_costs_nothing_and_spills_again() {
    let fs = with_disk().memory_limit(16 * MIB).build().expect("built");
    for _ in 0..10 {
        let files = 32 * MIB / FILE as u64;
        write_files(&fs, "/a", files);
        assert!(fs.tier_stats().cold_bytes > 0);
        check_files(&fs, "/a", files);
        fs.audit().expect("the counters");
        fs.remove_dir_all("/a").expect("removed");
        assert_eq!(fs.stats().resident, 0, "at once");
        assert_eq!(fs.tier_stats().disk, None);
        assert_eq!(fs.stats().memory_limit, 16 * MIB);
    }
}

#[test]
fn a_writer_who_is_faster_than_the_preparation_waits_for_it() {
    for _ in 0..20 {
        let fs = with_disk().memory_limit(8 * MIB).build().expect("built");
        let bytes = content(1, 700_000);
        for file in 0..40 {
            fs.write_slice(format!("/{file}"), &bytes).expect("written");
        }
        for file in 0..40 {
            assert!(fs.read(format!("/{file}")).expect("read") == bytes);
        }
        let stats = fs.stats();
        assert!(stats.resident_peak <= stats.memory_limit, "{stats:?}");
    }
}

#[test]
fn a_limit_too_small_for_the_buffers_is_refused_and_says_what_helps() {
    let error = with_disk()
        .memory_limit(MIB)
        .build()
        .expect_err("no room for buffers");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(
        text.contains("1048576") && text.contains("does not spill"),
        "{text}"
    );
    FileSystem::builder()
        .memory_limit(MIB)
        .spill(false)
        .build()
        .expect("without spilling it is enough");
}

#[test]
fn without_spilling_memory_that_is_full_is_an_error() {
    let fs = FileSystem::builder()
        .memory_limit(8 * MIB)
        .spill(false)
        .build()
        .expect("built");
    let error = fs
        .write_slice("/a", &content(1, 9 << 20))
        .expect_err("more than memory");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit);
    assert_eq!(fs.tier_stats(), brimfs::TierStats::default());
}

#[test]
fn the_first_filesystem_of_a_budget_settles_how_all_of_them_spill() {
    let budget = Budget::new(32 * MIB);
    let first = with_disk().budget(&budget).build().expect("the first");
    let second = FileSystem::builder().budget(&budget).build();
    let second = second.expect("nothing was asked for");
    for other in [
        FileSystem::builder().spill(false),
        FileSystem::builder().spill_dir("/elsewhere"),
    ] {
        let error = other.budget(&budget).build().expect_err("settled");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("budget"), "{error}");
    }
    let files = 48 * MIB / FILE as u64;
    for fs in [&first, &second] {
        write_files(fs, "/a", files);
    }
    for fs in [&first, &second] {
        check_files(fs, "/a", files);
    }
    assert!(budget.peak() <= budget.limit());

    let never = Budget::new(32 * MIB);
    let first = FileSystem::builder().spill(false).budget(&never).build();
    let _first = first.expect("the first");
    let second = FileSystem::builder().budget(&never).build();
    let second = second.expect("nothing was asked for");
    let error = second
        .write_slice("/a", &content(1, 33 << 20))
        .expect_err("the first said that nothing is spilled");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit);
}

#[test]
fn a_lower_limit_spills_what_is_too_much_and_a_higher_one_is_used() {
    let budget = Budget::new(64 * MIB);
    let fs = with_disk().budget(&budget).build().expect("built");
    let files = 48 * MIB / FILE as u64;
    write_files(&fs, "/a", files);
    assert_eq!(fs.tier_stats().evictions, 0);
    budget.set_limit(16 * MIB).expect("the rest is spilled");
    assert!(budget.used() <= 16 * MIB);
    assert_eq!(fs.stats().memory_limit, 16 * MIB);
    check_files(&fs, "/a", files);
    assert!(budget.used() <= 16 * MIB);
    fs.set_memory_limit(128 * MIB).expect("more is always fine");
    assert_eq!(budget.limit(), 128 * MIB);
    check_files(&fs, "/a", files);
    check_files(&fs, "/a", files);
    let before = fs.tier_stats().swaps_in;
    check_files(&fs, "/a", files);
    assert_eq!(fs.tier_stats().swaps_in, before, "all of it fits again");
    fs.audit().expect("the counters");
}

#[test]
fn without_spilling_a_limit_below_what_is_used_is_refused() {
    let budget = Budget::new(64 * MIB);
    let fs = FileSystem::builder().budget(&budget).spill(false).build();
    let fs = fs.expect("built");
    write_files(&fs, "/a", 32 * MIB / FILE as u64);
    let error = budget.set_limit(16 * MIB).expect_err("more is in use");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit);
    let text = error.to_string();
    assert!(
        text.contains("in use, which is more than 16777216"),
        "{text}"
    );
    assert_eq!(budget.limit(), 64 * MIB);
}

/// What a handle reads from `offset` on, in pieces.
fn has(fs: &FileSystem, path: &str, offset: u64, bytes: &[u8]) -> bool {
    let file = fs.open(path).expect("opened");
    let mut piece = vec![0; 300_000];
    bytes.chunks(piece.len()).zip(0..).all(|(wanted, number)| {
        let at = offset + number * 300_000;
        let count = file.read_at(at, &mut piece).expect("read");
        piece[..count] == *wanted
    })
}

#[test]
fn one_call_can_write_more_than_memory_before_anything_else_was_written() {
    let bytes = content(1, 40 << 20);
    let fresh = || with_disk().memory_limit(16 * MIB).build().expect("built");
    let fs = fresh();
    fs.write_slice("/a", &bytes).expect("written");
    assert!(has(&fs, "/a", 0, &bytes), "a copied file");
    let fs = fresh();
    fs.write("/a", bytes.clone()).expect("written");
    assert!(has(&fs, "/a", 0, &bytes), "an adopted file");
    let fs = fresh();
    let file = fs.create("/a").expect("created");
    file.write_at(5, &bytes).expect("written");
    drop(file);
    assert!(has(&fs, "/a", 5, &bytes), "a file written by a handle");
    let fs = fresh();
    fs.append("/a", &bytes).expect("written");
    assert!(has(&fs, "/a", 0, &bytes), "an appended file");
}

#[test]
fn what_cannot_be_spilled_to_is_refused_when_the_filesystem_is_built() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, b"").expect("a file");
    for (place, reason) in [
        (directory.path().join("missing"), "No such file"),
        (file, "not a directory"),
    ] {
        let error = FileSystem::builder().spill_dir(&place).build();
        let error = error.expect_err("nothing to spill to");
        assert_eq!(error.kind(), ErrorKind::Io);
        let text = error.to_string();
        assert!(text.contains(&place.display().to_string()), "{text}");
        assert!(text.contains(reason), "{text}");
    }
    let error = FileSystem::builder().disk_limit(MIB).build();
    let error = error.expect_err("no room for two segments");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("two segments"), "{error}");
}
