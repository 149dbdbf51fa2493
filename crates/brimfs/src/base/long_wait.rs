//! What a binding does around a wait for a disk or for memory: give up its interpreter's lock.
//!
//! Owns the process-wide hook. Called with no lock of this crate held but file locks.

use std::sync::OnceLock;

use crate::base::error::{ErrorKind, Fault};

static HOOK: OnceLock<fn(&mut dyn FnMut())> = OnceLock::new();

/// Installs what is around every wait of a call for a disk or for memory. It is given the wait, on
/// the thread that waits, and runs it once; or not at all where this thread must not wait now: then
/// the call answers [`ErrorKind::WouldBlock`](crate::ErrorKind::WouldBlock).
///
/// A process has one such hook: the first installation counts.
pub fn set_wait_hook(hook: fn(&mut dyn FnMut())) {
    // The error of a second installation says what the documentation says.
    let _ = HOOK.set(hook);
}

/// Runs something that may wait for a disk or for memory.
pub(crate) fn long_wait<R>(wait: impl FnOnce() -> Result<R, Fault>) -> Result<R, Fault> {
    let Some(hook) = HOOK.get() else {
        return wait();
    };
    let mut wait = Some(wait);
    let mut result = None;
    hook(&mut || result = wait.take().map(|wait| wait()));
    result.unwrap_or(Err(ErrorKind::WouldBlock.into()))
}

/// As [`long_wait`], for a wait that there is no way around: where the hook forbids it, it takes place all the same.
pub(crate) fn certain_wait<R>(wait: impl FnOnce() -> R) -> R {
    let mut wait = Some(wait);
    let mut result = None;
    if let Some(hook) = HOOK.get() {
        hook(&mut || result = wait.take().map(|wait| wait()));
    }
    match wait {
        Some(wait) => wait(),
        None => result.expect("the hook ran it"),
    }
}
