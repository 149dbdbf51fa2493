//! A fixed number of aligned buffers, which is all the memory that transfers use.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::base::sync::{Mutex, thread};
use crate::io::disk::ALIGNMENT;

/// Hands out buffers; who finds none waits for one.
///
/// A thread holds at most one and waits for no second one while it does, except compaction, which
/// runs once at a time and holds one more: with two buffers or more everybody gets on.
pub(super) struct Buffers {
    size: usize,
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Aligned>,
    made: usize,
    waiting: VecDeque<thread::Thread>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} buffers of {} bytes", self.most, self.size)
    }
}

impl Buffers {
    /// `most` buffers of `size` bytes, made when they are first needed.
    pub(super) fn new(size: usize, most: usize) -> Self {
        debug_assert!(size.is_multiple_of(ALIGNMENT) && most >= 2);
        Buffers {
            size,
            most,
            state: Mutex::new(State::default()),
        }
    }

    /// Bytes that all buffers take together.
    pub(super) fn bytes(&self) -> u64 {
        Self::bytes_of(self.most, self.size)
    }

    /// Bytes that so many buffers of this size take.
    pub(super) fn bytes_of(number: usize, size: usize) -> u64 {
        (number * (size + ALIGNMENT)) as u64
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn take(&self) -> Lease<'_> {
        let mut queued = false;
        loop {
            let mut state = self.state.lock();
            if queued {
                // An entry that stayed behind would swallow a wake-up that another thread needs.
                let me = thread::current().id();
                state.waiting.retain(|thread| thread.id() != me);
            }
            if let Some(buffer) = state.free.pop() {
                return Lease::new(self, buffer);
            }
            if state.made < self.most {
                state.made += 1;
                drop(state);
                return Lease::new(self, Aligned::new(self.size));
            }
            state.waiting.push_back(thread::current());
            queued = true;
            drop(state);
            // Woken for a buffer or for no reason: both look again.
            thread::park();
        }
    }

    fn give(&self, buffer: Aligned) {
        let mut state = self.state.lock();
        state.free.push(buffer);
        let next = state.waiting.pop_front();
        drop(state);
        if let Some(thread) = next {
            thread.unpark();
        }
    }
}

/// Memory at an aligned address, cut out of a longer vector.
pub(super) struct Aligned {
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    pub(super) fn new(size: usize) -> Self {
        let memory = vec![0; size + ALIGNMENT];
        let start = memory.as_ptr().addr().next_multiple_of(ALIGNMENT) - memory.as_ptr().addr();
        Aligned { memory, start }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.memory.len() - ALIGNMENT]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.memory.len() - ALIGNMENT;
        &mut self.memory[self.start..self.start + len]
    }
}

/// A buffer that goes back when it is dropped. Its content is whatever was left in it.
pub(super) struct Lease<'a> {
    home: &'a Buffers,
    buffer: Option<Aligned>,
}

impl<'a> Lease<'a> {
    fn new(home: &'a Buffers, buffer: Aligned) -> Self {
        Lease {
            home,
            buffer: Some(buffer),
        }
    }
}

impl Deref for Lease<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer
            .as_ref()
            .expect("a lease has its buffer until it is dropped")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer
            .as_mut()
            .expect("a lease has its buffer until it is dropped")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.give(buffer);
        }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn threads_share_two_buffers() {
        let buffers = Buffers::new(2 * ALIGNMENT, 2);
        thread::scope(|scope| {
            for number in 0..8 {
                let buffers = &buffers;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let mut lease = buffers.take();
                        assert!(lease.as_ptr().addr().is_multiple_of(ALIGNMENT));
                        lease.fill(number);
                        assert!(lease.iter().all(|byte| *byte == number));
                    }
                });
            }
        });
        assert_eq!(buffers.state.lock().made, 2);
    }
}
