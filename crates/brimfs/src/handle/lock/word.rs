//! The transitions of a lock's 32-bit word: a writer bit, a bit that says
//! that threads wait, and the number of readers.
//!
//! The waiters bit changes only under the lock of the word's queue and is set
//! exactly while that queue has an entry. While it is set nobody but
//! [`grant`] and [`join_readers`] takes the lock, so no newcomer overtakes.

use super::Mode;
use crate::base::lock_word::LockWord;
use crate::base::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const WRITER: u32 = 1 << 31;
const WAITERS: u32 = 1 << 30;
/// 2^30 - 1 readers: more than open handles fit in the memory of a machine.
const READERS: u32 = WAITERS - 1;

/// Who holds a lock, as its word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Readers(u32),
    Writer,
}

pub(super) fn state(word: &LockWord) -> State {
    match word.0.load(Relaxed) {
        bits if bits & WRITER != 0 => State::Writer,
        bits if bits & READERS != 0 => State::Readers(bits & READERS),
        _ => State::Free,
    }
}

/// Takes the lock if it is free for `mode` and nobody waits.
#[inline]
pub(super) fn try_acquire(word: &LockWord, mode: Mode) -> bool {
    match mode {
        Mode::Exclusive => word.0.compare_exchange(0, WRITER, Acquire, Relaxed).is_ok(),
        Mode::Shared => word
            .0
            .fetch_update(Acquire, Relaxed, |bits| {
                (bits & (WRITER | WAITERS) == 0).then_some(bits + 1)
            })
            .is_ok(),
    }
}

/// Whether readers are let in.
#[inline]
pub(super) fn is_readable(word: &LockWord) -> bool {
    word.0.load(Acquire) & (WRITER | WAITERS) == 0
}

/// Gives the lock back. True: the lock is free now and the first waiter is to be told.
#[inline]
#[must_use]
pub(super) fn release(word: &LockWord, mode: Mode) -> bool {
    match mode {
        Mode::Exclusive => {
            let bits = word.0.fetch_and(!WRITER, Release);
            debug_assert!(bits & WRITER != 0, "released a lock that no writer held");
            bits & WAITERS != 0
        }
        Mode::Shared => {
            let bits = word.0.fetch_sub(1, Release);
            debug_assert!(bits & READERS != 0, "released a lock that no reader held");
            bits & WAITERS != 0 && bits & READERS == 1
        }
    }
}

/// Adds a reader to readers, past any waiter. False if no reader holds the lock.
pub(super) fn join_readers(word: &LockWord) -> bool {
    word.0
        .fetch_update(Acquire, Relaxed, |bits| {
            (bits & READERS != 0).then_some(bits + 1)
        })
        .is_ok()
}

/// Takes the lock for a waiter. The caller holds the lock of the queue.
///
/// Acquires too: what the releasing threads wrote reaches the waiter through
/// the thread that grants.
pub(super) fn grant(word: &LockWord, mode: Mode) -> bool {
    word.0
        .fetch_update(AcqRel, Relaxed, |bits| taken(bits, mode))
        .is_ok()
}

/// Takes the lock if it is free and nobody waits; otherwise announces a waiter
/// and answers false. The caller holds the lock of the queue.
pub(super) fn acquire_or_announce(word: &LockWord, mode: Mode) -> bool {
    let mut bits = word.0.load(Relaxed);
    loop {
        let free = (bits & WAITERS == 0).then(|| taken(bits, mode)).flatten();
        let next = free.unwrap_or(bits | WAITERS);
        match word.0.compare_exchange_weak(bits, next, AcqRel, Relaxed) {
            Ok(_) => return free.is_some(),
            Err(now) => bits = now,
        }
    }
}

/// Notes that the queue is empty. The caller holds its lock.
pub(super) fn no_waiters(word: &LockWord) {
    word.0.fetch_and(!WAITERS, Relaxed);
}

fn taken(bits: u32, mode: Mode) -> Option<u32> {
    match mode {
        Mode::Shared => (bits & WRITER == 0).then_some(bits + 1),
        Mode::Exclusive => (bits & (WRITER | READERS) == 0).then_some(bits | WRITER),
    }
}
