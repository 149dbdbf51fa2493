//! Trees of the host: in, and out.
//!
//! Both go beneath a directory that is held open, one name at a time, and follow no symbolic link: who renames
//! directories or puts links in the way meanwhile changes what is copied, and not where.

mod export;
mod import;

pub use export::{ExportOptions, export_tree};
pub use import::{ImportOptions, import_tree};

/// Which paths below the tree to copy, and whether it is a directory that is asked about; of a directory that is
/// left out nothing is copied.
pub type Filter<'a> = dyn FnMut(&[u8], bool) -> bool + 'a;
