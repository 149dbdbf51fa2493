//! Resident bytes: who is charged for them, where they live, what a file holds.
//!
//! Knows no names, no paths and no disk.

pub(crate) mod budget;
#[allow(dead_code)]
pub(crate) mod pool;
