//! The Python classes `Watch` and `Event`: what happens to files, to be read.

use std::process;
use std::time::Duration;

use brimfs::face::Fault;
use brimfs::{ErrorKind, EventKind, WatchOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::at_once::_LockEvents;
use crate::errors::{self, OrRaise};
use crate::filesystem::FileSystem;
use crate::gil;
use crate::path::{PathArg, Style};
use crate::record::record;
use crate::sizes;

/// Something that happened; made by a Watch.
#[pyclass(frozen, module = "brimfs")]
pub(crate) struct Event {
    core: brimfs::Event,
    style: Style,
}

/// A path, as the caller of `watch` writes them.
struct Named(Option<Vec<u8>>, Style);

impl<'py> IntoPyObject<'py> for Named {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self.0 {
            Some(path) => self.1.object(py, &path),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

impl Event {
    fn count(&self) -> u64 {
        match self.core.kind {
            EventKind::Dropped(count) => count,
            _ => 0,
        }
    }
}

record!(Event, |event, py| {
    /// "created", "modified", "moved", "exchanged", "removed", "spilled" or "dropped".
    kind: &'static str = match event.core.kind {
        EventKind::Created => "created",
        EventKind::Modified => "modified",
        EventKind::Moved => "moved",
        EventKind::Exchanged => "exchanged",
        EventKind::Removed => "removed",
        EventKind::Spilled => "spilled",
        EventKind::Dropped(_) => "dropped",
        _ => "unknown",
    },
    /// Where, as of then; None for "dropped".
    path: Named = Named((event.count() == 0).then(|| event.core.path.clone()), event.style),
    /// The other path of "moved" and "exchanged".
    source: Named = Named(event.core.from.clone(), event.style),
    /// Whether it is, or was, a directory.
    is_directory: bool = event.core.file_type.is_dir(),
    /// How many events are missing here, for "dropped".
    dropped: u64 = event.count(),
});

#[pymethods]
impl Event {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let kind = self.kind(py);
        let text = |path: Named| Ok::<_, PyErr>(path.into_pyobject(py)?.repr()?.to_string());
        Ok(match (self.count(), &self.core.from) {
            (0, None) => format!("<brimfs.Event {kind} {}>", text(self.path(py))?),
            (0, Some(_)) => {
                let (from, to) = (text(self.source(py))?, text(self.path(py))?);
                format!("<brimfs.Event {kind} {from} -> {to}>")
            }
            (count, _) => format!("<brimfs.Event {kind} {count}>"),
        })
    }
}

/// What happens below a path, to be read; FileSystem.watch makes it. An iterator that waits for each Event and stops when
/// there will be none any more: the watch or the filesystem was closed, or the watched directory removed.
#[pyclass(frozen, weakref, module = "brimfs")]
pub(crate) struct Watch {
    core: brimfs::Watch,
    style: Style,
    path: Py<PyAny>,
    /// The process in which things happen.
    process: u32,
}

impl Watch {
    fn next_within(&self, py: Python<'_>, limit: Option<Duration>) -> PyResult<Option<Event>> {
        if process::id() != self.process {
            let fault = Fault::from(ErrorKind::Forked);
            return Err(fault.during("wait for an event")).or_raise_bare(py);
        }
        let next = match self.core.try_next() {
            Some(event) => Ok(Some(event)),
            None => gil::detached(py, || self.core.next_within(limit)),
        };
        match next {
            Ok(event) => Ok(event.map(|core| Event {
                core,
                style: self.style,
            })),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(gil::take_raised()),
            Err(error) => Err(errors::raise_named(py, &error, &self.path)),
        }
    }
}

#[pymethods]
impl Watch {
    /// Wait for the next Event and return it. None if there was none in time, or there will be none any more.
    ///
    /// timeout: seconds to wait at most; 0 looks only, None waits without limit. Other threads run meanwhile. Forked in a
    /// forked child, where nothing of this happens.
    #[pyo3(signature = (timeout=None))]
    fn read(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Event>> {
        let limit = match timeout {
            Some(timeout) => sizes::timeout(timeout, "timeout")?,
            None => None,
        };
        self.next_within(py, limit)
    }

    /// Stop watching, and forget what was not read. Closing twice is fine.
    fn close(&self, py: Python<'_>) {
        gil::detached(py, || self.core.close());
    }

    /// Whether nothing new will come; what came before can still be read.
    #[getter]
    fn closed(&self) -> bool {
        self.core.has_ended()
    }

    /// Has `events` get the number once there is something to be read or nothing will come.
    fn _call(&self, events: &Bound<'_, _LockEvents>, number: u64) {
        self.core.call_at_next(events.get().teller(number));
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Event>> {
        self.next_within(py, None)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        self.close(py);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let state = if self.core.has_ended() { "closed " } else { "" };
        let path = self.path.bind(py).repr()?;
        Ok(format!("<{state}brimfs.Watch {path}>"))
    }
}

#[pymethods]
impl FileSystem {
    /// Watch a directory, or one name: what is created, modified, moved, removed and spilled there. Return a Watch.
    ///
    /// recursive: also what is below the directories in it, at any depth.
    /// capacity: how many events wait to be read at most; what comes then is counted, and told as one "dropped".
    ///
    ///     with fs.watch("/inbox", recursive=True) as watch:
    ///         for event in watch:
    ///             print(event.kind, event.path)
    ///
    /// Nobody who writes waits for who reads. Events come in the order of the changes; several changes of a file's content
    /// that nobody has read are one. A directory that appears with content has an event for each name in it; one that is
    /// moved or removed with its content has one. A change of permissions, times or attributes has none. A directory is
    /// followed when it moves, and ends the watch when it is removed; a watched name stays, whatever has it.
    ///
    /// Takes O(names watched) time, and 96 bytes of memory beside its length for each, within the memory limit. ReadOnly (EROFS) for a
    /// snapshot, which never changes; errors of looking the path up.
    #[pyo3(signature = (path=None, *, recursive=false, capacity=4096))]
    fn watch(
        &self,
        py: Python<'_>,
        path: Option<PathArg<'_>>,
        recursive: bool,
        capacity: isize,
    ) -> PyResult<Watch> {
        let Ok(capacity @ 1..) = usize::try_from(capacity) else {
            let text = format!("capacity should be 1 or more events, not {capacity}");
            return Err(PyValueError::new_err(text));
        };
        let options = WatchOptions::new().recursive(recursive).capacity(capacity);
        let (name, style) = match &path {
            Some(path) => (path.bytes(), path.style),
            None => (&b"/"[..], Style::Str),
        };
        let core = &self.core;
        let core = gil::detached(py, || options.watch(core, name))
            .map_err(|error| errors::raise(py, &error, path.as_ref(), None))?;
        Ok(Watch {
            core,
            style,
            path: style.object(py, name)?.unbind(),
            process: process::id(),
        })
    }
}
