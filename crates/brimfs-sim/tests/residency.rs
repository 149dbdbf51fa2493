//! Content that goes to a cold tier and comes back: what every state allows, what it costs, and
//! what happens when the tier fails.
#![cfg(not(feature = "shuttle"))]

use std::io::{BufRead, Write};
use std::sync::Arc;

use brimfs::face::{ColdPart, Fault, Identity, Location, Residents, Slot, Tier, Unit, Wait, Worth};
use brimfs::{Budget, ErrorKind, File, FileSystem, LockMode, OpenOptions};
use brimfs_sim::op::Data;
use brimfs_sim::tier::{Hostile, Manners};

const MIB: usize = 1 << 20;
const BLOCK: usize = 16 << 10;

/// Does nothing by itself.
const GENTLE: Manners = Manners {
    refuses: 0,
    evicts: 0,
    installs: 0,
    fails: 0,
};
const BROKEN: Manners = Manners {
    fails: 100,
    ..GENTLE
};

struct World {
    fs: FileSystem,
    tier: Arc<Hostile>,
    empty: u64,
}

impl World {
    fn new(memory_limit: u64, manners: Manners) -> World {
        let budget = Budget::new(memory_limit);
        let tier = Hostile::install(&budget, manners, 1);
        World::with(&budget, tier)
    }

    fn with(budget: &Budget, tier: Arc<Hostile>) -> World {
        let fs = FileSystem::builder()
            .budget(budget)
            .build()
            .expect("a filesystem");
        let empty = fs.stats().resident;
        World { fs, tier, empty }
    }

    fn gentle() -> World {
        World::new(64 << 20, GENTLE)
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

    /// All that can go goes; returns how many units that were.
    fn evict(&self) -> u64 {
        let before = self.tier.moved().0;
        self.tier.evict_all();
        self.check();
        self.tier.moved().0 - before
    }

    fn check(&self) {
        self.tier.check().expect("no complaint");
        self.fs.audit().expect("a clean audit");
    }

    /// Removes everything: nothing may be left anywhere.
    fn end(self) {
        let names: Vec<_> = self.fs.read_dir("/").expect("the root").collect();
        for name in names {
            let path = [b"/".as_slice(), name.name()].concat();
            self.fs.remove_dir_all(path).expect("removal");
        }
        self.fs.clear_caches();
        self.fs.audit().expect("a clean audit");
        self.tier.check_empty().expect("nothing left");
        let stats = self.fs.stats();
        assert_eq!((stats.resident, stats.quota_used), (self.empty, 0));
    }
}

fn bytes(len: usize) -> Vec<u8> {
    Data {
        seed: 7,
        len: u32::try_from(len).expect("a test is not that large"),
    }
    .bytes()
}

#[test]
fn small_files_give_all_their_memory_back_and_are_read_without_coming_back() {
    let world = World::gentle();
    let nodes = |fs: &FileSystem| fs.stats().resident;
    world.fs.write_slice("/nothing", b"").expect("room");
    world.fs.write_slice("/inline", &bytes(20)).expect("room");
    world.fs.write_slice("/tiny", &bytes(128)).expect("room");
    let before = nodes(&world.fs);
    for (path, len) in [("/a", 129), ("/b", 4096), ("/c", 64 << 10), ("/d", 300_000)] {
        world.fs.write_slice(path, &bytes(len)).expect("room");
        world
            .fs
            .write(format!("{path}2"), bytes(len))
            .expect("room");
    }
    let quota = world.fs.stats().quota_used;
    assert_eq!(world.evict(), 8, "all but those that never go");
    world.fs.clear_caches();
    let per_node = 128;
    assert!(nodes(&world.fs) < before + 8 * (per_node + 64));
    assert_eq!(world.fs.stats().quota_used, quota);
    for (path, len) in [("/a", 129), ("/b", 4096), ("/c", 64 << 10), ("/d", 300_000)] {
        assert_eq!(world.fs.metadata(path).expect("metadata").len(), len as u64);
        assert_eq!(world.fs.read(path).expect("content"), bytes(len));
        assert_eq!(
            world.fs.read(format!("{path}2")).expect("content"),
            bytes(len)
        );
        let file = world.fs.open(path).expect("an open file");
        let mut part = [0; 50];
        assert_eq!(
            file.read_at(100, &mut part[..]).expect("a read"),
            29.max(len.min(150) - 100)
        );
        assert_eq!(&part[..29], &bytes(len)[100..129]);
    }
    assert_eq!(world.tier.moved().1, 0, "nothing came back");
    world.check();
    world.end();
}

#[test]
fn a_tier_that_keeps_copies_need_not_write_what_was_not_changed() {
    let world = World::gentle();
    let lens = [200, 4096, 64 << 10, 300_000];
    for len in lens {
        let path = format!("/f{len}");
        world.fs.write_slice(path, &bytes(len)).expect("room");
    }
    world.evict();
    world.tier.set_manners(Manners {
        installs: 100,
        ..GENTLE
    });
    for round in 1..4 {
        for len in lens {
            let read = world.fs.read(format!("/f{len}")).expect("content");
            assert_eq!(read, bytes(len));
        }
        world.open("/f200").write_at(0, b"x").expect("a write");
        assert_eq!(world.evict(), 4);
        assert_eq!(world.tier.went_clean(), 3 * round);
        world.fs.write_slice("/f200", &bytes(200)).expect("room");
        world.evict();
    }
    world.end();
}

#[test]
fn a_file_larger_than_the_memory_limit_is_written_read_and_changed() {
    let limit = 6 << 20;
    for as_a_whole in [false, true] {
        let world = World::new(limit, GENTLE);
        let mut expected = bytes(20 * MIB + 12_345);
        if as_a_whole {
            world
                .fs
                .write("/large", expected.clone())
                .expect("it spills");
            // Replacing needs the quota of the difference only, and no reader sees a half.
            world
                .fs
                .write_slice("/large", &expected)
                .expect("it spills");
        } else {
            let file = world.open("/large");
            file.write_at(0, &expected).expect("it spills");
        }
        let file = world.open("/large");
        for (at, len) in [
            (MIB - 5, 10),
            (3 * MIB + 7, 2 * MIB),
            (0, 1),
            (19 * MIB, MIB),
        ] {
            let new = vec![at as u8; len];
            file.write_at(at as u64, &new).expect("a write");
            expected[at..at + len].copy_from_slice(&new);
        }
        let end = file.append(&bytes(3 * MIB)).expect("it spills");
        assert_eq!(end, expected.len() as u64);
        expected.extend_from_slice(&bytes(3 * MIB));
        let mut got = vec![0; expected.len() + 1];
        assert_eq!(file.read_at(0, &mut got).expect("a read"), expected.len());
        assert!(got[..expected.len()] == expected[..], "every byte");
        assert!(world.fs.read("/large").expect("content") == expected);
        drop(file);
        world.check();
        let stats = world.fs.stats();
        assert!(stats.resident_peak <= limit, "{stats:?}");
        assert_eq!(stats.quota_used, expected.len() as u64);
        world.end();
    }
}

#[test]
fn a_quota_error_changes_nothing_though_the_write_would_have_been_made_in_pieces() {
    let budget = Budget::new(4 << 20);
    let tier = Hostile::install(&budget, GENTLE, 1);
    let fs = FileSystem::builder()
        .budget(&budget)
        .quota(10 << 20)
        .build()
        .expect("a filesystem");
    fs.write_slice("/a", &bytes(8 * MIB)).expect("it spills");
    let file = OpenOptions::new()
        .write(true)
        .open(&fs, "/a")
        .expect("a file");
    let error = file
        .write_at(7 << 20, &bytes(5 * MIB))
        .expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    let error = file.append(&bytes(3 * MIB)).expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    let error = file.allocate(7 << 20, 5 << 20).expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    // Exactly as much as there is.
    file.write_at((7 << 20) + 5, &bytes(3 * MIB - 5))
        .expect("it fits to the byte");
    assert_eq!(fs.stats().quota_used, 10 << 20);
    file.write_at(7 << 20, &bytes(8 * MIB)[7 * MIB..])
        .expect("no more quota");
    file.set_len(8 << 20).expect("a cut");
    drop(file);
    let error = fs.write_slice("/b", &bytes(3 * MIB)).expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(fs.read("/a").expect("content") == bytes(8 * MIB));
    assert_eq!(fs.stats().quota_used, 8 << 20);
    // A whole file is replaced though both would not fit.
    fs.write_slice("/a", &bytes(9 * MIB))
        .expect("only the difference counts");
    fs.audit().expect("a clean audit");
    tier.check().expect("no complaint");
}

#[test]
fn copies_go_on_sharing_what_is_cold() {
    let world = World::gentle();
    world.fs.write_slice("/a", &bytes(3 * MIB)).expect("room");
    world.fs.copy("/a", "/b").expect("a copy");
    let quota = world.fs.stats().quota_used;
    assert_eq!(world.evict(), 3, "each chunk once");
    assert_eq!(world.fs.stats().quota_used, quota);
    world.fs.copy("/b", "/c").expect("a copy of what is cold");
    assert!(world.fs.read("/c").expect("content") == bytes(3 * MIB));
    assert_eq!(world.tier.moved().1, 0, "nobody needed it in memory");
    world
        .open("/b")
        .write_at(MIB as u64, b"own")
        .expect("a write");
    let mut expected = bytes(3 * MIB);
    expected[MIB..MIB + 3].copy_from_slice(b"own");
    world.evict();
    assert!(world.fs.read("/b").expect("content") == expected);
    assert!(world.fs.read("/a").expect("content") == bytes(3 * MIB));
    assert_eq!(world.fs.stats().quota_used, 4 << 20);
    world.end();
}

#[test]
fn a_chunk_whose_first_file_went_is_found_again_through_its_copy() {
    let world = World::gentle();
    world.fs.write_slice("/a", &bytes(3 * MIB)).expect("room");
    world.fs.copy("/a", "/b").expect("a copy");
    world.fs.remove_file("/a").expect("removal");
    assert_eq!(world.evict(), 0, "nobody knows where they are");
    let (node, _) = world.fs.resolve(b"/b").expect("a node");
    node.residents().admit_existing();
    assert_eq!(world.evict(), 3);
    assert!(world.fs.read("/b").expect("content") == bytes(3 * MIB));
    drop(node);
    world.end();
}

#[test]
fn what_a_view_shows_stays() {
    let world = World::gentle();
    world.fs.write_slice("/small", &bytes(9_000)).expect("room");
    world.fs.write_slice("/run", &bytes(3 * MIB)).expect("room");
    world.fs.write("/adopted", bytes(2 * MIB)).expect("room");
    let paths = [("/small", 9_000), ("/run", 3 * MIB), ("/adopted", 2 * MIB)];
    let views: Vec<_> = paths
        .map(|(path, _)| world.fs.view(path).expect("a view"))
        .into();
    assert_eq!(world.evict(), 0, "all of it is pinned");
    let part = views[1].slice(5..10);
    for (view, (_, len)) in views.iter().zip(paths) {
        assert!(view[..] == bytes(len)[..]);
    }
    drop(views);
    assert_eq!(world.evict(), 3, "a part of the run is still shown");
    assert_eq!(part[..], bytes(10)[5..]);
    drop(part);
    assert_eq!(world.evict(), 3);
    for (path, len) in paths {
        let view = world.fs.view(path).expect("a view of what was cold");
        assert!(view[..] == bytes(len)[..]);
        world.evict();
        assert!(view[..] == bytes(len)[..]);
        let again = world.fs.view(path).expect("another");
        assert_eq!(
            again.as_ptr(),
            view.as_ptr(),
            "{path} lies in one piece again"
        );
    }
    world.end();
}

#[test]
fn what_needs_no_bytes_works_while_the_tier_is_broken() {
    let world = World::gentle();
    world.fs.write_slice("/small", &bytes(9_000)).expect("room");
    let file = world.open("/large");
    file.write_at(0, &bytes(2 * MIB)).expect("room");
    file.write_at(3 << 20, &bytes(MIB)).expect("room");
    world.evict();
    world.tier.set_manners(BROKEN);
    assert_eq!(file.seek_hole(0).expect("extents"), Some(2 << 20));
    assert_eq!(file.seek_data(2 << 20).expect("extents"), Some(3 << 20));
    file.punch_hole(BLOCK as u64, 2 * BLOCK as u64)
        .expect("whole blocks");
    file.set_len((3 << 20) + 100).expect("a cut");
    world.fs.truncate("/small", 5_000).expect("a cut");
    file.write_at(MIB as u64, &bytes(MIB))
        .expect("a whole chunk anew");
    world.fs.copy("/large", "/copy").expect("a copy");
    world.fs.write_slice("/small2", &bytes(1)).expect("room");
    world.fs.rename("/small2", "/large2").expect("a name");
    world.check();
    world.tier.set_manners(GENTLE);
    let mut expected = vec![0; (3 << 20) + 100];
    expected[..MIB].copy_from_slice(&bytes(MIB));
    expected[BLOCK..3 * BLOCK].fill(0);
    expected[MIB..2 * MIB].copy_from_slice(&bytes(MIB));
    expected[3 << 20..].copy_from_slice(&bytes(100));
    assert!(world.fs.read("/large").expect("content") == expected);
    assert!(world.fs.read("/copy").expect("content") == expected);
    assert_eq!(
        world.fs.read("/small").expect("content"),
        bytes(9_000)[..5_000]
    );
    // What was cut off is zeros when the file grows again.
    file.set_len((3 << 20) + 200).expect("growth");
    file.write_at((3 << 20) + 150, b"x").expect("a write");
    expected.resize((3 << 20) + 200, 0);
    expected[(3 << 20) + 150] = b'x';
    assert!(world.fs.read("/large").expect("content") == expected);
    drop(file);
    world.end();
}

#[test]
fn a_failing_tier_is_an_error_that_changes_nothing() {
    let world = World::gentle();
    world.fs.write_slice("/small", &bytes(9_000)).expect("room");
    world
        .fs
        .write_slice("/large", &bytes(2 * MIB))
        .expect("room");
    world.evict();
    world.tier.set_manners(BROKEN);
    for path in ["/small", "/large"] {
        let file = world.open(path);
        let failures = [
            file.read_at(0, &mut [0; 10]).map(drop),
            file.write_at(5, b"x").map(drop),
            file.punch_hole(10, 10),
            file.view().map(drop),
            world.fs.read(path).map(drop),
        ];
        for failure in failures {
            assert_eq!(failure.expect_err("no disk").kind(), ErrorKind::Io);
        }
        drop(file);
        let (node, _) = world.fs.resolve(path.as_bytes()).expect("a node");
        let cold = world.fs.read_node(&node, 0, &mut [0; 10], Wait::Forever);
        assert_eq!(cold.expect_err("no disk").kind(), ErrorKind::Io);
    }
    world.check();
    world.tier.set_manners(GENTLE);
    assert_eq!(world.fs.read("/small").expect("content"), bytes(9_000));
    assert!(world.fs.read("/large").expect("content") == bytes(2 * MIB));
    world.end();
}

#[test]
fn what_nobody_can_take_away_is_an_error_of_the_memory_limit() {
    let world = World::new(
        4 << 20,
        Manners {
            refuses: 100,
            ..GENTLE
        },
    );
    world.fs.write_slice("/a", &bytes(3 * MIB)).expect("room");
    let error = world
        .fs
        .write_slice("/b", &bytes(2 * MIB))
        .expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit);
    world.tier.set_manners(GENTLE);
    let (node, _) = world.fs.resolve(b"/a").expect("a node");
    node.residents().admit_existing();
    world
        .fs
        .write_slice("/b", &bytes(2 * MIB))
        .expect("it can go now");
    drop(node);
    assert!(world.fs.read("/a").expect("content") == bytes(3 * MIB));
    world.end();
}

#[test]
fn a_node_remembers_its_priority_through_every_change() {
    let world = World::gentle();
    world.fs.write_slice("/a", &bytes(9_000)).expect("room");
    let (node, _) = world.fs.resolve(b"/a").expect("a node");
    assert_eq!(node.priority(), 5);
    let generation = node.metadata().generation();
    for (set, is) in [(0, 0), (9, 9), (200, 10)] {
        node.set_priority(set);
        assert_eq!(node.priority(), is);
        assert_eq!(node.metadata().generation(), generation);
    }
    world.fs.write_slice("/a", &bytes(10)).expect("room");
    assert_eq!(node.priority(), 10);
    assert_eq!(node.metadata().generation(), generation + 1);
    world.check();
    drop(node);
    world.end();
}

#[test]
fn lines_of_a_file_larger_than_memory_can_be_read() {
    let world = World::new(6 << 20, GENTLE);
    let mut file = world.open("/lines");
    let line = |number: usize| format!("{number:0>60}\n");
    for start in (0..300_000).step_by(10_000) {
        let text: String = (start..start + 10_000).map(line).collect();
        file.write_all(text.as_bytes()).expect("it spills");
    }
    drop(file);
    let file = world.open("/lines");
    for (number, read) in file.lines().enumerate() {
        assert_eq!(read.expect("a line") + "\n", line(number));
    }
    world.check();
    world.end();
}

/// A tier that says that it made room, and did not.
#[derive(Debug)]
struct Liar;

impl Tier for Liar {
    fn is_active(&self) -> bool {
        true
    }
    fn admit(&self, _: Unit, _: Identity, _: u32, _: Worth) -> Option<Slot> {
        None
    }
    fn remove(&self, _: Slot) {}
    fn resize(&self, _: Slot, _: u32) {}
    fn touch(&self, _: Slot) {}
    fn changed(&self, _: Slot, _: Identity) {}
    fn forget(&self, _: Location) {}
    fn prioritize(&self, _: Slot, _: u8) {}
    fn owned(&self, _: Slot, _: Unit) {}
    fn owned_cold(&self, _: Location, _: Unit) {}
    fn fault_in(&self, _: &Arc<dyn Residents>, _: u64) -> Result<(), Fault> {
        Ok(())
    }
    fn read_cold(&self, _: &Arc<dyn Residents>, _: &mut [ColdPart<'_>]) {}
    fn reclaim(&self, _: u64) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_ever_for_room_that_others_take() {
    let budget = Budget::new(2 << 20);
    assert!(budget.install_tier(Arc::new(Liar)));
    let fs = FileSystem::builder()
        .budget(&budget)
        .build()
        .expect("a filesystem");
    fs.write_slice("/a", &bytes(MIB)).expect("room");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .open(&fs, "/b")
        .expect("a file");
    let failures = [
        fs.write_slice("/c", &bytes(MIB)),
        fs.write("/c", bytes(MIB)),
        fs.write_slice("/c", &bytes(3 * MIB)),
        file.write_at(0, &bytes(MIB)).map(drop),
        file.write_at(MIB as u64 - 5, &bytes(10)).map(drop),
        file.allocate(0, 2 << 20),
    ];
    for failure in failures {
        assert_eq!(failure.expect_err("no room").kind(), ErrorKind::MemoryLimit);
    }
    drop(file);
    assert_eq!(fs.read("/a").expect("content"), bytes(MIB));
    assert_eq!(fs.metadata("/b").expect("a file").len(), 0);
    fs.audit().expect("a clean audit");
}
