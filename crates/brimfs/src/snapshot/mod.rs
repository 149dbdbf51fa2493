//! Trees that share their content: copies of a whole filesystem, what tells two of them apart, and how one becomes
//! the other again.
//!
//! Knows nodes and content only: neither paths nor handles.

mod diff;
mod restore;
mod twin;

pub use diff::Diff;
pub(crate) use diff::diff;
pub(crate) use restore::restore;
pub(crate) use twin::{Kind, twin};
