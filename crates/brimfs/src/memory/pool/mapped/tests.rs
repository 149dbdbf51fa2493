//! What only the mapped pool promises: recycling, the ceiling, fork.

use std::sync::atomic::{AtomicBool, Ordering};

use super::unit::{BLOCK, PAGE, UNIT};
use super::*;
use crate::memory::pool::{Buf, SLOT, Slot};

const MIB: usize = 1 << 20;

fn touch(run: &mut [Slot]) {
    for slot in run {
        slot.fill(7);
    }
}

/// Resident bytes of this process, as the kernel counts them.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    // SAFETY: only asks for a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
}

/// Runs `check` in a forked child, alone with its memory. A failure is a
/// number: a child of a process with threads should not print.
fn in_child(check: impl FnOnce() -> Result<(), u8>) {
    fork::watch();
    // SAFETY: the child runs `check` and ends without returning; the allocator
    // stays usable in it, and an alarm ends a child that hangs.
    let status = unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::alarm(60);
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
            libc::_exit(code.map_or(99, |result| result.map_or_else(i32::from, |()| 0)));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    };
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    assert_eq!(
        libc::WEXITSTATUS(status),
        0,
        "the check that failed in the child"
    );
}

fn expect(number: u8, held: bool) -> Result<(), u8> {
    if held { Ok(()) } else { Err(number) }
}

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
fn recycled_slots_are_preferred_to_lower_fresh_ones() {
    let pool = Pool::leak();
    let mut run = Slot::alloc_run_in(pool, 8).unwrap();
    let high = run.split_off(6);
    drop(run);
    pool.trim(0);
    let high_address = high[0].as_ptr();
    drop(high);
    assert_eq!(Slot::alloc_in(pool).unwrap().as_ptr(), high_address);
}

#[test]
fn runs_reach_across_units_and_come_back() {
    let pool = Pool::leak();
    let run = Slot::alloc_run_in(pool, 150).unwrap();
    let first = run[0].as_ptr();
    assert!(
        run.windows(2)
            .all(|pair| pair[0].as_ptr() as usize + SLOT == pair[1].as_ptr() as usize)
    );
    drop(run);
    assert_eq!(Slot::alloc_run_in(pool, 192).unwrap()[0].as_ptr(), first);
    let hole = Slot::alloc_run_in(pool, 100).unwrap().swap_remove(70);
    let after = Slot::alloc_run_in(pool, 100).unwrap();
    assert_eq!(after[0].as_ptr() as usize, hole.as_ptr() as usize + SLOT);
    let before = Slot::alloc_run_in(pool, 70).unwrap();
    assert_eq!(before[0].as_ptr(), first);
}

#[test]
fn spans_leave_whole_slots_alone() {
    let pool = Pool::leak();
    let bufs: Vec<_> = (0..15)
        .map(|_| Buf::alloc_in(pool, SMALL).unwrap())
        .collect();
    let slot = bufs[0].as_ptr() as usize / SLOT;
    assert!(bufs.iter().all(|buf| buf.as_ptr() as usize / SLOT == slot));
}

const SMALL: usize = crate::memory::pool::SMALL_MAX;

#[test]
fn counters_follow_pages_and_empty_spans_are_kept_once() {
    let pool = Pool::leak();
    let bufs: Vec<_> = (0..3 * PAGE / 4096)
        .map(|_| Buf::alloc_in(pool, 4096).unwrap())
        .collect();
    let live = 3 * PAGE;
    assert_eq!(pool.backed() - pool.recycled(), live);
    drop(bufs);
    assert_eq!(pool.backed() - pool.recycled(), PAGE - PAGE);
    pool.trim(0);
    assert_eq!((pool.backed(), pool.recycled()), (0, 0));
    assert!(
        pool.state.lock().units.is_empty(),
        "free units are unmapped"
    );
}

#[test]
fn trim_keeps_what_it_is_told_to_keep() {
    let pool = Pool::leak();
    let run = Slot::alloc_run_in(pool, 40).unwrap();
    let live = Slot::alloc_in(pool).unwrap();
    drop(run);
    pool.trim(10 * MIB);
    assert!(
        pool.recycled() <= 10 * MIB && pool.recycled() >= 8 * MIB,
        "{}",
        pool.recycled()
    );
    pool.trim(0);
    assert_eq!(pool.backed(), SLOT);
    drop(live);
}

#[test]
fn the_ceiling_bounds_live_and_recycled_together() {
    let pool = Pool::leak();
    pool.set_ceiling(64 * MIB as u64);
    let run = Slot::alloc_run_in(pool, 48).unwrap();
    drop(run);
    assert_eq!(
        pool.backed(),
        48 * MIB,
        "below the ceiling everything stays"
    );
    // Slots that no recycled run can serve: fresh ones push recycled ones out.
    let _wide = Slot::alloc_run_in(pool, 60).unwrap();
    assert!(pool.backed() <= 64 * MIB, "{}", pool.backed());
    let beyond = Slot::alloc_run_in(pool, 100).unwrap();
    assert!(pool.backed() >= 160 * MIB, "live memory is not refused");
    drop(beyond);
    assert!(pool.backed() <= 64 * MIB, "{}", pool.backed());
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
            let mut buf = Buf::alloc_in(pool, 1 + i * 211 % SMALL).unwrap();
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
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    pool.trim(0);
    assert_eq!((pool.backed(), pool.recycled()), (0, 0));
}

#[test]
fn resident_memory_follows_trim_and_the_ceiling() {
    in_child(|| {
        let pool = Pool::leak();
        let start = resident();
        let mut run = Slot::alloc_run_in(pool, 256).map_err(|_| 1)?;
        touch(&mut run);
        let kept = run.swap_remove(100);
        expect(2, resident() >= start + 256 * MIB)?;
        drop(run);
        expect(3, resident() >= start + 256 * MIB)?;
        pool.trim(32 * MIB);
        expect(4, resident() <= start + 40 * MIB)?;
        pool.trim(0);
        expect(5, resident() <= start + 8 * MIB)?;
        expect(6, kept.iter().all(|byte| *byte == 7))?;

        pool.set_ceiling(64 * MIB as u64);
        for _ in 0..4 {
            let mut run = Slot::alloc_run_in(pool, 61).map_err(|_| 7)?;
            touch(&mut run);
            expect(8, resident() <= start + 72 * MIB)?;
        }
        let bufs: Result<Vec<Buf>, _> = (0..40 * MIB / 4096)
            .map(|_| Buf::alloc_in(pool, 4096))
            .collect();
        let mut bufs = bufs.map_err(|_| 9)?;
        bufs.iter_mut().for_each(|buf| buf.fill(3));
        expect(10, resident() <= start + 72 * MIB)?;
        drop(bufs);
        pool.trim(0);
        expect(11, resident() <= start + 8 * MIB)
    });
}

#[test]
fn out_of_address_space_is_an_error_and_passes() {
    in_child(|| {
        let pool = Pool::leak();
        let limit = libc::rlimit {
            rlim_cur: mapped_bytes() + 400 * MIB as u64,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: limits this child only.
        expect(1, unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } == 0)?;
        expect(2, Slot::alloc_run_in(pool, 500).is_err())?;
        let mut slots = Vec::new();
        while let Ok(slot) = Slot::alloc_in(pool) {
            slots.push(slot);
        }
        expect(3, slots.len() >= 192 && slots.len() <= 400)?;
        expect(4, Buf::alloc_in(pool, 1000).is_err())?;
        expect(5, pool.backed() == slots.len() * SLOT)?;
        // Every other one: no run, and nothing to unmap.
        let mut odd = false;
        slots.retain(|_| {
            odd = !odd;
            odd
        });
        expect(6, Slot::alloc_run_in(pool, 2).is_err())?;
        expect(7, Buf::alloc_in(pool, 1000).is_ok())?;
        // A live slot parts the free units: the run needs address space that they hold.
        slots.sort_by_key(|slot| slot.as_ptr() as usize);
        let kept = slots.swap_remove(slots.len() / 2);
        slots.clear();
        let units = pool.state.lock().units.len();
        expect(8, Slot::alloc_run_in(pool, (units - 2) * 64).is_ok())?;
        drop(kept);
        Ok(())
    });
}

fn mapped_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_forked_child_has_a_pool_of_its_own() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let bufs: Vec<_> = (1..200).map(|i| Buf::alloc(i * 37).unwrap()).collect();
                    drop((bufs, Slot::alloc_run(3).unwrap()));
                    trim_all();
                }
            });
        }
        for _ in 0..20 {
            let mut inherited = Buf::alloc(5000).unwrap();
            let mut slot = Slot::alloc().unwrap();
            inherited.fill(1);
            slot.fill(2);
            let parent = ptr::from_ref(current());
            in_child(|| {
                expect(1, !ptr::eq(parent, current()))?;
                expect(2, inherited.iter().all(|byte| *byte == 1))?;
                drop((inherited, slot));
                for i in 1..100 {
                    let mut buf = Buf::alloc(i * 600).map_err(|_| 3)?;
                    buf.fill(4);
                    let mut slot = Slot::alloc().map_err(|_| 3)?;
                    slot[i] = 5;
                }
                expect(4, recycled_now() > 0)?;
                trim_all();
                expect(5, recycled_now() == 0)
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn trim_all() {
    crate::memory::pool::trim(0);
}

fn recycled_now() -> usize {
    crate::memory::pool::recycled()
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
