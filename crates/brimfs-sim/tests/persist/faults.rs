//! The disk fails, or is full, at every call.

use brimfs::{Error, ErrorKind, FileSystem};
use brimfs_sim::disk::{Failure, Plan};
use brimfs_sim::medium::{Image, Medium};

use super::tree::{Tree, tree};
use super::world::{ROOMY, audit, found};

type Act = (&'static str, fn(&FileSystem) -> Result<(), Error>);

const WORKLOAD: [Act; 14] = [
    ("a directory", |fs| fs.create_dir("/d")),
    ("little", |fs| fs.write("/d/a", vec![1; 5000])),
    ("a sync", FileSystem::sync),
    ("much", |fs| fs.write("/b", vec![2; 1_500_000])),
    ("a sync", FileSystem::sync),
    ("an append", |fs| fs.append("/d/a", &[3; 100_000]).map(drop)),
    ("a rename", |fs| fs.rename("/b", "/d/b")),
    ("a sync", FileSystem::sync),
    ("a removal", |fs| fs.remove_file("/d/b")),
    ("a copy", |fs| fs.copy("/d/a", "/c").map(drop)),
    ("a change", |fs| fs.append("/c", &[4; 30]).map(drop)),
    ("a sync", FileSystem::sync),
    ("little", |fs| fs.write("/e", vec![5; 300])),
    ("a sync", FileSystem::sync),
];

/// What was accepted, and the first tree that must not be lost.
struct Promise {
    history: Vec<Tree>,
    durable: usize,
}

impl Promise {
    fn check(&self, medium: &Medium, what: &str) {
        let found = found(ROOMY, medium);
        let (_, found) = found.unwrap_or_else(|text| panic!("{what}: {text}"));
        let allowed = &self.history[self.durable..];
        let is_new = self.durable == 0 && found.is_bare();
        if !is_new && !allowed.contains(&found) {
            let last = &self.history[self.history.len() - 1];
            panic!(
                "{what}: not as after step {} or later; compared with the last:\n{}",
                self.durable,
                found.difference(last)
            );
        }
    }
}

/// An error must say what was done, and what the disk said.
fn check_text(error: &Error, what: &str) {
    let text = error.to_string();
    let kinds = [ErrorKind::Io, ErrorKind::DiskFull, ErrorKind::DiskLimit];
    assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
    assert!(text.len() > 20, "{what}: {text}");
}

/// After a failure that may have lost something everything is refused, with the reason.
fn check_refused(fs: &FileSystem, what: &str) {
    for error in [
        fs.write("/refused", "x").expect_err("refused"),
        fs.create_dir("/refused").expect_err("refused"),
        fs.sync().expect_err("refused"),
        fs.write("/refused", "x").expect_err("refused"),
    ] {
        let text = error.to_string();
        let is_said = text.contains("opened anew") || text.contains("reopened");
        assert!(is_said, "{what}: {text}");
    }
}

fn fail(failure: Failure, call: u64, lasting: bool) -> (bool, bool) {
    let what = format!("{failure:?} at call {call}, lasting {lasting}");
    let medium = Medium::new();
    medium.plan(Some(Plan {
        call,
        failure,
        lasting,
    }));
    let transient = matches!(failure, Failure::Short | Failure::Interrupted);
    let fs = match ROOMY.open(&medium) {
        Ok(fs) => fs,
        Err(error) => {
            assert!(!transient, "{what}: {error}");
            check_text(&error, &what);
            medium.plan(None);
            ROOMY
                .open(&medium)
                .unwrap_or_else(|error| panic!("{what}, opening again: {error}"))
        }
    };
    let mut promise = Promise {
        history: vec![tree(&fs).expect("a tree")],
        durable: 0,
    };
    let (mut failed, mut refused) = (false, false);
    for (name, act) in WORKLOAD {
        if let Err(error) = act(&fs) {
            let what = format!("{what}, {name}: {error}");
            assert!(!transient, "{what}: {error}");
            check_text(&error, &what);
            failed = true;
            // What was accepted is all there, whatever the disk does.
            let now = tree(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(now == promise.history[promise.history.len() - 1], "{what}");
            promise.check(&medium.crash(&Image::default()), &what);
            medium.plan(None);
            if let Err(error) = fs.sync() {
                // Only the journal's own space, which it has already, may not be found missing.
                let text = error.to_string();
                let is_fair = failure != Failure::Full || text.contains("refuses writes until");
                assert!(is_fair, "{what}, with space: {text}");
                check_refused(&fs, &what);
                refused = true;
                break;
            }
            promise.durable = promise.history.len() - 1;
            if name != "a sync" {
                act(&fs).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            }
        }
        promise.history.push(tree(&fs).expect("a tree"));
        if name == "a sync" {
            promise.durable = promise.history.len() - 1;
        }
    }
    promise.check(&medium.crash(&Image::default()), &what);
    audit(&fs).unwrap_or_else(|text| panic!("{what}: {text}"));
    let closed = fs.close();
    if !refused && closed.is_ok() {
        promise.durable = promise.history.len() - 1;
    }
    drop(fs);
    medium.plan(None);
    promise.check(&medium, &what);
    (failed, refused)
}

#[test]
fn every_call_may_fail_in_every_way_and_nothing_that_was_synced_is_lost() {
    let medium = Medium::new();
    let fs = ROOMY.open(&medium).expect("opened");
    for (name, act) in WORKLOAD {
        act(&fs).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    fs.close().expect("closed");
    let (mut failures, mut refusals) = (0, 0);
    for failure in Failure::ALL {
        for call in 0..medium.calls() {
            for lasting in [false, true] {
                if lasting && matches!(failure, Failure::Short | Failure::Interrupted) {
                    continue;
                }
                let (failed, refused) = fail(failure, call, lasting);
                failures += u32::from(failed);
                refusals += u32::from(refused);
            }
        }
    }
    let calls = medium.calls();
    println!("{calls} calls: {failures} failed later than opening, {refusals} were refused then");
    assert!(refusals > 10 && failures > refusals);
}

/// So many short segments that the next opening merges them.
fn scattered() -> Medium {
    let medium = Medium::new();
    for life in 0..13 {
        let fs = ROOMY.open(&medium).expect("opened");
        fs.write(format!("/{life}"), vec![life; 80_000])
            .expect("written");
        fs.close().expect("closed");
    }
    medium
}

/// The group that says the new places may be there although writing it failed: content stays at both then.
#[test]
fn content_that_moved_stays_where_the_journal_may_say_that_it_is() {
    let scattered = scattered();
    let medium = scattered.fork();
    let began = medium.calls();
    let fs = ROOMY.open(&medium).expect("opened");
    let (ended, expected) = (medium.calls(), tree(&fs).expect("a tree"));
    drop(fs);
    let mut poisoned = 0;
    for call in began..ended {
        let medium = scattered.fork();
        medium.plan(Some(Plan {
            call,
            failure: Failure::Io,
            lasting: false,
        }));
        let opened = ROOMY.open(&medium);
        medium.plan(None);
        if let Ok(fs) = opened {
            let left = medium.fork();
            poisoned += u32::from(fs.create_dir("/d").and_then(|()| fs.sync()).is_err());
            for after in [left.crash(&Image::default()), left] {
                let found = found(ROOMY, &after);
                let (_, found) = found.unwrap_or_else(|text| panic!("call {call}: {text}"));
                assert!(found == expected, "call {call}");
            }
        }
    }
    assert!(poisoned > 0, "no group of a merge failed");
}

#[test]
fn a_full_disk_loses_nothing_that_was_accepted() {
    let mut filled = 0;
    for blocks in (8..2600).step_by(53) {
        let what = format!("{blocks} blocks");
        let medium = Medium::new();
        medium.set_capacity(Some(blocks * 4096));
        let Ok(fs) = ROOMY.open(&medium) else {
            medium.set_capacity(None);
            let again = ROOMY.open(&medium);
            again.unwrap_or_else(|error| panic!("{what}: {error}"));
            continue;
        };
        let mut last = tree(&fs).expect("a tree");
        let mut is_full = false;
        for (name, act) in WORKLOAD {
            match act(&fs) {
                Ok(()) => last = tree(&fs).expect("a tree"),
                Err(error) => {
                    // What is removed may not be there: it was refused.
                    let kind = error.kind();
                    let is_missing = is_full && kind == ErrorKind::NotFound;
                    let is_fair = kind == ErrorKind::DiskFull || is_missing;
                    assert!(is_fair, "{what}, {name}: {error}");
                    is_full = true;
                }
            }
            assert!(tree(&fs).expect("a tree") == last, "{what}, {name}");
        }
        filled += u32::from(is_full);
        medium.set_capacity(None);
        fs.sync()
            .unwrap_or_else(|error| panic!("{what}, with space again: {error}"));
        audit(&fs).unwrap_or_else(|text| panic!("{what}: {text}"));
        let (_, found) = found(ROOMY, &medium.crash(&Image::default()))
            .unwrap_or_else(|text| panic!("{what}: {text}"));
        assert!(found == last, "{what}:\n{}", found.difference(&last));
    }
    println!("the disk was full {filled} times");
    assert!(filled > 5);
}
