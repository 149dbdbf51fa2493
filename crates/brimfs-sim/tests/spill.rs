//! Memory that is smaller than what is in it, and a disk for the rest.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use brimfs::{FileSystem, OpenOptions};
use brimfs_sim::disk::SimDisk;

const MIB: u64 = 1 << 20;

fn spilling(limit: u64) -> FileSystem {
    let disk = Arc::new(SimDisk::new());
    FileSystem::builder()
        .memory_limit(limit)
        .spill_disk(disk, "/spill")
        .disk_limit(4 << 30)
        .build()
        .expect("a filesystem with a disk")
}

/// Bytes that depend on who they are for, and compress badly.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn check_limit(fs: &FileSystem) {
    let stats = fs.stats();
    assert!(
        stats.resident_peak <= stats.memory_limit,
        "{} of {} bytes",
        stats.resident_peak,
        stats.memory_limit
    );
}

/// Compares the counters with what is there, when nothing goes in the background just now.
fn check_counters(fs: &FileSystem) {
    for _ in 0..200 {
        if fs.audit().is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    fs.audit().expect("the counters");
}

/// A batch may be under way in the background; what it writes for files that went is given up.
fn nothing_is_left(fs: &FileSystem) {
    for _ in 0..500 {
        let tier = fs.tier_stats();
        if tier.cold_units == 0 && tier.disk.is_none_or(|disk| disk.live == 0) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?}", fs.tier_stats());
}

#[test]
fn small_files_survive_churn_in_half_the_memory_that_they_take() {
    let fs = spilling(8 * MIB);
    let len = |file: u64, round: u64| 16_384 - (file as usize % 100) * 7 - round as usize;
    for round in 0..3 {
        for file in 0..1024 {
            let bytes = content(file * 10 + round, len(file, round));
            fs.write_slice(format!("/f{file}"), &bytes)
                .expect("written");
        }
        for step in 0..1024 {
            let file = step * 389 % 1024;
            let read = fs.read(format!("/f{file}")).expect("read");
            let wanted = content(file * 10 + round, len(file, round));
            assert!(read == wanted, "file {file} in round {round}");
        }
        check_limit(&fs);
        check_counters(&fs);
    }
    let tier = fs.tier_stats();
    assert!(tier.swaps_out > 1000 && tier.swaps_in > 1000, "{tier:?}");
    for file in 0..1024 {
        fs.remove_file(format!("/f{file}")).expect("removed");
    }
    nothing_is_left(&fs);
    assert_eq!(fs.stats().quota_used, 0);
}

#[test]
fn a_file_larger_than_memory_is_written_read_and_changed_at_random() {
    let fs = spilling(16 * MIB);
    let size = 64 * MIB as usize;
    let mut model = content(7, size);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    let file = options.open(&fs, "/large").expect("opened");
    for start in (0..size).step_by(300_000) {
        let end = size.min(start + 300_000);
        file.write_at(start as u64, &model[start..end])
            .expect("written");
    }
    check_limit(&fs);
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let mut buffer = vec![0; 3 * MIB as usize];
    for step in 0..600 {
        let at = random(size);
        let len = if step % 20 == 0 {
            random(3 << 20)
        } else {
            random(40_000)
        }
        .min(size - at);
        if step % 3 == 0 {
            let bytes = content(step, len);
            file.write_at(at as u64, &bytes).expect("changed");
            model[at..at + len].copy_from_slice(&bytes);
        } else {
            let count = file.read_at(at as u64, &mut buffer[..len]).expect("read");
            assert_eq!(count, len);
            assert!(buffer[..len] == model[at..at + len], "{len} bytes at {at}");
        }
    }
    check_limit(&fs);
    drop(file);
    check_counters(&fs);
}

#[test]
fn many_threads_share_memory_that_is_too_small() {
    let fs = spilling(12 * MIB);
    std::thread::scope(|scope| {
        let start = |thread: u64| {
            let fs = &fs;
            scope.spawn(move || {
                for round in 0..3 {
                    let mut hashes = Vec::new();
                    for file in 0..120_u64 {
                        let seed = thread << 32 | file << 8 | round;
                        let bytes = content(seed, 1000 + (seed % 37_777) as usize);
                        hashes.push(hash(&bytes));
                        let path = format!("/t{thread}-{file}");
                        fs.write(path, bytes).expect("written");
                    }
                    for file in (0..120).rev() {
                        let path = format!("/t{thread}-{file}");
                        let bytes = fs.read(path).expect("read");
                        assert_eq!(hash(&bytes), hashes[file], "file {file} of {thread}");
                    }
                }
            })
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
    check_limit(&fs);
    fs.audit().expect("the counters");
}

/// Whoever waits for his turn to evict often finds that there is room, and a moment later that
/// somebody else took it.
#[test]
fn writers_who_take_each_others_room_all_go_on() {
    let fs = spilling(8 * MIB);
    let block = content(1, 64 << 10);
    std::thread::scope(|scope| {
        let start = |thread: u64| {
            let (fs, block) = (&fs, &block);
            scope.spawn(move || {
                for number in 0..150 {
                    let path = format!("/t{thread}-{}", number % 40);
                    fs.write_slice(path, block).expect("written");
                }
            })
        };
        let threads: Vec<_> = (0..32).map(start).collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
    check_limit(&fs);
    check_counters(&fs);
}

#[test]
fn what_does_not_fit_on_the_disk_either_is_a_clean_error() {
    let disk = Arc::new(SimDisk::new());
    let fs = FileSystem::builder()
        .memory_limit(8 * MIB)
        .spill_disk(disk, "/spill")
        .disk_limit(16 * MIB)
        .build()
        .expect("a filesystem with a disk");
    let mut written = 0;
    let error = loop {
        let bytes = content(written, 100_000);
        match fs.write_slice(format!("/f{written}"), &bytes) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "more than memory and disk together");
    };
    assert_eq!(error.errno(), libc::ENOSPC, "{error}");
    for file in 0..written {
        let bytes = fs.read(format!("/f{file}")).expect("accepted, so kept");
        assert!(bytes == content(file, 100_000), "file {file}");
    }
    check_counters(&fs);
}

fn is_cold(fs: &FileSystem, path: &str, index: u64) -> bool {
    let (node, _) = fs.resolve(path.as_bytes()).expect("a node");
    node.residents().cold(index).is_some()
}

/// Writes until these chunks went, and long after they should have.
fn flood_until_cold(fs: &FileSystem, chunks: &[(&str, u64)]) {
    let bytes = content(1, MIB as usize);
    let stays = |chunk: &&(&str, u64)| !is_cold(fs, chunk.0, chunk.1);
    for round in 0..1000 {
        if chunks.iter().find(stays).is_none() {
            return;
        }
        let written = fs.write_slice(format!("/flood{}", round % 40), &bytes);
        written.expect("written");
    }
    panic!("{:?} stays for ever", chunks.iter().find(stays));
}

#[test]
fn a_copy_whose_original_was_removed_goes_without_having_been_touched() {
    let fs = spilling(16 * MIB);
    for (name, len) in [("large", 3 * MIB as usize), ("small", 20_000)] {
        let path = |of: u32| format!("/{name}{of}");
        fs.write_slice(path(0), &content(1, len)).expect("written");
        // Copies of copies, of which the last two are left.
        for copy in 1..5 {
            fs.copy(path(copy - 1), path(copy)).expect("copied");
        }
        fs.write_slice(path(3), b"something else").expect("written");
        (0..3).for_each(|copy| fs.remove_file(path(copy)).expect("removed"));
    }
    let chunks = [
        ("/large4", 0),
        ("/large4", 1),
        ("/large4", 2),
        ("/small4", 0),
    ];
    flood_until_cold(&fs, &chunks);
    assert!(fs.read("/large4").expect("read") == content(1, 3 * MIB as usize));
    assert!(fs.read("/small4").expect("read") == content(1, 20_000));
    assert_eq!(fs.read("/large3").expect("read"), "something else");
    check_counters(&fs);
}

#[test]
fn victims_go_in_their_order_though_a_batch_has_room_for_one() {
    let fs = spilling(32 * MIB);
    let len = 700 << 10;
    let mut written = 0;
    while fs.tier_stats().evictions == 0 {
        let bytes = content(written, len);
        fs.write_slice(format!("/f{written}"), &bytes)
            .expect("written");
        written += 1;
    }
    // Needs room for all of it at once.
    fs.write_slice("/whole", &content(99, 4 * MIB as usize))
        .expect("written");
    let cold: Vec<u64> = (0..written)
        .filter(|file| is_cold(&fs, &format!("/f{file}"), 0))
        .collect();
    assert!(cold.len() >= 4, "{cold:?}");
    assert_eq!(
        cold,
        Vec::from_iter(0..cold.len() as u64),
        "the first go first"
    );
}

#[test]
fn a_call_that_makes_many_nodes_finds_room_for_all_of_them() {
    // More than is free when the thread in the background is content.
    const DEPTH: usize = 2000;
    let fs = spilling(11 * MIB);
    let mut files = 0;
    while fs.tier_stats().swaps_out == 0 {
        fs.write(format!("/f{files}"), content(files, 60_000))
            .expect("written");
        files += 1;
    }
    for round in 0..3 {
        let deep = format!("/{round}{}", "/d".repeat(DEPTH));
        fs.create_dir_all(&deep)
            .unwrap_or_else(|error| panic!("{round}: {error}"));
        fs.remove_dir_all(format!("/{round}")).expect("removed");
        for file in 0..files {
            let read = fs.read(format!("/f{file}")).expect("read");
            assert_eq!(hash(&read), hash(&content(file, 60_000)), "/f{file}");
        }
    }
    check_limit(&fs);
    check_counters(&fs);
}
