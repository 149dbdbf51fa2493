//! What only the mapped pool promises: recycling, the ceiling, fork.

use super::*;
use crate::base::sync::atomic::AtomicBool;
use crate::memory::pool::{Buf, SLOT, SMALL_MAX, Slot};

mod ceiling;
mod process;
mod recycling;

const MIB: usize = 1 << 20;

/// How far a slot's start is from another's, in slots.
fn distance(from: &Slot, to: &Slot) -> isize {
    (to.as_ptr() as isize - from.as_ptr() as isize) / SLOT as isize
}

/// Ends the loops of scoped threads when a test ends, by a panic too.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
