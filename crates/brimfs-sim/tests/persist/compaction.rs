//! Space of the disk comes back while a store is in use, and nobody can tell but by the space.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brimfs::{Durability, FileSystem, OpenOptions};
use brimfs_sim::disk::{Failure, Plan};
use brimfs_sim::medium::{Image, Medium, Random};
use brimfs_sim::op::{Data, Op};

use super::crashes::{Explorer, write};
use super::number;
use super::tree::tree;
use super::world::{ROOMY, Settings, Step, audit, live, past};

const CHUNK: usize = 1 << 20;
const LIMIT: u64 = 32 << 20;

/// Segments of 8 MiB.
const SMALL: Settings = Settings {
    memory: 64 << 20,
    durability: Durability::Manual,
    disk: Some(LIMIT),
};

/// Segments of 2 MiB.
const TINY: Settings = Settings {
    disk: Some(8 << 20),
    ..SMALL
};

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes: Vec<u8> = (0..len / 8 + 1)
        .flat_map(|_| random.number().to_le_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

/// Numbers of the files of segments that are there.
fn segments(medium: &Medium) -> Vec<String> {
    let names = medium.names().into_iter();
    names.filter(|name| name.starts_with("segment-")).collect()
}

fn segment_bytes(medium: &Medium) -> u64 {
    // Of one moment: the thread that compacts takes files away.
    let medium = medium.fork();
    let files = segments(&medium);
    files.iter().map(|name| medium.raw(name).len() as u64).sum()
}

type Oracle = BTreeMap<String, Vec<u8>>;

fn check(fs: &FileSystem, oracle: &Oracle) {
    for (path, bytes) in oracle {
        assert!(fs.read(path).expect("read") == *bytes, "{path}");
    }
    audit(fs).expect("counted right");
}

/// Files that are rewritten, and what of them lives.
#[derive(Default)]
struct Rewritten {
    oracle: Oracle,
    /// Which records the chunks of each file are, by number: copies share those of files with several.
    records: BTreeMap<String, Vec<u64>>,
    last: u64,
}

impl Rewritten {
    /// Content that lives when one file is as given, as the store counts it: what copies share is there once.
    fn live_with(&self, path: &str, len: usize, records: &[u64]) -> u64 {
        let others = self.oracle.iter().filter(|(other, _)| *other != path);
        let others = others.map(|(other, bytes)| (bytes.len(), &self.records[other][..]));
        let lens = others.chain([(len, records)]).flat_map(|(len, records)| {
            let starts = (0..len).step_by(CHUNK);
            starts
                .zip(records)
                .map(move |(start, record)| (*record, (len - start).min(CHUNK)))
        });
        lens.collect::<BTreeMap<_, _>>()
            .values()
            .map(|len| *len as u64)
            .sum()
    }

    /// Takes a change down, unless more than half of the limit would live then.
    fn accepts(&mut self, path: &str, bytes: &[u8], records: Vec<u64>) -> bool {
        let is_little = self.live_with(path, bytes.len(), &records) <= LIMIT / 2;
        if is_little {
            self.oracle.insert(path.to_owned(), bytes.to_vec());
            self.records.insert(path.to_owned(), records);
        }
        is_little
    }

    fn fresh(&mut self, len: usize) -> Vec<u64> {
        let first = self.last + 1;
        self.last += len.div_ceil(CHUNK) as u64;
        (first..=self.last).collect()
    }

    /// Changes a file: all of it, a part, its end, or where it is a copy of another.
    fn change(&mut self, fs: &FileSystem, random: &mut Random) {
        let path = format!("/f{}", random.below(12));
        let seed = random.number();
        let old = self.oracle.get(&path).cloned().unwrap_or_default();
        let new = match random.below(6) {
            0 | 1 => pattern(random.below(CHUNK as u64 / 2) as usize, seed),
            2 => pattern(CHUNK + random.below(CHUNK as u64 / 2) as usize, seed),
            3 | 4 if !old.is_empty() => return self.patch(fs, &path, old, random),
            _ => {
                let from = format!("/f{}", random.below(12));
                if from != path {
                    self.copy(fs, &from, &path);
                }
                return;
            }
        };
        let records = self.fresh(new.len());
        if self.accepts(&path, &new, records) {
            fs.write_slice(&path, &new).expect("written");
        }
    }

    fn patch(&mut self, fs: &FileSystem, path: &str, mut bytes: Vec<u8>, random: &mut Random) {
        let at = random.below(bytes.len() as u64) as usize;
        let len = (random.below(20_000) as usize).min(bytes.len() - at);
        let patch = pattern(len, random.number());
        bytes[at..at + len].copy_from_slice(&patch);
        let mut records = self.records[path].clone();
        let fresh = self.fresh(bytes.len());
        let chunks = at / CHUNK..(at + len).div_ceil(CHUNK);
        records[chunks.clone()].copy_from_slice(&fresh[chunks]);
        if self.accepts(path, &bytes, records) {
            let file = OpenOptions::new().write(true).open(fs, path).unwrap();
            file.write_at(at as u64, &patch).expect("written");
        }
    }

    fn copy(&mut self, fs: &FileSystem, from: &str, to: &str) {
        let Some(bytes) = self.oracle.get(from).cloned() else {
            return;
        };
        let records = match bytes.len() {
            0..=CHUNK => self.fresh(bytes.len()),
            _ => self.records[from].clone(),
        };
        if self.accepts(to, &bytes, records) {
            fs.copy(from, to).expect("copied");
        }
    }
}

/// Rewrites what is less than half of the disk limit until many times the limit was written, and opens the store again now
/// and then.
fn rewrite(settings: Settings, seed: u64, cases: u64) {
    let medium = Medium::new();
    let mut fs = settings.open(&medium).expect("opened");
    let mut random = Random::new(seed);
    let mut files = Rewritten::default();
    let (mut written, mut rounds) = (0, 0);
    // A soak writes more, but no weeks long.
    let cases = number("BRIMFS_CASES", cases).min(1000);
    while written < cases * LIMIT {
        let before = fs.tier_stats().disk.map_or(0, |disk| disk.written);
        for _ in 0..1 + random.below(4) {
            files.change(&fs, &mut random);
        }
        if settings.durability == Durability::Manual {
            fs.sync().expect("there is room for what lives");
        }
        written += fs.tier_stats().disk.map_or(0, |disk| disk.written) - before;
        rounds += 1;
        assert!(rounds < 100_000, "{written} bytes were written");
        assert!(segment_bytes(&medium) <= LIMIT);
        if random.one_in(40) {
            check(&fs, &files.oracle);
            fs.close().expect("closed");
            drop(fs);
            fs = settings.open(&medium).expect("opened");
        }
    }
    check(&fs, &files.oracle);
    fs.close().expect("closed");
    let fs = ROOMY.open(&medium).expect("opened");
    check(&fs, &files.oracle);
    audit(&fs).expect("counted right");
}

#[test]
fn rewriting_many_times_the_disk_limit_never_runs_into_it() {
    rewrite(SMALL, number("BRIMFS_SEED", 1), 8);
}

#[test]
fn rewriting_with_little_memory_never_runs_into_the_disk_limit() {
    let settings = Settings {
        memory: 12 << 20,
        ..SMALL
    };
    rewrite(settings, number("BRIMFS_SEED", 5), 40);
}

#[test]
fn rewriting_with_durable_calls_never_runs_into_the_disk_limit() {
    let settings = Settings {
        durability: Durability::Sync,
        ..SMALL
    };
    rewrite(settings, number("BRIMFS_SEED", 3), 8);
}

/// Makes what lies beside what stays dead, many times over.
fn churn(fs: &FileSystem, times: u64) {
    for round in 0..times {
        let bytes = pattern(CHUNK - 70_000, round);
        fs.write_slice("/churn", &bytes).expect("written");
        fs.sync().expect("durable");
    }
}

#[test]
fn what_copies_share_moves_once_and_stays_shared() {
    let medium = Medium::new();
    let fs = SMALL.open(&medium).expect("opened");
    let bytes = pattern(3 * CHUNK + 100_000, 5);
    fs.write_slice("/one", &bytes).unwrap();
    fs.sync().unwrap();
    let first = segments(&medium);
    fs.write_slice("/dies", &pattern(2 * CHUNK, 6)).unwrap();
    fs.copy("/one", "/two").unwrap();
    fs.copy("/two", "/three").unwrap();
    fs.close().unwrap();
    drop(fs);
    // Whoever is known to the store first goes.
    let fs = SMALL.open(&medium).expect("opened");
    fs.remove_file("/one").unwrap();
    fs.write_slice("/dies", b"now").unwrap();
    churn(&fs, 60);
    let left = segments(&medium);
    assert!(first.iter().all(|name| !left.contains(name)), "{left:?}");
    for path in ["/two", "/three"] {
        assert!(fs.read(path).unwrap() == bytes, "{path}");
    }
    audit(&fs).expect("counted right");
    fs.close().unwrap();
    drop(fs);
    let fs = SMALL.open(&medium).expect("opened");
    let live = fs.tier_stats().disk.expect("a disk").live;
    assert!(live < 6 * CHUNK as u64, "{live} bytes: it is there twice");
    for path in ["/two", "/three"] {
        assert!(fs.read(path).unwrap() == bytes, "{path}");
    }
    audit(&fs).expect("counted right");
}

/// A commit of much has room kept for the next one of its size. Content that has to leave memory gets that first.
#[test]
fn what_leaves_memory_gets_the_room_that_is_kept_for_changes_to_come() {
    let medium = Medium::new();
    let settings = Settings {
        memory: 16 << 20,
        ..SMALL
    };
    let fs = settings.open(&medium).expect("opened");
    let mut oracle = Oracle::new();
    for file in 0..10 {
        let (path, bytes) = (format!("/{file}"), pattern(CHUNK + CHUNK / 2, file));
        fs.write_slice(&path, &bytes).unwrap();
        oracle.insert(path, bytes);
        if file % 4 == 3 {
            fs.sync().unwrap();
        }
    }
    fs.sync().unwrap();
    // What was patched is written anew when it goes.
    for file in 0..3 {
        let path = format!("/{file}");
        let bytes = oracle.get_mut(&path).expect("written");
        let file = OpenOptions::new().write(true).open(&fs, &path).unwrap();
        for at in [1000, CHUNK + 1000] {
            file.write_at(at as u64, b"patch").unwrap();
            bytes[at..at + 5].copy_from_slice(b"patch");
        }
    }
    fs.sync().unwrap();
    fs.gc(0.0).expect("there is room for what lives");
    check(&fs, &oracle);
    fs.sync().unwrap();
    let again = settings.open(&medium.crash(&Image::default()));
    check(&again.expect("opened"), &oracle);
}

/// Content that the journal had several times goes to segments once, where it lay already, and is given back there.
#[test]
fn what_moves_from_the_journal_dies_with_its_file() {
    let medium = Medium::new();
    // 2 MiB may stay in the journal.
    let settings = Settings {
        memory: 12 << 20,
        ..SMALL
    };
    let fs = settings.open(&medium).expect("opened");
    for round in 0..3 {
        fs.write_slice("/often", &pattern(10_000, round)).unwrap();
        fs.sync().unwrap();
    }
    fs.gc(0.0).expect("evicted");
    let live = |fs: &FileSystem| fs.tier_stats().disk.map_or(0, |disk| disk.live);
    assert!(live(&fs) > 10_000, "there is a copy that no commit knows");
    for file in 0..80 {
        let bytes = pattern(50_000, file);
        fs.write_slice(format!("/{file}"), &bytes).unwrap();
        fs.sync().unwrap();
    }
    assert!(live(&fs) > 40 * 50_000, "content has left the journal");
    assert!(fs.read("/often").unwrap() == pattern(10_000, 2));
    fs.remove_file("/often").unwrap();
    (0..80).for_each(|file| fs.remove_file(format!("/{file}")).unwrap());
    fs.sync().unwrap();
    assert_eq!(live(&fs), 0, "bytes are kept that are nobody's");
}

#[test]
fn patches_in_the_journal_outlive_a_move_of_what_they_lie_over() {
    let medium = Medium::new();
    let fs = SMALL.open(&medium).expect("opened");
    let mut bytes = pattern(2 * CHUNK, 5);
    fs.write_slice("/patched", &bytes).unwrap();
    fs.sync().unwrap();
    let first = segments(&medium);
    let file = OpenOptions::new()
        .write(true)
        .open(&fs, "/patched")
        .unwrap();
    let mut patch = |at: usize, seed| {
        let patch = pattern(5000, seed);
        file.write_at(at as u64, &patch).unwrap();
        file.sync().unwrap();
        bytes[at..at + 5000].copy_from_slice(&patch);
    };
    patch(10_000, 1);
    patch(CHUNK + 30_000, 2);
    churn(&fs, 60);
    let left = segments(&medium);
    assert!(first.iter().all(|name| !left.contains(name)), "{left:?}");
    // It still is a patch, and not all of the chunk; what else is written meanwhile is moved.
    let least = (3..9)
        .map(|seed| {
            let before = fs.tier_stats().disk.expect("a disk").written;
            patch(20_000, seed);
            fs.tier_stats().disk.expect("a disk").written - before
        })
        .min();
    assert!(least < Some(100_000), "{least:?} bytes");
    drop(file);
    // No closing: what a crash leaves has to have all of it.
    let crashed = medium.crash(&Image::default());
    let again = SMALL.open(&crashed).expect("opened");
    assert!(again.read("/patched").unwrap() == bytes);
}

#[test]
fn content_can_be_read_while_it_moves() {
    let medium = Medium::new();
    let settings = Settings {
        memory: 12 << 20,
        disk: Some(96 << 20),
        ..SMALL
    };
    let fs = Arc::new(settings.open(&medium).expect("opened"));
    let mut oracle = Oracle::new();
    let mut first = Vec::new();
    for file in 0..20 {
        let len = [300_000, CHUNK + 50_000][file % 2];
        let bytes = pattern(len, file as u64);
        fs.write_slice(format!("/{file}"), &bytes).unwrap();
        // So that what is read lies between what dies.
        fs.write_slice("/between", &pattern(CHUNK, 1)).unwrap();
        fs.sync().unwrap();
        if file == 0 {
            first = segments(&medium);
        }
        oracle.insert(format!("/{file}"), bytes);
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (fs, oracle, is_over) = (&fs, &oracle, &is_over);
            scope.spawn(move || {
                let mut random = Random::new(reader);
                while !is_over.load(Ordering::Relaxed) {
                    let path = format!("/{}", random.below(20));
                    assert!(fs.read(&path).expect("read") == oracle[&path], "{path}");
                }
            });
        }
        // However fast this goes, something of what is read has to move.
        let has_moved = || first.iter().any(|name| !segments(&medium).contains(name));
        let mut rounds = 0;
        while !has_moved() && rounds < 100 {
            churn(&fs, 30);
            rounds += 1;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let left = segments(&medium);
    assert!(first.iter().any(|name| !left.contains(name)), "{left:?}");
    check(&fs, &oracle);
}

#[test]
fn many_short_lives_leave_few_segments() {
    let medium = Medium::new();
    let settings = Settings {
        disk: None,
        ..SMALL
    };
    let mut oracle = Oracle::new();
    let mut most = 0;
    for life in 0..200 {
        let fs = settings.open(&medium).expect("opened");
        let path = format!("/{}", life % 150);
        let bytes = pattern(70_000 + life as usize, life);
        fs.write_slice(&path, &bytes).unwrap();
        oracle.insert(path, bytes);
        match life % 3 {
            // What it had reserved stays.
            0 => fs.sync().unwrap(),
            _ => fs.close().unwrap(),
        }
        drop(fs);
        most = most.max(segments(&medium).len());
    }
    assert!(most <= 16, "{most} files");
    let fs = settings.open(&medium).expect("opened");
    check(&fs, &oracle);
    audit(&fs).expect("counted right");
}

/// Enough work in a store of tiny segments for some of them to be moved out of.
#[test]
fn every_crash_of_a_compaction_leaves_a_prefix() {
    const CHUNK: u32 = 1 << 20;
    let copy = |from: &str, to: &str| {
        let (from, to) = (from.into(), to.into());
        Step::Do(Op::Copy { from, to })
    };
    let before = [
        write("/a", 1, 300_000),
        write("/dies", 3, 900_000),
        write("/b", 2, CHUNK + 100_000),
        write("/dies too", 3, 700_000),
        copy("/b", "/c"),
    ];
    let medium = past(TINY, &before);
    let first = segments(&medium);
    let mut steps = vec![write("/dies", 4, 100), write("/dies too", 4, 100)];
    for round in 0..9 {
        steps.push(write("/churn", 10 + round, 600_000));
        steps.push(Step::Sync);
        if round % 3 == 1 {
            steps.push(Step::WriteAt {
                path: "/b",
                at: u64::from(round) * 30_000,
                data: Data { seed: 8, len: 3000 },
            });
            steps.push(Step::Sync);
        }
    }
    steps.push(Step::Close);
    let life = live(TINY, &medium, &before, &steps);
    let left = segments(&medium);
    let moved = first.iter().filter(|name| !left.contains(name));
    assert!(moved.count() >= 2, "{first:?} became {left:?}");
    let mut explorer = Explorer::new(5, 1, 24);
    explorer.explore(TINY, &life, 0, &|| "compaction".to_owned());
    explorer
        .tally
        .finish(super::TALLIES, "filesystem, every crash of a compaction");
    let fs = TINY.open(&medium.fork()).expect("opened");
    let last = tree(&fs).expect("a tree");
    assert!(life.history.last() == Some(&last));
}

/// What became of a call of the disk that was to fail.
struct Struck {
    /// It was made.
    is_made: bool,
    /// A writer or a sync met it. Who compacts in the background may meet it instead, and tries again.
    is_noticed: bool,
}

/// Fails a call of the disk while segments are moved out of.
fn fail(prepared: &Medium, contents: &Oracle, plan: Plan) -> Struck {
    let medium = prepared.fork();
    let Ok(fs) = TINY.open(&medium) else {
        panic!("the medium works so far");
    };
    let call = medium.calls() + plan.call;
    medium.plan(Some(Plan { call, ..plan }));
    let mut allowed = vec![pattern(600_000, 0)];
    let mut is_noticed = false;
    fs.write_slice("/dies", &[1]).expect("memory");
    for round in 1..10 {
        let bytes = pattern(600_000, round);
        let written = fs.write_slice("/churn", &bytes);
        allowed.push(bytes);
        match written.and_then(|()| fs.sync()) {
            Ok(()) => drop(allowed.drain(..allowed.len() - 1)),
            Err(_) => is_noticed = true,
        }
    }
    for (path, bytes) in contents {
        if let Ok(read) = fs.read(path) {
            assert!(read == *bytes, "{plan:?}, {path}");
        }
    }
    let is_made = medium.calls() > call;
    medium.plan(None);
    audit(&fs).unwrap_or_else(|text| panic!("{plan:?}: {text}"));
    // What was not durable is lost, or all of it is there: a group too of which it was said that writing it failed.
    let after = [medium.crash(&Image::default()), medium.fork()];
    drop(fs);
    for after in after {
        let fs = TINY.open(&after);
        let fs = fs.unwrap_or_else(|error| panic!("{plan:?}: {error}"));
        check(&fs, contents);
        let churned = fs.read("/churn").expect("read");
        assert!(allowed.contains(&churned.to_vec()), "{plan:?}");
    }
    Struck {
        is_made,
        is_noticed,
    }
}

#[test]
fn a_disk_that_fails_during_a_compaction_loses_nothing() {
    let medium = Medium::new();
    let fs = TINY.open(&medium).expect("opened");
    let mut contents = Oracle::new();
    for (path, len) in [("/a", 300_000), ("/b", 2 * CHUNK - 700_000)] {
        let bytes = pattern(len, len as u64);
        fs.write_slice(path, &bytes).unwrap();
        fs.write_slice("/dies", &pattern(900_000, 7)).unwrap();
        contents.insert(path.to_owned(), bytes);
    }
    fs.write_slice("/churn", &pattern(600_000, 0)).unwrap();
    fs.close().unwrap();
    drop(fs);
    let (mut made, mut noticed, mut runs) = (0, 0, 0);
    for failure in [Failure::Io, Failure::Full] {
        for call in 0..110 {
            let plan = Plan {
                call,
                failure,
                lasting: call % 2 == 1,
            };
            let struck = fail(&medium, &contents, plan);
            made += u32::from(struck.is_made);
            noticed += u32::from(struck.is_noticed);
            runs += 1;
        }
    }
    println!("{made} of {runs} calls failed, {noticed} were noticed");
    assert!(made > runs / 2 && noticed > 0);
}
