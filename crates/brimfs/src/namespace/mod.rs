//! Names and the nodes that they point to.
//!
//! Per-directory maps are the truth; a bounded cache of full paths stands in
//! front of them. Knows of content only that a node has some; never touches
//! file locks beyond making room for their word.

pub(crate) mod cache;
pub(crate) mod changes;
pub(crate) mod directory;
pub(crate) mod gate;
pub(crate) mod glob;
pub(crate) mod inode;
pub(crate) mod log;
pub(crate) mod meta;
pub(crate) mod path;
pub(crate) mod priority;
pub(crate) mod residence;
pub(crate) mod resolve;
pub(crate) mod restored;
pub(crate) mod times;
pub(crate) mod tree;
pub(crate) mod volume;
pub(crate) mod walk;
pub(crate) mod watch;
