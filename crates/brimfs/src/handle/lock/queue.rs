//! Where threads wait for file locks: first come, first served.
//!
//! A table of shards keyed by the address of the word holds one queue per
//! contended lock. The lock of a shard is never held while a thread parks or
//! runs foreign code, so that a wait for one file delays no other.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::{Mode, process, word};
use crate::base::lock_word::LockWord;
use crate::base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::base::sync::{Arc, Mutex, MutexGuard, thread};
use crate::handle::wait::Patience;

/// Few under shuttle, whose threads have small stacks to build the table on.
const SHARD_BITS: u32 = if cfg!(feature = "shuttle") { 1 } else { 6 };

#[derive(Debug)]
struct Waiter {
    mode: Mode,
    thread: thread::Thread,
    /// Set under the lock of the shard, when the waiter leaves the queue with the lock.
    granted: AtomicBool,
}

type Waiters = VecDeque<Arc<Waiter>>;

/// Threads that were granted a lock and are to be unparked without the shard.
type Granted = SmallVec<[Arc<Waiter>; 4]>;

/// The queues of a shard: one per word with waiters, so as many as threads wait, at most.
#[derive(Debug)]
pub(super) struct Queues(Vec<(usize, Waiters)>);

impl Queues {
    fn position(&self, key: usize) -> Option<usize> {
        self.0.iter().position(|(of, _)| *of == key)
    }

    fn push(&mut self, key: usize, waiter: Arc<Waiter>) {
        match self.position(key) {
            Some(at) => self.0[at].1.push_back(waiter),
            None => self.0.push((key, VecDeque::from([waiter]))),
        }
    }

    fn remove(&mut self, key: usize, waiter: &Arc<Waiter>) {
        let queue = self.position(key).map(|at| &mut self.0[at].1);
        if let Some(queue) = queue
            && let Some(at) = queue.iter().position(|other| Arc::ptr_eq(other, waiter))
        {
            queue.remove(at);
        }
    }

    /// Grants the lock to the front of the queue as far as it can be granted.
    fn hand_over(&mut self, word: &LockWord) -> Granted {
        let mut granted = Granted::new();
        let Some(at) = self.position(key(word)) else {
            return granted;
        };
        let queue = &mut self.0[at].1;
        while queue
            .front()
            .is_some_and(|first| word::grant(word, first.mode))
        {
            if let Some(first) = queue.pop_front() {
                first.granted.store(true, Ordering::Release);
                granted.push(first);
            }
        }
        if queue.is_empty() {
            self.0.swap_remove(at);
            word::no_waiters(word);
        }
        granted
    }
}

#[derive(Debug)]
#[repr(align(64))]
struct Shard(Mutex<Queues>);

/// All queues of the process.
#[derive(Debug)]
pub(super) struct Table {
    shards: [Shard; 1 << SHARD_BITS],
    waiting: AtomicUsize,
}

impl Table {
    pub(super) const fn new() -> Self {
        Table {
            shards: [const { Shard(Mutex::new(Queues(Vec::new()))) }; 1 << SHARD_BITS],
            waiting: AtomicUsize::new(0),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The number of threads that wait for this lock.
    pub(super) fn waiting_for(&self, word: &LockWord) -> usize {
        let queues = self.lock(word);
        queues
            .position(key(word))
            .map_or(0, |at| queues.0[at].1.len())
    }

    pub(super) fn lock(&self, word: &LockWord) -> MutexGuard<'_, Queues> {
        // Multiplying by 2^64 / phi spreads the addresses of equally sized inodes.
        let spread = (key(word) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let shard = (spread >> (u64::BITS - SHARD_BITS)) as usize;
        self.shards[shard].0.lock()
    }
}

fn key(word: &LockWord) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Tells the first waiters of a lock that has become free.
#[cold]
pub(super) fn hand_over(word: &LockWord) {
    let granted = process::table().lock(word).hand_over(word);
    unpark(&granted);
}

fn unpark(granted: &Granted) {
    for waiter in granted {
        waiter.thread.unpark();
    }
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Granted,
    TimedOut,
    Interrupted,
}

/// Waits in the queue of the lock until it is granted or patience ends.
pub(super) fn wait(word: &LockWord, mode: Mode, patience: &mut Patience) -> Ended {
    let Some(place) = Place::take(word, mode) else {
        return Ended::Granted;
    };
    loop {
        if place.granted() {
            place.leave();
            return Ended::Granted;
        }
        if patience.exhausted() {
            return match place.leave() {
                true => Ended::Granted,
                false => Ended::TimedOut,
            };
        }
        if patience.interrupted() {
            // The check has consumed the signal, so the wait ends even if the lock came
            // meanwhile: dropping the place gives it back.
            return Ended::Interrupted;
        }
        patience.park();
    }
}

/// A thread's place in a queue. Dropping it leaves the queue, without the lock.
pub(super) struct Place<'a> {
    word: &'a LockWord,
    waiter: Arc<Waiter>,
    left: bool,
}

impl<'a> Place<'a> {
    /// Joins the end of the queue. `None`: the lock was free after all and is taken.
    pub(super) fn take(word: &'a LockWord, mode: Mode) -> Option<Self> {
        let waiter = Arc::new(Waiter {
            mode,
            thread: thread::current(),
            granted: AtomicBool::new(false),
        });
        let table = process::table();
        let mut queues = table.lock(word);
        if word::acquire_or_announce(word, mode) {
            return None;
        }
        queues.push(key(word), Arc::clone(&waiter));
        table.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            word,
            waiter,
            left: false,
        })
    }

    fn granted(&self) -> bool {
        self.waiter.granted.load(Ordering::Acquire)
    }

    /// Leaves the queue. True: the lock was granted and is the caller's.
    fn leave(mut self) -> bool {
        self.left = true;
        self.remove()
    }

    fn remove(&self) -> bool {
        let table = process::table();
        table.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.granted() {
            return true;
        }
        let mut queues = table.lock(self.word);
        if self.granted() {
            return true;
        }
        queues.remove(key(self.word), &self.waiter);
        // The one that left may be a writer that readers stood behind, or the last.
        let granted = queues.hand_over(self.word);
        drop(queues);
        unpark(&granted);
        false
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.left && self.remove() {
            super::release(self.word, self.waiter.mode);
        }
    }
}
