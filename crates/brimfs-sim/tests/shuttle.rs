//! Small scenarios under thousands of schedules: 1,000 random ones, and 1,000
//! that are made to find bugs of up to three ordering constraints (PCT).
//!
//! ```text
//! cargo test -p brimfs-sim --features shuttle --test shuttle
//! ```
//!
//! A failure prints a schedule; `shuttle::replay` runs exactly that one.
//! Assertions inside a scenario state what holds after every interleaving.
#![cfg(feature = "shuttle")]

use brimfs::{ErrorKind, FileSystem, LockMode, OpenOptions};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::{Config, Runner, thread};

const SCHEDULES: usize = 1_000;
const PCT_DEPTH: usize = 3;

/// Unoptimised code takes more than the 32 KiB that shuttle gives its threads.
const STACK_BYTES: usize = 1 << 20;

fn explore(scenario: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(PCT_DEPTH, SCHEDULES), config).run(scenario);
}

fn filesystem(quota: u64) -> FileSystem {
    FileSystem::builder()
        .quota(quota)
        .memory_limit(16 << 20)
        .spill(false)
        .lock_timeout(None)
        .build()
        .expect("a filesystem")
}

fn run(works: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = works.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

#[test]
fn the_quota_holds_under_concurrent_writers() {
    explore(|| {
        let fs = filesystem(2_500);
        let written = Arc::new(AtomicU64::new(0));
        run((0..3u64)
            .map(|number| {
                let (fs, written) = (fs.clone(), written.clone());
                Box::new(
                    move || match fs.write(format!("/{number}"), vec![1; 1_000]) {
                        Ok(()) => {
                            written.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::QuotaExceeded),
                    },
                ) as Box<dyn FnOnce() + Send>
            })
            .collect());
        let written = written.load(Ordering::SeqCst);
        assert_eq!(written, 2, "two fit, whoever comes first");
        assert_eq!((fs.stats().quota_used, fs.stats().files), (2_000, 2));
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn replacing_and_removing_never_leak_quota() {
    explore(|| {
        let fs = filesystem(10_000);
        fs.write("/a", vec![0; 3_000]).expect("room");
        let (writer, remover, copier) = (fs.clone(), fs.clone(), fs.clone());
        run(vec![
            Box::new(move || writer.write("/a", vec![1; 2_000]).expect("room")),
            Box::new(move || drop(remover.remove_file("/a"))),
            Box::new(move || drop(copier.copy("/a", "/b"))),
        ]);
        fs.audit().expect("a clean audit");
        let _ = fs.remove_file("/a");
        let _ = fs.remove_file("/b");
        let stats = fs.stats();
        assert_eq!((stats.quota_used, stats.nodes), (0, 1));
    });
}

#[test]
fn replacing_shared_content_while_the_other_copy_goes() {
    explore(|| {
        let fs = filesystem(10_000);
        fs.write("/a", vec![0; 3_000]).expect("room");
        fs.copy("/a", "/b").expect("a copy");
        let (writer, remover) = (fs.clone(), fs.clone());
        run(vec![
            Box::new(move || writer.write("/a", vec![1; 2_000]).expect("room")),
            Box::new(move || remover.remove_file("/b").expect("it is there")),
        ]);
        assert_eq!(fs.stats().quota_used, 2_000);
        fs.audit().expect("a clean audit");
        fs.remove_file("/a").expect("it is there");
        assert_eq!(fs.stats().quota_used, 0);
    });
}

#[test]
fn changing_shared_content_from_both_sides() {
    explore(|| {
        let fs = filesystem(10_000);
        fs.write("/a", vec![0; 3_000]).expect("room");
        fs.copy("/a", "/b").expect("a copy");
        let (first, second) = (fs.clone(), fs.clone());
        run(vec![
            Box::new(move || first.append("/a", b"x").map(drop).expect("room")),
            Box::new(move || second.truncate("/b", 1_000).expect("room")),
        ]);
        assert_eq!(fs.stats().quota_used, 4_001);
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn an_exclusive_lock_excludes() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.write("/a", &b"0"[..]).expect("room");
        run((0..3)
            .map(|_| {
                let fs = fs.clone();
                Box::new(move || {
                    let mut options = OpenOptions::new();
                    options.read(true).write(true).lock(LockMode::Exclusive);
                    let file = options.open(&fs, "/a").expect("the lock, in the end");
                    let mut digit = [0];
                    file.read_at(0, &mut digit).expect("one byte");
                    file.write_at(0, &[digit[0] + 1]).expect("one byte");
                }) as Box<dyn FnOnce() + Send>
            })
            .collect());
        assert_eq!(
            fs.read("/a").expect("content").as_ref(),
            b"3",
            "no increment is lost"
        );
        assert_eq!(fs.stats().lock_waiters, 0);
    });
}

#[test]
fn readers_share_and_see_whole_writes() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.write("/a", vec![b'a'; 2_000]).expect("room");
        let (writer, first, second) = (fs.clone(), fs.clone(), fs.clone());
        let read = |fs: FileSystem| {
            move || {
                let file = fs.open("/a").expect("the lock, in the end");
                let mut bytes = vec![0; 4_000];
                let half = file.read_at(0, &mut bytes[..1_000]).expect("content");
                let rest = file
                    .read_at(half as u64, &mut bytes[half..])
                    .expect("content");
                let whole = &bytes[..half + rest];
                let old = whole == vec![b'a'; 2_000];
                assert!(old || whole == vec![b'b'; 3_000], "{} bytes", whole.len());
            }
        };
        run(vec![
            Box::new(move || {
                let mut options = OpenOptions::new();
                let file = options
                    .write(true)
                    .open(&writer, "/a")
                    .expect("the lock, in the end");
                file.write_at(0, &[b'b'; 1_500]).expect("room");
                file.write_at(1_500, &[b'b'; 1_500]).expect("room");
            }),
            Box::new(read(first)),
            Box::new(read(second)),
        ]);
        assert_eq!(fs.stats().open_handles, 0);
    });
}

#[test]
fn a_try_never_waits() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.write("/a", &b"x"[..]).expect("room");
        run((0..2)
            .map(|_| {
                let fs = fs.clone();
                Box::new(move || {
                    let mut options = OpenOptions::new();
                    options
                        .write(true)
                        .lock_timeout(Some(std::time::Duration::ZERO));
                    match options.open(&fs, "/a") {
                        Ok(file) => assert_eq!(file.len(), 1),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }) as Box<dyn FnOnce() + Send>
            })
            .collect());
        fs.append("/a", b"y").expect("the lock is free again");
    });
}

#[test]
fn rename_against_open() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.write("/a", &b"one"[..]).expect("room");
        fs.write("/b", &b"two"[..]).expect("room");
        let (renamer, opener, reader) = (fs.clone(), fs.clone(), fs.clone());
        run(vec![
            Box::new(move || renamer.rename("/a", "/b").expect("both are there")),
            Box::new(move || match opener.open("/a") {
                Ok(file) => assert_eq!(&file.view().expect("content")[..], b"one"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            }),
            Box::new(move || {
                let bytes = reader.read("/b").expect("there is always a /b");
                assert!(bytes.as_ref() == b"one" || bytes.as_ref() == b"two");
            }),
        ]);
        assert_eq!(fs.stats().quota_used, 3);
        assert!(
            !fs.exists("/a"),
            "a cached path must not outlive the rename"
        );
        assert_eq!(fs.read("/b").expect("content").as_ref(), b"one");
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn a_directory_moves_while_paths_through_it_are_looked_up() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.create_dir_all("/a/b").expect("directories");
        fs.write("/a/b/file", &b"x"[..]).expect("room");
        let (mover, finder, creator) = (fs.clone(), fs.clone(), fs.clone());
        run(vec![
            Box::new(move || mover.rename("/a", "/c").expect("it is there")),
            Box::new(move || {
                let before = finder.exists("/a/b/file");
                let after = finder.exists("/c/b/file");
                assert!(
                    before || after,
                    "it is at one of both places, in this order"
                );
            }),
            Box::new(move || drop(creator.write("/a/b/new", &b"y"[..]))),
        ]);
        assert!(!fs.exists("/a/b/file") && fs.exists("/c/b/file"));
        assert!(!fs.exists("/a/b/new"));
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn creating_in_a_directory_that_is_being_removed() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.create_dir("/dir").expect("a directory");
        let (remover, creator) = (fs.clone(), fs.clone());
        run(vec![
            Box::new(move || drop(remover.remove_dir("/dir"))),
            Box::new(move || drop(creator.write("/dir/file", &b"x"[..]))),
        ]);
        let stats = fs.stats();
        assert_eq!(fs.exists("/dir"), fs.exists("/dir/file"));
        assert_eq!(stats.files, u64::from(fs.exists("/dir")));
        assert_eq!(stats.quota_used, stats.files);
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn directories_never_move_into_each_other() {
    explore(|| {
        let fs = filesystem(1 << 20);
        fs.create_dir("/a").expect("a directory");
        fs.create_dir("/b").expect("a directory");
        let (first, second) = (fs.clone(), fs.clone());
        run(vec![
            Box::new(move || drop(first.rename("/a", "/b/a"))),
            Box::new(move || drop(second.rename("/b", "/a/b"))),
        ]);
        assert_eq!(
            fs.walk("/").expect("a walk").count(),
            3,
            "all can be reached"
        );
        assert!(fs.exists("/b/a") != fs.exists("/a/b"));
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn a_view_against_writes() {
    explore(|| {
        let fs = filesystem(10_000);
        fs.write("/a", vec![b'a'; 1_000]).expect("room");
        let (viewer, writer, truncater) = (fs.clone(), fs.clone(), fs.clone());
        run(vec![
            Box::new(move || {
                let view = viewer.view("/a").expect("a view");
                let before = view.to_vec();
                thread::yield_now();
                assert_eq!(&view[..], before, "a view never changes");
            }),
            Box::new(move || {
                let mut options = OpenOptions::new();
                options.write(true).lock(LockMode::None);
                let file = options.open(&writer, "/a").expect("a handle");
                file.write_at(0, &[b'b'; 10]).expect("room");
            }),
            Box::new(move || truncater.truncate("/a", 500).expect("room")),
        ]);
        let bytes = fs.read("/a").expect("content");
        assert_eq!(bytes[..10], [b'b'; 10]);
        assert_eq!(bytes[10..], [b'a'; 490]);
        assert_eq!((fs.stats().quota_used, fs.stats().views), (500, 0));
        fs.audit().expect("a clean audit");
    });
}

#[test]
fn a_copy_against_writes() {
    explore(|| {
        let fs = filesystem(10_000);
        fs.write("/a", vec![b'a'; 1_000]).expect("room");
        let (copier, writer) = (fs.clone(), fs.clone());
        run(vec![
            Box::new(move || {
                assert_eq!(copier.copy("/a", "/b").expect("a copy"), 1_000);
            }),
            Box::new(move || {
                let mut options = OpenOptions::new();
                let file = options.write(true).open(&writer, "/a").expect("a handle");
                file.write_at(0, &[b'b'; 1_000]).expect("room");
            }),
        ]);
        let copy = fs.read("/b").expect("content");
        assert!(copy == vec![b'a'; 1_000] || copy == vec![b'b'; 1_000]);
        assert_eq!(fs.read("/a").expect("content").as_ref(), [b'b'; 1_000]);
        fs.audit().expect("a clean audit");
    });
}
