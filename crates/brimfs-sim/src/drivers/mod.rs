//! Systems that operations are applied to.

pub mod brimfs;
mod host;
pub mod tmpfs;
