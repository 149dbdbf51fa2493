//! The Python classes `GcReport`, `PreloadReport` and `Explanation`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors;
use crate::path::{PathArg, Style};
use crate::record::record;
use crate::sizes::human;

/// What gc did. Sizes are in bytes; a unit is a small file, or a chunk (at most 1 MiB) of a larger
/// one. str() of it is a sentence.
#[pyclass(frozen, eq, module = "brimfs")]
#[derive(Clone, PartialEq)]
pub(crate) struct GcReport {
    core: brimfs::GcReport,
}

impl From<brimfs::GcReport> for GcReport {
    fn from(core: brimfs::GcReport) -> Self {
        GcReport { core }
    }
}

record!(GcReport, |report, py| {
    /// Bytes that were to be resident at most.
    target: u64 = report.core.target,
    /// Whether no more is. Nodes, names, content of up to 128 bytes and what views show stay in memory.
    reached: bool = report.core.reached(),
    /// Bytes resident when it began, of all filesystems that share the budget.
    resident_before: u64 = report.core.resident_before,
    /// Bytes resident when it ended.
    resident_after: u64 = report.core.resident_after,
    /// Units that were written to the disk.
    written_units: u64 = report.core.written.units,
    /// Their bytes.
    written_bytes: u64 = report.core.written.bytes,
    /// Units that left memory without being written, because a good copy was on the disk.
    dropped_units: u64 = report.core.dropped.units,
    /// Their bytes.
    dropped_bytes: u64 = report.core.dropped.bytes,
    /// How many of all those units were pinned.
    pinned_units: u64 = report.core.pinned_units,
    /// Bytes that the caches of paths gave back.
    caches: u64 = report.core.caches,
    /// Freed bytes that went back to the operating system. They were not resident.
    recycled: u64 = report.core.recycled,
    /// How long it took, in seconds.
    duration: f64 = report.core.duration.as_secs_f64(),
});

#[pymethods]
impl GcReport {
    fn __str__(&self) -> String {
        self.core.to_string()
    }

    fn __repr__(&self) -> String {
        let GcReport { core } = self;
        format!(
            "<brimfs.GcReport {} of {} resident, target {}{}>",
            human(core.resident_after),
            human(core.resident_before),
            human(core.target),
            if core.reached() { "" } else { " not reached" },
        )
    }
}

/// What others did with the host's tree that a filesystem mirrors: numbers of files, directories and links.
#[pyclass(frozen, eq, module = "brimfs")]
#[derive(Clone, PartialEq)]
pub(crate) struct ExternalChanges {
    core: brimfs::ExternalChanges,
}

impl From<brimfs::ExternalChanges> for ExternalChanges {
    fn from(core: brimfs::ExternalChanges) -> Self {
        ExternalChanges { core }
    }
}

record!(ExternalChanges, |found, py| {
    /// Files that had other content or attributes.
    changed: u64 = found.core.changed,
    /// Names that were not there before, without those in new directories.
    added: u64 = found.core.added,
    /// Names that were there before, without those in directories that went.
    removed: u64 = found.core.removed,
    /// Files whose changes in memory were not durable yet and gave way to the host's version.
    lost: u64 = found.core.lost,
    /// Sockets, devices and pipes, which are not mirrored, in what was looked at.
    skipped: u64 = found.core.skipped,
});

#[pymethods]
impl ExternalChanges {
    fn __repr__(&self) -> String {
        let ExternalChanges { core } = self;
        format!(
            "<brimfs.ExternalChanges {} changed, {} added, {} removed, {} lost>",
            core.changed, core.added, core.removed, core.lost
        )
    }
}

/// What a preload did. Sizes are in bytes; a unit is a small file, or a chunk (at most 1 MiB) of a
/// larger one.
#[pyclass(frozen, module = "brimfs")]
pub(crate) struct PreloadReport {
    files: u64,
    loaded: brimfs::Moved,
    errors: Py<PyTuple>,
    cancelled: bool,
    duration: f64,
}

impl PreloadReport {
    /// `style` is how the caller writes paths.
    pub(crate) fn new(
        py: Python<'_>,
        core: &brimfs::PreloadReport,
        style: Style,
    ) -> PyResult<Self> {
        let errors = core.errors.iter();
        let errors: Vec<_> = errors
            .map(|error| errors::raise_as(py, error, style).into_value(py))
            .collect();
        Ok(PreloadReport {
            files: core.files,
            loaded: core.loaded,
            errors: PyTuple::new(py, errors)?.unbind(),
            cancelled: core.cancelled,
            duration: core.duration.as_secs_f64(),
        })
    }
}

record!(PreloadReport, |report, py| {
    /// Files that were in memory as a whole when their turn was over.
    files: u64 = report.files,
    /// Units that were brought in.
    loaded_units: u64 = report.loaded.units,
    /// Their bytes.
    loaded_bytes: u64 = report.loaded.bytes,
    /// What went wrong, at most once for each path: exceptions, of which filename is the path.
    errors: Py<PyTuple> = report.errors.clone_ref(py),
    /// Whether it ended early because of cancel, or because the filesystem was closed.
    cancelled: bool = report.cancelled,
    /// From the call to the end, in seconds.
    duration: f64 = report.duration,
});

#[pymethods]
impl PreloadReport {
    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "<brimfs.PreloadReport {} files, {} brought in, {} errors{}>",
            self.files,
            human(self.loaded.bytes),
            self.errors.bind(py).len(),
            if self.cancelled { ", cancelled" } else { "" },
        )
    }
}

/// Where a file is and why, as of one moment. str() of it reads well aloud.
///
/// Sizes are in bytes; a unit is a file of up to 1 MiB, or a chunk of 1 MiB of a larger one.
#[pyclass(frozen, module = "brimfs")]
pub(crate) struct Explanation {
    core: brimfs::Explanation,
    path: Py<PyAny>,
}

impl Explanation {
    pub(crate) fn new(core: brimfs::Explanation, path: &PathArg<'_>) -> Self {
        let path = path.object().clone().unbind();
        Explanation { core, path }
    }
}

record!(Explanation, |why, py| {
    /// The path as it was given, as str or bytes.
    path: Py<PyAny> = why.path.clone_ref(py),
    /// Length of the file.
    size: u64 = why.core.len,
    /// Units that are in memory.
    resident_units: u64 = why.core.resident.units,
    /// Their bytes.
    resident_bytes: u64 = why.core.resident.bytes,
    /// Those among them that have a good copy on the disk, and cost nothing to give up.
    clean_units: u64 = why.core.clean.units,
    /// Their bytes.
    clean_bytes: u64 = why.core.clean.bytes,
    /// Units that are on the disk only.
    cold_units: u64 = why.core.cold.units,
    /// Their bytes.
    cold_bytes: u64 = why.core.cold.bytes,
    /// Bytes that are neither, because they are a hole.
    holes: u64 = why.core.holes,
    /// As it was set, 0 to 10.
    priority: u8 = why.core.priority,
    /// As it counts for the unit that is accessed most, with the boost that accesses give.
    priority_counted: u8 = why.core.priority_counted,
    /// Whether the file is pinned, be it by its priority.
    pinned: bool = why.core.pinned,
    /// Accesses that count, of the unit in memory with the most: those since the policy last looked, up to the threshold
    /// of the boost, and of earlier ones half for each look since. Of a file of a store that did not come in since it was
    /// opened what was recorded of it.
    accesses: u64 = why.core.accesses,
    /// What one byte is worth to the policy, by the unit that would go first: 1 is a chunk of 1 MiB of
    /// priority 4 that was accessed once. None if nothing is in memory that could go.
    value: Option<f64> = why.core.score.map(|score| score.value),
    /// How much of that is left before the unit is due.
    value_left: Option<f64> = why.core.score.map(|score| score.left),
    /// Whether that unit was accessed again since it came, or remembered: what was not goes earlier.
    proven: Option<bool> = why.core.score.map(|score| score.is_proven),
    /// When something of it left memory last, in seconds since 1970; None if the disk has no good copy.
    spilled_at: Option<f64> = why.core.spilled.map(|spilled| spilled.at.as_nanos() as f64 / 1e9),
    /// Why it did: "background", "demand", "gc" or "limit".
    spill_cause: Option<&'static str> = why.core.spilled.map(|spilled| spilled.cause.name()),
    /// Why what is in memory is there: "no_disk", "never_short", "small", "viewed", "pinned", "worth"
    /// or "busy". None if nothing is.
    kept: Option<&'static str> = why.core.kept.map(brimfs::Kept::name),
});

#[pymethods]
impl Explanation {
    fn __str__(&self) -> String {
        self.core.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<brimfs.Explanation: {}>", self.core)
    }
}

/// What a call about an archive or a tree of the host did.
#[pyclass(frozen, eq, module = "brimfs")]
#[derive(Clone, PartialEq)]
pub(crate) struct Transferred {
    core: brimfs_transfer::Transferred,
}

impl From<brimfs_transfer::Transferred> for Transferred {
    fn from(core: brimfs_transfer::Transferred) -> Self {
        Transferred { core }
    }
}

record!(Transferred, |done, py| {
    /// Files that were written.
    files: u64 = done.core.files,
    /// Directories that were named, whether or not they were there.
    directories: u64 = done.core.directories,
    /// Symbolic links that were made.
    symlinks: u64 = done.core.symlinks,
    /// What was left out as asked for: links, names that were taken, files that had not changed.
    skipped: u64 = done.core.skipped,
    /// Bytes of the files.
    bytes: u64 = done.core.bytes,
});

#[pymethods]
impl Transferred {
    fn __repr__(&self) -> String {
        let brimfs_transfer::Transferred { files, bytes, .. } = self.core;
        format!("<brimfs.Transferred {files} files, {}>", human(bytes))
    }
}
