//! The journal on a disk that loses power, fails and lies.
//!
//! What holds after each of it: recovery finds a prefix of the groups that were appended, no shorter than what
//! the last successful sync covered; or, where the medium was damaged, it says so.

mod crashes;
mod damage;
mod faults;
mod world;

/// Where the numbers of crashes are kept.
const TALLIES: &str = env!("CARGO_TARGET_TMPDIR");

/// `name` from the environment, or `usual`.
fn number(name: &str, usual: u64) -> u64 {
    let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(usual)
}
