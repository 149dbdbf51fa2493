//! Threads that help one call and are gone when it returns.

use crate::base::sync::atomic::{AtomicUsize, Ordering};
use crate::base::sync::{Mutex, spawn_scoped, thread};

/// A job's own input, taken out by the thread that does the job.
pub(super) type Slot<T> = Mutex<T>;

/// Does jobs `0..count`, with up to `wanted` helpers if `permits` has as many. Returns the results in order.
///
/// The calling thread works too, so that without permits, or without threads to be had, everything
/// is done all the same.
pub(super) fn share<T: Send>(
    permits: &AtomicUsize,
    wanted: usize,
    count: usize,
    job: &(dyn Fn(usize) -> T + Sync),
) -> Vec<T> {
    let helpers = take(permits, wanted);
    if helpers == 0 {
        return (0..count).map(job).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let result = job(number);
            results.lock().push((number, result));
        }
    };
    thread::scope(|scope| {
        let start = |_| spawn_scoped(scope, work);
        let started: Vec<_> = (0..helpers).map_while(start).collect();
        work();
        // The scope would wait too, but in a way that ThreadSanitizer does not see.
        for helper in started {
            helper.join().expect("a helper does not panic");
        }
    });
    permits.fetch_add(helpers, Ordering::Relaxed);
    let mut results = results.into_inner();
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take(permits: &AtomicUsize, wanted: usize) -> usize {
    let mut taken = 0;
    let take = |free: usize| {
        taken = free.min(wanted);
        (taken > 0).then(|| free - taken)
    };
    match permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        Ok(_) => taken,
        Err(_) => 0,
    }
}
