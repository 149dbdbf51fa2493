//! Systems that operations are applied to.

mod host;
pub mod tmpfs;
