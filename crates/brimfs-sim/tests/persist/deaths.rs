//! A process dies, and the power goes off while another one opens what it left.
//!
//! What the one has written the other one sees, durable or not. What it goes by it has to make durable first.

use brimfs::FileSystem;
use brimfs_sim::medium::{Disorder, Medium, Random};

use super::tree::{Tree, tree};
use super::world::{ROOMY, check, found, moments};

type Act = (&'static str, fn(&FileSystem) -> Result<(), brimfs::Error>);

/// Each followed by a sync. Segments in which nothing lives any more come and go.
const ACTS: [Act; 4] = [
    ("content of its own", |fs| fs.write("/a", vec![1; 80_000])),
    ("a removal", |fs| fs.remove_file("/large")),
    ("other content", |fs| fs.write("/large", vec![2; 90_000])),
    ("names", |fs| fs.rename("/little", "/renamed")),
];

fn started() -> Medium {
    let medium = Medium::new();
    let fs = ROOMY.open(&medium).expect("opened");
    fs.write("/large", vec![3; 100_000]).expect("written");
    fs.write("/little", "little").expect("written");
    fs.close().expect("closed");
    medium
}

/// What a process left that did this and died at a call of the sync after it, with the trees of before and after. None if
/// the sync has fewer calls.
fn died(started: &Medium, act: Act, call: u64) -> Option<(Medium, [Tree; 2])> {
    let medium = started.fork();
    let fs = ROOMY.open(&medium).expect("opened");
    let before = tree(&fs).expect("a tree");
    act.1(&fs).expect("memory has room");
    let after = tree(&fs).expect("a tree");
    medium.stop_at(Some(medium.calls() + call));
    fs.sync().err()?;
    drop(fs);
    medium.stop_at(None);
    Some((medium.fork(), [before, after]))
}

#[test]
fn every_crash_of_an_opening_after_a_process_died_leaves_what_was_found_or_before() {
    let started = started();
    let mut random = Random::new(1);
    let (mut tried, mut new) = (0, 0);
    for act in ACTS {
        let deaths = (0..).map_while(|call| Some((call, died(&started, act, call)?)));
        for (call, (medium, allowed)) in deaths {
            let what = format!("{}, died at call {call}", act.0);
            medium.film();
            let (fs, seen) = found(ROOMY, &medium).unwrap_or_else(|text| panic!("{what}: {text}"));
            let opened = medium.calls();
            drop(fs);
            for frame in moments(&medium.frames()) {
                let call = frame.calls();
                for image in frame.images(Disorder::Any, 16, &mut random) {
                    let what = format!("{what}, then off before call {call}, {image:?}");
                    let after = frame.crash(&image);
                    check(&after).unwrap_or_else(|text| panic!("{what}: {text}"));
                    let found = found(ROOMY, &after);
                    let (_, tree) = found.unwrap_or_else(|text| panic!("{what}: {text}"));
                    // Whoever has opened it has made durable what he found.
                    let is_right = tree == seen || call < opened && allowed.contains(&tree);
                    assert!(is_right, "{what}:\n{}", tree.difference(&seen));
                    tried += 1;
                    new += u32::from(tree == allowed[1]);
                }
            }
        }
    }
    println!("{tried} crashes, {new} left what the process did last");
    assert!(new > 100 && tried - new > 100);
}
