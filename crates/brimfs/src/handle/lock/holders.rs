//! Who holds which lock through an open handle, and since when.
//!
//! Every thread has a record with slots for the holds that it took. Taking and
//! giving back on the same thread are plain stores; only readers of somebody
//! else's record, and threads that close what another one opened, lock it.
//! Messages and the detection of a thread that waits for itself read the
//! records; whether a lock is free never depends on them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Mode, process};
use crate::base::lock_word::LockWord;
use crate::base::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::base::sync::{Mutex, thread};
use crate::base::{clock, fork};

/// Room for one hold. Leaked with its record.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The address of the word, plus [`EXCLUSIVE`]; zero while free.
    held: AtomicUsize,
    /// Nanoseconds of the coarse monotonic clock.
    since: AtomicU64,
}

/// A bit of `held` that no address of a word has.
const EXCLUSIVE: usize = 1;
const _: () = assert!(align_of::<LockWord>() > EXCLUSIVE);

impl Slot {
    #[inline]
    fn note(&self, word: &LockWord, mode: Mode) {
        let nanos = clock::monotonic().as_nanos();
        let since = u64::try_from(nanos).unwrap_or(u64::MAX);
        // Releases the zero that was stored before, see `Slot::hold`.
        self.since.store(since, Ordering::Release);
        let bit = if mode == Mode::Exclusive {
            EXCLUSIVE
        } else {
            0
        };
        self.held.store(key(word) | bit, Ordering::Release);
    }

    #[inline]
    fn clear(&self) {
        self.held.store(0, Ordering::Release);
    }

    /// The hold of this lock, if the slot has one, and when it began.
    fn hold(&self, word: &LockWord) -> Option<(Mode, Duration)> {
        let held = self.held.load(Ordering::Acquire);
        if held & !EXCLUSIVE != key(word) {
            return None;
        }
        let since = self.since.load(Ordering::Acquire);
        if self.held.load(Ordering::Relaxed) != held {
            return None; // given back meanwhile; the time may be of the next hold
        }
        let mode = match held & EXCLUSIVE {
            0 => Mode::Shared,
            _ => Mode::Exclusive,
        };
        Some((mode, Duration::from_nanos(since)))
    }
}

fn key(word: &LockWord) -> usize {
    std::ptr::from_ref(word).addr()
}

/// One thread's record. Leaked and reused, because a hold may outlive its thread.
#[derive(Debug)]
pub(super) struct Registry(Mutex<Book>);

#[derive(Debug)]
struct Book {
    owner: Owner,
    chunks: Vec<&'static [Slot]>,
    /// Free slots that are not in the owner's hands: emptied by other threads,
    /// or left behind by an owner that has ended.
    returned: Vec<&'static Slot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    name: Option<Box<str>>,
    id: u64,
}

impl Book {
    fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        self.chunks.iter().copied().flatten()
    }

    /// Whether the record of an ended thread has got all of its slots back.
    fn is_complete(&self) -> bool {
        self.slots().count() == self.returned.len()
    }
}

impl Registry {
    fn new(owner: Owner) -> &'static Self {
        Box::leak(Box::new(Registry(Mutex::new(Book {
            owner,
            chunks: Vec::new(),
            returned: Vec::new(),
        }))))
    }

    /// Moves free slots to the owner: returned ones, or as many again as there are.
    fn refill(&self, free: &mut Vec<&'static Slot>) {
        const FIRST: usize = 8;
        let book = &mut *self.0.lock();
        if book.returned.is_empty() {
            let count = book.slots().count().max(FIRST);
            let slots = std::iter::repeat_with(Slot::default).take(count);
            let chunk: &'static [Slot] = Box::leak(slots.collect());
            book.chunks.push(chunk);
            book.returned.extend(chunk);
        }
        free.append(&mut book.returned);
    }

    fn give_back(&self, free: &mut Vec<&'static Slot>) {
        self.0.lock().returned.append(free);
    }
}

/// All records of the process.
#[derive(Debug)]
pub(super) struct Registries(Mutex<Lists>);

#[derive(Debug)]
struct Lists {
    all: Vec<&'static Registry>,
    /// Records of ended threads, reused once their last hold is given back.
    ended: VecDeque<&'static Registry>,
}

impl Registries {
    pub(super) const fn new() -> Self {
        Registries(Mutex::new(Lists {
            all: Vec::new(),
            ended: VecDeque::new(),
        }))
    }

    /// A record for the calling thread.
    fn take(&self) -> &'static Registry {
        /// Bounds the search, should many threads have ended and left holds behind.
        const TRIES: usize = 4;
        let owner = Owner::current();
        let lists = &mut *self.0.lock();
        for _ in 0..TRIES.min(lists.ended.len()) {
            let Some(ended) = lists.ended.pop_front() else {
                break;
            };
            let mut book = ended.0.lock();
            if book.is_complete() {
                book.owner = owner;
                drop(book);
                return ended;
            }
            lists.ended.push_back(ended);
        }
        let new = Registry::new(owner);
        lists.all.push(new);
        new
    }

    fn retire(&self, registry: &'static Registry) {
        self.0.lock().ended.push_back(registry);
    }

    fn all(&self) -> Vec<&'static Registry> {
        self.0.lock().all.clone()
    }
}

/// What a thread knows of its own record.
struct Mine {
    /// With the fork generation that the record was taken in.
    registry: Cell<Option<(&'static Registry, u32)>>,
    free: RefCell<Vec<&'static Slot>>,
}

crate::base::sync::thread_local! {
    static MINE: Mine = const {
        Mine {
            registry: Cell::new(None),
            free: RefCell::new(Vec::new()),
        }
    };
}

impl Mine {
    #[inline]
    fn registry(&self) -> Option<&'static Registry> {
        let (registry, generation) = self.registry.get()?;
        (generation == fork::generation()).then_some(registry)
    }

    #[inline]
    fn slot(&self) -> (&'static Registry, &'static Slot) {
        let slot = self.free.borrow_mut().pop();
        match (self.registry(), slot) {
            (Some(registry), Some(slot)) => (registry, slot),
            (registry, _) => self.new_slot(registry),
        }
    }

    #[cold]
    fn new_slot(&self, registry: Option<&'static Registry>) -> (&'static Registry, &'static Slot) {
        let mut free = self.free.borrow_mut();
        let registry = registry.unwrap_or_else(|| {
            // After a fork these are the slots of the parent's record.
            free.clear();
            process::registries().take()
        });
        self.registry.set(Some((registry, fork::generation())));
        loop {
            match free.pop() {
                Some(slot) => return (registry, slot),
                None => registry.refill(&mut free),
            }
        }
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(registry) = self.registry() {
            registry.give_back(self.free.get_mut());
            process::registries().retire(registry);
        }
    }
}

/// A noted hold: where, and in whose record.
#[derive(Debug)]
pub(super) struct Note {
    registry: &'static Registry,
    slot: &'static Slot,
}

impl Note {
    /// Notes that the calling thread holds the lock.
    #[inline]
    pub(super) fn new(word: &LockWord, mode: Mode) -> Self {
        let (registry, slot) = MINE.try_with(Mine::slot).unwrap_or_else(|_| {
            // The thread is past the end of its thread-local values.
            let ending = Mine {
                registry: Cell::new(None),
                free: RefCell::new(Vec::new()),
            };
            ending.slot()
        });
        slot.note(word, mode);
        Note { registry, slot }
    }

    /// Forgets the hold, on any thread.
    #[inline]
    pub(super) fn forget(self) {
        self.slot.clear();
        let kept = MINE.try_with(|mine| {
            let is_mine = matches!(mine.registry.get(),
                Some((registry, _)) if std::ptr::eq(registry, self.registry));
            if is_mine {
                mine.free.borrow_mut().push(self.slot);
            }
            is_mine
        });
        if !kept.unwrap_or(false) {
            self.registry.give_back(&mut vec![self.slot]);
        }
    }
}

/// The mode in which the calling thread holds the lock through a handle that it opened.
pub(super) fn own(word: &LockWord) -> Option<Mode> {
    let registry = MINE.try_with(Mine::registry).ok().flatten()?;
    let book = registry.0.lock();
    let mut holds = book.slots().filter_map(|slot| slot.hold(word));
    holds.next().map(|(mode, _)| mode)
}

/// What the records say about one lock.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) shared: u32,
    pub(super) exclusive: bool,
    oldest: Option<(Duration, Owner)>,
}

impl Holders {
    pub(super) fn of(word: &LockWord) -> Self {
        let mut holders = Holders::default();
        for registry in process::registries().all() {
            let book = registry.0.lock();
            for (mode, since) in book.slots().filter_map(|slot| slot.hold(word)) {
                match mode {
                    Mode::Shared => holders.shared += 1,
                    Mode::Exclusive => holders.exclusive = true,
                }
                if holders.oldest.as_ref().is_none_or(|(old, _)| since < *old) {
                    holders.oldest = Some((since, book.owner.clone()));
                }
            }
        }
        holders
    }
}

/// The thread that took the oldest hold, and how long ago.
impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((since, owner)) = &self.oldest else {
            return f.write_str("a call in progress");
        };
        let held = clock::monotonic().saturating_sub(*since);
        write!(f, "{owner} for {}", Seconds(held))
    }
}

impl Owner {
    fn current() -> Self {
        Owner {
            name: thread::current().name().map(Into::into),
            id: thread_id(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "thread {name:?} (id {})", self.id),
            None => write!(f, "thread {}", self.id),
        }
    }
}

/// A duration to a tenth of a second, which is what a message needs.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}

/// The number by which debuggers and Python's `get_native_id` know the thread.
#[cfg(target_os = "linux")]
pub(super) fn thread_id() -> u64 {
    // SAFETY: takes nothing, touches no memory and cannot fail.
    let id = unsafe { libc::gettid() };
    id.unsigned_abs().into()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn thread_id() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_reused_once_its_last_slot_has_come_back() {
        let registries = Registries::new();
        let first = registries.take();
        let mut free = Vec::new();
        first.refill(&mut free);
        let slot = free.pop().unwrap();
        first.give_back(&mut free);
        registries.retire(first);
        let second = registries.take();
        assert!(!std::ptr::eq(first, second));
        first.give_back(&mut vec![slot]);
        assert!(std::ptr::eq(first, registries.take()));
        assert_eq!(registries.all().len(), 2);
    }

    #[test]
    fn slots_are_reused_on_this_thread_and_when_another_one_forgets() {
        let words: [LockWord; 20] = std::array::from_fn(|_| LockWord::default());
        let slots = || {
            let (registry, _) = MINE.with(|mine| mine.registry.get()).unwrap();
            registry.0.lock().slots().count()
        };
        for round in 0..10 {
            let notes = words.each_ref().map(|word| Note::new(word, Mode::Shared));
            assert_eq!(own(&words[19]), Some(Mode::Shared));
            let forget = || notes.into_iter().for_each(Note::forget);
            match round % 2 {
                0 => forget(),
                _ => std::thread::scope(|scope| scope.spawn(forget).join().unwrap()),
            }
            assert_eq!(own(&words[19]), None);
            assert_eq!(slots(), 32);
        }
    }
}
