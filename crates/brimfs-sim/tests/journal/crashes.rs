//! The power goes off after every call of the disk, and again while the store is opened.

use std::collections::HashSet;

use brimfs::face::Fault;
use brimfs::face::journal::{Group, Options, Record, Visitor, recover};
use brimfs_sim::disk::{Failure, Plan};
use brimfs_sim::medium::{Disorder, Image, Medium, Random};
use brimfs_sim::tally::Tally;

use super::world::{OPTIONS, Promise, Step, User, found};
use super::{TALLIES, number};

const STEPS: [Step; 6] = [
    Step::Append(10),
    Step::Append(9000),
    Step::Sync,
    Step::Checkpoint,
    Step::Restart,
    Step::Close,
];

/// How many groups survived of those that were appended and not durable.
#[derive(Debug, Default)]
struct Survivors {
    tally: Tally,
    /// Images of crashes after a process had died and another one took over.
    killed: u64,
}

impl Survivors {
    fn note(&mut self, promise: &Promise, survived: usize) {
        let of = promise.appended.len() - promise.durable;
        let survived = survived - promise.durable;
        self.tally.note(promise.durable > 0, survived, of);
    }

    fn finish(&self, test: &str) {
        self.tally.finish(TALLIES, test);
        println!("{} of them after a process was killed", self.killed);
    }
}

/// A store before the workload begins.
#[derive(Clone, Copy, Debug)]
enum Past {
    Empty,
    /// It has a checkpoint, groups behind it, and was closed.
    Closed,
    /// It has a checkpoint, groups behind it, and its process died.
    Killed,
}

impl Past {
    fn user(self) -> User {
        let mut user = User::new(&Medium::new(), OPTIONS);
        let steps: &[Step] = match self {
            Past::Empty => &[],
            Past::Closed => &[
                Step::Append(10),
                Step::Checkpoint,
                Step::Append(10),
                Step::Close,
            ],
            Past::Killed => &[
                Step::Append(10),
                Step::Checkpoint,
                Step::Append(5000),
                Step::Sync,
            ],
        };
        if !steps.is_empty() {
            user.open().expect("a disk that works");
        }
        for step in steps {
            user.step(*step).expect("a disk that works");
        }
        let medium = user.medium.crash(&Image::default());
        user.after_crash(&medium)
    }
}

fn run(user: &mut User, steps: &[Step]) {
    let opened = user.open();
    let mut results = steps.iter().map(|step| user.step(*step));
    // A call after the power went off fails, and so does the step that it is part of.
    let _ = opened.and_then(|()| results.try_for_each(|result| result));
}

/// All workloads of up to `len` steps.
fn workloads(len: u32) -> Vec<Vec<Step>> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..len {
        let until = all.len();
        for number in from..until {
            for step in STEPS {
                let mut longer = all[number].clone();
                longer.push(step);
                all.push(longer);
            }
        }
        from = until;
    }
    all
}

struct Explorer {
    seen: HashSet<(u64, Promise)>,
    /// Images whose next opening was tried.
    opened: HashSet<u64>,
    /// Of the images of workloads of two steps, one in so many is opened with the power going off.
    sparse: u64,
    survivors: Survivors,
    random: Random,
}

impl Explorer {
    fn new(sparse: u64) -> Self {
        Explorer {
            seen: HashSet::new(),
            opened: HashSet::new(),
            sparse,
            survivors: Survivors::default(),
            random: Random::new(1),
        }
    }

    /// The power goes off after every call of a workload.
    fn workload(&mut self, past: Past, steps: &[Step]) {
        let mut whole = past.user();
        run(&mut whole, steps);
        let calls = whole.medium.calls();
        for stop in 0..=calls {
            let mut user = past.user();
            user.medium.stop_at(Some(stop));
            run(&mut user, steps);
            if steps.len() < 2 || self.random.one_in(self.sparse) {
                self.killed(&user, &|| {
                    format!("{past:?}, {steps:?}, killed before call {stop}")
                });
            }
            for disorder in [Disorder::Journaled, Disorder::Any] {
                for image in user.medium.images(disorder, 256, &mut self.random) {
                    let after = user.medium.crash(&image);
                    if !self
                        .seen
                        .insert((after.fingerprint(), user.promise.clone()))
                    {
                        continue;
                    }
                    let case = || format!("{past:?}, {steps:?}, off before call {stop}, {image:?}");
                    let tokens = self.image(&user, &after, &case);
                    let chosen = steps.len() < 2 || self.random.one_in(self.sparse);
                    if chosen && self.opened.insert(after.fingerprint()) {
                        self.second_crash(&user, &after, &tokens, &case);
                    }
                }
            }
        }
    }

    /// The process dies and the power stays: what it did is pending still. The next process opens the store,
    /// and the power goes off after every call of that.
    fn killed(&mut self, user: &User, case: &dyn Fn() -> String) {
        let next = |stop| {
            let mut next = user.after_crash(&user.medium.fork());
            let now = next.medium.calls();
            next.medium.stop_at(stop);
            run(&mut next, &[Step::Append(10), Step::Sync]);
            (next, now)
        };
        let (whole, now) = next(None);
        let all = whole.promise.appended.len();
        assert_eq!(
            whole.promise.durable,
            all,
            "{}: the next process fails",
            case()
        );
        for stop in now..=whole.medium.calls() {
            let (next, _) = next(Some(stop));
            for disorder in [Disorder::Journaled, Disorder::Any] {
                for image in next.medium.images(disorder, 4, &mut self.random) {
                    let last = next.medium.crash(&image);
                    if !self.seen.insert((last.fingerprint(), next.promise.clone())) {
                        continue;
                    }
                    self.survivors.killed += 1;
                    if let Err(text) = check(&next.promise, &last) {
                        panic!("{}; then off before call {stop}, {image:?}: {text}", case());
                    }
                }
            }
        }
    }

    /// One image: what is found.
    fn image(&mut self, user: &User, after: &Medium, case: &dyn Fn() -> String) -> Vec<u64> {
        let tokens = match found(after) {
            Ok((_, tokens)) => tokens.whole,
            Err(fault) => panic!("{}: {}", case(), fault.during("recover")),
        };
        if let Err(text) = user.promise.check(&tokens) {
            panic!("{}: {text}", case());
        }
        self.survivors.note(&user.promise, tokens.len());
        tokens
    }

    /// The power goes off after every call of the next opening.
    fn second_crash(
        &mut self,
        user: &User,
        after: &Medium,
        tokens: &[u64],
        case: &dyn Fn() -> String,
    ) {
        let fresh = |stop| {
            let mut next = user.after_crash(&after.fork());
            next.promise.appended = tokens.to_vec();
            next.promise.durable = tokens.len();
            next.medium.stop_at(stop);
            run(&mut next, &[Step::Append(10), Step::Sync]);
            next
        };
        let next = fresh(None);
        assert_eq!(
            next.promise.durable,
            tokens.len() + 1,
            "{}: the next opening fails",
            case()
        );
        for stop in 0..=next.medium.calls() {
            let next = fresh(Some(stop));
            for disorder in [Disorder::Journaled, Disorder::Any] {
                for image in next.medium.images(disorder, 4, &mut self.random) {
                    let last = next.medium.crash(&image);
                    if !self.seen.insert((last.fingerprint(), next.promise.clone())) {
                        continue;
                    }
                    self.survivors.tally.second += 1;
                    if let Err(text) = check(&next.promise, &last) {
                        panic!("{}; then off before call {stop}, {image:?}: {text}", case());
                    }
                }
            }
        }
    }
}

fn check(promise: &Promise, medium: &Medium) -> Result<(), String> {
    match found(medium) {
        Ok((_, tokens)) => promise.check(&tokens.whole),
        Err(fault) => Err(fault.during("recover").to_string()),
    }
}

#[test]
fn every_crash_of_every_short_workload_leaves_a_prefix() {
    // A soak opens all of them.
    let sparse = if number("BRIMFS_CASES", 0) > 0 { 1 } else { 8 };
    let mut explorer = Explorer::new(sparse);
    for past in [Past::Empty, Past::Closed, Past::Killed] {
        for steps in workloads(2) {
            explorer.workload(past, &steps);
        }
    }
    explorer
        .survivors
        .finish("journal, every crash of every short workload");
    let outcomes = [0, 1, 2].map(|survived| explorer.survivors.tally.count(survived, 2));
    assert!(
        !outcomes.contains(&0),
        "two groups survive not at all, by half and whole"
    );
}

/// Whatever a group says is nobody's business here.
struct Count(u64);

impl Visitor for Count {
    fn restart(&mut self) {}

    fn record(&mut self, _record: Record<'_>) -> Result<(), Fault> {
        self.0 += 1;
        Ok(())
    }

    fn group(&mut self, _number: u64) -> Result<(), Fault> {
        Ok(())
    }
}

#[test]
fn content_that_looks_like_a_journal_is_content() {
    let mut user = User::new(&Medium::new(), Options::default());
    user.open().expect("a disk that works");
    for step in [Step::Append(10), Step::Sync, Step::Append(10), Step::Sync] {
        user.step(step).expect("a disk that works");
    }
    // The file's own groups, each at the beginning of a block again.
    let name = "journal-0000000000000001";
    let mut bytes = vec![0; 4096 - 86];
    bytes.extend_from_slice(&user.medium.raw(name)[..5 * 4096]);
    let mut group = Group::new();
    let record = Record::Inline {
        node: 1,
        offset: 0,
        bytes: &bytes,
    };
    group.push(&record).expect("encoded");
    let writer = user.writer.as_mut().expect("open");
    writer.append(&group).expect("a disk that works");
    let raw = user.medium.raw(name);
    let headers = raw.chunks(4096).filter(|block| block.starts_with(b"brmg"));
    assert_eq!(headers.count(), 2 + 1 + 2, "the copies lie as groups do");

    let mut random = Random::new(1);
    for _ in 0..300 {
        let image = user.medium.sample_image(Disorder::Any, &mut random);
        let mut count = Count(0);
        let found = recover(&user.medium.crash(&image), &mut count);
        let found = found.unwrap_or_else(|fault| panic!("{image:?}: {}", fault.during("recover")));
        assert!((2..=3).contains(&count.0) && found.tail.group == count.0);
    }
}

/// A world that a seed draws: several lives of a store, each with a workload and an end.
fn world(seed: u64, survivors: &mut Survivors) {
    let mut random = Random::new(seed);
    let options = Options {
        file_bytes: 4096 * (3 + random.below(30)),
        step_bytes: 4096 * (1 + random.below(8)),
    };
    let disorder = if random.one_in(2) {
        Disorder::Any
    } else {
        Disorder::Journaled
    };
    let mut user = User::new(&Medium::new(), options);
    for _life in 0..2 + random.below(4) {
        live(&mut user, &mut random);
        user.writer = None;
        let image = user.medium.sample_image(disorder, &mut random);
        let after = user.medium.crash(&image);
        let (_, tokens) = match found(&after) {
            Ok(found) => found,
            Err(fault) => panic!("{}", fault.during("recover")),
        };
        if let Err(text) = user.promise.check(&tokens.whole) {
            panic!("{text} (disorder {disorder:?}, {options:?})");
        }
        survivors.note(&user.promise, tokens.whole.len());
        // The crash made what survived durable.
        user = user.after_crash(&after);
        user.promise.appended = tokens.whole;
        user.promise.durable = user.promise.appended.len();
    }
}

/// Works until a call fails or the workload ends.
fn live(user: &mut User, random: &mut Random) {
    let now = user.medium.calls();
    match random.below(4) {
        0 => {}
        1 => {
            let failure = Failure::ALL[random.below(4) as usize];
            let call = now + random.below(150);
            user.medium.plan(Some(Plan {
                call,
                failure,
                lasting: false,
            }));
        }
        _ => user.medium.stop_at(Some(now + random.below(200))),
    }
    if user.open().is_err() && user.open().is_err() {
        return;
    }
    for _ in 0..random.below(25) {
        let step = match random.below(12) {
            0..=3 => Step::Append(random.below(3000) as usize),
            4 => Step::Append(random.below(60_000) as usize),
            5..=8 => Step::Sync,
            9 => Step::Checkpoint,
            10 => Step::Restart,
            _ => Step::Close,
        };
        // After a failure the same process tries once more what it can, then another one opens the store.
        if user.step(step).is_err()
            && (user.writer.is_none() || user.step(Step::Sync).is_err())
            && user.open().is_err()
        {
            return;
        }
    }
}

#[test]
fn sampled_crashes_of_long_lives_leave_a_prefix() {
    let cases = number("BRIMFS_CASES", 22_000);
    let first = number("BRIMFS_SEED", 1);
    let mut survivors = Survivors::default();
    for seed in first..first + cases {
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world(seed, &mut survivors);
        }));
        if tried.is_err() {
            panic!(
                "reproduce: BRIMFS_SEED={seed} BRIMFS_CASES=1 cargo test -p brimfs-sim --test journal sampled"
            );
        }
    }
    survivors.finish("journal, sampled crashes of long lives");
}
