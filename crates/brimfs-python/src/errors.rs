//! From the core's errors to Python exceptions.
//!
//! Owns the table kind → exception class. Every `OSError` carries `errno` and
//! `filename` (and `filename2` of calls with two paths). Classes that extend
//! built-in exceptions are written in Python (`brimfs._errors`), because a
//! class of the stable ABI cannot.

use brimfs::{Error, ErrorKind};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::gil;
use crate::path::{PathArg, Style};

/// Adds the caller's paths to an error of the core.
pub(crate) trait OrRaise<T> {
    /// For a call with one path.
    fn or_raise(self, path: &PathArg<'_>) -> PyResult<T>;
    /// For a call with two paths.
    fn or_raise_between(self, path: &PathArg<'_>, other: &PathArg<'_>) -> PyResult<T>;
    /// For a call without a path.
    fn or_raise_bare(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, path: &PathArg<'_>) -> PyResult<T> {
        self.map_err(|error| raise(path.object().py(), &error, Some(path), None))
    }

    fn or_raise_between(self, path: &PathArg<'_>, other: &PathArg<'_>) -> PyResult<T> {
        self.map_err(|error| raise(path.object().py(), &error, Some(path), Some(other)))
    }

    fn or_raise_bare(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error, None, None))
    }
}

/// The class of a kind, where it is not `OSError` with its mapping by errno.
fn own_class(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::QuotaExceeded => Some("QuotaExceeded"),
        ErrorKind::NodeLimit => Some("NodeLimitExceeded"),
        ErrorKind::MemoryLimit | ErrorKind::MemoryGuard | ErrorKind::OutOfMemory => {
            Some("MemoryLimitExceeded")
        }
        ErrorKind::NulInPath | ErrorKind::PathEscapes => Some("InvalidPath"),
        ErrorKind::EmptyPath => Some("EmptyPath"),
        ErrorKind::LockTimeout => Some("LockTimeout"),
        ErrorKind::Forked => Some("Forked"),
        ErrorKind::StoreInUse => Some("StoreInUse"),
        ErrorKind::ReadOnly => Some("ReadOnly"),
        ErrorKind::ExternalChange => Some("ExternalChange"),
        ErrorKind::BadHandle => Some("UnsupportedOperation"),
        ErrorKind::Conflict => Some("Conflict"),
        ErrorKind::BadArchive => Some("BadArchive"),
        ErrorKind::UnsafeArchive => Some("UnsafeArchive"),
        ErrorKind::ArchiveLimit => Some("ArchiveLimitExceeded"),
        ErrorKind::Cancelled => Some("Cancelled"),
        _ => None,
    }
}

/// The class of that name in `brimfs._errors`.
pub(crate) fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("brimfs._errors").map(Bound::unbind))?;
    Ok(module.bind(py).getattr(name)?.cast_into::<PyType>()?)
}

/// The exception for `error`, which names the paths as the caller gave them.
#[cold]
pub(crate) fn raise(
    py: Python<'_>,
    error: &Error,
    path: Option<&PathArg<'_>>,
    other: Option<&PathArg<'_>>,
) -> PyErr {
    let style = path.map_or(Style::Str, |path| path.style);
    let filename = name(py, style, error.path(), path);
    let filename2 = name(py, style, error.other_path(), other);
    match (filename, filename2) {
        (Ok(filename), Ok(filename2)) => exception(py, error, filename, filename2),
        (Err(failure), _) | (_, Err(failure)) => failure,
    }
}

/// The exception for an error that is told later than it happened, with paths as the caller writes them.
pub(crate) fn raise_as(py: Python<'_>, error: &Error, style: Style) -> PyErr {
    match name(py, style, error.path(), None) {
        Ok(filename) => exception(py, error, filename, None),
        Err(failure) => failure,
    }
}

/// The exception for an error of a call on a handle, which has the name it was opened with.
#[cold]
pub(crate) fn raise_named(py: Python<'_>, error: &Error, filename: &Py<PyAny>) -> PyErr {
    if error.kind() == ErrorKind::Closed {
        return PyValueError::new_err("I/O operation on closed file");
    }
    exception(py, error, Some(filename.bind(py).clone()), None)
}

fn exception<'py>(
    py: Python<'py>,
    error: &Error,
    filename: Option<Bound<'py, PyAny>>,
    filename2: Option<Bound<'py, PyAny>>,
) -> PyErr {
    match error.kind() {
        ErrorKind::Interrupted => gil::take_raised(),
        ErrorKind::Closed => PyValueError::new_err("I/O operation on closed filesystem"),
        _ => os_error(py, error, filename, filename2).unwrap_or_else(|failure| failure),
    }
}

fn os_error<'py>(
    py: Python<'py>,
    error: &Error,
    filename: Option<Bound<'py, PyAny>>,
    filename2: Option<Bound<'py, PyAny>>,
) -> PyResult<PyErr> {
    let class = match own_class(error.kind()) {
        Some(name) => class(py, name)?,
        None => py.get_type::<PyOSError>(),
    };
    let args = (
        error.errno(),
        capitalised(error.reason()),
        filename,
        py.None(),
        filename2,
    );
    let exception = class.call1(args)?;
    if let Some(limit) = error.limit() {
        exception.setattr(intern!(py, "requested"), limit.requested)?;
        exception.setattr(intern!(py, "used"), limit.used)?;
        exception.setattr(intern!(py, "limit"), limit.limit)?;
        exception.setattr(intern!(py, "available"), limit.available())?;
    }
    Ok(PyErr::from_value(exception))
}

/// The exception for an error of a call on a whole filesystem: it has the path that it is about, or that of the store, if any.
#[cold]
pub(crate) fn raise_stored(py: Python<'_>, error: &Error, store: Option<&Py<PyAny>>) -> PyErr {
    let path = error
        .path()
        .and_then(|path| Style::Str.object(py, path).ok());
    let store = store.map(|store| store.bind(py).clone());
    exception(py, error, path.or(store), None)
}

/// An `OSError` for an argument that only the Python side knows, such as a negative offset.
#[cold]
pub(crate) fn invalid(py: Python<'_>, text: &str, filename: Option<&Py<PyAny>>) -> PyErr {
    let filename = filename.map(|name| name.clone_ref(py));
    PyOSError::new_err((
        ErrorKind::InvalidArgument.errno(),
        text.to_owned(),
        filename,
    ))
}

/// The caller's own object if it is the path that the error names.
fn name<'py>(
    py: Python<'py>,
    style: Style,
    named: Option<&[u8]>,
    given: Option<&PathArg<'_>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match (named, given) {
        (Some(named), Some(given)) if given.bytes() != named => style.object(py, named).map(Some),
        (_, Some(given)) => Ok(Some(given.object().clone().unbind().into_bound(py))),
        (Some(named), None) => style.object(py, named).map(Some),
        (None, None) => Ok(None),
    }
}

/// As the messages of the operating system are written.
fn capitalised(mut text: String) -> String {
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
