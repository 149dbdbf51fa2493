//! Limits hold at every instant, a call that finds no room changes nothing, and
//! counters come back to exactly where they were.
#![cfg(not(feature = "shuttle"))]

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use brimfs::{Budget, Error, ErrorKind, FileSystem, LockMode, OpenOptions};

const BLOCK: u64 = 16 << 10;
const CHUNK: u64 = 1 << 20;

fn with_quota(quota: u64) -> FileSystem {
    // A budget of its own: other tests run meanwhile.
    FileSystem::builder()
        .quota(quota)
        .memory_limit(256 << 20)
        .spill(false)
        .build()
        .expect("a filesystem")
}

fn content(seed: u8, len: u64) -> Vec<u8> {
    (0..len)
        .map(|at| seed.wrapping_add((at % 251) as u8))
        .collect()
}

fn is_over_quota<T>(result: Result<T, Error>) {
    let error = result.err().expect("over quota");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert_eq!(error.errno(), libc::ENOSPC);
    let limit = error.limit().expect("the numbers of the limit");
    assert!(limit.requested > limit.available(), "{limit:?}");
}

/// Removes everything and requires what an empty filesystem shows.
fn assert_empties(fs: &FileSystem, resident: u64) {
    let names: Vec<_> = fs.read_dir("/").expect("the root").collect();
    for entry in names {
        let path = [b"/", entry.name()].concat();
        if entry.file_type().is_dir() {
            fs.remove_dir_all(&path).expect("removal");
        } else {
            fs.remove_file(&path).expect("removal");
        }
        drop(entry);
    }
    fs.clear_caches();
    fs.audit().expect("a clean audit");
    let stats = fs.stats();
    assert_eq!(
        (
            stats.quota_used,
            stats.nodes,
            stats.views,
            stats.open_handles
        ),
        (0, 1, 0, 0)
    );
    assert_eq!(stats.resident, resident, "{stats:?}");
}

#[test]
fn the_quota_is_met_to_the_byte() {
    let fs = with_quota(10_000);
    let empty = fs.stats().resident;
    fs.write("/a", content(1, 6_000)).expect("room");
    fs.write("/b", content(2, 4_000)).expect("exactly full");
    assert_eq!(fs.stats().quota_used, 10_000);
    is_over_quota(fs.append("/a", b"x"));
    is_over_quota(fs.write("/c", &b"x"[..]));
    assert!(
        !fs.exists("/c"),
        "a file that could not be written was not created"
    );
    fs.write("/a", content(3, 6_000))
        .expect("replacing needs what the new needs more");
    is_over_quota(fs.write("/a", content(4, 6_001)));
    assert_eq!(fs.read("/a").expect("content").as_ref(), content(3, 6_000));
    fs.write("/a", content(5, 100)).expect("less than before");
    assert_eq!(fs.stats().quota_used, 4_100);
    assert_empties(&fs, empty);
}

#[test]
fn a_write_that_does_not_fit_changes_nothing() {
    let fs = with_quota(3 * CHUNK);
    let empty = fs.stats().resident;
    fs.write("/a", content(1, 2 * CHUNK)).expect("room");
    let before = fs.stats();
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .open(&fs, "/a")
        .expect("a handle");
    is_over_quota(file.write_at(CHUNK + 5, &content(2, 3 * CHUNK)));
    is_over_quota(file.write_at(7 * CHUNK, &content(2, CHUNK + 1)));
    is_over_quota(file.allocate(CHUNK, 3 * CHUNK));
    let error = file.write(&content(2, 4 * CHUNK)).expect_err("over quota");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(file.position(), 0);
    assert_eq!(file.len(), 2 * CHUNK);
    drop(file);
    assert_eq!(
        fs.read("/a").expect("content").as_ref(),
        content(1, 2 * CHUNK)
    );
    assert_eq!(fs.stats().quota_used, before.quota_used);
    assert_eq!(fs.stats().open_handles, 0);
    assert_empties(&fs, empty);
}

#[test]
fn shared_chunks_count_once_until_they_diverge() {
    let fs = with_quota(3 * CHUNK + BLOCK);
    let empty = fs.stats().resident;
    fs.write("/a", content(1, 3 * CHUNK)).expect("room");
    for number in 0..20 {
        fs.copy("/a", format!("/copy{number}"))
            .expect("copies share");
    }
    assert_eq!(fs.stats().quota_used, 3 * CHUNK);
    let mut options = OpenOptions::new();
    options.write(true).lock(LockMode::None);
    let file = options.open(&fs, "/copy7").expect("a handle");
    is_over_quota(file.write_at(CHUNK + 1, b"x"));
    is_over_quota(file.set_len(CHUNK + 5 * BLOCK));
    is_over_quota(file.punch_hole(CHUNK + 1, 1));
    assert_eq!(
        fs.read("/copy7").expect("content").as_ref(),
        content(1, 3 * CHUNK)
    );
    file.set_len(CHUNK + 100).expect("a copy of 100 bytes fits");
    assert_eq!(fs.stats().quota_used, 3 * CHUNK + 100);
    drop(file);
    for number in 0..20 {
        fs.remove_file(format!("/copy{number}")).expect("removal");
    }
    assert_eq!(fs.stats().quota_used, 3 * CHUNK);
    assert_empties(&fs, empty);
}

#[test]
fn holes_are_free() {
    let fs = with_quota(2 * BLOCK);
    let empty = fs.stats().resident;
    fs.touch("/sparse").expect("a file");
    fs.truncate("/sparse", 1 << 60).expect("a hole");
    assert_eq!(fs.stats().quota_used, 0);
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .open(&fs, "/sparse")
        .expect("a handle");
    file.write_at(1 << 50, b"far out").expect("one block");
    assert_eq!(fs.stats().quota_used, 7);
    file.write_at(5, b"near").expect("another");
    assert_eq!(fs.stats().quota_used, 16);
    let mut bytes = [1; 8];
    assert_eq!(file.read_at(1 << 55, &mut bytes).expect("zeroes"), 8);
    assert_eq!(bytes, [0; 8]);
    drop(file);
    assert_empties(&fs, empty);
}

#[test]
fn views_keep_their_charge() {
    let fs = with_quota(2 * CHUNK);
    let empty = fs.stats().resident;
    fs.write("/a", content(1, CHUNK)).expect("room");
    let view = fs.view("/a").expect("a view");
    let again = view.clone();
    fs.remove_file("/a").expect("removal");
    assert_eq!(fs.stats().quota_used, CHUNK);
    assert!(fs.stats().resident >= CHUNK);
    is_over_quota(fs.write("/b", content(2, CHUNK + 1)));
    fs.write("/b", content(2, CHUNK)).expect("exactly");
    let second = fs.view("/b").expect("a view");
    is_over_quota(fs.append("/b", b"x"));
    assert_eq!(fs.read("/b").expect("content").as_ref(), content(2, CHUNK));
    drop(view);
    assert_eq!(fs.stats().quota_used, 2 * CHUNK);
    assert_eq!(&again[..], content(1, CHUNK));
    drop(again);
    assert_eq!(fs.stats().quota_used, CHUNK);
    drop(second);
    assert_empties(&fs, empty);
}

#[test]
fn an_unlinked_file_is_charged_until_it_is_closed() {
    let fs = with_quota(CHUNK);
    let empty = fs.stats().resident;
    fs.write("/a", content(1, CHUNK)).expect("room");
    let file = fs.open("/a").expect("a handle");
    fs.remove_file("/a").expect("removal");
    assert_eq!(fs.stats().quota_used, CHUNK);
    is_over_quota(fs.write("/b", &b"x"[..]));
    assert_eq!(file.len(), CHUNK);
    drop(file);
    assert_eq!(fs.stats().quota_used, 0);
    assert_empties(&fs, empty);
}

#[test]
fn the_memory_limit_holds_and_nothing_leaks() {
    let limit = 8 << 20;
    let fs = FileSystem::builder()
        .memory_limit(limit)
        .spill(false)
        .build()
        .expect("a filesystem");
    let empty = fs.stats().resident;
    let mut written = 0;
    let error = loop {
        match fs.write(format!("/file{written}"), content(written as u8, CHUNK / 2)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(fs.stats().resident <= limit);
    };
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert_eq!(error.errno(), libc::ENOMEM);
    assert!(written >= 13, "half-MiB files in 8 MiB: {written}");
    assert!(fs.stats().resident_peak <= limit);
    fs.audit().expect("a clean audit");
    let held = fs.stats().resident;
    let failed = fs
        .write("/large", content(9, 9 << 20))
        .expect_err("larger than the limit");
    assert_eq!(failed.kind(), ErrorKind::MemoryLimit);
    assert!(!fs.exists("/large"));
    fs.clear_caches();
    assert!(fs.stats().resident <= held, "a failure keeps nothing");
    for number in 0..written {
        let bytes = fs.read(format!("/file{number}")).expect("content");
        assert_eq!(bytes.as_ref(), content(number as u8, CHUNK / 2));
    }
    assert_empties(&fs, empty);
}

#[test]
fn nodes_and_names_count_as_memory_too() {
    let limit = 2 << 20;
    let fs = FileSystem::builder()
        .memory_limit(limit)
        .spill(false)
        .build()
        .expect("a filesystem");
    let empty = fs.stats().resident;
    let mut made = 0u64;
    let error = loop {
        match fs.create_dir(format!("/{made:0>200}")) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(fs.stats().resident <= limit);
        assert!(made < limit / 200, "names alone pass the limit");
    };
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert!(fs.stats().resident_peak <= limit);
    assert_eq!(fs.stats().directories, made + 1);
    assert_empties(&fs, empty);
}

#[test]
fn two_filesystems_share_a_budget() {
    let budget = Budget::new(16 << 20);
    let build = || {
        FileSystem::builder()
            .budget(&budget)
            .spill(false)
            .build()
            .expect("a filesystem")
    };
    let (first, second) = (build(), build());
    let empty = budget.used();
    first.write("/a", content(1, 9 << 20)).expect("room");
    let error = second
        .write("/b", content(2, 9 << 20))
        .expect_err("no room for both");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert!(budget.peak() <= budget.limit());
    first.remove_file("/a").expect("removal");
    second.write("/b", content(2, 9 << 20)).expect("room now");
    assert!(budget.used() >= 9 << 20);
    second.remove_file("/b").expect("removal");
    first.clear_caches();
    second.clear_caches();
    assert_eq!(budget.used(), empty);
    drop(first);
    second.write("/b", content(2, 9 << 20)).expect("room now");
    let view = second.view("/b").expect("a view");
    drop(second);
    assert!(budget.used() >= 9 << 20, "the view outlives its filesystem");
    drop(view);
    assert_eq!(budget.used(), 0);
}

#[test]
fn replacing_content_takes_one_step_beside_other_writers() {
    // Room for one file and a half: each replacement fits only because the old content goes.
    let fs = with_quota(3 * BLOCK);
    fs.write("/a", content(0, 2 * BLOCK)).expect("room");
    thread::scope(|scope| {
        for seed in 0..4 {
            let fs = &fs;
            scope.spawn(move || {
                for _ in 0..200 {
                    fs.write("/a", content(seed, 2 * BLOCK))
                        .expect("what it frees is its own");
                }
            });
        }
    });
    assert_eq!(fs.stats().quota_used, 2 * BLOCK);
}

#[test]
fn concurrent_writers_never_pass_a_limit() {
    let (quota, limit) = (3 << 20, 6 << 20);
    let builder = FileSystem::builder()
        .quota(quota)
        .memory_limit(limit)
        .spill(false);
    let fs = builder.build().expect("a filesystem");
    let empty = fs.stats().resident;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let stats = fs.stats();
                assert!(stats.quota_used <= quota, "{stats:?}");
                assert!(stats.resident <= limit, "{stats:?}");
                thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..8u64)
            .map(|number| {
                let fs = &fs;
                scope.spawn(move || hammer(fs, number))
            })
            .collect();
        let refused: u64 = writers
            .into_iter()
            .map(|writer| writer.join().expect("no panic"))
            .sum();
        assert!(refused > 0, "the limits were never met");
        done.store(true, Ordering::Relaxed);
        sampler.join().expect("the limits hold");
    });
    let stats = fs.stats();
    assert!(stats.resident_peak <= limit, "{stats:?}");
    fs.audit().expect("a clean audit");
    assert_empties(&fs, empty);
}

/// Writes, grows, copies and removes; returns how many calls found no room.
fn hammer(fs: &FileSystem, number: u64) -> u64 {
    let mut refused = 0;
    for round in 0..150u64 {
        let path = format!("/file{}", (number + round) % 12);
        let len = (round * 7_919 + number * 104_729) % (700 << 10);
        let result = match round % 4 {
            0 => fs.write(&path, content(number as u8, len)),
            1 => fs.append(&path, &content(number as u8, len / 4)).map(drop),
            2 => fs.copy(&path, format!("/file{}", round % 12)).map(drop),
            _ => fs.remove_file(&path),
        };
        match result.map_err(|error| error.kind()) {
            Ok(()) | Err(ErrorKind::NotFound) => {}
            Err(ErrorKind::QuotaExceeded | ErrorKind::MemoryLimit) => refused += 1,
            Err(other) => panic!("round {round} of writer {number}: {other:?}"),
        }
    }
    refused
}

#[test]
fn a_lock_that_is_not_free_changes_nothing() {
    let fs = with_quota(1 << 20);
    fs.write("/a", content(1, 5_000)).expect("room");
    let holder = fs.open("/a").expect("a shared lock");
    let before = (fs.stats().quota_used, fs.read("/a").expect("content"));
    let mut options = OpenOptions::new();
    options
        .write(true)
        .truncate(true)
        .lock_timeout(Some(std::time::Duration::ZERO));
    let error = options.open(&fs, "/a").expect_err("the lock is held");
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    assert_eq!(
        (fs.stats().quota_used, fs.read("/a").expect("content")),
        before
    );
    drop(holder);
    options.open(&fs, "/a").expect("the lock is free");
    assert_eq!(fs.stats().quota_used, 0);
}

#[test]
fn a_directory_that_was_emptied_costs_nothing() {
    let fs = with_quota(CHUNK);
    let empty = fs.stats().resident;
    for most in 1..70 {
        for number in 0..most {
            fs.touch(format!("/{number}")).expect("room");
        }
        for number in 0..most {
            fs.remove_file(format!("/{number}")).expect("removal");
        }
        fs.clear_caches();
        assert_eq!(fs.stats().resident, empty, "after {most} names");
    }
}
