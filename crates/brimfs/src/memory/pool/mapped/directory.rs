//! From an address to the unit that it lies in, without a lock.
//!
//! A table of two levels over all of the address space, shared by every pool of
//! the process. It outlives a fork: the child still finds what its parent
//! registered, and sees by the generation that it must not touch it.

use std::ptr;

use super::Pool;
use super::slab::Span;
use super::unit::{PAGE, PAGES, UNIT};
use crate::base::sync::Arc;
use crate::base::sync::atomic::{AtomicPtr, Ordering};

/// What is known of a unit by address.
pub(super) struct Directory {
    pub(super) pool: &'static Pool,
    /// The span that each page belongs to. Meaningful only where a buffer is live.
    spans: [AtomicPtr<Span>; PAGES],
}

impl Directory {
    /// In an `Arc` for what a `Box` does not promise: the pointer in the table
    /// stays valid while the owner moves.
    pub(super) fn new(pool: &'static Pool) -> Arc<Self> {
        Arc::new(Directory {
            pool,
            spans: [const { AtomicPtr::new(ptr::null_mut()) }; PAGES],
        })
    }

    #[inline]
    pub(super) fn span(&self, address: usize) -> &AtomicPtr<Span> {
        &self.spans[address % UNIT / PAGE]
    }
}

const LEVEL: usize = 1 << 11;
type Leaf = [AtomicPtr<Directory>; LEVEL];

/// Leaves are added and never removed.
static ROOT: [AtomicPtr<Leaf>; LEVEL] = [const { AtomicPtr::new(ptr::null_mut()) }; LEVEL];

/// The directory of the unit that `address` lies in.
///
/// # Safety
/// Something in that unit is live, and stays so while the result is used.
#[inline]
pub(super) unsafe fn lookup<'a>(address: usize) -> &'a Directory {
    let unit = address / UNIT;
    let leaf = ROOT[unit / LEVEL % LEVEL].load(Ordering::Acquire);
    // SAFETY: whoever mapped the unit registered it, and so added the leaf. A
    // unit is unregistered only when nothing in it is live.
    unsafe { &*(*leaf)[unit % LEVEL].load(Ordering::Acquire) }
}

/// Makes the unit at `base` known, before anything in it is handed out.
pub(super) fn register(base: usize, directory: &Arc<Directory>) {
    entry(base).store(Arc::as_ptr(directory).cast_mut(), Ordering::Release);
}

/// Forgets the unit at `base`, before its addresses can be mapped again.
pub(super) fn unregister(base: usize) {
    entry(base).store(ptr::null_mut(), Ordering::Release);
}

fn entry(base: usize) -> &'static AtomicPtr<Directory> {
    let unit = base / UNIT;
    let root = &ROOT[unit / LEVEL % LEVEL];
    let mut leaf = root.load(Ordering::Acquire);
    if leaf.is_null() {
        let new: Box<Leaf> = Box::new([const { AtomicPtr::new(ptr::null_mut()) }; LEVEL]);
        let new = Box::into_raw(new);
        match root.compare_exchange(leaf, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => leaf = new,
            Err(winner) => {
                // SAFETY: nobody else has seen `new`.
                drop(unsafe { Box::from_raw(new) });
                leaf = winner;
            }
        }
    }
    // SAFETY: a leaf in the root is never freed.
    unsafe { &(*leaf)[unit % LEVEL] }
}
