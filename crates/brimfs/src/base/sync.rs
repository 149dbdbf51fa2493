//! The locks, atomics and threads of the whole crate.
//!
//! Everything that synchronises comes from here, so that one feature replaces
//! all of it by shuttle's versions and a test can explore schedules. In
//! production the locks are parking_lot's, which ThreadSanitizer understands.

#[cfg(not(feature = "shuttle"))]
mod chosen {
    pub use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
    pub use std::sync::{Arc, Weak, atomic};
    pub use std::thread;
    pub use std::thread_local;

    /// Starts a thread of a scope; nothing if the system has none to give.
    pub fn spawn_scoped<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        work: impl FnOnce() + Send + 'scope,
    ) -> Option<thread::ScopedJoinHandle<'scope, ()>> {
        thread::Builder::new().spawn_scoped(scope, work).ok()
    }

    /// Waits for so long, or until the thread is unparked.
    pub fn nap(duration: std::time::Duration) {
        thread::park_timeout(duration);
    }
}

#[cfg(feature = "shuttle")]
mod chosen {
    pub use shuttle::sync::{Arc, Weak, atomic};
    pub use shuttle::thread;
    pub use shuttle::thread_local;
    // There is no condition variable here: park and unpark threads instead.
    pub use shuttle_parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

    /// Starts a thread of a scope, of which shuttle has any number.
    pub fn spawn_scoped<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        work: impl FnOnce() + Send + 'scope,
    ) -> Option<thread::ScopedJoinHandle<'scope, ()>> {
        Some(scope.spawn(work))
    }

    /// Lets the others go on: time does not pass here.
    pub fn nap(_duration: std::time::Duration) {
        thread::yield_now();
    }
}

pub use chosen::*;
