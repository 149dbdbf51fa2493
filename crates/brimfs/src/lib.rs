//! A memory-first virtual filesystem.

pub mod base;
#[allow(dead_code)] // until files and whole-file calls take locks
mod handle;
mod memory;

pub use base::error::{Error, ErrorKind, LimitInfo, Result};
pub use memory::budget::Budget;
