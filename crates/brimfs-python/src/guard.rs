//! Turns the memory guard's warnings into Python warnings.
//!
//! The guard warns on a thread that may hold file locks and no interpreter
//! lock, so the warning is only noted there; the interpreter is asked to issue
//! it when it next can.

use std::ffi::CString;

use brimfs::GuardWarning;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;

use crate::gil;
use crate::sizes::human;

static NOTED: Mutex<Option<GuardWarning>> = Mutex::new(None);

/// Called by the core, about once a second at most.
pub(crate) fn warn_soon(warning: GuardWarning) {
    *NOTED.lock() = Some(warning);
    gil::run_soon(warn_now);
}

fn warn_now(py: Python<'_>) {
    let Some(warning) = NOTED.lock().take() else {
        return;
    };
    let text = format!(
        "the machine is short of memory: a write of {} finds {} available \
         (memory_guard=\"refuse\" makes that an error, \"off\" silences it)",
        human(warning.requested),
        human(warning.available)
    );
    let category = py.get_type::<PyRuntimeWarning>();
    let warned = CString::new(text)
        .map_err(PyErr::from)
        .and_then(|text| PyErr::warn(py, &category, &text, 1));
    if let Err(raised) = warned {
        // A filter made an exception of it, and there is no caller to raise it in.
        raised.write_unraisable(py, None);
    }
}
