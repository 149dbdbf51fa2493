//! Trees that share their content: copies of a whole filesystem, what tells two of them apart, and how one becomes
//! the other again.
//!
//! Knows nodes and content only: neither paths nor handles.

mod delta;
mod diff;
mod merge;
mod restore;
mod twin;
mod usage;

pub use diff::Diff;
pub(crate) use diff::diff;
pub(crate) use merge::{Committed, Held, commit};
pub(crate) use restore::restore;
pub(crate) use twin::{Kind, twin};
pub use usage::Usage;
pub(crate) use usage::usage;
