//! Python's binary streams and callbacks, as the core's work sees them: from a thread without the interpreter
//! lock, which takes it for each call. What one of them raises is kept and ends the work.

use std::io::{self, Read, Write};

use brimfs_transfer::Progress;
use pyo3::exceptions::{PyBlockingIOError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes};

use crate::gil;
use crate::path::Style;

/// So much is asked of a stream at once, in bytes.
const PIECE: usize = 1 << 20;

/// An object with `read` or `write`.
pub(crate) struct Stream {
    object: Py<PyAny>,
    raised: Option<PyErr>,
}

impl Stream {
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> Self {
        Stream {
            object: object.clone().unbind(),
            raised: None,
        }
    }

    /// What the stream raised.
    pub(crate) fn raised(&mut self) -> Option<PyErr> {
        self.raised.take()
    }

    fn call<R>(&mut self, work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<R>) -> io::Result<R> {
        let done = gil::attached(|py| work(self.object.bind(py)));
        done.map_err(|error| {
            self.raised.get_or_insert(error);
            io::Error::other("the stream raised an exception")
        })
    }
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.call(|object| {
            let data = object.call_method1(intern!(object.py(), "read"), (to.len().min(PIECE),))?;
            if data.is_none() {
                return Err(PyBlockingIOError::new_err(
                    "the stream has nothing to read yet",
                ));
            }
            let copy;
            let bytes = match data.cast::<PyBytes>() {
                Ok(bytes) => bytes,
                Err(_) => {
                    copy = object.py().get_type::<PyBytes>().call1((data,))?;
                    copy.cast::<PyBytes>()?
                }
            };
            let bytes = bytes.as_bytes();
            let Some(to) = to.get_mut(..bytes.len()) else {
                return Err(PyValueError::new_err(
                    "the stream gave more than it was asked for",
                ));
            };
            to.copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.call(|object| {
            let py = object.py();
            let written = object.call_method1(intern!(py, "write"), (PyBytes::new(py, from),))?;
            if written.is_none() {
                return Ok(from.len());
            }
            match written.extract::<usize>()? {
                0 => Err(PyBlockingIOError::new_err("the stream took nothing")),
                count => Ok(count.min(from.len())),
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|object| {
            let name = intern!(object.py(), "flush");
            if object.hasattr(name)? {
                object.call_method0(name)?;
            }
            Ok(())
        })
    }
}

/// A callback; without one everything goes on.
pub(crate) struct Callback {
    object: Option<Py<PyAny>>,
    raised: Option<PyErr>,
    style: Style,
}

impl Callback {
    pub(crate) fn new(object: Option<&Bound<'_, PyAny>>, style: Style) -> Self {
        Callback {
            object: object.map(|object| object.clone().unbind()),
            raised: None,
            style,
        }
    }

    /// What the callback raised.
    pub(crate) fn raised(&mut self) -> Option<PyErr> {
        self.raised.take()
    }

    /// Tells how far it is: false if the callback says so or raises.
    pub(crate) fn report(&mut self, progress: &Progress<'_>) -> bool {
        let Progress {
            entries,
            bytes,
            total,
            name,
        } = *progress;
        let style = self.style;
        self.call(|object| {
            let name = style.object(object.py(), name)?;
            let answer = object.call1((entries, bytes, total, name))?;
            Ok(!is_false(&answer))
        })
    }

    /// Whether a path is wanted.
    pub(crate) fn wants(&mut self, path: &[u8], is_directory: bool) -> bool {
        let style = self.style;
        self.raised.is_none()
            && self.call(|object| {
                let path = style.object(object.py(), path)?;
                object.call1((path, is_directory))?.is_truthy()
            })
    }

    fn call(&mut self, work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<bool>) -> bool {
        let Some(object) = &self.object else {
            return true;
        };
        match gil::attached(|py| work(object.bind(py))) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                self.raised.get_or_insert(error);
                false
            }
        }
    }

    /// Whether nothing went wrong in a callback whose answer does not end the work.
    pub(crate) fn is_calm(&self) -> bool {
        self.raised.is_none()
    }
}

fn is_false(answer: &Bound<'_, PyAny>) -> bool {
    answer
        .cast::<PyBool>()
        .is_ok_and(|answer| !answer.is_true())
}
