//! Several threads change what is theirs while others sync, and what a crash leaves of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use brimfs::face::check_directory;
use brimfs::{Durability, FileSystem};
use brimfs_sim::medium::{Image, Medium, Random};
use brimfs_sim::tally::Tally;

use super::number;
use super::world::{ROOMY, Settings, audit};

const THREADS: usize = 3;

fn bytes(thread: usize, step: u64) -> Vec<u8> {
    let len = [100, 5000, 40_000, 300_000][(step % 4) as usize] + step as usize;
    (0..len)
        .map(|at| (at as u64 * 7 + step + thread as u64) as u8)
        .collect()
}

/// Each step makes a file, gives it its name, and moves something between two directories.
fn act(fs: &FileSystem, thread: usize, step: u64) {
    let (new, name) = (format!("/{thread}/new{step}"), format!("/{thread}/{step}"));
    fs.write(&new, bytes(thread, step)).expect("written");
    fs.rename(&new, &name).expect("renamed");
    let [here, there] = match step % 2 {
        0 => ["a", "b"],
        _ => ["b", "a"],
    };
    let at = |directory| format!("/{thread}/{directory}/moved");
    fs.rename(at(here), at(there)).expect("moved");
}

/// Checks that what is there is what each thread did up to some moment, and returns how many files each has.
fn check(fs: &FileSystem, what: &str) -> [u64; THREADS] {
    audit(fs).expect("a clean audit");
    std::array::from_fn(|thread| {
        let mut count = 0;
        while fs.exists(format!("/{thread}/{count}")) {
            let read = fs.read(format!("/{thread}/{count}"));
            let read = read.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(read == bytes(thread, count), "{what}: {thread}, {count}");
            count += 1;
        }
        let names = fs.read_dir(format!("/{thread}")).expect("listed");
        let new = format!("new{count}");
        for entry in names {
            let name = String::from_utf8_lossy(entry.name()).into_owned();
            let is_known = name.parse().is_ok_and(|number: u64| number < count)
                || name == new
                || ["a", "b"].contains(&&name[..]);
            assert!(
                is_known,
                "{what}: thread {thread} has {count} files and {name}"
            );
        }
        let is_in = |directory| fs.exists(format!("/{thread}/{directory}/moved"));
        let places = [is_in("a"), is_in("b")];
        assert!(places[0] != places[1], "{what}: moved is in {places:?}");
        count
    })
}

fn world(seed: u64, settings: Settings) -> u64 {
    let mut random = Random::new(seed);
    let medium = Medium::new();
    let fs = settings.open(&medium).expect("opened");
    for thread in 0..THREADS {
        fs.create_dir_all(format!("/{thread}/a")).expect("created");
        fs.create_dir_all(format!("/{thread}/b")).expect("created");
        fs.write(format!("/{thread}/a/moved"), "moved")
            .expect("written");
    }
    fs.sync().expect("synced");
    let done = [const { AtomicU64::new(0) }; THREADS];
    let is_over = AtomicBool::new(false);
    let steps = 100;
    let mut images = 0;
    thread::scope(|scope| {
        for (thread, done) in done.iter().enumerate() {
            let (fs, is_over) = (&fs, &is_over);
            scope.spawn(move || {
                for step in 0..steps {
                    act(fs, thread, step);
                    done.store(step + 1, Ordering::Release);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let progress = || done.each_ref().map(|done| done.load(Ordering::Acquire));
        while progress().iter().any(|done| *done < steps) {
            thread::sleep(Duration::from_micros(random.below(3000)));
            let before = progress();
            fs.sync().expect("synced");
            // Nothing but what is durable, or some of the rest too.
            let image = match random.one_in(2) {
                true => Image::default(),
                false => medium.sample_image(brimfs_sim::medium::Disorder::Any, &mut random),
            };
            let after = medium.crash(&image);
            let what = format!("{image:?}");
            let opened = settings.open(&after);
            let opened = opened.unwrap_or_else(|error| {
                is_over.store(true, Ordering::Relaxed);
                panic!("{what}: {error}")
            });
            let found = check(&opened, &what);
            let is_there = (0..THREADS).all(|thread| found[thread] >= before[thread]);
            assert!(
                is_there,
                "{what}: {before:?} was durable, {found:?} is there"
            );
            images += 1;
        }
    });
    audit(&fs).expect("a clean audit");
    fs.close().expect("closed");
    let fs = settings.open(&medium).expect("opened");
    assert_eq!(check(&fs, "closed"), [steps; THREADS]);
    images
}

fn worlds(settings: Settings, usual: u64, test: &str) {
    let first = number("BRIMFS_SEED", 1);
    let cases = number("BRIMFS_CASES", usual);
    let images: u64 = (first..first + cases)
        .map(|seed| world(seed, settings))
        .sum();
    println!("{test}: {cases} runs");
    let mut tally = Tally::default();
    (0..images).for_each(|_| tally.image(true));
    tally.finish(super::TALLIES, test);
}

#[test]
fn a_crash_after_a_sync_leaves_of_each_thread_a_prefix_that_has_what_was_synced() {
    let settings = Settings {
        disk: None,
        ..ROOMY
    };
    worlds(settings, 10, "filesystem, threads and syncs");
}

#[test]
fn threads_whose_calls_are_durable_commit_together() {
    let settings = Settings {
        durability: Durability::Sync,
        disk: None,
        ..ROOMY
    };
    worlds(settings, 3, "filesystem, threads whose calls are durable");
}

#[test]
fn threads_and_the_clerk_and_little_memory_leave_prefixes() {
    let settings = Settings {
        memory: 16 << 20,
        durability: Durability::Interval(Duration::from_millis(3)),
        disk: None,
    };
    worlds(settings, 5, "filesystem, threads and the clerk");
}

#[test]
fn directories_that_are_made_at_once_are_there_whole_or_not_at_all_when_others_sync() {
    let medium = Medium::new();
    let fs = ROOMY.open(&medium).expect("opened");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (fs, is_over) = (&fs, &is_over);
        scope.spawn(move || {
            for number in 0..3000 {
                let path = format!("/{number}/a/b/c/d/e/f/g");
                fs.create_dir_all(path).expect("created");
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            fs.sync().expect("durable");
            let crashed = medium.crash(&Image::default());
            let fs = ROOMY.open(&crashed).expect("opened");
            for name in fs.read_dir("/").expect("listed") {
                let top = String::from_utf8_lossy(name.name()).into_owned();
                assert!(fs.exists(format!("/{top}/a/b/c/d/e/f/g")), "{top}");
            }
            // What was made and had no name is given up.
            fs.sync().expect("durable");
            audit(&fs).expect("a clean audit");
        }
    });
}

/// Has each thread do something while this one syncs, and syncs once more when all is done.
fn beside_syncs(fs: &FileSystem, work: &(dyn Fn(usize) + Sync)) {
    thread::scope(|scope| {
        let start = |thread| scope.spawn(move || work(thread));
        let workers: Vec<_> = (0..THREADS).map(start).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            fs.sync().expect("synced");
        }
    });
    fs.sync().expect("synced");
}

/// Nodes come and go on both sides of the moment at which a commit looks at them.
#[test]
fn what_comes_and_goes_while_others_sync_leaves_nothing() {
    let medium = Medium::new();
    let fs = ROOMY.open(&medium).expect("opened");
    beside_syncs(&fs, &|thread| {
        let path = |file| format!("/{thread}.{file}");
        for round in 0..100 {
            // So many that looking at them takes a while.
            for file in 0..50 {
                let bytes = bytes(thread, 4 * round + file % 2);
                fs.write(path(file), bytes).expect("written");
            }
            for file in 0..50 {
                fs.remove_file(path(file)).expect("removed");
            }
        }
    });
    let live = fs.tier_stats().disk.expect("a disk").live;
    assert_eq!(live, 0, "bytes that nobody refers to");
    drop(fs);
    let report = check_directory(Arc::new(medium.fork()), &mut |_| {}).expect("a store");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!((report.files, report.unnamed), (0, 0));
    let fs = ROOMY.open(&medium).expect("opened");
    assert_eq!(fs.stats().nodes, 1);
    audit(&fs).expect("counted right");
}

/// Content is replaced on both sides of the moment at which a commit looks at it.
#[test]
fn what_is_rewritten_while_others_sync_is_what_it_was_last() {
    const FILES: u64 = 40;
    const ROUNDS: u64 = 60;
    let medium = Medium::new();
    let unlimited = Settings {
        disk: None,
        ..ROOMY
    };
    let fs = unlimited.open(&medium).expect("opened");
    let path = |thread, file| format!("/{thread}.{file}");
    // Little content, more of it and none take turns.
    let content = |thread, file, round: u64| match (file + round) % 5 {
        4 => Vec::new(),
        _ => bytes(thread, file * ROUNDS + round),
    };
    beside_syncs(&fs, &|thread| {
        for round in 0..ROUNDS {
            for file in 0..FILES {
                let new = content(thread, file, round);
                fs.write(path(thread, file), new).expect("written");
            }
        }
    });
    let crashed = medium.crash(&Image::default());
    let again = unlimited.open(&crashed).expect("opened");
    for thread in 0..THREADS {
        for file in 0..FILES {
            let read = again.read(path(thread, file)).expect("read");
            assert!(
                read == content(thread, file, ROUNDS - 1),
                "{thread}, {file}"
            );
        }
    }
    audit(&again).expect("counted right");
}
