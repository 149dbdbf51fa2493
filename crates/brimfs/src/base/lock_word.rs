//! The word of an inode that `handle::lock` works on.
//!
//! It lives in this layer so that the namespace can embed it without knowing
//! what its bits mean.

use crate::base::sync::atomic::AtomicU32;

/// State of one file lock; zero when nobody holds it or waits for it.
#[derive(Debug, Default)]
pub(crate) struct LockWord(pub(crate) AtomicU32);
