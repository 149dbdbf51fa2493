//! The Python class `File`: an open handle, complete as a binary file object.
//!
//! Owns the position and the exclusion between threads that share a handle.
//! The bytes are the core's. One operation runs on a handle at a time: a short
//! one with the interpreter lock held throughout, a long one without it, and
//! who comes meanwhile waits without the interpreter lock.

pub(crate) mod hot;
mod lines;
mod methods;

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::sync::Arc;

use pyo3::exceptions::{PyResourceWarning, PyTypeError};
use pyo3::prelude::*;

use crate::raw::gate::{Gate, Session};
use crate::raw::objects::{LastInt, writable};
use crate::{errors, gil};

/// What one operation after the other changes.
pub(crate) struct State {
    /// `None` once closed.
    pub(crate) core: Option<brimfs::File>,
    /// A filesystem with a store stays open as long as the file does.
    keeper: Option<Arc<brimfs::FileSystem>>,
    pub(crate) position: u64,
    /// The count that the last `readinto` or `write` answered.
    count: LastInt,
}

impl Session<'_, State> {
    /// Reads at `position`, without the interpreter lock if it takes long.
    fn read_at(
        &mut self,
        py: Python<'_>,
        position: u64,
        room: &mut [MaybeUninit<u8>],
    ) -> Result<usize, brimfs::Error> {
        let short = room.len() <= gil::HELD_BYTES_MAX;
        let mut read = |state: &mut State| match &state.core {
            Some(core) => core.read_at(position, writable(room)),
            None => Ok(0),
        };
        if short {
            read(self.state())
        } else {
            self.detached(py, read)
        }
    }
}

/// Which directions a handle has.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
}

/// A file opened in binary mode; `FileSystem.open` makes it.
///
/// It is a complete binary file object as the `io` module defines them (and
/// `isinstance(file, io.BufferedIOBase)` holds), without a buffer of its own: what is written is
/// in the filesystem when `write` returns. Positions and sizes are in bytes. It holds the file's
/// lock until it is closed. It can be shared between threads; each call is one step.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct File {
    pub(crate) gate: Gate<State>,
    pub(crate) access: Access,
    /// The path as it was given, after `__fspath__`.
    pub(crate) name: Py<PyAny>,
    pub(crate) mode: &'static str,
    /// The short forms are left out: they may be tried in vain, which a log would show, and wait for no disk.
    takes_long_way: bool,
}

impl File {
    pub(crate) fn new(
        core: brimfs::File,
        keeper: Option<Arc<brimfs::FileSystem>>,
        access: Access,
        mode: &'static str,
        name: Py<PyAny>,
        position: u64,
        takes_long_way: bool,
    ) -> Self {
        File {
            gate: Gate::new(State {
                core: Some(core),
                keeper,
                position,
                count: LastInt::default(),
            }),
            access,
            name,
            mode,
            takes_long_way,
        }
    }

    /// The right to use the handle, which is open.
    pub(crate) fn session(&self, py: Python<'_>) -> PyResult<Session<'_, State>> {
        let mut session = self.gate.enter(py)?;
        hot::open(session.state())?;
        Ok(session)
    }

    /// As `session`, for reading.
    fn reading(&self, py: Python<'_>) -> PyResult<Session<'_, State>> {
        let session = self.session(py)?;
        if self.access.read {
            Ok(session)
        } else {
            Err(unsupported(py, "not readable"))
        }
    }

    /// As `session`, for writing.
    fn writing(&self, py: Python<'_>) -> PyResult<Session<'_, State>> {
        let session = self.session(py)?;
        if self.access.write {
            Ok(session)
        } else {
            Err(unsupported(py, "not writable"))
        }
    }

    /// Gives the handle and its file lock back. Closing twice is fine.
    pub(crate) fn close_now(&self, py: Python<'_>) -> PyResult<()> {
        let mut session = self.gate.enter(py)?;
        let state = session.state();
        let (core, keeper) = (state.core.take(), state.keeper.take());
        drop(session);
        if let Some(core) = core {
            // Content of an unlinked file goes with its last handle, which can take its time.
            if core.len() > gil::HELD_BYTES_MAX as u64 {
                gil::detached(py, || drop(core));
            }
        }
        let let_go = keeper.map_or(Ok(()), |keeper| let_go(py, keeper));
        let_go.map_err(|error| errors::raise_named(py, &error, &self.name))
    }

    fn describe(&self, py: Python<'_>) -> String {
        let name = self
            .name
            .bind(py)
            .repr()
            .map_or_else(|_| "?".to_owned(), |name| name.to_string());
        format!("<brimfs.File name={name} mode='{}'>", self.mode)
    }

    /// Warns about a handle that nobody closed, as the built-in files do.
    pub(crate) fn warn_unclosed(
        &self,
        py: Python<'_>,
        source: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let text = CString::new(format!("unclosed file {}", self.describe(py)))?;
        let category = py.get_type::<PyResourceWarning>();
        match source {
            None => PyErr::warn(py, &category, &text, 1),
            Some(source) => {
                let warn = py.import("warnings")?.getattr("warn")?;
                warn.call1((text.to_string_lossy(), category, 1, source))
                    .map(|_| ())
            }
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let state = self.gate.get_mut();
        let keeper = state.keeper.take();
        let Some(core) = state.core.take() else {
            return;
        };
        if !gil::is_exiting() {
            Python::try_attach(|py| {
                gil::enter(py);
                drop(core);
                // Whatever is being raised goes on being raised.
                let raised = PyErr::take(py);
                if let Err(error) = self.warn_unclosed(py, None) {
                    error.write_unraisable(py, None);
                }
                if let Some(Err(error)) = keeper.map(|keeper| let_go(py, keeper)) {
                    errors::raise_named(py, &error, &self.name).write_unraisable(py, None);
                }
                if let Some(raised) = raised {
                    raised.restore(py);
                }
            });
        }
    }
}

/// Whether nobody but a file has its filesystem any more.
fn is_last(keeper: &Arc<brimfs::FileSystem>) -> bool {
    Arc::strong_count(keeper) == 1
}

/// Closes a filesystem that nobody has any more.
fn let_go(py: Python<'_>, keeper: Arc<brimfs::FileSystem>) -> Result<(), brimfs::Error> {
    match is_last(&keeper) {
        true => gil::detached(py, || keeper.close()),
        false => Ok(()),
    }
}

/// The error of an operation in the wrong direction.
pub(crate) fn unsupported(py: Python<'_>, what: &'static str) -> PyErr {
    match crate::errors::class(py, "UnsupportedOperation") {
        Ok(class) => PyErr::from_type(class, (what,)),
        Err(failure) => failure,
    }
}

/// The error of an argument of the wrong type.
pub(crate) fn wrong_type(value: &Bound<'_, PyAny>, wanted: &str) -> PyErr {
    match value.get_type().name() {
        Ok(name) => PyTypeError::new_err(format!("{wanted}, not '{name}'")),
        Err(failure) => failure,
    }
}
