//! Writing where nothing in memory can go: views and pinned files hold it all.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brimfs::{ErrorKind, File, FileSystem, LockMode, OpenOptions, View};
use brimfs_sim::disk::SimDisk;

const MIB: usize = 1 << 20;
const LIMIT: usize = 8 * MIB;

fn spilling(disk_limit: u64) -> FileSystem {
    spilling_above(LIMIT, disk_limit)
}

fn spilling_above(memory_limit: usize, disk_limit: u64) -> FileSystem {
    FileSystem::builder()
        .memory_limit(memory_limit as u64)
        .spill_disk(Arc::new(SimDisk::new()), "/spill")
        .disk_limit(disk_limit)
        .build()
        .expect("a filesystem with a disk")
}

/// Bytes that depend on who they are for.
fn content(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
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

fn open(fs: &FileSystem, path: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .lock(LockMode::None)
        .open(fs, path)
        .expect("an open file")
}

/// Views until there is no memory for one more; each with what it shows.
fn view_everything(fs: &FileSystem) -> Vec<(View, usize)> {
    let mut views = Vec::new();
    for len in [MIB, 64 << 10, 4 << 10] {
        for _ in 0..64 {
            let path = format!("/viewed{}", views.len());
            let Ok(()) = fs.write(&path, content(views.len(), len)) else {
                break;
            };
            match fs.view(&path) {
                Ok(view) => views.push((view, len)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
                    break;
                }
            }
        }
    }
    assert!(views.len() > 2, "{} views", views.len());
    views
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

fn check_views(views: &[(View, usize)]) {
    for (number, (view, len)) in views.iter().enumerate() {
        assert!(view[..] == content(number, *len)[..], "view {number}");
    }
}

fn set_priority(fs: &FileSystem, path: &str, priority: u8) {
    let (node, _) = fs.resolve(path.as_bytes()).expect("a node");
    node.set_priority(priority);
}

fn is_cold(fs: &FileSystem, path: &str, index: u64) -> bool {
    let (node, _) = fs.resolve(path.as_bytes()).expect("a node");
    node.residents().cold(index).is_some()
}

/// Writes ten times the limit, changes some of it, and reads all of it back.
fn write_much(fs: &FileSystem, file: &File) {
    let size = 10 * LIMIT;
    let mut model = content(99, size);
    for start in (0..size).step_by(700_000) {
        let end = size.min(start + 700_000);
        let written = file.write_at(start as u64, &model[start..end]);
        written.expect("written through");
    }
    for step in 0..60 {
        let at = step * 7_654_321 % (size - 3 * MIB);
        let len = [1, 5_000, 100_000, 2 * MIB][step % 4];
        let bytes = content(step, len);
        file.write_at(at as u64, &bytes).expect("changed");
        model[at..at + len].copy_from_slice(&bytes);
    }
    file.punch_hole(5 * MIB as u64 + 100, 3 * MIB as u64)
        .expect("punched");
    model[5 * MIB + 100..8 * MIB + 100].fill(0);
    let mut read = vec![0; size];
    assert_eq!(file.read_at(0, &mut read).expect("read"), size);
    assert!(read == model, "every byte");
    let stats = fs.stats();
    assert!(stats.resident_peak <= stats.memory_limit, "{stats:?}");
}

#[test]
fn views_over_all_memory_do_not_stop_a_writer() {
    let fs = spilling(4 << 30);
    let file = open(&fs, "/large");
    for path in ["/small", "/copied", "/copy", "/replaced"] {
        fs.write(path, content(1, 20_000)).expect("room");
    }
    let views = view_everything(&fs);
    write_much(&fs, &file);
    // Small files come and go as a whole, and others share what is changed.
    for round in 0..50 {
        let bytes = content(round, 1_000 + round * 1_000);
        fs.write_slice("/small", &bytes).expect("replaced");
        fs.append("/small", b"end").expect("appended");
        assert_eq!(
            fs.read("/small").expect("read")[..],
            [&bytes[..], b"end"].concat()
        );
    }
    fs.write("/replaced", content(5, 3 * MIB))
        .expect("replaced");
    assert!(fs.read("/replaced").expect("read") == content(5, 3 * MIB));
    fs.copy("/replaced", "/copy").expect("copied");
    let copy = open(&fs, "/copy");
    copy.write_at(MIB as u64 + 5, b"own").expect("changed");
    let mut expected = content(5, 3 * MIB);
    assert!(fs.read("/replaced").expect("read") == expected);
    expected[MIB + 5..MIB + 8].copy_from_slice(b"own");
    assert!(fs.read("/copy").expect("read") == expected);
    check_views(&views);
    drop((views, copy, file));
    fs.view("/large").expect_err("larger than memory");
    check_counters(&fs);
    assert!(fs.stats().resident_peak <= LIMIT as u64);
}

/// Writes files of 64 KiB with a priority.
fn write_files(fs: &FileSystem, name: &str, number: usize, priority: u8) {
    for number in 0..number {
        let path = format!("/{name}{number}");
        fs.write_slice(&path, b"").expect("room");
        set_priority(fs, &path, priority);
        fs.write_slice(&path, &content(number, 64 << 10))
            .expect("room");
    }
}

fn resident_files(fs: &FileSystem, name: &str, number: usize) -> usize {
    let is_resident = |number: &usize| !is_cold(fs, &format!("/{name}{number}"), 0);
    (0..number).filter(is_resident).count()
}

fn check_files(fs: &FileSystem, name: &str, number: usize) {
    for number in 0..number {
        let read = fs.read(format!("/{name}{number}")).expect("read");
        assert!(read == content(number, 64 << 10), "{name}{number}");
    }
}

#[test]
fn pinned_files_and_a_view_over_the_rest_do_not_stop_a_writer() {
    let fs = spilling_above(2 * LIMIT, 4 << 30);
    let file = open(&fs, "/large");
    write_files(&fs, "pinned", 2 * LIMIT / 2 / (64 << 10), 10);
    let views = view_everything(&fs);
    write_much(&fs, &file);
    check_views(&views);
    let pinned = 2 * LIMIT / 2 / (64 << 10);
    assert_eq!(
        resident_files(&fs, "pinned", pinned),
        pinned,
        "half of the limit"
    );
    check_files(&fs, "pinned", pinned);
    drop((views, file));
    check_counters(&fs);
}

#[test]
fn pinned_files_stay_up_to_half_of_the_limit() {
    let limit = 2 * LIMIT;
    let fs = spilling_above(limit, 4 << 30);
    let ceiling = limit / 2 / (64 << 10);
    write_files(&fs, "pinned", 200, 9);
    write_files(&fs, "other", 300, 5);
    check_files(&fs, "other", 300);
    let resident = resident_files(&fs, "pinned", 200);
    assert!(resident >= ceiling && resident < 200, "{resident} resident");
    // The first are pinned; those that are too many are worth more than others, and go when it must be.
    write_files(&fs, "worth more", 300, 8);
    check_files(&fs, "worth more", 300);
    assert_eq!(resident_files(&fs, "pinned", ceiling), ceiling);
    check_files(&fs, "pinned", 200);
    for number in 0..200 {
        set_priority(&fs, &format!("/pinned{number}"), 5);
    }
    check_files(&fs, "worth more", 300);
    check_files(&fs, "other", 300);
    let left = resident_files(&fs, "pinned", ceiling);
    assert!(
        left < ceiling,
        "nothing is pinned any more, and {left} stayed"
    );
    assert!(fs.stats().resident_peak <= limit as u64);
    check_counters(&fs);
}

#[test]
fn writers_and_views_of_many_threads_share_what_is_kept_back() {
    let fs = spilling(4 << 30);
    let paths: Vec<String> = (0..4).map(|thread| format!("/t{thread}")).collect();
    let files: Vec<File> = paths.iter().map(|path| open(&fs, path)).collect();
    let views = view_everything(&fs);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(thread, file)| {
                scope.spawn(move || {
                    for step in 0..60 {
                        let bytes = content(thread * 1000 + step, 150_000);
                        let at = step as u64 * 150_000;
                        file.write_at(at, &bytes).expect("written through");
                        let mut read = vec![0; bytes.len()];
                        file.read_at(at, &mut read).expect("read");
                        assert!(read == bytes, "step {step} of {thread}");
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            // A view of what is just written must not keep what is kept back.
            while !done.load(Ordering::Relaxed) {
                for path in &paths {
                    drop(fs.view(path));
                }
            }
        });
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a writer failed");
    });
    check_views(&views);
    drop((views, files));
    check_counters(&fs);
    assert!(fs.stats().resident_peak <= LIMIT as u64);
}

#[test]
fn a_full_disk_is_an_error_of_the_writer_who_writes_through() {
    let fs = spilling(24 * MIB as u64);
    let file = open(&fs, "/large");
    let views = view_everything(&fs);
    let mut written = 0;
    let error = loop {
        match file.write_at((written * MIB) as u64, &content(written, MIB)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "more than the disk takes");
    };
    assert_eq!(error.errno(), libc::ENOSPC, "{error}");
    let mut read = vec![0; MIB];
    for chunk in 0..written {
        file.read_at((chunk * MIB) as u64, &mut read)
            .expect("accepted, so kept");
        assert!(read == content(chunk, MIB), "chunk {chunk}");
    }
    check_views(&views);
    drop((views, file));
    check_counters(&fs);
}

#[test]
fn nodes_and_names_take_half_of_the_limit_and_say_what_one_takes() {
    let limit = 2 * LIMIT;
    let fs = spilling_above(limit, 4 << 30);
    let file = open(&fs, "/large");
    // What spilling takes itself is no name.
    fs.gc(0.0).expect("awake");
    let before = fs.stats().resident;
    let path = |number: usize| format!("/{}/{number:0>200}", number % 64);
    for directory in 0..64 {
        fs.create_dir(format!("/{directory}")).expect("room");
    }
    let mut made = 0;
    let error = loop {
        match fs.write_slice(path(made), b"") {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
        assert!(made < limit / 200, "more names than the limit has room for");
    };
    assert_eq!(error.kind(), ErrorKind::MemoryLimit);
    let text = error.to_string();
    assert!(text.contains("nodes and names cannot be spilled"), "{text}");
    assert!(
        text.contains("this one needs") && text.contains(" bytes"),
        "{text}"
    );
    fs.clear_caches();
    let taken = fs.stats().resident - before;
    let half = limit as u64 / 2;
    assert!(taken <= half && taken > half * 9 / 10, "{taken} bytes");
    // Content is written all the same, and a node that goes makes room for another.
    write_much(&fs, &file);
    for number in 0..made {
        fs.remove_file(path(number)).expect("removed");
    }
    fs.write_slice("/one more", b"x").expect("room");
    drop(file);
    check_counters(&fs);
}
