//! Compares systems with the model, operation by operation, and reports failures.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::strategy::{Just, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::model::{Limits, Model, Verdict};
use crate::op::{Answer, Kind, Op, Outcome, Raw, SLOTS, Stamp, Stat, System};
use crate::workload::{Flavor, operation};

/// How often everything is compared, in operations.
const CHECK_EVERY: usize = 25;
/// Attempts to make a failing sequence shorter.
const MAX_SHRINKS: usize = 3_000;

/// A model and the systems that must agree with it.
pub struct Trial {
    model: Model,
    systems: Vec<(Box<dyn System>, Pairing)>,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trial of {} systems", self.systems.len())
    }
}

/// Which inode of a system is which of the model's. Never more than one each way.
#[derive(Default)]
struct Pairing {
    theirs: BTreeMap<u64, u64>,
    ours: BTreeMap<u64, u64>,
}

impl Pairing {
    fn agrees(&mut self, model: u64, system: u64) -> bool {
        *self.theirs.entry(model).or_insert(system) == system
            && *self.ours.entry(system).or_insert(model) == model
    }
}

impl Trial {
    /// Everything empty.
    pub fn new(limits: Limits, systems: Vec<Box<dyn System>>) -> Self {
        let paired = systems
            .into_iter()
            .map(|system| (system, Pairing::default()));
        Trial {
            model: Model::new(limits),
            systems: paired.collect(),
        }
    }

    /// Applies all of `ops`, checks everything, and removes everything.
    pub fn run(&mut self, ops: &[Op]) -> Result<(), String> {
        for (number, op) in ops.iter().enumerate() {
            let done = match op {
                Op::CheckAll => self.check_all(),
                op => self.step(op),
            };
            done.map_err(|why| format!("operation {number}: {why}"))?;
        }
        self.check_all()
            .map_err(|why| format!("after all: {why}"))?;
        self.remove_all()
            .map_err(|why| format!("while removing all: {why}"))
    }

    /// Applies one operation to all and compares answers and counters.
    pub fn step(&mut self, op: &Op) -> Result<(), String> {
        if let Op::Open { slot, .. } = op
            && self.model.is_open(*slot)
        {
            self.step(&Op::Close { slot: *slot })?;
        }
        let (expected, linux_too) = match self.model.apply(op) {
            Verdict::All(answer) => (answer, true),
            Verdict::BrimfsOnly(answer) => (answer, false),
            Verdict::Skip => return Ok(()),
        };
        let counters = self.model.counters();
        for (system, pairing) in &mut self.systems {
            let name = system.name();
            if !linux_too && name != "brimfs" {
                continue;
            }
            if let Some(answer) = system.apply(op)
                && let Err(why) = agree(op, &expected, &answer, system.keeps_order(), pairing)
            {
                return Err(format!(
                    "{op:?}\n  {why}\n  model:  {expected:?}\n  {name}: {answer:?}"
                ));
            }
            patiently(&**system, |system| match system.counters() {
                Some(shown) if shown != counters => Err(format!(
                    "{op:?} answered {expected:?}\n  counters differ\n  model:  {counters:?}\n  {name}: {shown:?}"
                )),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Compares every path, every byte and every counter.
    ///
    /// # Errors
    /// What differs.
    pub fn check_all(&mut self) -> Result<(), String> {
        if self.model.all_is_reachable() {
            for (system, _) in &self.systems {
                let name = system.name();
                patiently(&**system, |system| system.audit())
                    .map_err(|why| format!("audit of {name}: {why}"))?;
            }
        }
        let mut questions = vec![Op::ListDir {
            path: Raw::from("/"),
        }];
        for (path, kind) in self.model.paths() {
            questions.push(Op::Lstat { path: path.clone() });
            match kind {
                Kind::Link => questions.push(Op::ReadLink { path }),
                Kind::Dir => {
                    questions.push(Op::ListXattrs { path: path.clone() });
                    questions.push(Op::ListDir { path });
                }
                Kind::File => {
                    questions.push(Op::ListXattrs { path: path.clone() });
                    questions.push(Op::ReadAll { path });
                }
            }
        }
        questions.extend((0..SLOTS).map(|slot| Op::ReadView { slot }));
        questions.extend((0..SLOTS).map(|slot| Op::HandleStat { slot }));
        questions
            .iter()
            .try_for_each(|question| self.step(question))
    }

    /// Closes all handles and drops all views.
    ///
    /// # Errors
    /// What differs.
    pub fn let_go(&mut self) -> Result<(), String> {
        (0..SLOTS).try_for_each(|slot| {
            self.step(&Op::Close { slot })?;
            self.step(&Op::DropView { slot })
        })
    }

    /// Closes and removes everything; counters and memory must be those of an empty filesystem.
    ///
    /// # Errors
    /// What is left.
    pub fn remove_all(&mut self) -> Result<(), String> {
        self.let_go()?;
        for name in ["user.a", "user.b"] {
            let (path, name) = (Raw::from("/"), Raw::from(name));
            self.step(&Op::RemoveXattr { path, name })?;
        }
        for (path, kind) in self.model.paths() {
            let top_level = path.0.iter().filter(|byte| **byte == b'/').count() == 1;
            match kind {
                _ if !top_level => {}
                Kind::Dir => self.step(&Op::RmTree { path })?,
                _ => self.step(&Op::Unlink { path })?,
            }
        }
        for (system, _) in &self.systems {
            patiently(&**system, |system| {
                system.audit().and_then(|()| system.check_empty())
            })?;
        }
        Ok(())
    }
}

/// Asks once, and a lazy system again for a while if the answer is no.
fn patiently(
    system: &dyn System,
    check: impl Fn(&dyn System) -> Result<(), String>,
) -> Result<(), String> {
    let mut patience = if system.is_lazy() { 5_000 } else { 0 };
    loop {
        match check(system) {
            Err(_) if patience > 0 => patience -= 1,
            done => return done,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Audits a filesystem at rest: the clerk and the mover may look at a node for a moment that was removed.
///
/// # Errors
/// What is wrong still when they had time.
pub fn audit(fs: &brimfs::FileSystem) -> Result<(), String> {
    for _ in 0..5000 {
        if fs.audit().is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs.audit()
}

fn agree(
    op: &Op,
    model: &Answer,
    system: &Answer,
    ordered: bool,
    pairing: &mut Pairing,
) -> Result<(), &'static str> {
    let equal = match (model, system) {
        (Err(model), Err(system)) => model.errno == system.errno,
        (Ok(Outcome::Stat(model)), Ok(Outcome::Stat(system))) => {
            return stats_agree(model, system, pairing);
        }
        (Ok(Outcome::Names(model)), Ok(Outcome::Names(system))) => {
            let any_order = !ordered || matches!(op, Op::ListXattrs { .. });
            if any_order {
                sorted(model) == sorted(system)
            } else {
                model == system
            }
        }
        (Ok(Outcome::Tree(model)), Ok(Outcome::Tree(system))) => {
            if !parents_come_first(system) {
                return Err("a child comes before its directory");
            }
            sorted(model) == sorted(system)
        }
        (Ok(model), Ok(system)) => model == system,
        _ => false,
    };
    if equal { Ok(()) } else { Err("answers differ") }
}

fn stats_agree(model: &Stat, system: &Stat, pairing: &mut Pairing) -> Result<(), &'static str> {
    if !pairing.agrees(model.ino, system.ino) {
        return Err("inode numbers do not pair");
    }
    let mut expected = model.clone();
    expected.ino = system.ino;
    if expected.modified == Stamp::Any {
        expected.modified = system.modified;
    }
    if expected == *system {
        Ok(())
    } else {
        Err("attributes differ")
    }
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

fn parents_come_first(tree: &[(Raw, Kind)]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let known = tree.iter().map(|(path, _)| path.0.as_slice());
    let all: std::collections::BTreeSet<_> = known.collect();
    tree.iter().all(|(path, _)| {
        let end = path.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let parent = &path.0[..end];
        let fine = !all.contains(parent) || seen.contains(parent);
        seen.insert(path.0.as_slice());
        fine
    })
}

/// How many sequences to run, and from which on.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of the first sequence.
    pub seed: u64,
    /// How many.
    pub cases: u64,
    /// After how many failures to stop.
    pub failures: usize,
}

impl Plan {
    /// `BRIMFS_CASES`, `BRIMFS_SEED` and `BRIMFS_FAILURES`, or `cases` sequences from number 1 on.
    ///
    /// A soak (more cases than usual and no seed) starts at a number nobody tried yet.
    pub fn from_env(cases: u64) -> Self {
        Self::from_env_at(cases, 1)
    }

    /// The same, where the usual sequences start at number `first`.
    pub fn from_env_at(cases: u64, first: u64) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let wanted = number("BRIMFS_CASES").unwrap_or(cases);
        let fresh = || {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            now.as_secs() << 20
        };
        let seed =
            number("BRIMFS_SEED").unwrap_or_else(|| if wanted > cases { fresh() } else { first });
        Plan {
            seed,
            cases: wanted,
            failures: number("BRIMFS_FAILURES").unwrap_or(1).max(1) as usize,
        }
    }
}

/// Runs `trial` on `plan.cases` sequences of `len` operations. Panics with the
/// shortest failing one and the line that reproduces it.
pub fn explore(
    test: &str,
    plan: Plan,
    len: usize,
    trial: impl Fn(u64, &[Op]) -> Result<(), String> + Sync,
) {
    // Unoptimised, proptest's nested strategies take more than the usual stack of a test.
    std::thread::scope(|scope| {
        let all = || {
            let seeds = plan.seed..plan.seed + plan.cases;
            let failures = seeds.filter_map(|seed| try_one(test, seed, len, &trial).err());
            failures.take(plan.failures).collect::<String>()
        };
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let worker = thread
            .spawn_scoped(scope, all)
            .expect("a thread can be started");
        match worker.join() {
            Ok(reports) => assert!(reports.is_empty(), "{reports}"),
            Err(panic) => panic!("outside of a trial: {}", panic_text(panic.as_ref())),
        }
    });
    println!(
        "{test}: {} sequences of {len} operations from seed {}",
        plan.cases, plan.seed
    );
}

/// The operations of sequence `seed`, without any that compares everything.
#[must_use]
pub fn sequence(seed: u64, len: usize) -> Vec<Op> {
    let draw = move || {
        let trees = trees_of(seed, len, usize::MAX);
        current(&trees)
    };
    // As in `explore`.
    let thread = std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(draw)
        .expect("a thread can be started");
    thread
        .join()
        .expect("strategies without filters do not panic")
}

/// The operations of sequence `seed`; everything is compared every so many.
fn trees_of(seed: u64, len: usize, check_every: usize) -> Vec<OpTree> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = operation(Flavor::of(seed));
    let mut trees: Vec<OpTree> = Vec::new();
    for number in 1..=len {
        trees.push(
            strategy
                .new_tree(&mut runner)
                .expect("a strategy without filters"),
        );
        if number % check_every == 0 {
            trees.push(Box::new(Just(Op::CheckAll)));
        }
    }
    trees
}

fn try_one(
    test: &str,
    seed: u64,
    len: usize,
    trial: &impl Fn(u64, &[Op]) -> Result<(), String>,
) -> Result<(), String> {
    let mut trees = trees_of(seed, len, CHECK_EVERY);
    let attempt = |trees: &[OpTree]| {
        let ops: Vec<Op> = trees.iter().map(|tree| tree.current()).collect();
        catch_unwind(AssertUnwindSafe(|| trial(seed, &ops)))
            .unwrap_or_else(|panic| Err(format!("panic: {}", panic_text(panic.as_ref()))))
    };
    let Err(why) = attempt(&trees) else {
        return Ok(());
    };
    let (ops, why) = shrink(&mut trees, why, attempt);
    let lines = ops.iter().map(|op| format!("    {op:?},\n"));
    Err(format!(
        "\nreproduce: BRIMFS_SEED={seed} BRIMFS_CASES=1 cargo test -p brimfs-sim --test {test}\n\
         {why}\nshortest sequence found:\n{}",
        lines.collect::<String>()
    ))
}

type OpTree = Box<dyn ValueTree<Value = Op>>;

/// Drops operations and simplifies what is left, as long as it fails.
/// Answers the last sequence that failed, and how.
fn shrink(
    trees: &mut Vec<OpTree>,
    why: String,
    attempt: impl Fn(&[OpTree]) -> Result<(), String>,
) -> (Vec<Op>, String) {
    let mut budget = MAX_SHRINKS;
    let mut failure = (current(trees), why);
    drop_operations(trees, &mut failure, &mut budget, &attempt);
    simplify_operations(trees, &mut failure, &mut budget, &attempt);
    failure
}

fn current(trees: &[OpTree]) -> Vec<Op> {
    trees.iter().map(|tree| tree.current()).collect()
}

/// Drops runs of operations that the failure does not need: halves first, single ones at last.
fn drop_operations(
    trees: &mut Vec<OpTree>,
    failure: &mut (Vec<Op>, String),
    budget: &mut usize,
    attempt: &impl Fn(&[OpTree]) -> Result<(), String>,
) {
    let mut step = trees.len().div_ceil(2);
    while step > 0 {
        let before = trees.len();
        let mut at = 0;
        while at < trees.len() && *budget > 0 {
            *budget -= 1;
            let end = trees.len().min(at + step);
            let dropped: Vec<OpTree> = trees.drain(at..end).collect();
            if let Err(why) = attempt(trees) {
                *failure = (current(trees), why);
            } else {
                trees.splice(at..at, dropped);
                at = end;
            }
        }
        if *budget == 0 {
            return;
        }
        if step > 1 || trees.len() == before {
            step /= 2;
        }
    }
}

fn simplify_operations(
    trees: &mut [OpTree],
    failure: &mut (Vec<Op>, String),
    budget: &mut usize,
    attempt: &impl Fn(&[OpTree]) -> Result<(), String>,
) {
    for at in 0..trees.len() {
        let mut moved = trees[at].simplify();
        while moved && *budget > 0 {
            *budget -= 1;
            moved = match attempt(trees) {
                Err(why) => {
                    *failure = (current(trees), why);
                    trees[at].simplify()
                }
                Ok(()) => trees[at].complicate(),
            };
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "of an unknown kind".to_owned())
}
