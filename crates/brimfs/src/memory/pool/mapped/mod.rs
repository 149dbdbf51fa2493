//! The pool on Linux: mapped units, a page heap, spans of small buffers.
//!
//! Lock order: `releasing`, then `state`. The lock of a class is never held
//! while another one is taken.
//!
//! A forked child inherits locks that may be held for ever. It gets a pool of
//! its own, and what it drops of its parent's stays allocated.

use std::ptr::{self, NonNull};

use super::{OutOfMemory, class};
use crate::base::fork;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

mod directory;
mod heap;
mod os;
mod ready;
mod release;
mod slab;
#[cfg(test)]
mod tests;
mod unit;

/// A pool. Leaked, so that what comes from it needs no reference count.
pub(super) struct Pool {
    /// The fork generation it was made in.
    generation: u32,
    classes: [slab::Class; class::COUNT],
    state: Mutex<heap::State>,
    /// Held by the thread that gives memory back to the operating system.
    releasing: Mutex<()>,
    /// Bytes that may be backed.
    ceiling: AtomicU64,
}

/// Slots are found by their address.
#[derive(Clone)]
pub(super) struct SlotOwner;

static CURRENT: AtomicPtr<Pool> = AtomicPtr::new(ptr::null_mut());

/// The pool of this process.
#[inline]
pub(super) fn current() -> &'static Pool {
    // SAFETY: what is in CURRENT was leaked.
    match unsafe { CURRENT.load(Ordering::Acquire).as_ref() } {
        Some(pool) if pool.is_ours() => pool,
        _ => replace_current(),
    }
}

#[cold]
fn replace_current() -> &'static Pool {
    fork::watch();
    loop {
        let old = CURRENT.load(Ordering::Acquire);
        // SAFETY: what is in CURRENT was leaked.
        let known = unsafe { old.as_ref() };
        if let Some(pool) = known.filter(|pool| pool.is_ours()) {
            return pool;
        }
        let ceiling = known.map_or(u64::MAX, |parent| parent.ceiling.load(Ordering::Relaxed));
        let new = Box::into_raw(Box::new(Pool::new(ceiling)));
        if CURRENT
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            // SAFETY: nobody else has seen `new`.
            drop(unsafe { Box::from_raw(new) });
        }
    }
}

impl Pool {
    fn new(ceiling: u64) -> Self {
        Pool {
            generation: fork::generation(),
            classes: std::array::from_fn(|_| slab::Class::new()),
            state: Mutex::default(),
            releasing: Mutex::new(()),
            ceiling: AtomicU64::new(ceiling),
        }
    }

    /// A pool apart from the process's, which no other test disturbs.
    #[cfg(test)]
    pub(super) fn leak() -> &'static Pool {
        /// Keeps the pools reachable: a leak checker is to find real leaks only.
        static LEAKED: Mutex<Vec<&Pool>> = Mutex::new(Vec::new());
        fork::watch();
        let pool = Box::leak(Box::new(Pool::new(u64::MAX)));
        LEAKED.lock().push(pool);
        pool
    }

    /// Live and recycled bytes.
    #[cfg(test)]
    pub(super) fn backed(&self) -> usize {
        self.state.lock().backed * unit::PAGE
    }

    #[inline]
    fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// `count` consecutive slots, at least one.
    pub(super) fn alloc_slots(
        &'static self,
        count: usize,
    ) -> Result<(NonNull<u8>, SlotOwner), OutOfMemory> {
        let address = self.take_slots(count)?;
        let first = NonNull::new(ptr::with_exposed_provenance_mut(address));
        Ok((first.expect("a mapped address"), SlotOwner))
    }
}

/// Gives a buffer back to the pool it came from, unless that is a parent's.
///
/// # Safety
/// `ptr` came from [`Pool::alloc_buf`] for `class`, and nobody uses it any more.
#[inline]
pub(super) unsafe fn free_buf(ptr: NonNull<u8>, class: usize) {
    let address = ptr.as_ptr() as usize;
    // SAFETY: the buffer is live until `Pool::free_buf` below.
    let directory = unsafe { directory::lookup(address) };
    if !directory.pool.is_ours() {
        return;
    }
    let span = directory.span(address).load(Ordering::Relaxed);
    let span = NonNull::new(span).expect("a live buffer has a span");
    // SAFETY: the caller's promise; the directory names the buffer's span while it is live.
    unsafe { directory.pool.free_buf(ptr, class, span) };
}

/// Gives a slot back to the pool it came from, unless that is a parent's.
///
/// # Safety
/// `ptr` came from [`Pool::alloc_slots`], and nobody uses it any more.
#[inline]
pub(super) unsafe fn free_slot(ptr: NonNull<u8>) {
    let address = ptr.as_ptr() as usize;
    // SAFETY: the slot is live until `put_slot` below.
    let directory = unsafe { directory::lookup(address) };
    if directory.pool.is_ours() {
        directory.pool.put_slot(address);
    }
}
