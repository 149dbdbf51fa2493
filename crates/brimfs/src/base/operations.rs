//! How often which operation succeeded, and how long it takes on average.
//!
//! Counts are spread over lines that threads own, so counting is a load and a store. The clock
//! costs more than a short operation, so one call in [`SAMPLE`] of each thread is timed.

use std::time::{Duration, Instant};

use crate::base::stats::{COMMON, LINES, my_line};
use crate::base::sync::atomic::{AtomicU64, Ordering};

/// One call in so many is timed.
pub(crate) const SAMPLE: u64 = 64;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Open,
    Read,
    Write,
    Remove,
}

const KINDS: usize = 4;

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    timed: AtomicU64,
    nanos: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([Counter; KINDS]);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    lines: [Line; LINES],
    misses: AtomicU64,
}

/// How often an operation succeeded, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationCount {
    /// Calls that succeeded.
    pub calls: u64,
    /// How long one of them took on average, waiting included: the mean of every 64th call of each
    /// thread, the first one included. Zero without a call.
    pub mean: Duration,
}

impl Operations {
    /// Runs an operation and counts it if it succeeds.
    #[inline(always)]
    pub(crate) fn count<R, E>(
        &self,
        operation: Operation,
        body: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let line = my_line();
        let counter = &self.lines[line].0[operation as usize];
        let due = counter.calls.load(Ordering::Relaxed).is_multiple_of(SAMPLE);
        let begun = if due { Some(Instant::now()) } else { None };
        let result = body();
        if result.is_ok() {
            if line == COMMON {
                counter.calls.fetch_add(1, Ordering::Relaxed);
            } else {
                // Nobody else writes here.
                let calls = counter.calls.load(Ordering::Relaxed);
                counter.calls.store(calls + 1, Ordering::Relaxed);
            }
            if let Some(begun) = begun {
                counter.time(begun);
            }
        }
        result
    }

    /// Content was read that was not in memory.
    pub(crate) fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Exact when nobody is at work meanwhile.
    pub(crate) fn of(&self, operation: Operation) -> OperationCount {
        let counters = self.lines.iter().map(|line| &line.0[operation as usize]);
        let (mut calls, mut timed, mut nanos) = (0, 0, 0_u64);
        for counter in counters {
            calls += counter.calls.load(Ordering::Relaxed);
            timed += counter.timed.load(Ordering::Relaxed);
            nanos += counter.nanos.load(Ordering::Relaxed);
        }
        let mean = nanos.checked_div(timed).unwrap_or(0);
        OperationCount {
            calls,
            mean: Duration::from_nanos(mean),
        }
    }
}

impl Counter {
    #[cold]
    fn time(&self, begun: Instant) {
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.timed.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn what_succeeds_is_counted_and_timed_now_and_then() {
        let operations = Operations::default();
        let nap = Duration::from_millis(5);
        std::thread::scope(|scope| {
            for _ in 0..3 * LINES {
                scope.spawn(|| {
                    for call in 0..100_u64 {
                        let done: Result<(), ()> = operations.count(Operation::Read, || {
                            if call == 0 {
                                std::thread::sleep(nap);
                            }
                            Ok(())
                        });
                        done.expect("it succeeds");
                        let failed: Result<(), ()> = operations.count(Operation::Open, || Err(()));
                        failed.expect_err("it fails");
                    }
                });
            }
        });
        let reads = operations.of(Operation::Read);
        assert_eq!(reads.calls, 3 * LINES as u64 * 100);
        assert!(reads.mean > Duration::ZERO);
        assert_eq!(operations.of(Operation::Open), OperationCount::default());
        assert_eq!(operations.of(Operation::Write).calls, 0);
    }
}
