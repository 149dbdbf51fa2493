//! Mirrors on disks that are full, fail, know no hard links or take no writes; and in which order they are written to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use brimfs::{ErrorKind, FileSystem, OnExternalChange, OpenOptions};

use super::strange::{Rules, Strange, taken};
use super::world::{Node, Place, builder, tree_of};

type Contents = BTreeMap<String, Node>;
type Change = fn(&FileSystem) -> brimfs::Result<()>;

fn started() -> Place {
    let place = Place::new();
    place.put("old", vec![1; 50_000]);
    place.put("d/inner", vec![2; 5000]);
    place.put("d/large", vec![3; 1_300_000]);
    place
}

fn opened(place: &Place, rules: Rules) -> (FileSystem, Arc<std::sync::Mutex<Rules>>) {
    let (tree, rules) = Strange::new(place.root(), rules);
    (builder().open_tree(tree).expect("a mirror"), rules)
}

/// What does not fit is more in each of them, of content, names and directories.
const CHANGES: [(&str, Change); 9] = [
    ("a new file", |fs| fs.write("/new", vec![4; 60_000])),
    ("other content", |fs| fs.write("/old", vec![5; 70_000])),
    ("a part", |fs| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(fs, "/d/large")?;
        file.write_at(1_200_000, &[6; 200_000]).map(drop)
    }),
    ("directories", |fs| fs.create_dir_all("/e/f/g")),
    ("a move", |fs| fs.rename("/d", "/e/f/d")),
    ("a file below", |fs| fs.write("/e/f/g/h", vec![7; 90_000])),
    ("a link", |fs| fs.symlink("/old", "/link")),
    ("attributes", |fs| fs.set_permissions("/old", 0o640)),
    ("a name for another", |fs| fs.rename("/new", "/old")),
];

/// A commit that does not fit changes nothing, or is done to its end when there is space.
#[test]
fn a_full_disk_loses_nothing_that_was_accepted() {
    let least = {
        let place = started();
        place.open().close().expect("it can be opened");
        taken(place.root())
    };
    let (mut filled, mut refused) = (0, 0);
    for spare in (0..60).map(|step| step * 37_000) {
        let place = started();
        let what = format!("{spare} bytes are free");
        let (fs, rules) = opened(&place, Rules::default());
        rules.lock().unwrap().capacity = Some(least + spare);
        let mut shown = place.tree();
        for (name, change) in CHANGES {
            let before = tree_of(&fs);
            if let Err(error) = change(&fs) {
                // What is moved may not be there: it was refused.
                let is_full = error.kind() == ErrorKind::DiskFull;
                let is_missing = error.kind() == ErrorKind::NotFound && filled > 0;
                assert!(is_full || is_missing, "{what}, {name}: {error}");
                assert_eq!(tree_of(&fs), before, "{what}, {name}");
                refused += 1;
            }
            let accepted = tree_of(&fs);
            match fs.sync() {
                Ok(()) => {
                    assert_eq!(place.tree(), accepted, "{what}, {name}");
                    shown = accepted;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::DiskFull, "{what}, {name}: {error}");
                    filled += 1;
                    assert_eq!(place.tree(), shown, "{what}, {name}: nothing was begun");
                    assert_eq!(tree_of(&fs), accepted, "{what}, {name}: it is in memory");
                }
            }
        }
        let all = tree_of(&fs);
        rules.lock().unwrap().capacity = None;
        fs.set_priority("/old", 7).expect("it goes on");
        fs.sync()
            .unwrap_or_else(|error| panic!("{what}, with space again: {error}"));
        assert_eq!(place.tree(), all, "{what}");
        assert!(fs.external_changes().is_empty(), "{what}");
        fs.close().expect("it can be closed");
        let fs = place.open();
        assert_eq!(tree_of(&fs), all, "{what}, opened again");
        assert_eq!(fs.priority("/old").expect("there"), 7, "{what}");
        assert!(fs.external_changes().is_empty(), "{what}");
    }
    println!("{filled} commits did not fit; {refused} calls were refused");
    assert!(filled > 50 && refused > 50);
}

/// What a commit wrote ahead is gone when the journal finds no space to say so: a full disk has none for what is nobody's.
#[test]
fn a_commit_that_the_journal_has_no_space_for_leaves_nothing_beside_the_tree() {
    let place = started();
    let (fs, rules) = opened(&place, Rules::default());
    let (mut rounds, mut refused) = (0, 0);
    while refused == 0 {
        let content = format!("in round {rounds}");
        fs.write("/old", content.clone()).expect("memory has room");
        // A little file fits, and no more.
        rules.lock().unwrap().capacity = Some(taken(place.root()) + 5000);
        let done = fs.sync();
        rules.lock().unwrap().capacity = None;
        if let Err(error) = done {
            assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
            if place.get("old") != content.as_bytes() {
                refused += 1;
                let side = listing(&place).into_keys();
                let left: Vec<_> = side.filter(|path| path.contains("/t-")).collect();
                assert_eq!(left, Vec::<String>::new());
            }
            fs.sync().expect("there is space");
            assert_eq!(place.tree(), tree_of(&fs));
        }
        rounds += 1;
        assert!(rounds < 1000, "the journal always has space");
    }
}

/// What the journal says and the disk has no space for is done before anything else, and memory goes on meanwhile.
#[test]
fn a_commit_that_was_begun_is_done_when_there_is_space() {
    for goes_on in [true, false] {
        let place = started();
        let (fs, rules) = opened(&place, Rules::default());
        rules.lock().unwrap().no_directories = true;
        fs.rename("/d", "/moved").expect("memory has room");
        fs.create_dir_all("/x/y").expect("memory has room");
        fs.rename("/moved", "/x/y/d").expect("memory has room");
        fs.write("/old", vec![8; 100_000]).expect("memory has room");
        fs.write("/x/new", vec![9; 10_000])
            .expect("memory has room");
        fs.set_priority("/x/new", 8).expect("it is there");
        let wanted = tree_of(&fs);
        for _ in 0..2 {
            let error = fs.sync().expect_err("no space");
            assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
            assert!(place.tree() != wanted, "it has begun");
        }
        if !goes_on {
            drop(fs.close());
            drop(fs);
            let fs = place.open();
            assert_eq!((tree_of(&fs), place.tree()), (wanted.clone(), wanted));
            assert_eq!(fs.external_changes().lost, 0);
            assert_eq!(fs.priority("/x/new").expect("there"), 8);
            continue;
        }
        rules.lock().unwrap().no_directories = false;
        fs.write("/x/new", "changed since").expect("there is space");
        fs.remove_file("/old").expect("it is there");
        fs.rename("/x/y/d/inner", "/old").expect("it is there");
        fs.sync().expect("there is space");
        assert_eq!(place.tree(), tree_of(&fs));
        assert_eq!(place.get("x/new"), b"changed since");
        assert_eq!(place.get("old"), vec![2; 5000]);
        assert!(fs.external_changes().is_empty());
        fs.close().expect("it can be closed");
        let fs = builder().on_external_change(OnExternalChange::Raise);
        let fs = fs.open(place.root()).expect("nobody changed anything");
        assert_eq!(place.tree(), tree_of(&fs));
        assert_eq!(fs.priority("/x/new").expect("there"), 8);
    }
}

/// The process ends while the disk is full.
#[test]
fn what_did_not_fit_is_old_or_new_when_it_is_opened_again() {
    let least = {
        let place = started();
        place.open().close().expect("it can be opened");
        taken(place.root())
    };
    let mut states = [0; 2];
    for spare in (0..40).map(|step| step * 9_000) {
        let place = started();
        let (fs, rules) = opened(&place, Rules::default());
        let before = tree_of(&fs);
        rules.lock().unwrap().capacity = Some(least + spare);
        fs.rename("/d", "/moved").expect("memory has room");
        fs.create_dir_all("/x/y").expect("memory has room");
        fs.write("/old", vec![8; 100_000]).expect("memory has room");
        let after = tree_of(&fs);
        let is_done = fs.sync().is_ok();
        // Closing fails too; the process is gone then.
        drop(fs.close());
        drop(fs);
        let tree = tree_of(&place.open());
        assert_eq!(tree, place.tree(), "{spare} bytes were free");
        assert!(!is_done || tree == after, "{spare} bytes were free");
        assert!(tree == before || tree == after, "{spare}: {tree:#?}");
        states[usize::from(tree == after)] += 1;
    }
    assert!(states.iter().all(|count| *count > 3), "{states:?}");
}

#[test]
fn a_writer_is_told_that_the_disk_is_full() {
    let place = started();
    let (fs, rules) = opened(&place, Rules::default());
    rules.lock().unwrap().capacity = Some(taken(place.root()) + (1 << 20));
    let mut accepted = Vec::new();
    let error = loop {
        let name = format!("/f{}", accepted.len());
        match fs.write(&name, vec![9; 1 << 20]) {
            Ok(()) => accepted.push(name),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1000, "all of it cannot be in memory");
    };
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert_eq!(error.errno(), libc::ENOSPC);
    for name in &accepted {
        assert!(fs.read(name).expect("it was accepted") == [9; 1 << 20][..]);
    }
    rules.lock().unwrap().capacity = None;
    fs.write("/more", "there is space").expect("it goes on");
    fs.sync().expect("it goes on");
    assert_eq!(place.tree(), tree_of(&fs));
    assert_eq!(place.tree().len(), 4 + accepted.len() + 1);
}

#[test]
fn after_a_flush_that_failed_nothing_is_written_until_it_is_opened_again() {
    let lives: [&[usize]; 3] = [&[0, 1], &[2, 3, 4], &[5, 6, 7, 8]];
    let run = |failing: Option<usize>| {
        let place = started();
        let rules = Rules {
            failing_flush: failing,
            ..Rules::default()
        };
        let (tree, rules) = Strange::new(place.root(), rules);
        let mut states: Vec<Contents> = vec![place.tree()];
        let Ok(fs) = builder().open_tree(tree) else {
            return (place, states, rules, false);
        };
        let mut has_failed = false;
        for life in lives {
            for number in life {
                CHANGES[*number].1(&fs).expect("memory has room");
            }
            states.push(tree_of(&fs));
            if let Err(error) = fs.sync() {
                assert_eq!(error.kind(), ErrorKind::Io, "{failing:?}: {error}");
                has_failed = true;
                break;
            }
        }
        if has_failed {
            let done = rules.lock().unwrap().done.len();
            for error in [fs.write("/refused", "x"), fs.sync(), fs.create_dir("/no")] {
                let error = error.expect_err("nothing can become durable");
                assert_eq!(error.kind(), ErrorKind::Io, "{failing:?}: {error}");
                let text = error.to_string();
                assert!(text.contains("opened"), "{text}");
            }
            assert_eq!(rules.lock().unwrap().done.len(), done, "{failing:?}");
            assert_eq!(
                &tree_of(&fs),
                states.last().expect("some"),
                "reading goes on"
            );
        }
        drop(fs.close());
        (place, states, rules, has_failed)
    };
    let (_, _, rules, _) = run(None);
    let flushes = rules.lock().unwrap().flushes;
    assert!(flushes > 20, "{flushes}");
    let mut failures = 0;
    for failing in 0..flushes {
        let (place, states, _, has_failed) = run(Some(failing));
        failures += u32::from(has_failed);
        let fs = place.open();
        assert_eq!(tree_of(&fs), place.tree(), "flush {failing}");
        let last = &states[states.len().saturating_sub(2)..];
        assert!(last.contains(&place.tree()), "flush {failing}");
        fs.write("/after", "it goes on").expect("it is open");
        fs.sync().expect("the disk works");
    }
    println!("{failures} of {flushes} flushes that failed were those of commits");
    assert!(failures > 10);
}

#[test]
fn where_there_are_no_hard_links_a_copy_takes_the_place_of_a_file_that_is_renamed() {
    let place = started();
    let rules = Rules {
        no_links: true,
        ..Rules::default()
    };
    let (tree, rules) = Strange::new(place.root(), rules);
    let raising = builder().on_external_change(OnExternalChange::Raise);
    let fs = raising.clone().open_tree(tree).expect("a mirror");
    let error = fs.hard_link("/old", "/second").expect_err("it cannot last");
    assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
    assert!(error.to_string().contains("no hard links"), "{error}");
    fs.set_priority("/d/inner", 8).expect("it is there");
    fs.rename("/d/inner", "/renamed").expect("it is there");
    fs.rename("/d/large", "/old").expect("it is there");
    fs.sync().expect("copies take the place of links");
    assert_eq!(place.tree(), tree_of(&fs));
    let done = rules.lock().unwrap().done.join("\n");
    assert_eq!(done.matches("flush .brimfs/t-").count(), 2, "{done}");
    let noticed = fs.refresh(None).expect("nobody changed anything");
    assert!(noticed.is_empty(), "{noticed:?}");
    drop(fs.gc(0.0));
    assert_eq!(fs.read("/renamed").expect("there"), vec![2; 5000]);
    fs.write("/renamed", "new").expect("memory has room");
    fs.set_permissions("/old", 0o640).expect("it is there");
    fs.sync().expect("nobody changed anything");
    assert_eq!(place.tree(), tree_of(&fs));
    fs.close().expect("it can be closed");
    let fs = raising.open(place.root()).expect("nobody changed anything");
    assert_eq!(place.tree(), tree_of(&fs));
    assert_eq!(fs.priority("/renamed").expect("there"), 8);
    fs.hard_link("/old", "/second").expect("here it can");
}

#[test]
fn a_medium_that_takes_no_writes_is_read() {
    for was_open in [false, true] {
        let place = started();
        if was_open {
            let fs = place.open();
            fs.write("/new", "of before").expect("it is open");
            fs.set_priority("/old", 8).expect("it is there");
            fs.close().expect("it can be closed");
        }
        let before = listing(&place);
        let rules = Rules {
            read_only: true,
            ..Rules::default()
        };
        let (tree, rules) = Strange::new(place.root(), rules);
        let error = builder().open_tree(tree.clone()).expect_err("no writes");
        assert!(error.to_string().contains("read-only"), "{error}");
        let fs = builder().read_only(true).open_tree(tree.clone());
        let fs = fs.expect("nothing is written");
        assert_eq!(tree_of(&fs), place.tree());
        for refused in [
            fs.write("/old", "x"),
            fs.create_dir("/x"),
            fs.remove_file("/old"),
        ] {
            assert_eq!(refused.expect_err("refused").kind(), ErrorKind::ReadOnly);
        }
        // Others can read it meanwhile, and what changes is noticed.
        let other = builder().read_only(true).open_tree(tree).expect("too");
        place.put("old", "by somebody else");
        assert_eq!(fs.refresh(None).expect("a look").changed, 1);
        assert_eq!(fs.read("/old").expect("there"), "by somebody else");
        assert_eq!(other.read("/d/inner").expect("there"), vec![2; 5000]);
        fs.sync().expect("there is nothing to do");
        fs.close().expect("it can be closed");
        drop(other);
        place.put("old", vec![1; 50_000]);
        let names: Vec<_> = before.keys().collect();
        assert_eq!(listing(&place).keys().collect::<Vec<_>>(), names);
        assert_eq!(rules.lock().unwrap().done, Vec::<String>::new());
    }
}

/// Everything below the place, side data too, with what would tell a change.
fn listing(place: &Place) -> BTreeMap<String, (u64, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![place.root().to_path_buf()];
    while let Some(path) = open.pop() {
        let about = fs::symlink_metadata(&path).expect("there");
        let mut bytes = Vec::new();
        if about.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .expect("there")
                    .flatten()
                    .map(|e| e.path()),
            );
        } else if about.is_file() {
            bytes = fs::read(&path).expect("there");
        }
        let name = path.to_string_lossy().into_owned();
        found.insert(
            name,
            (about.ino(), about.mtime_nsec(), about.ctime_nsec(), bytes),
        );
    }
    found
}

/// A file is replaced in this order: all of the new one is written beside it and flushed, then the names of what was written, then the
/// journal says what follows; it takes its place; and the directory is flushed before anything says that this is done.
#[test]
fn a_file_is_replaced_in_order() {
    let place = started();
    let (fs, rules) = opened(&place, Rules::default());
    rules.lock().unwrap().done.clear();
    fs.write("/d/inner", vec![4; 5000])
        .expect("memory has room");
    fs.sync().expect("a disk without faults");
    let done = std::mem::take(&mut rules.lock().unwrap().done);
    let at = |what: &str| {
        let found = done.iter().position(|done| done.starts_with(what));
        found.unwrap_or_else(|| panic!("{what} in {done:#?}"))
    };
    let order = [
        "create .brimfs/t-",
        "write .brimfs/t-",
        "flush .brimfs/t-",
        "flush side:",
        "write side:journal",
        "flush side:journal",
        "rename .brimfs/t-",
        "flush d",
    ];
    let places: Vec<usize> = order.iter().map(|what| at(what)).collect();
    assert!(places.is_sorted(), "{places:?} of {order:?} in {done:#?}");
    let last = done
        .iter()
        .rposition(|done| done.starts_with("write side:journal"));
    assert!(last > Some(at("flush d")), "{done:#?}");
    assert!(done[at("rename")].ends_with(" d/inner"), "{done:#?}");
    // The first flush of the side directory comes before the group and not with it.
    assert!(
        !done.iter().any(|done| done == "write d/inner"),
        "{done:#?}"
    );
}
