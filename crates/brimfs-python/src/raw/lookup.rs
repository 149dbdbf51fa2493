//! From a Python `str` to what was found under it before.
//!
//! Owns a bounded table in front of the core's own path cache. A `str` keeps
//! its hash, and the same object often comes again, so a path of any depth is
//! found with one probe by address, or one by hash and a comparison. What is
//! stored is a ticket that the core validates at every use: an entry can be
//! stale, never wrong. Calls nothing of the core.

use std::ptr::NonNull;

use pyo3::{Python, ffi};

use super::objects::Arg;

/// Entries that can stand for one hash.
const WAYS: usize = 4;
const ENTRIES_MIN: usize = 16;
/// Paths remembered at most.
const ENTRIES_MAX: usize = 32 * 1024;
/// Paths that are recognised when they come a second time, about; a power of two.
const SEEN: usize = 8 * 1024;
/// After there was no memory for the table, so many paths pass before it is tried again.
const PAUSE: u32 = 10_000;
/// Longer paths are not worth a place, in characters.
const PATH_LEN_MAX: usize = 1024;
/// What a `str` takes besides its characters, and the allocator's rounding.
const STR_OVERHEAD: usize = 64;

struct Entry<T> {
    /// An exact `str`, one reference of which is ours.
    path: NonNull<ffi::PyObject>,
    hash: ffi::Py_hash_t,
    ticket: T,
}

/// Where the object at an address was last found. A hint: `Entry::path` decides.
#[derive(Clone, Copy)]
struct Hint {
    address: usize,
    slot: u32,
}

/// The table. One per filesystem, inside a `Guarded`.
pub(crate) struct Lookup<T> {
    entries: Vec<Option<Entry<T>>>,
    hints: Vec<Hint>,
    used: usize,
    bytes: usize,
    victim: usize,
    seen: Seen,
    /// Paths that are still not to be remembered.
    pause: u32,
}

/// Paths that came once and were not remembered, each as 16 bits of its hash.
#[derive(Default)]
struct Seen {
    prints: Vec<u16>,
}

impl Seen {
    /// Whether the hash was noted before, not long ago. May err both ways.
    fn again(&mut self, hash: ffi::Py_hash_t) -> bool {
        if self.prints.is_empty() {
            self.prints.resize(SEEN, 0);
        }
        let at = hash as usize & (SEEN - 1);
        // Zero is an empty place.
        let print = (hash as u64 >> 48) as u16 | 1;
        std::mem::replace(&mut self.prints[at], print) == print
    }
}

// SAFETY: the references are to exact `str` objects and only touched by a thread that is attached
// to the interpreter, which every method's `Python` argument proves.
unsafe impl<T: Send> Send for Lookup<T> {}

#[inline]
fn spread(address: usize) -> usize {
    (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<T> Lookup<T> {
    pub(crate) const fn new() -> Self {
        Lookup {
            entries: Vec::new(),
            hints: Vec::new(),
            used: 0,
            bytes: 0,
            victim: 0,
            seen: Seen { prints: Vec::new() },
            pause: 0,
        }
    }

    /// Resident bytes of the table and of the paths it keeps alive.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.seen.prints.len() * size_of::<u16>()
    }

    #[inline]
    fn hint_of(&self, address: usize) -> usize {
        spread(address) >> (usize::BITS - self.hints.len().trailing_zeros())
    }

    #[inline]
    fn set_of(&self, hash: ffi::Py_hash_t) -> usize {
        (hash as usize & (self.entries.len() / WAYS - 1)) * WAYS
    }

    /// The ticket under `path`, any object whatever.
    #[inline]
    pub(crate) fn get(&mut self, path: Arg<'_>) -> Option<&T> {
        let (py, path) = (path.py(), path.as_ptr());
        if self.entries.is_empty() {
            return None;
        }
        let hint = self.hints[self.hint_of(path as usize)];
        if hint.address == path as usize
            && let Some(entry) = &self.entries[hint.slot as usize]
            && entry.path.as_ptr() == path
        {
            return self.entries[hint.slot as usize]
                .as_ref()
                .map(|entry| &entry.ticket);
        }
        self.get_equal(py, path)
    }

    /// Finds an equal path that is another object. The newcomer takes the old one's place,
    /// so that it is found by address the next time.
    fn get_equal(&mut self, py: Python<'_>, path: *mut ffi::PyObject) -> Option<&T> {
        let (path, hash) = exact_str_hash(py, path)?;
        let slot = self.find(path, hash)?;
        self.point_to(path, slot);
        let entry = self.entries[slot].as_mut()?;
        if entry.path != path {
            // SAFETY: attached; the new reference is ours from here on, the old one is given
            // back, and dropping an exact `str` runs no Python code.
            unsafe {
                ffi::Py_INCREF(path.as_ptr());
                ffi::Py_DECREF(entry.path.as_ptr());
            }
            entry.path = path;
        }
        Some(&entry.ticket)
    }

    /// Whether the path came before, not long ago, so that remembering it pays.
    ///
    /// For callers that do without a ticket the first time: paths that come once are not worth
    /// the work. May err both ways.
    pub(crate) fn comes_again(&mut self, path: Arg<'_>) -> bool {
        if self.pauses() {
            return false;
        }
        let hashed = exact_str_hash(path.py(), path.as_ptr());
        hashed.is_some_and(|(_, hash)| self.seen.again(hash))
    }

    fn find(&self, path: NonNull<ffi::PyObject>, hash: ffi::Py_hash_t) -> Option<usize> {
        let set = self.set_of(hash);
        (set..set + WAYS).find(|slot| {
            self.entries[*slot].as_ref().is_some_and(|entry| {
                entry.hash == hash
                    && (entry.path == path
                        // SAFETY: attached, and both are exact `str` objects.
                        || unsafe { ffi::PyUnicode_Compare(entry.path.as_ptr(), path.as_ptr()) == 0 })
            })
        })
    }

    #[inline]
    fn point_to(&mut self, path: NonNull<ffi::PyObject>, slot: usize) {
        let address = path.as_ptr() as usize;
        let at = self.hint_of(address);
        self.hints[at] = Hint {
            address,
            slot: slot as u32,
        };
    }

    /// Remembers `ticket` under `path` if that is an exact `str` of a sensible length.
    pub(crate) fn insert(&mut self, path: Arg<'_>, ticket: T) {
        if self.pauses() {
            return;
        }
        let Some((path, hash)) = exact_str_hash(path.py(), path.as_ptr()) else {
            return;
        };
        let length = str_length(path);
        if length > PATH_LEN_MAX {
            return;
        }
        if self.entries.len() < ENTRIES_MAX && self.used >= self.entries.len() / 2 {
            self.grow();
        }
        let slot = match self.find(path, hash) {
            Some(slot) => slot,
            None => self.vacant(hash),
        };
        self.remove(slot);
        // SAFETY: attached; the reference becomes the entry's.
        unsafe { ffi::Py_INCREF(path.as_ptr()) };
        self.entries[slot] = Some(Entry { path, hash, ticket });
        self.used += 1;
        self.bytes += STR_OVERHEAD + length;
        self.point_to(path, slot);
    }

    /// A free slot of the hash's set, or one to overwrite.
    fn vacant(&mut self, hash: ffi::Py_hash_t) -> usize {
        let set = self.set_of(hash);
        (set..set + WAYS)
            .find(|slot| self.entries[*slot].is_none())
            .unwrap_or_else(|| {
                self.victim = self.victim.wrapping_add(1);
                set + self.victim % WAYS
            })
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.entries[slot].take() {
            self.used -= 1;
            self.bytes -= STR_OVERHEAD + str_length(entry.path);
            // SAFETY: attached, and the entry owned one reference.
            unsafe { ffi::Py_DECREF(entry.path.as_ptr()) };
        }
    }

    fn grow(&mut self) {
        let capacity = (self.entries.len() * 2).max(ENTRIES_MIN);
        let old = std::mem::take(&mut self.entries);
        self.bytes += (capacity - old.len()) * (size_of::<Option<Entry<T>>>() + size_of::<Hint>());
        self.entries.resize_with(capacity, || None);
        self.hints = vec![
            Hint {
                address: 0,
                slot: 0
            };
            capacity
        ];
        for entry in old.into_iter().flatten() {
            let slot = self.vacant(entry.hash);
            // A set that was not full cannot overflow: its entries spread over two sets.
            debug_assert!(self.entries[slot].is_none());
            self.point_to(entry.path, slot);
            self.entries[slot] = Some(entry);
        }
    }

    /// Forgets everything for a while, because there is no memory for it.
    pub(crate) fn give_up(&mut self, py: Python<'_>) {
        self.clear(py);
        self.pause = PAUSE;
    }

    fn pauses(&mut self) -> bool {
        let pauses = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        pauses
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self, _py: Python<'_>) {
        for slot in 0..self.entries.len() {
            self.remove(slot);
        }
        *self = Lookup::new();
    }
}

impl<T> Drop for Lookup<T> {
    fn drop(&mut self) {
        for entry in self.entries.iter().flatten() {
            // SAFETY: the entry owned one reference to an exact `str`.
            unsafe { crate::gil::release(entry.path) };
        }
    }
}

/// The object as an exact `str`, with its hash.
#[inline]
fn exact_str_hash(
    _py: Python<'_>,
    path: *mut ffi::PyObject,
) -> Option<(NonNull<ffi::PyObject>, ffi::Py_hash_t)> {
    let path = NonNull::new(path)?;
    // SAFETY: attached, and `path` is an object. Hashing an exact `str` runs no Python code
    // and cannot fail.
    unsafe {
        (ffi::PyUnicode_CheckExact(path.as_ptr()) != 0)
            .then(|| (path, ffi::PyObject_Hash(path.as_ptr())))
    }
}

fn str_length(path: NonNull<ffi::PyObject>) -> usize {
    // SAFETY: an exact `str`, whose length never changes.
    unsafe { ffi::PyUnicode_GetLength(path.as_ptr()) }.unsigned_abs()
}
