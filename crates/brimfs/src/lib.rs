//! A memory-first virtual filesystem.

pub mod base;
mod memory;

pub use base::error::{Error, ErrorKind, LimitInfo, Result};
pub use memory::budget::Budget;
