//! Repairs that end too early: the power goes off, the process dies, or one after the other.

use std::sync::Arc;

use brimfs::face::{check_directory, repair_directory};
use brimfs::{ErrorKind, RepairReport};
use brimfs_sim::medium::{Disorder, Medium, Random};

use super::number;
use super::repair::{Files, comparable, hurt, life, opened, repair};
use super::world::{ROOMY, moments};

/// A store that is hurt, and what a repair makes of it that nobody interrupts.
struct Case {
    damaged: Medium,
    report: RepairReport,
    expected: (Files, Vec<Vec<u8>>),
    /// Before each call of the repair, and at its end.
    frames: Vec<Medium>,
}

/// Those of some seeds that can be repaired and need it.
fn cases(usual: u64) -> Vec<Case> {
    let life = life(3, 8);
    let case = |seed| {
        let mut random = Random::new(seed);
        let medium = life.medium.fork();
        println!("seed {seed}: {}", hurt(&medium, &mut random));
        let damaged = medium.fork();
        medium.film();
        let report = repair(&medium).ok()?;
        let frames = medium.frames();
        let expected = comparable(&opened(&medium, ROOMY));
        report.is_changed.then_some(Case {
            damaged,
            report,
            expected,
            frames,
        })
    };
    let cases: Vec<Case> = (1..=number("BRIMFS_CASES", usual))
        .filter_map(case)
        .collect();
    assert!(!cases.is_empty(), "nothing was hurt");
    cases
}

fn is_marked(medium: &Medium) -> bool {
    let mut names = medium.names().into_iter();
    names.any(|name| name.starts_with("repair-"))
}

/// As long as the mark is there nobody writes, and nothing that was damaged is removed: it goes last.
fn check_mark(crashed: &Medium, report: &RepairReport) {
    let checked = check_directory(Arc::new(crashed.clone()), &mut |_| {});
    let is_sound = checked.is_ok_and(|checked| checked.is_sound());
    if is_sound && !is_marked(crashed) {
        let names = crashed.names();
        for name in &report.set_aside {
            assert!(names.contains(name), "{name} is not set aside: {names:?}");
        }
    }
}

/// A crash at any call of a repair, and the repair once more.
#[test]
fn a_repair_that_was_interrupted_can_be_run_again() {
    let mut random = Random::new(1);
    for case in cases(6) {
        let last = case.frames.len() - 1;
        for (number, frame) in case.frames.iter().enumerate() {
            let mut images = frame.images(Disorder::Journaled, 3, &mut random);
            images.extend(frame.images(Disorder::Any, 3, &mut random));
            for image in images {
                let crashed = frame.crash(&image);
                check_mark(&crashed, &case.report);
                // Whoever opens it meanwhile is refused, or it is whole: nothing is lost by that.
                let was_opened = ROOMY.open(&crashed).map(|fs| fs.close().expect("closed"));
                if let Err(error) = &was_opened {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(number < last, "it is over: {error}");
                }
                let again = repair(&crashed).expect("repaired in the end");
                let found = comparable(&opened(&crashed, ROOMY));
                assert!(found == case.expected, "{again:?}");
            }
        }
    }
}

/// What a process that died has done is seen by the next one, and none of it need be durable.
#[test]
fn a_repair_goes_on_where_a_process_died_and_the_power_goes_off_then() {
    let mut random = Random::new(2);
    let mut tried = 0;
    for case in cases(6) {
        for died in moments(&case.frames) {
            let medium = case.damaged.fork();
            medium.stop_at(Some(died.calls()));
            let died = repair_directory(Arc::new(medium.clone()), None, &mut |_| {}).is_err();
            medium.stop_at(None);
            let medium = medium.fork();
            medium.film();
            let report = repair(&medium).expect("it goes on");
            assert!(died || !report.is_changed);
            let frames = medium.frames();
            for frame in moments(&frames) {
                let disorder = [Disorder::Any, Disorder::Journaled][usize::from(tried % 3 == 0)];
                let image = frame.sample_image(disorder, &mut random);
                let crashed = frame.crash(&image);
                check_mark(&crashed, &case.report);
                let again = repair(&crashed).expect("repaired in the end");
                let found = comparable(&opened(&crashed, ROOMY));
                assert!(found == case.expected, "{image:?}: {again:?}");
                tried += 1;
            }
        }
    }
    println!("{tried} crashes");
    assert!(tried > 100);
}

/// Who opens what a repair writes elsewhere finds all of it or no store.
#[test]
fn a_repair_elsewhere_that_was_interrupted_is_no_store() {
    let mut random = Random::new(3);
    let mut refused = 0;
    for case in cases(6) {
        let output = Medium::new();
        output.film();
        let source = Arc::new(case.damaged.clone());
        let written = repair_directory(source, Some(Arc::new(output.clone())), &mut |_| {});
        written.map_err(|fault| fault.kind()).expect("written");
        let frames = output.frames();
        for frame in moments(&frames) {
            for image in frame.images(Disorder::Any, 64, &mut random) {
                let crashed = frame.crash(&image);
                if crashed.names().is_empty() {
                    continue;
                }
                let reader = ROOMY.builder().read_only(true);
                let read = reader.open_in(Arc::new(crashed.clone()));
                if let Ok(fs) = &read {
                    assert!(fs.stats().nodes > 1, "{image:?} reads as empty");
                }
                drop(read);
                match ROOMY.open(&crashed) {
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                        refused += 1;
                    }
                    Ok(fs) => {
                        drop(fs);
                        let found = comparable(&opened(&crashed, ROOMY));
                        assert!(found == case.expected, "{image:?} can be opened");
                    }
                }
            }
        }
    }
    assert!(refused > 100);
}
