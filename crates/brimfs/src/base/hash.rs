//! The hash of names and paths: fast, and seeded anew in every process.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

static SEED: LazyLock<foldhash::fast::RandomState> =
    LazyLock::new(foldhash::fast::RandomState::default);

/// The hash of `bytes`, the same everywhere in this process.
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = SEED.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
