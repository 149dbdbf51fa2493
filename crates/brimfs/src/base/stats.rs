//! Counters that threads add to without meeting: one line of cache per group of threads.

use crate::base::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use crate::base::sync::thread_local;

const SHARDS: usize = 16;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicI64);

/// A counter that is cheap to change from many threads and dearer to read.
#[derive(Debug, Default)]
pub(crate) struct SpreadCounter([Line; SHARDS]);

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

impl SpreadCounter {
    #[inline]
    pub(crate) fn add(&self, amount: i64) {
        // While a thread ends its place may be gone; any other serves as well.
        let shard = SHARD.try_with(|shard| *shard).unwrap_or(0);
        self.0[shard].0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum; exact when nobody changes it meanwhile.
    pub(crate) fn sum(&self) -> u64 {
        let sum: i64 = self
            .0
            .iter()
            .map(|line| line.0.load(Ordering::Relaxed))
            .sum();
        sum.max(0) as u64
    }
}
