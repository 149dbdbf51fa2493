//! Snapshots, branches, and what became of a filesystem since.

use brimfs::{Error, ErrorKind};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::FileSystem;
use crate::errors;
use crate::gil;
use crate::path::Style;
use crate::record::record;

/// What became of a filesystem since a snapshot: full paths as str, sorted. It is false if that is nothing.
#[pyclass(frozen, module = "brimfs")]
pub(crate) struct Diff {
    added: Py<PyTuple>,
    changed: Py<PyTuple>,
    removed: Py<PyTuple>,
    renamed: Py<PyTuple>,
}

impl Diff {
    fn new(py: Python<'_>, core: &brimfs::Diff) -> PyResult<Self> {
        let text = |path: &Vec<u8>| Style::Str.object(py, path);
        let tuple = |paths: &[Vec<u8>]| {
            let paths = paths.iter().map(text).collect::<PyResult<Vec<_>>>()?;
            Ok::<_, PyErr>(PyTuple::new(py, paths)?.unbind())
        };
        let pair = |(from, to): &(Vec<u8>, Vec<u8>)| Ok((text(from)?, text(to)?));
        let pairs = core
            .renamed
            .iter()
            .map(pair)
            .collect::<PyResult<Vec<_>>>()?;
        Ok(Diff {
            added: tuple(&core.added)?,
            changed: tuple(&core.changed)?,
            removed: tuple(&core.removed)?,
            renamed: PyTuple::new(py, pairs)?.unbind(),
        })
    }
}

record!(Diff, |diff, py| {
    /// What was not there, directories with all that is in them.
    added: Py<PyTuple> = diff.added.clone_ref(py),
    /// Other content, permissions, owner, attributes or time of modification. Of a directory the names in it do not count.
    changed: Py<PyTuple> = diff.changed.clone_ref(py),
    /// What is not there any more, directories with all that was in them.
    removed: Py<PyTuple> = diff.removed.clone_ref(py),
    /// What has another path, as pairs of the old and the new one. What moved with its directory is not among them.
    renamed: Py<PyTuple> = diff.renamed.clone_ref(py),
});

#[pymethods]
impl Diff {
    fn __bool__(&self, py: Python<'_>) -> bool {
        let lists = [&self.added, &self.changed, &self.removed, &self.renamed];
        lists.iter().any(|list| !list.bind(py).is_empty())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let count = |list: &Py<PyTuple>| list.bind(py).len();
        format!(
            "<brimfs.Diff {} added, {} changed, {} removed, {} renamed>",
            count(&self.added),
            count(&self.changed),
            count(&self.removed),
            count(&self.renamed)
        )
    }
}

/// Content of a filesystem, in bytes of its quota.
#[pyclass(frozen, eq, module = "brimfs")]
#[derive(Clone, PartialEq)]
pub(crate) struct Usage {
    core: brimfs::Usage,
}

record!(Usage, |usage, py| {
    /// What nobody else has: closing the filesystem gives it back.
    private: u64 = usage.core.private,
    /// What a snapshot or a branch has too, or whoever it was branched from.
    shared: u64 = usage.core.shared,
});

#[pymethods]
impl Usage {
    fn __repr__(&self) -> String {
        let brimfs::Usage {
            private, shared, ..
        } = self.core;
        format!("<brimfs.Usage {private} bytes private, {shared} shared>")
    }
}

#[pymethods]
impl FileSystem {
    /// Content that this filesystem has for itself, and that it shares with snapshots, branches, and what it was branched
    /// from, as a Usage. Both together are what it would take of the quota alone. Exact while nobody uses it: what is being
    /// read or viewed counts as shared. O(nodes and chunks); no content is read.
    fn usage(&self, py: Python<'_>) -> PyResult<Usage> {
        let core = gil::detached(py, || self.core.usage());
        core.map(|core| Usage { core })
            .map_err(|error| refusal(py, &error))
    }

    /// The filesystem as it is at this moment, for reading: another FileSystem, on which every change is a ReadOnly error.
    ///
    /// It shares all content, the quota and the memory limit; what it alone still keeps is given back when it is
    /// closed, or nobody has it any more. Only content of up to 128 bytes is copied, and each node takes the
    /// memory of a node. File locks are not waited for. Nobody can change anything while it is made, which takes
    /// some 0.3 microseconds for each node. It ends with the process, also that of a filesystem with a store.
    ///
    /// MemoryLimitExceeded or QuotaExceeded where it does not fit. An OSError (EOPNOTSUPP) for layout="mirror".
    fn snapshot(&self, py: Python<'_>) -> PyResult<Self> {
        let core = &self.core;
        let made = gil::detached(py, || core.snapshot());
        made.map(|core| self.twin(py, core))
            .map_err(|error| refusal(py, &error))
    }

    /// A copy of the filesystem as it is at this moment, to be changed by itself: neither side sees what is
    /// written on the other. It shares content as a snapshot does; the limits are those of this filesystem, for both
    /// together. It ends with the process. Errors as for snapshot().
    fn branch(&self, py: Python<'_>) -> PyResult<Self> {
        let core = &self.core;
        let made = gil::detached(py, || core.branch());
        made.map(|core| self.twin(py, core))
            .map_err(|error| refusal(py, &error))
    }

    /// Whether this was made by snapshot().
    #[getter]
    fn is_snapshot(&self) -> bool {
        self.core.is_snapshot()
    }

    /// What became of the filesystem since a snapshot of it was made, or of one that it was branched from, as a Diff.
    ///
    /// What was renamed is found again. A file that was written anew counts as changed, even with the bytes that it
    /// had. O(nodes); no content is read, and nobody can change anything meanwhile. ValueError for what is no such
    /// snapshot.
    fn diff(&self, py: Python<'_>, since: &Bound<'_, FileSystem>) -> PyResult<Diff> {
        let (core, since) = (&self.core, &since.get().core);
        let found = gil::detached(py, || core.diff(since));
        Diff::new(py, &found.map_err(|error| refusal(py, &error))?)
    }

    /// Make the filesystem what it was when a snapshot of it was made, or of one that it was branched from: names, content
    /// and attributes, as one step.
    ///
    /// What did not change stays as it is. Open files that are in the snapshot go on with the content that they have
    /// there; file locks are not waited for. Files that are not in it are removed. O(nodes). An error changes
    /// nothing: those of snapshot() and diff(), ReadOnly, and those of a full disk.
    fn restore(&self, py: Python<'_>, to: &Bound<'_, FileSystem>) -> PyResult<()> {
        self.forget_caches(py);
        let (core, to) = (&self.core, &to.get().core);
        let restored = gil::detached(py, || core.restore(to));
        restored.map_err(|error| match error.kind() {
            ErrorKind::InvalidArgument => refusal(py, &error),
            _ => errors::raise_stored(py, &error, self.store.as_ref()),
        })
    }
}

impl FileSystem {
    pub(super) fn twin(&self, py: Python<'_>, core: brimfs::FileSystem) -> Self {
        let mut made = FileSystem::over(core);
        made.how = if made.core.is_snapshot() {
            " snapshot"
        } else {
            " branch"
        };
        made.store = self.store.as_ref().map(|store| store.clone_ref(py));
        made
    }
}

fn refusal(py: Python<'_>, error: &Error) -> PyErr {
    match error.kind() {
        ErrorKind::InvalidArgument => PyValueError::new_err(error.to_string()),
        _ => errors::raise_stored(py, error, None),
    }
}
