//! What every layer stands on: errors, locks, clocks and the fork check.
//!
//! Owns no state of a filesystem and calls no other layer.

pub mod clock;
pub mod error;
pub mod fork;
pub mod hash;
pub(crate) mod lock_word;
pub mod long_wait;
pub(crate) mod operations;
pub mod pages;
pub(crate) mod spin;
pub(crate) mod stats;
pub mod sync;
pub(crate) mod trace;
