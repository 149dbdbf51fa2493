//! Tells a forked child from the process that built a filesystem.
//!
//! A child inherits locks that other threads of its parent held, for ever. So
//! nothing of an inherited filesystem may be touched there: every public call
//! compares the generation that the filesystem was built in with the current
//! one, which costs one relaxed load, and answers [`ErrorKind::Forked`].
//!
//! [`ErrorKind::Forked`]: crate::ErrorKind::Forked

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

#[cfg(unix)]
extern "C" fn note_fork() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The number of forks between the process that first asked and this one.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The number of this process.
pub fn process() -> u32 {
    std::process::id()
}

/// Starts counting forks. Called by every constructor of a filesystem.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(unix)]
        // SAFETY: `note_fork` only increments an atomic, which is safe after fork.
        unsafe {
            libc::pthread_atfork(None, None, Some(note_fork));
        }
    });
}
