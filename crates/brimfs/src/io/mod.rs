//! The host: the only module that reads or writes anything of it.

mod beneath;
pub mod directory;
pub mod disk;
pub(crate) mod host_memory;
pub(crate) mod log_file;
pub mod real;
pub mod real_directory;
pub mod real_tree;
pub mod spill_directory;
pub mod tree;
