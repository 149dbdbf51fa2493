//! Schedules of the real mover over a simulated disk: filesystems that fill memory, are emptied and
//! go to sleep, while others write, read, view, cut, remove and close. Built and run as `shuttle.rs` is.
#![cfg(feature = "shuttle")]

use brimfs::{Budget, ErrorKind, FileSystem};
use brimfs_sim::disk::SimDisk;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::{Config, MaxSteps, Runner, thread};

const SCHEDULES: usize = 100;
const PCT_DEPTH: usize = 3;
/// Unoptimised code takes more than the 32 KiB that shuttle gives its threads.
const STACK_BYTES: usize = 1 << 20;
/// Far more than a scenario takes that ends.
const STEPS_MAX: usize = 10_000_000;
/// Room for two files of a chunk, or for two dozen small ones, beside what spilling takes.
const LIMIT: u64 = 6 << 20;
const LARGE: usize = 900_000;
const SMALL: usize = 60_000;

fn explore(scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(PCT_DEPTH, SCHEDULES), config).run(scenario);
}

fn filesystem(budget: &Budget) -> FileSystem {
    FileSystem::builder()
        .budget(budget)
        .lock_timeout(None)
        .spill_disk(Arc::new(SimDisk::new()), "/sim")
        .build()
        .expect("a filesystem")
}

fn alone() -> FileSystem {
    filesystem(&Budget::new(LIMIT))
}

/// Files that one thread works on; what is in them says whose they are.
#[derive(Clone, Copy)]
struct Files {
    owner: u8,
    count: u8,
    len: usize,
}

impl Files {
    fn all(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let Files { owner, count, len } = self;
        (0..count).map(move |file| (format!("/{owner}-{file}"), vec![owner << 5 | file; len]))
    }

    fn write(self, fs: &FileSystem) {
        for (path, bytes) in self.all() {
            fs.write_slice(&path, &bytes).expect("written");
        }
    }

    fn check(self, fs: &FileSystem) {
        for (path, bytes) in self.all() {
            assert!(fs.read(&path).expect("read") == bytes, "{path}");
        }
    }

    fn remove(self, fs: &FileSystem) {
        for (path, _) in self.all() {
            fs.remove_file(&path).expect("removed");
        }
    }
}

fn large(owner: u8) -> Files {
    Files {
        owner,
        count: 3,
        len: LARGE,
    }
}

fn small(owner: u8) -> Files {
    Files {
        owner,
        count: 30,
        len: SMALL,
    }
}

fn run(works: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = works.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn two_writers_fill_memory_and_read_all_of_it_back() {
    explore(|| {
        let fs = alone();
        let works = [large(0), small(1)].map(|files| {
            let fs = fs.clone();
            Box::new(move || files.write(&fs)) as Box<dyn FnOnce() + Send>
        });
        run(works.into());
        for files in [large(0), small(1)] {
            files.check(&fs);
        }
        fs.audit().expect("the counters");
    });
}

#[test]
fn a_filesystem_is_emptied_and_filled_again_while_others_look_at_its_counters() {
    explore(|| {
        let fs = alone();
        let works = [0, 1].map(|owner| {
            let fs = fs.clone();
            Box::new(move || {
                for files in [large(owner), small(owner)] {
                    files.write(&fs);
                    files.check(&fs);
                    files.remove(&fs);
                    assert!(fs.stats().resident <= LIMIT);
                }
            }) as Box<dyn FnOnce() + Send>
        });
        run(works.into());
        assert_eq!(fs.stats().resident, 0);
        large(2).write(&fs);
        large(2).check(&fs);
    });
}

#[test]
fn a_view_stays_while_memory_is_taken_away_around_it() {
    explore(|| {
        let fs = alone();
        large(0).write(&fs);
        let viewer = fs.clone();
        let writer = fs.clone();
        run(vec![
            Box::new(move || {
                for (path, bytes) in large(0).all() {
                    let view = viewer.view(&path).expect("viewed");
                    viewer.write_slice(&path, b"other").expect("replaced");
                    assert!(view[..] == bytes);
                }
            }),
            Box::new(move || small(1).write(&writer)),
        ]);
        small(1).check(&fs);
        fs.audit().expect("the counters");
    });
}

#[test]
fn files_are_cut_removed_and_renamed_while_they_go() {
    explore(|| {
        let fs = alone();
        large(0).write(&fs);
        small(1).write(&fs);
        let (cutter, remover, writer) = (fs.clone(), fs.clone(), fs.clone());
        run(vec![
            Box::new(move || {
                cutter.truncate("/0-0", 100_000).expect("cut");
                cutter.rename("/0-1", "/0-2").expect("renamed");
                let cut = cutter.read("/0-0").expect("read");
                assert!(cut.len() == 100_000 && cut.iter().all(|byte| *byte == 0));
            }),
            Box::new(move || small(1).remove(&remover)),
            Box::new(move || large(2).write(&writer)),
        ]);
        large(2).check(&fs);
        assert!(fs.read("/0-2").expect("read") == vec![1; LARGE]);
        fs.audit().expect("the counters");
    });
}

#[test]
fn one_filesystem_closes_while_another_of_its_budget_needs_the_memory() {
    explore(|| {
        let budget = Budget::new(LIMIT);
        let closing = filesystem(&budget);
        large(0).write(&closing);
        let other = FileSystem::builder().budget(&budget).lock_timeout(None);
        let other = other.build().expect("a second one");
        let (reader, closer, writer) = (closing.clone(), closing, other.clone());
        run(vec![
            Box::new(move || {
                for (path, bytes) in large(0).all() {
                    match reader.read(&path) {
                        Ok(found) => assert!(found == bytes),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                    }
                }
            }),
            Box::new(move || closer.close().unwrap()),
            Box::new(move || small(1).write(&writer)),
        ]);
        small(1).check(&other);
        small(1).remove(&other);
        assert_eq!(other.stats().resident, 0);
    });
}
