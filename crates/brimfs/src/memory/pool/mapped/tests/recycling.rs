//! Where memory comes from: recycled first, the lowest address, slots kept whole.

use std::collections::BTreeSet;

use super::super::unit::{PAGE, UNIT};
use super::*;

#[test]
fn a_freed_slot_comes_back_first() {
    let pool = Pool::leak();
    let mut first = Slot::alloc_in(pool).unwrap();
    let second = Slot::alloc_in(pool).unwrap();
    first.fill(9);
    let address = first.as_ptr();
    drop(first);
    let again = Slot::alloc_in(pool).unwrap();
    assert_eq!(again.as_ptr(), address);
    assert!(again.iter().all(|byte| *byte == 9), "recycled, not fresh");
    assert_ne!(second.as_ptr(), address);
}

#[test]
fn recycled_memory_is_preferred_to_lower_fresh_memory() {
    let pool = Pool::leak();
    let mut run = Slot::alloc_run_in(pool, 12).unwrap();
    let high = run.split_off(6);
    let first = high[0].as_ptr();
    drop(run);
    pool.trim(0);
    drop(high);
    assert_eq!(Slot::alloc_in(pool).unwrap().as_ptr(), first, "a slot");
    assert_eq!(
        Slot::alloc_run_in(pool, 3).unwrap()[0].as_ptr(),
        first,
        "a run"
    );
    assert_eq!(Buf::alloc_in(pool, 100).unwrap().as_ptr(), first, "a span");
}

#[test]
fn recycled_pages_are_preferred_to_lower_fresh_pages() {
    let pool = Pool::leak();
    let mut bufs: Vec<_> = (0..15)
        .map(|_| Buf::alloc_in(pool, SMALL_MAX).unwrap())
        .collect();
    drop(bufs.remove(3));
    pool.trim(0);
    // The class keeps the first of the two that become empty.
    drop(bufs.remove(8));
    let warm = bufs.remove(9);
    let page = warm.as_ptr();
    drop(warm);
    assert_eq!(Buf::alloc_in(pool, 100).unwrap().as_ptr(), page);
}

#[test]
fn runs_reach_across_units_and_come_back() {
    let pool = Pool::leak();
    let run = Slot::alloc_run_in(pool, 150).unwrap();
    assert!(run.windows(2).all(|pair| distance(&pair[0], &pair[1]) == 1));
    let first = run[0].as_ptr();
    drop(run);
    assert_eq!(Slot::alloc_run_in(pool, 192).unwrap()[0].as_ptr(), first);
    let live = Slot::alloc_run_in(pool, 100).unwrap().swap_remove(70);
    let after = Slot::alloc_run_in(pool, 100).unwrap();
    assert_eq!(distance(&live, &after[0]), 1);
    let before = Slot::alloc_run_in(pool, 70).unwrap();
    assert_eq!(before[0].as_ptr(), first);
}

#[test]
fn runs_stop_where_units_are_not_adjacent() {
    let pool = Pool::leak();
    drop(Slot::alloc_run_in(pool, 192).unwrap());
    let run = {
        let mut state = pool.state.lock();
        // The unit in the middle is lost to the pool, as if it had been released.
        let middle = state.units.remove(1);
        state.note_all();
        drop(state);
        let run = Slot::alloc_run_in(pool, 65).unwrap();
        let end = run[0].as_ptr() as usize + run.len() * SLOT;
        assert!(end <= middle.base || run[0].as_ptr() as usize >= middle.base + UNIT);
        run
    };
    assert!(run.windows(2).all(|pair| distance(&pair[0], &pair[1]) == 1));
}

#[test]
fn units_are_aligned_and_neighbours() {
    let pool = Pool::leak();
    let _run = Slot::alloc_run_in(pool, 130).unwrap();
    let state = pool.state.lock();
    assert_eq!(state.units.len(), 3);
    assert!(
        state
            .units
            .iter()
            .all(|unit| unit.base.is_multiple_of(UNIT))
    );
    assert!(
        state
            .units
            .windows(2)
            .all(|pair| pair[0].base + UNIT == pair[1].base)
    );
}

#[test]
fn spans_leave_whole_slots_alone() {
    let pool = Pool::leak();
    let bufs: Vec<_> = (0..15)
        .map(|_| Buf::alloc_in(pool, PAGE).unwrap())
        .collect();
    let slot = bufs[0].as_ptr() as usize / SLOT;
    assert!(bufs.iter().all(|buf| buf.as_ptr() as usize / SLOT == slot));
}

/// Frees in an order that leaves holes before and behind where objects are taken.
#[test]
fn every_object_of_a_span_is_found_again() {
    let pool = Pool::leak();
    for len in [16, 100, 1000, 7000, 50_000] {
        let count = 4 * PAGE / len;
        let mut bufs: Vec<_> = (0..count)
            .map(|_| Buf::alloc_in(pool, len).unwrap())
            .collect();
        let before: BTreeSet<_> = bufs.iter().map(|buf| buf.as_ptr()).collect();
        assert_eq!(before.len(), count);
        for keep in [7, 3, 2] {
            let mut at = 0;
            bufs.retain(|_| {
                at += 1;
                at % keep == 0
            });
            bufs.extend((bufs.len()..count).map(|_| Buf::alloc_in(pool, len).unwrap()));
            let after: BTreeSet<_> = bufs.iter().map(|buf| buf.as_ptr()).collect();
            assert_eq!(before, after, "{len}");
        }
    }
}

#[test]
fn counters_follow_pages_and_one_empty_span_is_kept() {
    let pool = Pool::leak();
    let bufs: Vec<_> = (0..3 * PAGE / 4096)
        .map(|_| Buf::alloc_in(pool, 4096).unwrap())
        .collect();
    assert_eq!(pool.backed() - pool.recycled(), 3 * PAGE);
    drop(bufs);
    assert_eq!(pool.backed(), pool.recycled());
    let in_heap = pool.state.lock().recycled * PAGE;
    assert_eq!(pool.recycled() - in_heap, PAGE, "the class keeps one");
}
