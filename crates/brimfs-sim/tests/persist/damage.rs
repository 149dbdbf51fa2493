//! A medium that gives other bytes than it was given: an error, or the right bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use brimfs::face::check_directory;
use brimfs::{ErrorKind, FileSystem};
use brimfs_sim::medium::{Medium, Random};

use super::number;
use super::tree::{Tree, tree};
use super::world::ROOMY;

/// A closed store with content of every form, and what it holds.
fn store(is_tiny: bool) -> (Medium, Tree) {
    let medium = Medium::new();
    let fs = ROOMY.open(&medium).expect("opened");
    fs.create_dir("/d").expect("created");
    fs.write("/d/little", "little").expect("written");
    fs.symlink("d/little", "/link").expect("linked");
    if !is_tiny {
        fs.write("/a", vec![1; 70_000]).expect("written");
        fs.sync().expect("synced");
        fs.write("/d/b", vec![2; 1_500_000]).expect("written");
        fs.hard_link("/a", "/d/again").expect("linked");
        fs.write("/in the journal", vec![3; 9000]).expect("written");
    }
    fs.sync().expect("synced");
    let tree = tree(&fs).expect("a tree");
    fs.close().expect("closed");
    (medium, tree)
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Outcome {
    Refused,
    Unreadable,
    Harmless,
}

fn outcome(medium: &Medium, expected: &Tree, what: &str) -> Outcome {
    let open = || ROOMY.open(medium);
    let opened = catch_unwind(AssertUnwindSafe(open));
    let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported];
    let fs: FileSystem = match opened.unwrap_or_else(|_| panic!("{what}: opening panics")) {
        Ok(fs) => fs,
        Err(error) => {
            assert!(kinds.contains(&error.kind()), "{what}: {error:?}: {error}");
            return Outcome::Refused;
        }
    };
    match tree(&fs) {
        Ok(found) if found == *expected => Outcome::Harmless,
        Ok(found) => panic!("{what}: silently\n{}", found.difference(expected)),
        Err(error) => {
            assert!(kinds.contains(&error.kind()), "{what}: {error:?}: {error}");
            // The other files stay readable.
            for path in ["/a", "/d/b", "/d/little", "/in the journal"] {
                if let Err(error) = fs.read(path) {
                    let kind = error.kind();
                    assert!(kind == ErrorKind::Corrupt, "{what}, {path}: {error}");
                }
            }
            Outcome::Unreadable
        }
    }
}

fn print(test: &str, outcomes: &mut [Outcome]) {
    outcomes.sort_unstable();
    for same in outcomes.chunk_by(|one, next| one == next) {
        println!("{test}: {:?} {}", same[0], same.len());
    }
}

#[test]
fn sampled_damage_is_an_error_or_harmless() {
    let (medium, expected) = store(false);
    let first = number("BRIMFS_SEED", 1);
    let cases = number("BRIMFS_CASES", 1200);
    let names = medium.names();
    let mut outcomes = Vec::new();
    for seed in first..first + cases {
        let mut random = Random::new(seed);
        let hurt = medium.fork();
        let name = &names[random.below(names.len() as u64) as usize];
        let len = medium.raw(name).len() as u64;
        if len == 0 {
            continue;
        }
        // Most of a file is space for later.
        let raw = medium.raw(name);
        let used = raw.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        let bound = if random.one_in(8) { len } else { used };
        let place = random.below(bound) as usize;
        let how = random.below(4);
        let pattern = random.number();
        hurt.damage(name, |bytes| match how {
            0 | 1 => bytes[place] ^= 1 << (pattern % 8),
            2 => {
                let block = place / 4096 * 4096;
                let end = (block + 4096).min(bytes.len());
                bytes[block..end].fill(if pattern.is_multiple_of(2) { 0 } else { 0xff });
            }
            _ => bytes.truncate(place),
        });
        let what = format!(
            "reproduce: BRIMFS_SEED={seed} BRIMFS_CASES=1 cargo test -p brimfs-sim --test persist sampled_damage\n\
             {name}, way {how} at {place} of {used} of {len}"
        );
        outcomes.push(outcome(&hurt, &expected, &what));
    }
    print("sampled damage", &mut outcomes);
}

#[test]
fn every_other_byte_of_a_tiny_store_is_an_error_or_harmless() {
    let (medium, expected) = store(true);
    // A soak takes all of them.
    let step = if number("BRIMFS_CASES", 0) > 0 { 1 } else { 7 };
    let mut outcomes = Vec::new();
    for name in medium.names() {
        let raw = medium.raw(&name);
        let used = raw
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        for place in (0..used).step_by(step) {
            let hurt = medium.fork();
            hurt.damage(&name, |bytes| bytes[place] ^= 1 << (place % 8));
            outcomes.push(outcome(&hurt, &expected, &format!("{name} at {place}")));
        }
    }
    print("every other byte", &mut outcomes);
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let (medium, expected) = store(false);
    for name in medium.names() {
        let hurt = medium.fork();
        hurt.lose(&name);
        let found = outcome(&hurt, &expected, &format!("without {name}"));
        println!("without {name}: {found:?}");
    }
}

/// Cut off at every sector of the ends that hold something, of every file.
#[test]
fn a_file_that_is_cut_off_is_an_error_or_harmless() {
    let (medium, expected) = store(false);
    let mut outcomes = Vec::new();
    for name in medium.names() {
        let raw = medium.raw(&name);
        let used = raw.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        // Most of the longest one is content of one file: its last blocks, and some before.
        let near = used.saturating_sub(64 << 10);
        let far = (0..near).step_by(64 << 10);
        for end in far.chain((near..raw.len().min(used + 8192)).step_by(512)) {
            let hurt = medium.fork();
            hurt.damage(&name, |bytes| bytes.truncate(end / 512 * 512));
            let what = format!("{name} cut off at {end} of {used}");
            outcomes.push(outcome(&hurt, &expected, &what));
        }
    }
    assert!(outcomes.contains(&Outcome::Refused));
    print("cut off", &mut outcomes);
}

/// Writes that went to another file: each file has what another one should have.
#[test]
fn files_that_are_exchanged_are_an_error_or_harmless() {
    let (medium, expected) = store(false);
    let names = medium.names();
    let mut outcomes = Vec::new();
    for one in &names {
        for other in names.iter().filter(|other| *other != one) {
            let (first, second) = (medium.raw(one), medium.raw(other));
            let copied = medium.fork();
            copied.damage(one, |bytes| bytes.clone_from(&second));
            let exchanged = copied.fork();
            exchanged.damage(other, |bytes| bytes.clone_from(&first));
            for (hurt, how) in [(copied, "has what is in"), (exchanged, "exchanged with")] {
                let what = format!("{one} {how} {other}");
                outcomes.push(outcome(&hurt, &expected, &what));
            }
        }
    }
    assert!(outcomes.contains(&Outcome::Refused));
    print("exchanged", &mut outcomes);
}

/// Whatever bit of content flips, a check names the file that has it, and no other.
#[test]
fn a_check_names_the_file_whose_content_is_hurt() {
    let (medium, _) = store(false);
    let mut named = 0;
    for name in medium.names() {
        let raw = medium.raw(&name);
        let content = |range: &[u8]| match range {
            [1, ..] if range.iter().all(|byte| *byte == 1) => Some(&b"/a"[..]),
            [2, ..] if range.iter().all(|byte| *byte == 2) => Some(&b"/d/b"[..]),
            _ => None,
        };
        for place in (0..raw.len() - 64).step_by(4099) {
            let owner = content(&raw[place..place + 64]);
            let Some(owner) = owner.filter(|_| name.starts_with("segment-")) else {
                continue;
            };
            let hurt = medium.fork();
            hurt.damage(&name, |bytes| bytes[place + place % 64] ^= 1 << (place % 8));
            let report = check_directory(Arc::new(hurt), &mut |_| {}).expect("a store");
            let what = format!("{name} at {place}: {:?}", report.problems);
            assert_eq!(report.problems.len(), 1, "{what}");
            let problem = &report.problems[0];
            assert!(problem.paths.iter().any(|path| path == owner), "{what}");
            assert!(problem.range.is_some() && report.hurt == 1, "{what}");
            named += 1;
        }
    }
    println!("{named} times");
    assert!(named > 300);
}
