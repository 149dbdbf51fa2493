//! When memory goes back: trim and the ceiling, by the pool's own counters.

use super::super::unit::{BLOCK, PAGE};
use super::*;

#[test]
fn trim_keeps_what_it_is_told_to_keep() {
    let pool = Pool::leak();
    let run = Slot::alloc_run_in(pool, 40).unwrap();
    let live = Slot::alloc_in(pool).unwrap();
    drop(run);
    pool.trim(10 * MIB);
    let kept = pool.recycled();
    assert!((8 * MIB..=10 * MIB).contains(&kept), "{kept}");
    pool.trim(0);
    assert_eq!(pool.backed(), SLOT);
    drop(live);
}

#[test]
fn units_with_nothing_in_them_are_unmapped() {
    let pool = Pool::leak();
    for keep in [0, SLOT] {
        drop((
            Slot::alloc_run_in(pool, 64).unwrap(),
            Buf::alloc_in(pool, 9),
        ));
        assert_eq!(pool.state.lock().units.len(), 2);
        // A megabyte cannot be kept without breaking up a huge page.
        pool.trim(keep);
        assert_eq!((pool.backed(), pool.recycled()), (0, 0));
        assert!(pool.state.lock().units.is_empty());
    }
}

#[test]
fn the_ceiling_bounds_live_and_recycled_together() {
    let pool = Pool::leak();
    pool.set_ceiling(64 * MIB as u64);
    let mut run = Slot::alloc_run_in(pool, 48).unwrap();
    let live = run.swap_remove(24);
    drop(run);
    assert_eq!(
        pool.backed(),
        48 * MIB,
        "below the ceiling everything stays"
    );
    // Longer than what is free on either side of the live slot.
    let fresh = Slot::alloc_run_in(pool, 45).unwrap();
    assert!(pool.backed() <= 64 * MIB, "{}", pool.backed());
    let beyond = Slot::alloc_run_in(pool, 100).unwrap();
    assert!(pool.backed() >= 146 * MIB, "live memory is not refused");
    drop((fresh, beyond));
    assert!(pool.backed() <= 64 * MIB, "{}", pool.backed());
    drop(live);
}

#[test]
fn the_ceiling_takes_the_empty_spans_too() {
    let pool = Pool::leak();
    for len in [16, 100, 500, 1000, 5000, 20_000, 60_000] {
        drop(Buf::alloc_in(pool, len).unwrap());
    }
    assert!(pool.recycled() > 0);
    pool.set_ceiling(0);
    assert_eq!((pool.backed(), pool.recycled()), (0, 0));
}

#[test]
fn what_is_fresh_stays_backed_under_the_lowest_ceiling() {
    let pool = Pool::leak();
    pool.set_ceiling(0);
    let buf = Buf::alloc_in(pool, 100).unwrap();
    // The first touch will back all of the block: counting less would be a lie.
    let huge = pool.state.lock().units[0].huge;
    assert_eq!(pool.backed(), if huge { BLOCK } else { PAGE });
    drop(buf);
    drop(Slot::alloc_in(pool).unwrap());
    assert_eq!(pool.backed(), 0);
}

#[test]
fn threads_allocate_while_memory_is_given_back() {
    let pool = Pool::leak();
    let stop = AtomicBool::new(false);
    let work = |thread: usize| {
        let mut held: Vec<(u8, Buf, Slot)> = Vec::new();
        for i in 0..600_usize {
            let mark = (i * 7 + thread) as u8;
            let mut buf = Buf::alloc_in(pool, 1 + i * 211 % SMALL_MAX).unwrap();
            let slots = Slot::alloc_run_in(pool, 1 + i % 3).unwrap();
            buf.fill(mark);
            for mut slot in slots {
                // The ends tell as much as the whole: pages go in units of 64 KiB.
                slot.iter_mut().step_by(4096).for_each(|byte| *byte = mark);
                held.push((mark, Buf::alloc_in(pool, 40).unwrap(), slot));
            }
            while held.len() > 12 {
                let (mark, _, slot) = held.swap_remove(i % held.len());
                assert!(slot.iter().step_by(4096).all(|byte| *byte == mark));
            }
            assert!(buf.iter().all(|byte| *byte == mark));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                match round % 3 {
                    0 => pool.trim(round * MIB % (16 * MIB)),
                    1 => pool.set_ceiling((round * MIB % (40 * MIB)) as u64),
                    _ => pool.set_ceiling(u64::MAX),
                }
            }
        });
        let _stop_at_end = SetOnDrop(&stop);
        for worker in workers {
            worker.join().unwrap();
        }
    });
    pool.trim(0);
    assert_eq!((pool.backed(), pool.recycled()), (0, 0));
}
