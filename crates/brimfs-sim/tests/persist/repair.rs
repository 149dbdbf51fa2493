//! Repairs: whatever was hurt, what is whole stays as it is, what is lost is listed, and nothing wrong is served as
//! right.

use std::collections::BTreeMap;
use std::sync::Arc;

use brimfs::face::{check_directory, repair_directory};
use brimfs::{Error, ErrorKind, FileSystem, OpenOptions, RepairReport};
use brimfs_sim::medium::{Medium, Random};

use super::number;
use super::overlays::overlays;
use super::world::{ROOMY, Settings, audit};

/// Content by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A closed store, and what it held after each commit.
pub struct Life {
    pub medium: Medium,
    history: Vec<Files>,
}

impl Life {
    pub fn last(&self) -> &Files {
        self.history.last().expect("one commit at least")
    }
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words = (0..len.div_ceil(8)).flat_map(|_| random.number().to_le_bytes());
    words.take(len).collect()
}

/// Lives for a while; `commits` are more than a journal has without a checkpoint, or fewer.
pub fn life(seed: u64, commits: usize) -> Life {
    let medium = Medium::new();
    let mut random = Random::new(seed);
    let mut fs = ROOMY.open(&medium).expect("opened");
    let mut files = Files::new();
    for name in ["d0", "d1", "d0/d2"] {
        fs.create_dir(format!("/{name}")).expect("created");
    }
    fs.symlink("d0", "/link").expect("linked");
    let mut history = Vec::new();
    for commit in 0..commits {
        for _ in 0..random.below(4) + 1 {
            step(&fs, &mut files, &mut random, commits > 100);
        }
        fs.sync().expect("synced");
        history.push(files.clone());
        if commit % 290 == 289 || random.one_in(40) {
            fs.close().expect("closed");
            fs = ROOMY.open(&medium).expect("opened again");
        }
    }
    fs.close().expect("closed");
    Life { medium, history }
}

fn step(fs: &FileSystem, files: &mut Files, random: &mut Random, is_little: bool) {
    let directories = ["", "/d0", "/d1", "/d0/d2"];
    let path = |random: &mut Random| {
        let directory = directories[random.below(4) as usize];
        format!("{directory}/f{}", random.below(6))
    };
    let sizes = [0, 40, 3000, 20_000, 70_000, 300_000, 1_500_000];
    let (one, other) = (path(random), path(random));
    let size = sizes[random.below(if is_little { 3 } else { 7 }) as usize];
    match random.below(8) {
        0..=3 => {
            let content = noise(size, random.number());
            fs.write(&one, content.clone()).expect("written");
            files.insert(one, content);
        }
        4 => {
            if let Some(content) = files.get_mut(&one) {
                let at = random.below(content.len() as u64 + 1) as usize;
                let bytes = noise(5000, random.number());
                let file = OpenOptions::new()
                    .write(true)
                    .open(fs, &one)
                    .expect("opened");
                file.write_at(at as u64, &bytes).expect("written");
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        5 => {
            if files.contains_key(&one) && one != other {
                fs.rename(&one, &other).expect("renamed");
                let content = files.remove(&one).expect("it is there");
                files.insert(other, content);
            }
        }
        6 => {
            if files.remove(&one).is_some() {
                fs.remove_file(&one).expect("removed");
            }
        }
        _ => {
            if files.contains_key(&one) && one != other {
                fs.copy(&one, &other).expect("copied");
                files.insert(other, files[&one].clone());
            }
        }
    }
}

/// Hurts a store in some ways, which are told.
pub fn hurt(medium: &Medium, random: &mut Random) -> String {
    let mut told = String::new();
    let names: Vec<String> = medium
        .names()
        .into_iter()
        .filter(|name| name != "lock" && name != "reserve")
        .collect();
    for _ in 0..random.below(3) + 1 {
        let name = &names[random.below(names.len() as u64) as usize];
        if !medium.names().contains(name) {
            continue;
        }
        let raw = medium.raw(name);
        let used = raw.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        let place = random.below(used) as usize;
        let (how, bit) = (random.below(10), random.below(8));
        told += &format!("{name}: way {how} at {place} of {used}; ");
        match how {
            0 => medium.lose(name),
            1 => medium.damage(name, |bytes| bytes.truncate(place)),
            2 | 3 => {
                let len = random.below(40_000) as usize;
                medium.damage(name, |bytes| {
                    let end = (place + len).min(bytes.len());
                    bytes[place.min(end)..end].fill(0);
                });
            }
            _ => medium.damage(name, |bytes| {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << bit;
                }
            }),
        }
    }
    told
}

pub fn repair(medium: &Medium) -> Result<RepairReport, String> {
    let directory = Arc::new(medium.clone());
    repair_directory(directory, None, &mut |_| {}).map_err(|fault| {
        let kind = fault.kind();
        let text = format!("{kind:?}: {}", fault.at("repair", b"x"));
        // Who damages a header in two places may make it one of another format.
        let kinds = [
            ErrorKind::Corrupt,
            ErrorKind::NotFound,
            ErrorKind::Unsupported,
        ];
        assert!(kinds.contains(&kind), "{text}");
        text
    })
}

/// Content of all files, all of which can be read.
fn files(fs: &FileSystem) -> Result<Files, Error> {
    let mut files = Files::new();
    for entry in fs.walk("/")? {
        if entry.metadata().is_file() {
            let path = String::from_utf8(entry.path().to_vec()).expect("text");
            files.insert(path, fs.read(entry.path())?.to_vec());
        }
    }
    Ok(files)
}

pub fn opened(medium: &Medium, settings: Settings) -> Files {
    let fs = settings
        .open(medium)
        .unwrap_or_else(|error| panic!("opened: {error}"));
    let files = files(&fs).unwrap_or_else(|error| panic!("read: {error}"));
    audit(&fs).expect("counted right");
    fs.close().expect("closed");
    files
}

/// Looks whether what a repair left is right, if `before` was hurt.
fn verify(life: &Life, before: &Medium, after: &Medium, report: &RepairReport) -> Files {
    let checked = check_directory(Arc::new(after.clone()), &mut |_| {}).expect("checked");
    assert!(checked.is_sound(), "{:#?}", checked.problems);
    let again = repair(&after.fork()).expect("repaired again");
    assert!(!again.is_changed, "{again:?}");
    if report.is_changed {
        // Whoever opens it may move records, and remove what they lay in.
        kept(before, after, report);
    }
    let found = opened(after, ROOMY);
    // Damage of the last two files at once cannot be told from an append that was interrupted.
    let names = life.medium.names().into_iter();
    let journals = names.filter(|name| name.starts_with("journal-"));
    let is_other =
        |name: &String| !before.names().contains(name) || before.raw(name) != life.medium.raw(name);
    let is_told = journals.filter(is_other).count() < 2;
    if !report.is_changed {
        let is_earlier = found.is_empty() || life.history.contains(&found);
        let is_right = found == *life.last() || !is_told && is_earlier;
        assert!(is_right, "nothing was said to be wrong");
        return found;
    }
    let listed = |path: &String| {
        let is_it = |other: &Vec<u8>| other == path.as_bytes();
        report
            .losses
            .iter()
            .any(|loss| loss.paths.iter().any(is_it))
    };
    let in_place: Files = found
        .iter()
        .filter(|(path, _)| !path.starts_with("/lost+found/"))
        .map(|(path, content)| (path.clone(), content.clone()))
        .collect();
    let matches = |state: &Files| {
        in_place
            .iter()
            .all(|(path, content)| state.get(path) == Some(content))
            && state
                .keys()
                .all(|path| in_place.contains_key(path) || listed(path))
    };
    let is_partial = report
        .before
        .problems
        .iter()
        .any(|problem| problem.text.starts_with("checkpoint"));
    if !report.before.journal_damaged && is_told {
        assert!(matches(life.last()), "{:#?}", report.losses);
    } else if !is_partial {
        let is_first = life.history.iter().any(matches) || matches(&Files::new());
        assert!(is_first, "no state that ever was: {:#?}", report.losses);
    }
    let was_there = |content: &Vec<u8>| {
        life.history
            .iter()
            .any(|state| state.values().any(|other| other == content))
    };
    for (path, content) in &found {
        let is_named_so =
            path.starts_with("/lost+found/damaged/") || path.starts_with("/lost+found/report");
        assert!(
            is_named_so || was_there(content),
            "{path} is not what it was"
        );
    }
    found
}

/// Nothing that was there is lost: it is where it was or set aside.
fn kept(before: &Medium, after: &Medium, report: &RepairReport) {
    let names = after.names();
    for name in before.names() {
        let aside = names
            .iter()
            .find(|other| other.ends_with(&format!("-{name}")) && other.starts_with("damaged-"));
        let there = names.contains(&name).then_some(&name);
        let found = aside.or(there);
        // The journal of a store whose journal is whole goes on, and says so in its last file.
        let goes_on = name.starts_with("journal-") && !report.before.journal_damaged;
        match found {
            None => panic!("{name} is gone"),
            Some(_) if goes_on || name == "lock" || name == "reserve" => {}
            Some(found) => assert!(after.raw(found) == before.raw(&name), "{name} has changed"),
        }
    }
}

fn reproduce(test: &str, seed: u64) -> String {
    format!(
        "reproduce: BRIMFS_SEED={seed} BRIMFS_CASES=1 cargo test -p brimfs-sim --test persist {test}"
    )
}

fn random_damage(test: &str, lives: &[Life], cases: u64) {
    let first = number("BRIMFS_SEED", 1);
    let (mut unchanged, mut lossless, mut lossy, mut hopeless) = (0, 0, 0, 0);
    for seed in first..first + number("BRIMFS_CASES", cases) {
        let mut random = Random::new(seed);
        let life = &lives[seed as usize % lives.len()];
        let medium = life.medium.fork();
        let told = hurt(&medium, &mut random);
        println!("{}\n{told}", reproduce(test, seed));
        let before = medium.fork();
        match repair(&medium) {
            Ok(report) => {
                verify(life, &before, &medium, &report);
                match (report.is_changed, report.losses.is_empty()) {
                    (false, _) => unchanged += 1,
                    (true, true) => lossless += 1,
                    (true, false) => lossy += 1,
                }
            }
            Err(_) => hopeless += 1,
        }
    }
    println!(
        "unchanged {unchanged}, lossless {lossless}, with losses {lossy}, hopeless {hopeless}"
    );
}

#[test]
fn what_is_whole_stays_whatever_is_hurt() {
    let lives: Vec<Life> = (1..6).map(|seed| life(seed, 12)).collect();
    random_damage("what_is_whole_stays", &lives, 300);
}

#[test]
fn what_is_whole_stays_behind_a_damaged_checkpoint() {
    let lives = [life(7, 320)];
    assert!(
        lives[0]
            .medium
            .names()
            .iter()
            .any(|name| name.starts_with("checkpoint-"))
    );
    random_damage("behind_a_damaged_checkpoint", &lives, 100);
}

/// Lives with pages that have left the journal for records over those of their chunks.
fn layered_life(seed: u64) -> Life {
    let settings = Settings {
        disk: Some(8 << 20),
        ..ROOMY
    };
    let medium = Medium::new();
    let mut random = Random::new(seed);
    let fs = settings.open(&medium).expect("opened");
    let mut files = Files::new();
    files.insert("/large".to_owned(), noise(600_000, random.number()));
    files.insert("/other".to_owned(), noise(100_000, random.number()));
    for (path, content) in &files {
        fs.write_slice(path, content).expect("written");
    }
    fs.sync().expect("synced");
    let mut history = vec![files.clone()];
    for commit in 0..30 {
        for _ in 0..12 {
            let content = files.get_mut("/large").expect("it is there");
            let at = random.below(content.len() as u64 / 4096) as usize * 4096;
            let bytes = noise(4096, random.number());
            let file = OpenOptions::new().write(true).open(&fs, "/large");
            let file = file.expect("opened");
            file.write_at(at as u64, &bytes).expect("written");
            content[at..at + 4096].copy_from_slice(&bytes);
        }
        if commit == 15 {
            fs.copy("/large", "/copy").expect("copied");
            files.insert("/copy".to_owned(), files["/large"].clone());
        }
        fs.sync().expect("synced");
        history.push(files.clone());
    }
    audit(&fs).expect("counted right");
    fs.close().expect("closed");
    assert!(!overlays(&medium).is_empty(), "nothing left the journal");
    Life { medium, history }
}

#[test]
fn what_is_whole_stays_where_pages_lie_over_their_chunks() {
    let lives: Vec<Life> = (1..4).map(layered_life).collect();
    random_damage("pages_lie_over_their_chunks", &lives, 150);
}

/// Overlays before the damage stay, and of those behind it none lies over other bytes than it was written for.
#[test]
fn a_damaged_journal_with_overlays_is_salvaged() {
    let life = layered_life(5);
    let mut noticed = 0;
    let names = life.medium.names().into_iter();
    for name in names.filter(|name| name.starts_with("journal-") || name.starts_with("checkpoint-"))
    {
        let raw = life.medium.raw(&name);
        let used = raw.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let blocks = used.div_ceil(4096);
        for block in (0..blocks).step_by(blocks.div_ceil(12)) {
            println!("block {block} of {name}");
            let medium = life.medium.fork();
            medium.damage(&name, |bytes| {
                let start = block * 4096;
                let end = (start + 4096).min(bytes.len());
                bytes[start..end].fill(0);
            });
            let before = medium.fork();
            let report = repair(&medium).expect("repaired");
            verify(&life, &before, &medium, &report);
            noticed += u32::from(report.is_changed);
        }
    }
    assert!(noticed > 0);
}

/// All files that no journal damage can hide, by what damages one segment.
#[test]
fn a_segment_that_is_lost_takes_only_its_files() {
    let life = life(2, 10);
    for name in life.medium.names() {
        if !name.starts_with("segment-") {
            continue;
        }
        let medium = life.medium.fork();
        medium.lose(&name);
        let before = medium.fork();
        let report = repair(&medium).expect("repaired");
        assert!(report.is_changed && !report.losses.is_empty());
        verify(&life, &before, &medium, &report);
    }
}

#[test]
fn a_damaged_header_of_a_segment_loses_nothing() {
    let life = life(2, 10);
    for name in life
        .medium
        .names()
        .iter()
        .filter(|name| name.starts_with("segment-"))
    {
        let medium = life.medium.fork();
        medium.damage(name, |bytes| bytes[20] ^= 1);
        let before = medium.fork();
        let report = repair(&medium).expect("repaired");
        assert!(
            report.is_changed && report.losses.is_empty(),
            "{:?}",
            report.losses
        );
        verify(&life, &before, &medium, &report);
    }
}

/// The content that a path had before the repair, as it is found in another place now.
fn moved_to(report: &RepairReport, path: &str) -> Option<String> {
    let of_path = report
        .losses
        .iter()
        .find(|loss| loss.paths.contains(&path.as_bytes().to_vec()));
    String::from_utf8(of_path?.now.clone()?).ok()
}

#[test]
fn a_damaged_file_keeps_its_good_blocks_elsewhere() {
    let medium = Medium::new();
    let fs = ROOMY.open(&medium).expect("opened");
    let content = noise(2_500_000, 5);
    fs.write("/large", content.clone()).expect("written");
    fs.write("/other", noise(300_000, 6)).expect("written");
    fs.hard_link("/large", "/again").expect("linked");
    fs.close().expect("closed");
    let middle = &content[1_100_000..1_100_032];
    for name in medium.names() {
        let raw = medium.raw(&name);
        if let Some(at) = raw.windows(32).position(|window| window == middle) {
            medium.damage(&name, |bytes| bytes[at] ^= 4);
        }
    }
    let report = repair(&medium).expect("repaired");
    let [loss] = &report.losses[..] else {
        panic!("{:?}", report.losses);
    };
    // Blocks are counted from the beginning of the chunk.
    let start = (1 << 20) + (1_100_000 - (1 << 20)) / 16_384 * 16_384;
    assert_eq!(loss.ranges.len(), 1);
    assert_eq!(loss.ranges[0], start..start + 16_384);
    assert_eq!(loss.paths, [b"/large".to_vec(), b"/again".to_vec()]);
    let found = opened(&medium, ROOMY);
    assert!(!found.contains_key("/large") && !found.contains_key("/again"));
    assert_eq!(found["/other"], noise(300_000, 6));
    let mut expected = content;
    expected[start as usize..start as usize + 16_384].fill(0);
    let now = moved_to(&report, "/large").expect("it is somewhere");
    assert!(
        now.starts_with("/lost+found/damaged/") && now.ends_with("-large"),
        "{now}"
    );
    assert!(found[&now] == expected);
    let list = String::from_utf8(found["/lost+found/report-1.txt"].clone()).expect("text");
    assert!(list.contains("/large, /again: it is damaged"), "{list}");
}

/// What two repairs of a store have in common: numbers of what was made anew differ.
pub fn comparable(files: &Files) -> (Files, Vec<Vec<u8>>) {
    let is_found = |path: &&String| path.starts_with("/lost+found/");
    let is_content = |path: &&String| !path.starts_with("/lost+found/report-");
    let in_place = files.keys().filter(|path| !is_found(path));
    let in_place = in_place.map(|path| (path.clone(), files[path].clone()));
    let found = files.keys().filter(is_found).filter(is_content);
    let mut found: Vec<Vec<u8>> = found.map(|path| files[path].clone()).collect();
    found.sort();
    (in_place.collect(), found)
}

/// A failing disk is an error, and nothing is lost by it.
#[test]
fn a_repair_on_a_full_or_failing_disk_loses_nothing() {
    use brimfs_sim::disk::{Failure, Plan};
    let life = life(3, 8);
    let damaged = life.medium.fork();
    hurt(&damaged, &mut Random::new(4));
    let whole = damaged.fork();
    let began = whole.calls();
    repair(&whole).expect("repaired");
    let calls = whole.calls() - began;
    let expected = comparable(&opened(&whole, ROOMY));
    for failure in [Failure::Full, Failure::Io] {
        for call in (0..calls).step_by(3) {
            let medium = damaged.fork();
            medium.plan(Some(Plan {
                call: began + call,
                failure,
                lasting: true,
            }));
            let directory = Arc::new(medium.clone());
            let failed = repair_directory(directory, None, &mut |_| {});
            medium.plan(None);
            let mended = medium.fork();
            // Reads that fail are damage, which is gone with what fails.
            if failed.is_err() {
                repair(&mended).expect("repaired when the disk works again");
                assert_eq!(
                    comparable(&opened(&mended, ROOMY)),
                    expected,
                    "{failure:?} at {call}"
                );
            }
        }
    }
}

#[test]
fn a_repair_elsewhere_only_reads_the_damaged_store() {
    let life = life(4, 10);
    for seed in 1..=number("BRIMFS_CASES", 40) {
        let mut random = Random::new(seed);
        let damaged = life.medium.fork();
        let told = hurt(&damaged, &mut random);
        println!("seed {seed}: {told}");
        let in_place = damaged.fork();
        let Ok(report) = repair(&in_place) else {
            continue;
        };
        damaged.set_read_only(true);
        let fingerprint = damaged.fingerprint();
        let output = Medium::new();
        let source = Arc::new(damaged.clone());
        let written = repair_directory(source, Some(Arc::new(output.clone())), &mut |_| {});
        let written = written.map_err(|fault| fault.kind()).expect("written");
        assert_eq!(damaged.fingerprint(), fingerprint);
        assert_eq!(written.is_changed, report.is_changed);
        if written.is_changed {
            assert_eq!(written.losses, report.losses);
            assert_eq!(
                comparable(&opened(&output, ROOMY)),
                comparable(&opened(&in_place, ROOMY))
            );
        }
    }
}
