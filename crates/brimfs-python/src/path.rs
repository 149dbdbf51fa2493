//! Path arguments: `str`, `bytes` and `os.PathLike`, in and out.
//!
//! A `str` is UTF-8 with surrogate escapes, as the file system encoding is on
//! POSIX systems, whatever the locale says. Who gives `bytes` gets `bytes`.
//! Paths are passed on as they are: what is valid is the core's to say.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::raw::objects::{decode, encode, fspath};

/// Whether a call speaks `str` or `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Str,
    Bytes,
}

impl Style {
    /// A path or name as the caller wants to see it.
    pub(crate) fn object<'py>(self, py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Style::Bytes => Ok(PyBytes::new(py, path).into_any()),
            Style::Str => decode(py, path),
        }
    }
}

/// What holds the bytes of a path.
enum Encoded<'py> {
    /// The `str` itself caches its UTF-8 form.
    Text(Bound<'py, PyString>),
    Bytes(Bound<'py, PyBytes>),
}

/// A path argument.
pub(crate) struct PathArg<'py> {
    object: Bound<'py, PyAny>,
    encoded: Encoded<'py>,
    pub(crate) style: Style,
}

impl<'py> PathArg<'py> {
    /// # Errors
    /// `TypeError` if `value` is not a path, or what its `__fspath__` raises.
    pub(crate) fn new(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(string) = value.cast::<PyString>() {
            return Self::from_str(string);
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Self::from_bytes(bytes));
        }
        let method = intern!(value.py(), "__fspath__");
        if !value.get_type().hasattr(method)? {
            return Err(PyTypeError::new_err(format!(
                "path should be str, bytes or os.PathLike, not {}",
                value.get_type().fully_qualified_name()?
            )));
        }
        let path = fspath(value)?;
        match path.cast::<PyString>() {
            Ok(string) => Self::from_str(string),
            Err(_) => Ok(Self::from_bytes(path.cast::<PyBytes>()?)),
        }
    }

    fn from_bytes(bytes: &Bound<'py, PyBytes>) -> Self {
        PathArg {
            object: bytes.clone().into_any(),
            encoded: Encoded::Bytes(bytes.clone()),
            style: Style::Bytes,
        }
    }

    fn from_str(string: &Bound<'py, PyString>) -> PyResult<Self> {
        let encoded = match string.to_str() {
            Ok(_) => Encoded::Text(string.clone()),
            Err(_) => Encoded::Bytes(encode(string)?),
        };
        Ok(PathArg {
            object: string.clone().into_any(),
            encoded,
            style: Style::Str,
        })
    }

    /// The path as the core takes it.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.encoded {
            Encoded::Text(string) => string.to_str().map_or(&[], str::as_bytes),
            Encoded::Bytes(bytes) => bytes.as_bytes(),
        }
    }

    /// The path as the caller gave it, after `__fspath__`.
    pub(crate) fn object(&self) -> &Bound<'py, PyAny> {
        &self.object
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for PathArg<'py> {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        Self::new(&value)
    }
}
