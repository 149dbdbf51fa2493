//! Buffers that another runtime owns: a Python `bytes` object kept by reference.
//!
//! Two words, so that an inode can hold one without an allocation. The core
//! never clones such a buffer, because that may need the owner's lock; it
//! shares it behind an `Arc` of its own instead.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

/// What the owner of a foreign buffer lets the core do with it.
#[derive(Debug)]
pub struct ForeignVTable {
    /// The bytes. The same slice for as long as the buffer is not released.
    pub bytes: unsafe fn(NonNull<()>) -> (*const u8, usize),
    /// Gives the reference back. Called from any thread, never under a lock of the core.
    pub release: unsafe fn(NonNull<()>),
}

/// One reference to an immutable buffer of another runtime.
pub struct Foreign {
    data: NonNull<()>,
    vtable: &'static ForeignVTable,
}

// SAFETY: `Foreign::new` demands that the buffer may be read and released from any thread.
unsafe impl Send for Foreign {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// Takes over one reference to `data`.
    ///
    /// # Safety
    /// `vtable.bytes(data)` must describe memory that stays valid and unchanged until
    /// `vtable.release(data)` is called, and both must be callable from any thread.
    pub unsafe fn new(data: NonNull<()>, vtable: &'static ForeignVTable) -> Self {
        Foreign { data, vtable }
    }

    /// The owner's object, if it was made with this table.
    #[must_use]
    pub fn data(&self, vtable: &'static ForeignVTable) -> Option<NonNull<()>> {
        std::ptr::eq(self.vtable, vtable).then_some(self.data)
    }
}

impl Deref for Foreign {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: promised by the caller of `new`; the slice lives as long as `self`.
        unsafe {
            let (start, len) = (self.vtable.bytes)(self.data);
            std::slice::from_raw_parts(start, len)
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: `new` took over one reference, which is given back once, here.
        unsafe { (self.vtable.release)(self.data) }
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({} bytes)", self.len())
    }
}
