//! Random sequences against the model, with syncs and openings in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use brimfs::{Durability, FileSystem};
use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::medium::{Medium, Random};
use brimfs_sim::model::Limits;
use brimfs_sim::op::{Answer, Counters, Op, System};
use brimfs_sim::run::{Plan, Trial, explore};
use parking_lot::Mutex;

use super::world::{ROOMY, Settings};

/// A persistent filesystem that is synced at random moments.
struct Inner {
    limits: Limits,
    settings: Settings,
    medium: Medium,
    random: Random,
    /// Not with copies: what they share counts once until the store is opened, and then once for each.
    compares_counters: bool,
    /// Nothing between closing and opening.
    system: Option<Brimfs>,
}

#[derive(Clone)]
struct Kept(Arc<Mutex<Inner>>);

impl Inner {
    fn system(&mut self) -> &mut Brimfs {
        self.system.as_mut().expect("open")
    }

    fn open(&mut self) -> Result<(), String> {
        let store = Arc::new(self.medium.clone());
        let opened = Brimfs::with_store(self.limits, self.settings.builder(), store);
        self.system = Some(opened?);
        Ok(())
    }
}

/// The accesses that count of each file.
fn accesses(fs: &FileSystem) -> Result<BTreeMap<Vec<u8>, u64>, String> {
    let told = |error: brimfs::Error| error.to_string();
    let mut found = BTreeMap::new();
    for entry in fs.walk("/").map_err(told)? {
        if entry.metadata().is_file() {
            let why = fs.explain(entry.path()).map_err(told)?;
            found.insert(entry.path().to_vec(), why.accesses);
        }
    }
    Ok(found)
}

impl Kept {
    fn reopen(&self) -> Result<(), String> {
        let mut inner = self.0.lock();
        let system = inner.system.take().expect("open");
        let counted = accesses(system.fs())?;
        system.fs().close().map_err(|error| error.to_string())?;
        drop(system);
        inner.open()?;
        let again = accesses(inner.system().fs())?;
        // What is evicted meanwhile counts from the beginning, and what copies share for one of them.
        if inner.compares_counters && inner.settings.memory == ROOMY.memory && again != counted {
            return Err(format!("accesses were {counted:?} and are {again:?}"));
        }
        Ok(())
    }
}

impl System for Kept {
    fn name(&self) -> &'static str {
        "brimfs"
    }

    fn apply(&mut self, op: &Op) -> Option<Answer> {
        let mut inner = self.0.lock();
        let answer = inner.system().apply(op);
        if inner.random.one_in(12)
            && let Err(error) = inner.system().fs().sync()
        {
            return Some(Err(error.into()));
        }
        answer
    }

    fn keeps_order(&self) -> bool {
        true
    }

    fn is_lazy(&self) -> bool {
        // The clerk and the mover look at nodes while they are removed.
        true
    }

    fn counters(&self) -> Option<Counters> {
        let mut inner = self.0.lock();
        match inner.compares_counters {
            true => inner.system().counters(),
            false => None,
        }
    }

    fn audit(&self) -> Result<(), String> {
        let mut inner = self.0.lock();
        inner.system().audit()
    }

    fn check_empty(&self) -> Result<(), String> {
        let mut inner = self.0.lock();
        let stats = inner.system().fs().stats();
        if stats.nodes != 1 || stats.quota_used != 0 {
            return Err(format!("not empty: {stats:?}"));
        }
        Ok(())
    }
}

fn trial(seed: u64, settings: Settings, ops: &[Op]) -> Result<(), String> {
    let copies = seed.is_multiple_of(2);
    // No quota: what was removed may count for a moment still, and the next write would fail in one of both.
    let limits = Limits::default();
    let kept = Kept(Arc::new(Mutex::new(Inner {
        limits,
        settings,
        medium: Medium::new(),
        random: Random::new(seed),
        compares_counters: !copies,
        system: None,
    })));
    kept.0.lock().open()?;
    let mut trial = Trial::new(limits, vec![Box::new(kept.clone())]);
    for (number, op) in ops.iter().enumerate() {
        let done = match op {
            Op::CheckAll => trial
                .let_go()
                .and_then(|()| kept.reopen())
                .and_then(|()| trial.check_all())
                .map_err(|why| format!("opened anew: {why}")),
            Op::Copy { .. } | Op::CopyTree { .. } if !copies => continue,
            op => trial.step(op),
        };
        done.map_err(|why| format!("operation {number}: {why}"))?;
    }
    trial.remove_all()?;
    kept.reopen()?;
    trial.remove_all()
}

#[test]
fn what_was_closed_and_opened_is_what_the_model_has() {
    explore("persist model::", Plan::from_env(120), 100, |seed, ops| {
        trial(seed, ROOMY, ops)
    });
}

#[test]
fn what_was_closed_and_opened_is_what_the_model_has_when_memory_is_small() {
    let settings = Settings {
        memory: 20 << 20,
        disk: None,
        ..ROOMY
    };
    explore("persist model::", Plan::from_env(120), 100, |seed, ops| {
        trial(seed, settings, ops)
    });
}

#[test]
fn what_was_closed_and_opened_is_what_the_model_has_when_every_call_is_durable() {
    let settings = Settings {
        durability: Durability::Sync,
        ..ROOMY
    };
    explore("persist model::", Plan::from_env(60), 100, |seed, ops| {
        trial(seed, settings, ops)
    });
}
