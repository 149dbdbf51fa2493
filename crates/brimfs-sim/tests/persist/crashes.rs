//! The power goes off after every call of the disk, and again while the store is opened.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use brimfs::{Durability, FileSystem};
use brimfs_sim::medium::{Disorder, Image, Medium, Random};
use brimfs_sim::op::{Data, Op, Raw, RenameHow, XattrHow};
use brimfs_sim::run::sequence;
use brimfs_sim::tally::Tally;

use super::tree::tree;
use super::world::{Life, ROOMY, Settings, Step, audit, check, found, live, past};
use super::{TALLIES, number};

const CHUNK: u32 = 1 << 20;

/// What was seen, and how much survived.
#[derive(Default)]
pub(super) struct Explorer {
    seen: HashSet<(u64, usize, usize)>,
    pub(super) tally: Tally,
    random: Random,
    /// Images of one moment, for each disorder.
    samples: usize,
    /// One in so many images is opened for work.
    sparse: u64,
}

impl Explorer {
    pub(super) fn new(seed: u64, samples: usize, sparse: u64) -> Self {
        Explorer {
            random: Random::new(seed),
            samples,
            sparse,
            ..Explorer::default()
        }
    }

    /// The power goes off at every call of a life, from when so many steps were durable.
    pub(super) fn explore(
        &mut self,
        settings: Settings,
        life: &Life,
        from: usize,
        case: &dyn Fn() -> String,
    ) {
        for frame in &life.frames {
            let call = frame.calls();
            let (first, last) = life.allowed(call);
            if first < from {
                continue;
            }
            let both = [Disorder::Journaled, Disorder::Any];
            let disorders = match self.samples {
                2.. => &both[..],
                _ => &both[self.random.below(2) as usize..][..1],
            };
            let samples = if life.was_open(call) { self.samples } else { 1 };
            for &disorder in disorders {
                for image in frame.images(disorder, samples, &mut self.random) {
                    if self.seen.insert((frame.key(&image), first, last)) {
                        let after = frame.crash(&image);
                        let case = || format!("{}, off before call {call}, {image:?}", case());
                        self.image(settings, life, call, &after, &case);
                    }
                }
            }
        }
        self.seen.clear();
    }

    fn image(
        &mut self,
        settings: Settings,
        life: &Life,
        call: u64,
        after: &Medium,
        case: &dyn Fn() -> String,
    ) {
        let before = after.fork();
        // Nothing that a crash leaves is a problem: what was interrupted is no damage, content that no record
        // refers to is nobody's, and nodes without names are counted and not reported.
        let checked = check(after).unwrap_or_else(|text| panic!("{}: {text}", case()));
        let may_be_none = life.may_be_none(call);
        assert!(checked.is_some() || may_be_none, "{}: no store", case());
        let (fs, tree) = found(settings, after).unwrap_or_else(|text| panic!("{}: {text}", case()));
        let place = life.place(call, &tree);
        let place = place.unwrap_or_else(|text| panic!("{}: {text}", case()));
        let (first, last) = life.allowed(call);
        self.tally.note(first > 0, place - first, last - first);
        if !self.random.one_in(self.sparse) {
            return;
        }
        work(&fs);
        let worked = self::tree(&fs).expect("a tree");
        fs.sync()
            .unwrap_or_else(|error| panic!("{}, then: {error}", case()));
        audit(&fs).unwrap_or_else(|text| panic!("{}, then: {text}", case()));
        let last = after.crash(&Image::default());
        drop(fs);
        check_again(&last, case);
        match found(settings, &last) {
            Ok((_, again)) if again == worked => {}
            Ok((_, again)) => panic!(
                "{}, then work, sync and off:\n{}",
                case(),
                again.difference(&worked)
            ),
            Err(text) => panic!("{}, then work, sync and off: {text}", case()),
        }
        if self.random.one_in(2) {
            self.second_crash(settings, &before, &tree, case);
        }
    }

    /// The power goes off while the store is opened and worked on.
    fn second_crash(
        &mut self,
        settings: Settings,
        medium: &Medium,
        before: &super::tree::Tree,
        case: &dyn Fn() -> String,
    ) {
        medium.film();
        let opened = settings.open(medium);
        let fs = opened.unwrap_or_else(|error| panic!("{}: {error}", case()));
        let began = medium.calls();
        work(&fs);
        let worked = tree(&fs).expect("a tree");
        let done = fs.sync();
        done.unwrap_or_else(|error| panic!("{}: {error}", case()));
        let frames = medium.frames();
        let ended = frames[frames.len() - 1].calls();
        for frame in &frames {
            let call = frame.calls();
            if !self.random.one_in(3) {
                continue;
            }
            let disorder = match self.random.one_in(2) {
                true => Disorder::Any,
                false => Disorder::Journaled,
            };
            let image = frame.sample_image(disorder, &mut self.random);
            let case = || format!("{}; then off before call {call}, {image:?}", case());
            let after = frame.crash(&image);
            let checked = check(&after).unwrap_or_else(|text| panic!("{}: {text}", case()));
            let may_be_none = call < began && before.is_bare();
            assert!(checked.is_some() || may_be_none, "{}: no store", case());
            let (_, found) =
                found(settings, &after).unwrap_or_else(|text| panic!("{}: {text}", case()));
            // With each call durable work may have survived by half.
            let may_be_old = call < ended;
            let may_be_new = call > began;
            let is_between = settings.durability == Durability::Sync && may_be_old && may_be_new;
            // A store that was not finished is begun anew, at another time.
            let is_old = found == *before || found.is_bare() && before.is_bare();
            if !(may_be_old && is_old || may_be_new && found == worked || is_between) {
                panic!("{}:\n{}", case(), found.difference(before));
            }
            self.tally.second += 1;
        }
    }
}

/// A store that was worked on is there and sound.
fn check_again(medium: &Medium, case: &dyn Fn() -> String) {
    match check(medium) {
        Ok(Some(_)) => {}
        Ok(None) => panic!("{}, then work, sync and off: no store", case()),
        Err(text) => panic!("{}, then work, sync and off: {text}", case()),
    }
}

/// Something that every filesystem can do.
fn work(fs: &FileSystem) {
    fs.write("/after the crash", vec![7; 70_000])
        .expect("written");
    fs.create_dir_all("/after/that").expect("created");
}

fn raw(path: &str) -> Raw {
    Raw::from(path)
}

pub(super) fn write(path: &str, seed: u8, len: u32) -> Step {
    Step::Do(Op::WriteAll {
        path: raw(path),
        data: Data { seed, len },
        adopt: seed.is_multiple_of(2),
    })
}

fn rename(from: &str, to: &str, how: RenameHow) -> Step {
    Step::Do(Op::Rename {
        from: raw(from),
        to: raw(to),
        how,
    })
}

fn mkdir(path: &str) -> Step {
    let (path, mode) = (raw(path), 0o755);
    Step::Do(Op::Mkdir { path, mode })
}

/// What is there before a short workload begins.
fn usual() -> Vec<Step> {
    vec![
        mkdir("/d"),
        write("/a", 1, 100),
        write("/b", 2, 70_000),
        // Two chunks and a hole: what is dense is read again for every image.
        write("/d/c", 3, 20_000),
        Step::WriteAt {
            path: "/d/c",
            at: u64::from(CHUNK) + 1000,
            data: Data { seed: 3, len: 4000 },
        },
        Step::Do(Op::Symlink {
            target: raw("a"),
            link: raw("/s"),
        }),
        mkdir("/d/empty"),
    ]
}

/// The steps of short workloads. All succeed on what is there at first.
fn alphabet() -> Vec<Step> {
    let unlink = |path| Step::Do(Op::Unlink { path: raw(path) });
    let truncate = |path, len| {
        let path = raw(path);
        Step::Do(Op::Truncate { path, len })
    };
    let append = |path, seed, len| {
        let (path, data) = (raw(path), Data { seed, len });
        Step::Do(Op::Append { path, data })
    };
    let copy = |from, to| {
        let (from, to) = (raw(from), raw(to));
        Step::Do(Op::Copy { from, to })
    };
    vec![
        write("/n", 4, 0),
        write("/a", 5, 4096),
        write("/b", 6, 2 * CHUNK + 10),
        write("/d/c", 7, 100),
        Step::WriteAt {
            path: "/d/c",
            at: u64::from(CHUNK) - 10,
            data: Data { seed: 8, len: 30 },
        },
        append("/a", 9, 4096),
        append("/b", 10, 10),
        truncate("/b", 10),
        truncate("/d/c", 20_000),
        truncate("/a", 3 << 20),
        rename("/a", "/b", RenameHow::Replace),
        rename("/d", "/e", RenameHow::Replace),
        rename("/b", "/d", RenameHow::Exchange),
        unlink("/b"),
        Step::Do(Op::Link {
            existing: raw("/a"),
            new: raw("/d/l"),
        }),
        Step::Do(Op::Symlink {
            target: raw("d"),
            link: raw("/t"),
        }),
        mkdir("/d/m"),
        Step::Do(Op::Rmdir {
            path: raw("/d/empty"),
        }),
        Step::Do(Op::Chmod {
            path: raw("/b"),
            mode: 0o600,
        }),
        Step::Do(Op::SetXattr {
            path: raw("/a"),
            name: raw("user.a"),
            value: Data { seed: 1, len: 30 },
            how: XattrHow::Set,
        }),
        copy("/b", "/copy"),
        copy("/d/c", "/a"),
        Step::Do(Op::RmTree { path: raw("/d") }),
        Step::Do(Op::CopyTree {
            from: raw("/d"),
            to: raw("/dd"),
        }),
    ]
}

/// All workloads of one and of two steps, each followed by a sync.
fn short_workloads(explorer: &mut Explorer, settings: Settings) {
    let usual = usual();
    let medium = past(settings, &usual);
    let mut explore = |steps: &[Step], from| {
        let life = live(settings, &medium.fork(), &usual, steps);
        explorer.explore(settings, &life, from, &|| {
            format!("{settings:?}, {steps:?}")
        });
    };
    let alphabet = alphabet();
    for first in &alphabet {
        explore(&[first.clone(), Step::Sync, Step::Close], 0);
        for second in &alphabet {
            let sync = Step::Sync;
            // What comes before the first sync was explored by itself.
            explore(&[first.clone(), sync.clone(), second.clone(), sync], 2);
        }
    }
}

/// Images of one moment of a short workload, for each disorder. A soak takes more.
fn samples() -> usize {
    number("BRIMFS_IMAGES", 128) as usize
}

/// So many images there are at least. With more samples than usual there are hardly more for each: little is pending, and
/// only images that differ count.
fn images_least() -> u64 {
    samples().min(128) as u64 * 300
}

#[test]
fn every_crash_of_every_short_workload_leaves_a_prefix() {
    let mut explorer = Explorer::new(1, samples(), 64);
    short_workloads(&mut explorer, ROOMY);
    explorer
        .tally
        .finish(TALLIES, "filesystem, every crash of every short workload");
    explorer.tally.check_enough(images_least());
    let of_two = |survived| explorer.tally.count(survived, 2);
    assert!(
        of_two(0) > 100 && of_two(2) > 100,
        "a step and its sync survive not at all and whole"
    );
}

#[test]
fn every_crash_of_every_short_workload_whose_calls_are_durable_leaves_a_prefix() {
    let settings = Settings {
        durability: Durability::Sync,
        ..ROOMY
    };
    let mut explorer = Explorer::new(2, samples(), 64);
    short_workloads(&mut explorer, settings);
    explorer.tally.finish(
        TALLIES,
        "filesystem, every crash of every short workload whose calls are durable",
    );
    explorer.tally.check_enough(images_least());
}

#[test]
fn every_crash_of_the_first_opening_leaves_nothing_or_an_empty_store() {
    let mut explorer = Explorer::new(3, 64, 4);
    let steps = [write("/a", 1, 100), Step::Sync, Step::Close];
    let life = live(ROOMY, &Medium::new(), &[], &steps);
    explorer.explore(ROOMY, &life, 0, &|| "a new store".to_owned());
    explorer
        .tally
        .finish(TALLIES, "filesystem, every crash of the first opening");
}

/// A change through a handle that spans chunks, as the changes of single chunks that it is: it need not be there
/// whole or not at all, and a commit may come in between because much waits for it.
fn atomic(op: Op) -> Vec<Op> {
    let chunk = u64::from(CHUNK);
    // So much is appended at once, wherever the end is.
    let most = chunk / 2;
    let at_most = |data: Data| Data {
        len: data.len.min(most as u32),
        ..data
    };
    let pieces = |at: u64, len: u64| {
        let mut pieces = Vec::new();
        let (mut from, end) = (at, at.saturating_add(len));
        while from < end {
            let to = end.min((from / most + 1) * most);
            pieces.push((from, to - from));
            from = to;
        }
        pieces
    };
    match op {
        Op::WriteAt { slot, at, data }
            if u64::from(data.len) > most || at % chunk + u64::from(data.len) > chunk =>
        {
            let piece = |(at, len)| Op::WriteAt {
                slot,
                at,
                data: Data {
                    len: len as u32,
                    ..data
                },
            };
            pieces(at, u64::from(data.len))
                .into_iter()
                .map(piece)
                .collect()
        }
        Op::Allocate { slot, at, len } if at % chunk + len > chunk && len < 64 * chunk => {
            let piece = |(at, len)| Op::Allocate { slot, at, len };
            pieces(at, len).into_iter().map(piece).collect()
        }
        Op::PunchHole { slot, at, len } if at % chunk + len > chunk && len < 64 * chunk => {
            let piece = |(at, len)| Op::PunchHole { slot, at, len };
            pieces(at, len).into_iter().map(piece).collect()
        }
        Op::Append { path, data } => vec![Op::Append {
            path,
            data: at_most(data),
        }],
        // Where it would go is not known here.
        Op::Write { slot, data } => vec![Op::WriteAt {
            slot,
            at: 0,
            data: at_most(data),
        }],
        op => vec![op],
    }
}

/// A world that a seed draws: a long workload, synced now and then, with little memory or much.
fn world(seed: u64, explorer: &mut Explorer) {
    let mut random = Random::new(seed);
    let settings = Settings {
        memory: [16 << 20, 64 << 20][random.below(2) as usize],
        durability: match random.below(4) {
            0 => Durability::Sync,
            _ => Durability::Manual,
        },
        disk: [Some(64 << 20), Some(256 << 20), None][random.below(3) as usize],
    };
    let often = 3 + random.below(12);
    let mut steps = Vec::new();
    for op in sequence(seed, 40).into_iter().flat_map(atomic) {
        steps.push(Step::Do(op));
        if random.one_in(often) {
            steps.push(Step::Sync);
        }
    }
    if random.one_in(4) {
        // More than little memory holds.
        for number in 0..14 {
            let path = format!("/large{}", random.below(9));
            let len = random.below(3 << 20) as u32;
            let place = random.below(steps.len() as u64) as usize;
            steps.insert(place, write(&path, number, len));
        }
    }
    if random.one_in(2) {
        steps.push(Step::Close);
    }
    let life = live(settings, &Medium::new(), &[], &steps);
    explorer.explore(settings, &life, 0, &|| format!("{settings:?}"));
}

#[test]
fn sampled_crashes_of_long_workloads_leave_a_prefix() {
    let cases = number("BRIMFS_CASES", 60);
    let first = number("BRIMFS_SEED", 1);
    let mut explorer = Explorer::new(first, 1, 16);
    for seed in first..first + cases {
        explorer.random = Random::new(seed);
        let tried = catch_unwind(AssertUnwindSafe(|| world(seed, &mut explorer)));
        if tried.is_err() {
            panic!(
                "reproduce: BRIMFS_SEED={seed} BRIMFS_CASES=1 cargo test -p brimfs-sim --test persist sampled_crashes"
            );
        }
    }
    explorer
        .tally
        .finish(TALLIES, "filesystem, sampled crashes of long workloads");
}
