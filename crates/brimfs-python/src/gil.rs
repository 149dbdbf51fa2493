//! The interpreter lock as seen from here: who holds it, how it is given up,
//! and what happens to Python references that are dropped without it.
//!
//! Owns one flag per thread and a lock-free list of references waiting for an
//! attached thread. Never waits for the interpreter lock, except to come back
//! from [`detached`], where no lock of the core is held.
//!
//! PyO3 counts attachment per thread in its own trampolines. The hot methods
//! of this crate bypass those (`raw.rs`), so the count says nothing about
//! them; this module keeps the flag that is right on both ways.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::ffi;
use pyo3::prelude::*;

thread_local! {
    /// True while code of this crate runs on this thread with the interpreter attached.
    ///
    /// Set by every entry from the interpreter and never cleared on the way out: outside
    /// of an entry no code of the core runs on a thread of the interpreter. False on
    /// threads that are not the interpreter's, and inside [`detached`].
    static ATTACHED: Cell<bool> = const { Cell::new(false) };

    /// True while a call looks at memory of the interpreter that only its lock keeps in place.
    static HELD: Cell<bool> = const { Cell::new(false) };

    /// True while this thread must not wait for a disk or for memory.
    static PROMPT: Cell<bool> = const { Cell::new(false) };

    /// True once that kept a call from waiting.
    static DECLINED: Cell<bool> = const { Cell::new(false) };

    /// What a signal handler raised while this thread waited without the interpreter lock.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Set once the interpreter begins to exit: references are leaked from then on.
static EXITING: AtomicBool = AtomicBool::new(false);

/// References that were dropped without the interpreter lock.
static PENDING: AtomicPtr<Released> = AtomicPtr::new(ptr::null_mut());

struct Released {
    object: NonNull<ffi::PyObject>,
    next: *mut Released,
}

/// Work up to this many bytes is done with the interpreter lock held: giving it
/// up and taking it back costs more than copying so much.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024;

/// Called first by every entry from the interpreter that may drop a reference.
#[inline]
pub(crate) fn enter(_py: Python<'_>) {
    ATTACHED.set(true);
    if !PENDING.load(Ordering::Relaxed).is_null() {
        drain();
    }
}

/// Runs `work` without the interpreter lock.
pub(crate) fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let result = py.detach(|| {
        ATTACHED.set(false);
        work()
    });
    enter(py);
    result
}

/// Runs `work` with the interpreter lock, from inside [`detached`] and on its thread: a callback.
pub(crate) fn attached<R>(work: impl FnOnce(Python<'_>) -> R) -> R {
    let result = Python::attach(|py| {
        enter(py);
        work(py)
    });
    // What Python code called here has set it, and this thread goes on without the lock.
    ATTACHED.set(false);
    result
}

/// Runs `work`, in which this thread keeps the interpreter lock: where the core would have to wait
/// for a disk or for memory it answers that it would block.
#[inline]
pub(crate) fn held<R>(work: impl FnOnce() -> R) -> R {
    HELD.set(true);
    let result = work();
    HELD.set(false);
    result
}

/// More bytes than that are not copied by a call that is to be prompt.
const PROMPT_BYTES_MAX: usize = 512 * 1024;

/// Runs `work`, in which this thread does not wait for a disk or for memory, nor copies for long: the core
/// answers that it would block. Returns whether that happened, too.
pub(crate) fn prompt<R>(work: impl FnOnce() -> R) -> (R, bool) {
    let before = (PROMPT.replace(true), DECLINED.replace(false));
    let result = work();
    PROMPT.set(before.0);
    (result, DECLINED.replace(before.1))
}

/// Whether to answer that it would block instead of copying so much.
#[inline]
pub(crate) fn declines(bytes: usize) -> bool {
    let declines = bytes > PROMPT_BYTES_MAX && PROMPT.get();
    if declines {
        DECLINED.set(true);
    }
    declines
}

/// What the core runs its waits for disks and memory in.
pub(crate) fn wait_detached(wait: &mut dyn FnMut()) {
    if HELD.get() {
        return;
    }
    if PROMPT.get() {
        DECLINED.set(true);
        return;
    }
    if !ATTACHED.get() {
        return wait();
    }
    ATTACHED.set(false);
    // SAFETY: the flag said that this thread is attached. What the lock protects is borrowed by
    // nobody who calls the core where it can wait, but by those who say so with `held`.
    let thread = unsafe { ffi::PyEval_SaveThread() };
    wait();
    // SAFETY: what was saved above, on this thread.
    unsafe { ffi::PyEval_RestoreThread(thread) };
    ATTACHED.set(true);
}

/// Gives back one reference to an object whose deallocation runs no Python code: at once if this
/// thread is attached, else when the next one comes by, and the interpreter is asked to do so soon.
///
/// # Safety
/// The caller owns the reference. The object is an exact `bytes` or `str`.
pub(crate) unsafe fn release(object: NonNull<ffi::PyObject>) {
    if EXITING.load(Ordering::Relaxed) {
        return;
    }
    if ATTACHED.get() {
        // SAFETY: the flag says that this thread holds the interpreter lock.
        unsafe { ffi::Py_DECREF(object.as_ptr()) };
        return;
    }
    let node = Box::into_raw(Box::new(Released {
        object,
        next: ptr::null_mut(),
    }));
    let mut head = PENDING.load(Ordering::Relaxed);
    loop {
        // SAFETY: `node` is ours until the exchange succeeds.
        unsafe { (*node).next = head };
        match PENDING.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
            Ok(_) if head.is_null() => return run_soon(enter),
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// Gives back what was dropped without the lock. The caller is attached.
#[cold]
fn drain() {
    let mut head = PENDING.swap(ptr::null_mut(), Ordering::Acquire);
    while !head.is_null() {
        // SAFETY: the swap made the whole list ours; every node came from `Box::into_raw`.
        let node = unsafe { Box::from_raw(head) };
        head = node.next;
        // SAFETY: attached, and the node owned one reference.
        unsafe { ffi::Py_DECREF(node.object.as_ptr()) };
    }
}

/// From now on references are leaked: the interpreter may be gone when they are dropped.
pub(crate) fn exit() {
    EXITING.store(true, Ordering::Relaxed);
}

/// True once the interpreter began to exit.
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Relaxed)
}

/// The core's interrupt check: runs signal handlers, true if one of them raised.
///
/// Only called from inside [`detached`] (or with the lock held, by the same
/// thread), so attaching never waits for a thread that waits for this one.
pub(crate) fn signal_arrived() -> bool {
    if is_exiting() {
        return false;
    }
    let attached = ATTACHED.get();
    let arrived = Python::try_attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(raised) => {
            RAISED.set(Some(raised));
            true
        }
    });
    // A handler that used a filesystem has set it, and this thread goes on as it came.
    ATTACHED.set(attached);
    arrived.unwrap_or(false)
}

/// What the signal handler raised that ended a wait of this thread.
pub(crate) fn take_raised() -> PyErr {
    RAISED
        .take()
        .unwrap_or_else(|| PyKeyboardInterrupt::new_err(()))
}

/// Asks the interpreter to run `work` on its main thread soon. Waits for nothing; called from
/// any thread, attached or not. May be dropped if too much is asked for already.
pub(crate) fn run_soon(work: fn(Python<'_>)) {
    extern "C" fn run(work: *mut c_void) -> c_int {
        // SAFETY: `work` was made from a `fn(Python<'_>)` below, and pointers to functions and
        // to data have one size on every platform that Python runs on.
        let work = unsafe { std::mem::transmute::<*mut c_void, fn(Python<'_>)>(work) };
        Python::attach(work);
        0
    }
    if !is_exiting() {
        // SAFETY: may be called without the interpreter lock while the interpreter lives.
        unsafe { ffi::Py_AddPendingCall(Some(run), work as *mut c_void) };
    }
}
