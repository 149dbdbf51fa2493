//! The cold tier: where content is that left memory. Knows disks through `io` and nothing of memory.

pub(crate) mod host_files;
pub mod segment;
