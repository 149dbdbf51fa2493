//! Properties that hold for every policy, and the textbooks of three of them.

mod calls;
mod pins;
mod textbook;
mod threads;

use crate::policy::{Chunk, Policy, PolicyKind, Settings};

fn settings(capacity: u64) -> Settings {
    Settings::new(capacity)
}

fn page(id: u64) -> Chunk {
    Chunk {
        id,
        size: 1,
        priority: 5,
        clean: true,
        accesses: 0,
    }
}

fn every_policy(capacity: u64) -> impl Iterator<Item = Box<dyn Policy>> {
    let kinds = PolicyKind::ALL.into_iter();
    kinds.map(move |kind| kind.build(settings(capacity)))
}
