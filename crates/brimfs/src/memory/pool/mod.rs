//! The process-wide pool that content lives in: small buffers and 1 MiB slots.
//!
//! Owns address space and decides which of it stays backed by pages. Charges
//! nobody: a caller reserves [`Buf::class_size`] or [`SLOT`] with its budget
//! first and allocates second. Calls `base` only.
//!
//! Fresh pages cost several times a copy, so what is given back stays backed
//! and is handed out again, up to a ceiling on live and recycled memory
//! together. Past it recycled memory goes back to the operating system; a live
//! allocation is never refused because of it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::base::error::{ErrorKind, Fault};

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(any(feature = "shuttle", brimfs_plain_pool))
))]
#[path = "mapped/mod.rs"]
mod backend;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(any(feature = "shuttle", brimfs_plain_pool))
)))]
#[path = "plain.rs"]
mod backend;
mod class;
#[cfg(test)]
mod tests;

/// The longest buffer that a [`Buf`] can be.
pub(crate) const SMALL_MAX: usize = 512 * 1024;

/// Length and alignment of a [`Slot`].
pub(crate) const SLOT: usize = 1 << 20;

/// The operating system gave no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        ErrorKind::OutOfMemory.into()
    }
}

/// A buffer of the pool, at most [`SMALL_MAX`] bytes, owned alone.
///
/// Aligned to 16 bytes, and to 64 from 1 KiB on. Dropping it gives it back; in
/// a forked child the buffers of the parent are left alone instead.
pub(crate) struct Buf {
    /// Start of an object of `class` that nobody else refers to; initialised.
    ptr: NonNull<u8>,
    /// At most the size of `class`.
    len: u32,
    class: u8,
}

const _: () = assert!(size_of::<Buf>() <= 16 && size_of::<Option<Buf>>() == size_of::<Buf>());
const _: () = assert!(class::COUNT <= 256);

// SAFETY: a `Buf` is the only owner of its bytes, and the pool that takes them
// back synchronises by itself.
unsafe impl Send for Buf {}
// SAFETY: a shared `Buf` only gives shared access to plain bytes.
unsafe impl Sync for Buf {}

impl Buf {
    /// A buffer of `len` bytes with unspecified content: zeros or old bytes.
    ///
    /// # Panics
    /// If `len` is more than [`SMALL_MAX`].
    #[inline]
    pub(crate) fn alloc(len: usize) -> Result<Buf, OutOfMemory> {
        Buf::alloc_in(backend::current(), len)
    }

    #[inline]
    fn alloc_in(pool: &'static backend::Pool, len: usize) -> Result<Buf, OutOfMemory> {
        assert!(len <= SMALL_MAX, "a buffer of {len} bytes is no small one");
        let class = class::index(len);
        Ok(Buf {
            ptr: pool.alloc_buf(class)?,
            len: len as u32,
            class: class as u8,
        })
    }

    /// What a buffer of `len` bytes occupies, which is what to charge for it.
    #[inline]
    pub(crate) const fn class_size(len: usize) -> usize {
        assert!(len <= SMALL_MAX);
        class::size(class::index(len))
    }

    /// How long [`set_len`](Buf::set_len) can make the buffer.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        class::size(usize::from(self.class))
    }

    /// Changes the length in place. Bytes beyond the old length are unspecified.
    ///
    /// # Panics
    /// If `len` is more than [`capacity`](Buf::capacity).
    #[inline]
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} bytes in {}", self.capacity());
        self.len = len as u32;
    }
}

impl Deref for Buf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` is within the initialised object that `ptr` owns.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Buf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the exclusive borrow makes it the only access.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len as usize) }
    }
}

impl AsRef<[u8]> for Buf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `ptr` came from `alloc_buf` for this class and is given up here.
        unsafe { backend::free_buf(self.ptr, usize::from(self.class)) };
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} of {})", self.len, self.capacity())
    }
}

/// One mebibyte of the pool, owned alone, aligned to its length.
///
/// Dropping it gives it back, whether it was allocated in a run or alone.
pub(crate) struct Slot {
    /// Start of [`SLOT`] initialised bytes that nobody else refers to.
    ptr: NonNull<u8>,
    _owner: backend::SlotOwner,
}

// SAFETY: as for `Buf`.
unsafe impl Send for Slot {}
// SAFETY: as for `Buf`.
unsafe impl Sync for Slot {}

impl Slot {
    /// A slot with unspecified content: zeros or old bytes.
    #[inline]
    pub(crate) fn alloc() -> Result<Slot, OutOfMemory> {
        Slot::alloc_in(backend::current())
    }

    #[inline]
    fn alloc_in(pool: &'static backend::Pool) -> Result<Slot, OutOfMemory> {
        let (ptr, owner) = pool.alloc_slots(1)?;
        Ok(Slot { ptr, _owner: owner })
    }

    /// `count` slots of which each starts where the one before it ends.
    pub(crate) fn alloc_run(count: usize) -> Result<Vec<Slot>, OutOfMemory> {
        Slot::alloc_run_in(backend::current(), count)
    }

    fn alloc_run_in(pool: &'static backend::Pool, count: usize) -> Result<Vec<Slot>, OutOfMemory> {
        let mut run = Vec::new();
        if count == 0 {
            return Ok(run);
        }
        if count > isize::MAX as usize / SLOT {
            return Err(OutOfMemory);
        }
        run.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
        let (first, owner) = pool.alloc_slots(count)?;
        run.extend((0..count).map(|i| Slot {
            // SAFETY: slot `i` lies within the `count` slots that start at `first`.
            ptr: unsafe { first.add(i * SLOT) },
            _owner: owner.clone(),
        }));
        Ok(run)
    }

    /// Where the slot starts. Valid for [`SLOT`] bytes while the slot lives.
    #[inline]
    #[cfg(test)]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.ptr.as_ptr()
    }
}

impl Deref for Slot {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: a slot owns `SLOT` initialised bytes at `ptr`.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), SLOT) }
    }
}

impl DerefMut for Slot {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the exclusive borrow makes it the only access.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), SLOT) }
    }
}

impl AsRef<[u8]> for Slot {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `ptr` came from `alloc_slots` and is given up here.
        unsafe { backend::free_slot(self.ptr) };
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({:p})", self.ptr)
    }
}

/// Gives recycled memory back to the operating system until at most `keep` bytes of it remain.
///
/// Costs a few milliseconds per GiB given back, ten times that where huge pages are missing.
pub(crate) fn trim(keep: usize) {
    backend::current().trim(keep);
}

/// Bytes that are free but still backed by pages, in units of 64 KiB.
///
/// Free room inside a 64 KiB page that also holds live buffers does not count.
pub(crate) fn recycled() -> usize {
    backend::current().recycled()
}

/// Sets how many bytes may be backed, live and recycled together.
///
/// Recycled memory is given back as soon as the sum would pass the ceiling.
/// Without a call there is none.
pub(crate) fn set_ceiling(bytes: u64) {
    backend::current().set_ceiling(bytes);
}
