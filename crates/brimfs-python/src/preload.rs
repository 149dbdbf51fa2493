//! The Python class `Preload`: files on their way into memory.

use std::process;
use std::time::{Duration, Instant};

use brimfs::ErrorKind;
use brimfs::face::Fault;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::gil;
use crate::path::Style;
use crate::reports::PreloadReport;
use crate::sizes;

/// Time between two looks at signals of a thread that waits.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Files on their way into memory, as FileSystem.preload began it. Dropping it lets it go on.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct Preload {
    core: brimfs::Preload,
    /// How the caller writes paths.
    style: Style,
    /// The process that it goes on in.
    process: u32,
}

impl Preload {
    pub(crate) fn new(core: brimfs::Preload, style: Style) -> Self {
        Preload {
            core,
            style,
            process: process::id(),
        }
    }

    /// What a forked child inherits does not end any more.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.core.is_done() || process::id() == self.process {
            return Ok(());
        }
        let fault = Fault::from(ErrorKind::Forked);
        Err(fault.during("wait for a preload")).or_raise_bare(py)
    }

    /// Whether it ended; `None` if a signal handler raised.
    fn wait_until(&self, until: Option<Instant>) -> Option<bool> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let pause = left.map_or(SIGNALS_EVERY, |left| left.min(SIGNALS_EVERY));
            if self.core.wait(Some(pause)) {
                return Some(true);
            }
            if gil::signal_arrived() {
                return None;
            }
            if left == Some(Duration::ZERO) {
                return Some(false);
            }
        }
    }
}

#[pymethods]
impl Preload {
    /// A number that sets the preloads of this process apart.
    #[getter]
    fn id(&self) -> u64 {
        self.core.id()
    }

    /// Whether it has ended, one way or another.
    fn done(&self) -> bool {
        self.core.is_done()
    }

    /// Wait until it has ended, and return whether it has.
    ///
    /// timeout: seconds to wait at most; None waits until the end. In a forked child a preload of the
    /// parent is Forked, because it does not go on there.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let limit = match timeout {
            Some(timeout) => sizes::timeout(timeout, "timeout")?,
            None => None,
        };
        self.check(py)?;
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        gil::detached(py, || self.wait_until(until)).ok_or_else(gil::take_raised)
    }

    /// What it did, as a PreloadReport. RuntimeError while it is under way.
    fn result(&self, py: Python<'_>) -> PyResult<PreloadReport> {
        self.check(py)?;
        match self.core.result() {
            Some(report) => PreloadReport::new(py, report, self.style),
            None => Err(PyRuntimeError::new_err(format!(
                "preload {} is still under way: wait() for it first",
                self.core.id()
            ))),
        }
    }

    /// End it after what is being read just now. What came in stays.
    fn cancel(&self) {
        self.core.cancel();
    }

    fn __repr__(&self) -> String {
        let state = if self.core.is_done() {
            "done"
        } else {
            "under way"
        };
        format!("<brimfs.Preload {}, {state}>", self.core.id())
    }
}
