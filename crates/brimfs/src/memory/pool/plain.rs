//! The pool where address space is not ours to manage, under shuttle, and under
//! sanitizers (`--cfg brimfs_plain_pool`), which know what an allocator frees:
//! every buffer is an allocation of its own.
//!
//! Takes no lock and has no scheduling points. `std::sync::Arc` instead of
//! `base::sync` is deliberate: giving memory back must not be a schedule.

use std::alloc::{self, Layout};
use std::ptr::NonNull;
use std::sync::Arc;

use super::{OutOfMemory, SLOT, class};

/// Nothing to hold: the global allocator recycles.
pub(super) struct Pool;

pub(super) fn current() -> &'static Pool {
    &Pool
}

/// Keeps the allocation of a run alive until its last slot is gone.
pub(super) type SlotOwner = Arc<Run>;

pub(super) struct Run {
    ptr: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a run is only ever looked at to free it.
unsafe impl Send for Run {}
// SAFETY: as above.
unsafe impl Sync for Run {}

impl Drop for Run {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and the last slot is gone.
        unsafe { alloc::dealloc(self.ptr.as_ptr(), self.layout) };
    }
}

fn zeroed(layout: Layout) -> Result<NonNull<u8>, OutOfMemory> {
    // SAFETY: no layout of this module has length zero.
    NonNull::new(unsafe { alloc::alloc_zeroed(layout) }).ok_or(OutOfMemory)
}

fn buf_layout(class: usize) -> Layout {
    let size = class::size(class);
    let align = if size >= 1024 { 64 } else { 16 };
    Layout::from_size_align(size, align).expect("classes are short and alignments powers of two")
}

impl Pool {
    #[cfg(test)]
    pub(super) fn leak() -> &'static Pool {
        current()
    }

    pub(super) fn alloc_buf(&self, class: usize) -> Result<NonNull<u8>, OutOfMemory> {
        zeroed(buf_layout(class))
    }

    pub(super) fn alloc_slots(
        &self,
        count: usize,
    ) -> Result<(NonNull<u8>, SlotOwner), OutOfMemory> {
        let bytes = count.checked_mul(SLOT).ok_or(OutOfMemory)?;
        let layout = Layout::from_size_align(bytes, SLOT).map_err(|_| OutOfMemory)?;
        let ptr = zeroed(layout)?;
        Ok((ptr, Arc::new(Run { ptr, layout })))
    }

    pub(super) fn trim(&self, _keep: usize) {}

    pub(super) fn recycled(&self) -> usize {
        0
    }

    pub(super) fn set_ceiling(&self, _bytes: u64) {}
}

/// # Safety
/// `ptr` came from [`Pool::alloc_buf`] for `class`, and nobody uses it any more.
pub(super) unsafe fn free_buf(ptr: NonNull<u8>, class: usize) {
    // SAFETY: the caller's promise; the layout depends on the class only.
    unsafe { alloc::dealloc(ptr.as_ptr(), buf_layout(class)) };
}

/// # Safety
/// `ptr` came from [`Pool::alloc_slots`]. The slot's owner frees the run.
pub(super) unsafe fn free_slot(_ptr: NonNull<u8>) {}
