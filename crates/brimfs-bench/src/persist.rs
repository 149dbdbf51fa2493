//! Filesystems that are kept in a directory, against the disk itself, plain files and SQLite.
//!
//! All of them lie on the same disk. Times are wall times. Memory that a round gave back stays with the process for the
//! next one: what a machine takes to find and clear pages is no matter of disks.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use brimfs::face::disk::{Access, Directory, Opening, RealDirectory};
use brimfs::{Durability, FileSystem, OpenOptions};

use crate::disk::{DiskRow, MIB, PAGE, PlaceToWork, Side, Sides};
use crate::peer::Done;
use crate::peers::{FLOOR, SUBJECT};
use crate::random::Random;
use crate::row::{Reach, Scale, Unit};

const FILES: &str = "a file and an fsync each";
#[cfg(feature = "peers")]
const SQLITE: &str = "SQLite (WAL)";

pub fn rows() -> Vec<DiskRow> {
    let row = |id, title, unit, reach, sides| DiskRow {
        id,
        title,
        unit,
        reach,
        sides,
    };
    vec![
        row(
            "keep_create_100",
            "create 200,000 files of 100 bytes, durable within a second; floor: the same, volatile",
            Unit::DiskKiloOps,
            Reach::OfFloor(0.5),
            |place, scale| create(place, scale.pick(200_000, 40_000), 100),
        ),
        row(
            "keep_write_1m",
            "write 1 GiB in files of 1 MiB, durable within a second, and sync; floor: 1 MiB writes",
            Unit::DiskGigabytesPerSecond,
            Reach::OfFloor(0.75),
            write_large,
        ),
        row(
            "keep_overwrite_4k",
            "bytes written to the disk for a synced overwrite of 4 KiB in a file of 1 GiB",
            Unit::Bytes,
            Reach::AtMost(8.0 * PAGE as f64),
            |place, scale| overwrite(place, scale, 100),
        ),
        row(
            "keep_overwrite_long",
            "the same, of all so far, 30,000 more each round",
            Unit::Bytes,
            Reach::AtMost(8.0 * PAGE as f64),
            |place, scale| overwrite(place, scale, scale.pick(30_000, 3_000)),
        ),
        row(
            "keep_sync_files",
            "sync of 10,000 new files of 4 KiB, their writing included",
            Unit::DiskKiloOps,
            Reach::TimesPeer(20.0),
            |place, scale| sync_against_files(place, scale.pick(10_000, 2_000)),
        ),
        #[cfg(feature = "peers")]
        row(
            "keep_sync_sqlite",
            "the same, against blobs in one transaction",
            Unit::DiskKiloOps,
            Reach::TimesPeer(3.0),
            |place, scale| sync_against_sqlite(place, scale.pick(10_000, 2_000)),
        ),
        row(
            "keep_each_one",
            "write 100 bytes, each call durable, one thread; floor: append and fsync",
            Unit::DiskKiloOps,
            Reach::OfFloor(0.8),
            |place, scale| each_call(place, scale.pick(4_000, 1_000), 1),
        ),
        row(
            "keep_each_eight",
            "the same, eight threads; floor: one thread",
            Unit::DiskKiloOps,
            Reach::OfFloor(1.0),
            |place, scale| each_call(place, scale.pick(4_000, 1_000), 8),
        ),
        row(
            "keep_open",
            "open a store of 1,000,000 files of 100 bytes; floor: read its bytes",
            Unit::DiskMicros,
            Reach::AtMost(5e6),
            |place, scale| reopen(place, scale.pick(1_000_000, 100_000)),
        ),
    ]
}

/// A directory that is gone when it is dropped.
struct Store(tempfile::TempDir);

impl Store {
    fn new(place: &PlaceToWork) -> Done<Self> {
        keep_memory();
        Ok(Store(tempfile::tempdir_in(&place.directory)?))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn open(&self, durability: Durability) -> Done<FileSystem> {
        let builder = FileSystem::builder().memory_limit(MEMORY);
        Ok(builder.durability(durability).open(self.path())?)
    }
}

/// What filesystems may have.
const MEMORY: u64 = 4 << 30;

/// Has the process keep the memory of filesystems that are no more: it keeps what those that are left may have.
fn keep_memory() {
    static IDLE: OnceLock<FileSystem> = OnceLock::new();
    IDLE.get_or_init(|| {
        let idle = FileSystem::builder().memory_limit(MEMORY).build();
        idle.expect("a filesystem without files")
    });
}

const SECOND: Durability = Durability::Interval(Duration::from_secs(1));

fn fill(fs: &FileSystem, files: usize, content: &[u8]) -> Done {
    for file in 0..files {
        fs.write_slice(format!("/{}/{file}", file % 64), content)?;
    }
    Ok(())
}

fn directories(fs: &FileSystem) -> Done {
    for directory in 0..64 {
        fs.create_dir(format!("/{directory}"))?;
    }
    Ok(())
}

fn create(place: &PlaceToWork, files: usize, len: usize) -> Done<Sides> {
    let content = vec![7; len];
    let place = place.clone();
    let own = content.clone();
    let kept: Side = Box::new(move |watch| {
        let store = Store::new(&place)?;
        let fs = store.open(SECOND)?;
        directories(&fs)?;
        watch.measure(|| fill(&fs, files, &own))?;
        fs.close()?;
        Ok(files as u64)
    });
    let volatile: Side = Box::new(move |watch| {
        let fs = FileSystem::builder().memory_limit(MEMORY).build()?;
        directories(&fs)?;
        watch.measure(|| fill(&fs, files, &content))?;
        Ok(files as u64)
    });
    Ok(vec![(SUBJECT, kept), (FLOOR, volatile)])
}

fn write_large(place: &PlaceToWork, scale: Scale) -> Done<Sides> {
    let count = scale.pick(1024, 256);
    let block = crate::disk::Bytes::random(MIB);
    let (own, there) = (block, place.clone());
    let kept: Side = Box::new(move |watch| {
        let store = Store::new(&there)?;
        let fs = store.open(SECOND)?;
        watch.measure(|| -> Done {
            for file in 0..count {
                fs.write_slice(format!("/{file}"), own.get())?;
            }
            Ok(fs.sync()?)
        })?;
        fs.close()?;
        Ok((count * MIB) as u64)
    });
    let block = crate::disk::Bytes::random(MIB);
    let place = place.clone();
    let floor: Side = Box::new(move |watch| {
        let file = place.file()?;
        file.allocate(0, (count * MIB) as u64)?;
        watch.measure(|| -> Done {
            for at in 0..count {
                brimfs::face::disk::write_full(&*file, (at * MIB) as u64, block.get())?;
            }
            Ok(file.sync_data()?)
        })?;
        Ok((count * MIB) as u64)
    });
    Ok(vec![(SUBJECT, kept), (FLOOR, floor)])
}

/// Bytes that this process has had written to disks.
fn written() -> Done<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.unwrap_or_default().trim().parse()?)
}

/// Overwrites so many more pages in each round; the figure is that of all rounds so far.
fn overwrite(place: &PlaceToWork, scale: Scale, times: usize) -> Done<Sides> {
    let len = scale.pick(1024 * MIB, 128 * MIB);
    let store = Store::new(place)?;
    let fs = store.open(Durability::Manual)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .open(&fs, "/large")?;
    let block = vec![3; MIB];
    for at in (0..len).step_by(MIB) {
        file.write_at(at as u64, &block)?;
    }
    fs.sync()?;
    let mut random = Random::new(5);
    let page = vec![9; PAGE];
    let before = written()?;
    let mut done = 0;
    let side: Side = Box::new(move |_| {
        let _ = &store;
        for _ in 0..times {
            file.write_at((random.below(len / PAGE) * PAGE) as u64, &page)?;
            file.sync()?;
        }
        let _ = &fs;
        done += times as u64;
        Ok((written()? - before) / done)
    });
    Ok(vec![(SUBJECT, side)])
}

fn kept_files(place: &PlaceToWork, files: usize) -> Side {
    let place = place.clone();
    let content = vec![5; PAGE];
    Box::new(move |watch| {
        let store = Store::new(&place)?;
        let fs = store.open(Durability::Manual)?;
        watch.measure(|| -> Done {
            for file in 0..files {
                fs.write_slice(format!("/{file}"), &content)?;
            }
            Ok(fs.sync()?)
        })?;
        fs.close()?;
        Ok(files as u64)
    })
}

fn sync_against_files(place: &PlaceToWork, files: usize) -> Done<Sides> {
    let there = place.clone();
    let content = vec![5; PAGE];
    // As many as take long enough.
    let some = files / 10;
    let plain: Side = Box::new(move |watch| {
        let store = Store::new(&there)?;
        fs::create_dir(store.path())?;
        watch.measure(|| -> Done {
            for number in 0..some {
                let mut file = fs::File::create(store.path().join(number.to_string()))?;
                file.write_all(&content)?;
                file.sync_all()?;
            }
            Ok(fs::File::open(store.path())?.sync_all()?)
        })?;
        Ok(some as u64)
    });
    Ok(vec![(SUBJECT, kept_files(place, files)), (FILES, plain)])
}

#[cfg(feature = "peers")]
fn sync_against_sqlite(place: &PlaceToWork, files: usize) -> Done<Sides> {
    let there = place.clone();
    let content = vec![5; PAGE];
    let sqlite: Side = Box::new(move |watch| {
        let store = Store::new(&there)?;
        let mut database = rusqlite::Connection::open(store.path())?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "FULL")?;
        database.execute(
            "CREATE TABLE file (name TEXT PRIMARY KEY, content BLOB)",
            (),
        )?;
        watch.measure(|| -> Done {
            let transaction = database.transaction()?;
            {
                let mut insert = transaction.prepare("INSERT INTO file VALUES (?1, ?2)")?;
                for number in 0..files {
                    insert.execute((format!("/{number}"), &content))?;
                }
            }
            Ok(transaction.commit()?)
        })?;
        Ok(files as u64)
    });
    Ok(vec![(SUBJECT, kept_files(place, files)), (SQLITE, sqlite)])
}

fn each_call(place: &PlaceToWork, calls: usize, threads: usize) -> Done<Sides> {
    let there = place.clone();
    let kept: Side = Box::new(move |watch| {
        let store = Store::new(&there)?;
        let fs = store.open(Durability::Sync)?;
        let each = calls / threads;
        watch.measure(|| {
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let fs = &fs;
                    scope.spawn(move || {
                        for call in 0..each {
                            let written = fs.write_slice(format!("/{thread}.{call}"), &[1; 100]);
                            written.expect("nothing is full");
                        }
                    });
                }
            });
        });
        fs.close()?;
        Ok((each * threads) as u64)
    });
    let place = place.clone();
    let floor: Side = Box::new(move |watch| {
        let store = Store::new(&place)?;
        let mut file = fs::File::create(store.path())?;
        watch.measure(|| -> Done {
            for _ in 0..calls {
                file.write_all(&[1; 100])?;
                file.sync_data()?;
            }
            Ok(())
        })?;
        Ok(calls as u64)
    });
    Ok(vec![(SUBJECT, kept), (FLOOR, floor)])
}

/// The work is one opening, so the figure is that of all files together.
fn reopen(place: &PlaceToWork, files: usize) -> Done<Sides> {
    let store = Arc::new(Store::new(place)?);
    let fs = store.open(SECOND)?;
    directories(&fs)?;
    fill(&fs, files, &[7; 100])?;
    fs.close()?;
    drop(fs);
    // The first opening writes a checkpoint.
    store.open(SECOND)?.close()?;
    let own = store.clone();
    let open: Side = Box::new(move |watch| {
        let fs = watch.measure(|| own.open(Durability::Manual))?;
        assert_eq!(fs.stats().files, files as u64);
        fs.close()?;
        Ok(1)
    });
    // Past the page cache, as the opening reads.
    let read: Side = Box::new(move |watch| {
        let directory = RealDirectory::open(&store.path(), Opening::ReadOnly)?;
        let mut buffer = crate::disk::Bytes::random(MIB);
        watch.measure(|| -> Done {
            for name in directory.list()? {
                let file = directory.open(&name.to_string_lossy(), Access::Read)?;
                let len = file.len()?;
                let mut at = 0;
                while at < len {
                    at += file.read_at(at, buffer.get_mut())?.max(1) as u64;
                }
            }
            Ok(())
        })?;
        Ok(1)
    });
    Ok(vec![(SUBJECT, open), (FLOOR, read)])
}
