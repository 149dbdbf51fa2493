//! What the kernel sees: resident memory, address space, forked children.

use std::cell::Cell;

use super::*;
use crate::memory::pool;

fn touch(run: &mut [Slot]) {
    for slot in run {
        slot.fill(7);
    }
}

/// Resident bytes of this process, as the kernel counts them.
fn resident() -> usize {
    statm(1)
}

fn statm(field: usize) -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(field).unwrap().parse().unwrap();
    // SAFETY: only asks for a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize
}

/// Bytes of address space of this process.
fn mapped_bytes() -> usize {
    statm(0)
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
            libc::alarm(30);
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
            rlim_cur: (mapped_bytes() + 400 * MIB) as u64,
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

/// Every lock is held while the child is made: it would wait for ever for one.
#[test]
fn a_child_takes_no_lock_of_its_parent() {
    let pool = Pool::leak();
    let inherited = Cell::new(Some((
        Buf::alloc_in(pool, 5000).unwrap(),
        Slot::alloc_in(pool).unwrap(),
    )));
    let locks = (pool.state.lock(), pool.releasing.lock());
    let classes: Vec<_> = pool.classes.iter().map(slab::Class::hold).collect();
    in_child(|| {
        let (buf, slot) = inherited.take().ok_or(1)?;
        drop(buf);
        drop(slot);
        Ok(())
    });
    drop((locks, classes));
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
                    pool::trim(0);
                }
            });
        }
        let stop_at_end = SetOnDrop(&stop);
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
                expect(4, pool::recycled() > 0)?;
                pool::trim(0);
                expect(5, pool::recycled() == 0)
            });
        }
        drop(stop_at_end);
    });
}
