//! Pages that were written one by one leave the journal for records that lie over what their chunks have.

use std::collections::BTreeMap;
use std::sync::Arc;

use brimfs::face::check_directory;
use brimfs::face::journal::{Overlay, Record, Visitor, recover};
use brimfs::face::repair_directory;
use brimfs::{Durability, Error, ErrorKind, FileSystem, OpenOptions};
use brimfs_sim::medium::{Image, Medium, Random};
use brimfs_sim::op::{Data, Op};

use super::crashes::{Explorer, write};
use super::number;
use super::tree::tree;
use super::world::{Settings, Step, audit, live, past};

const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;

/// Of content 1 MiB may be in the journal: 256 pages.
const SMALL: Settings = Settings {
    memory: 64 << 20,
    durability: Durability::Manual,
    disk: Some(16 << 20),
};

/// Half of that.
const TINY: Settings = Settings {
    disk: Some(8 << 20),
    ..SMALL
};

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = (0..len.div_ceil(8)).flat_map(|_| random.number().to_le_bytes());
    words.take(len).collect()
}

type Files = BTreeMap<String, Vec<u8>>;

/// A filesystem, and what it holds.
struct World {
    settings: Settings,
    medium: Medium,
    fs: FileSystem,
    files: Files,
    random: Random,
}

impl World {
    fn new(settings: Settings, seed: u64) -> Self {
        let medium = Medium::new();
        World {
            settings,
            fs: settings.open(&medium).expect("opened"),
            medium,
            files: Files::new(),
            random: Random::new(seed),
        }
    }

    fn write(&mut self, path: &str, len: usize) {
        let bytes = pattern(len, self.random.number());
        self.fs.write_slice(path, &bytes).expect("written");
        self.fs.sync().expect("synced");
        self.files.insert(path.to_owned(), bytes);
    }

    fn write_at(&mut self, path: &str, at: usize, len: usize) {
        let bytes = pattern(len, self.random.number());
        let file = OpenOptions::new().write(true).open(&self.fs, path);
        let file = file.expect("opened");
        file.write_at(at as u64, &bytes).expect("written");
        file.sync().expect("synced");
        let content = self.files.get_mut(path).expect("it is there");
        content.resize(content.len().max(at + len), 0);
        content[at..at + len].copy_from_slice(&bytes);
    }

    /// Overwrites a page somewhere in a file, synced.
    fn page(&mut self, path: &str) {
        let pages = self.files[path].len() / PAGE;
        let page = self.random.below(pages as u64) as usize;
        self.write_at(path, page * PAGE, PAGE);
    }

    /// Overwrites pages until some of them have left the journal; each chunk has some of them.
    fn drain(&mut self, path: &str) {
        let before = self.overlays();
        for _ in 0..2000 {
            self.page(path);
            // A checkpoint may have come between.
            if self.overlays().iter().any(|layer| !before.contains(layer)) {
                return;
            }
        }
        panic!("nothing has left the journal");
    }

    /// The layers that the journal tells of.
    fn overlays(&self) -> Vec<Overlay> {
        overlays(&self.medium)
    }

    fn set_len(&mut self, path: &str, len: usize) {
        let file = OpenOptions::new().write(true).open(&self.fs, path);
        file.expect("opened").set_len(len as u64).expect("set");
        self.fs.sync().expect("synced");
        self.files
            .get_mut(path)
            .expect("it is there")
            .resize(len, 0);
    }

    fn copy(&mut self, from: &str, to: &str) {
        self.fs.copy(from, to).expect("copied");
        self.fs.sync().expect("synced");
        let content = self.files[from].clone();
        self.files.insert(to.to_owned(), content);
    }

    fn remove(&mut self, path: &str) {
        self.fs.remove_file(path).expect("removed");
        self.fs.sync().expect("synced");
        self.files.remove(path);
    }

    fn punch(&mut self, path: &str, at: usize, len: usize) {
        let file = OpenOptions::new().write(true).open(&self.fs, path);
        let file = file.expect("opened");
        file.punch_hole(at as u64, len as u64).expect("punched");
        file.sync().expect("synced");
        self.files.get_mut(path).expect("it is there")[at..at + len].fill(0);
    }

    fn reopen(&mut self) {
        audit(&self.fs).expect("counted right");
        self.fs.close().expect("closed");
        self.fs = self.settings.open(&self.medium).expect("opened again");
    }

    /// What is there now, after a crash, and what a check says of it.
    fn check(&self) {
        read(&self.fs, &self.files);
        audit(&self.fs).expect("counted right");
        let crashed = self.medium.crash(&Image::default());
        let checked = check_directory(Arc::new(crashed.clone()), &mut |_| {}).expect("checked");
        assert!(checked.is_sound(), "{:#?}", checked.problems);
        let fs = self.settings.open(&crashed).expect("opened after a crash");
        read(&fs, &self.files);
        audit(&fs).expect("counted right");
    }
}

fn read(fs: &FileSystem, files: &Files) {
    for (path, bytes) in files {
        assert!(fs.read(path).expect("read") == *bytes, "{path}");
    }
}

/// The layers that are in a journal, or were.
pub fn overlays(medium: &Medium) -> Vec<Overlay> {
    #[derive(Default)]
    struct Found(Vec<Overlay>);

    impl Visitor for Found {
        fn restart(&mut self) {
            self.0.clear();
        }

        fn record(&mut self, record: Record<'_>) -> Result<(), brimfs::face::Fault> {
            if let Record::Overlay(overlay) = record {
                self.0.push(overlay);
            }
            Ok(())
        }

        fn group(&mut self, _number: u64) -> Result<(), brimfs::face::Fault> {
            Ok(())
        }
    }

    let mut found = Found::default();
    recover(&medium.fork(), &mut found).expect("recovered");
    found.0
}

#[test]
fn scattered_pages_go_over_their_chunks_and_fold() {
    let mut world = World::new(SMALL, number("BRIMFS_SEED", 1));
    world.write("/large", 4 * CHUNK);
    let mut most = 0;
    for round in 0..1600 {
        world.page("/large");
        most = most.max(
            world
                .overlays()
                .iter()
                .map(|layer| layer.layer)
                .max()
                .unwrap_or(0),
        );
        if round % 400 == 399 {
            world.check();
            world.reopen();
            read(&world.fs, &world.files);
        }
    }
    // 64 pages of each chunk at a time: the second layer makes it half of the chunk, the third drain writes it whole.
    assert!(most >= 1, "{most}");
    assert!(most < 8, "{most}");
    world.check();
}

/// What a synced overwrite of a page writes in the long run: for the journal, for what leaves it, for chunks that are written
/// whole again, and for what moves to give space back.
#[test]
fn a_long_run_of_synced_overwrites_writes_eight_times_their_bytes_at_most() {
    let settings = Settings {
        disk: Some(48 << 20),
        ..SMALL
    };
    let mut world = World::new(settings, 3);
    world.write("/large", 16 * CHUNK);
    let times = 500 * number("BRIMFS_CASES", 12);
    let before = world.medium.written();
    for _ in 0..times {
        world.page("/large");
    }
    let each = (world.medium.written() - before) / times;
    println!("{each} bytes for each page");
    assert!(each <= 8 * PAGE as u64, "{each} bytes for each page");
    world.check();
}

fn step(world: &mut World) {
    let paths: Vec<String> = world.files.keys().cloned().collect();
    let path = &paths[world.random.below(paths.len() as u64) as usize];
    let len = world.files[path].len();
    match world.random.below(100) {
        0 => world.copy(path, "/copy"),
        1 if len > CHUNK => {
            let less = world.random.below(len as u64) as usize;
            world.set_len(path, less.max(PAGE));
        }
        2 if len < CHUNK + 400_000 => {
            let more = len + world.random.below(300_000) as usize;
            world.set_len(path, more);
        }
        3 => {
            let at = world.random.below(len as u64) as usize;
            let some = world.random.below(100_000) as usize;
            world.punch(path, at, some.min(len - at));
        }
        4 if len < CHUNK + 400_000 => world.write_at(path, len, 5000),
        5 if paths.len() > 1 => world.remove(path),
        6 => world.reopen(),
        7 => world.check(),
        8 => {
            let some = world.random.below(600_000) as usize + PAGE;
            world.write("/other", some);
        }
        9..30 => {
            let at = world.random.below(len as u64) as usize;
            let some = world.random.below(10_000) as usize;
            world.write_at(path, at, some.clamp(1, len - at));
        }
        _ => world.page(path),
    }
}

#[test]
fn whatever_happens_to_files_with_layers_they_are_right() {
    let first = number("BRIMFS_SEED", 10);
    let mut layers = 0;
    for seed in first..first + number("BRIMFS_CASES", 3) {
        let mut world = World::new(SMALL, seed);
        world.write("/large", CHUNK + 300_000);
        for _ in 0..1500 {
            step(&mut world);
        }
        world.check();
        layers += world.overlays().len();
    }
    assert!(layers > 0, "no layers");
}

#[test]
fn a_store_is_opened_without_reading_what_has_layers() {
    let mut world = World::new(SMALL, 5);
    world.write("/large", 4 * CHUNK);
    world.drain("/large");
    world.fs.close().expect("closed");
    let resident = |fs: &FileSystem| fs.stats().resident;
    let fs = SMALL.open(&world.medium).expect("opened");
    let before = resident(&fs);
    read(&fs, &world.files);
    let read = resident(&fs) - before;
    assert!(
        read >= 4 * CHUNK as u64,
        "{read} bytes were not there before"
    );
}

#[test]
fn copies_share_layers_until_one_of_them_changes() {
    let mut world = World::new(SMALL, 6);
    world.write("/a", 2 * CHUNK);
    world.drain("/a");
    world.copy("/a", "/b");
    world.copy("/b", "/c");
    world.check();
    world.reopen();
    world.page("/a");
    world.remove("/b");
    world.check();
    world.reopen();
    let live = world.fs.tier_stats().disk.expect("a disk").live;
    assert!(live < 5 * CHUNK as u64, "{live} bytes");
    world.drain("/c");
    world.remove("/a");
    world.check();
    world.remove("/c");
    world.reopen();
    let live = world.fs.tier_stats().disk.expect("a disk").live;
    assert_eq!(live, 0, "records without a file");
}

#[test]
fn what_is_cut_off_or_made_a_hole_stays_so() {
    for is_reopened in [false, true] {
        let mut world = World::new(SMALL, 7);
        world.write("/cut", 2 * CHUNK);
        world.drain("/cut");
        if is_reopened {
            world.reopen();
        }
        world.set_len("/cut", CHUNK + 50_000);
        world.check();
        world.punch("/cut", 100_000, 200_000);
        world.check();
        if is_reopened {
            world.reopen();
        }
        world.set_len("/cut", 2 * CHUNK);
        world.write_at("/cut", CHUNK + 700_000, 100);
        world.write_at("/cut", 150_000, 100);
        world.check();
        // Enough for the journal to be emptied.
        for _ in 0..300 {
            world.page("/cut");
        }
        world.check();
        world.reopen();
        world.check();
    }
}

fn segments(medium: &Medium) -> Vec<String> {
    let names = medium.names().into_iter();
    names.filter(|name| name.starts_with("segment-")).collect()
}

#[test]
fn layers_move_with_what_is_left_of_segments() {
    let mut world = World::new(SMALL, 8);
    world.write("/layered", 2 * CHUNK);
    world.write("/dies", CHUNK + 500_000);
    world.drain("/layered");
    world.write("/dies too", 2 * CHUNK);
    world.copy("/layered", "/copy");
    world.page("/copy");
    let layers = world.overlays();
    let first = segments(&world.medium);
    world.remove("/dies");
    world.remove("/dies too");
    for _ in 0..60 {
        world.write("/churn", CHUNK - 70_000);
    }
    let left = segments(&world.medium);
    assert!(first.iter().all(|name| !left.contains(name)), "{left:?}");
    world.check();
    assert!(!layers.is_empty());
    world.drain("/layered");
    world.check();
    world.reopen();
    read(&world.fs, &world.files);
    world.remove("/layered");
    world.remove("/copy");
    world.remove("/churn");
    world.reopen();
    assert_eq!(world.fs.tier_stats().disk.expect("a disk").live, 0);
}

/// The place of a layer's record in the file of its segment, which is not there twice.
fn hurt(medium: &Medium, layer: &Overlay) {
    let name = format!("segment-{:016x}", layer.segment);
    medium.damage(&name, |bytes| {
        // Behind its header.
        bytes[layer.place as usize + 64 + 100] ^= 1;
    });
}

fn pages(layer: &Overlay) -> impl Iterator<Item = usize> {
    let words = layer.pages.to_words();
    (0..256).filter(move |page| words[page / 64] >> (page % 64) & 1 == 1)
}

#[test]
fn a_damaged_layer_is_named_and_its_pages_are_lost() {
    let mut world = World::new(SMALL, 9);
    world.write("/hurt", 2 * CHUNK + 5000);
    world.write("/whole", 100_000);
    let old = world.files.clone();
    world.drain("/hurt");
    world.fs.close().expect("closed");
    let layers = overlays(&world.medium);
    let layer = layers.last().expect("a layer");
    hurt(&world.medium, layer);
    let fs = SMALL.open(&world.medium).expect("opened");
    let error: Error = fs.read("/hurt").expect_err("a part is lost");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    drop(fs);
    let directory = Arc::new(world.medium.clone());
    let report = check_directory(directory.clone(), &mut |_| {}).expect("checked");
    assert!(!report.problems.is_empty());
    // A record that is damaged loses 16 KiB of it: four pages, or all if it is packed.
    let first: Vec<usize> = pages(layer).take(4).collect();
    for problem in &report.problems {
        assert_eq!(problem.paths, [b"/hurt".to_vec()], "{problem}");
        let range = problem.range.clone().expect("a range");
        let start = (range.start - layer.offset) as usize / PAGE;
        assert!(pages(layer).any(|page| page == start), "{problem}");
    }
    let repaired = repair_directory(directory, None, &mut |_| {}).expect("repaired");
    let loss = repaired
        .losses
        .iter()
        .find(|loss| loss.paths == [b"/hurt".to_vec()])
        .expect("a loss");
    let now = loss.now.clone().expect("what is left");
    let fs = SMALL.open(&world.medium).expect("opened");
    assert!(fs.read("/whole").expect("read") == world.files["/whole"]);
    let found = fs.read(&now).expect("read");
    let right = &world.files["/hurt"];
    let is_lost = |at: usize| {
        let at = at as u64;
        loss.ranges.iter().any(|range| range.contains(&at))
    };
    for page in first {
        assert!(is_lost(layer.offset as usize + page * PAGE), "{page}");
    }
    for at in 0..right.len() {
        let is_right = found[at] == right[at] || is_lost(at) && found[at] == 0;
        assert!(is_right, "{at}: {} was {}", found[at], old["/hurt"][at]);
    }
    fs.close().expect("closed");
    drop(fs);
    let report = check_directory(Arc::new(world.medium.clone()), &mut |_| {}).expect("checked");
    assert!(report.is_sound(), "{:#?}", report.problems);
}

#[test]
fn a_damaged_base_loses_what_no_layer_has() {
    let mut world = World::new(SMALL, 11);
    world.write("/hurt", 2 * CHUNK);
    world.drain("/hurt");
    world.fs.close().expect("closed");
    let layers = overlays(&world.medium);
    // The base was written first.
    world.medium.damage(&segments(&world.medium)[0], |bytes| {
        bytes[PAGE + 64 + 100] ^= 1;
    });
    let output = Arc::new(Medium::new());
    let directory = Arc::new(world.medium.clone());
    let report = repair_directory(directory, Some(output.clone()), &mut |_| {}).expect("repaired");
    let loss = &report.losses[0];
    let fs = SMALL.open(&output).expect("opened");
    let found = fs
        .read(loss.now.as_ref().expect("what is left"))
        .expect("read");
    let right = &world.files["/hurt"];
    let is_lost = |at: usize| loss.ranges.iter().any(|range| range.contains(&(at as u64)));
    for layer in &layers {
        for page in pages(layer) {
            assert!(!is_lost(layer.offset as usize + page * PAGE), "{page}");
        }
    }
    assert!((0..4 * PAGE).any(is_lost));
    for at in 0..right.len() {
        assert!(
            found[at] == right[at] || is_lost(at) && found[at] == 0,
            "{at}"
        );
    }
}

/// Drains, a copy, a drain over layers, and a chunk that is written whole again.
#[test]
fn every_crash_of_a_drain_leaves_a_prefix() {
    const CHUNK: u32 = 1 << 20;
    let before = [write("/a", 1, CHUNK + 200_000), write("/b", 2, 30_000)];
    let medium = past(TINY, &before);
    let mut steps = Vec::new();
    for round in 0..20 {
        let at = u64::from(round % 4) * 250_000 + 1000;
        steps.push(Step::WriteAt {
            path: "/a",
            at,
            data: Data {
                seed: 3 + round,
                len: 60_000,
            },
        });
        steps.push(Step::Sync);
        if round == 9 {
            let (from, to) = ("/a".into(), "/c".into());
            steps.push(Step::Do(Op::Copy { from, to }));
        }
    }
    steps.push(Step::Close);
    let life = live(TINY, &medium, &before, &steps);
    assert!(!overlays(&medium).is_empty(), "no layers");
    let mut explorer = Explorer::new(6, number("BRIMFS_IMAGES", 8) as usize / 4, 24);
    explorer.explore(TINY, &life, 0, &|| "drain".to_owned());
    explorer
        .tally
        .finish(super::TALLIES, "filesystem, every crash of a drain");
    let fs = TINY.open(&medium.fork()).expect("opened");
    let last = tree(&fs).expect("a tree");
    assert!(life.history.last() == Some(&last));
}

#[test]
fn patched_chunks_leave_memory_though_the_disk_has_no_room_for_two_of_each() {
    const HALF: usize = 3 << 19;
    for (files, patches, is_synced_before) in [
        (9, 3, false),
        (9, 8, false),
        (10, 1, true),
        (10, 2, true),
        (10, 3, true),
        (10, 8, false),
        (10, 8, true),
    ] {
        let medium = Medium::new();
        let fs = FileSystem::builder()
            .memory_limit(16 << 20)
            .disk_limit(32 << 20)
            .durability(Durability::Manual)
            .open_in(Arc::new(medium.clone()))
            .expect("opened");
        let mut oracle: Vec<Vec<u8>> = (0..files).map(|n| vec![n as u8 + 1; HALF]).collect();
        for (n, content) in oracle.iter().enumerate() {
            fs.write_slice(format!("/{n}"), content).unwrap();
        }
        if is_synced_before {
            fs.sync().unwrap();
        }
        for (n, content) in oracle.iter_mut().enumerate() {
            let path = format!("/{n}");
            let file = OpenOptions::new().write(true).open(&fs, path).unwrap();
            for patch in 0..patches {
                let at = patch * 700_001 % HALF + n * 31;
                file.write_at(at as u64, b"patch").unwrap();
                content[at..at + 5].copy_from_slice(b"patch");
            }
        }
        fs.sync().unwrap();
        fs.gc(0.0).unwrap();
        let units = |n: usize| fs.explain(format!("/{n}")).unwrap().resident.units;
        assert_eq!((0..files).map(units).sum::<u64>(), 0, "{files} {patches}");
        let after = medium.crash(&Image::default());
        fs.close().unwrap();
        for medium in [after, medium] {
            let fs = FileSystem::builder()
                .memory_limit(16 << 20)
                .disk_limit(32 << 20)
                .open_in(Arc::new(medium))
                .expect("opened again");
            for (n, content) in oracle.iter().enumerate() {
                assert!(fs.read(format!("/{n}")).unwrap() == *content, "{n}");
            }
        }
    }
}
