//! Counters that threads add to without meeting: one line of cache per thread, for the first few.

use crate::base::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use crate::base::sync::thread_local;

pub(super) const LINES: usize = 16;
/// The line of all threads that have none of their own.
pub(super) const COMMON: usize = LINES - 1;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicI64);

/// A counter that is cheap to change from many threads and dearer to read.
#[derive(Debug, Default)]
pub(crate) struct SpreadCounter([Line; LINES]);

/// A bit for every line that belongs to a thread.
static TAKEN: AtomicU32 = AtomicU32::new(1 << COMMON);

/// The calling thread's line in all counters.
struct Mine(usize);

impl Mine {
    fn take() -> Self {
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
            let free = taken.trailing_ones() as usize;
            (free < LINES).then_some(taken | 1 << free)
        });
        Mine(taken.map_or(COMMON, |before| before.trailing_ones() as usize))
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if self.0 != COMMON {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

thread_local! {
    static MINE: Mine = Mine::take();
}

/// The calling thread's line. One that ends has given it back.
#[inline]
pub(super) fn my_line() -> usize {
    MINE.try_with(|mine| mine.0).unwrap_or(COMMON)
}

impl SpreadCounter {
    #[inline]
    pub(crate) fn add(&self, amount: i64) {
        let line = my_line();
        let sum = &self.0[line].0;
        if line == COMMON {
            sum.fetch_add(amount, Ordering::Relaxed);
        } else {
            // Nobody else writes here.
            sum.store(sum.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        }
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

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_more_threads_than_lines_and_after_them() {
        let counter = SpreadCounter::default();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..3 * LINES {
                    scope.spawn(|| (0..1000).for_each(|_| counter.add(1)));
                }
            });
        }
        counter.add(-1);
        assert_eq!(counter.sum(), 3 * 3 * LINES as u64 * 1000 - 1);
    }
}
