//! One call of the disk goes wrong, for every call and in every way, under a whole filesystem.
#![cfg(not(feature = "shuttle"))]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use brimfs::{Error, ErrorKind, FileSystem, LockMode, OpenOptions};
use brimfs_sim::disk::{Failure, Plan, SimDisk};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const LIMIT: usize = 5 * MIB;
const LARGE: &str = "/d/large";
const LARGE_CHUNKS: usize = 5;
const SMALL_FILES: usize = 40;

/// What the files must hold. A file whose change was refused half way may hold either.
#[derive(Default)]
struct Oracle {
    files: BTreeMap<String, Vec<u8>>,
    errors: usize,
}

struct World {
    fs: FileSystem,
    disk: SimDisk,
    oracle: Oracle,
}

impl World {
    fn new() -> World {
        let disk = SimDisk::new();
        let fs = FileSystem::builder()
            .memory_limit(LIMIT as u64)
            .spill_disk(Arc::new(disk.clone()), "/spill")
            .disk_limit(256 << 20)
            .build()
            .expect("a filesystem with a disk");
        World {
            fs,
            disk,
            oracle: Oracle::default(),
        }
    }

    /// An error of the disk that says whom it hit.
    fn allow(&mut self, path: &str, error: &Error) {
        let kinds = [ErrorKind::Io, ErrorKind::DiskFull, ErrorKind::DiskLimit];
        assert!(kinds.contains(&error.kind()), "{error} for a failing disk");
        assert_eq!(error.path(), Some(path.as_bytes()), "{error}");
        self.oracle.errors += 1;
    }

    fn write(&mut self, path: &str, seed: u64, len: usize) {
        let bytes = content(seed, len);
        match self.fs.write_slice(path, &bytes) {
            Ok(()) => drop(self.oracle.files.insert(path.to_owned(), bytes)),
            Err(error) => self.allow(path, &error),
        }
    }

    /// A change inside of one chunk: all or nothing.
    fn change(&mut self, path: &str, at: usize, seed: u64, len: usize) {
        let bytes = content(seed, len);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = options
            .lock(LockMode::None)
            .open(&self.fs, path)
            .expect("opening needs no disk");
        match file.write_at(at as u64, &bytes) {
            Ok(_) => {
                let kept = self.oracle.files.entry(path.to_owned()).or_default();
                kept.resize(kept.len().max(at + len), 0);
                kept[at..at + len].copy_from_slice(&bytes);
            }
            Err(error) => {
                self.oracle.files.entry(path.to_owned()).or_default();
                self.allow(path, &error);
            }
        }
    }

    fn read(&mut self, path: &str) {
        let Some(wanted) = self.oracle.files.get(path) else {
            return;
        };
        match self.fs.read(path) {
            Ok(bytes) => assert!(bytes == wanted[..], "{path} is wrong"),
            Err(error) => self.allow(path, &error),
        }
    }

    fn read_part(&mut self, path: &str, at: usize, len: usize) {
        let file = self.fs.open(path).expect("opening needs no disk");
        let mut got = vec![0; len];
        match file.read_at(at as u64, &mut got) {
            Ok(count) => {
                let wanted = &self.oracle.files[path];
                let end = wanted.len().min(at + len);
                assert!(got[..count] == wanted[at.min(end)..end], "{path} at {at}");
            }
            Err(error) => self.allow(path, &error),
        }
    }

    /// The same steps every time: more than fits memory, in small files and a large one, changed
    /// and read in every way, cut, copied and removed.
    fn work(&mut self) {
        self.fs.create_dir("/d").expect("no disk is needed");
        for file in 0..SMALL_FILES {
            self.write(&small(file), file as u64, 3 * KIB + file * 997);
        }
        for chunk in 0..LARGE_CHUNKS {
            self.change(LARGE, chunk * MIB, 100 + chunk as u64, MIB);
        }
        for file in (0..SMALL_FILES).step_by(3) {
            self.read(&small(file));
        }
        self.read_part(LARGE, MIB / 2, 2 * MIB);
        self.read_part(LARGE, 3 * MIB + 5, 100);
        self.change(LARGE, MIB + 70_000, 200, 9_000);
        for file in (0..SMALL_FILES).step_by(5) {
            self.write(&small(file), 300 + file as u64, 20 * KIB);
        }
        self.read(LARGE);
        if self.fs.copy(small(1), "/copy").is_ok() {
            let copied = self.oracle.files.get(&small(1)).cloned();
            self.oracle
                .files
                .extend(copied.map(|bytes| ("/copy".to_owned(), bytes)));
        }
        let cut = 2 * MIB + 3;
        match self.fs.truncate(LARGE, cut as u64) {
            Ok(()) => {
                let kept = self.oracle.files.entry(LARGE.to_owned()).or_default();
                kept.resize(cut, 0);
            }
            Err(error) => self.allow(LARGE, &error),
        }
        for file in (0..SMALL_FILES).rev() {
            self.read(&small(file));
        }
        self.write("/last", 400, 300 * KIB);
    }

    /// The disk works again: everything accepted is there, and the filesystem goes on.
    fn end(mut self, plan: Option<Plan>) -> usize {
        let errors = self.oracle.errors;
        let files: Vec<String> = self.oracle.files.keys().cloned().collect();
        for path in &files {
            self.read(path);
        }
        self.write("/after", 500, 2 * MIB);
        self.read("/after");
        assert_eq!(self.oracle.errors, errors, "the disk works after {plan:?}");
        self.fs.audit().expect("a clean audit");
        let stats = self.fs.stats();
        assert!(stats.resident_peak <= stats.memory_limit, "{stats:?}");
        let names: Vec<_> = self.fs.read_dir("/").expect("the root").collect();
        for name in names {
            let path = [b"/".as_slice(), name.name()].concat();
            self.fs.remove_dir_all(path).expect("removed");
        }
        self.nothing_is_left();
        errors
    }

    fn nothing_is_left(&self) {
        assert_eq!(self.fs.stats().quota_used, 0);
        // A batch may be under way in the background; what it writes for files that went is given up.
        for _ in 0..500 {
            let tier = self.fs.tier_stats();
            if tier.cold_units == 0 && tier.disk.is_none_or(|disk| disk.live == 0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}", self.fs.tier_stats());
    }
}

fn small(file: usize) -> String {
    format!("/d/small{file}")
}

/// Bytes that depend on the seed and compress badly.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len.div_ceil(8)).flatten().take(len).collect()
}

fn run(plan: Option<Plan>) -> (u64, usize) {
    let mut world = World::new();
    world.disk.plan(plan);
    world.work();
    let calls = world.disk.calls().total;
    world.disk.plan(None);
    (calls, world.end(plan))
}

/// The thread that keeps memory free calls the disk too, so the number of calls differs from run to
/// run by a few: the sweep goes a little beyond what one run needed.
#[test]
fn whatever_call_fails_nothing_accepted_is_lost_and_the_error_names_the_file() {
    let (calls, errors) = run(None);
    assert_eq!(errors, 0);
    assert!(calls > 60, "the workload uses the disk: {calls} calls");
    let mut failed = 0;
    for call in 0..calls + calls / 10 {
        for failure in Failure::ALL {
            let plan = Plan {
                call,
                failure,
                lasting: false,
            };
            let (_, errors) = run(Some(plan));
            let harmless = matches!(failure, Failure::Short | Failure::Interrupted);
            assert!(!harmless || errors == 0, "{plan:?} was noticed");
            failed += errors;
        }
    }
    assert!(
        failed > 10,
        "the sweep reaches calls that somebody waits for"
    );
}

#[test]
fn a_disk_that_fails_for_good_is_an_error_until_it_works_again() {
    let (calls, _) = run(None);
    let mut failed = 0;
    for call in (0..calls).step_by(3) {
        for failure in [Failure::Io, Failure::Full] {
            let plan = Plan {
                call,
                failure,
                lasting: true,
            };
            failed += run(Some(plan)).1;
        }
    }
    assert!(failed > 100, "{failed} errors of a disk that is gone");
}
