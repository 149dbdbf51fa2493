//! 32 threads on one filesystem: nothing panics, hangs, tears or leaks.
//!
//! Every file is written as a whole by somebody: it consists of equal records
//! that name the writer, the version and how many records there are. Whoever
//! reads anything else has seen a torn write. `BRIMFS_CASES` is the number of
//! rounds of each thread, `BRIMFS_SEED` the seed of the first.
#![cfg(not(feature = "shuttle"))]

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use brimfs::{Budget, Error, ErrorKind, FileSystem, LockMode, OpenOptions, RenameMode};
use brimfs_sim::run::Plan;
use brimfs_sim::tier::{Hostile, Manners};

const THREADS: u64 = 32;
const ROUNDS: u64 = 5_000;
const DIRS: u64 = 5;
const FILES: u64 = 9;
const QUOTA: u64 = 6 << 20;
const MEMORY: u64 = 24 << 20;
const MAX_NODES: u64 = 180;
/// Without progress for so long, the run counts as deadlocked.
const PATIENCE: Duration = Duration::from_secs(120);

const RECORD: usize = 24;
/// Records of the largest file: more than one chunk.
const MOST_RECORDS: u64 = 60_000;

/// splitmix64: small, and all that is needed to be unpredictable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn dir(&mut self) -> String {
        match self.below(4) {
            0 => format!("/d{}/d{}", self.below(DIRS), self.below(DIRS)),
            _ => format!("/d{}", self.below(DIRS)),
        }
    }

    fn file(&mut self) -> String {
        format!("{}/f{}", self.dir(), self.below(FILES))
    }

    /// Mostly small, now and then more than a chunk.
    fn count(&mut self) -> u64 {
        match self.below(40) {
            0 => 1 + self.below(MOST_RECORDS),
            1..8 => 1 + self.below(3_000),
            _ => 1 + self.below(200),
        }
    }
}

/// `count` records of one writer's version.
fn content(writer: u64, version: u64, count: u64) -> Vec<u8> {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&writer.to_le_bytes());
    record[8..16].copy_from_slice(&version.to_le_bytes());
    record[16..].copy_from_slice(&count.to_le_bytes());
    record.repeat(count as usize)
}

/// Whether these bytes were written as a whole: all records equal, and as many as they say.
fn check_content(bytes: &[u8]) -> Result<(), String> {
    let Some(first) = bytes.get(..RECORD) else {
        let empty = bytes.is_empty();
        return if empty {
            Ok(())
        } else {
            Err(format!("{} bytes", bytes.len()))
        };
    };
    if let Some(at) = bytes.chunks(RECORD).position(|record| record != first) {
        let other = &bytes[at * RECORD..];
        return Err(format!("record {at} is {other:?}, the first is {first:?}"));
    }
    let count = u64::from_le_bytes(first[16..].try_into().expect("eight bytes"));
    let found = (bytes.len() / RECORD) as u64;
    if found == count {
        return Ok(());
    }
    Err(format!("{found} records that say they are {count}"))
}

/// What threads do, and how often in a hundred.
const ACTIONS: [(&str, u64); 10] = [
    ("replace", 20),
    ("read", 18),
    ("rewrite under a lock", 8),
    ("read under a lock", 8),
    ("change a name", 10),
    ("copy", 8),
    ("remove", 4),
    ("list", 8),
    ("make directories", 8),
    ("view", 8),
];

/// One thread's share of the work.
struct Worker {
    fs: FileSystem,
    number: u64,
    version: u64,
    random: Random,
}

impl Worker {
    fn content(&mut self) -> Vec<u8> {
        self.version += 1;
        let count = self.random.count();
        content(self.number, self.version, count)
    }

    /// One random action, and whether it could be done. `Err` only for what nobody may see.
    fn act(&mut self, action: usize) -> Result<bool, String> {
        let result = match ACTIONS[action].0 {
            "replace" => self.replace(),
            "read" => self.read(),
            "rewrite under a lock" => self.rewrite_under_a_lock(),
            "read under a lock" => self.read_under_a_lock(),
            "change a name" => self.change_a_name(),
            "copy" => self.copy(),
            "remove" => self.remove(),
            "list" => self.list(),
            "make directories" => self.make_dirs(),
            _ => self.view(),
        };
        match result {
            Ok(()) => Ok(true),
            Err(Trouble::Torn(text)) => Err(text),
            Err(Trouble::Refused(error)) if is_expected(&error) => Ok(false),
            Err(Trouble::Refused(error)) => Err(error.to_string()),
        }
    }

    fn choose(&mut self) -> usize {
        let mut drawn = self.random.below(100);
        let mut action = 0;
        while drawn >= ACTIONS[action].1 {
            drawn -= ACTIONS[action].1;
            action += 1;
        }
        action
    }

    fn replace(&mut self) -> Result<(), Trouble> {
        let (path, bytes) = (self.random.file(), self.content());
        match self.random.below(2) {
            0 => self.fs.write(&path, bytes)?,
            _ => self.fs.write_slice(&path, &bytes)?,
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Trouble> {
        let path = self.random.file();
        let bytes = self.fs.read(&path)?;
        check_content(&bytes).map_err(|why| Trouble::Torn(format!("{path}: {why}")))
    }

    /// Piece by piece: only the lock makes this one write.
    fn rewrite_under_a_lock(&mut self) -> Result<(), Trouble> {
        let path = self.random.file();
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .lock(LockMode::Exclusive)
            .lock_timeout(None);
        let mut file = options.open(&self.fs, &path)?;
        file.set_len(0)?;
        let bytes = self.content();
        for piece in bytes.chunks(RECORD * 700) {
            if let Err(error) = file.write_all(piece) {
                // Half of it would look torn to the next reader.
                file.set_len(0)?;
                return Err(error.downcast::<Error>().expect("our own error").into());
            }
        }
        Ok(())
    }

    fn read_under_a_lock(&mut self) -> Result<(), Trouble> {
        let path = self.random.file();
        let mut file = OpenOptions::new()
            .read(true)
            .lock_timeout(None)
            .open(&self.fs, &path)?;
        let mut bytes = Vec::new();
        let mut piece = [0; RECORD * 900];
        loop {
            match file
                .read(&mut piece)
                .map_err(|error| error.downcast::<Error>())
            {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
                Err(Ok(error)) => return Err(error.into()),
                Err(Err(other)) => return Err(Trouble::Torn(format!("{path}: {other}"))),
            }
        }
        let torn = |why| Trouble::Torn(format!("{path} under a lock: {why}"));
        check_content(&bytes).map_err(torn)?;
        let again = file.seek(SeekFrom::Start(0)).expect("a seek to the start");
        let view = file.view()?;
        if again != 0 || view[..] != bytes {
            return Err(torn(format!(
                "read {} bytes, then a view of {}",
                bytes.len(),
                view.len()
            )));
        }
        Ok(())
    }

    fn change_a_name(&mut self) -> Result<(), Trouble> {
        let fs = &self.fs;
        let (from, to) = (self.random.file(), self.random.file());
        let (from_dir, to_dir) = (self.random.dir(), self.random.dir());
        match self.random.below(9) {
            0..4 => fs.rename(&from, &to)?,
            4 => fs.rename_with(&from, &to, RenameMode::Exchange)?,
            5 => fs.rename_with(&from, &to, RenameMode::NoReplace)?,
            6 => fs.rename(&from_dir, &to_dir)?,
            7 => fs.rename_with(&from_dir, &to_dir, RenameMode::Exchange)?,
            _ => fs.hard_link(&from, &to)?,
        }
        Ok(())
    }

    fn copy(&mut self) -> Result<(), Trouble> {
        if self.random.below(5) == 0 {
            let (from, to) = (self.random.dir(), format!("/copy{}", self.random.below(4)));
            self.fs.copy_dir_all(&from, &to)?;
            self.check_tree(&to)?;
            return Ok(self.fs.remove_dir_all(&to)?);
        }
        let (from, to) = (self.random.file(), self.random.file());
        self.fs.copy(&from, &to)?;
        Ok(())
    }

    fn check_tree(&self, top: &str) -> Result<(), Trouble> {
        for entry in self.fs.walk(top)? {
            if entry.file_type().is_file()
                && let Ok(bytes) = self.fs.read(entry.path())
            {
                let at = entry.path_lossy();
                check_content(&bytes).map_err(|why| Trouble::Torn(format!("{at}: {why}")))?;
            }
        }
        Ok(())
    }

    fn remove(&mut self) -> Result<(), Trouble> {
        match self.random.below(8) {
            0 => self.fs.remove_dir(self.random.dir())?,
            1 => self.fs.remove_dir_all(self.random.dir())?,
            _ => self.fs.remove_file(self.random.file())?,
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), Trouble> {
        let dir = self.random.dir();
        match self.random.below(4) {
            0 => {
                let mut names = std::collections::HashSet::new();
                for entry in self.fs.read_dir(&dir)? {
                    if !names.insert(entry.name().to_vec()) {
                        return Err(Trouble::Torn(format!(
                            "{dir} lists {:?} twice",
                            entry.name()
                        )));
                    }
                }
            }
            1 => self.fs.visit_dir(&dir, |entry| {
                assert!(entry.ino > 1);
                ControlFlow::Continue(())
            })?,
            2 => assert!(self.fs.glob(format!("{dir}/**/f*"))?.is_sorted()),
            _ => {
                let found = self.fs.metadata(&dir)?;
                assert!(found.is_dir() && found.nlink() != 1);
            }
        }
        Ok(())
    }

    fn make_dirs(&mut self) -> Result<(), Trouble> {
        let dir = self.random.dir();
        match self.random.below(3) {
            0 => self.fs.create_dir(&dir)?,
            _ => self.fs.create_dir_all(&dir)?,
        }
        Ok(())
    }

    /// A view does not change, whatever others do meanwhile.
    fn view(&mut self) -> Result<(), Trouble> {
        let path = self.random.file();
        let view = self.fs.view(&path)?;
        let torn = |why| Trouble::Torn(format!("view of {path}: {why}"));
        check_content(&view).map_err(torn)?;
        let before = view.to_vec();
        self.replace().or_else(|trouble| match trouble {
            Trouble::Refused(error) if is_expected(&error) => Ok(()),
            other => Err(other),
        })?;
        thread::yield_now();
        if view[..] == before[..] {
            Ok(())
        } else {
            Err(torn("it changed".to_owned()))
        }
    }
}

enum Trouble {
    Refused(Error),
    Torn(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Refused(error)
    }
}

/// What an operation may answer while 31 others change the tree under it.
fn is_expected(error: &Error) -> bool {
    use ErrorKind::*;
    matches!(
        error.kind(),
        NotFound
            | AlreadyExists
            | NotADirectory
            | IsADirectory
            | DirectoryNotEmpty
            | InvalidArgument
            | QuotaExceeded
            | NodeLimit
            | MemoryLimit
    )
}

/// Aborts the process with all that is known when nobody makes progress any more.
struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Watchdog {
    fn start(fs: FileSystem, steps: Arc<AtomicU64>, doing: Arc<Vec<AtomicUsize>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut last = u64::MAX;
            let mut quiet = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_secs(1));
                let now = steps.load(Ordering::Relaxed);
                quiet = if now == last {
                    quiet + Duration::from_secs(1)
                } else {
                    Duration::ZERO
                };
                last = now;
                if quiet >= PATIENCE {
                    eprintln!("deadlock after {now} steps: {:?}", fs.stats());
                    for (number, doing) in doing.iter().enumerate() {
                        let (action, _) = ACTIONS[doing.load(Ordering::Relaxed)];
                        eprintln!("thread {number}: {action}");
                    }
                    std::process::abort();
                }
            }
        });
        Watchdog { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().expect("the watchdog saw nothing");
    }
}

/// Waiters are counted for the whole process: one stress at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn many_threads_agree_about_one_filesystem() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    work_on(&Budget::new(MEMORY), Plan::from_env(ROUNDS), || ());
}

#[test]
fn many_threads_agree_while_content_comes_and_goes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let budget = Budget::new(MEMORY);
    let tier = Hostile::install(&budget, Manners::ERRATIC, 1);
    let plan = Plan::from_env(ROUNDS);
    work_on(&budget, plan, || tier.torment());
    tier.check_empty().expect("nothing left");
    let (went, came) = tier.moved();
    println!("stress: {went} units went, {came} came back");
    assert!(
        plan.cases < 100 || (went > 10_000 && came > 1_000),
        "{went} {came}"
    );
}

/// All threads do their work on a filesystem of this budget, and `torment` it now and then.
fn work_on(budget: &Budget, plan: Plan, torment: impl Fn() + Sync) {
    let builder = FileSystem::builder()
        .quota(QUOTA)
        .budget(budget)
        .max_nodes(MAX_NODES);
    let fs = builder.build().expect("a filesystem");
    let empty = fs.stats().resident;
    let steps = Arc::new(AtomicU64::new(0));
    let doing: Arc<Vec<_>> = Arc::new((0..THREADS).map(|_| AtomicUsize::new(0)).collect());
    let successes = ACTIONS.map(|_| AtomicU64::new(0));
    let watchdog = Watchdog::start(fs.clone(), steps.clone(), doing.clone());
    let done = AtomicBool::new(false);

    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let stats = fs.stats();
                assert!(stats.quota_used <= QUOTA, "{stats:?}");
                assert!(stats.resident <= MEMORY, "{stats:?}");
                assert!(stats.nodes <= MAX_NODES, "{stats:?}");
                thread::sleep(Duration::from_millis(1));
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let mut worker = Worker {
                    fs: fs.clone(),
                    number,
                    version: 0,
                    random: Random(plan.seed << 8 | number),
                };
                let (steps, doing, successes) = (&steps, &doing, &successes);
                let torment = &torment;
                scope.spawn(move || {
                    for round in 0..plan.cases {
                        let action = worker.choose();
                        doing[number as usize].store(action, Ordering::Relaxed);
                        match worker.act(action) {
                            Ok(done) => successes[action].fetch_add(done.into(), Ordering::Relaxed),
                            Err(why) => panic!(
                                "reproduce (schedules differ): BRIMFS_SEED={} BRIMFS_CASES={} cargo test \
                                 -p brimfs-sim --test stress\nthread {number}, round {round}: {why}",
                                plan.seed, plan.cases
                            ),
                        };
                        steps.fetch_add(1, Ordering::Relaxed);
                        if (round + number).is_multiple_of(THREADS) {
                            torment();
                        }
                    }
                })
            })
            .collect();
        let failed = workers
            .into_iter()
            .filter_map(|worker| worker.join().err())
            .count();
        done.store(true, Ordering::Relaxed);
        sampler.join().expect("the limits hold");
        assert_eq!(failed, 0, "threads failed");
    });
    watchdog.stop();
    check_and_empty(&fs, empty);
    println!(
        "stress: {} actions by {THREADS} threads",
        steps.load(Ordering::Relaxed)
    );
    for ((action, share), count) in ACTIONS.iter().zip(&successes) {
        let (count, tried) = (
            count.load(Ordering::Relaxed),
            plan.cases * THREADS * share / 100,
        );
        println!("  {action}: {count} of about {tried} could be done");
        // A stress in which hardly anything succeeds proves nothing.
        assert!(
            plan.cases < 100 || count * 20 > tried,
            "{action}: {count} of {tried}"
        );
    }
}

fn check_and_empty(fs: &FileSystem, empty: u64) {
    fs.audit().expect("a clean audit");
    let stats = fs.stats();
    assert!(stats.resident_peak <= MEMORY, "{stats:?}");
    assert_eq!(
        (stats.open_handles, stats.views, stats.lock_waiters),
        (0, 0, 0)
    );
    for entry in fs.walk("/").expect("a walk") {
        if entry.file_type().is_file() {
            let bytes = fs.read(entry.path()).expect("content");
            check_content(&bytes).expect("whole content");
        }
    }
    let names: Vec<_> = fs
        .read_dir("/")
        .expect("the root")
        .map(|e| e.name().to_vec())
        .collect();
    for name in names {
        fs.remove_dir_all([b"/".as_slice(), &name].concat())
            .expect("removal");
    }
    fs.clear_caches();
    fs.audit().expect("a clean audit");
    let stats = fs.stats();
    assert_eq!((stats.nodes, stats.quota_used), (1, 0));
    assert_eq!(stats.resident, empty, "{stats:?}");
}
