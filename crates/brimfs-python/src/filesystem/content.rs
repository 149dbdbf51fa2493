//! Whole files, beside `read_bytes` and `write_bytes`.

use brimfs::face::Wait;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::FileSystem;
use crate::buffer::Input;
use crate::errors::{self, OrRaise};
use crate::gil::{self, HELD_BYTES_MAX};
use crate::path::PathArg;

#[pymethods]
impl FileSystem {
    /// Write the bytes-like data at the end of a file, which is created if it is missing.
    /// Return its length.
    fn append_bytes(
        &self,
        py: Python<'_>,
        path: PathArg<'_>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let data = Input::new(data)?;
        let (core, name, content) = (&self.core, path.bytes(), data.bytes());
        let wait = core.default_wait();
        gil::enter(py);
        let appended = || {
            let at_once = (content.len() <= HELD_BYTES_MAX)
                .then(|| core.append_with(name, content, Wait::Now).ok())
                .flatten();
            match at_once {
                Some(end) => Ok(end),
                None => gil::detached(py, || core.append_with(name, content, wait)),
            }
        };
        core.log_call("append", name, |_| content.len() as u64, appended)
            .map_err(|fault| fault.at("append", name))
            .or_raise(&path)?;
        Ok(content.len())
    }

    /// Return the content of a file as text, with newlines translated as by the built-in open.
    ///
    /// encoding: UTF-8 if not given.
    #[pyo3(signature = (path, encoding=None, errors=None, newline=None))]
    fn read_text<'py>(
        &self,
        py: Python<'py>,
        path: PathArg<'py>,
        encoding: Option<&Bound<'py, PyString>>,
        errors: Option<&Bound<'py, PyString>>,
        newline: Option<&Bound<'py, PyString>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let content = self.read(py, &path)?;
        let decode = py.import("brimfs._text")?.getattr("decode")?;
        decode.call1((content, encoding, errors, newline))
    }

    /// Make the text the content of a file, with newlines translated as by the built-in open.
    /// Return the number of characters.
    ///
    /// encoding: UTF-8 if not given.
    #[pyo3(signature = (path, data, encoding=None, errors=None, newline=None))]
    fn write_text<'py>(
        &self,
        py: Python<'py>,
        path: PathArg<'py>,
        data: &Bound<'py, PyAny>,
        encoding: Option<&Bound<'py, PyString>>,
        errors: Option<&Bound<'py, PyString>>,
        newline: Option<&Bound<'py, PyString>>,
    ) -> PyResult<usize> {
        let encode = py.import("brimfs._text")?.getattr("encode")?;
        let content = encode.call1((data, encoding, errors, newline))?;
        self.write(
            py,
            &path,
            content.cast::<PyBytes>()?.as_any().as_borrowed(),
            None,
        )?;
        data.len()
    }

    /// Set the length of a file. What is gained reads as zeros and costs nothing.
    fn truncate(&self, py: Python<'_>, path: PathArg<'_>, size: i64) -> PyResult<()> {
        let size = u64::try_from(size).map_err(|_| {
            let name = path.object().clone().unbind();
            errors::invalid(py, "The size should not be negative", Some(&name))
        })?;
        let (core, name) = (&self.core, path.bytes());
        let wait = core.default_wait();
        let cut = || gil::detached(py, || core.truncate_with(name, size, wait));
        core.log_call("truncate", name, |()| 0, cut)
            .map_err(|fault| fault.at("truncate", name))
            .or_raise(&path)
    }
}
