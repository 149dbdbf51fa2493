//! Where threads, and tickets, wait for file locks: first come, first served.
//!
//! A table of shards keyed by the address of the word holds one queue per
//! contended lock. The lock of a shard is never held while a thread parks or
//! runs foreign code, so that a wait for one file delays no other.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

use super::{Mode, process, word};
use crate::base::lock_word::LockWord;
use crate::base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::base::sync::{Arc, Mutex, MutexGuard, thread};
use crate::handle::wait::Patience;

/// Few under shuttle, whose threads have small stacks to build the table on.
const SHARD_BITS: u32 = if cfg!(feature = "shuttle") { 1 } else { 6 };

/// How a waiter is told that it was granted the lock.
pub(super) enum Wake {
    Unpark(thread::Thread),
    Call(Box<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wake::Unpark(thread) => f.debug_tuple("Unpark").field(thread).finish(),
            Wake::Call(_) => f.write_str("Call"),
        }
    }
}

#[derive(Debug)]
struct Waiter {
    mode: Mode,
    wake: Wake,
    /// Set under the lock of the shard, when the waiter leaves the queue with the lock.
    granted: AtomicBool,
}

type Waiters = VecDeque<Arc<Waiter>>;

/// Who was granted a lock and is to be told without the shard.
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

pub(super) fn key(word: &LockWord) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Tells the first waiters of a lock that has become free.
#[cold]
pub(super) fn hand_over(word: &LockWord) {
    let granted = process::table().lock(word).hand_over(word);
    tell(&granted);
}

/// Takes a lock again that was just released and that others wait for, before them. False: one of
/// them was told already.
pub(super) fn regrant(word: &LockWord, mode: Mode) -> bool {
    let _queues = process::table().lock(word);
    word::grant(word, mode)
}

fn tell(granted: &Granted) {
    for waiter in granted {
        match &waiter.wake {
            Wake::Unpark(thread) => thread.unpark(),
            Wake::Call(call) => call(),
        }
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
    let place = Place::take(word, mode, Wake::Unpark(thread::current()));
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

/// A place in a queue. Dropping it leaves the queue, without the lock.
#[derive(Debug)]
pub(super) struct Place<W: Deref<Target = LockWord>> {
    /// `None` once left.
    word: Option<W>,
    waiter: Arc<Waiter>,
    /// False: the lock was free after all, so there was nothing to wait for.
    queued: bool,
}

impl<W: Deref<Target = LockWord>> Place<W> {
    /// Joins the end of the queue; if the lock is free after all it is granted.
    pub(super) fn take(word: W, mode: Mode, wake: Wake) -> Self {
        let mut waiter = Waiter {
            mode,
            wake,
            granted: AtomicBool::new(false),
        };
        let table = process::table();
        let mut queues = table.lock(&word);
        let queued = !word::acquire_or_announce(&word, mode);
        if !queued {
            *waiter.granted.get_mut() = true;
        }
        let waiter = Arc::new(waiter);
        if queued {
            queues.push(key(&word), Arc::clone(&waiter));
            table.waiting.fetch_add(1, Ordering::Relaxed);
        }
        drop(queues);
        Place {
            word: Some(word),
            waiter,
            queued,
        }
    }

    pub(super) fn granted(&self) -> bool {
        self.waiter.granted.load(Ordering::Acquire)
    }

    /// Leaves the queue. True: the lock was granted and is the caller's.
    fn leave(self) -> bool {
        self.leave_with().is_some()
    }

    /// Leaves the queue, with the lock if it was granted.
    pub(super) fn leave_with(mut self) -> Option<(W, Mode)> {
        let word = self.word.take()?;
        let granted = self.remove(&word);
        granted.then_some((word, self.waiter.mode))
    }

    /// True: the lock was granted.
    fn remove(&self, word: &LockWord) -> bool {
        if !self.queued {
            return true;
        }
        let table = process::table();
        table.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.granted() {
            return true;
        }
        let mut queues = table.lock(word);
        if self.granted() {
            return true;
        }
        queues.remove(key(word), &self.waiter);
        // The one that left may be a writer that readers stood behind, or the last.
        let granted = queues.hand_over(word);
        drop(queues);
        tell(&granted);
        false
    }
}

impl<W: Deref<Target = LockWord>> Drop for Place<W> {
    fn drop(&mut self) {
        if let Some(word) = self.word.take()
            && self.remove(&word)
        {
            super::release(&word, self.waiter.mode);
        }
    }
}
