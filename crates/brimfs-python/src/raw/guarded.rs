//! State that the interpreter lock protects, or a mutex where there is none.
//!
//! Owns the choice between the two. Callers keep their sections short and run
//! no Python code in them; a section that is entered twice is refused, never
//! undefined.

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::RefCell;

use pyo3::Python;

/// See the module's documentation.
pub(crate) struct Guarded<T> {
    #[cfg(not(Py_GIL_DISABLED))]
    value: RefCell<T>,
    #[cfg(Py_GIL_DISABLED)]
    value: parking_lot::Mutex<T>,
}

// SAFETY: with the interpreter lock, `with` is the only way to the value and demands proof that
// this thread holds that lock, so no two threads are inside at once. `T: Send` because successive
// holders are different threads.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Guarded {
            #[cfg(not(Py_GIL_DISABLED))]
            value: RefCell::new(value),
            #[cfg(Py_GIL_DISABLED)]
            value: parking_lot::Mutex::new(value),
        }
    }

    /// Runs `work` on the value; `None` if this thread is already inside.
    #[inline]
    pub(crate) fn with<R>(&self, _py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        #[cfg(not(Py_GIL_DISABLED))]
        let mut value = self.value.try_borrow_mut().ok()?;
        #[cfg(Py_GIL_DISABLED)]
        let mut value = self.value.try_lock()?;
        Some(work(&mut value))
    }
}
