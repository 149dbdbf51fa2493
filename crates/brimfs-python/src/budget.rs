//! The Python class `Budget`: a memory limit for several filesystems.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::gil;
use crate::sizes;

/// A memory limit that several filesystems share.
///
/// limit is in bytes or text such as "512MiB". It counts what the filesystems made with
/// `FileSystem(budget=...)` hold resident: content, nodes, names and tables.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct Budget {
    pub(crate) core: brimfs::Budget,
}

#[pymethods]
impl Budget {
    #[new]
    fn new(limit: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Budget {
            core: brimfs::Budget::new(sizes::size(limit, "limit")?),
        })
    }

    /// Resident bytes charged now.
    #[getter]
    fn used(&self) -> u64 {
        self.core.used()
    }

    /// The most bytes that were ever charged.
    #[getter]
    fn peak(&self) -> u64 {
        self.core.peak()
    }

    /// The limit in bytes. Setting it takes bytes or text such as "512MiB".
    ///
    /// Content that is too much for a lower limit is spilled first, which takes as long as the disk does.
    /// MemoryLimitExceeded, if more is in use that cannot be spilled, leaves the limit as it is.
    #[getter]
    fn limit(&self) -> u64 {
        self.core.limit()
    }

    #[setter]
    fn set_limit(&self, py: Python<'_>, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = sizes::size(limit, "limit")?;
        let core = &self.core;
        gil::detached(py, || core.set_limit(limit)).or_raise_bare(py)
    }

    fn __repr__(&self) -> String {
        format!(
            "<brimfs.Budget {} of {}>",
            sizes::human(self.core.used()),
            sizes::human(self.core.limit())
        )
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot pickle a brimfs.Budget: it belongs to its process",
        ))
    }
}
