//! Filesystems that are kept in a directory: what was there is there again, whatever happens to the disk.
//!
//! After a crash what is there is what was there after some of the operations, none left out in between, and no
//! fewer than the last acknowledged sync covered. Where the medium was damaged it is that, or an error.
#![cfg(not(feature = "shuttle"))]

mod accesses;
mod arbitrary;
mod compaction;
mod crashes;
mod damage;
mod deaths;
mod durable_calls;
mod faults;
mod fixtures;
mod full;
mod model;
mod overlays;
mod pressure;
mod refused;
mod reopen;
mod repair;
mod repair_crashes;
mod threads;
mod tree;
mod world;

/// Where the numbers of crashes are kept.
const TALLIES: &str = env!("CARGO_TARGET_TMPDIR");

/// `name` from the environment, or `usual`.
fn number(name: &str, usual: u64) -> u64 {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(usual)
}
