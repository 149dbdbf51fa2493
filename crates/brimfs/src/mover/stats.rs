//! What the tier did, counted.

use std::time::Duration;

use crate::base::clock;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::base::trace;
use crate::cold::segment::StoreStats;
use crate::memory::tier::{DiskUse, TierStats};

use super::tickets::Tickets;

#[derive(Debug, Default)]
pub(super) struct Counters {
    evictions: AtomicU64,
    swaps_out: AtomicU64,
    swapped_out: AtomicU64,
    swaps_in: AtomicU64,
    swapped_in: AtomicU64,
    reads_ahead: AtomicU64,
    reads_through: AtomicU64,
    read_through: AtomicU64,
    preloads: AtomicU64,
    preloaded: AtomicU64,
    stalls: AtomicU64,
    stalled: AtomicU64,
    longest_stall: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn evicted(&self, bytes: u64, written: bool) {
        add(&self.evictions, 1);
        if written {
            add(&self.swaps_out, 1);
            add(&self.swapped_out, bytes);
        }
    }

    pub(super) fn faulted_in(&self, bytes: u64) {
        add(&self.swaps_in, 1);
        add(&self.swapped_in, bytes);
    }

    /// Counts a unit that came back unasked, if it did.
    pub(super) fn read_ahead(&self, did: bool) {
        add(&self.reads_ahead, u64::from(did));
    }

    pub(super) fn read_through(&self, bytes: u64) {
        add(&self.reads_through, 1);
        add(&self.read_through, bytes);
    }

    pub(super) fn preloaded(&self, bytes: u64) {
        add(&self.preloads, 1);
        add(&self.preloaded, bytes);
    }

    pub(super) fn snapshot(&self, store: Option<StoreStats>, cold: &Tickets) -> TierStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierStats {
            cold_bytes: cold.bytes(),
            cold_units: cold.count(),
            cold_files: cold.files(),
            evictions: get(&self.evictions),
            swaps_out: get(&self.swaps_out),
            swapped_out: get(&self.swapped_out),
            swaps_in: get(&self.swaps_in),
            swapped_in: get(&self.swapped_in),
            reads_ahead: get(&self.reads_ahead),
            reads_through: get(&self.reads_through),
            read_through: get(&self.read_through),
            preloads: get(&self.preloads),
            preloaded: get(&self.preloaded),
            stalls: get(&self.stalls),
            stalled: get(&self.stalled),
            longest_stall: get(&self.longest_stall),
            disk: store.map(|store| DiskUse {
                bytes: store.disk_bytes,
                limit: store.disk_limit,
                live: store.live_bytes,
                dead: store.dead_bytes,
                written: store.bytes_written,
                read: store.bytes_read,
            }),
        }
    }
}

/// The time from its beginning to its end is a stall.
pub(super) struct Stall<'a> {
    counters: &'a Counters,
    begun: Duration,
}

impl<'a> Stall<'a> {
    pub(super) fn begin(counters: &'a Counters) -> Self {
        Stall {
            counters,
            begun: clock::monotonic(),
        }
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        let length = clock::monotonic().saturating_sub(self.begun).as_nanos() as u64;
        trace::event!(nanos = length, "stall");
        add(&self.counters.stalls, 1);
        add(&self.counters.stalled, length);
        self.counters
            .longest_stall
            .fetch_max(length, Ordering::Relaxed);
    }
}
