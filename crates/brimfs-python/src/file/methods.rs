//! The methods of `File` that need not be the fastest.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::hot::{open, size_argument};
use super::{File, unsupported};
use crate::buffer::View;
use crate::errors;

/// What `peek` shows at most, in bytes: the buffer of the built-in files.
const PEEK_MAX: usize = 8 * 1024;

#[pymethods]
impl File {
    /// The path that the file was opened with.
    #[getter]
    fn name(&self, py: Python<'_>) -> Py<PyAny> {
        self.name.clone_ref(py)
    }

    /// The mode, as the built-in files write it: 'rb', 'rb+', 'wb', 'xb', 'ab', ...
    #[getter]
    fn mode(&self) -> &'static str {
        self.mode
    }

    /// Whether the handle is closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.gate.enter(py)?.state().core.is_none())
    }

    /// Whether the handle can read.
    fn readable(&self, py: Python<'_>) -> PyResult<bool> {
        self.session(py).map(|_| self.access.read)
    }

    /// Whether the handle can write.
    fn writable(&self, py: Python<'_>) -> PyResult<bool> {
        self.session(py).map(|_| self.access.write)
    }

    /// Whether the position can be set: always.
    fn seekable(&self, py: Python<'_>) -> PyResult<bool> {
        self.session(py).map(|_| true)
    }

    /// Whether this is a terminal: never.
    fn isatty(&self, py: Python<'_>) -> PyResult<bool> {
        self.session(py).map(|_| false)
    }

    /// Raises io.UnsupportedOperation: the operating system knows no number for this file.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.session(py)?;
        Err(unsupported(py, "fileno"))
    }

    /// Raises io.UnsupportedOperation: there is no raw file below this one.
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        self.session(py)?;
        Err(unsupported(py, "detach"))
    }

    /// Does nothing: what was written is in the filesystem already. See sync.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.session(py).map(|_| ())
    }

    /// Make everything durable that was done in the filesystem before the call, not in this file only, as
    /// FileSystem.sync does. Without a store this does nothing. Errors are OSErrors.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        let mut session = self.session(py)?;
        let done = session.detached(py, |state| match &state.core {
            Some(core) => core.sync(),
            None => Ok(()),
        });
        done.map_err(|error| errors::raise_named(py, &error, &self.name))
    }

    /// Read up to size bytes; all that is left if size is negative or None.
    #[pyo3(signature = (size=None, /), text_signature = "($self, size=-1, /)")]
    fn read1(&self, py: Python<'_>, size: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        self.read(py, size_argument(size)?)
    }

    /// Read all that is left.
    fn readall(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.read(py, usize::MAX)
    }

    /// The same as readinto.
    #[pyo3(signature = (buffer, /))]
    fn readinto1(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.readinto(py, buffer)
    }

    /// Return up to 8 KiB from the position on without advancing it; size is ignored, as by
    /// the built-in files, beyond asking for fewer.
    #[pyo3(signature = (size=0, /))]
    fn peek(&self, py: Python<'_>, size: isize) -> PyResult<Py<PyAny>> {
        let size = usize::try_from(size).ok().filter(|size| *size > 0);
        let mut session = self.reading(py)?;
        let size = size.unwrap_or(PEEK_MAX).min(PEEK_MAX);
        self.read_here(py, &mut session, size)
            .map(|(bytes, _)| bytes)
    }

    /// Read a line, with its b'\n' if it has one, or at most size bytes of it.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(
        &self,
        py: Python<'py>,
        size: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.line(py, size_argument(size)?)
    }

    /// Read lines into a list, no more once they have hint bytes together (None, 0 and
    /// negative: all).
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(
        &self,
        py: Python<'py>,
        hint: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        match size_argument(hint)? {
            0 => self.lines(py, usize::MAX),
            hint => self.lines(py, hint),
        }
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().session(slf.py())?;
        Ok(slf.clone())
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.line(py, usize::MAX)?;
        Ok((!line.as_bytes().is_empty()).then_some(line))
    }

    /// Write each of the bytes-like objects, without anything between them.
    #[pyo3(signature = (lines, /))]
    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        self.writing(py)?;
        for line in lines.try_iter()? {
            self.write(py, &line?)?;
        }
        Ok(())
    }

    /// Set the file's length to size, by default the position, and return it.
    ///
    /// Longer: the gap reads as zeros and costs nothing. The position stays.
    #[pyo3(signature = (size=None, /))]
    fn truncate(&self, py: Python<'_>, size: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
        let mut session = self.writing(py)?;
        let size = match size {
            None => session.state().position,
            Some(size) => self.length(py, size)?,
        };
        let done = session.detached(py, |state| match &state.core {
            Some(core) => core.set_len(size),
            None => Ok(()),
        });
        done.map_err(|error| errors::raise_named(py, &error, &self.name))?;
        Ok(size)
    }

    /// A View of the content as it is now, without a copy; see FileSystem.view.
    fn view(&self, py: Python<'_>) -> PyResult<View> {
        let mut session = self.reading(py)?;
        let len = open(session.state())?.len();
        self.decline(py, usize::try_from(len).unwrap_or(usize::MAX))?;
        let view = session.detached(py, |state| state.core.as_ref().map(brimfs::File::view));
        let view = view.ok_or_else(|| PyValueError::new_err("I/O operation on closed file"))?;
        view.map(View::new)
            .map_err(|error| errors::raise_named(py, &error, &self.name))
    }

    /// A read-only memoryview of the content as it is now, without a copy.
    fn getbuffer<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let view = Bound::new(py, self.view(py)?)?;
        View::memory(&view)
    }

    /// Called by a text file over this one that nobody closed.
    fn _dealloc_warn(&self, py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.gate.enter(py)?.state().core.is_some() {
            self.warn_unclosed(py, Some(source))?;
        }
        Ok(())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.describe(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot pickle a brimfs.File: it holds a lock of its process",
        ))
    }
}

impl File {
    /// A length argument.
    fn length(&self, py: Python<'_>, size: &Bound<'_, PyAny>) -> PyResult<u64> {
        let size = self.offset(py, size)?;
        u64::try_from(size)
            .map_err(|_| errors::invalid(py, "The size should not be negative", Some(&self.name)))
    }
}
