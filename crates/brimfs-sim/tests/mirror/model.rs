//! Random changes of a mirror and of a filesystem in memory, which is held against the reference model elsewhere: what the
//! host has after a commit is what that one has. One seed is one run; a failure names it.

use brimfs::{FileSystem, OpenOptions};

use super::world::{Place, builder, tree_of};

/// A generator of numbers that one seed determines.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.roll(3);
        (0..depth)
            .map(|_| format!("/{}", ["a", "b", "c", "d"][self.roll(4) as usize]))
            .collect()
    }
}

type Change = Box<dyn Fn(&FileSystem) -> brimfs::Result<()>>;

fn change(dice: &mut Dice) -> (String, Change) {
    let (one, other) = (dice.path(), dice.path());
    let len = [0, 1, 100, 200, 5000, 70_000, 1_100_000][dice.roll(7) as usize];
    let (byte, at) = (dice.roll(256) as u8, dice.roll(1_500_000));
    let kind = dice.roll(14);
    let text = format!("{kind}: {one} {other} {len} {byte} {at}");
    let done: Change = match kind {
        0..=3 => Box::new(move |fs| fs.write(&one, vec![byte; len])),
        4 => Box::new(move |fs| {
            let file = OpenOptions::new().read(true).write(true).open(fs, &one)?;
            file.write_at(at, &vec![byte; len.min(5000)]).map(drop)
        }),
        5 => Box::new(move |fs| fs.create_dir(&one)),
        6 => Box::new(move |fs| fs.create_dir_all(&one)),
        7 => Box::new(move |fs| fs.remove_file(&one)),
        8 => Box::new(move |fs| fs.remove_dir_all(&one)),
        9..=10 => Box::new(move |fs| fs.rename(&one, &other)),
        11 => Box::new(move |fs| fs.symlink(&other, &one)),
        12 => Box::new(move |fs| fs.hard_link(&one, &other)),
        _ => Box::new(move |fs| fs.copy(&one, &other).map(drop)),
    };
    (text, done)
}

fn run(seed: u64) {
    let place = Place::new();
    let mut dice = Dice(seed);
    let memory = [16, 64][dice.roll(2) as usize];
    let open = || {
        builder()
            .memory_limit(memory << 20)
            .open(place.root())
            .expect("a mirror")
    };
    let twin = FileSystem::builder()
        .memory_limit(256 << 20)
        .build()
        .expect("a filesystem");
    let mut fs = open();
    let mut done = Vec::new();
    for _ in 0..60 {
        for _ in 0..dice.roll(6) {
            let (text, change) = change(&mut dice);
            let (found, expected) = (change(&fs), change(&twin));
            let kinds = (
                found.as_ref().err().map(|e| e.kind()),
                expected.as_ref().err().map(|e| e.kind()),
            );
            assert_eq!(
                kinds.0, kinds.1,
                "seed {seed}: {text} after {done:#?}: {found:?}"
            );
            if found.is_ok() {
                done.push(text);
            }
        }
        match dice.roll(8) {
            0 => {
                fs.close()
                    .unwrap_or_else(|error| panic!("seed {seed}: {error} after {done:#?}"));
                fs = open();
                let noticed = fs.external_changes();
                assert!(
                    noticed.is_empty(),
                    "seed {seed}: {noticed:?} after {done:#?}"
                );
                assert_eq!(
                    tree_of(&fs),
                    tree_of(&twin),
                    "seed {seed}, opened, after {done:#?}"
                );
                done.push("opened".into());
            }
            1 => {
                let noticed = fs
                    .refresh(None)
                    .unwrap_or_else(|e| panic!("seed {seed}: {e} after {done:#?}"));
                assert!(
                    noticed.is_empty(),
                    "seed {seed}: {noticed:?} after {done:#?}"
                );
                done.push("refreshed".into());
            }
            _ => {
                fs.sync()
                    .unwrap_or_else(|error| panic!("seed {seed}: {error} after {done:#?}"));
                done.push("synced".into());
            }
        }
        assert_eq!(
            place.tree(),
            tree_of(&twin),
            "seed {seed}, the host, after {done:#?}"
        );
    }
    assert_eq!(tree_of(&fs), tree_of(&twin), "seed {seed} after {done:#?}");
}

#[test]
fn the_host_has_what_memory_has() {
    let first = std::env::var("BRIMFS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    match first {
        Some(seed) => run(seed),
        None => (0..15).for_each(run),
    }
}
