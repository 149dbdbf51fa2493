//! The pool may keep backed what all budgets together allow.

use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::memory::pool;

/// In MiB, so that limits without end can be added up; no lock, so that a forked child that
/// drops an inherited budget cannot hang.
static SUM_MIB: AtomicU64 = AtomicU64::new(0);

/// Kept backed even when no budget is left, so that a filesystem for every test case does not
/// pay for fresh pages every time, in bytes.
const FLOOR: u64 = 16 << 20;

const fn mib(limit: u64) -> u64 {
    limit.div_ceil(1 << 20)
}

pub(super) fn raise(limit: u64) {
    set(SUM_MIB.fetch_add(mib(limit), Ordering::Relaxed) + mib(limit));
}

pub(super) fn lower(limit: u64) {
    set(SUM_MIB.fetch_sub(mib(limit), Ordering::Relaxed) - mib(limit));
}

fn set(sum_mib: u64) {
    pool::set_ceiling(sum_mib.saturating_mul(1 << 20).max(FLOOR));
}
