//! brimfs against the model, limits included: every answer, every counter after
//! every operation, all content and an audit every 25 operations, and nothing
//! left at the end.
#![cfg(not(feature = "shuttle"))]

use brimfs_sim::drivers::brimfs::Brimfs;
use brimfs_sim::model::Limits;
use brimfs_sim::run::{Plan, Trial, explore};
use brimfs_sim::tier::Manners;

/// Limits by sequence number: none, and small ones that sequences run into.
fn limits_of(seed: u64) -> Limits {
    let quotas = [
        None,
        Some(3_000),
        Some(64 << 10),
        Some(1 << 20),
        Some(5 << 20),
    ];
    let nodes = [None, None, Some(4), Some(9)];
    Limits {
        quota: quotas[(seed / 3 % 5) as usize],
        max_nodes: nodes[(seed / 15 % 4) as usize],
    }
}

#[test]
fn brimfs_does_what_the_model_does() {
    explore(
        "model_vs_brimfs",
        Plan::from_env(2_000),
        100,
        |seed, ops| {
            let limits = limits_of(seed);
            let brimfs = Brimfs::new(limits)?;
            Trial::new(limits, vec![Box::new(brimfs)]).run(ops)
        },
    );
}

#[test]
fn brimfs_does_what_the_model_does_when_everything_is_spilled() {
    explore("model_vs_brimfs", Plan::from_env(300), 100, |seed, ops| {
        let limits = limits_of(seed);
        let brimfs = Brimfs::with_disk(limits)?;
        Trial::new(limits, vec![Box::new(brimfs)]).run(ops)
    });
}

/// The same sequences with a tier that takes content away after every operation.
fn explore_with_tier(memory_limit: u64, manners: Manners) {
    explore(
        "model_vs_brimfs",
        Plan::from_env(1_000),
        100,
        |seed, ops| {
            let limits = limits_of(seed);
            let brimfs = Brimfs::with_tier(limits, memory_limit, manners, seed)?;
            Trial::new(limits, vec![Box::new(brimfs)]).run(ops)
        },
    );
}

#[test]
fn brimfs_does_what_the_model_does_when_everything_is_cold() {
    explore_with_tier(256 << 20, Manners::WORST);
}

#[test]
fn brimfs_does_what_the_model_does_when_content_comes_and_goes() {
    explore_with_tier(256 << 20, Manners::ERRATIC);
}
