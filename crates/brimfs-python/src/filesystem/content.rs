//! Whole files: text, appending, cutting, and the long forms of `read_bytes` and `write_bytes`.

use brimfs::ErrorKind;
use brimfs::face::{Fault, Node, Source, Wait};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::FileSystem;
use super::hot::{Looked, look};
use super::open::Mode;
use crate::buffer::{Filled, Input, adopt, new_bytes};
use crate::errors::{self, OrRaise};
use crate::gil::{self, HELD_BYTES_MAX};
use crate::path::PathArg;
use crate::raw::objects::{Arg, writable};

/// So often the length of a file may turn out to be another one while it is read.
const LENGTHS: usize = 4;

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

impl FileSystem {
    /// The content of a file.
    pub(super) fn read<'py>(
        &self,
        py: Python<'py>,
        path: &PathArg<'_>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = path.bytes();
        let measure = |content: &Option<Bound<'py, PyAny>>| {
            let len = content.as_ref().and_then(|content| content.len().ok());
            len.unwrap_or(0) as u64
        };
        self.core
            .log_call("read", bytes, measure, || self.read_whole(py, path))
            .map_err(|fault| fault.at("read", bytes))
            .or_raise(path)?
            .ok_or_else(no_memory)
    }

    /// The content of a file, `None` without memory for it.
    fn read_whole<'py>(
        &self,
        py: Python<'py>,
        path: &PathArg<'_>,
    ) -> Result<Option<Bound<'py, PyAny>>, Fault> {
        let node = self.seek(path)?;
        match self.core.look(&node, Wait::Now, |stored| look(py, stored)) {
            Ok(Looked::Object(object)) => Ok(Some(object)),
            Ok(Looked::NoMemory) => Ok(None),
            Err(fault) if fault.kind() != ErrorKind::WouldBlock => Err(fault),
            _ => self.read_long(py, path.bytes(), &node),
        }
    }

    /// Reads under a file lock that is waited for, and held while the object is made and filled,
    /// without the interpreter lock.
    fn read_long<'py>(
        &self,
        py: Python<'py>,
        path: &[u8],
        node: &Node,
    ) -> Result<Option<Bound<'py, PyAny>>, Fault> {
        let (core, wait) = (&self.core, self.core.default_wait());
        let file = gil::detached(py, || {
            core.open_node(node, path, &Mode::READ.options(), wait)
        })?;
        // Under the shared lock of the handle another one is free.
        if let Ok(Looked::Object(object)) = core.look(node, Wait::Now, |stored| look(py, stored)) {
            return Ok(Some(object));
        }
        let content = self.read_exactly(py, node, file.len());
        gil::detached(py, || drop(file));
        content
    }

    /// Reads all of a file that had this length a moment ago. Others may change a mirrored one meanwhile.
    fn read_exactly<'py>(
        &self,
        py: Python<'py>,
        node: &Node,
        mut len: u64,
    ) -> Result<Option<Bound<'py, PyAny>>, Fault> {
        let (core, wait) = (&self.core, self.core.default_wait());
        for _ in 0..LENGTHS {
            let Ok(room) = usize::try_from(len) else {
                return Ok(None);
            };
            if gil::declines(room) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let content = new_bytes(py, room, |room| {
                let room = writable(room);
                gil::detached(py, || match core.read_node_exactly(node, room, wait)? {
                    Ok(()) => Ok(room.len()),
                    Err(other) => {
                        len = other;
                        Ok(0)
                    }
                })
            });
            match content {
                Ok(content) if len == room as u64 => return Ok(Some(content)),
                Ok(_) => {}
                Err(Filled::NoMemory) => return Ok(None),
                Err(Filled::Error(fault)) => return Err(fault),
            }
        }
        let text = "others keep changing the file while it is read";
        Err(Fault::text(ErrorKind::ExternalChange, text))
    }

    /// Makes `data` the content of a file.
    pub(super) fn write(
        &self,
        py: Python<'_>,
        path: &PathArg<'_>,
        data: Arg<'_>,
        priority: Option<u8>,
    ) -> PyResult<usize> {
        let (core, bytes, wait) = (&self.core, path.bytes(), self.core.default_wait());
        let put = |source: Source<'_>, len: usize| {
            let written = || match priority {
                Some(priority) => core.write_prioritized(bytes, source, priority, wait),
                None => core.write_with(bytes, source, wait),
            };
            gil::detached(py, || {
                core.log_call("write", bytes, |_| len as u64, written)
            })
            .map_err(|fault| fault.at("write", bytes))
            .or_raise(path)
            .map(|_| len)
        };
        if let Some(foreign) = adopt(data) {
            let len = foreign.len();
            return put(Source::Foreign(foreign), len);
        }
        let data = Input::new(&data)?;
        put(Source::Slice(data.bytes()), data.bytes().len())
    }
}

fn no_memory() -> PyErr {
    PyMemoryError::new_err("no memory for the bytes")
}
