//! Reading what is on the disk: many chunks by one call, and ahead of who reads on.
#![cfg(not(feature = "shuttle"))]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brimfs::{ErrorKind, File, FileSystem, LockMode, OpenOptions};
use brimfs_sim::disk::{Failure, Plan, SimDisk};
use brimfs_sim::op::Data;

const MIB: usize = 1 << 20;
const LIMIT: usize = 64 * MIB;

struct World {
    fs: FileSystem,
    disk: SimDisk,
}

impl World {
    fn new(limit: usize) -> World {
        let disk = SimDisk::new();
        let fs = FileSystem::builder()
            .memory_limit(limit as u64)
            .spill_disk(Arc::new(disk.clone()), "/spill")
            .disk_limit(4 << 30)
            .build()
            .expect("a filesystem with a disk");
        World { fs, disk }
    }

    fn open(&self, path: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .lock(LockMode::None)
            .open(&self.fs, path)
            .expect("an open file")
    }

    /// Fills the memory with something else, and gives most of that up again.
    fn push_out(&self, limit: usize) {
        let file = self.open("/ballast");
        for number in 0..2 * limit / MIB {
            file.write_at((number * MIB) as u64, &[1; MIB])
                .expect("it spills");
        }
        drop(file);
        self.fs.remove_file("/ballast").expect("removed");
    }

    fn reads(&self) -> u64 {
        self.disk.calls().reads
    }

    fn end(self) {
        self.fs.audit().expect("a clean audit");
        let stats = self.fs.stats();
        assert!(stats.resident_peak <= stats.memory_limit, "{stats:?}");
    }
}

fn content(len: usize) -> Vec<u8> {
    Data {
        seed: 9,
        len: u32::try_from(len).expect("a test is not that large"),
    }
    .bytes()
}

#[test]
fn neighbours_on_the_disk_are_read_by_one_call() {
    let world = World::new(LIMIT);
    let file = world.open("/sparse");
    let some = content(5000);
    for chunk in 0..8 {
        file.write_at((chunk * MIB) as u64, &some).expect("room");
    }
    // By one batch, so that they lie side by side.
    world.fs.gc(0.0).expect("all of it goes");
    let before = world.reads();
    let mut got = vec![1; 8 * MIB];
    assert_eq!(file.read_at(0, &mut got).expect("a read"), 7 * MIB + 5000);
    for (chunk, bytes) in got.chunks(MIB).enumerate().take(7) {
        assert!(bytes[..5000] == some, "chunk {chunk}");
        assert!(bytes[5000..].iter().all(|byte| *byte == 0), "chunk {chunk}");
    }
    assert!(got[7 * MIB..][..5000] == some);
    assert_eq!(world.reads() - before, 1, "eight chunks, one read");
    drop(file);
    world.end();
}

#[test]
fn a_file_that_is_read_on_is_read_ahead() {
    for step in [4096, 100_000, MIB, 3 * MIB + 1] {
        let world = World::new(LIMIT);
        let expected = content(40 * MIB);
        let file = world.open("/large");
        file.write_at(0, &expected).expect("it spills");
        world.push_out(LIMIT);
        let before = world.fs.tier_stats();
        let mut got = vec![0; step];
        for start in (0..expected.len()).step_by(step) {
            let count = file.read_at(start as u64, &mut got).expect("a read");
            let end = expected.len().min(start + step);
            assert!(got[..count] == expected[start..end], "{step} at {start}");
        }
        let after = world.fs.tier_stats();
        let came = after.swaps_in - before.swaps_in;
        let ahead = after.reads_ahead - before.reads_ahead;
        assert!(ahead >= 12 && ahead < came, "{ahead} of {came} by {step}");
        drop(file);
        world.end();
    }
}

#[test]
fn what_is_read_here_and_there_is_not_read_ahead() {
    let world = World::new(LIMIT);
    let expected = content(40 * MIB);
    let file = world.open("/large");
    file.write_at(0, &expected).expect("it spills");
    world.push_out(LIMIT);
    let before = world.fs.tier_stats();
    let mut got = [0; 4096];
    for step in 0..40 {
        let start = step * 7 % 40 * MIB + step * 4096;
        file.read_at(start as u64, &mut got).expect("a read");
        assert!(got[..] == expected[start..start + 4096]);
    }
    let after = world.fs.tier_stats();
    assert_eq!(after.reads_ahead, before.reads_ahead);
    assert_eq!(after.swaps_in, before.swaps_in, "a page is no chunk");
    drop(file);
    world.end();
}

#[test]
fn chunks_come_back_where_pages_of_few_of_them_are_wanted() {
    let world = World::new(LIMIT);
    let file = world.open("/large");
    file.write_at(0, &content(100 * MIB)).expect("it spills");
    world.push_out(LIMIT);
    let mut got = [0; 4096];
    // From the end to the beginning, so that nothing looks like reading on.
    let mut look = |chunks: usize| {
        let before = world.fs.tier_stats().swaps_in;
        for step in (0..6000).rev() {
            let place = step % chunks * MIB + step / chunks * 4096 % MIB;
            file.read_at(place as u64, &mut got).expect("a read");
        }
        world.fs.tier_stats().swaps_in - before
    };
    assert!(look(100) < 10, "none is read more than the others");
    assert!(look(20) >= 18, "these are");
    drop(file);
    world.end();
}

#[test]
fn a_guess_evicts_nothing() {
    let limit = 16 * MIB;
    let world = World::new(limit);
    let expected = content(12 * MIB);
    let file = world.open("/large");
    file.write_at(0, &expected).expect("it spills");
    world.push_out(limit);
    // Views keep the memory full, so nothing is free for a guess.
    let other = content(MIB);
    let mut views = Vec::new();
    while world.fs.stats().resident + 3 * MIB as u64 <= limit as u64 {
        let path = format!("/pinned{}", views.len());
        world.fs.write_slice(&path, &other).expect("room");
        views.push(world.fs.view(&path).expect("a view"));
    }
    let before = world.fs.tier_stats();
    let mut got = vec![0; 100_000];
    for start in (0..expected.len()).step_by(got.len()) {
        let count = file.read_at(start as u64, &mut got).expect("a read");
        assert!(got[..count] == expected[start..start + count]);
    }
    let after = world.fs.tier_stats();
    let ahead = after.reads_ahead - before.reads_ahead;
    assert!(ahead <= 3, "{ahead} chunks came unasked");
    drop((file, views));
    world.end();
}

#[test]
fn a_guess_that_fails_is_no_error_of_who_did_not_ask() {
    let world = World::new(LIMIT);
    let expected = content(20 * MIB);
    let file = world.open("/large");
    file.write_at(0, &expected).expect("it spills");
    world.push_out(LIMIT);
    let mut got = vec![0; MIB];
    for start in [0, MIB] {
        assert_eq!(file.read_at(start as u64, &mut got).expect("a read"), MIB);
    }
    // The chunk that is asked for is read first, or by a thread of its own: fail one call at a time.
    let mut errors = 0;
    for index in 2..20 {
        let plan = Plan {
            call: world.disk.calls().total + 1,
            failure: Failure::Io,
            lasting: false,
        };
        world.disk.plan(Some(plan));
        match file.read_at((index * MIB) as u64, &mut got) {
            Ok(count) => assert!(count == MIB && got == expected[index * MIB..][..MIB]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io);
                assert!(error.to_string().contains("/large"), "{error}");
                errors += 1;
            }
        }
        world.disk.plan(None);
        assert_eq!(
            file.read_at((index * MIB) as u64, &mut got)
                .expect("a disk that works again"),
            MIB
        );
        assert!(got == expected[index * MIB..][..MIB]);
    }
    assert!(errors < 18, "{errors} reads failed for what nobody asked");
    drop(file);
    world.end();
}

/// Every chunk holds its own number and a round, so that a mixed or misplaced chunk shows.
fn stamp(chunk: usize, round: u8) -> Vec<u8> {
    let mut bytes = vec![round; MIB];
    bytes[..8].copy_from_slice(&(chunk as u64).to_le_bytes());
    bytes
}

#[test]
fn readers_of_many_chunks_see_whole_chunks_while_others_write_cut_and_remove() {
    const CHUNKS: usize = 24;
    let world = World::new(16 * MIB);
    let write_all = |round| {
        let file = world.open("/large");
        for chunk in 0..CHUNKS {
            file.write_at((chunk * MIB) as u64, &stamp(chunk, round))
                .expect("it spills");
        }
    };
    write_all(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (world, done) = (&world, &done);
        let read_by = |step: usize| {
            scope.spawn(move || {
                let mut got = vec![0; step];
                while !done.load(Ordering::Relaxed) {
                    let Ok(file) = OpenOptions::new()
                        .read(true)
                        .lock(LockMode::None)
                        .open(&world.fs, "/large")
                    else {
                        std::thread::yield_now();
                        continue;
                    };
                    for start in (0..CHUNKS * MIB).step_by(step) {
                        let count = file.read_at(start as u64, &mut got).expect("a read");
                        check(&got[..count / MIB * MIB], start / MIB);
                    }
                }
            })
        };
        let mut threads = Vec::from([MIB, 5 * MIB, 24 * MIB].map(read_by));
        threads.push(scope.spawn(move || {
            let _end = End(done);
            for round in 1..12 {
                let file = world.open("/large");
                for chunk in (0..CHUNKS).rev() {
                    file.write_at((chunk * MIB) as u64, &stamp(chunk, round))
                        .expect("it spills");
                }
                if round % 3 == 0 {
                    file.set_len((CHUNKS / 2 * MIB) as u64).expect("a cut");
                }
                drop(file);
                if round % 4 == 0 {
                    world.fs.remove_file("/large").expect("removed");
                }
            }
        }));
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
    world.fs.remove_file("/large").expect("removed");
    assert_eq!(world.fs.stats().quota_used, 0);
    world.end();
}

/// Ends the others' work, after a failure too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A chunk that was never written is a hole.
fn check(chunks: &[u8], first: usize) {
    for (number, bytes) in chunks.chunks(MIB).enumerate() {
        let stamped = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
        let is_hole = bytes.iter().all(|byte| *byte == 0);
        assert!(
            is_hole || stamped == (first + number) as u64,
            "{stamped} in the place of {}",
            first + number
        );
        let blocks: Vec<u8> = bytes.chunks(16 << 10).map(|block| block[8]).collect();
        let is_whole_block = |(block, round): (usize, &u8)| {
            let part = &bytes[block * (16 << 10)..(block + 1) * (16 << 10)];
            part[8..].iter().all(|byte| byte == round)
        };
        assert!(
            blocks.iter().enumerate().all(is_whole_block),
            "a torn block"
        );
    }
}
