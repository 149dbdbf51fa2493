//! Schedules of content that is taken away while it is read, written, shown, cut, copied,
//! removed and closed. Built and run as `shuttle.rs` is.
#![cfg(feature = "shuttle")]

use brimfs::{Budget, ErrorKind, File, FileSystem, LockMode, OpenOptions, View};
use brimfs_sim::disk::SimDisk;
use brimfs_sim::tier::{Hostile, Manners};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::{Config, Runner, thread};

const SCHEDULES: usize = 1_000;
const PCT_DEPTH: usize = 3;
/// Unoptimised code takes more than the 32 KiB that shuttle gives its threads.
const STACK_BYTES: usize = 1 << 20;
const MIB: usize = 1 << 20;

/// Content comes back half of the time when it is read.
const MANNERS: Manners = Manners {
    refuses: 0,
    evicts: 100,
    installs: 50,
    fails: 0,
};

fn explore(schedules: usize, scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(RandomScheduler::new(schedules), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(PCT_DEPTH, schedules), config).run(scenario);
}

/// A filesystem whose content somebody takes away while others work on it.
#[derive(Clone)]
struct World {
    fs: FileSystem,
    tier: Arc<Hostile>,
}

fn open(fs: &FileSystem, path: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .lock(LockMode::None)
        .open(fs, path)
        .expect("an open file")
}

type Work = Box<dyn FnOnce(&World) + Send>;

impl World {
    fn new() -> World {
        World::with_quota(64 << 20)
    }

    fn with_quota(quota: u64) -> World {
        World::with_budget(&Budget::new(64 << 20), quota)
    }

    fn with_budget(budget: &Budget, quota: u64) -> World {
        let tier = Hostile::install(budget, MANNERS, 1);
        let fs = FileSystem::builder()
            .budget(budget)
            .quota(quota)
            .lock_timeout(None)
            .build()
            .expect("a filesystem");
        World { fs, tier }
    }

    fn open(&self, path: &str) -> File {
        open(&self.fs, path)
    }

    /// Runs all of it at once, and somebody who takes away all that he can, twice.
    fn run(&self, works: Vec<Work>) {
        let world = self.clone();
        let mut threads = vec![thread::spawn(move || {
            world.tier.evict_all();
            world.tier.evict_all();
        })];
        for work in works {
            let world = self.clone();
            threads.push(thread::spawn(move || work(&world)));
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        self.tier.check().expect("no complaint");
        self.fs.audit().expect("a clean audit");
    }

    /// Removes everything: nothing may be left anywhere.
    fn end(self) {
        let names: Vec<_> = self.fs.read_dir("/").expect("the root").collect();
        for name in names {
            let path = [b"/".as_slice(), name.name()].concat();
            self.fs.remove_file(path).expect("removal");
        }
        self.fs.clear_caches();
        self.fs.audit().expect("a clean audit");
        self.tier.check_empty().expect("nothing left");
        assert_eq!(self.fs.stats().quota_used, 0);
    }
}

#[test]
fn evicting_against_reading() {
    explore(SCHEDULES, || {
        let world = World::new();
        world.fs.write_slice("/a", &[b'a'; 1_000]).expect("room");
        world.fs.write("/b", vec![b'b'; 1_000]).expect("room");
        world.run(vec![
            Box::new(|world| {
                assert_eq!(world.fs.read("/a").expect("content"), [b'a'; 1_000][..]);
                assert_eq!(world.fs.read("/b").expect("content"), [b'b'; 1_000][..]);
            }),
            Box::new(|world| {
                let mut part = [0; 10];
                let count = world.open("/a").read_at(995, &mut part).expect("a read");
                assert_eq!(part[..count], [b'a'; 5]);
            }),
        ]);
        world.end();
    });
}

#[test]
fn evicting_against_reading_several_chunks_at_once() {
    explore(SCHEDULES / 4, || {
        let world = World::new();
        world.fs.write("/a", Vec::new()).expect("room");
        let file = world.open("/a");
        for chunk in 0..3 {
            file.write_at(chunk * MIB as u64, &[b'a'; 200])
                .expect("room");
        }
        drop(file);
        world.run(vec![
            Box::new(|world| {
                let mut got = vec![1; 2 * MIB + 200];
                let count = world.open("/a").read_at(0, &mut got).expect("a read");
                assert!(count == got.len() || count <= 2 * MIB, "{count}");
                for part in got[..count].chunks(MIB) {
                    let data = &part[..part.len().min(200)];
                    assert!(data.iter().all(|byte| matches!(byte, b'a' | b'b')));
                    assert!(part[data.len()..].iter().all(|byte| *byte == 0));
                }
            }),
            Box::new(|world| {
                let file = world.open("/a");
                file.write_at(MIB as u64, &[b'b'; 200]).expect("a write");
                file.set_len(2 * MIB as u64).expect("a cut");
            }),
        ]);
        world.end();
    });
}

#[test]
fn evicting_against_reading_and_writing_what_copies_share() {
    explore(SCHEDULES, || {
        let world = World::new();
        world.fs.write("/a", vec![b'a'; 1_000]).expect("room");
        world.fs.copy("/a", "/b").expect("a copy");
        world.run(vec![
            Box::new(|world| {
                assert_eq!(world.fs.read("/b").expect("content"), [b'a'; 1_000][..]);
                world.open("/b").write_at(0, b"b").expect("a write");
            }),
            Box::new(|world| {
                let mut part = [0; 10];
                world.open("/a").read_at(0, &mut part).expect("a read");
                assert_eq!(part, [b'a'; 10]);
            }),
        ]);
        assert_eq!(world.fs.read("/a").expect("content"), [b'a'; 1_000][..]);
        assert_eq!(world.fs.read("/b").expect("content")[..2], *b"ba");
        world.end();
    });
}

#[test]
fn evicting_against_writing_and_closing() {
    explore(SCHEDULES, || {
        let world = World::new();
        world.fs.write_slice("/a", &[b'a'; 1_000]).expect("room");
        world.run(vec![
            Box::new(|world| {
                let file = world.open("/a");
                file.write_at(500, &[b'b'; 1_000]).expect("a write");
                drop(file);
            }),
            Box::new(|world| {
                world.open("/a").write_at(0, b"c").expect("a write");
            }),
        ]);
        let mut expected = [b'b'; 1_500];
        expected[..500].fill(b'a');
        expected[0] = b'c';
        assert_eq!(world.fs.read("/a").expect("content"), expected[..]);
        world.end();
    });
}

#[test]
fn evicting_against_views() {
    explore(SCHEDULES, || {
        let world = World::new();
        world.fs.write_slice("/a", &[b'a'; 1_000]).expect("room");
        world.run(vec![
            Box::new(|world| {
                let view = world.fs.view("/a").expect("a view");
                let before = view.to_vec();
                thread::yield_now();
                assert_eq!(view[..], before[..], "a view never changes");
            }),
            Box::new(|world| {
                world.open("/a").write_at(0, b"b").expect("a write");
            }),
        ]);
        assert_eq!(world.fs.read("/a").expect("content")[..2], *b"ba");
        world.end();
    });
}

#[test]
fn evicting_against_a_view_of_a_run() {
    explore(SCHEDULES / 10, || {
        let world = World::new();
        let content: Vec<u8> = (0..MIB + 500).map(|at| (at % 251) as u8).collect();
        world.fs.write_slice("/a", &content).expect("room");
        let expected = content.clone();
        world.run(vec![Box::new(move |world| {
            let view = world.fs.view("/a").expect("a view");
            thread::yield_now();
            assert!(view[..] == expected[..], "a view never changes");
        })]);
        assert!(world.fs.read("/a").expect("content") == content);
        world.end();
    });
}

#[test]
fn evicting_against_truncating_and_appending() {
    explore(SCHEDULES, || {
        let world = World::new();
        world.fs.write_slice("/a", &[b'a'; 1_000]).expect("room");
        world.run(vec![
            Box::new(|world| world.fs.truncate("/a", 300).expect("a cut")),
            Box::new(|world| {
                world.fs.append("/a", b"end").expect("an end");
            }),
        ]);
        let bytes = world.fs.read("/a").expect("content");
        assert!(bytes == [[b'a'; 300].as_slice(), b"end"].concat() || bytes == [b'a'; 300][..]);
        world.end();
    });
}

#[test]
fn a_write_in_pieces_that_meets_the_quota_changes_nothing() {
    explore(SCHEDULES / 10, || {
        // A block in the first chunk and ten bytes in the second, and not a byte more.
        let world = World::with_quota((16 << 10) + 10);
        for path in ["/a", "/b"] {
            world.fs.write_slice(path, b"").expect("nothing");
        }
        world.run(vec![
            Box::new(|world| {
                let file = world.open("/a");
                match file.write_at(MIB as u64 - 10, &[b'a'; 20]) {
                    Ok(_) => assert_eq!(file.len(), MIB as u64 + 10),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
                        assert_eq!(file.len(), 0);
                    }
                }
            }),
            Box::new(|world| drop(world.open("/b").write_at(0, b"b"))),
        ]);
        let lens = ["/a", "/b"].map(|path| world.fs.metadata(path).expect("a file").len());
        assert!(lens == [MIB as u64 + 10, 0] || lens == [0, 1], "{lens:?}");
        world.end();
    });
}

/// Views files until there is no memory for one more.
fn view_everything(fs: &FileSystem) -> Vec<View> {
    let mut views = Vec::new();
    loop {
        let path = format!("/v{}", views.len());
        // A name, or a view.
        let written = fs.write_slice(&path, &[b'v'; 1_000]);
        match written.and_then(|()| fs.view(&path)) {
            Ok(view) => views.push(view),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::MemoryLimit);
                return views;
            }
        }
    }
}

#[test]
fn writing_through_against_views_and_other_writers() {
    explore(SCHEDULES / 2, || {
        let budget = Budget::new(28 << 10);
        budget.keep_back(8 << 10);
        let world = World::with_budget(&budget, 64 << 20);
        for path in ["/a", "/b"] {
            world.fs.write_slice(path, b"").expect("nothing");
        }
        let views = view_everything(&world.fs);
        world.run(vec![
            Box::new(|world| {
                let file = world.open("/a");
                for at in [0, 1_000] {
                    file.write_at(at, &[b'a'; 2_000]).expect("written through");
                }
            }),
            Box::new(|world| {
                let written = world.fs.write_slice("/b", &[b'b'; 1_500]);
                written.expect("written through");
            }),
            Box::new(|world| {
                let Ok(view) = world.fs.view("/a") else {
                    return;
                };
                let before = view.to_vec();
                thread::yield_now();
                assert_eq!(view[..], before[..], "a view never changes");
            }),
        ]);
        assert_eq!(world.fs.read("/a").expect("content"), [b'a'; 3_000][..]);
        assert_eq!(world.fs.read("/b").expect("content"), [b'b'; 1_500][..]);
        assert!(views.len() > 3 && views.iter().all(|view| view[..] == [b'v'; 1_000]));
        drop(views);
        assert!(budget.peak() <= budget.limit());
        world.end();
    });
}

#[test]
fn evicting_against_removing_copying_and_replacing() {
    explore(SCHEDULES, || {
        let world = World::new();
        world.fs.write("/a", vec![b'a'; 1_000]).expect("room");
        world.run(vec![
            Box::new(|world| drop(world.fs.copy("/a", "/b"))),
            Box::new(|world| {
                world.fs.write_slice("/a", &[b'c'; 900]).expect("room");
                world.fs.remove_file("/a").expect("removal");
            }),
        ]);
        if let Ok(bytes) = world.fs.read("/b") {
            assert!(bytes == [b'a'; 1_000][..] || bytes == [b'c'; 900][..]);
        }
        world.end();
    });
}

/// A file that came back, and whose copy the tier kept.
fn with_a_copy(world: &World, path: &str, len: usize) {
    world.fs.write_slice(path, &vec![b'a'; len]).expect("room");
    world.tier.evict_all();
    world.tier.set_manners(Manners {
        installs: 100,
        ..MANNERS
    });
    world.fs.read(path).expect("content");
    world.tier.set_manners(MANNERS);
}

#[test]
fn a_copy_that_was_kept_against_reading_writing_and_closing() {
    explore(SCHEDULES, || {
        let world = World::new();
        with_a_copy(&world, "/a", 1_000);
        world.run(vec![
            Box::new(|world| {
                let bytes = world.fs.read("/a").expect("content");
                assert!(matches!(bytes[..2], [b'a' | b'b', b'a']));
                drop(world.open("/a"));
            }),
            Box::new(|world| {
                world.open("/a").write_at(0, b"b").expect("a write");
            }),
        ]);
        let bytes = world.fs.read("/a").expect("content");
        assert_eq!(bytes[..], [b"b".as_slice(), &[b'a'; 999]].concat());
        world.end();
    });
}

#[test]
fn a_copy_that_was_kept_against_cutting_copying_and_removing() {
    explore(SCHEDULES, || {
        let world = World::new();
        with_a_copy(&world, "/a", 1_000);
        with_a_copy(&world, "/b", 70_000);
        world.run(vec![
            Box::new(|world| {
                drop(world.fs.truncate("/a", 500));
                world.fs.copy("/b", "/c").expect("a copy");
                world.open("/c").write_at(0, b"c").expect("a write");
            }),
            Box::new(|world| {
                world.fs.truncate("/b", 69_000).expect("a cut");
                world.fs.remove_file("/a").expect("removal");
            }),
        ]);
        assert_eq!(world.fs.read("/b").expect("content"), [b'a'; 69_000][..]);
        let copy = world.fs.read("/c").expect("content");
        assert!(copy[..2] == *b"ca" && matches!(copy.len(), 69_000 | 70_000));
        world.end();
    });
}

/// The real tier: two threads evict while others give its copies reasons to go.
#[test]
fn a_copy_that_the_mover_kept_against_changes() {
    explore(SCHEDULES / 20, || {
        let fs = FileSystem::builder()
            .memory_limit(64 << 20)
            .spill_disk(std::sync::Arc::new(SimDisk::new()), "/spill")
            .disk_limit(1 << 30)
            .lock_timeout(None)
            .build()
            .expect("a filesystem");
        for path in ["/a", "/b"] {
            fs.write_slice(path, &[b'a'; 1_000]).expect("room");
        }
        fs.gc(0.0).expect("spilled");
        for path in ["/a", "/b"] {
            fs.read(path).expect("content");
        }
        let works: [fn(&FileSystem); 4] = [
            |fs| assert!(fs.gc(0.0).is_ok()),
            |fs| assert!(fs.gc(0.0).is_ok()),
            |fs| {
                open(fs, "/a").write_at(0, b"b").expect("a write");
                assert_eq!(fs.read("/a").expect("content")[..2], *b"ba");
                fs.remove_file("/b").expect("removal");
            },
            |fs| {
                drop(open(fs, "/a"));
                assert_eq!(fs.read("/a").expect("content")[1..], [b'a'; 999]);
            },
        ];
        let threads = works.map(|work| {
            let fs = fs.clone();
            thread::spawn(move || work(&fs))
        });
        for thread in threads {
            thread.join().expect("no panic");
        }
        let bytes = fs.read("/a").expect("content");
        assert_eq!(bytes[..], [b"b".as_slice(), &[b'a'; 999]].concat());
        let tier = fs.tier_stats();
        assert!(tier.cold_units <= 1 && tier.cold_files == tier.cold_units);
        fs.gc(0.0).expect("spilled");
        fs.remove_file("/a").expect("removal");
        let tier = fs.tier_stats();
        assert_eq!(
            (tier.cold_units, tier.cold_bytes, tier.cold_files),
            (0, 0, 0)
        );
        assert_eq!(tier.disk.map_or(0, |disk| disk.live), 0);
        fs.audit().expect("a clean audit");
    });
}
