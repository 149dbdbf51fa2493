//! One operation at a time on a handle, whoever shares it.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::gil;

/// How long a waiter sleeps between two looks at pending signals.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// A value that one thread uses at a time, across giving up the interpreter lock.
pub(crate) struct Gate<T> {
    busy: AtomicBool,
    /// The thread inside, while it may not hold the interpreter lock; else 0.
    owner: AtomicU64,
    waiters: AtomicU32,
    sleeping: Mutex<()>,
    left: Condvar,
    value: UnsafeCell<T>,
}

// SAFETY: `enter` lets one thread in at a time, and the session is the only way to the value.
unsafe impl<T: Send> Sync for Gate<T> {}

impl<T> Gate<T> {
    pub(crate) fn new(value: T) -> Self {
        Gate {
            busy: AtomicBool::new(false),
            owner: AtomicU64::new(0),
            waiters: AtomicU32::new(0),
            sleeping: Mutex::new(()),
            left: Condvar::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the operation that is running, if any.
    ///
    /// # Errors
    /// `RuntimeError` from a call inside an operation of the same thread; what a signal handler
    /// raises during the wait.
    #[inline]
    pub(crate) fn enter(&self, py: Python<'_>) -> PyResult<Session<'_, T>> {
        match self.try_enter(py) {
            Some(session) => Ok(session),
            None => self.wait(py),
        }
    }

    #[inline]
    pub(crate) fn try_enter(&self, _py: Python<'_>) -> Option<Session<'_, T>> {
        // The interpreter lock makes looking and taking one step; without it an exchange does.
        #[cfg(not(Py_GIL_DISABLED))]
        let busy = {
            let busy = self.busy.load(Ordering::Relaxed);
            self.busy.store(true, Ordering::Relaxed);
            busy
        };
        #[cfg(Py_GIL_DISABLED)]
        let busy = self.busy.swap(true, Ordering::Acquire);
        (!busy).then_some(Session { gate: self })
    }

    #[cold]
    fn wait(&self, py: Python<'_>) -> PyResult<Session<'_, T>> {
        loop {
            if self.owner.load(Ordering::Relaxed) == this_thread() {
                return Err(PyRuntimeError::new_err(
                    "reentrant call inside a file operation",
                ));
            }
            let (busy, waiters) = (&self.busy, &self.waiters);
            let (sleeping, left) = (&self.sleeping, &self.left);
            gil::detached(py, || {
                waiters.fetch_add(1, Ordering::SeqCst);
                let mut sleeping = sleeping.lock();
                if busy.load(Ordering::SeqCst) {
                    left.wait_for(&mut sleeping, SIGNALS_EVERY);
                }
                waiters.fetch_sub(1, Ordering::SeqCst);
            });
            if let Some(session) = self.try_enter(py) {
                return Ok(session);
            }
            py.check_signals()?;
        }
    }

    /// The value, for who has the gate alone.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// The right to use the value of a [`Gate`].
pub(crate) struct Session<'a, T> {
    gate: &'a Gate<T>,
}

impl<T> Session<'_, T> {
    #[inline]
    pub(crate) fn state(&mut self) -> &mut T {
        // SAFETY: one session exists at a time, and the borrow is of this one.
        unsafe { &mut *self.gate.value.get() }
    }

    /// Runs `work` on the value without the interpreter lock.
    pub(crate) fn detached<R: Send>(
        &mut self,
        py: Python<'_>,
        work: impl FnOnce(&mut T) -> R + Send,
    ) -> R
    where
        T: Send,
    {
        self.gate.owner.store(this_thread(), Ordering::Relaxed);
        let state = self.state();
        let result = gil::detached(py, || work(state));
        self.gate.owner.store(0, Ordering::Relaxed);
        result
    }
}

impl<T> Drop for Session<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A waiter that is missed here looks again after SIGNALS_EVERY.
        self.gate.busy.store(false, Ordering::Release);
        if self.gate.waiters.load(Ordering::Relaxed) != 0 {
            let _sleeping = self.gate.sleeping.lock();
            self.gate.left.notify_one();
        }
    }
}

/// A number for this thread, never 0.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}
