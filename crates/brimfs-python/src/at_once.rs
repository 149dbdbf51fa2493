//! What `brimfs.aio` stands on: calls that do not wait, and waiting for file locks without a thread.

use std::sync::Arc;

use brimfs::face::{Fault, LockTicket, Wait, at_once};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::PyBlockingIOError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::OrRaise;
use crate::filesystem::FileSystem;
use crate::gil;
use crate::path::PathArg;

/// How a call of [`_at_once`] ended.
const DONE: u8 = 0;
const FILE_LOCK: u8 = 1;
const DISK: u8 = 2;

/// Run `call(*args, **keywords)` without waiting for a file lock, and for a disk or for memory only if
/// `may_wait`. Return how that ended with what came of it: 0 and the result, or 1 (a file lock) or 2 (a
/// disk, or copying more than 512 KiB) and the BlockingIOError that says what it would have waited for.
/// Nothing was changed then.
///
/// ticket: a lock that was waited for, which is used up.
#[pyfunction]
#[pyo3(signature = (call, args, keywords, ticket=None, may_wait=false))]
pub(crate) fn _at_once<'py>(
    py: Python<'py>,
    call: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
    ticket: Option<&Bound<'py, _LockTicket>>,
    may_wait: bool,
) -> PyResult<(u8, Bound<'py, PyAny>)> {
    let ticket = ticket.and_then(|ticket| ticket.get().0.lock().take());
    let run = || call.call(args, keywords);
    let locked = || match ticket {
        Some(ticket) => ticket.lend(run),
        None => at_once(run),
    };
    let (result, declined) = match may_wait {
        true => (locked(), false),
        false => gil::prompt(locked),
    };
    match result {
        Ok(value) => Ok((DONE, value)),
        Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => {
            let why = if declined { DISK } else { FILE_LOCK };
            Ok((why, error.into_value(py).into_bound(py).into_any()))
        }
        Err(error) => Err(error),
    }
}

/// Numbers of the tickets that were granted their lock, for one thread to wait for.
#[pyclass(frozen, module = "brimfs._brimfs")]
pub(crate) struct _LockEvents(Arc<Events>);

#[derive(Default)]
struct Events {
    granted: Mutex<Vec<u64>>,
    some: Condvar,
}

#[pymethods]
impl _LockEvents {
    #[new]
    fn new() -> Self {
        _LockEvents(Arc::default())
    }

    /// Waits until there are some, and takes them.
    fn wait(&self, py: Python<'_>) -> Vec<u64> {
        let events = &self.0;
        gil::detached(py, || {
            let mut granted = events.granted.lock();
            while granted.is_empty() {
                events.some.wait(&mut granted);
            }
            std::mem::take(&mut *granted)
        })
    }
}

impl _LockEvents {
    /// What gives it the number.
    pub(crate) fn teller(&self, number: u64) -> Box<dyn Fn() + Send + Sync> {
        let events = Arc::clone(&self.0);
        Box::new(move || events.push(number))
    }
}

impl Events {
    fn push(&self, number: u64) {
        self.granted.lock().push(number);
        self.some.notify_one();
    }
}

/// A place in the queue for the lock of a file. It leaves the queue, or gives the lock back, when it is
/// dropped.
#[pyclass(frozen, module = "brimfs._brimfs")]
pub(crate) struct _LockTicket(Mutex<Option<LockTicket>>);

#[pymethods]
impl _LockTicket {
    /// Whether the lock was granted.
    #[getter]
    fn granted(&self) -> bool {
        self.0.lock().as_ref().is_some_and(LockTicket::is_granted)
    }

    /// Leave the queue, or give the lock back. Leaving twice is fine.
    fn leave(&self, py: Python<'_>) {
        gil::enter(py);
        let ticket = self.0.lock().take();
        drop(ticket);
    }
}

#[pymethods]
impl FileSystem {
    /// Joins the queue for the lock of a file; `events` gets the number when it is granted, unless that
    /// is so at once.
    fn _queue(
        &self,
        path: PathArg<'_>,
        exclusive: bool,
        events: &Bound<'_, _LockEvents>,
        number: u64,
    ) -> PyResult<_LockTicket> {
        let (name, wake) = (path.bytes(), events.get().teller(number));
        let ticket = self.core.queue(name, exclusive, wake);
        ticket
            .map(|ticket| _LockTicket(Mutex::new(Some(ticket))))
            .map_err(|fault: Fault| fault.at("open", name))
            .or_raise(&path)
    }

    /// Seconds that calls wait for a file lock, None for ever.
    #[getter]
    fn _lock_timeout(&self) -> Option<f64> {
        match self.core.default_wait() {
            Wait::Now => Some(0.0),
            Wait::UpTo(limit) => Some(limit.as_secs_f64()),
            Wait::Forever => None,
        }
    }

    /// Which calls can wait for a disk and cannot be asked not to: "none", "changes" or "all".
    #[getter]
    fn _waits(&self) -> &'static str {
        match (self.is_mirror(), self.has_store()) {
            (true, _) => "all",
            (false, true) => "changes",
            (false, false) => "none",
        }
    }
}
