//! The four calls to the operating system that the pool makes.

use std::ptr;

use super::unit::UNIT;

/// Addresses that the directory can tell apart: what Linux hands out without being asked for more.
const ADDRESS_END: usize = 1 << 48;

/// A mapping of whole units.
pub(super) struct Mapping {
    /// Multiple of [`UNIT`].
    pub(super) base: usize,
    /// Whether the kernel may back two aligned mebibytes with one page.
    pub(super) huge: bool,
}

/// Maps `units` consecutive units of zeros, at `wish` if that is free.
pub(super) fn map(units: usize, wish: Option<usize>) -> Option<Mapping> {
    let len = units.checked_mul(UNIT)?;
    let base = wish
        .and_then(|wish| map_aligned_at(wish, len))
        .or_else(|| map_aligned(len))?;
    if base + len > ADDRESS_END {
        unmap(base, len);
        return None;
    }
    // SAFETY: the range was mapped just now; the advice changes no content.
    let advised = unsafe { libc::madvise(base as *mut _, len, libc::MADV_HUGEPAGE) };
    Some(Mapping {
        base,
        huge: advised == 0,
    })
}

fn map_aligned_at(wish: usize, len: usize) -> Option<usize> {
    let base = map_anywhere(wish, len)?;
    if base.is_multiple_of(UNIT) {
        return Some(base);
    }
    unmap(base, len);
    None
}

/// Maps more than needed and cuts off what is not aligned.
fn map_aligned(len: usize) -> Option<usize> {
    let padded = len.checked_add(UNIT)?;
    let start = map_anywhere(0, padded)?;
    let base = start.next_multiple_of(UNIT);
    let before = base - start;
    let after = padded - len - before;
    if before > 0 {
        unmap(start, before);
    }
    if after > 0 {
        unmap(base + len, after);
    }
    Some(base)
}

fn map_anywhere(wish: usize, len: usize) -> Option<usize> {
    // SAFETY: a new anonymous mapping without MAP_FIXED touches no other one.
    let address = unsafe {
        libc::mmap(
            wish as *mut _,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    (!ptr::eq(address, libc::MAP_FAILED)).then_some(address as usize)
}

/// Gives address space and pages back.
///
/// If the kernel refuses (no room to split a mapping), at least the pages go.
pub(super) fn unmap(base: usize, len: usize) {
    // SAFETY: the callers own the range and no reference into it is left.
    if unsafe { libc::munmap(base as *mut _, len) } != 0 {
        discard(base, len);
    }
}

/// Gives the pages back and keeps the addresses, which read as zeros afterwards.
/// False if the kernel refuses, as it does for locked memory.
pub(super) fn discard(base: usize, len: usize) -> bool {
    // SAFETY: the callers own the range, and no buffer in it is live.
    unsafe { libc::madvise(base as *mut _, len, libc::MADV_DONTNEED) == 0 }
}
