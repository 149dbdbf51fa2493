//! Segments with names on a directory that loses power: after every call of the disk, and again while the
//! store is opened. What was durable and is wanted reads as it was written.

use brimfs::face::Fault;
use brimfs_sim::medium::{Disorder, Image, Medium, Random};
use brimfs_sim::tally::Tally;

use crate::owner::{Owner, Wanted, check, extents, open, text};

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(&'static [usize]),
    Share(usize),
    Delete(usize),
    Commit,
    Compact,
    Close,
    Restart,
}

use Step::{Append, Close, Commit, Compact, Delete, Restart, Share};

/// Two of these fill a segment.
const BIG: usize = 900_000;

const WORKLOADS: [&[Step]; 6] = [
    &[
        Append(&[1, 5000]),
        Commit,
        Append(&[300]),
        Append(&[20_000]),
        Commit,
        Commit,
        Append(&[7]),
        Close,
        Append(&[8]),
        Commit,
    ],
    // One batch in several files.
    &[
        Append(&[BIG, 100, BIG, BIG, 10]),
        Commit,
        Delete(0),
        Append(&[200]),
        Commit,
        Delete(0),
        Delete(0),
        Commit,
    ],
    // Files that were never needed, and one that goes before its name is durable.
    &[
        Append(&[BIG, BIG, 1000]),
        Restart,
        Append(&[100]),
        Commit,
        Restart,
        Append(&[BIG, BIG]),
        Delete(1),
        Delete(1),
        Append(&[BIG, BIG]),
        Commit,
    ],
    // What moved is needed at its old place until it is durable at its new one.
    &[
        Append(&[BIG, 100, 200, 40_000]),
        Commit,
        Delete(0),
        Commit,
        Compact,
        Append(&[300]),
        Commit,
        Compact,
        Commit,
    ],
    &[
        Append(&[BIG, 100, 5000]),
        Share(1),
        Share(1),
        Share(2),
        Commit,
        Restart,
        Delete(0),
        Delete(1),
        Commit,
        Compact,
        Restart,
        Compact,
        Delete(0),
        Commit,
        Close,
        Restart,
        Append(&[10]),
        Commit,
    ],
    &[
        Append(&[100]),
        Commit,
        Delete(0),
        Append(&[200]),
        Commit,
        Delete(0),
        Commit,
        Append(&[300]),
        Close,
        Commit,
        Restart,
        Append(&[400]),
        Close,
        Restart,
    ],
];

fn step(owner: &mut Owner, step: Step) -> Result<(), Fault> {
    match step {
        Append(lens) => owner.append(lens),
        Share(at) => {
            owner.copy(at);
            Ok(())
        }
        Delete(at) => {
            owner.delete(at);
            Ok(())
        }
        Commit => owner.commit(),
        Compact => owner.compact(u64::MAX).map(drop),
        Close => owner.store.close(),
        Restart => owner.restart(),
    }
}

/// Works until the power goes off.
fn run(steps: &[Step], stop: Option<u64>) -> Owner {
    let mut owner = Owner::new();
    owner.medium.stop_at(stop);
    let _ = steps.iter().try_for_each(|next| step(&mut owner, *next));
    owner
}

struct Explorer {
    random: Random,
    samples: usize,
    tally: Tally,
}

impl Explorer {
    /// What every image of a crash leaves.
    fn images(&mut self, medium: &Medium, samples: usize) -> Vec<(Image, Medium)> {
        let mut images = Vec::new();
        for disorder in [Disorder::Journaled, Disorder::Any] {
            let drawn = medium.images(disorder, samples, &mut self.random);
            images.extend(drawn.into_iter().map(|image| {
                let after = medium.crash(&image);
                (image, after)
            }));
        }
        images
    }

    fn workload(&mut self, steps: &[Step]) {
        let calls = run(steps, None).medium.calls();
        for stop in 1..=calls {
            let owner = run(steps, Some(stop));
            let case = || format!("{steps:?}, off before call {stop}");
            if self.random.one_in(8) {
                let killed = owner.medium.fork();
                killed.stop_at(None);
                self.next_life(&killed, &owner.committed, &|| format!("{}, killed", case()));
            }
            // Before the first commit there is little to lose.
            let samples = match owner.committed.is_empty() {
                true => 1 + self.samples / 40,
                false => self.samples,
            };
            for (image, after) in self.images(&owner.medium, samples) {
                self.tally.image(!owner.committed.is_empty());
                let case = || format!("{}, {image:?}", case());
                if self.random.one_in(24) {
                    self.next_life(&after, &owner.committed, &case);
                }
                found(&after, &owner.committed, &case);
            }
        }
    }

    /// Another process opens the store and works, and the power goes off after every call of that.
    fn next_life(&mut self, medium: &Medium, committed: &[Wanted], case: &dyn Fn() -> String) {
        let live = |stop| {
            let medium = medium.fork();
            let now = medium.calls();
            medium.stop_at(stop);
            let mut next = match Owner::on(&medium, committed.to_vec(), 1000) {
                Ok(next) => next,
                Err(_) if stop.is_some() => return (medium, committed.to_vec(), now),
                Err(fault) => panic!("{}: the next opening: {}", case(), text(fault)),
            };
            let worked = next.append(&[50, 6000]).and_then(|()| next.commit());
            assert!(worked.is_ok() || stop.is_some(), "{}: then fails", case());
            (medium, next.committed, now)
        };
        let (whole, _, now) = live(None);
        for stop in now..=whole.calls() {
            let (last, committed, _) = live(Some(stop));
            for (image, after) in self.images(&last, 3) {
                self.tally.second += 1;
                found(&after, &committed, &|| {
                    format!("{}; then off before call {stop}, {image:?}", case())
                });
            }
        }
    }
}

/// What was committed is there, and nothing else.
fn found(medium: &Medium, committed: &[Wanted], case: &dyn Fn() -> String) {
    let store = match open(medium, &extents(committed)) {
        Ok(store) => store,
        Err(fault) => panic!("{}: {}", case(), text(fault)),
    };
    if let Err(problem) = check(&store, committed) {
        panic!("{}: {problem}", case());
    }
    let segments = store.stats().segments as usize;
    assert_eq!(medium.names().len(), segments, "{}: strays", case());
}

#[test]
fn whatever_was_durable_outlives_every_crash() {
    let samples = std::env::var("BRIMFS_IMAGES").ok();
    let samples = samples.and_then(|text| text.parse().ok()).unwrap_or(256);
    let mut explorer = Explorer {
        random: Random::new(1),
        samples,
        tally: Tally::default(),
    };
    for steps in WORKLOADS {
        explorer.workload(steps);
    }
    let tally = explorer.tally;
    tally.finish(env!("CARGO_TARGET_TMPDIR"), "segments, every crash");
    // Where few are tried the first ones, of which there is always one, count for more.
    if samples >= 64 {
        tally.check_enough(1);
    }
    assert!(tally.second > tally.images);
}
