//! What is worth keeping in memory, and moving content between memory and the disk.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::FileSystem;
use crate::errors::OrRaise;
use crate::gil;
use crate::path::{PathArg, Style};
use crate::preload::Preload;
use crate::raw::objects::Arg;
use crate::reports::{Explanation, GcReport};
use crate::sizes;

#[pymethods]
impl FileSystem {
    /// Say how much a file is worth keeping in memory: 0 to 10, 5 unless set.
    ///
    /// Two more double what the file counts for when something has to leave memory; 9 and 10 pin it.
    /// The priority belongs to the file: hard links share it, it stays when the file is renamed or its
    /// content replaced, and a copy begins with it. O(1), for a large file O(mebibytes in memory).
    fn set_priority(
        &self,
        py: Python<'_>,
        path: PathArg<'_>,
        priority: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let priority = sizes::priority(priority)?;
        self.ask(py, &path, |core, path| core.set_priority(path, priority))
    }

    /// The priority of a file as it was set, whether or not it is pinned.
    fn get_priority(&self, py: Python<'_>, path: PathArg<'_>) -> PyResult<u8> {
        self.ask(py, &path, |core, path| core.priority(path))
    }

    /// Keep a file in memory: it counts as of priority 10 until unpin.
    ///
    /// What of it is on the disk stays there until it is read or preloaded. Pinned content leaves memory
    /// only if gc finds nothing else, and where more is pinned than half of the memory limit. Copies
    /// are not pinned. Pinning twice is pinning once.
    fn pin(&self, py: Python<'_>, path: PathArg<'_>) -> PyResult<()> {
        self.ask(py, &path, |core, path| core.pin(path))
    }

    /// Take pin back: the file's own priority counts again. One of 9 or 10 pins by itself.
    fn unpin(&self, py: Python<'_>, path: PathArg<'_>) -> PyResult<()> {
        self.ask(py, &path, |core, path| core.unpin(path))
    }

    /// Whether a file is pinned, be it by pin or by a priority of 9 or 10.
    fn is_pinned(&self, py: Python<'_>, path: PathArg<'_>) -> PyResult<bool> {
        self.ask(py, &path, |core, path| core.is_pinned(path))
    }

    /// Bring files into memory ahead of use, in the background and in the order given. Return a Preload.
    ///
    /// priority: what the files have from then on; None leaves it as it is. Room is made as for a read.
    /// One preload does not push out what it brought in itself: files that do not fit get a
    /// MemoryLimitExceeded in the result, as do missing ones their FileNotFoundError. O(paths), then the
    /// caller goes on.
    #[pyo3(signature = (paths, priority=None))]
    fn preload(
        &self,
        py: Python<'_>,
        paths: &Bound<'_, PyAny>,
        priority: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Preload> {
        let priority = priority.map(sizes::priority).transpose()?;
        let paths = several(paths)?;
        let style = paths.first().map_or(Style::Str, |path| path.style);
        let names: Vec<&[u8]> = paths.iter().map(PathArg::bytes).collect();
        let core = &self.core;
        gil::detached(py, || core.preload(names, priority))
            .or_raise_bare(py)
            .map(|preload| Preload::new(preload, style))
    }

    /// Make memory free at once: spill what is least worth keeping until no more than the target, a
    /// share of the memory limit from 0 to 1, is resident. Return a GcReport.
    ///
    /// Exact to one unit, a chunk of at most 1 MiB; pinned content goes last. Nodes, names, content of up
    /// to 128 bytes and what views show stay in memory. Without a disk to spill to only caches are
    /// given back. Takes as long as the disk does; other threads go on. An OSError of the disk leaves
    /// what went before on it.
    fn gc(&self, py: Python<'_>, target: &Bound<'_, PyAny>) -> PyResult<GcReport> {
        let target = sizes::share(target, "target")?;
        // The caches that are keyed by Python objects take of the same memory.
        self.forget_caches(py);
        let core = &self.core;
        gil::detached(py, || core.gc(target))
            .or_raise_bare(py)
            .map(GcReport::from)
    }

    /// Change the memory limit; bytes or text. Content that is too much for a lower one is spilled first.
    ///
    /// Filesystems that share the limit share the change. A MemoryLimitExceeded or an OSError of the disk
    /// leaves the limit as it was. Takes as long as the disk does; other threads go on.
    fn set_memory_limit(&self, py: Python<'_>, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = sizes::size(limit, "limit")?;
        let core = &self.core;
        gil::detached(py, || core.set_memory_limit(limit)).or_raise_bare(py)
    }

    /// Where a file is, what it is worth, and when and why it was spilled or why not, as an Explanation.
    ///
    /// Counts as no access. O(1), for a large file O(its mebibytes).
    fn explain(&self, py: Python<'_>, path: PathArg<'_>) -> PyResult<Explanation> {
        let explained = self.ask(py, &path, |core, path| core.explain(path))?;
        Ok(Explanation::new(explained, &path))
    }
}

impl FileSystem {
    /// Runs a call about one file without the interpreter lock.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        path: &PathArg<'_>,
        call: impl FnOnce(&brimfs::FileSystem, &[u8]) -> brimfs::Result<R> + Send,
    ) -> PyResult<R> {
        let (core, name) = (&self.core, path.bytes());
        gil::detached(py, || call(core, name)).or_raise(path)
    }
}

/// A `priority` argument that can be absent or `None`.
pub(super) fn chosen_priority(priority: Option<Arg<'_>>) -> PyResult<Option<u8>> {
    let priority = priority.filter(|priority| !priority.is_none());
    priority
        .map(|priority| sizes::priority(&priority))
        .transpose()
}

/// The paths of an iterable that is not a path itself.
fn several<'py>(paths: &Bound<'py, PyAny>) -> PyResult<Vec<PathArg<'py>>> {
    if paths.is_instance_of::<PyString>() || paths.is_instance_of::<PyBytes>() {
        let name = paths.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "paths should be an iterable of paths, not {name}"
        )));
    }
    paths.try_iter()?.map(|path| PathArg::new(&path?)).collect()
}
