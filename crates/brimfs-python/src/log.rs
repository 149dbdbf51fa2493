//! The Python class `LogEntry`: one operation of the log.

use pyo3::prelude::*;

use crate::path::Style;
use crate::record::record;

/// One operation of the log. str() of it is a line of JSON.
#[pyclass(frozen, eq, module = "brimfs")]
#[derive(Clone, PartialEq)]
pub(crate) struct LogEntry {
    core: brimfs::LogEntry,
}

impl From<brimfs::LogEntry> for LogEntry {
    fn from(core: brimfs::LogEntry) -> Self {
        LogEntry { core }
    }
}

/// A path of an entry, as `str`.
struct Named(Option<Vec<u8>>);

impl<'py> IntoPyObject<'py> for Named {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self.0 {
            Some(path) => Style::Str.object(py, &path),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

record!(LogEntry, |entry, py| {
    /// When it began, in seconds since 1970, to 4 ms.
    time: f64 = entry.core.at.as_nanos() as f64 / 1e9,
    /// What it was, such as "read", "write" or "rename".
    op: &'static str = entry.core.op,
    /// The path as the caller wrote it, or that of the handle; None for operations on everything.
    path: Named = Named(entry.core.path.clone()),
    /// The second path of an operation that has two.
    other: Named = Named(entry.core.other.clone()),
    /// Bytes of content that were read, written, viewed or copied.
    bytes: u64 = entry.core.bytes,
    /// How long it took, in seconds, waiting included.
    duration: f64 = entry.core.duration.as_secs_f64(),
    /// What went wrong, such as "NotFound"; None for success.
    error: Option<String> = entry.core.error.map(|kind| format!("{kind:?}")),
});

#[pymethods]
impl LogEntry {
    fn __str__(&self) -> String {
        self.core.to_json().trim_end().to_owned()
    }

    fn __repr__(&self) -> String {
        format!("<brimfs.LogEntry {}>", self.__str__())
    }
}
